/** Layer normalisation: one fused pass forward, one backward. */
import { record, willRecord } from '../autograd.js'
import { binding } from '../binding.js'
import { checkSameDevice } from '../device.js'
import { checkNumber, checkOptions, formatShape, rangeError } from '../errors.js'
import { checkShape, numelOf, sameShape } from '../shape.js'
import { type Shape, Tensor } from '../tensor.js'
import { checkFloat } from './common.js'

/** What {@link layerNorm} takes. */
export interface LayerNormFunctionOptions {
  /** Factors, of the normalised shape. Default: none. */
  weight?: Tensor | null
  /** What is added, of the normalised shape; only beside a weight. Default: none. */
  bias?: Tensor | null
  /** Added to the variance. Default 1e-5. */
  eps?: number
}

/** Checks the last dimensions that are normalised together. */
export function checkNormalizedShape(fn: string, value: unknown): Shape {
  const shape = checkShape(fn, typeof value === 'number' ? [value] : (value as Shape))
  if (shape.length === 0 || shape.includes(0))
    throw rangeError(
      fn,
      'normalizedShape',
      'at least one dimension of at least 1',
      formatShape(shape),
    )
  return shape
}

/**
 * (x − mean) / √(variance + eps) · weight + bias, over the last dimensions together; as
 * `torch.nn.functional.layer_norm`.
 * @param normalizedShape the sizes of those dimensions, or the size of the last one
 * @throws TypeError, RangeError
 */
export function layerNorm(
  input: Tensor,
  normalizedShape: number | Shape,
  options: LayerNormFunctionOptions = {},
): Tensor {
  const fn = 'layerNorm'
  checkFloat(fn, 'input', input)
  checkOptions(fn, options, ['weight', 'bias', 'eps'])
  const inner = checkNormalizedShape(fn, normalizedShape)
  const { shape, device } = input
  if (!sameShape(shape.slice(-inner.length), inner))
    throw rangeError(fn, 'input', `last dimensions ${formatShape(inner)}`, formatShape(shape))
  const { weight = null, bias = null } = options
  const eps = checkNumber(fn, 'eps', options.eps ?? 1e-5, 0)
  for (const [name, tensor] of [
    ['weight', weight],
    ['bias', bias],
  ] as const) {
    if (tensor === null) continue
    checkFloat(fn, name, tensor)
    if (!sameShape(tensor.shape, inner))
      throw rangeError(fn, name, `shape ${formatShape(inner)}`, formatShape(tensor.shape))
    checkSameDevice(fn, name, tensor, device)
  }
  if (bias !== null && weight === null) return layerNorm(input, inner, { eps }).add(bias)
  const n = numelOf(inner)
  const [out, mean, scale] = normalizedRows(fn, input, input.numel / n, n, weight, bias, eps)
  mean[Symbol.dispose]()
  scale[Symbol.dispose]()
  return out
}

/** A tensor as rows of n elements; also each row's mean and 1 / √(variance + eps). */
export function normalizedRows(
  fn: string,
  input: Tensor,
  rows: number,
  n: number,
  weight: Tensor | null,
  bias: Tensor | null,
  eps: number,
): [out: Tensor, mean: Tensor, scale: Tensor] {
  const { shape, device } = input
  const [y, meanBuffer, scaleBuffer] = binding.layerNorm(
    input.buffer,
    rows,
    n,
    weight?.buffer ?? null,
    bias?.buffer ?? null,
    eps,
  )
  const out = Tensor.wrap(y, shape, device)
  const mean = Tensor.wrap(meanBuffer, [rows], device)
  const scale = Tensor.wrap(scaleBuffer, [rows], device)
  if (!willRecord([input, weight, bias])) return [out, mean, scale]
  const x = input.share()
  const savedMean = mean.share()
  const savedScale = scale.share()
  const w = weight?.share() ?? null
  const inner = weight?.shape ?? [n]
  record(
    fn,
    [input, weight, bias],
    [out],
    ([g], node) => {
      const gradients = binding.layerNormBackward(
        (g as Tensor).buffer,
        x.buffer,
        rows,
        n,
        w?.buffer ?? null,
        savedMean.buffer,
        savedScale.buffer,
        node.needs(0),
        node.needs(1),
        node.needs(2),
      )
      return gradients.map(
        (gradient, i) => gradient && Tensor.wrap(gradient, i === 0 ? shape : inner, device),
      )
    },
    [x, savedMean, savedScale, ...(w === null ? [] : [w])],
    'values',
    ([g], node) => {
      const dy = (g as Tensor).reshape([rows, n])
      const mean = (value: Tensor): Tensor => value.mean(1, { keepdim: true })
      const values = node.input(0, x, shape, device).reshape([rows, n])
      const centred = values.sub(mean(values))
      const root = mean(centred.mul(centred)).add(eps).pow(-0.5)
      const plain = centred.mul(root)
      const weighted = w === null ? dy : dy.mul(node.input(1, w, inner, device).reshape([n]))
      const dx = weighted
        .sub(mean(weighted))
        .sub(plain.mul(mean(weighted.mul(plain))))
        .mul(root)
      return [
        node.needs(0) ? dx.reshape(shape) : null,
        node.needs(1) ? dy.mul(plain).sum(0).reshape(inner) : null,
        node.needs(2) ? dy.sum(0).reshape(inner) : null,
      ]
    },
  )
  return [out, mean, scale]
}
