import test from 'ava'
import { getNumThreads, setNumThreads, type Tensor, tensor, zeros } from 'fused-rnn'
import { cases, type Sides } from './cases.js'
import { closeTo, emulated, randomTensor, throwsWith } from './helpers.js'

type T = Tensor

// ---- Statistics ------------------------------------------------------------------------------------

const statistics: Sides = {
  prod: (x: T) => x.prod(),
  'prod 1': (x: T) => x.prod(1),
  'prod keepdim': (x: T) => x.prod(0, { keepdim: true }),
  'prod zeros': (x: T) => x.prod(1),
  'prod columns of zeros': (x: T) => x.prod(0),
  'prod of nothing': (x: T) => x.prod(1),
  'prod ints': (x: T) => x.prod(1),
  'logsumexp 1': (x: T) => x.logsumexp(1),
  'logsumexp -1': (x: T) => x.logsumexp(-1, { keepdim: true }),
  'logsumexp dims': (x: T) => x.logsumexp([0, 2]),
  'logsumexp large': (x: T) => x.logsumexp(1),
  'logsumexp special': (x: T) => x.logsumexp(1),
  'logsumexp of nothing': (x: T) => x.logsumexp(1),
  'norm dims': (x: T) => x.norm({ p: 2, dim: [0, 2], keepdim: true }),
}
for (const op of ['var', 'std'] as const) {
  statistics[op] = (x: T) => x[op]()
  statistics[`${op} number`] = (x: T) => x[op](null, { correction: 0 })
  for (const d of [0, 1, -1]) statistics[`${op} ${d}`] = (x: T) => x[op](d)
  statistics[`${op} dims`] = (x: T) => x[op]([0, 2])
  statistics[`${op} correction`] = (x: T) => x[op](1, { correction: 0, keepdim: true })
  statistics[`${op} correction 2`] = (x: T) => x[op](1, { correction: 2 })
  statistics[`${op} equal`] = (x: T) => x[op](1)
  statistics[`${op} far from 0`] = (x: T) => x[op](1)
}
for (const p of [2, 1, 0, 3, 1.5, 0.5, Infinity, -Infinity]) {
  const name = `norm ${String(p).replace('Infinity', 'inf')}`
  statistics[name] = (x: T) => x.norm({ p })
  statistics[`${name} 1`] = (x: T) => x.norm({ p, dim: 1 })
  statistics[`${name} zeros`] = (x: T) => x.norm({ p, dim: 1 })
}
cases('statistics', statistics, 'indexing')

test('statistics: errors', (t) => {
  const x = zeros([2, 3])
  const whole = zeros([2, 3], { dtype: 'int32' })
  throwsWith(t, () => whole.var(), TypeError, /\[var\] tensor: expected a float32 tensor/)
  throwsWith(t, () => whole.norm(), TypeError, /\[norm\] tensor: expected a float32 tensor/)
  throwsWith(t, () => x.std(0, { unbiased: true } as never), TypeError, /correction, keepdim/)
  throwsWith(t, () => x.norm({ p: NaN }), RangeError, /\[norm\] p: expected a number, got NaN/)
  throwsWith(t, () => x.norm(2 as never), TypeError, /\[norm\] options: expected an object/)
  throwsWith(t, () => zeros([2, 0]).norm({ p: -1 }), RangeError, /\[norm\] p: expected at least 0/)
  throwsWith(t, () => x.prod([0] as never), TypeError, /\[prod\] dim: expected a whole number/)
  throwsWith(t, () => x.logsumexp(2), RangeError, /\[logsumexp\] dim/)
})

// ---- Running results -------------------------------------------------------------------------------

const scan: Sides = {
  'cumsum long': (x: T) => x.cumsum(1),
  'cumprod zeros': (x: T) => x.cumprod(1),
  'cumprod columns of zeros': (x: T) => x.cumprod(0),
}
for (const op of ['cumsum', 'cumprod'] as const) {
  for (const d of [0, 1, -1]) scan[`${op} ${d}`] = (x: T) => x[op](d)
  for (const what of ['ints', 'one', 'nothing']) scan[`${op} ${what}`] = (x: T) => x[op](1)
  scan[`${op} number`] = (x: T) => x[op](0)
}
cases('scan', scan, 'indexing')

test('scan: errors', (t) => {
  throwsWith(t, () => zeros([2]).cumsum(1), RangeError, /\[cumsum\] dim/)
  throwsWith(t, () => zeros([2]).cumprod(null as never), TypeError, /\[cumprod\] dim/)
})

// ---- Order -----------------------------------------------------------------------------------------

const order: Sides = {
  'sort descending': (x: T) => x.sort(-1, { descending: true }),
  'sort ties descending': (x: T) => x.sort(-1, { descending: true, stable: true }),
  'sort NaN descending': (x: T) => x.sort(-1, { descending: true }),
  topk: (x: T) => x.topk(3),
  'topk smallest': (x: T) => x.topk(2, { largest: false }),
  'topk 0': (x: T) => x.topk(2, { dim: 0 }),
  'topk all': (x: T) => x.topk(5, { sorted: true }),
  'topk none': (x: T) => x.topk(0),
  'topk NaN': (x: T) => x.topk(3),
  'median keepdim': (x: T) => x.median(1, { keepdim: true }),
  'median NaN': (x: T) => x.median(1),
  'median number': (x: T) => x.median(0),
  'median ints': (x: T) => x.median(0),
  'median all': (x: T) => x.median(),
  'median all ties': (x: T) => x.median(),
  'median all NaN': (x: T) => x.median(),
  'median nothing': (x: T) => x.median(),
}
for (const d of [0, 1, -1]) {
  order[`median ${d}`] = (x: T) => x.median(d)
  order[`sort ${d}`] = (x: T) => x.sort(d)
  order[`argsort ${d}`] = (x: T) => x.argsort(d)
}
for (const what of ['ties', 'NaN', 'ints', 'long', 'number', 'nothing'])
  order[`sort ${what}`] = (x: T) => x.sort()
cases('order', order, 'indexing')

test.serial('order: as JavaScript sorts, for any size and number of threads', async (t) => {
  const before = getNumThreads()
  for (const n of emulated ? [39, 1500] : [39, 41, 777, 5999, 6001, 70_000]) {
    const x = randomTensor([3, n], n).mul(50).int()
    const values = await x.data()
    for (const threads of [1, 3]) {
      setNumThreads(threads)
      const [sorted, indices] = x.sort(1)
      const k = Math.ceil(n / 9)
      const [most, places] = x.topk(k)
      const all = await Promise.all([sorted, indices, most, places].map((y) => y.data()))
      for (let row = 0; row < 3; row++) {
        const line = [...values.slice(row * n, (row + 1) * n)]
        const up = [...line.keys()].sort((a, b) => (line[a] as number) - (line[b] as number))
        const down = [...line.keys()].sort((a, b) => (line[b] as number) - (line[a] as number))
        const part = (y: ArrayLike<number>, size: number) =>
          Array.from(y).slice(row * size, (row + 1) * size)
        t.deepEqual(part(all[1] as Int32Array, n), up)
        t.deepEqual(
          part(all[0] as Int32Array, n),
          up.map((i) => line[i]),
        )
        t.deepEqual(part(all[3] as Int32Array, k), down.slice(0, k))
        t.deepEqual(
          part(all[2] as Int32Array, k),
          down.slice(0, k).map((i) => line[i]),
        )
      }
    }
  }
  setNumThreads(before)
})

test('order: errors', async (t) => {
  const x = tensor([3, 1, 2])
  throwsWith(t, () => x.topk(4), RangeError, /\[topk\] k: expected .* between 0 and 3, got 4/)
  throwsWith(t, () => x.topk(1.5), RangeError, /\[topk\] k: expected a whole number, got 1.5/)
  throwsWith(t, () => x.topk(1, { biggest: true } as never), TypeError, /dim, largest, sorted/)
  throwsWith(t, () => x.sort(1), RangeError, /\[sort\] dim/)
  throwsWith(t, () => x.sort(0, { descending: 1 } as never), TypeError, /descending: expected/)
  throwsWith(t, () => x.argsort(0, { stable: 0 } as never), TypeError, /stable: expected/)
  await closeTo(t, x.argsort(), [1, 2, 0], 0)
})
