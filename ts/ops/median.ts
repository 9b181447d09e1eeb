/** Medians, from sorted values. */
import { formatShape, rangeError } from '../errors.js'
import type { Tensor } from '../tensor.js'
import { checkDim, checkNumeric } from './common.js'
import { recordEvenly } from './extremes.js'
import { checkKeepdim, type ReduceOptions } from './reduce.js'
import { sort } from './sort.js'

/** Along a dimension: the lower one of two in the middle, or NaN where there is one; and its place. */
export function medianAlong(
  x: Tensor,
  dim: number,
  options: ReduceOptions = {},
): [values: Tensor, indices: Tensor] {
  checkNumeric('median', 'tensor', x)
  const keepdim = checkKeepdim('median', options)
  const d = checkDim('median', 'dim', dim, x.shape.length)
  if (x.shape.length === 0) return [x.clone(), x.detach().mul(0).int()]
  const n = x.shape[d] as number
  if (n === 0)
    throw rangeError('median', 'dim', 'a dimension of at least one element', formatShape(x.shape))
  const [, order] = sort(x.detach(), d)
  let place = order.narrow(d, Math.floor((n - 1) / 2), 1)
  if (x.dtype === 'float32') {
    const [most, first] = x.detach().max(d, { keepdim: true })
    place = first.where(most.isnan(), place)
  }
  const values = x.gather(d, place)
  return keepdim ? [values, place] : [values.squeeze(d), place.squeeze(d)]
}

/** Of all elements; NaN of none. The gradient goes in equal parts to those that have it. */
export function medianOfAll(x: Tensor): Tensor {
  checkNumeric('median', 'tensor', x)
  const n = x.numel
  if (n === 0 && x.dtype === 'float32') return x.sum().add(Number.NaN)
  if (n === 0) throw rangeError('median', 'tensor', 'at least one element', formatShape(x.shape))
  const [value] = medianAlong(x.detach().reshape([n]), 0)
  recordEvenly('median', x, value, { outer: 1, n, inner: 1 })
  return value
}
