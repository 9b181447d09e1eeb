/** Rows by index: what embeddings, packing and permuting states are made of. */

import { type Backward, copyValues, record, willRecord } from '../autograd.js'
import { binding } from '../binding.js'
import { checkSameDevice } from '../device.js'
import { checkInteger, checkNumber, formatShape, rangeError, typeError } from '../errors.js'
import type { Memory } from '../memory.js'
import { checkShape, numelOf, type Shape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { filled } from './again.js'
import { fillInto } from './in_place.js'
import { where } from './where.js'

export interface GatherOptions {
  /** The value of the rows whose index is -1; without it that index is an error. */
  fill?: number
  /** A row that gets no gradient; -1 (default): none. */
  paddingIdx?: number
  /** What a wrong index is said to be of. Default: the function. */
  owner?: string
  /** Of rows: the gradient is sparse. Default false. */
  sparse?: boolean
}

/**
 * Rows of x: out[i] = x[index[i]], or, when `fill` is given, that where index[i] is -1. Any
 * other index outside [0, R) is found when the queue gets there and rejects the next promise.
 * @param fn the public function that messages name
 * @param x `[R, …]`
 * @param index int32, any shape
 * @returns `[...index.shape, …]`
 */
export function gatherRows(
  fn: string,
  x: Tensor,
  index: Tensor,
  options: GatherOptions = {},
): Tensor {
  return gather(fn, x, 0, index, options)
}

/**
 * The slices of x along `dim` that `index` names; as `torch.index_select`. An index outside
 * [0, size) is found when the queue gets there and rejects the next promise.
 * @param index int32 `[n]`
 */
export function indexSelect(x: Tensor, dim: number, index: Tensor): Tensor {
  if (index instanceof Tensor && index.shape.length !== 1) {
    throw rangeError('indexSelect', 'index', 'one dimension', formatShape(index.shape))
  }
  const rank = x.shape.length
  checkInteger('indexSelect', 'dim', dim, -rank, rank - 1)
  return gather('indexSelect', x, dim < 0 ? dim + rank : dim, index, {})
}

/**
 * As gatherRows, with the rows of the first two dimensions counted through.
 * @param x `[A, B, …]`
 * @param index int32 `[n]`, of rows in [0, A · B)
 * @returns `[n, …]`
 */
export function gatherOfPairs(fn: string, x: Tensor, index: Tensor): Tensor {
  const [a, b, ...rest] = x.shape as [number, number, ...number[]]
  return gathered(fn, x, index, [1, a * b, numelOf(rest)], [...index.shape, ...rest], {})
}

/** The slices of x along `dim` that `index` names, whose dimensions take the place of `dim`. */
export function gatherAlong(fn: string, x: Tensor, dim: number, index: Tensor): Tensor {
  return gather(fn, x, dim, index, {})
}

function gather(fn: string, x: Tensor, dim: number, index: Tensor, options: GatherOptions): Tensor {
  if (!(x instanceof Tensor)) throw typeError(fn, 'input', 'a tensor', x)
  if (!(index instanceof Tensor)) throw typeError(fn, 'index', 'an int32 tensor', index)
  if (index.dtype !== 'int32') throw typeError(fn, 'index', 'an int32 tensor', index.dtype)
  if (x.shape.length === 0)
    throw rangeError(fn, 'input', 'at least one dimension', formatShape(x.shape))
  const before = x.shape.slice(0, dim)
  const after = x.shape.slice(dim + 1)
  const outShape = checkShape(fn, [...before, ...index.shape, ...after])
  const sizes = [numelOf(before), x.shape[dim] as number, numelOf(after)] as const
  return gathered(fn, x, index, sizes, outShape, options)
}

/** @param sizes of x as `[outer, rows, width]` */
function gathered(
  fn: string,
  x: Tensor,
  index: Tensor,
  [outer, rows, width]: readonly [number, number, number],
  outShape: Shape,
  options: GatherOptions,
): Tensor {
  checkSameDevice(fn, 'index', index, x.device)
  const fill = checkNumber(fn, 'paddingValue', options.fill ?? 0)
  if (x.dtype === 'bool' && fill !== 0 && fill !== 1)
    throw rangeError(fn, 'paddingValue', '0 or 1 for bool', String(fill))
  if (x.dtype === 'int32' && (fill | 0) !== fill)
    throw rangeError(fn, 'paddingValue', 'a whole number that fits int32', String(fill))
  const skip = options.paddingIdx ?? -1
  const sparse = options.sparse === true && numelOf(x.shape) > 0
  const out = Tensor.wrap(
    binding.gatherRows(
      options.owner ?? fn,
      x.buffer,
      index.buffer,
      outer,
      rows,
      width,
      options.fill !== undefined,
      fill,
    ),
    outShape,
    x.device,
    x.dtype,
  )
  if (!willRecord([x])) return out
  const { shape } = x
  const saved = index.share()
  const indexShape = index.shape
  record(
    fn,
    [x],
    [out],
    ([g]) => {
      const dy = g as Tensor
      if (sparse) return [sparseGradient(dy, saved, shape, skip)]
      const dx = binding.scatterAddRows(dy.buffer, saved.buffer, outer, rows, width, skip)
      return [Tensor.wrap(dx, shape, dy.device)]
    },
    [saved],
    'values',
    ([g]) => {
      const dy = g as Tensor
      const dx = scattered(
        dy,
        Tensor.over(saved.share(), indexShape, dy.device, 'int32'),
        [outer, rows, width],
        skip,
      )
      return [dx.reshape(shape)]
    },
  )
  return out
}

/** The backward of gathering rows, of which only those of dy are kept. */
function sparseGradient(dy: Tensor, index: Memory, shape: Shape, skip: number): Tensor {
  const n = dy.numel / numelOf(shape.slice(1))
  // The indices are copied, since the user may change them before the step; so is a gradient that
  // may be somebody else's.
  using given = Tensor.over(index.share(), [n], dy.device, 'int32')
  const values = dy.aliased || dy.holders > 1 ? copyValues(dy) : dy
  return Tensor.ofRows(
    {
      index: skip < 0 ? copyValues(given) : withoutPadding(given, skip),
      values: values.viewAs([n, ...shape.slice(1)]),
      form: 'any',
    },
    shape,
    dy.device,
  )
}

/** Indices with -1 in place of the row of padding. */
function withoutPadding(index: Tensor, skip: number): Tensor {
  using mask = index.eq(skip)
  return where(mask, -1, index)
}

/** The backward of gathering, recorded: rows of dy added to those that `index` names. */
function scattered(
  dy: Tensor,
  index: Tensor,
  [outer, rows, width]: readonly [number, number, number],
  skip: number,
): Tensor {
  const sums = binding.scatterAddRows(dy.buffer, index.buffer, outer, rows, width, skip)
  const out = Tensor.wrap(sums, [outer, rows, width], dy.device)
  const { shape } = dy
  const saved = index.share()
  const { shape: indexShape } = index
  const backward: Backward = ([g]) => {
    const kept = (g as Tensor).mul(withoutRow(rows, skip, dy.device))
    const again = Tensor.over(saved.share(), indexShape, dy.device, 'int32')
    const sizes = [outer, rows, width] as const
    return [gathered('indexSelect', kept, again, sizes, shape, { fill: 0 })]
  }
  record('indexSelect', [dy], [out], backward, [saved], 'values', backward)
  return out
}

/** Ones `[rows, 1]`, with a zero for the row that gets no gradient. */
function withoutRow(rows: number, skip: number, device: string): Tensor {
  const ones = filled([rows, 1], 1, device)
  if (skip >= 0 && skip < rows) fillInto('indexSelect', ones.viewAs([1], skip), 0)
  return ones
}
