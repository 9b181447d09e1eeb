/** Comparisons, booleans and choices, beside PyTorch's. */
import test from 'ava'
import { ones, type Tensor, tensor, where, zeros } from 'fused-rnn'
import { cases, type Sides } from './cases.js'
import { onCpu, randomTensor, testDevice, throwsWith } from './helpers.js'

const KINDS = ['ints', 'int and float', 'bools', 'bool and int']
const compare: Sides = { logicalNot: (x: Tensor) => x.logicalNot() }
for (const name of ['eq', 'ne', 'lt', 'le', 'gt', 'ge'] as const) {
  const f = (a: Tensor, b: Tensor): Tensor => a[name](b)
  compare[name] = f
  for (const kind of KINDS) compare[`${name} ${kind}`] = f
  for (const kind of ['number', 'int and fraction'])
    compare[`${name} ${kind}`] = (a) => a[name](0.5)
  for (const kind of ['int and whole number', 'bool and number'])
    compare[`${name} ${kind}`] = (a) => a[name](1)
}
for (const name of ['logicalAnd', 'logicalOr', 'logicalXor'] as const)
  for (const kind of ['', ' others']) compare[`${name}${kind}`] = (a, b) => a[name](b)
for (const name of ['isnan', 'isinf', 'isfinite'] as const)
  for (const kind of ['', ' ints']) compare[`${name}${kind}`] = (a) => a[name]()
for (const name of ['any', 'all'] as const) {
  compare[name] = (a) => a[name]()
  compare[`${name} 0`] = (a) => a[name](0)
  compare[`${name} -1 keepdim`] = (a) => a[name](-1, { keepdim: true })
  compare[`${name} dims`] = (a) => a[name]([0, 2])
  compare[`${name} floats`] = (a) => a[name](1)
  compare[`${name} empty`] = (a) => a[name](0)
}
cases('compare', compare, 'elementwise')

cases(
  'where',
  {
    where,
    broadcast: where,
    number: (m, x) => where(m, x, 2.5),
    'number first': (m, x) => where(m, -1, x),
    ints: where,
    'int and float': where,
    bools: where,
    empty: where,
    maskedFill: (x, m) => x.maskedFill(m, -Infinity),
    'maskedFill larger mask': (x, m) => x.maskedFill(m, 7),
    'maskedFill tensor': (x, m, v) => x.maskedFill(m, v),
    'maskedFill ints': (x, m) => x.maskedFill(m, 7),
  },
  'elementwise',
)

test('where: a method, numbers and booleans alone', async (t) => {
  const mask = tensor([true, false, true])
  t.deepEqual(await tensor([1, 2, 3]).where(mask, 0).data(), Float32Array.of(1, 0, 3))
  const numbers = where(mask, 1, 0)
  t.is(numbers.dtype, 'float32')
  t.deepEqual(await numbers.data(), Float32Array.of(1, 0, 1))
  t.deepEqual(await where(mask, false, true).data<Uint8Array>(), Uint8Array.of(0, 1, 0))
  t.deepEqual(await mask.maskedFill(mask, false).data<Uint8Array>(), Uint8Array.of(0, 0, 0))
  t.is(await tensor([1, 2]).eq(2).select(0, 1).item<boolean>(), true)
  t.true(await tensor(NaN).isnan().item<boolean>())
})

test('large arrays, shared by threads', async (t) => {
  const [a, b] = [randomTensor([301, 257], 1), randomTensor([257], 2)]
  const [x, y] = [await a.data(), await b.data()]
  const below = await a.lt(b).data<Uint8Array>()
  t.true(below.every((bit, i) => (bit === 1) === (x[i] as number) < (y[i % 257] as number)))
  const least = await where(a.lt(b), a, b).data()
  t.true(least.every((v, i) => v === Math.min(x[i] as number, y[i % 257] as number)))
  t.is(
    await a.lt(b).sum().item(),
    below.reduce((n, bit) => n + bit, 0),
  )
  t.deepEqual(await a.minimum(b).data(), least)
})

test('errors', (t) => {
  const x = ones([2, 3])
  const mask = x.gt(0)
  const wrong: [() => unknown, RegExp][] = [
    [() => x.eq(null as never), /\[eq\] other: expected a tensor, a number or a boolean, got null/],
    [() => x.lt(ones([2])), /\[lt\] shapes: expected shapes that broadcast together/],
    [() => x.lt(zeros([2], { dtype: 'int32' })), /\[lt\] shapes/],
    [() => mask.logicalAnd(1 as never), /\[logicalAnd\] other: expected a tensor, got 1/],
    [() => mask.logicalOr(mask.select(1, 0)), /\[logicalOr\] shapes/],
    [() => where(x, x, x), /\[where\] condition: expected a tensor of dtype 'bool'/],
    [
      () => where(mask, x, '1' as never),
      /\[where\] other: expected a tensor, a number or a boolean/,
    ],
    [() => where(mask, ones([4]), x), /\[where\] shapes/],
    [() => x.maskedFill(x, 1), /\[maskedFill\] mask: expected a tensor of dtype 'bool'/],
    [
      () => x.maskedFill(mask, x),
      /\[maskedFill\] value: expected a number or a tensor of shape \(\)/,
    ],
    [
      () => x.int().maskedFill(mask, 0.5),
      /\[maskedFill\] value: expected a value that int32 can hold/,
    ],
    [() => mask.maskedFill(mask, 2), /\[maskedFill\] value: expected a value that bool can hold/],
    [() => mask.any(5), /\[any\] dim: expected/],
    [() => mask.all(0, { keepDim: true } as object), /\[all\] options/],
  ]
  for (const [call, message] of wrong) throwsWith(t, call, Error, message)
  const gone = ones([2, 3])
  gone[Symbol.dispose]()
  throwsWith(t, () => x.eq(gone), TypeError, /has been disposed/)
  throwsWith(t, () => where(mask, gone, x), TypeError, /has been disposed/)
})

const onGpu = onCpu ? test.skip : test
onGpu('tensors on two devices', (t) => {
  const [here, there] = [ones([2], { device: 'cpu' }), ones([2], { device: testDevice })]
  for (const call of [
    () => here.eq(there),
    () => here.maximum(there),
    () => where(here.gt(0), here, there),
    () => here.maskedFill(there.gt(0), 1),
    () => here.clamp(there),
  ])
    throwsWith(t, call, RangeError, /expected a tensor on/)
})
