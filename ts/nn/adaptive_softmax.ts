/** A softmax over many classes, of which rare ones are computed in smaller parts. */
import { type Device, deviceOption } from '../device.js'
import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOptions,
  formatShape,
  rangeError,
  typeError,
} from '../errors.js'
import { checkFloat } from '../ops/common.js'
import { crossEntropy } from '../ops/loss.js'
import { cat } from '../ops/shape.js'
import { sameShape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { ModuleList, Sequential } from './containers.js'
import { Linear } from './linear.js'
import { Module } from './module.js'

/** What {@link AdaptiveLogSoftmaxWithLoss} takes. */
export interface AdaptiveLogSoftmaxOptions {
  /** Each cluster has the features of the one before over this. Default 4. */
  divValue?: number
  /** Whether the head has a bias. Default false. */
  headBias?: boolean
  /** Where the parameters are made. Default: the default device. */
  device?: string | Device
}

/**
 * A softmax over classes by falling frequency (Grave et al. 2017): the head has the frequent ones and one
 * entry for each cluster of rarer ones, which are told apart from fewer features. As
 * `torch.nn.AdaptiveLogSoftmaxWithLoss`, with its keys: `head.weight`, `tail.0.0.weight`, ….
 */
export class AdaptiveLogSoftmaxWithLoss extends Module {
  readonly inFeatures: number
  readonly nClasses: number
  /** Where clusters begin, and nClasses. */
  readonly cutoffs: readonly number[]
  head: Linear
  tail: ModuleList<Sequential>

  /**
   * @param cutoffs rising whole numbers in [1, nClasses − 1]: the first class of each cluster
   * @throws TypeError, RangeError
   */
  constructor(
    inFeatures: number,
    nClasses: number,
    cutoffs: readonly number[],
    options: AdaptiveLogSoftmaxOptions = {},
  ) {
    super()
    const name = 'AdaptiveLogSoftmaxWithLoss'
    this.inFeatures = checkInteger(name, 'inFeatures', inFeatures, 1)
    this.nClasses = checkInteger(name, 'nClasses', nClasses, 2)
    if (!Array.isArray(cutoffs) || cutoffs.length === 0)
      throw typeError(name, 'cutoffs', 'an array of at least one class', cutoffs)
    cutoffs.forEach((cutoff, i) => {
      checkInteger(name, `cutoffs[${i}]`, cutoff, (cutoffs[i - 1] ?? 0) + 1, nClasses - 1)
    })
    checkOptions(name, options, ['divValue', 'headBias', 'device'])
    const divValue = checkNumber(name, 'divValue', options.divValue ?? 4, 1)
    const bias = checkBoolean(name, 'headBias', options.headBias ?? false)
    const device = deviceOption(name, options.device)
    this.cutoffs = Object.freeze([...cutoffs, nClasses])
    this.head = new Linear(inFeatures, this.shortlistSize + cutoffs.length, { bias, device })
    this.tail = new ModuleList(
      cutoffs.map((low, i) => {
        const features = Math.floor(inFeatures / divValue ** (i + 1))
        if (features === 0)
          throw rangeError(
            name,
            'divValue',
            'one that leaves each cluster a feature',
            `${divValue}`,
          )
        const classes = (this.cutoffs[i + 1] as number) - low
        const plain = { bias: false, device }
        return new Sequential(
          new Linear(inFeatures, features, plain),
          new Linear(features, classes, plain),
        )
      }),
    )
  }

  /** Classes that the head has itself. */
  get shortlistSize(): number {
    return this.cutoffs[0] as number
  }

  /** Draws the parameters anew. */
  resetParameters(): void {
    for (const module of this.modules()) if (module instanceof Linear) module.resetParameters()
  }

  /**
   * @param input `[N, inFeatures]` or `[inFeatures]`
   * @param target int32 classes, `[N]` or `[]`
   * @returns the log probability of each target, and the mean of their negatives
   * @throws TypeError, RangeError. A class out of range rejects the next promise
   */
  override forward(input: Tensor, target: Tensor): { output: Tensor; loss: Tensor } {
    const fn = 'AdaptiveLogSoftmaxWithLoss'
    this.#check(input)
    if (!(target instanceof Tensor)) throw typeError(fn, 'target', 'an int32 tensor', target)
    if (target.dtype !== 'int32') throw typeError(fn, 'target', 'an int32 tensor', target.dtype)
    const shape = input.shape.slice(0, -1)
    if (!sameShape(target.shape, shape))
      throw rangeError(fn, 'target', `shape ${formatShape(shape)}`, formatShape(target.shape))
    const { shortlistSize, cutoffs } = this
    // Classes of clusters as the entries of the clusters; 1 from a cutoff on, 0 before.
    const from = (cutoff: number): Tensor => target.sub(cutoff - 1).clamp(0, 1)
    let entry = target.clamp(null, shortlistSize)
    for (const cutoff of cutoffs.slice(1, -1)) entry = entry.add(from(cutoff))
    let each = crossEntropy(this.head.forward(input), entry, { reduction: 'none' })
    for (const [i, part] of [...this.tail].entries()) {
      const low = cutoffs[i] as number
      const last = i === this.tail.length - 1
      const high = cutoffs[i + 1] as number
      const inside = last ? from(low) : from(low).sub(from(high))
      // -100, which is ignored, for the classes of others.
      const own = target.sub(low).mul(inside).add(inside.sub(1).mul(100))
      each = each.add(crossEntropy(part.forward(input), own, { reduction: 'none' }))
    }
    return { output: each.neg(), loss: each.mean() }
  }

  /** The log probabilities of all classes, `[N, nClasses]`. @throws TypeError, RangeError */
  logProb(input: Tensor): Tensor {
    this.#check(input)
    const dim = input.shape.length - 1
    const head = this.head.forward(input).logSoftmax(dim)
    const { shortlistSize } = this
    const parts = [...this.tail].map((part, i) => {
      const cluster = head.slice(dim, shortlistSize + i, shortlistSize + i + 1)
      return part.forward(input).logSoftmax(dim).add(cluster)
    })
    return cat([head.slice(dim, 0, shortlistSize), ...parts], dim)
  }

  /** The most likely class of each row, int32 `[N]`. @throws TypeError, RangeError */
  predict(input: Tensor): Tensor {
    return this.logProb(input).argmax(-1)
  }

  #check(input: Tensor): void {
    const { shape } = checkFloat('AdaptiveLogSoftmaxWithLoss', 'input', input)
    if ((shape.length !== 1 && shape.length !== 2) || shape.at(-1) !== this.inFeatures)
      throw rangeError(
        'AdaptiveLogSoftmaxWithLoss',
        'input',
        `shape (N, ${this.inFeatures}) or (${this.inFeatures},)`,
        formatShape(shape),
      )
  }

  protected override newInstance(): this {
    const { inFeatures, nClasses, cutoffs } = this
    const options = { divValue: 1, headBias: this.head.bias !== null }
    const type = this.constructor as typeof AdaptiveLogSoftmaxWithLoss
    return Reflect.construct(type, [inFeatures, nClasses, cutoffs.slice(0, -1), options]) as this
  }

  override extraRepr(): string {
    return `${this.inFeatures}, ${this.nClasses}, cutoffs=[${this.cutoffs.slice(0, -1).join(', ')}]`
  }
}
