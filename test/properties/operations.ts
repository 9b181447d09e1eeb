/** Operations of elements and reductions: what each takes, the library's call and the reference's. */
import fc from 'fast-check'
import type { Tensor } from 'fused-rnn'
import * as draw from './arbitraries.js'
import type { Values } from './reference.js'
import * as ref from './reference.js'

/** One call. Arguments that are not tensors are in the functions. */
export interface Call {
  text: string
  inputs: Values[]
  ours: (...inputs: Tensor[]) => Tensor
  /** @throws Refused when the library has to throw */
  theirs: (...inputs: Values[]) => Values
}

export interface Operation {
  name: string
  calls: fc.Arbitrary<Call>
  /** Calls whose gradients exist everywhere; without it, no gradients are checked. */
  smooth?: fc.Arbitrary<Call>
}

export type Draw = (shape: readonly number[]) => fc.Arbitrary<Values>

/** Calls on one tensor with further arguments. */
function calls<A extends readonly unknown[]>(
  name: string,
  shape: fc.Arbitrary<number[]>,
  values: Draw,
  args: (shape: readonly number[]) => fc.Arbitrary<A>,
  ours: (x: Tensor, ...args: A) => Tensor,
  theirs: (x: Values, ...args: A) => Values,
): fc.Arbitrary<Call> {
  return shape.chain((s) =>
    fc.tuple(values(s), args(s)).map(([x, a]) => ({
      text: `${name}(${JSON.stringify(a).slice(1, -1)})`,
      inputs: [x],
      ours: (input) => ours(input, ...a),
      theirs: (input) => theirs(input, ...a),
    })),
  )
}

/** An operation on one tensor. @param args those after it, for a tensor of this shape */
export function one<A extends readonly unknown[]>(
  name: string,
  args: (shape: readonly number[]) => fc.Arbitrary<A>,
  ours: (x: Tensor, ...args: A) => Tensor,
  theirs: (x: Values, ...args: A) => Values,
  {
    any = draw.values,
    smooth = draw.smooth as Draw | null,
    shape = draw.shapes(4),
  }: { any?: Draw; smooth?: Draw | null; shape?: fc.Arbitrary<number[]> } = {},
): Operation {
  return {
    name,
    calls: calls(name, shape, any, args, ours, theirs),
    ...(smooth && { smooth: calls(name, shape, smooth, args, ours, theirs) }),
  }
}

export const none = (): fc.Arbitrary<[]> => fc.constant([])

// ---- Element by element ----------------------------------------------------------------------------

const BINARY = ['add', 'sub', 'mul', 'div'] as const

function binary(name: ref.BinaryName): Operation {
  const pairs = (values: Draw, second: Draw): fc.Arbitrary<Call> =>
    draw.shapes(4).chain((shape) =>
      draw.broadcasting(shape).chain((other) =>
        fc.tuple(values(shape), second(other)).map(([a, b]) => ({
          text: name,
          inputs: [a, b],
          ours: (x, y) => x[name](y as Tensor),
          theirs: (x, y) => ref.binary(name, x, y as Values),
        })),
      ),
    )
  return {
    name,
    calls: pairs(draw.values, draw.values),
    smooth: pairs(draw.smooth, (shape) => draw.smooth(shape, 0.5, 2)),
  }
}

/** Two tensors that broadcast, any values. */
function relation(
  name: 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge',
  f: (x: number, y: number) => boolean,
): Operation {
  return {
    name,
    calls: draw.shapes(4).chain((shape) =>
      draw.broadcasting(shape).chain((other) =>
        fc.tuple(draw.values(shape), draw.values(other)).map(([a, b]) => ({
          text: name,
          inputs: [a, b],
          ours: (x, y) => x[name](y as Tensor),
          theirs: (x, y) => ref.relation(f, x, y as Values),
        })),
      ),
    ),
  }
}

const numbers = fc.oneof(
  fc.integer({ min: -5, max: 5 }),
  // Kernels take denormals for 0.
  fc.float({ min: -4, max: 4 }).map((x) => (Math.abs(x) < 1e-37 ? 0 : x)),
  fc.constantFrom(0.5, 2 ** 31 - 1, -(2 ** 31), NaN, Infinity),
)

/** int32 values of what this is of become float32. */
const real =
  (f: (value: number) => number) =>
  (x: Values): Values =>
    ref.map(x, f, 'float32')

/** The same with int32 staying int32. */
const kept =
  (f: (value: number) => number) =>
  (x: Values): Values =>
    ref.map(x, (value) => (x.dtype === 'int32' ? f(value) | 0 : f(value)))

const positive: Draw = (shape) => draw.smooth(shape, 0.3, 3)
/** Away from 0, and from ±1 as well. */
const split: Draw = (shape) =>
  draw.smooth(shape, -2, 2).map((x) => ref.map(x, (v) => Math.sign(v) * (0.2 + Math.abs(v))))

export const elementwise: Operation[] = [
  ...BINARY.map(binary),
  ...BINARY.map((name) =>
    one(
      `${name} a number`,
      () => fc.tuple(numbers),
      (x, value) => x[name](value),
      (x, value) => ref.binary(name, x, value),
      { smooth: null },
    ),
  ),
  one(
    'neg',
    none,
    (x) => x.neg(),
    kept((v) => -v),
  ),
  one('abs', none, (x) => x.abs(), kept(Math.abs), { smooth: split }),
  one(
    'relu',
    none,
    (x) => x.relu(),
    kept((v) => (Number.isNaN(v) ? v : Math.max(v, 0))),
    {
      smooth: split,
    },
  ),
  one('exp', none, (x) => x.exp(), real(Math.exp), {
    any: (shape) => fc.oneof(draw.smooth(shape, -80, 80), draw.special(shape)),
  }),
  one('log', none, (x) => x.log(), real(Math.log), { smooth: positive }),
  one('sqrt', none, (x) => x.sqrt(), real(Math.sqrt), { smooth: positive }),
  one('tanh', none, (x) => x.tanh(), real(Math.tanh)),
  ...(['sin', 'cos', 'atan', 'cosh', 'sinh', 'expm1'] as const).map((name) =>
    one(
      name,
      none,
      (x) => x[name](),
      real((v) => Math[name](Math.fround(v))),
    ),
  ),
  ...(['tan', 'asin', 'acos', 'log1p', 'log2', 'log10'] as const).map((name) =>
    one(
      name,
      none,
      (x) => x[name](),
      real((v) => Math[name](Math.fround(v))),
      { smooth: null },
    ),
  ),
  ...(['sign', 'floor', 'ceil', 'trunc'] as const).map((name) =>
    one(
      name,
      none,
      (x) => x[name](),
      kept((v) => (name === 'sign' ? Math.sign(v) || 0 : Math[name](v))),
      { smooth: null },
    ),
  ),
  one(
    'exp2',
    none,
    (x) => x.exp2(),
    real((v) => 2 ** v),
  ),
  one(
    'reciprocal',
    none,
    (x) => x.reciprocal(),
    real((v) => 1 / v),
    { smooth: positive },
  ),
  one(
    'rsqrt',
    none,
    (x) => x.rsqrt(),
    real((v) => 1 / Math.sqrt(v)),
    { smooth: positive },
  ),
  relation('eq', (x, y) => x === y),
  relation('ne', (x, y) => x !== y),
  relation('lt', (x, y) => x < y),
  relation('le', (x, y) => x <= y),
  relation('gt', (x, y) => x > y),
  relation('ge', (x, y) => x >= y),
  one('sigmoid', none, (x) => x.sigmoid(), real(ref.sigmoid)),
  one(
    'pow',
    () => fc.tuple(fc.constantFrom(0, 1, 2, 3, 0.5, -1, -2, 2.5, Infinity, -Infinity)),
    (x, e) => x.pow(e),
    (x, e) => {
      if (x.dtype === 'int32') ref.refuse('int32')
      return ref.map(x, (v) => ref.power(v, e))
    },
    { smooth: null },
  ),
  one(
    'clamp',
    () => fc.tuple(fc.option(numbers), fc.option(numbers)),
    (x, low, high) => x.clamp(low, high),
    (x, low, high) => {
      if (low === null && high === null) ref.refuse('no bound')
      const bounds = [low ?? -Infinity, high ?? Infinity]
      if (bounds.some(Number.isNaN)) ref.refuse('NaN')
      const whole = bounds.every((b) => Number.isInteger(b) || !Number.isFinite(b))
      const [least, most] = bounds as [number, number]
      const clamped = ref.map(x, (v) => Math.min(Math.max(v, least), most))
      return x.dtype === 'int32' && !whole ? { ...clamped, dtype: 'float32' } : clamped
    },
    { smooth: null },
  ),
  one(
    'float',
    none,
    (x) => x.float(),
    real((v) => v),
    { smooth: null },
  ),
  one(
    'clone',
    none,
    (x) => x.clone(),
    (x) => x,
  ),
  one(
    'detach',
    none,
    (x) => x.detach(),
    (x) => x,
    { smooth: null },
  ),
]

// ---- Reductions ------------------------------------------------------------------------------------

const dimLists = (shape: readonly number[]): fc.Arbitrary<number | number[] | null> =>
  fc.oneof(
    draw.dims(shape.length),
    fc.array(draw.dims(shape.length), { maxLength: shape.length + 1 }),
    fc.constant(null),
  )
const reduced = (shape: readonly number[]) => fc.tuple(dimLists(shape), fc.boolean())
const listOf = (dim: number | number[] | null): number[] | null =>
  typeof dim === 'number' ? [dim] : dim
/** Sums of numbers that are far apart depend on their order. */
const moderate: Draw = (shape) =>
  fc.oneof(draw.smooth(shape), draw.whole(shape), draw.special(shape).map(withoutLarge))
const withoutLarge = (x: Values): Values =>
  ref.map(x, (v) => (Number.isFinite(v) && Math.abs(v) > 100 ? 1 : v))

function searched(x: Values, dim: number | null): number[] | null {
  if (dim === null) {
    if (ref.numel(x.shape) === 0) ref.refuse('nothing to search')
    return null
  }
  if (x.shape[ref.dimOf(dim, x.shape.length)] === 0) ref.refuse('nothing to search')
  return [dim]
}

const oneDim = (shape: readonly number[]) => fc.tuple(draw.dims(shape.length))
const finite: Draw = (shape) => draw.smooth(shape, -20, 20)

export const reductions: Operation[] = [
  one(
    'sum',
    reduced,
    (x, dim, keepdim) => x.sum(dim, { keepdim }),
    (x, dim, keepdim) =>
      ref.reduce(x, listOf(dim), keepdim, (values) =>
        x.dtype === 'int32' ? values.reduce((a, b) => (a + b) | 0, 0) : ref.sum(values),
      ),
    { any: moderate },
  ),
  one(
    'mean',
    reduced,
    (x, dim, keepdim) => x.mean(dim, { keepdim }),
    (x, dim, keepdim) => {
      if (x.dtype === 'int32') ref.refuse('int32')
      return ref.reduce(x, listOf(dim), keepdim, (values) => ref.sum(values) / values.length)
    },
    { any: moderate },
  ),
  one(
    'max',
    (shape) => fc.tuple(draw.dims(shape.length), fc.boolean()),
    (x, dim, keepdim) => x.max(dim, { keepdim })[0],
    (x, dim, keepdim) =>
      ref.reduce(x, searched(x, dim), keepdim, (v) => v[ref.argmax(v)] as number),
    { shape: draw.shapes(4, 3) },
  ),
  one(
    'max of all',
    none,
    (x) => x.max(),
    (x) => ref.reduce(x, searched(x, null), false, (v) => v[ref.argmax(v)] as number),
  ),
  one(
    'argmax',
    (shape) => fc.tuple(fc.option(draw.dims(shape.length)), fc.boolean()),
    (x, dim, keepdim) => x.argmax(dim, { keepdim }),
    (x, dim, keepdim) => ref.reduce(x, searched(x, dim), keepdim, ref.argmax, 'int32'),
    { smooth: null },
  ),
  ...([false, true] as const).map((log) =>
    one(
      log ? 'logSoftmax' : 'softmax',
      oneDim,
      (x, dim) => (log ? x.logSoftmax(dim) : x.softmax(dim)),
      (x, dim) => ref.along(x, dim, (values) => ref.softmaxOf(values, log)),
      { any: finite },
    ),
  ),
]
