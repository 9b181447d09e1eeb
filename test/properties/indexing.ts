/** Extremes, statistics, running results and order; see operations.ts. */
import fc from 'fast-check'
import * as draw from './arbitraries.js'
import { type Draw, type Operation, one } from './operations.js'
import type { Values } from './reference.js'
import * as ref from './reference.js'

const oneDim = (shape: readonly number[]) => fc.tuple(draw.dims(shape.length))
const keeping = (shape: readonly number[]) => fc.tuple(draw.dims(shape.length), fc.boolean())
const near: Draw = (shape) => draw.smooth(shape, -2, 2)

function searched(x: Values, dim: number): number[] {
  if (x.shape[ref.dimOf(dim, x.shape.length)] === 0) ref.refuse('nothing to search')
  return [dim]
}

const least = (values: number[]): number =>
  values.some(Number.isNaN) ? NaN : values.reduce((a, b) => Math.min(a, b))

/** NaN last; of equal ones the first first. */
function orderOf(values: readonly number[], sign: number): number[] {
  const key = (v: number): number => (Number.isNaN(v) ? Infinity : v)
  return [...values.keys()].sort((a, b) => {
    const [x, y] = [values[a] as number, values[b] as number]
    const nan = Number(Number.isNaN(x)) - Number(Number.isNaN(y))
    const apart = key(x) === key(y) ? 0 : key(x) < key(y) ? -1 : 1
    return sign * (nan || apart) || a - b
  })
}

const running =
  (f: (a: number, b: number) => number) =>
  (values: number[]): number[] => {
    let total: number | null = null
    return values.map((v) => {
      total = total === null ? v : f(total, v)
      return total
    })
  }

export const indexing: Operation[] = [
  one(
    'min',
    keeping,
    (x, dim, keepdim) => x.min(dim, { keepdim })[0],
    (x, dim, keepdim) => ref.reduce(x, searched(x, dim), keepdim, least),
    { shape: draw.shapes(4, 3) },
  ),
  one(
    'argmin',
    keeping,
    (x, dim, keepdim) => x.argmin(dim, { keepdim }),
    (x, dim, keepdim) =>
      ref.reduce(
        x,
        searched(x, dim),
        keepdim,
        (v) => (v.some(Number.isNaN) ? v.findIndex(Number.isNaN) : v.indexOf(least(v))),
        'int32',
      ),
    { smooth: null },
  ),
  one(
    'var',
    keeping,
    (x, dim, keepdim) => x.var(dim, { keepdim, correction: 0 }),
    (x, dim, keepdim) => {
      if (x.dtype !== 'float32') ref.refuse('int32')
      return ref.reduce(x, [dim], keepdim, (v) => {
        const mean = ref.sum(v) / v.length
        return ref.sum(v.map((one) => (one - mean) ** 2)) / v.length
      })
    },
    { any: near },
  ),
  one(
    'logsumexp',
    keeping,
    (x, dim, keepdim) => x.logsumexp(dim, { keepdim }),
    (x, dim, keepdim) =>
      ref.reduce(x, [dim], keepdim, (v) => Math.log(ref.sum(v.map((one) => Math.exp(one))))),
    { any: near },
  ),
  one(
    'cumsum',
    oneDim,
    (x, dim) => x.cumsum(dim),
    (x, dim) =>
      ref.along(
        x,
        dim,
        running((a, b) => a + b),
      ),
    { any: near },
  ),
  one(
    'cumprod',
    oneDim,
    (x, dim) => x.cumprod(dim),
    (x, dim) =>
      ref.along(
        x,
        dim,
        running((a, b) => a * b),
      ),
    { any: near },
  ),
  ...([1, -1] as const).flatMap((sign) => [
    one(
      sign > 0 ? 'sort' : 'sort descending',
      oneDim,
      (x, dim) => x.sort(dim, { descending: sign < 0 })[0],
      (x, dim) => ref.along(x, dim, (v) => orderOf(v, sign).map((i) => v[i] as number)),
    ),
    one(
      sign > 0 ? 'argsort' : 'argsort descending',
      oneDim,
      (x, dim) => x.argsort(dim, { descending: sign < 0 }),
      (x, dim) => ({ ...ref.along(x, dim, (v) => orderOf(v, sign)), dtype: 'int32' }),
      { smooth: null },
    ),
  ]),
]
