/** Losses of classes as modules. */
import { checkNumber, checkOptions } from '../errors.js'
import {
  type CrossEntropyOptions,
  checkClassWeight,
  checkIgnoreIndex,
  checkReduction,
  crossEntropy,
  type NLLLossOptions,
  nllLoss,
  type ReductionOptions,
} from '../ops/loss.js'
import type { Tensor } from '../tensor.js'
import { Module } from './module.js'

type Reduction = NonNullable<ReductionOptions['reduction']>

/** A loss whose weights are no parameters, but move along with a model. */
export abstract class WeightedLoss extends Module {
  weight: Tensor | null = null

  protected override moveTensors(device: string): void {
    super.moveTensors(device)
    this.weight = this.weight?.to(device) ?? null
  }
}

/** As `torch.nn.CrossEntropyLoss`: no weight, ignoreIndex -100, reduction 'mean', labelSmoothing 0. */
export class CrossEntropyLoss extends WeightedLoss {
  readonly ignoreIndex: number
  readonly reduction: Reduction
  readonly labelSmoothing: number

  /** @throws TypeError, RangeError */
  constructor(options: CrossEntropyOptions = {}) {
    super()
    const name = 'CrossEntropyLoss'
    checkOptions(name, options, ['weight', 'ignoreIndex', 'reduction', 'labelSmoothing'])
    this.weight = checkClassWeight(name, options.weight)
    this.ignoreIndex = checkIgnoreIndex(name, options.ignoreIndex)
    this.reduction = checkReduction(name, options.reduction)
    this.labelSmoothing = checkNumber(name, 'labelSmoothing', options.labelSmoothing ?? 0, 0, 1)
  }

  /** Logits and classes or probabilities, see functional.crossEntropy. @throws TypeError, RangeError */
  override forward(input: Tensor, target: Tensor): Tensor {
    const { weight, ignoreIndex, reduction, labelSmoothing } = this
    return crossEntropy(input, target, { weight, ignoreIndex, reduction, labelSmoothing })
  }
}

/** As `torch.nn.NLLLoss`: no weight, ignoreIndex -100, reduction 'mean'. */
export class NLLLoss extends WeightedLoss {
  readonly ignoreIndex: number
  readonly reduction: Reduction

  /** @throws TypeError, RangeError */
  constructor(options: NLLLossOptions = {}) {
    super()
    checkOptions('NLLLoss', options, ['weight', 'ignoreIndex', 'reduction'])
    this.weight = checkClassWeight('NLLLoss', options.weight)
    this.ignoreIndex = checkIgnoreIndex('NLLLoss', options.ignoreIndex)
    this.reduction = checkReduction('NLLLoss', options.reduction)
  }

  /** Log probabilities and int32 classes, see functional.nllLoss. @throws TypeError, RangeError */
  override forward(input: Tensor, target: Tensor): Tensor {
    const { weight, ignoreIndex, reduction } = this
    return nllLoss(input, target, { weight, ignoreIndex, reduction })
  }
}
