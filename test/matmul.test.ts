import test from 'ava'
import { nn, type Tensor, zeros } from 'fused-rnn'
import { cases, type Sides } from './cases.js'
import { closeTo, fixture, randomTensor, randomValues, throwsWith } from './helpers.js'

const linear = nn.functional.linear
const sides: Sides = {}
for (const name of Object.keys(fixture('ops').info)) {
  if (name.startsWith('matmul.[')) sides[name.slice(7)] = (a: Tensor, b: Tensor) => a.matmul(b)
}
for (const kind of ['', ' 3-D', ' vector', ' no bias', ' empty']) sides[`linear${kind}`] = linear
cases('matmul', sides)

/** [m, k] · [k, n] in double precision. */
function reference(a: Float32Array, b: Float32Array, m: number, k: number, n: number) {
  const out = new Float64Array(m * n)
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0
      for (let p = 0; p < k; p++) sum += (a[i * k + p] as number) * (b[p * n + j] as number)
      out[i * n + j] = sum
    }
  }
  return out
}

test('matmul: large products, shared by threads', async (t) => {
  const [m, k, n] = [170, 120, 190]
  const a = randomTensor([m, k], 1)
  const b = randomTensor([k, n], 2)
  const expected = reference(randomValues(m * k, 1), randomValues(k * n, 2), m, k, n)
  await closeTo(t, a.matmul(b), expected, 2e-5)
  await closeTo(t, linear(a, b.t()), expected, 2e-5)
  const batch = a.reshape([10, 17, k]).matmul(b.expand([10, k, n]))
  await closeTo(t, batch.reshape([m, n]), expected, 2e-5)
})

test('matmul: the gradient of a wide bias is the sum over the rows', async (t) => {
  const [rows, width] = [303, 700]
  const bias = zeros([width], { requiresGrad: true })
  const gradient = randomTensor([rows, width], 3)
  linear(zeros([rows, 2]), zeros([width, 2]), bias).backward(gradient)
  await closeTo(t, bias.grad, gradient.sum(0), 1e-6)
})

test('matmul: errors', (t) => {
  const x = zeros([2, 3])
  throwsWith(
    t,
    () => x.matmul(zeros([2, 3])),
    RangeError,
    /\[matmul\] other: .*\(…, 3, n\).*\(2, 3\)/,
  )
  throwsWith(t, () => x.matmul(zeros([2])), RangeError, /\[matmul\] other: expected shape \(3,\)/)
  throwsWith(
    t,
    () => zeros([4, 2, 3]).matmul(zeros([5, 3, 2])),
    RangeError,
    /\[matmul\] shapes: .*broadcast together, got \(4,\) and \(5,\)/,
  )
  throwsWith(t, () => zeros([]).matmul(x), RangeError, /\[matmul\] tensor: .*one dimension/)
  throwsWith(t, () => x.matmul(zeros([])), RangeError, /\[matmul\] other: .*one dimension/)
  throwsWith(t, () => x.matmul(x.int()), TypeError, /\[matmul\] other: expected a float32 tensor/)
  throwsWith(t, () => x.matmul(2 as never), TypeError, /\[matmul\] other: expected a tensor, got 2/)
  throwsWith(
    t,
    () => linear(x, zeros([3])),
    RangeError,
    /\[linear\] weight: expected shape \(O, I\)/,
  )
  throwsWith(t, () => linear(x, zeros([4, 2])), RangeError, /\[linear\] x: expected shape \(…, 2\)/)
  throwsWith(
    t,
    () => linear(x, zeros([4, 3]), zeros([3])),
    RangeError,
    /\[linear\] bias: expected shape \(4,\), got \(3,\)/,
  )
  throwsWith(t, () => linear(x.int(), x), TypeError, /\[linear\] x: expected a float32 tensor/)
})
