/** Scaled dot-product attention, composed of products and a softmax. */
import { binding } from '../binding.js'
import { checkSameDevice, deviceNumber } from '../device.js'
import {
  checkBoolean,
  checkNumber,
  checkOptions,
  formatShape,
  rangeError,
  typeError,
} from '../errors.js'
import { sameShape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { broadcastShapes, checkFloat } from './common.js'
import { dropout } from './random.js'

/** What {@link scaledDotProductAttention} takes. */
export interface AttentionOptions {
  /**
   * Of a shape that broadcasts to `[…, L, S]`: bool, where true lets a query see a key, or float32,
   * added to the scores. Default: none.
   */
  attnMask?: Tensor | null
  /** The probability with which a weight is dropped; as in PyTorch also in evaluation. Default 0. */
  dropoutP?: number
  /** Let query i see the keys 0 … i alone. Default false. */
  isCausal?: boolean
  /** What scores are multiplied by. Default 1/√E. */
  scale?: number | null
}

/** 0 where a bool mask is true and -infinity where it is false: to be added to scores. */
export function addedMask(mask: Tensor, seen: boolean): Tensor {
  using number = mask.float()
  if (seen) return number.log()
  using unseen = number.mul(-1).add(1)
  return unseen.log()
}

/** For isCausal: `[L, S]` of 0 and -infinity. */
export function causalMask(queries: number, keys: number, device: string): Tensor {
  const values = new Float32Array(queries * keys)
  for (let i = 0; i < queries; i++)
    values.fill(-Infinity, i * keys + Math.min(i + 1, keys), (i + 1) * keys)
  const buffer = binding.upload(values, deviceNumber(device), values.length)
  return Tensor.wrap(buffer, [queries, keys], device)
}

/**
 * softmax(query · keyᵀ · scale + mask) · value; as `torch.nn.functional.scaled_dot_product_attention`.
 * @param query `[…, L, E]`
 * @param key `[…, S, E]`
 * @param value `[…, S, Ev]`
 * @returns `[…, L, Ev]`
 * @throws TypeError, RangeError
 */
export function scaledDotProductAttention(
  query: Tensor,
  key: Tensor,
  value: Tensor,
  options: AttentionOptions = {},
): Tensor {
  const fn = 'scaledDotProductAttention'
  checkOptions(fn, options, ['attnMask', 'dropoutP', 'isCausal', 'scale'])
  const all = { query, key, value }
  for (const [name, tensor] of Object.entries(all)) {
    checkFloat(fn, name, tensor)
    if (tensor.shape.length < 2)
      throw rangeError(fn, name, 'at least two dimensions', formatShape(tensor.shape))
    checkSameDevice(fn, name, tensor, query.device)
  }
  const [queries, width] = query.shape.slice(-2) as [number, number]
  const keys = key.shape.at(-2) as number
  if (key.shape.at(-1) !== width)
    throw rangeError(fn, 'key', `a last dimension of ${width}, as query's`, formatShape(key.shape))
  if (value.shape.at(-2) !== keys)
    throw rangeError(fn, 'value', `${keys} rows, as key`, formatShape(value.shape))
  const p = checkNumber(fn, 'dropoutP', options.dropoutP ?? 0, 0, 1)
  const causal = checkBoolean(fn, 'isCausal', options.isCausal ?? false)
  const { attnMask: mask = null } = options
  if (mask !== null && causal)
    throw new TypeError(`[${fn}] attnMask: expected none beside isCausal`)
  const scale = options.scale ?? 1 / Math.sqrt(width)
  checkNumber(fn, 'scale', scale)
  const added =
    mask === null
      ? causal
        ? causalMask(queries, keys, query.device)
        : null
      : scoresMask(fn, mask, query)
  const weights = attentionWeights(query.mul(scale), key, added)
  const kept = p > 0 ? dropout(weights, { p, training: true }) : weights
  return kept.matmul(value)
}

function scoresMask(fn: string, mask: unknown, query: Tensor): Tensor {
  if (!(mask instanceof Tensor) || mask.dtype === 'int32')
    throw typeError(
      fn,
      'attnMask',
      'a bool or float32 tensor',
      mask instanceof Tensor ? mask.dtype : mask,
    )
  checkSameDevice(fn, 'attnMask', mask, query.device)
  return mask.dtype === 'bool' ? addedMask(mask, true) : mask
}

/** softmax(query · keyᵀ + mask) of queries that are scaled already. @throws RangeError */
export function attentionWeights(query: Tensor, key: Tensor, mask: Tensor | null): Tensor {
  const scores = query.matmul(key.transpose(-2, -1))
  if (mask === null) return scores.softmax(-1)
  const shape = broadcastShapes('attnMask', scores.shape, mask.shape)
  if (!sameShape(shape, scores.shape))
    throw rangeError(
      'scaledDotProductAttention',
      'attnMask',
      `a shape that broadcasts to ${formatShape(scores.shape)}`,
      formatShape(mask.shape),
    )
  return scores.add(mask).softmax(-1)
}
