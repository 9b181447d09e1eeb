/** Convolution and pooling over sequences, as modules. */
import { type Device, deviceOption } from '../device.js'
import { checkBoolean, checkInteger, checkOneOf, checkOptions, rangeError } from '../errors.js'
import { checkPadding, checkStep, conv1d } from '../ops/convolution.js'
import {
  type AvgPoolOptions,
  adaptiveAvgPool1d,
  avgPool1d,
  type MaxPoolOptions,
  maxPool1d,
} from '../ops/pooling.js'
import { checkShape, type Tensor } from '../tensor.js'
import { uniform, uniformParameter } from './init.js'
import { Module } from './module.js'

/** What {@link Conv1d} takes. */
export interface Conv1dOptions {
  /** Steps between the places of the kernel. Default 1. */
  stride?: number
  /** Zeros at both ends; 'same': as many as keep the length; 'valid': none. Default 0. */
  padding?: number | 'same' | 'valid'
  /** Steps between the elements of the kernel. Default 1. */
  dilation?: number
  /** Parts of the channels that are convolved each on their own. Default 1. */
  groups?: number
  /** Default true. */
  bias?: boolean
  /** What lies beyond the ends. Default, and so far all, 'zeros'. */
  paddingMode?: 'zeros'
  /** Where the parameters are made. Default: the default device. */
  device?: string | Device
}

/**
 * A convolution over a sequence; as `torch.nn.Conv1d`. `weight` `[O, C / groups, K]` and `bias` `[O]`
 * (or null) start U(-1/√(C / groups · K), …).
 */
export class Conv1d extends Module {
  readonly inChannels: number
  readonly outChannels: number
  readonly kernelSize: number
  readonly stride: number
  readonly padding: number | 'same' | 'valid'
  readonly dilation: number
  readonly groups: number
  weight: Tensor
  bias: Tensor | null

  /** @throws TypeError, RangeError */
  constructor(
    inChannels: number,
    outChannels: number,
    kernelSize: number,
    options: Conv1dOptions = {},
  ) {
    super()
    const name = 'Conv1d'
    this.inChannels = checkInteger(name, 'inChannels', inChannels, 1)
    this.outChannels = checkInteger(name, 'outChannels', outChannels, 1)
    this.kernelSize = checkInteger(name, 'kernelSize', kernelSize, 1)
    checkOptions(name, options, [
      'stride',
      'padding',
      'dilation',
      'groups',
      'bias',
      'paddingMode',
      'device',
    ])
    this.stride = checkStep(name, 'stride', options.stride)
    this.padding = checkPadding(name, options.padding, this.stride)
    this.dilation = checkStep(name, 'dilation', options.dilation)
    this.groups = checkStep(name, 'groups', options.groups)
    checkOneOf(name, 'paddingMode', options.paddingMode ?? 'zeros', ['zeros'])
    if (inChannels % this.groups !== 0 || outChannels % this.groups !== 0)
      throw rangeError(
        name,
        'groups',
        `a divisor of ${inChannels} and ${outChannels}`,
        String(this.groups),
      )
    const hasBias = checkBoolean(name, 'bias', options.bias ?? true)
    const device = deviceOption(name, options.device)
    const shape = checkShape(name, [outChannels, inChannels / this.groups, kernelSize])
    this.weight = uniformParameter(shape, boundOf(this), device)
    this.bias = hasBias ? uniformParameter([outChannels], boundOf(this), device) : null
  }

  /** Draws the parameters anew. */
  resetParameters(): void {
    const bound = boundOf(this)
    uniform(this.weight, -bound, bound)
    if (this.bias !== null) uniform(this.bias, -bound, bound)
  }

  /** `[N, C, L]` → `[N, O, L']`, or both without N. @throws TypeError, RangeError */
  override forward(input: Tensor): Tensor {
    const { weight, bias, stride, padding, dilation, groups } = this
    return conv1d(input, weight, { bias, stride, padding, dilation, groups })
  }

  override extraRepr(): string {
    const { inChannels, outChannels, kernelSize, stride, padding } = this
    return `${inChannels}, ${outChannels}, kernelSize=${kernelSize}, stride=${stride}, padding=${padding}`
  }
}

/** Of the parameters' first values. */
function boundOf({ inChannels, groups, kernelSize }: Conv1d): number {
  return 1 / Math.sqrt((inChannels / groups) * kernelSize)
}

/** As `torch.nn.MaxPool1d`. */
export class MaxPool1d extends Module {
  readonly kernelSize: number
  readonly options: Readonly<MaxPoolOptions>

  /** @throws TypeError, RangeError */
  constructor(kernelSize: number, options: MaxPoolOptions = {}) {
    super()
    this.kernelSize = checkInteger('MaxPool1d', 'kernelSize', kernelSize, 1)
    checkOptions('MaxPool1d', options, ['stride', 'padding', 'ceilMode', 'dilation'])
    checkPool('MaxPool1d', kernelSize, options)
    checkStep('MaxPool1d', 'dilation', options.dilation)
    this.options = { ...options }
  }

  /** `[N, C, L]` or `[C, L]`. @throws TypeError, RangeError */
  override forward(input: Tensor): Tensor {
    return maxPool1d(input, this.kernelSize, this.options)
  }

  override extraRepr(): string {
    return `kernelSize=${this.kernelSize}, stride=${this.options.stride ?? this.kernelSize}`
  }
}

/** As `torch.nn.AvgPool1d`. */
export class AvgPool1d extends Module {
  readonly kernelSize: number
  readonly options: Readonly<AvgPoolOptions>

  /** @throws TypeError, RangeError */
  constructor(kernelSize: number, options: AvgPoolOptions = {}) {
    super()
    this.kernelSize = checkInteger('AvgPool1d', 'kernelSize', kernelSize, 1)
    checkOptions('AvgPool1d', options, ['stride', 'padding', 'ceilMode', 'countIncludePad'])
    checkPool('AvgPool1d', kernelSize, options)
    checkBoolean('AvgPool1d', 'countIncludePad', options.countIncludePad ?? true)
    this.options = { ...options }
  }

  /** `[N, C, L]` or `[C, L]`. @throws TypeError, RangeError */
  override forward(input: Tensor): Tensor {
    return avgPool1d(input, this.kernelSize, this.options)
  }

  override extraRepr(): string {
    return `kernelSize=${this.kernelSize}, stride=${this.options.stride ?? this.kernelSize}`
  }
}

function checkPool(name: string, kernel: number, options: MaxPoolOptions): void {
  checkStep(name, 'stride', options.stride, kernel)
  checkInteger(name, 'padding', options.padding ?? 0, 0, Math.floor(kernel / 2))
  checkBoolean(name, 'ceilMode', options.ceilMode ?? false)
}

/** As `torch.nn.AdaptiveAvgPool1d`. */
export class AdaptiveAvgPool1d extends Module {
  readonly outputSize: number

  /** @throws TypeError, RangeError */
  constructor(outputSize: number) {
    super()
    this.outputSize = checkInteger('AdaptiveAvgPool1d', 'outputSize', outputSize, 1)
  }

  /** `[N, C, L]` or `[C, L]`. @throws TypeError, RangeError */
  override forward(input: Tensor): Tensor {
    return adaptiveAvgPool1d(input, this.outputSize)
  }

  override extraRepr(): string {
    return `outputSize=${this.outputSize}`
  }
}
