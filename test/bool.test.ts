/** Tensors of booleans: one byte an element, everywhere where elements are only moved. */
import test from 'ava'
import { cat, full, io, nn, ones, stack, type Tensor, tensor, utils, zeros } from 'fused-rnn'
import { testDevice, throwsWith } from './helpers.js'

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values)
const mask = (): Tensor =>
  tensor([
    [true, false, true],
    [false, false, true],
  ])

test('tensor of booleans, numbers and bytes', async (t) => {
  const x = mask()
  t.is(x.dtype, 'bool')
  t.deepEqual(await x.data(), bytes(1, 0, 1, 0, 0, 1))
  const numbers = tensor([0, -0, NaN, 2, -1], { dtype: 'bool' })
  t.deepEqual(await numbers.data(), bytes(0, 0, 1, 1, 1))
  t.deepEqual(await tensor(bytes(0, 1, 7), { dtype: 'bool' }).data(), bytes(0, 1, 1))
  t.is(tensor(bytes(0, 1)).dtype, 'float32')
  t.is(tensor([true, 1]).dtype, 'float32')
  t.is(await tensor(true).item<boolean>(), true)
  t.is(await x.select(0, 1).select(0, 1).item<boolean>(), false)
  t.deepEqual(await tensor([], { dtype: 'bool' }).data(), bytes())
  t.deepEqual(await zeros([2], { dtype: 'bool' }).data(), bytes(0, 0))
  t.deepEqual(await ones([2, 1], { dtype: 'bool' }).data(), bytes(1, 1))
  t.deepEqual(await full([3], true).data(), bytes(1, 1, 1))
  t.is(await ones([100_003], { dtype: 'bool' }).sum().item(), 100_003)
})

test('other types', async (t) => {
  const x = tensor([0, 0.4, NaN, -2])
  t.deepEqual(await x.bool().data(), bytes(0, 1, 1, 1))
  t.deepEqual(await x.to('bool').data(), bytes(0, 1, 1, 1))
  t.deepEqual(await tensor([0, -5], { dtype: 'int32' }).bool().data(), bytes(0, 1))
  const b = mask().select(0, 0)
  t.deepEqual(await b.float().data(), Float32Array.of(1, 0, 1))
  t.deepEqual(await b.to('float32').data(), Float32Array.of(1, 0, 1))
  t.deepEqual(await b.int().data(), Int32Array.of(1, 0, 1))
  t.is(b.bool(), b)
  t.is(b.to('bool'), b)
})

test('moved about', async (t) => {
  const x = mask()
  const same = async (y: Tensor, shape: number[], ...values: number[]): Promise<void> => {
    t.is(y.dtype, 'bool')
    t.deepEqual([...y.shape], shape)
    t.deepEqual(await y.data(), bytes(...values))
  }
  await same(x.reshape([3, 2]), [3, 2], 1, 0, 1, 0, 0, 1)
  await same(x.transpose(0, 1), [3, 2], 1, 0, 0, 0, 1, 1)
  await same(x.slice(1, 1), [2, 2], 0, 1, 0, 1)
  await same(x.slice(0, 1), [1, 3], 0, 0, 1)
  // A view that begins at no multiple of four bytes.
  await same(x.select(0, 1).clone(), [3], 0, 0, 1)
  await same(x.select(0, 1).to(testDevice), [3], 0, 0, 1)
  await same(x.flip(1), [2, 3], 1, 0, 1, 1, 0, 0)
  await same(x.slice(0, 0, 1).expand([2, 3]), [2, 3], 1, 0, 1, 1, 0, 1)
  await same(cat([x, x], 1), [2, 6], 1, 0, 1, 1, 0, 1, 0, 0, 1, 0, 0, 1)
  await same(stack([x, x], 2), [2, 3, 2], 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1)
  const index = tensor([2, 0], { dtype: 'int32' })
  await same(x.indexSelect(1, index), [2, 2], 1, 1, 1, 0)
  await same(x.to('cpu').to(testDevice), [2, 3], 1, 0, 1, 0, 0, 1)
  const [big, rows] = [tensor(Array.from({ length: 70 }, (_, i) => i % 3 === 0)), 1001]
  const wide = big.expand([rows, 70]).transpose(0, 1)
  t.is(await wide.sum().item(), 24 * rows)
  t.is(await wide.slice(1, 1).sum().item(), 24 * (rows - 1))
})

test('in files, in other threads, in other libraries', async (t) => {
  const x = mask()
  const state = new Map([
    ['mask', x],
    ['weight', tensor([1, 2])],
  ])
  const { tensors } = io.safetensors.parse(await io.safetensors.serialize(state))
  t.deepEqual(await tensors.get('mask')?.data(), await x.data())
  t.deepEqual(await tensors.get('weight')?.data(), Float32Array.of(1, 2))
  t.deepEqual([...(tensors.get('mask')?.shape ?? [])], [2, 3])
  const there: Tensor = utils.fromTransferable(await utils.toTransferable(x.select(0, 1)))
  t.is(there.dtype, 'bool')
  t.deepEqual(await there.data(), bytes(0, 0, 1))
  const shared = utils.dlpack.fromDlpack(await utils.dlpack.toDlpack(x.select(0, 1)))
  t.is(shared.dtype, 'bool')
  t.deepEqual(await shared.data(), bytes(0, 0, 1))
})

test('arithmetic, with the types of PyTorch', async (t) => {
  const x = mask().select(0, 0)
  const y = tensor([true, true, false])
  const of = async (z: Tensor): Promise<[string, ...number[]]> => [z.dtype, ...(await z.data())]
  t.deepEqual(await of(x.add(y)), ['bool', 1, 1, 1])
  t.deepEqual(await of(x.mul(y)), ['bool', 1, 0, 0])
  t.deepEqual(await of(x.div(y)), ['float32', 1, 0, Infinity])
  t.deepEqual(await of(x.add(1)), ['int32', 2, 1, 2])
  t.deepEqual(await of(x.mul(0.5)), ['float32', 0.5, 0, 0.5])
  t.deepEqual(await of(x.add(tensor([5], { dtype: 'int32' }))), ['int32', 6, 5, 6])
  t.deepEqual(await of(tensor([[0.5], [1.5]]).mul(x)), ['float32', 0.5, 0, 0.5, 1.5, 0, 1.5])
  t.deepEqual(await of(x.sum()), ['int32', 2])
  t.deepEqual(await of(mask().sum(0)), ['int32', 1, 0, 2])
  const weights = tensor([1, 2, 3], { requiresGrad: true })
  weights.mul(x).sum().backward()
  t.deepEqual(await weights.grad?.data(), Float32Array.of(1, 0, 1))
})

test('what bool does not have', (t) => {
  const x = mask()
  const refused: [() => unknown, RegExp][] = [
    [() => x.sub(x), /\[sub\] tensors: expected float32 or int32 .* got 'two of bool'/],
    [() => x.neg(), /\[neg\] tensor: expected a float32 or int32 tensor, got 'bool'/],
    [() => x.mean(), /\[mean\] tensor: expected a float32 tensor, got 'bool'/],
    [() => x.argmax(), /\[argmax\] tensor: expected a float32 or int32 tensor, got 'bool'/],
    [() => x.softmax(0), /\[softmax\] tensor: expected a float32 tensor, got 'bool'/],
    [() => x.matmul(x), /\[matmul\] .*: expected a float32 tensor, got 'bool'/],
    [() => tensor([true], { requiresGrad: true }), /only float32 tensors can require gradients/],
    [() => nn.functional.oneHot(x, 2), /\[oneHot\] indices: expected an int32 tensor, got 'bool'/],
    [() => x.indexSelect(0, x.select(0, 0)), /\[indexSelect\] index: expected an int32 tensor/],
    [
      () => tensor([1], { dtype: 'boolean' as 'bool' }),
      /dtype: expected 'float32', 'int32' or 'bool'/,
    ],
    [() => x.to('boolean'), /\[to\] on: expected/],
    [() => new nn.Linear(3, 2).forward(x), /expected a float32 tensor, got 'bool'/],
  ]
  for (const [call, message] of refused) throwsWith(t, call, TypeError, message)
})
