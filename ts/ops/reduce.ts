/** Sums and means, and what reductions share. */
import { record } from '../autograd.js'
import { BinaryOp, binding } from '../binding.js'
import { checkBoolean, checkOptions, rangeError, typeError } from '../errors.js'
import { numelOf, type Shape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { castValues, checkDim, expandValues, relabel, sumValues } from './common.js'
import { permute } from './shape.js'
import { cast } from './unary.js'

/** What sums, means and extremes over dimensions take. */
export interface ReduceOptions {
  /** Keep the reduced dimensions, with size 1; as PyTorch's `keepdim`. Default false. */
  keepdim?: boolean
}

/** One dimension, several, or all (null or none). */
export type Dims = number | readonly number[] | null | undefined

export function checkKeepdim(fn: string, options: ReduceOptions): boolean {
  checkOptions(fn, options, ['keepdim'])
  return checkBoolean(fn, 'keepdim', options.keepdim ?? false)
}

/** Which dimensions to reduce. */
export function checkDims(fn: string, dim: Dims, rank: number): boolean[] {
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

/** How many elements are not 0, int32, and of how many each. */
export function countTrue(
  fn: string,
  x: Tensor,
  dim: Dims,
  options: ReduceOptions,
): { counts: Tensor; most: number } {
  const keepdim = checkKeepdim(fn, options)
  const reduced = checkDims(fn, dim, x.shape.length)
  const most = numelOf(x.shape.filter((_, d) => reduced[d]))
  const mask = cast(x, 'bool')
  using ones = castValues(mask, 'int32')
  if (mask !== x) mask[Symbol.dispose]()
  return { counts: total(fn, ones, dim, { keepdim }, false), most }
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

/** How a reduction over some dimensions is one over the middle of `[outer, n, inner]`. */
export interface Layout {
  /** The tensor, its dimensions in another order where those to reduce were not neighbours. */
  x: Tensor
  outer: number
  n: number
  inner: number
  /** The result's shape. */
  shape: Shape
  /** x's shape with the reduced dimensions of size 1, for broadcasting back. */
  kept: Shape
  /** The reduced dimensions of x. */
  dims: number[]
}

/** Checks the dimensions and finds the layout. @throws TypeError, RangeError */
export function layoutOf(fn: string, x: Tensor, dim: Dims, keepdim: boolean): Layout {
  const { shape } = x
  const reduced = checkDims(fn, dim, shape.length)
  const out = keepdim
    ? shape.map((size, d) => (reduced[d] ? 1 : size))
    : shape.filter((_, d) => !reduced[d])
  const long = (d: number): boolean => shape[d] !== 1
  const chosen = [...shape.keys()].filter((d) => reduced[d] && long(d))
  const begin = chosen[0] ?? 0
  const end = (chosen.at(-1) ?? -1) + 1
  let from = x
  let dims = [...shape.keys()].filter((d) => reduced[d])
  let place = [begin, end]
  if ([...shape.keys()].slice(begin, end).some((d) => !reduced[d] && long(d))) {
    const stay = [...shape.keys()].filter((d) => !reduced[d])
    from = permute(x, [...stay, ...dims])
    dims = dims.map((_, i) => stay.length + i)
    place = [stay.length, shape.length]
  }
  const kept = from.shape.map((size, d) => (dims.includes(d) ? 1 : size))
  return {
    x: from,
    outer: numelOf(from.shape.slice(0, place[0])),
    n: numelOf(from.shape.slice(place[0], place[1])),
    inner: numelOf(from.shape.slice(place[1])),
    shape: out,
    kept,
    dims,
  }
}
