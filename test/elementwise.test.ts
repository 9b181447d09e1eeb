/** Functions of one element and of two, beside PyTorch's. */
import test from 'ava'
import { nn, ones, type Tensor, tensor, where, zeros } from 'fused-rnn'
import { cases, type Sides } from './cases.js'
import { closeTo, gradgradcheck, randomValues, throwsWith } from './helpers.js'

const { functional } = nn
const PLAIN = [
  ...(['sign', 'round', 'floor', 'ceil', 'trunc', 'sin', 'cos', 'tan', 'asin', 'acos'] as const),
  ...(['atan', 'sinh', 'cosh', 'erf', 'log1p', 'expm1', 'log2', 'log10', 'exp2'] as const),
  ...(['rsqrt', 'reciprocal', 'square'] as const),
]

const functions: Sides = {
  nanToNum: (x: Tensor) => x.nanToNum(),
  'nanToNum options': (x: Tensor) => x.nanToNum({ nan: 1.5, posinf: 9, neginf: -9 }),
}
for (const name of PLAIN)
  for (const kind of ['', ' corners', ' ints'])
    functions[`${name}${kind}`] = (x: Tensor) => x[name]()
const activations: Record<string, (x: Tensor) => Tensor> = {
  gelu: functional.gelu,
  'gelu tanh': (x) => functional.gelu(x, { approximate: 'tanh' }),
  silu: functional.silu,
  elu: functional.elu,
  'elu 0.3': (x) => functional.elu(x, { alpha: 0.3 }),
  leakyRelu: functional.leakyRelu,
  'leakyRelu 0.2': (x) => functional.leakyRelu(x, { negativeSlope: 0.2 }),
  logSigmoid: functional.logSigmoid,
  hardtanh: functional.hardtanh,
  'hardtanh -0.5 1.1': (x) => functional.hardtanh(x, { minVal: -0.5, maxVal: 1.1 }),
  relu6: functional.relu6,
  mish: functional.mish,
  softplus: functional.softplus,
  'softplus 2 3': (x) => functional.softplus(x, { beta: 2, threshold: 3 }),
}
for (const [name, f] of Object.entries(activations))
  for (const kind of ['', ' corners']) functions[`${name}${kind}`] = (x: Tensor) => f(x)
cases('function', functions, 'elementwise')

const pairs: Sides = {
  'pow corners': (a: Tensor, b: Tensor) => a.pow(b),
  lerp: (a: Tensor, b: Tensor, w: Tensor) => a.lerp(b, w),
  'lerp number': (a: Tensor, b: Tensor) => a.lerp(b, 0.3),
  addcmul: (a: Tensor, b: Tensor, c: Tensor) => a.addcmul(b, c, { value: 0.5 }),
  addcdiv: (a: Tensor, b: Tensor, c: Tensor) => a.addcdiv(b, c, { value: -2 }),
  'clamp tensors': (x: Tensor, low: Tensor, high: Tensor) => x.clamp(low, high),
  'clamp min tensor': (x: Tensor, low: Tensor) => x.clamp(low),
  'clamp crossed': (x: Tensor, low: Tensor, high: Tensor) => x.clamp(low, high),
}
for (const name of ['maximum', 'minimum', 'fmod', 'remainder', 'atan2', 'pow'] as const) {
  const f = (a: Tensor, b: Tensor): Tensor => a[name](b)
  for (const kind of ['', ' row', ' left', ' int and float']) pairs[`${name}${kind}`] = f
  if (name === 'maximum' || name === 'minimum')
    for (const kind of ['ties', 'ints', 'bools']) pairs[`${name} ${kind}`] = f
  if (name === 'fmod' || name === 'remainder') {
    pairs[`${name} ints`] = f
    pairs[`${name} signs`] = f
    pairs[`${name} number`] = (a: Tensor) => a[name](1.3)
  }
}
cases('pair', pairs, 'elementwise')

test('within two units in the last place of double precision', async (t) => {
  const values = randomValues(20_000, 5).map((x) => x * 4)
  const exact: Partial<Record<(typeof PLAIN)[number], (x: number) => number>> = {
    sin: Math.sin,
    cos: Math.cos,
    tan: Math.tan,
    atan: Math.atan,
    sinh: Math.sinh,
    cosh: Math.cosh,
    expm1: Math.expm1,
    exp2: (x) => 2 ** x,
  }
  for (const [name, f] of Object.entries(exact)) {
    const y = await tensor(values)[name as 'sin']().data<Float32Array>()
    const worst = y.reduce((most, got, i) => {
      const right = f(values[i] as number)
      return Math.max(most, Math.abs(got - right) / Math.max(Math.abs(right), 1e-30))
    }, 0)
    t.true(worst < 2.4e-7, `${name}: ${worst}`)
  }
})

test('both sides of the binding number the functions alike', async (t) => {
  const file = new URL('../dist/binding.js', import.meta.url).href
  const { binding, BinaryOp, UnaryOp } = await import(file)
  t.deepEqual(binding.functions(), [Object.keys(UnaryOp), Object.keys(BinaryOp)])
})

test('large arguments of periodic functions', async (t) => {
  const large = Float32Array.of(1e6, 1e7, -3e9, 1e20, 3e38)
  await closeTo(t, tensor(large).sin(), large.map(Math.sin), 1e-6)
  await closeTo(t, tensor(large).cos(), large.map(Math.cos), 1e-6)
  await closeTo(t, tensor(large).tan(), large.map(Math.tan), 1e-4)
  const x = tensor(large, { requiresGrad: true })
  x.sin().sum().backward()
  await closeTo(t, x.grad, large.map(Math.cos), 1e-6)

  // Of every exponent from 2^19 on, and of both signs.
  const values = randomValues(108 * 8, 3)
  const all = values.map((v, i) => Math.sign(v) * (1 + Math.abs(v)) * 2 ** (19 + (i >> 3)))
  await closeTo(t, tensor(all).sin(), all.map(Math.sin), 1e-6)
  await closeTo(t, tensor(all).cos(), all.map(Math.cos), 1e-6)
  const no = tensor([Infinity, -Infinity, NaN])
  for (const y of [no.sin(), no.cos(), no.tan()])
    t.deepEqual([...((await y.data()) as Float32Array)], [NaN, NaN, NaN])
})

test('gradients of gradients', async (t) => {
  const some = (low: number, high: number): Tensor =>
    tensor(
      randomValues(6, 7).map((v) => low + ((high - low) * (v + 1)) / 2),
      { requiresGrad: true },
    )
  for (const name of PLAIN) {
    if (['round', 'floor', 'ceil', 'trunc', 'sign'].includes(name)) continue
    await gradgradcheck(t, (x) => x[name](), [some(0.2, 0.9)])
  }
  const others = ['silu', 'gelu', 'softplus', 'logSigmoid', 'elu', 'leakyRelu'] as const
  for (const name of others)
    await gradgradcheck(t, (x) => functional[name](x).mul(x), [some(-0.9, 0.8)])
  const [a, b] = [some(0.2, 0.9), some(-0.8, 1)]
  await gradgradcheck(t, (x, y) => x.maximum(y).mul(x), [a, b])
  await gradgradcheck(t, (x, y) => where(y.gt(0), x, y).mul(x), [a, b])
  await gradgradcheck(t, (x, y) => x.addcmul(x, y).lerp(y, 0.3), [a, b])
})

test('whole numbers', async (t) => {
  const x = tensor([-(2 ** 31), -7, 0, 7], { dtype: 'int32' })
  t.deepEqual(await x.round().data(), Int32Array.of(-(2 ** 31), -7, 0, 7))
  const by = tensor([-1, 0, 0, -2], { dtype: 'int32' })
  t.deepEqual(await x.fmod(by).data(), Int32Array.of(0, 0, 0, 1))
  t.deepEqual(await x.remainder(by).data(), Int32Array.of(0, 0, 0, -1))
  t.deepEqual(await x.maximum(by).data(), Int32Array.of(-1, 0, 0, 7))
  t.deepEqual(await tensor([7], { dtype: 'int32' }).fmod(2.5).data(), Float32Array.of(2))
})

test('errors', (t) => {
  const x = ones([2, 3])
  const mask = zeros([2, 3], { dtype: 'bool' })
  const wrong: [() => unknown, RegExp][] = [
    [() => x.maximum(1 as never), /\[maximum\] other: expected a tensor, got 1/],
    [() => x.maximum(ones([2])), /\[maximum\] shapes: expected shapes that broadcast together/],
    [() => x.atan2(null as never), /\[atan2\] other: expected a tensor, got null/],
    [
      () => zeros([2], { dtype: 'int32' }).fmod(0),
      /\[fmod\] other: expected a divisor other than 0/,
    ],
    [() => mask.sign(), /\[sign\] tensor: expected a float32 or int32 tensor, got 'bool'/],
    [() => mask.floor(), /\[floor\] tensor: expected a float32 or int32 tensor/],
    [() => x.nanToNum({ inf: 1 } as object), /\[nanToNum\] options: expected one of nan/],
    [() => x.lerp(x, '1' as never), /\[lerp\] weight: expected a tensor or a number/],
    [() => x.addcmul(x, 2 as never), /\[addcmul\] tensor2: expected a tensor, got 2/],
    [() => x.addcdiv(x, x, { value: NaN }), /\[addcdiv\] value: expected a number/],
    [() => functional.gelu(mask), /\[gelu\] input: expected a float32 tensor/],
    [() => functional.gelu(x, { approximate: 'erf' as 'none' }), /\[gelu\] approximate/],
    [
      () => functional.softplus(x, { beta: 0 }),
      /\[softplus\] beta: expected a number other than 0/,
    ],
    [
      () => functional.hardtanh(x, { minVal: 2 }),
      /\[hardtanh\] maxVal: expected a number of at least 2/,
    ],
    [() => functional.leakyRelu(x, { slope: 1 } as object), /\[leakyRelu\] options/],
  ]
  for (const [call, message] of wrong) throwsWith(t, call, Error, message)
})
