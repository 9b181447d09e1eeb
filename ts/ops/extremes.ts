/** Largest and smallest values, and where they are. */
import { record, willRecord } from '../autograd.js'
import { type Buffer, binding } from '../binding.js'
import { formatShape, rangeError } from '../errors.js'
import type { Shape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { filled } from './again.js'
import { checkDim, checkNumeric, splitAt } from './common.js'
import { checkKeepdim, type Dims, layoutOf, type ReduceOptions } from './reduce.js'

/** Positions are int32. */
function checkSearched(fn: string, n: number): void {
  if (n >= 2 ** 31) throw rangeError(fn, 'tensor', 'fewer than 2^31 elements to search', `${n}`)
}

/** The sizes around the dimension to search (null: everything as one), and the result's shape. */
function searchLayout(fn: string, x: Tensor, dim: number | null | undefined, keepdim: boolean) {
  checkNumeric(fn, 'tensor', x)
  if (dim === null || dim === undefined) {
    if (x.numel === 0) throw rangeError(fn, 'tensor', 'at least one element', formatShape(x.shape))
    checkSearched(fn, x.numel)
    const shape: Shape = keepdim ? x.shape.map(() => 1) : []
    return { outer: 1, n: x.numel, inner: 1, shape }
  }
  const d = checkDim(fn, 'dim', dim, x.shape.length)
  if (x.shape[d] === 0) {
    throw rangeError(fn, 'dim', 'a dimension of at least one element', formatShape(x.shape))
  }
  checkSearched(fn, x.shape[d] ?? 1)
  const kept = x.shape.map((size, i) => (i === d ? 1 : size))
  return { ...splitAt(x.shape, d), shape: keepdim ? kept : x.shape.filter((_, i) => i !== d) }
}

function place(
  fn: 'argmax' | 'argmin',
  x: Tensor,
  dim: number | null | undefined,
  options: ReduceOptions,
): Tensor {
  const keepdim = checkKeepdim(fn, options)
  const { outer, n, inner, shape } = searchLayout(fn, x, dim, keepdim)
  const [, index] = binding.max(x.buffer, outer, n, inner, fn === 'argmin', false, true)
  return Tensor.wrap(index as Buffer, shape, x.device, 'int32')
}

export function argmax(x: Tensor, dim?: number | null, options: ReduceOptions = {}): Tensor {
  return place('argmax', x, dim, options)
}

export function argmin(x: Tensor, dim?: number | null, options: ReduceOptions = {}): Tensor {
  return place('argmin', x, dim, options)
}

/** dy [outer, inner] times a mask [outer, n, inner], under a shape, with history. */
function masked(dy: Tensor, mask: Tensor, shape: Shape): Tensor {
  const [outer, , inner] = mask.shape as [number, number, number]
  return dy.reshape([outer, 1, inner]).mul(mask).reshape(shape)
}

/** The largest or smallest values along a dimension, and where they are. */
export function extreme(
  fn: 'max' | 'min',
  x: Tensor,
  dim: number,
  options: ReduceOptions = {},
): [Tensor, Tensor] {
  const keepdim = checkKeepdim(fn, options)
  const { outer, n, inner, shape } = searchLayout(fn, x, dim, keepdim)
  const [value, index] = binding.max(x.buffer, outer, n, inner, fn === 'min', true, true)
  const values = Tensor.wrap(value as Buffer, shape, x.device, x.dtype)
  const indices = Tensor.wrap(index as Buffer, shape, x.device, 'int32')
  if (!willRecord([x])) return [values, indices]
  const full = x.shape
  const saved = indices.share()
  record(
    fn,
    [x],
    [values],
    ([g]) => {
      const dy = g as Tensor
      const dx = binding.maxBackward(dy.buffer, saved.buffer, outer, n, inner)
      return [Tensor.wrap(dx, full, dy.device)]
    },
    [saved],
    'values',
    ([g]) => {
      const dy = g as Tensor
      const ones = filled(dy.shape, 1, dy.device)
      const places = binding.maxBackward(ones.buffer, saved.buffer, outer, n, inner)
      return [masked(dy, Tensor.wrap(places, [outer, n, inner], dy.device), full)]
    },
  )
  return [values, indices]
}

/** The values alone; the gradient goes in equal parts to all elements that have them. */
function values(
  fn: string,
  x: Tensor,
  { outer, n, inner, shape }: { outer: number; n: number; inner: number; shape: Shape },
  smallest: boolean,
): Tensor {
  const [value] = binding.max(x.buffer, outer, n, inner, smallest, true, false)
  const out = Tensor.wrap(value as Buffer, shape, x.device, x.dtype)
  recordEvenly(fn, x, out, { outer, n, inner })
  return out
}

/** Records that each element of out, `[outer, inner]`, is one of those of x, or several equal ones. */
export function recordEvenly(
  fn: string,
  x: Tensor,
  out: Tensor,
  { outer, n, inner }: { outer: number; n: number; inner: number },
): void {
  if (!willRecord([x])) return
  const full = x.shape
  const savedX = x.share()
  const savedOut = out.share()
  record(
    fn,
    [x],
    [out],
    ([g]) => {
      const dy = g as Tensor
      const { buffer: from } = savedX
      const dx = binding.extremeBackward(dy.buffer, from, savedOut.buffer, outer, n, inner)
      return [Tensor.wrap(dx, full, dy.device)]
    },
    [savedX, savedOut],
    'values',
    ([g]) => {
      const dy = g as Tensor
      const ones = filled(dy.shape, 1, dy.device).buffer
      const share = binding.extremeBackward(ones, savedX.buffer, savedOut.buffer, outer, n, inner)
      return [masked(dy, Tensor.wrap(share, [outer, n, inner], dy.device), full)]
    },
  )
}

/** The largest or smallest value of all. */
export function extremeOfAll(fn: 'max' | 'min', x: Tensor): Tensor {
  return values(fn, x, searchLayout(fn, x, null, false), fn === 'min')
}

/** The largest or smallest values over one dimension, several, or all. */
export function extremeOver(
  fn: 'amax' | 'amin',
  x: Tensor,
  dim: Dims,
  options: ReduceOptions = {},
): Tensor {
  const keepdim = checkKeepdim(fn, options)
  checkNumeric(fn, 'tensor', x)
  const layout = layoutOf(fn, x, dim, keepdim)
  if (layout.n === 0)
    throw rangeError(fn, 'dim', 'dimensions of at least one element', formatShape(x.shape))
  return values(fn, layout.x, layout, fn === 'amin')
}
