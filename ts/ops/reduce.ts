/** Sums, means and largest values. */
import { record, willRecord } from '../autograd.js'
import { BinaryOp, binding } from '../binding.js'
import { checkBoolean, checkOptions, formatShape, rangeError, typeError } from '../errors.js'
import { numelOf, type Shape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { filled } from './again.js'
import {
  castValues,
  checkDim,
  checkNumeric,
  expandValues,
  relabel,
  splitAt,
  sumValues,
} from './common.js'

/** What sums, means and extremes over dimensions take. */
export interface ReduceOptions {
  /** Keep the reduced dimensions, with size 1; as PyTorch's `keepdim`. Default false. */
  keepdim?: boolean
}

/** One dimension, several, or all (null or none). */
export type Dims = number | readonly number[] | null | undefined

function checkKeepdim(fn: string, options: ReduceOptions): boolean {
  checkOptions(fn, options, ['keepdim'])
  return checkBoolean(fn, 'keepdim', options.keepdim ?? false)
}

/** Which dimensions to reduce. */
function checkDims(fn: string, dim: Dims, rank: number): boolean[] {
  const reduced = new Array<boolean>(Math.max(rank, 1)).fill(false)
  if (dim === null || dim === undefined) return reduced.fill(true)
  const list = Array.isArray(dim) ? (dim as readonly number[]) : [dim as number]
  if (list.length === 0) return reduced.fill(true)
  for (const entry of list) {
    const d = checkDim(fn, 'dim', entry, rank)
    if (reduced[d]) throw rangeError(fn, 'dim', 'different dimensions', `[${list.join(', ')}]`)
    reduced[d] = true
  }
  return reduced
}

function total(fn: string, x: Tensor, dim: Dims, options: ReduceOptions, mean: boolean): Tensor {
  if (x.dtype === 'bool') {
    using ones = castValues(x, 'int32')
    return total(fn, ones, dim, options, mean)
  }
  const keepdim = checkKeepdim(fn, options)
  const reduced = checkDims(fn, dim, x.shape.length)
  const kept = x.shape.map((size, d) => (reduced[d] ? 1 : size))
  const shape = keepdim ? kept : x.shape.filter((_, d) => !reduced[d])
  const scale = mean ? numelOf(kept) / x.numel : 1
  const values = sumValues(x, reduced, emptyScale(mean, x, reduced) ?? scale)
  const out = relabel(values, shape)
  const full = x.shape
  record(
    fn,
    [x],
    [out],
    ([g]) => {
      const dy = g as Tensor
      using part = Tensor.wrap(
        mean
          ? binding.binaryNumber(BinaryOp.mul, dy.buffer, scale)
          : binding.view(dy.buffer, 0, dy.numel),
        kept,
        dy.device,
      )
      return [expandValues(part, full)]
    },
    [],
    'values',
    ([g]) => {
      const dy = (g as Tensor).reshape(kept)
      return [(mean ? dy.mul(scale) : dy).expand(full)]
    },
  )
  return out
}

/** The factor for a mean of nothing: infinity, which makes the sum 0 NaN as in PyTorch. */
function emptyScale(mean: boolean, x: Tensor, reduced: readonly boolean[]): number | null {
  return mean && x.shape.some((size, d) => reduced[d] && size === 0) ? Infinity : null
}

export function sum(x: Tensor, dim?: Dims, options: ReduceOptions = {}): Tensor {
  return total('sum', x, dim, options, false)
}

export function mean(x: Tensor, dim?: Dims, options: ReduceOptions = {}): Tensor {
  if (x.dtype !== 'float32') throw typeError('mean', 'tensor', 'a float32 tensor', x.dtype)
  return total('mean', x, dim, options, true)
}

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

export function argmax(x: Tensor, dim?: number | null, options: ReduceOptions = {}): Tensor {
  const keepdim = checkKeepdim('argmax', options)
  const { outer, n, inner, shape } = searchLayout('argmax', x, dim, keepdim)
  const [, index] = binding.max(x.buffer, outer, n, inner, false)
  return Tensor.wrap(index, shape, x.device, 'int32')
}

/** The largest values along a dimension, and where they are. */
export function max(x: Tensor, dim: number, options: ReduceOptions = {}): [Tensor, Tensor] {
  const keepdim = checkKeepdim('max', options)
  const { outer, n, inner, shape } = searchLayout('max', x, dim, keepdim)
  const [value, index] = binding.max(x.buffer, outer, n, inner, true)
  const values = Tensor.wrap(value as NonNullable<typeof value>, shape, x.device, x.dtype)
  const indices = Tensor.wrap(index, shape, x.device, 'int32')
  if (!willRecord([x])) return [values, indices]
  const full = x.shape
  const saved = indices.share()
  record(
    'max',
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
      const mask = Tensor.wrap(places, [outer, n, inner], dy.device)
      return [dy.reshape([outer, 1, inner]).mul(mask).reshape(full)]
    },
  )
  return [values, indices]
}

/** The largest value of all; its gradient goes in equal parts to all elements that have it. */
export function maxAll(x: Tensor): Tensor {
  const { n, shape } = searchLayout('max', x, null, false)
  const [value, index] = binding.max(x.buffer, 1, n, 1, true)
  binding.release(index)
  const out = Tensor.wrap(value as NonNullable<typeof value>, shape, x.device, x.dtype)
  if (!willRecord([x])) return out
  const full = x.shape
  const savedX = x.share()
  const savedOut = out.share()
  record(
    'max',
    [x],
    [out],
    ([g]) => {
      const dy = g as Tensor
      const dx = binding.maxAllBackward(dy.buffer, savedX.buffer, savedOut.buffer)
      return [Tensor.wrap(dx, full, dy.device)]
    },
    [savedX, savedOut],
    'values',
    ([g]) => {
      const dy = g as Tensor
      const one = filled([], 1, dy.device)
      const places = binding.maxAllBackward(one.buffer, savedX.buffer, savedOut.buffer)
      return [dy.mul(Tensor.wrap(places, full, dy.device))]
    },
  )
  return out
}
