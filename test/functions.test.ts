/** How exact functions of one number are, over all sizes of floats and where they end. */
import test from 'ava'
import { nn, setNumThreads, type Tensor, tensor } from 'fused-rnn'
import { onCpu } from './helpers.js'

/** Units in the last place of a float32 result of about this size. */
function ulp(value: number): number {
  const exponent = Math.floor(Math.log2(Math.max(Math.abs(value), 2 ** -126)))
  return 2 ** (exponent - 23)
}

/** Floats of every exponent between two powers of two, `each` of one, of both signs. */
function floats(from: number, to: number, each: number): Float32Array {
  const values: number[] = []
  for (let exponent = from; exponent < to; exponent++) {
    for (let i = 0; i < each; i++) {
      // Beginning and end of the range, and what lies evenly but for a little between.
      const mantissa = i < 2 ? i * (1 - 2 ** -23) : (i + ((i * 7919) % 97) / 97) / (each + 1)
      const value = 2 ** exponent * (1 + mantissa)
      values.push(value, -value)
    }
  }
  return Float32Array.from(values)
}

async function worst(
  x: Float32Array,
  f: (x: Tensor) => Tensor,
  exact: (x: number) => number,
): Promise<{ ulps: number; at: number }> {
  const y = await f(tensor(x)).data()
  let found = { ulps: 0, at: 0 }
  for (const [i, at] of x.entries()) {
    const expected = exact(at)
    const got = y[i] as number
    if (Object.is(expected, got) || (Math.abs(expected) < 2 ** -126 && got === 0)) continue
    if (Math.abs(expected) >= 2 ** 128 && got === expected * Infinity) continue
    const ulps = Math.abs(got - expected) / ulp(expected)
    if (!(ulps <= found.ulps)) found = { ulps, at }
  }
  return found
}

test('tanh: two units in the last place at most', async (t) => {
  setNumThreads(1)
  const x = Float32Array.from([...floats(-126, -12, 50), ...floats(-12, 5, 20_000)])
  const { ulps, at } = await worst(x, (x) => x.tanh(), Math.tanh)
  t.true(ulps <= 2, `${ulps} at ${at}`)
})

test('sigmoid: four units in the last place at most, down to the smallest normal float', async (t) => {
  const x = floats(-30, 7, 5000).filter((x) => x > -87.33)
  const { ulps, at } = await worst(
    x,
    (x) => x.sigmoid(),
    (x) => 1 / (1 + Math.exp(-x)),
  )
  t.true(ulps <= 4, `${ulps} at ${at}`)
})

test('tanh and sigmoid end at -1, 0 and 1; NaN stays NaN', async (t) => {
  const x = [-Infinity, -3.4e38, -1e10, -200, 200, 1e10, 3.4e38, Infinity, NaN, 0, -0]
  // Among many, where they go through registers, and alone.
  for (const repeat of [1, 40]) {
    const values = tensor(Float32Array.from(Array(repeat).fill(x).flat()))
    const low = [0, 0, 0, 0]
    const high = [1, 1, 1, 1]
    const sigmoid = Array(repeat)
      .fill([...low, ...high, NaN, 0.5, 0.5])
      .flat()
    t.deepEqual([...(await values.sigmoid().data())], sigmoid)
    const tanh = Array(repeat)
      .fill([-1, -1, -1, -1, ...high, NaN, 0, 0])
      .flat()
    t.deepEqual(
      [...(await values.tanh().data())].map((y) => (y === 0 ? 0 : y)),
      tanh,
    )
  }
})

test('gates end at 0 and 1: a closed gate lets nothing through', async (t) => {
  // One unit, whose forget gate alone is closed or open: c stays what it was, or goes.
  const layer = new nn.LSTM(1, 1)
  for (const [bias, expected] of [
    [-Infinity, 0],
    [-1e30, 0],
    [-200, 0],
    [200, 1e6],
    [1e30, 1e6],
    [Infinity, 1e6],
  ] as const) {
    for (const p of layer.parameters()) nn.init.constant(p, 0)
    using gates = tensor(Float32Array.from([-Infinity, bias, 0, 0]))
    layer.loadStateDict(new Map([...layer.stateDict(), ['bias_ih_l0', gates]]))
    const state = [tensor([[[0]]]), tensor([[[1e6]]])] as const
    const [, [, c]] = layer.forward(tensor([[[0]]]), [state[0], state[1]])
    t.is(await c.item(), expected, `a bias of ${bias}`)
  }
})

test('pow: two units in the last place at most, and the ends of libm', async (t) => {
  const positive = floats(-20, 20, 50).filter((x) => x > 0)
  // CUDA's own powf is less exact.
  const most = onCpu ? 2 : 9
  for (const exponent of [2, 3, 0.5, -0.5, -1, -2, 1.7, 2.5, 7, -3, 0.001, -5.3]) {
    const p = Math.fround(exponent)
    const { ulps, at } = await worst(
      positive,
      (x) => x.pow(p),
      (x) => x ** p,
    )
    t.true(ulps <= most, `${p}: ${ulps} at ${at}`)
  }
  const ends = [0, -0, 1, -1, 2, -2, Infinity, -Infinity, NaN]
  for (const p of [0, 1, 2, 3, 4, 5, -1, -2, -3, -4, 1.5, -1.5, 0.25]) {
    const y = await tensor(Float32Array.from(ends)).pow(p).data()
    for (const [i, x] of ends.entries()) {
      const expected = Math.fround(x ** p)
      t.true(
        y[i] === expected || Object.is(y[i], expected),
        `${Object.is(x, -0) ? '-0' : x} ** ${p}: ${y[i]}`,
      )
    }
  }
})

/** erf(x), by its series or, beyond 2.5, the continued fraction of what is left of 1. */
function erf(x: number): number {
  const a = Math.abs(x)
  if (a > 2.5) return Math.sign(x) * (1 - erfc(a))
  let [term, sum] = [a, a]
  for (let n = 1; Math.abs(term) > 1e-17 * sum; n++) {
    term *= -(a * a) / n
    sum += term / (2 * n + 1)
  }
  return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI)
}

/** 1 - erf(x) for x above 0. */
function erfc(x: number): number {
  if (x < 2.5) return 1 - erf(x)
  let fraction = x
  for (let n = 120; n > 0; n--) fraction = x + n / 2 / fraction
  return Math.exp(-x * x) / (Math.sqrt(Math.PI) * fraction)
}

const cdf = (x: number): number =>
  x < 0 ? erfc(-x * Math.SQRT1_2) / 2 : 1 - erfc(x * Math.SQRT1_2) / 2
const density = (x: number): number => Math.exp((-x * x) / 2) / Math.sqrt(2 * Math.PI)
const slopeOf =
  (f: (x: Tensor) => Tensor) =>
  (x: Tensor): Tensor => {
    const leaf = x.detach()
    leaf.requiresGrad = true
    f(leaf).sum().backward()
    return leaf.grad as Tensor
  }
const cpuTest = onCpu ? test : test.skip

// A GPU has CUDA's own functions.
cpuTest('erf, log1p, tan, gelu: two units in the last place at most', async (t) => {
  const wide = Float32Array.from([...floats(-30, -6, 60), ...floats(-6, 4, 6000)])
  const inside = wide.filter((x) => Math.abs(x) < 12.9)
  const cases: [string, Float32Array, (x: Tensor) => Tensor, (x: number) => number][] = [
    ['erf', wide, (x) => x.erf(), erf],
    [
      'log1p',
      Float32Array.from([...wide.filter((x) => x > -1), 1e10, 3e38]),
      (x) => x.log1p(),
      Math.log1p,
    ],
    ['tan', wide, (x) => x.tan(), Math.tan],
    ['gelu', inside, nn.functional.gelu, (x) => x * cdf(x)],
    [
      'gelu by tanh',
      inside,
      (x) => nn.functional.gelu(x, { approximate: 'tanh' }),
      (x) => x / (1 + Math.exp(-2 * Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
    ],
    [
      'gradient of erf',
      wide.filter((x) => Math.abs(x) < 9),
      slopeOf((x) => x.erf()),
      (x) => (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x),
    ],
    [
      'gradient of gelu',
      // It crosses 0 at -0.75.
      inside.filter((x) => x < -1 || x > -0.5),
      slopeOf(nn.functional.gelu),
      (x) => cdf(x) + x * density(x),
    ],
  ]
  for (const [name, x, f, exact] of cases) {
    const { ulps, at } = await worst(x, f, exact)
    t.true(ulps <= 2, `${name}: ${ulps} at ${at}`)
  }
})
