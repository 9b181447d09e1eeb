import test from 'ava'
import type { Tensor } from 'fused-rnn'
import { tensor, zeros } from 'fused-rnn'
import { cases, type Sides } from './cases.js'
import { closeTo, emulated, randomTensor, throwsWith } from './helpers.js'

type T = Tensor

// ---- By index --------------------------------------------------------------------------------------

const along: Sides = {
  'gather longer': (x: T, i: T) => x.gather(1, i),
  'gather smaller': (x: T, i: T) => x.gather(1, i),
  'gather nothing': (x: T, i: T) => x.gather(1, i),
  'gather number': (x: T, i: T) => x.gather(0, i),
  scatter: (x: T, i: T, s: T) => x.scatter(1, i, s),
  'scatter 0': (x: T, i: T, s: T) => x.scatter(0, i, s),
  'scatter smaller': (x: T, i: T, s: T) => x.scatter(1, i, s),
  'scatter smaller both': (x: T, i: T, s: T) => x.scatter(1, i, s),
  'scatter a number': (x: T, i: T) => x.scatter(1, i, 2.5),
  scatterAdd: (x: T, i: T, s: T) => x.scatterAdd(1, i, s),
  'scatterAdd 0': (x: T, i: T, s: T) => x.scatterAdd(0, i, s),
  'scatterAdd smaller': (x: T, i: T, s: T) => x.scatterAdd(0, i, s),
  'scatterAdd long': (x: T, i: T, s: T) => x.scatterAdd(0, i, s),
  indexAdd: (x: T, i: T, s: T) => x.indexAdd(0, i, s),
  'indexAdd alpha': (x: T, i: T, s: T) => x.indexAdd(1, i, s, { alpha: -2 }),
  indexCopy: (x: T, i: T, s: T) => x.indexCopy(1, i, s),
  indexFill: (x: T, i: T) => x.indexFill(1, i, -1.5),
  'indexFill negative': (x: T, i: T) => x.indexFill(1, i, -1.5),
}
for (const d of [0, 1, 2, -1]) along[`gather ${d}`] = (x: T, i: T) => x.gather(d, i)
cases('along', along, 'indexing')

test('along: a wrong index is found when the queue gets there', async (t) => {
  const x = randomTensor([2, 3], 1)
  const index = (values: number[]) => tensor(values, { shape: [1, values.length], dtype: 'int32' })
  const wrong = /index\[1\]: expected a whole number of at least 0 and below 3, got (3|-1)/
  await t.throwsAsync(async () => x.gather(1, index([0, 3])).data(), { message: wrong })
  await t.throwsAsync(async () => x.gather(1, index([0, -1])).data(), { message: wrong })
  await t.throwsAsync(async () => x.scatter(1, index([0, 3]), 1).data(), { message: wrong })
  await t.throwsAsync(async () => x.scatterAdd(1, index([0, -1]), x).data(), { message: wrong })
  await t.throwsAsync(async () => x.indexAdd(1, tensor([0, 3, 1], { dtype: 'int32' }), x).data(), {
    message: wrong,
  })
  // Nothing lasts: what is computed from good indices afterwards is right.
  await closeTo(t, x.gather(1, index([2])), [(await x.data())[2] as number], 0)
})

test('along: int32 values, and adding up in one order', async (t) => {
  const x = zeros([4], { dtype: 'int32' })
  const index = tensor([1, 1, 3, 1], { dtype: 'int32' })
  const src = tensor([5, 6, 7, 2 ** 31 - 1], { dtype: 'int32' })
  t.deepEqual([...(await x.scatterAdd(0, index, src).data())], [0, -(2 ** 31) + 10, 0, 7])
  t.deepEqual([...(await x.scatter(0, index, src).data())], [0, 2 ** 31 - 1, 0, 7])
  const n = emulated ? 3000 : 100_000
  const many = randomTensor([n], 3)
  const places = many.mul(1e4).abs().int()
  const total = async () => [...(await zeros([20_000]).scatterAdd(0, places, many).data())]
  t.deepEqual(await total(), await total())
})

test('along: errors', (t) => {
  const x = randomTensor([2, 3], 1)
  const i = zeros([2, 3], { dtype: 'int32' })
  throwsWith(t, () => x.gather(2, i), RangeError, /\[gather\] dim: expected .* between -2 and 1/)
  throwsWith(t, () => x.gather(0, x), TypeError, /\[gather\] index: expected an int32 tensor/)
  throwsWith(
    t,
    () => x.gather(0, zeros([2, 4], { dtype: 'int32' })),
    RangeError,
    /\[gather\] index: expected 2 dimensions of at most \(…, 3\), got \(2, 4\)/,
  )
  throwsWith(t, () => x.gather(0, zeros([2], { dtype: 'int32' })), RangeError, /2 dimensions/)
  throwsWith(t, () => x.scatter(0, i, i), TypeError, /\[scatter\] src: expected a float32 tensor/)
  throwsWith(
    t,
    () => x.scatter(0, i, '1' as never),
    TypeError,
    /src: expected a tensor or a number/,
  )
  throwsWith(t, () => i.scatter(0, i, 0.5), RangeError, /src: expected a whole number that fits/)
  throwsWith(t, () => x.scatterAdd(0, i, 1 as never), TypeError, /\[scatterAdd\] src: .* a tensor/)
  throwsWith(
    t,
    () => x.scatterAdd(0, i, randomTensor([2, 2], 1)),
    RangeError,
    /src: expected at least the index's shape \(2, 3\), got \(2, 2\)/,
  )
  const row = zeros([4], { dtype: 'int32' })
  throwsWith(
    t,
    () => x.indexAdd(1, row, x),
    RangeError,
    /src: expected shape \(2, 4\), got \(2, 3\)/,
  )
  throwsWith(t, () => x.indexAdd(1, i, x), RangeError, /index: expected one dimension/)
  throwsWith(t, () => i.indexAdd(0, row, i, { alpha: 0.5 }), RangeError, /alpha: expected a whole/)
  throwsWith(t, () => x.indexAdd(0, row, x, { beta: 1 } as never), TypeError, /one of alpha, got/)
  throwsWith(t, () => x.indexFill(0, row, x as never), TypeError, /value: expected/)
})

// ---- Extremes --------------------------------------------------------------------------------------

const extremes: Sides = {
  min: (x: T) => x.min(),
  'min ties of all': (x: T) => x.min(),
  'min ties': (x: T) => x.min(1),
  'min keepdim': (x: T) => x.min(1, { keepdim: true }),
  'min NaN': (x: T) => x.min(1),
  'min ints': (x: T) => x.min(1),
  argmin: (x: T) => x.argmin(),
  'argmin NaN': (x: T) => x.argmin(1),
}
for (const d of [0, 1, 2, -1]) {
  extremes[`min ${d}`] = (x: T) => x.min(d)
  extremes[`argmin ${d}`] = (x: T) => x.argmin(d)
}
for (const op of ['amax', 'amin'] as const) {
  extremes[op] = (x: T) => x[op]()
  extremes[`${op} dims`] = (x: T) => x[op]([0, 2])
  extremes[`${op} keepdim`] = (x: T) => x[op]([2, 0], { keepdim: true })
  extremes[`${op} columns of ties`] = (x: T) => x[op](0)
  for (const what of ['1', 'ties', 'NaN', 'ints']) extremes[`${op} ${what}`] = (x: T) => x[op](1)
}
cases('extremes', extremes, 'indexing')

test('extremes: errors', (t) => {
  const nothing = zeros([2, 0])
  throwsWith(t, () => nothing.amax(1), RangeError, /\[amax\] dim: expected dimensions of at least/)
  throwsWith(t, () => nothing.min(1), RangeError, /\[min\] dim: expected a dimension of at least/)
  throwsWith(t, () => nothing.min(), RangeError, /\[min\] tensor: expected at least one element/)
  throwsWith(t, () => nothing.amin([0, 0]), RangeError, /\[amin\] dim: expected different/)
  throwsWith(t, () => nothing.argmin(3), RangeError, /\[argmin\] dim/)
})
