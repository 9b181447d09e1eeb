/** Initial values with a structure, and within limits. */
import test from 'ava'
import { manualSeed, nn, zeros } from 'fused-rnn'
import { closeTo, throwsWith } from './helpers.js'

const { init } = nn

test.serial('orthogonal: rows or columns are orthonormal, times the gain', async (t) => {
  for (const shape of [
    [5, 5],
    [4, 9],
    [9, 4],
    [4, 3, 2],
    [1, 7],
    [64, 64],
  ]) {
    manualSeed(3)
    const w = init.orthogonal(zeros(shape), 2)
    t.deepEqual([...w.shape], shape)
    const rows = shape[0] as number
    const flat = w.reshape([rows, w.numel / rows])
    const [a, b] =
      rows <= w.numel / rows ? [flat, flat.transpose(0, 1)] : [flat.transpose(0, 1), flat]
    const n = a.shape[0] as number
    const expected = Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 4 : 0))
    await closeTo(t, a.matmul(b).reshape([n * n]), expected, 2e-6, String(shape))
    manualSeed(3)
    t.deepEqual(await init.orthogonal(zeros(shape), 2).data(), await w.data())
  }
  // Neither the identity nor always the same: signs are even.
  manualSeed(5)
  let positive = 0
  for (let i = 0; i < 200; i++) {
    const values = await init.orthogonal(zeros([2, 2])).data()
    if ((values[0] as number) > 0) positive++
  }
  t.true(positive > 70 && positive < 130)
  t.is(init.orthogonal(zeros([0, 3])).numel, 0)
})

test.serial('truncNormal: within limits, with the moments of the truncated normal', async (t) => {
  // Mean and standard deviation by numerical integration.
  for (const [mean, std, a, b, expectedMean, expectedStd] of [
    [0, 1, -2, 2, 0, 0.879626],
    [1, 2, -3, 1, -0.445579, 1.002629],
    [0, 1, 3, 10, 3.283097, 0.26563],
    [0, 1, -0.1, 0.1, 0, 0.057697],
    [0, 1, -10, -3, -3.283097, 0.26563],
    [0, 1, 5, 5.5, 5.152102, 0.123183],
  ] as const) {
    manualSeed(4)
    const values = await init.truncNormal(zeros([20_000]), mean, std, a, b).data()
    let [sum, squares] = [0, 0]
    for (const x of values) {
      if (!(x >= Math.fround(a) && x <= Math.fround(b))) t.fail(`${x}`)
      sum += x
      squares += x * x
    }
    const m = sum / values.length
    const s = Math.sqrt(squares / values.length - m * m)
    const what = `${[mean, std, a, b]}: mean ${m}, std ${s}`
    t.true(Math.abs(m - expectedMean) < 0.03 * expectedStd, what)
    t.true(Math.abs(s / expectedStd - 1) < 0.03, what)
  }
})

test.serial('eye, dirac and sparse', async (t) => {
  t.deepEqual([...(await init.eye(zeros([2, 3])).data())], [1, 0, 0, 0, 1, 0])
  // As torch.nn.init.dirac_(torch.empty(4, 2, 3), groups=2).
  const d = await init.dirac(zeros([4, 2, 3]), 2).data()
  t.deepEqual(
    [...d].flatMap((x, i) => (x === 1 ? [i] : [])),
    [1, 10, 13, 22],
  )
  manualSeed(1)
  const s = await init.sparse(zeros([10, 4]), 0.25, 2).data()
  for (let column = 0; column < 4; column++) {
    const none = Array.from({ length: 10 }, (_, row) => s[row * 4 + column]).filter((x) => x === 0)
    t.is(none.length, 3)
  }
})

test('initial values: what is refused', (t) => {
  throwsWith(
    t,
    () => init.orthogonal(zeros([3])),
    RangeError,
    /\[orthogonal\] tensor: expected at least two/,
  )
  throwsWith(t, () => init.orthogonal(zeros([3, 3]), NaN), RangeError, /gain/)
  throwsWith(t, () => init.orthogonal(zeros([2, 2], { dtype: 'int32' })), TypeError, /orthogonal/)
  throwsWith(t, () => init.truncNormal(zeros([3]), 0, 0), RangeError, /std/)
  throwsWith(t, () => init.truncNormal(zeros([3]), 0, 1, 2, 1), RangeError, /\[truncNormal\] b/)
  throwsWith(t, () => init.eye(zeros([3, 3, 3])), RangeError, /two dimensions/)
  throwsWith(t, () => init.dirac(zeros([3, 3])), RangeError, /3, 4 or 5 dimensions/)
  throwsWith(
    t,
    () => init.dirac(zeros([3, 3, 3]), 2),
    RangeError,
    /groups: expected a divisor of 3/,
  )
  throwsWith(t, () => init.sparse(zeros([3, 3]), 2), RangeError, /sparsity/)
})
