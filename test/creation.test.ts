import test from 'ava'
import {
  arange,
  eye,
  fullLike,
  linspace,
  manualSeed,
  normal,
  onesLike,
  randint,
  randLike,
  randnLike,
  randperm,
  type Tensor,
  tensor,
  zeros,
  zerosLike,
} from 'fused-rnn'
import { closeTo, emulated, throwsWith } from './helpers.js'

const list = async (x: Tensor): Promise<number[]> => [...(await x.data())]

test('creation: ranges', async (t) => {
  t.deepEqual(await list(arange(4)), [0, 1, 2, 3])
  t.is(arange(4).dtype, 'int32')
  t.deepEqual(await list(arange(2, 9, 3)), [2, 5, 8])
  t.deepEqual(await list(arange(3, -2, -2)), [3, 1, -1])
  t.deepEqual(await list(arange(5, 5)), [])
  const floats = arange(0, 1, 0.25, { requiresGrad: true })
  t.deepEqual([floats.dtype, floats.requiresGrad], ['float32', true])
  t.deepEqual(await list(floats), [0, 0.25, 0.5, 0.75])
  t.is(arange(3, { dtype: 'float32' }).dtype, 'float32')
  t.deepEqual(await list(arange(0, 3, 0.75, { dtype: 'int32' })), [0, 0, 1, 2])
  await closeTo(t, linspace(-1, 1, 5), [-1, -0.5, 0, 0.5, 1], 0)
  t.deepEqual(await list(linspace(3, 9, 1)), [3])
  t.deepEqual(await list(linspace(3, 9, 0)), [])
  t.deepEqual(await list(linspace(0, 10, 4, { dtype: 'int32' })), [0, 3, 6, 10])
  t.deepEqual(await list(eye(2, 3)), [1, 0, 0, 0, 1, 0])
  t.deepEqual(await list(eye(2, { dtype: 'int32' })), [1, 0, 0, 1])
})

test('creation: like another', async (t) => {
  const x = tensor([1, 2], { dtype: 'int32' })
  t.deepEqual(await list(zerosLike(x)), [0, 0])
  t.is(onesLike(x).dtype, 'int32')
  t.is(onesLike(x, { dtype: 'float32' }).dtype, 'float32')
  t.deepEqual(await list(fullLike(x, 7)), [7, 7])
  t.deepEqual(randLike(zeros([2, 3])).shape, [2, 3])
  t.deepEqual(randnLike(zeros([2, 3])).shape, [2, 3])
  throwsWith(t, () => randLike(x), TypeError, /dtype: expected one of 'float32', got 'int32'/)
})

test('creation: random numbers', async (t) => {
  manualSeed(3)
  const n = emulated ? 2000 : 20_000
  const dice = await list(randint(1, 7, [n]))
  for (let face = 1; face <= 6; face++) {
    const share = dice.filter((x) => x === face).length / n
    t.true(Math.abs(share - 1 / 6) < 0.03)
  }
  t.true((await list(randint(-(2 ** 31), 2 ** 31, [50]))).some((x) => x < -1e6))
  t.true((await list(randint(3, [50]))).every((x) => x >= 0 && x < 3))
  const order = await list(randperm(300))
  t.deepEqual(
    [...order].sort((a, b) => a - b),
    [...order.keys()],
  )
  t.notDeepEqual(order, [...order.keys()])
  const numbers = await list(normal(5, 0.1, [n]))
  const mean = numbers.reduce((a, b) => a + b, 0) / n
  t.true(Math.abs(mean - 5) < 0.02)
})

test('creation: multinomial', async (t) => {
  manualSeed(4)
  const n = emulated ? 2000 : 20_000
  const p = tensor([
    [0, 1, 3],
    [2, 0, 2],
  ])
  const drawn = await list(p.multinomial(n, { replacement: true }))
  const share = (row: number, c: number): number =>
    drawn.slice(row * n, (row + 1) * n).filter((x) => x === c).length / n
  for (const [row, shares] of [
    [0, 0.25, 0.75],
    [0.5, 0, 0.5],
  ].entries())
    for (const [c, expected] of shares.entries()) {
      t.true(Math.abs(share(row, c) - expected) < 0.04)
      if (expected === 0) t.is(share(row, c), 0)
    }
  const both = p.multinomial(2)
  t.deepEqual(both.shape, [2, 2])
  const values = await list(both)
  t.deepEqual(values.slice(0, 2).sort(), [1, 2])
  t.deepEqual(values.slice(2).sort(), [0, 2])
  // The first of two draws follows the probabilities.
  const first = await list(tensor([1, 3]).expand([n, 2]).multinomial(2))
  t.true(Math.abs(first.filter((x, i) => i % 2 === 0 && x === 1).length / n - 0.75) < 0.04)
  await t.throwsAsync(async () => p.multinomial(3).data(), { message: /enough numbers above 0/ })
  await t.throwsAsync(async () => p.neg().multinomial(1).data(), { message: /of at least 0/ })
})

test('creation: bernoulli', async (t) => {
  manualSeed(5)
  const n = emulated ? 1000 : 10_000
  const p = tensor([0, 1, 0.25, -0.5, 1.5, NaN]).expand([n, 6])
  const [zero, one, quarter, ...bad] = await list(p.bernoulli().mean(0))
  t.deepEqual([zero, one, ...bad], [0, 1, NaN, NaN, NaN])
  t.true(Math.abs((quarter as number) - 0.25) < 0.06)
})

test('creation: errors', (t) => {
  throwsWith(
    t,
    () => arange(0, 3, 0),
    RangeError,
    /\[arange\] step: expected a finite number other/,
  )
  throwsWith(t, () => arange(3, 0), RangeError, /\[arange\] step: expected a step from 3 towards 0/)
  throwsWith(t, () => arange(2 ** 40, 2 ** 40 + 1), RangeError, /numbers that fit int32/)
  throwsWith(t, () => arange('3' as never), TypeError, /\[arange\] end: expected a number, got '3'/)
  throwsWith(t, () => arange(0, '3' as never), TypeError, /\[arange\] step: expected a number/)
  throwsWith(t, () => arange(Infinity), RangeError, /\[arange\] end: expected a finite number/)
  throwsWith(t, () => arange(3, { like: 1 } as never), TypeError, /one of dtype, device, requires/)
  throwsWith(t, () => linspace(0, 1, -1), RangeError, /\[linspace\] steps/)
  throwsWith(t, () => linspace(0, NaN, 3), RangeError, /\[linspace\] end/)
  throwsWith(t, () => eye(-1), RangeError, /\[eye\] n/)
  throwsWith(t, () => zerosLike([1] as never), TypeError, /\[zerosLike\] tensor: expected a tensor/)
  throwsWith(t, () => randint(3, 3, [2]), RangeError, /\[randint\] high: .* at least 4|between 4/)
  throwsWith(t, () => randint(0, 3, [2], { dtype: 'float32' } as never), TypeError, /'int32'/)
  throwsWith(t, () => randperm(-1), RangeError, /\[randperm\] n/)
  throwsWith(t, () => normal(0, -1, [2]), RangeError, /\[normal\] std/)
  throwsWith(t, () => zeros([2, 3]).multinomial(4), RangeError, /\[multinomial\] numSamples/)
  throwsWith(t, () => zeros([2, 0]).multinomial(1), RangeError, /at least one class/)
})
