/** Tensor operations on plain arrays, in double precision: what the library's are compared with. */

import type { DType } from 'fused-rnn'

export interface Values {
  readonly shape: readonly number[]
  readonly dtype: DType
  /** Row-major. */
  readonly data: readonly number[]
}

/** The call is one that the library has to refuse. */
export class Refused extends Error {}

export function refuse(why: string): never {
  throw new Refused(why)
}

export const numel = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1)

export function floats(shape: readonly number[], data: Iterable<number>): Values {
  return { shape, dtype: 'float32', data: [...data] }
}

/** The number of an element in the order of the data. */
function flatIndex(shape: readonly number[], index: readonly number[]): number {
  return shape.reduce((flat, size, d) => flat * size + (index[d] as number), 0)
}

export function at(x: Values, index: readonly number[]): number {
  return x.data[flatIndex(x.shape, index)] as number
}

/** Every index of a shape, in order. */
export function indices(shape: readonly number[]): number[][] {
  return shape.reduce<number[][]>(
    (all, size) => all.flatMap((index) => Array.from({ length: size }, (_, i) => [...index, i])),
    [[]],
  )
}

export function build(
  shape: readonly number[],
  element: (index: number[]) => number,
  dtype: Values['dtype'] = 'float32',
): Values {
  return { shape, dtype, data: indices(shape).map(element) }
}

export const map = (x: Values, f: (value: number) => number, dtype = x.dtype): Values => ({
  shape: x.shape,
  dtype,
  data: x.data.map(f),
})

/** A dimension that may count from the end; a number has dimension 0, too. */
export function dimOf(dim: number, rank: number): number {
  const count = Math.max(rank, 1)
  if (!Number.isInteger(dim) || dim < -count || dim >= count) refuse(`dimension ${dim}`)
  return dim < 0 ? dim + count : dim
}

// ---- Element by element ----------------------------------------------------------------------------

export function broadcastShape(a: readonly number[], b: readonly number[]): number[] {
  const rank = Math.max(a.length, b.length)
  return Array.from({ length: rank }, (_, d) => {
    const [m, n] = [a.at(d - rank) ?? 1, b.at(d - rank) ?? 1]
    if (m !== n && m !== 1 && n !== 1) refuse(`${m} and ${n}`)
    return m === 1 ? n : m
  })
}

/** The element that a larger shape's index reads. */
export function broadcastAt(x: Values, index: readonly number[]): number {
  const own = index.slice(index.length - x.shape.length)
  return at(
    x,
    own.map((i, d) => (x.shape[d] === 1 ? 0 : i)),
  )
}

const BINARY = {
  add: (x: number, y: number) => x + y,
  sub: (x: number, y: number) => x - y,
  mul: (x: number, y: number) => x * y,
  div: (x: number, y: number) => x / y,
}
export type BinaryName = keyof typeof BINARY

/** With PyTorch's types: int32 with int32 stays (div does not), all else is float32. */
export function binary(name: BinaryName, a: Values, other: Values | number): Values {
  const b: Values =
    typeof other === 'number'
      ? { shape: [], dtype: (other | 0) === other ? a.dtype : 'float32', data: [other] }
      : other
  const whole = name !== 'div' && a.dtype === 'int32' && b.dtype === 'int32'
  const shape = broadcastShape(a.shape, b.shape)
  // What becomes float32 is rounded before, not after.
  const value = (of: Values, index: number[]): number => {
    const exact = broadcastAt(of, index)
    const rounds = of.dtype === 'int32' || (of === b && typeof other === 'number')
    return rounds && !whole ? Math.fround(exact) : exact
  }
  return build(
    shape,
    (index) => {
      const [x, y] = [value(a, index), value(b, index)]
      if (!whole) return BINARY[name](x, y)
      return name === 'mul' ? Math.imul(x, y) : BINARY[name](x, y) | 0
    },
    whole ? 'int32' : 'float32',
  )
}

/** Whether pairs of elements, as numbers of their common type, are in a relation. */
export function relation(f: (x: number, y: number) => boolean, a: Values, b: Values): Values {
  const rounds = a.dtype !== b.dtype
  const value = (of: Values, index: number[]): number =>
    rounds ? Math.fround(broadcastAt(of, index)) : broadcastAt(of, index)
  const shape = broadcastShape(a.shape, b.shape)
  return build(shape, (index) => Number(f(value(a, index), value(b, index))), 'bool')
}

/** C's pow, which differs from JavaScript's where the exponent is infinite. */
export function power(x: number, exponent: number): number {
  return Math.abs(x) === 1 && !Number.isFinite(exponent) ? 1 : x ** exponent
}

export const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x))

// ---- Reductions ------------------------------------------------------------------------------------

/** Reduces the given dimensions (null: all) with a function of the values in them. */
export function reduce(
  x: Values,
  dims: readonly number[] | null,
  keepdim: boolean,
  f: (values: number[]) => number,
  dtype: Values['dtype'] = x.dtype,
): Values {
  const rank = x.shape.length
  const list = (dims ?? [...x.shape.keys()]).map((dim) => dimOf(dim, rank))
  if (new Set(list).size !== list.length) refuse('a dimension twice')
  const reduced = x.shape.map((_, d) => list.length === 0 || list.includes(d))
  const kept = x.shape.map((size, d) => (reduced[d] ? 1 : size))
  const inside = x.shape.map((size, d) => (reduced[d] ? size : 1))
  const data = indices(kept).map((index) =>
    f(
      indices(inside).map((within) =>
        at(
          x,
          index.map((i, d) => i + (within[d] as number)),
        ),
      ),
    ),
  )
  return { shape: keepdim ? kept : kept.filter((_, d) => !reduced[d]), dtype, data }
}

/** Where the largest is, the first of equal ones; NaN is larger than all. */
export function argmax(values: readonly number[]): number {
  return values.reduce((best, value, i) => {
    const largest = values[best] as number
    return value > largest || (Number.isNaN(value) && !Number.isNaN(largest)) ? i : best
  }, 0)
}

export const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0)

export function softmaxOf(values: readonly number[], log: boolean): number[] {
  const largest = Math.max(...values)
  const total = sum(values.map((value) => Math.exp(value - largest)))
  return values.map((value) =>
    log ? value - largest - Math.log(total) : Math.exp(value - largest) / total,
  )
}

/** A function of the values along one dimension, which gives as many. */
export function along(x: Values, dim: number, f: (values: number[]) => number[]): Values {
  const d = dimOf(dim, x.shape.length)
  if (x.shape.length === 0) return { ...x, data: f([...x.data]) }
  const size = x.shape[d] as number
  const data = [...x.data]
  for (const index of indices(x.shape.with(d, Math.min(size, 1)))) {
    const places = Array.from({ length: size }, (_, i) => flatIndex(x.shape, index.with(d, i)))
    const changed = f(places.map((place) => data[place] as number))
    for (const [i, place] of places.entries()) data[place] = changed[i] as number
  }
  return { ...x, data }
}

// ---- Products --------------------------------------------------------------------------------------

export function matmul(a: Values, b: Values): Values {
  if (a.dtype !== 'float32' || b.dtype !== 'float32') refuse('not float32')
  if (a.shape.length === 0 || b.shape.length === 0) refuse('a number')
  const left = a.shape.length === 1 ? { ...a, shape: [1, ...a.shape] } : a
  const right = b.shape.length === 1 ? { ...b, shape: [...b.shape, 1] } : b
  const [m, k] = left.shape.slice(-2) as [number, number]
  const [rows, n] = right.shape.slice(-2) as [number, number]
  if (k !== rows) refuse(`${k} columns and ${rows} rows`)
  const batch = broadcastShape(left.shape.slice(0, -2), right.shape.slice(0, -2))
  const matrix = (x: Values, index: readonly number[], i: number, j: number): number => {
    const own = x.shape.slice(0, -2)
    const first = index.slice(batch.length - own.length)
    return at(x, [...own.map((size, d) => (size === 1 ? 0 : (first[d] as number))), i, j])
  }
  const full = build([...batch, m, n], (index) => {
    const [i, j] = index.slice(-2) as [number, number]
    const outer = index.slice(0, -2)
    return sum(
      Array.from({ length: k }, (_, l) => matrix(left, outer, i, l) * matrix(right, outer, l, j)),
    )
  })
  const shape = [...batch]
  if (a.shape.length > 1) shape.push(m)
  if (b.shape.length > 1) shape.push(n)
  return { ...full, shape }
}

// ---- Comparing -------------------------------------------------------------------------------------

/** Says what is different, or nothing. Infinities and NaN have to be in the same places. */
export function difference(actual: Values, expected: Values, tolerance: number): string | null {
  if (actual.dtype !== expected.dtype) return `${actual.dtype}, expected ${expected.dtype}`
  if (String(actual.shape) !== String(expected.shape))
    return `shape [${actual.shape}], expected [${expected.shape}]`
  if (actual.data.length !== numel(actual.shape))
    return `${actual.data.length} values for shape [${actual.shape}]`
  for (const [i, x] of actual.data.entries()) {
    const exact = expected.data[i] as number
    const y = expected.dtype === 'float32' ? Math.fround(exact) : exact
    const close =
      Object.is(x, y) || x === y || Math.abs(x - y) <= tolerance * Math.max(1, Math.abs(y))
    if (!close) return `element ${i} of [${actual.shape}] is ${x}, expected ${y}`
  }
  return null
}
