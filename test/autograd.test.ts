/** The gradient tape: accumulation, sharing, aliasing, freeing. Single operations: their own files. */
import test from 'ava'
import { enableGrad, isGradEnabled, nn, noGrad, ones, type Tensor, tensor, zeros } from 'fused-rnn'
import { closeTo, gradcheck, randomTensor, throwsWith } from './helpers.js'

const leaf = (values: number[]): Tensor => tensor(values, { requiresGrad: true })

test('the same tensor used twice gets both gradients', async (t) => {
  const a = leaf([1, 2])
  a.add(a).backward(tensor([1, 10]))
  await closeTo(t, a.grad, [2, 20], 0)
  a.grad = null
  const inner = a.mul(3)
  inner.mul(inner).backward(ones([2]))
  await closeTo(t, a.grad, [18, 36], 1e-6)
})

test('shared subexpressions are walked once, with the sum of their gradients', async (t) => {
  const a = randomTensor([3], 1, { requiresGrad: true })
  await gradcheck(
    t,
    (x) => {
      const shared = x.mul(2).add(1)
      const left = shared.mul(shared)
      const right = shared.add(left)
      return left.add(right).add(shared).mul(right)
    },
    [a],
  )
})

test('a chain of a diamond twenty deep takes one pass', async (t) => {
  const a = leaf([1])
  let x: Tensor = a
  for (let i = 0; i < 20; i++) x = x.add(x)
  x.backward()
  await closeTo(t, a.grad, [2 ** 20], 0)
})

test('deep graphs do not overflow the stack', async (t) => {
  const a = leaf([1, 1])
  let x: Tensor = a
  for (let i = 0; i < 20_000; i++) x = x.add(1)
  x.backward(ones([2]))
  await closeTo(t, a.grad, [1, 1], 0)
})

test('gradients accumulate over calls, and .grad keeps its identity', async (t) => {
  const a = leaf([1, 2])
  a.mul(2).backward(ones([2]))
  const first = a.grad
  a.mul(3).backward(ones([2]))
  t.is(a.grad, first)
  await closeTo(t, first, [5, 5], 0)
})

test('two leaves never share one gradient', async (t) => {
  const a = leaf([1, 2])
  const b = leaf([3, 4])
  const c = a.add(b)
  c.backward(tensor([1, 1]))
  t.not(a.grad, b.grad)
  a.mul(5).backward(ones([2]))
  await closeTo(t, a.grad, [6, 6], 0)
  await closeTo(t, b.grad, [1, 1], 0)
})

test('the gradient that the user gives is neither freed, kept nor changed', async (t) => {
  const given = tensor([1, 2])
  const a = leaf([0, 0])
  const b = leaf([0, 0])
  a.add(b).backward(given)
  a.backward(given)
  a.reshape([2, 1]).backward(given.reshape([2, 1]))
  t.not(a.grad, given)
  t.not(b.grad, given)
  await closeTo(t, a.grad, [3, 6], 0)
  await closeTo(t, b.grad, [1, 2], 0)
  await closeTo(t, given, [1, 2], 0)
  given[Symbol.dispose]()
  await closeTo(t, b.grad, [1, 2], 0)
})

test('a disposed .grad of one leaf does not reach another or the graph', async (t) => {
  const a = leaf([1, 2])
  const b = leaf([3, 4])
  const flat = a.reshape([2, 1])
  flat.add(b.reshape([2, 1])).backward(ones([2, 1]))
  a.grad?.[Symbol.dispose]()
  a.grad = null
  await closeTo(t, b.grad, [1, 1], 0)
})

test('views: reshape passes gradients, detach cuts them, both share the values', async (t) => {
  const a = randomTensor([2, 3], 3, { requiresGrad: true })
  await gradcheck(
    t,
    (x) =>
      x
        .reshape([3, 2])
        .mul(x.reshape([3, 2]))
        .reshape([6]),
    [a],
  )
  a.grad = null
  const cut = a.mul(2).detach()
  t.false(cut.requiresGrad)
  t.is(cut.gradFn, null)
  a.mul(cut).backward(ones([2, 3]))
  await closeTo(t, a.grad, cut, 0)
  throwsWith(
    t,
    () => cut.backward(ones([2, 3])),
    TypeError,
    /\[backward\] this tensor does not require a gradient/,
  )
})

test('a view outlives the tensor it was made from, in forward and backward', async (t) => {
  const a = leaf([1, 2, 3, 4])
  const middle = a.mul(2)
  const view = middle.reshape([2, 2])
  middle[Symbol.dispose]()
  const out = view.mul(view)
  view[Symbol.dispose]()
  out.backward(ones([2, 2]))
  await closeTo(t, a.grad, [8, 16, 24, 32], 0)
})

test('gradients that arrive through views of one tensor are not mixed up', async (t) => {
  const a = leaf([1, 2])
  const b = leaf([3, 4])
  // The gradient of the sum goes to both reshapes as one tensor; each makes a view of it.
  const sum = a.reshape([1, 2]).add(b.reshape([1, 2]))
  sum.add(a.reshape([1, 2])).backward(tensor([[1, 10]]))
  await closeTo(t, a.grad, [2, 20], 0)
  await closeTo(t, b.grad, [1, 10], 0)
  a.mul(1).backward(tensor([100, 100]))
  await closeTo(t, a.grad, [102, 120], 0)
  await closeTo(t, b.grad, [1, 10], 0)
})

test('only what requires a gradient gets one', async (t) => {
  const a = leaf([1])
  const b = tensor([2])
  const c = a.mul(b)
  c.backward()
  t.is(b.grad, null)
  t.is(c.grad, null, 'results collect none')
  await closeTo(t, a.grad, [2], 0)
  t.true(c.requiresGrad)
  t.false(b.mul(b).requiresGrad)
})

test('backward twice is an error that names the operation; retainGraph allows it', async (t) => {
  const a = leaf([1, 2])
  const once = a.mul(a)
  once.backward(ones([2]))
  throwsWith(
    t,
    () => once.backward(ones([2])),
    Error,
    /\[backward\] the graph of 'mul' was already used.*retainGraph/,
  )
  a.grad = null
  const twice = a.mul(a)
  twice.backward(ones([2]), { retainGraph: true })
  twice.backward(ones([2]))
  await closeTo(t, a.grad, [4, 8], 0)
  throwsWith(t, () => twice.backward(ones([2])), Error, /already used/)
})

test('two losses over one retained part', async (t) => {
  const a = leaf([1, 2])
  const shared = a.mul(a)
  shared.mul(2).backward(ones([2]), { retainGraph: true })
  shared.mul(3).backward(ones([2]))
  await closeTo(t, a.grad, [10, 20], 0)
})

test('backward: arguments', (t) => {
  const a = leaf([1, 2])
  const out = a.add(1)
  throwsWith(
    t,
    () => out.backward(),
    RangeError,
    /\[backward\] gradient: expected to be given when the tensor has more than one element, got none for shape \(2,\)/,
  )
  throwsWith(
    t,
    () => out.backward(ones([3])),
    RangeError,
    /\[backward\] gradient: expected the tensor's shape \(2,\), got \(3,\)/,
  )
  throwsWith(t, () => out.backward(ones([2, 1])), RangeError, /got \(2, 1\)/)
  throwsWith(t, () => out.backward(ones([2], { dtype: 'int32' })), TypeError, /float32/)
  throwsWith(
    t,
    () => out.backward([1, 1] as unknown as Tensor),
    TypeError,
    /\[backward\] gradient: expected a tensor/,
  )
  throwsWith(t, () => out.backward(ones([2]), { retain: true } as object), TypeError, /retain/)
  throwsWith(t, () => tensor([1]).backward(), TypeError, /does not require a gradient/)
  out.backward(ones([2]))
})

test('a wrong .grad is refused when it is set', (t) => {
  const a = leaf([1, 2])
  throwsWith(
    t,
    () => {
      a.grad = ones([3])
    },
    RangeError,
    /grad.*\(2,\).*\(3,\)/,
  )
  throwsWith(
    t,
    () => {
      a.grad = ones([2], { dtype: 'int32' })
    },
    RangeError,
    /grad.*float32/,
  )
  throwsWith(
    t,
    () => {
      a.grad = [1, 2] as unknown as Tensor
    },
    TypeError,
    /grad/,
  )
  t.is(a.grad, null)
})

test('a .grad set by the user is accumulated into', async (t) => {
  const a = leaf([1, 2])
  a.grad = tensor([10, 20])
  a.mul(2).backward(ones([2]))
  await closeTo(t, a.grad, [12, 22], 0)
})

test('requiresGrad: setting it', (t) => {
  const a = zeros([2])
  a.requiresGrad = true
  const b = a.add(1)
  throwsWith(
    t,
    () => {
      b.requiresGrad = false
    },
    TypeError,
    /detach/,
  )
  throwsWith(
    t,
    () => {
      a.requiresGrad = 1 as unknown as boolean
    },
    TypeError,
    /boolean/,
  )
  throwsWith(t, () => tensor(Int32Array.of(1), { requiresGrad: true }), TypeError, /float32/)
})

test('noGrad and enableGrad, also across awaits', async (t) => {
  const a = leaf([1])
  t.true(isGradEnabled())
  t.false(noGrad(() => a.mul(2)).requiresGrad)
  const late = noGrad(async () => {
    await a.data()
    t.false(isGradEnabled())
    t.true(enableGrad(() => a.mul(2)).requiresGrad)
    return a.mul(2)
  })
  t.true(isGradEnabled(), 'what runs meanwhile is not affected')
  t.true(a.mul(2).requiresGrad)
  t.false((await late).requiresGrad)
  t.throws(() =>
    noGrad(() => {
      throw new Error('x')
    }),
  )
  t.true(isGradEnabled())
  throwsWith(
    t,
    () => noGrad(1 as unknown as () => void),
    TypeError,
    /\[noGrad\] f: expected a function/,
  )
})

test('gradients flow past what noGrad computed', async (t) => {
  const a = leaf([2])
  const constant = noGrad(() => a.mul(a))
  a.mul(constant).backward()
  await closeTo(t, a.grad, [4], 0)
})

test('backward works on a scalar of shape (), (1,) and (1, 1)', async (t) => {
  for (const shape of [[], [1], [1, 1]]) {
    const a = tensor(Float32Array.of(3), { shape, requiresGrad: true })
    a.mul(a).backward()
    t.deepEqual([...(a.grad as Tensor).shape], shape)
    await closeTo(t, a.grad, [6], 0)
  }
})

test('broadcast operands get gradients of their own shape', async (t) => {
  const a = randomTensor([2, 1, 3], 1, { requiresGrad: true })
  const b = randomTensor([4, 1], 2, { requiresGrad: true })
  const c = randomTensor([], 3, { requiresGrad: true })
  await gradcheck(t, (x, y, z) => x.mul(y).add(z).sub(y), [a, b, c])
})

test('a parameter that is also an input of a module gets both gradients', async (t) => {
  const linear = new nn.Linear(2, 2, { bias: false })
  linear.loadStateDict(
    new Map([
      [
        'weight',
        tensor([
          [1, 2],
          [3, 4],
        ]),
      ],
    ]),
  )
  const weight = linear.stateDict().get('weight') as Tensor
  t.false(weight.requiresGrad, 'a state dict is detached')
  const [parameter] = [...linear.parameters()] as [Tensor]
  linear.forward(parameter).sum().backward()
  // d/dW sum(W Wᵀ) = (1 1ᵀ) W + (1 1ᵀ) W
  await closeTo(t, parameter.grad, [8, 12, 8, 12], 1e-5)
})
