/** Batch normalisation, with running statistics as buffers. */
import { type Device, deviceOption } from '../device.js'
import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOptions,
  formatShape,
  rangeError,
} from '../errors.js'
import { ones, zeros } from '../factories.js'
import { noGrad } from '../grad_mode.js'
import { checkFloat } from '../ops/common.js'
import { copyInto } from '../ops/in_place.js'
import { normalizedRows } from '../ops/layer_norm.js'
import type { Tensor } from '../tensor.js'
import * as init from './init.js'
import { Module } from './module.js'
import { Parameter } from './parameter.js'

/** What {@link BatchNorm1d} takes. */
export interface BatchNormOptions {
  /** Added to the variance. Default 1e-5. */
  eps?: number
  /** How much of a batch's statistics goes into the running ones; null: their plain mean. Default 0.1. */
  momentum?: number | null
  /** Whether there are weight and bias. Default true. */
  affine?: boolean
  /** Whether there are running statistics, which evaluation uses. Default true. */
  trackRunningStats?: boolean
  /** Where parameters and buffers are made. Default: the default device. */
  device?: string | Device
}

/**
 * Batch normalisation (Ioffe & Szegedy 2015) of features; as `torch.nn.BatchNorm1d`. `weight` `[C]`
 * starts as ones, `bias` `[C]` as zeros (or null). The buffers `running_mean`, `running_var` and
 * `num_batches_tracked` (int32) start as zeros, ones and 0. In training mode, or without running
 * statistics, the batch's own mean and variance count.
 */
export class BatchNorm1d extends Module {
  readonly numFeatures: number
  readonly eps: number
  readonly momentum: number | null
  readonly affine: boolean
  readonly trackRunningStats: boolean
  weight: Tensor | null
  bias: Tensor | null
  declare running_mean: Tensor | null
  declare running_var: Tensor | null
  declare num_batches_tracked: Tensor | null
  /** @throws TypeError, RangeError */
  constructor(numFeatures: number, options: BatchNormOptions = {}) {
    super()
    const name = 'BatchNorm1d'
    this.numFeatures = checkInteger(name, 'numFeatures', numFeatures, 1)
    checkOptions(name, options, ['eps', 'momentum', 'affine', 'trackRunningStats', 'device'])
    this.eps = checkNumber(name, 'eps', options.eps ?? 1e-5, 0)
    const { momentum = 0.1 } = options
    this.momentum = momentum === null ? null : checkNumber(name, 'momentum', momentum, 0, 1)
    this.affine = checkBoolean(name, 'affine', options.affine ?? true)
    this.trackRunningStats = checkBoolean(
      name,
      'trackRunningStats',
      options.trackRunningStats ?? true,
    )
    const device = deviceOption(name, options.device)
    const shape = [numFeatures]
    this.weight = this.affine ? Parameter(ones(shape, { device })) : null
    this.bias = this.affine ? Parameter(zeros(shape, { device })) : null
    const track = this.trackRunningStats
    this.registerBuffer('running_mean', track ? zeros(shape, { device }) : null)
    this.registerBuffer('running_var', track ? ones(shape, { device }) : null)
    this.registerBuffer('num_batches_tracked', track ? zeros([], { device, dtype: 'int32' }) : null)
  }

  /** Sets the weights to ones and zeros, the running statistics to those of the start. */
  resetParameters(): void {
    if (this.weight !== null) init.ones(this.weight)
    if (this.bias !== null) init.zeros(this.bias)
    const { running_mean: mean, running_var: variance, num_batches_tracked: count } = this
    if (mean !== null) init.zeros(mean)
    if (variance !== null) init.ones(variance)
    if (count === null) return
    using none = zeros([], { device: count.device, dtype: 'int32' })
    copyInto('resetParameters', count, none.buffer)
  }

  /**
   * `[N, C]` or `[N, C, L]`, the same out.
   * @throws TypeError, RangeError, also for one value of each feature in training mode
   */
  override forward(input: Tensor): Tensor {
    const fn = 'BatchNorm1d'
    const { shape } = checkFloat(fn, 'input', input)
    const rank = shape.length
    const features = this.numFeatures
    if ((rank !== 2 && rank !== 3) || shape[1] !== features)
      throw rangeError(
        fn,
        'input',
        `shape (N, ${features}) or (N, ${features}, L)`,
        formatShape(shape),
      )
    const count = input.numel / features
    if (!this.training && this.running_mean !== null && this.running_var !== null)
      return this.#withRunning(input, this.running_mean, this.running_var)
    if (count <= 1)
      throw rangeError(fn, 'input', 'more than one value of each feature', formatShape(shape))
    // Features first: then each is a row.
    const order = rank === 2 ? [1, 0] : [1, 0, 2]
    using rows = input.permute(order)
    const [plain, mean, scale] = normalizedRows(fn, rows, features, count, null, null, this.eps)
    if (this.training) noGrad(() => this.#track(mean, scale, count))
    mean[Symbol.dispose]()
    scale[Symbol.dispose]()
    using values = this.#weighted(plain, rank)
    return values.permute(order)
  }

  /** Features first, `[C, …]`. */
  #weighted(values: Tensor, rank: number): Tensor {
    const { weight, bias } = this
    if (weight === null || bias === null) return values
    const along = rank === 2 ? [-1, 1] : [-1, 1, 1]
    using scaled = values.mul(weight.reshape(along))
    values[Symbol.dispose]()
    return scaled.add(bias.reshape(along))
  }

  #withRunning(input: Tensor, mean: Tensor, variance: Tensor): Tensor {
    const along = input.shape.length === 2 ? [1, -1] : [1, -1, 1]
    const scale = variance.add(this.eps).pow(-0.5)
    const factor = this.weight === null ? scale : scale.mul(this.weight)
    const shift = mean.mul(factor).neg()
    const offset = this.bias === null ? shift : shift.add(this.bias)
    return input.mul(factor.reshape(along)).add(offset.reshape(along))
  }

  /** Takes a batch's statistics into the running ones. */
  #track(mean: Tensor, scale: Tensor, count: number): void {
    const { running_mean, running_var, num_batches_tracked: batches, momentum } = this
    if (running_mean === null || running_var === null || batches === null) return
    const fn = 'BatchNorm1d'
    using more = batches.add(1)
    copyInto(fn, batches, more.buffer)
    const share = momentum ?? ones([], { device: mean.device }).div(more)
    const variance = scale
      .pow(-2)
      .sub(this.eps)
      .clamp(0)
      .mul(count / (count - 1))
    for (const [running, now] of [
      [running_mean, mean],
      [running_var, variance],
    ] as const) {
      using next = running.add(now.sub(running).mul(share))
      copyInto(fn, running, next.buffer)
    }
  }

  protected override newInstance(): this {
    const { numFeatures, affine, trackRunningStats } = this
    const options = { affine, trackRunningStats }
    return Reflect.construct(this.constructor as typeof BatchNorm1d, [numFeatures, options]) as this
  }

  override extraRepr(): string {
    const { numFeatures, eps, momentum, affine, trackRunningStats } = this
    return `${numFeatures}, eps=${eps}, momentum=${momentum}, affine=${affine}, trackRunningStats=${trackRunningStats}`
  }
}
