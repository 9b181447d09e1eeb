import { type Device, deviceOption } from '../device.js'
import { checkBoolean, checkNumber, checkOptions } from '../errors.js'
import { ones, zeros } from '../factories.js'
import { checkNormalizedShape, layerNorm } from '../ops/layer_norm.js'
import type { Shape, Tensor } from '../tensor.js'
import * as init from './init.js'
import { Module } from './module.js'
import { Parameter } from './parameter.js'

/** What {@link LayerNorm} takes. */
export interface LayerNormOptions {
  /** Added to the variance. Default 1e-5. */
  eps?: number
  /** Whether there are weights. Default true. */
  elementwiseAffine?: boolean
  /** Whether there is a bias beside the weight. Default true. */
  bias?: boolean
  /** Where the parameters are made. Default: the default device. */
  device?: string | Device
}

/**
 * Layer normalisation (Ba, Kiros & Hinton 2016) over the last dimensions; as `torch.nn.LayerNorm`.
 * `weight` starts as ones, `bias` as zeros, both of the normalised shape (or null).
 */
export class LayerNorm extends Module {
  readonly normalizedShape: Shape
  readonly eps: number
  readonly elementwiseAffine: boolean
  weight: Tensor | null
  bias: Tensor | null

  /**
   * @param normalizedShape the sizes of the last dimensions, or the size of the last one
   * @throws TypeError, RangeError
   */
  constructor(normalizedShape: number | Shape, options: LayerNormOptions = {}) {
    super()
    const name = 'LayerNorm'
    this.normalizedShape = Object.freeze([...checkNormalizedShape(name, normalizedShape)])
    checkOptions(name, options, ['eps', 'elementwiseAffine', 'bias', 'device'])
    this.eps = checkNumber(name, 'eps', options.eps ?? 1e-5, 0)
    this.elementwiseAffine = checkBoolean(
      name,
      'elementwiseAffine',
      options.elementwiseAffine ?? true,
    )
    const bias = checkBoolean(name, 'bias', options.bias ?? true) && this.elementwiseAffine
    const device = deviceOption(name, options.device)
    const shape = this.normalizedShape
    this.weight = this.elementwiseAffine ? Parameter(ones(shape, { device })) : null
    this.bias = bias ? Parameter(zeros(shape, { device })) : null
  }

  /** Sets the weights to ones and zeros. */
  resetParameters(): void {
    if (this.weight !== null) init.ones(this.weight)
    if (this.bias !== null) init.zeros(this.bias)
  }

  /** Any shape that ends as the normalised one. @throws TypeError, RangeError */
  override forward(input: Tensor): Tensor {
    const { weight, bias, eps } = this
    return layerNorm(input, this.normalizedShape, { weight, bias, eps })
  }

  override extraRepr(): string {
    const { normalizedShape, eps, elementwiseAffine } = this
    return `[${normalizedShape.join(', ')}], eps=${eps}, elementwiseAffine=${elementwiseAffine}`
  }
}
