import test from 'ava'
import { getNumThreads, manualSeed, rand, randn, setNumThreads, uniform } from 'fused-rnn'
import { throwsWith } from './helpers.js'

function moments(values: ArrayLike<number>): { mean: number; variance: number; fourth: number } {
  let [mean, variance, fourth] = [0, 0, 0]
  for (let i = 0; i < values.length; i++) mean += (values[i] as number) / values.length
  for (let i = 0; i < values.length; i++) {
    const d = (values[i] as number) - mean
    variance += d ** 2 / values.length
    fourth += d ** 4 / values.length
  }
  return { mean, variance, fourth }
}

test.serial('randn: mean 0, variance 1, the tails of a normal distribution', async (t) => {
  manualSeed(1)
  const x = await randn([200_001]).data()
  const { mean, variance, fourth } = moments(x)
  t.true(Math.abs(mean) < 0.01)
  t.true(Math.abs(variance - 1) < 0.015)
  t.true(Math.abs(fourth - 3) < 0.1)
  t.true(x.every((value) => Number.isFinite(value)))
  const beyond = x.filter((value) => Math.abs(value) > 1.96).length / x.length
  t.true(Math.abs(beyond - 0.05) < 0.003)
})

test.serial('rand and uniform: within their bounds, evenly', async (t) => {
  manualSeed(2)
  const x = await rand([100_003]).data()
  t.true(x.every((value) => value >= 0 && value < 1))
  t.true(Math.abs(moments(x).mean - 0.5) < 0.005)
  t.true(Math.abs(moments(x).variance - 1 / 12) < 0.002)
  const y = await uniform([100_003], -3, 1).data()
  t.true(y.every((value) => value >= -3 && value <= 1))
  t.true(Math.abs(moments(y).mean + 1) < 0.02)
})

test.serial('random: the seed decides, whatever the threads; calls differ', async (t) => {
  const before = getNumThreads()
  const draw = async (threads: number) => {
    setNumThreads(threads)
    manualSeed(7)
    const [a, b] = [randn([70_001]), randn([70_001])]
    return [await a.data(), await b.data()] as const
  }
  const [a, b] = await draw(1)
  const [c, d] = await draw(3)
  setNumThreads(before)
  t.deepEqual(c, a)
  t.deepEqual(d, b)
  t.notDeepEqual(a, b)
  manualSeed(8)
  t.notDeepEqual(await randn([70_001]).data(), a)
})

test('random: shapes and options', async (t) => {
  t.deepEqual((await randn([0, 3]).data()).length, 0)
  t.deepEqual([...randn([]).shape], [])
  t.true(rand([2], { requiresGrad: true }).requiresGrad)
})

test('random: errors', (t) => {
  throwsWith(t, () => randn(3 as never), TypeError, /\[randn\] shape: expected an array of sizes/)
  throwsWith(t, () => rand([-1]), RangeError, /\[rand\] shape\[0\]: .*got -1/)
  throwsWith(
    t,
    () => rand([1], { dtype: 'int32' } as never),
    TypeError,
    /\[rand\] dtype: expected one of 'float32', got 'int32'/,
  )
  throwsWith(t, () => uniform([1], 2, 1), RangeError, /\[uniform\] high: .*at least 2, got 1/)
})
