import test from 'ava'
import { full, type Tensor, tensor, zeros } from 'fused-rnn'
import { cases, type Sides } from './cases.js'
import { closeTo, randomTensor, randomValues, testDevice, throwsWith } from './helpers.js'

type Binary = (a: Tensor, b: Tensor | number) => Tensor
const ops: Record<string, Binary> = {
  add: (a, b) => a.add(b),
  sub: (a, b) => a.sub(b),
  mul: (a, b) => a.mul(b),
  div: (a, b) => a.div(b),
}
const KINDS = ['row', 'column', 'left', 'both', 'scalar tensor', 'empty', 'ints']
const sides: Sides = {
  'add itself': (x: Tensor) => x.add(x),
  'mul itself': (x: Tensor) => x.mul(x),
}
for (const [name, f] of Object.entries(ops)) {
  sides[name] = f
  for (const kind of [...KINDS, 'int and float', 'float and int']) sides[`${name} ${kind}`] = f
  sides[`${name} number`] = (x: Tensor) => f(x, 2.5)
  sides[`${name} int and whole number`] = (x: Tensor) => f(x, 3)
  sides[`${name} int and fraction`] = (x: Tensor) => f(x, 2.5)
}
cases('arithmetic', sides)

cases('unary', {
  neg: (x: Tensor) => x.neg(),
  abs: (x: Tensor) => x.abs(),
  exp: (x: Tensor) => x.exp(),
  log: (x: Tensor) => x.log(),
  sqrt: (x: Tensor) => x.sqrt(),
  'pow 2': (x: Tensor) => x.pow(2),
  'pow 3': (x: Tensor) => x.pow(3),
  'pow -1.5': (x: Tensor) => x.pow(-1.5),
  'pow 0': (x: Tensor) => x.pow(0),
  clamp: (x: Tensor) => x.clamp(-1, 0.6),
  'clamp min': (x: Tensor) => x.clamp(0.1),
  'clamp max': (x: Tensor) => x.clamp(null, 0.1),
  tanh: (x: Tensor) => x.tanh(),
  sigmoid: (x: Tensor) => x.sigmoid(),
  relu: (x: Tensor) => x.relu(),
  empty: (x: Tensor) => x.tanh(),
  'ints neg': (x: Tensor) => x.neg(),
  'ints abs': (x: Tensor) => x.abs(),
  'ints relu': (x: Tensor) => x.relu(),
  'ints clamp': (x: Tensor) => x.clamp(-3, 3),
  'ints clamp fraction': (x: Tensor) => x.clamp(-2.5, 2.5),
  'ints tanh': (x: Tensor) => x.tanh(),
  float: (x: Tensor) => x.float(),
  int: (x: Tensor) => x.int(),
})

test('arithmetic: large tensors, shared by threads', async (t) => {
  const a = randomTensor([300, 257], 1)
  const b = randomTensor([257], 2)
  const x = randomValues(300 * 257, 1)
  const y = randomValues(257, 2)
  const at = (i: number) => y[i % 257] as number
  await closeTo(
    t,
    a.mul(b),
    x.map((v, i) => v * at(i)),
    1e-6,
  )
  await closeTo(
    t,
    a.reshape([-1]).add(1.5).tanh(),
    x.map((v) => Math.tanh(v + 1.5)),
    1e-6,
  )
})

test('arithmetic: int32 wraps around', async (t) => {
  const x = tensor([2147483647, -2147483648], { dtype: 'int32' })
  t.deepEqual([...(await x.add(1).data())], [-2147483648, -2147483647])
  t.deepEqual([...(await x.mul(x).data())], [1, 0])
  t.deepEqual([...(await x.neg().data())], [-2147483647, -2147483648])
})

test('arithmetic: a number beyond int32 makes float32', async (t) => {
  const out = tensor([1], { dtype: 'int32' }).add(2 ** 31)
  t.is(out.dtype, 'float32')
  t.is(await out.item(), 2147483648)
})

test('arithmetic: special numbers', async (t) => {
  const x = tensor([NaN, Infinity, -Infinity, 0])
  t.deepEqual([...(await x.relu().data())], [NaN, Infinity, 0, 0])
  t.deepEqual([...(await x.clamp(-1, 1).data())], [NaN, 1, -1, 0])
  t.deepEqual([...(await x.sigmoid().data())].slice(0, 1), [NaN])
  t.deepEqual([...(await x.exp().data())], [NaN, Infinity, 0, 1])
  t.deepEqual([...(await x.log().data())], [NaN, Infinity, NaN, -Infinity])
  t.deepEqual([...(await x.int().data())], [0, 2147483520, -2147483648, 0])
  t.deepEqual(
    [
      ...(await tensor([1, 0])
        .div(tensor([0, 0]))
        .data()),
    ],
    [Infinity, NaN],
  )
})

test('arithmetic: float and int give themselves back where there is nothing to do', (t) => {
  const x = zeros([2])
  const i = zeros([2], { dtype: 'int32' })
  t.is(x.float(), x)
  t.is(i.int(), i)
  t.is(x.to(testDevice), x)
})

test('arithmetic: an int32 operand gets no gradient, the other one does', async (t) => {
  const x = tensor([1, 2], { requiresGrad: true })
  const out = tensor([3, 4], { dtype: 'int32' }).mul(x)
  out.backward(tensor([1, 1]))
  await closeTo(t, x.grad, [3, 4], 0)
})

test('arithmetic: errors', (t) => {
  const x = zeros([2, 3])
  for (const [name, f] of Object.entries(ops)) {
    throwsWith(
      t,
      () => f(x, zeros([2])),
      RangeError,
      new RegExp(
        `\\[${name}\\] shapes: expected shapes that broadcast together, got \\(2, 3\\) and \\(2,\\)`,
      ),
    )
    throwsWith(
      t,
      () => f(x, '1' as never),
      TypeError,
      new RegExp(`\\[${name}\\] other: expected a tensor or a number, got '1'`),
    )
  }
  throwsWith(
    t,
    () => full([2], 1, { dtype: 'int32' }).add(zeros([3])),
    RangeError,
    /broadcast together, got \(2,\) and \(3,\)/,
  )
  throwsWith(t, () => x.pow('2' as never), TypeError, /\[pow\] exponent: expected a number/)
  throwsWith(
    t,
    () => full([2], 1, { dtype: 'int32' }).pow(2),
    TypeError,
    /\[pow\] tensor: expected a float32 tensor, got 'int32'/,
  )
  throwsWith(t, () => x.clamp(), RangeError, /\[clamp\] min, max: expected at least one of them/)
  throwsWith(t, () => x.clamp(NaN), RangeError, /\[clamp\] min: expected a number, got NaN/)
  throwsWith(t, () => x.to('tpu'), TypeError, /\[to\] on: expected 'cpu'/)
  throwsWith(t, () => x.to('cuda:99'), RangeError, /\[to\] on: expected 'cpu'.*, got 'cuda:99'/)
  const gone = zeros([2])
  gone[Symbol.dispose]()
  throwsWith(t, () => gone.add(1), TypeError, /this tensor of shape \(2,\) has been disposed/)
  throwsWith(
    t,
    () => zeros([1e7, 1]).add(zeros([1, 1e7])),
    RangeError,
    /\[add\] shape: expected a tensor that fits this machine's memory/,
  )
})
