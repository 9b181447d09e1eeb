import test from 'ava'
import { getNumThreads, setNumThreads, type Tensor, zeros } from 'fused-rnn'
import { cases, type Sides } from './cases.js'
import { closeTo, randomTensor, randomValues, throwsWith } from './helpers.js'

const sides: Sides = {
  'sum ints': (x: Tensor) => x.sum(1),
  'sum ints all': (x: Tensor) => x.sum(),
  'max keepdim': (x: Tensor) => x.max(1, { keepdim: true }),
  max: (x: Tensor) => x.max(),
  'max number': (x: Tensor) => x.max(0),
  'max to nothing': (x: Tensor) => x.max(1),
  'max ints': (x: Tensor) => x.max(1),
  'max ties': (x: Tensor) => x.max(1),
  'max ties of all': (x: Tensor) => x.max(),
  'max NaN': (x: Tensor) => x.max(1),
  argmax: (x: Tensor) => x.argmax(),
  'argmax keepdim': (x: Tensor) => x.argmax(1, { keepdim: true }),
  'argmax ties': (x: Tensor) => x.argmax(1),
  'argmax NaN': (x: Tensor) => x.argmax(1),
}
for (const op of ['sum', 'mean'] as const) {
  sides[op] = (x: Tensor) => x[op]()
  for (const d of [0, 1, 2, -1, -3]) sides[`${op} ${d}`] = (x: Tensor) => x[op](d)
  sides[`${op} keepdim`] = (x: Tensor) => x[op](1, { keepdim: true })
  sides[`${op} dims`] = (x: Tensor) => x[op]([0, 2])
  sides[`${op} dims keepdim`] = (x: Tensor) => x[op]([-1, 1], { keepdim: true })
  sides[`${op} number`] = (x: Tensor) => x[op]()
  sides[`${op} number 0`] = (x: Tensor) => x[op](0)
  sides[`${op} of nothing`] = (x: Tensor) => x[op](1)
  sides[`${op} to nothing`] = (x: Tensor) => x[op](1)
}
for (const d of [0, 1, 2, -1]) {
  sides[`max ${d}`] = (x: Tensor) => x.max(d)
  sides[`argmax ${d}`] = (x: Tensor) => x.argmax(d)
}
cases('reduce', sides)

const softmaxSides: Sides = {}
for (const op of ['softmax', 'logSoftmax'] as const) {
  for (const d of [0, 1, 2, -1]) softmaxSides[`${op} ${d}`] = (x: Tensor) => x[op](d)
  for (const kind of ['columns', 'large numbers', 'empty', 'special']) {
    softmaxSides[`${op} ${kind}`] = (x: Tensor) => x[op](1)
  }
  for (const kind of ['number', 'empty dim', 'special columns']) {
    softmaxSides[`${op} ${kind}`] = (x: Tensor) => x[op](0)
  }
  softmaxSides[`${op} wide`] = (x: Tensor) => x.mul(30)[op](1)
}
cases('softmax', softmaxSides)

test('reduce: sums of many numbers keep their precision', async (t) => {
  const [rows, columns] = [301, 1001]
  const values = randomValues(rows * columns, 5)
  const x = randomTensor([rows, columns], 5)
  const byRow = new Float64Array(rows)
  const byColumn = new Float64Array(columns)
  values.forEach((v, i) => {
    byRow[Math.floor(i / columns)] = (byRow[Math.floor(i / columns)] as number) + v
    byColumn[i % columns] = (byColumn[i % columns] as number) + v
  })
  await closeTo(t, x.sum(1), byRow, 5e-6)
  await closeTo(t, x.sum(0), byColumn, 5e-6)
  const total = values.reduce((a, b) => a + b, 0)
  await closeTo(t, x.sum(), [total], 1e-6)
  await closeTo(t, x.mean(), [total / values.length], 1e-6)
  await closeTo(t, zeros([3_000_000]).add(0.1).sum(), [Math.fround(0.1) * 3_000_000], 1e-6)
})

test.serial('reduce: the same bits for any number of threads', async (t) => {
  const before = getNumThreads()
  const x = randomTensor([257, 1003], 6)
  const results: number[][] = []
  for (const threads of [1, 2, 3]) {
    setNumThreads(threads)
    const parts = [x.sum(), x.sum(0), x.sum(1), x.softmax(0).sum(1), x.reshape([-1]).mean(0)]
    results.push((await Promise.all(parts.map(async (p) => [...(await p.data())]))).flat())
  }
  setNumThreads(before)
  t.deepEqual(results[1], results[0])
  t.deepEqual(results[2], results[0])
})

test('reduce: errors', (t) => {
  const x = zeros([2, 3])
  const empty = zeros([2, 0])
  throwsWith(t, () => x.sum(2), RangeError, /\[sum\] dim: .* between -2 and 1, got 2/)
  throwsWith(t, () => x.mean(-3), RangeError, /\[mean\] dim: .* between -2 and 1, got -3/)
  throwsWith(t, () => x.sum(0.5), RangeError, /\[sum\] dim: expected a whole number, got 0.5/)
  throwsWith(t, () => x.sum('0' as never), TypeError, /\[sum\] dim: expected a whole number/)
  throwsWith(t, () => x.sum([0, -2]), RangeError, /\[sum\] dim: expected different dimensions/)
  throwsWith(t, () => x.sum(0, { keepDim: true } as never), TypeError, /\[sum\] options: .*keepDim/)
  throwsWith(
    t,
    () => x.sum(0, { keepdim: 1 as never }),
    TypeError,
    /\[sum\] keepdim: expected a bo/,
  )
  throwsWith(
    t,
    () => zeros([2], { dtype: 'int32' }).mean(),
    TypeError,
    /\[mean\] tensor: .*float32/,
  )
  throwsWith(t, () => empty.argmax(1), RangeError, /\[argmax\] dim: .*one element, got \(2, 0\)/)
  throwsWith(
    t,
    () => empty.argmax(),
    RangeError,
    /\[argmax\] tensor: expected at least one element/,
  )
  throwsWith(t, () => empty.max(), RangeError, /\[max\] tensor: expected at least one element/)
  throwsWith(t, () => empty.max(1), RangeError, /\[max\] dim: .*one element, got \(2, 0\)/)
  throwsWith(t, () => x.softmax(2), RangeError, /\[softmax\] dim: .* between -2 and 1, got 2/)
  throwsWith(t, () => x.logSoftmax(undefined as never), TypeError, /\[logSoftmax\] dim/)
  throwsWith(t, () => x.int().softmax(0), TypeError, /\[softmax\] tensor: .*float32/)
})
