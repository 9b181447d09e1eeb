import { type Device, deviceOption } from '../device.js'
import { checkBoolean, checkInteger, checkOptions } from '../errors.js'
import { linear } from '../ops/linear.js'
import { checkShape, type Tensor } from '../tensor.js'
import { uniform, uniformParameter } from './init.js'
import { Module } from './module.js'

/** What {@link Linear} takes. */
export interface LinearOptions {
  /** Default true. */
  bias?: boolean
  /** Where the parameters are made. Default: the default device. */
  device?: string | Device
}

/**
 * x · weightᵀ + bias; as `torch.nn.Linear`. `weight` `[O, I]` and `bias` `[O]` (or null) start
 * U(-1/√I, 1/√I).
 */
export class Linear extends Module {
  readonly inFeatures: number
  readonly outFeatures: number
  declare weight: Tensor
  declare bias: Tensor | null

  /** @throws TypeError, RangeError */
  constructor(inFeatures: number, outFeatures: number, options: LinearOptions = {}) {
    super()
    this.inFeatures = checkInteger('Linear', 'inFeatures', inFeatures, 1)
    this.outFeatures = checkInteger('Linear', 'outFeatures', outFeatures, 1)
    checkOptions('Linear', options, ['bias', 'device'])
    const hasBias = checkBoolean('Linear', 'bias', options.bias ?? true)
    const device = deviceOption('Linear', options.device)
    checkShape('Linear', [outFeatures, inFeatures])
    this.createParameters(hasBias, device)
  }

  /**
   * Sets weight and bias.
   * @internal
   */
  protected createParameters(hasBias: boolean, device: string): void {
    const bound = 1 / Math.sqrt(this.inFeatures)
    this.weight = uniformParameter([this.outFeatures, this.inFeatures], bound, device)
    this.bias = hasBias ? uniformParameter([this.outFeatures], bound, device) : null
  }

  /** Draws the parameters anew. */
  resetParameters(): void {
    const bound = 1 / Math.sqrt(this.inFeatures)
    uniform(this.weight, -bound, bound)
    if (this.bias !== null) uniform(this.bias, -bound, bound)
  }

  /** `[…, I]` → `[…, O]`. @throws TypeError, RangeError */
  override forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias)
  }

  override extraRepr(): string {
    return `inFeatures=${this.inFeatures}, outFeatures=${this.outFeatures}, bias=${this.bias !== null}`
  }
}
