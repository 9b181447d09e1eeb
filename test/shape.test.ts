import test from 'ava'
import { cat, stack, type Tensor, tensor, zeros } from 'fused-rnn'
import { cases } from './cases.js'
import { closeTo, randomTensor, randomValues, throwsWith } from './helpers.js'

cases('shape', {
  reshape: (x: Tensor) => x.reshape([4, 6]),
  'reshape -1': (x: Tensor) => x.reshape([2, -1]),
  'reshape number': (x: Tensor) => x.reshape([]),
  'reshape empty': (x: Tensor) => x.reshape([3, 0]),
  unsqueeze: (x: Tensor) => x.unsqueeze(-1),
  'unsqueeze 1': (x: Tensor) => x.unsqueeze(1),
  squeeze: (x: Tensor) => x.squeeze(),
  'squeeze 0': (x: Tensor) => x.squeeze(0),
  'squeeze of size 2': (x: Tensor) => x.squeeze(1),
  expand: (x: Tensor) => x.expand([2, 3, 4]),
  'expand -1': (x: Tensor) => x.expand([2, -1, 4]),
  transpose: (x: Tensor) => x.transpose(0, 1),
  'transpose 3-D': (x: Tensor) => x.transpose(0, 1),
  'transpose ends': (x: Tensor) => x.transpose(0, -1),
  'transpose same': (x: Tensor) => x.transpose(1, 1),
  'transpose size 1': (x: Tensor) => x.transpose(0, 1),
  'transpose empty': (x: Tensor) => x.transpose(0, 1),
  permute: (x: Tensor) => x.permute([2, 0, 3, 1]),
  'permute inner': (x: Tensor) => x.permute([1, -1, 0]),
  'permute 8-D': (x: Tensor) => x.permute([7, 0, 6, 1, 5, 2, 4, 3]),
  'permute ints': (x: Tensor) => x.permute([2, 1, 0]),
  t: (x: Tensor) => x.t(),
  't vector': (x: Tensor) => x.t(),
  flip: (x: Tensor) => x.flip(0),
  'flip both': (x: Tensor) => x.flip([0, -1]),
  slice: (x: Tensor) => x.slice(0, 1, 3),
  'slice middle': (x: Tensor) => x.slice(1, 1, 3),
  'slice last': (x: Tensor) => x.slice(-1, -3, -1),
  'slice beyond': (x: Tensor) => x.slice(1, -9, 9),
  'slice empty': (x: Tensor) => x.slice(1, 3, 1),
  'slice start': (x: Tensor) => x.slice(1, 2),
  select: (x: Tensor) => x.select(0, 1),
  'select last': (x: Tensor) => x.select(-1, -2),
  'select vector': (x: Tensor) => x.select(0, 2),
  cat: (a: Tensor, b: Tensor) => cat([a, b]),
  'cat 1': (...all: Tensor[]) => cat(all, 1),
  'cat last': (...all: Tensor[]) => cat(all, -1),
  'cat twice the same': (a: Tensor) => cat([a, a], 1),
  'cat ints': (...all: Tensor[]) => cat(all, 1),
  'cat one needs no gradient': (...all: Tensor[]) => cat(all, 1),
  stack: (...all: Tensor[]) => stack(all),
  'stack 1': (...all: Tensor[]) => stack(all, 1),
  'stack last': (...all: Tensor[]) => stack(all, -1),
  'stack numbers': (...all: Tensor[]) => stack(all),
  clone: (x: Tensor) => x.clone(),
})

test('shape: large transposes', async (t) => {
  const [n, rows, columns] = [3, 131, 97]
  const values = randomValues(n * rows * columns, 3)
  const x = randomTensor([n, rows, columns], 3)
  const expected = values.map((_, i) => {
    const [m, c, r] = [Math.floor(i / (rows * columns)), Math.floor(i / rows) % columns, i % rows]
    return values[(m * rows + r) * columns + c] as number
  })
  await closeTo(t, x.transpose(1, 2), expected, 0)
  await closeTo(t, x.transpose(1, 2).transpose(2, 1), values, 0)
  await closeTo(t, x.permute([2, 1, 0]).permute([2, 1, 0]), values, 0)
  await closeTo(t, x.flip(2).flip(2), values, 0)
})

test('shape: gradients of a tensor used in parts add up', async (t) => {
  const x = tensor([1, 2, 3, 4], { requiresGrad: true })
  cat([x.slice(0, 0, 3), x.slice(0, 1, 4), x.select(0, 2).reshape([1])])
    .sum()
    .backward()
  await closeTo(t, x.grad, [1, 2, 3, 1], 0)
})

test('shape: a gradient never shares memory with another one', async (t) => {
  const a = tensor([1, 2], { requiresGrad: true })
  const b = tensor([3, 4], { requiresGrad: true })
  for (let i = 0; i < 2; i++) {
    cat([a.reshape([2]), b])
      .add(stack([a, b]).reshape([4]))
      .sum()
      .backward()
  }
  await closeTo(t, a.grad, [4, 4], 0)
  await closeTo(t, b.grad, [4, 4], 0)
})

test('shape: a view outlives the tensor it was taken from', async (t) => {
  const x = tensor([1, 2, 3, 4])
  const view = x.slice(0, 2, 4)
  x[Symbol.dispose]()
  await closeTo(t, view, [3, 4], 0)
})

test('shape: errors', (t) => {
  const x = zeros([2, 3])
  const i = zeros([2, 3], { dtype: 'int32' })
  throwsWith(t, () => x.reshape([4, 2]), RangeError, /\[reshape\] .*6 elements.*, got \(4, 2\)/)
  throwsWith(t, () => x.reshape([4, -1]), RangeError, /\[reshape\] .*one way, got \(4, -1\)/)
  throwsWith(t, () => x.reshape([-1, -1]), RangeError, /\[reshape\] shape\[1\]: .*got -1/)
  throwsWith(t, () => zeros([0]).reshape([0, -1]), RangeError, /\[reshape\] .*one way/)
  throwsWith(t, () => x.reshape(6 as never), TypeError, /\[reshape\] shape: expected an array/)
  throwsWith(t, () => x.unsqueeze(4), RangeError, /\[unsqueeze\] dim: .* between -3 and 2, got 4/)
  throwsWith(t, () => x.squeeze(2), RangeError, /\[squeeze\] dim/)
  throwsWith(t, () => x.expand([3, 3]), RangeError, /\[expand\] .*\(2, 3\) broadcasts to, got/)
  throwsWith(t, () => x.expand([3]), RangeError, /\[expand\] .*broadcasts to, got \(3,\)/)
  throwsWith(t, () => x.expand([-1, 2, 3]), RangeError, /\[expand\] shape\[0\]: .*got -1/)
  throwsWith(t, () => x.transpose(0, 2), RangeError, /\[transpose\] b: .* between -2 and 1, got 2/)
  throwsWith(t, () => x.permute([0, 0]), RangeError, /\[permute\] dims: expected each of 2/)
  throwsWith(t, () => x.permute([0]), RangeError, /\[permute\] dims: expected each of 2/)
  throwsWith(t, () => x.permute(1 as never), TypeError, /\[permute\] dims: expected an array/)
  throwsWith(t, () => zeros([1, 1, 1]).t(), RangeError, /\[t\] .*at most 2 dimensions/)
  throwsWith(t, () => x.flip(5), RangeError, /\[flip\] dims/)
  throwsWith(t, () => x.slice(2, 0, 1), RangeError, /\[slice\] dim: .*got 2/)
  throwsWith(t, () => x.slice(0, 0.5, 1), RangeError, /\[slice\] start: expected a whole number/)
  throwsWith(t, () => x.slice(0, 0, '1' as never), TypeError, /\[slice\] end/)
  throwsWith(
    t,
    () => zeros([]).slice(0, 0, 1),
    RangeError,
    /\[slice\] tensor: expected at least one/,
  )
  throwsWith(t, () => x.select(0, 2), RangeError, /\[select\] index: .* between -2 and 1, got 2/)
  throwsWith(
    t,
    () => zeros([]).select(0, 0),
    RangeError,
    /\[select\] tensor: expected at least one/,
  )
  throwsWith(t, () => cat([]), RangeError, /\[cat\] tensors: expected at least one tensor/)
  throwsWith(t, () => cat(x as never), TypeError, /\[cat\] tensors: expected an array of tensors/)
  throwsWith(t, () => cat([x, 1 as never]), TypeError, /\[cat\] tensors\[1\]: expected a tensor/)
  throwsWith(t, () => cat([x, i]), TypeError, /\[cat\] tensors\[1\]: expected a float32 tensor/)
  throwsWith(t, () => cat([x, zeros([2, 4])]), RangeError, /\[cat\] tensors\[1\]: .*\(…, 3\), got/)
  throwsWith(t, () => cat([x, x], 2), RangeError, /\[cat\] dim: .*got 2/)
  throwsWith(t, () => cat([zeros([])]), RangeError, /\[cat\] tensors\[0\]: expected at least one/)
  throwsWith(
    t,
    () => stack([x, zeros([3, 2])]),
    RangeError,
    /\[stack\] tensors\[1\]: .*\(2, 3\), got/,
  )
  throwsWith(t, () => stack([x], 3), RangeError, /\[stack\] dim: .* between -3 and 2, got 3/)
  const eight = zeros([1, 1, 1, 1, 1, 1, 1, 1])
  throwsWith(t, () => eight.unsqueeze(0), RangeError, /\[unsqueeze\] .*at most 8 dimensions, got 9/)
  throwsWith(t, () => stack([eight]), RangeError, /\[stack\] .*at most 8 dimensions, got 9/)
})
