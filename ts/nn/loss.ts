/** Losses as modules. */
import { checkNumber, checkOptions } from '../errors.js'
import {
  type BCEWithLogitsOptions,
  binaryCrossEntropyWithLogits,
  type CrossEntropyOptions,
  checkIgnoreIndex,
  checkReduction,
  crossEntropy,
  mseLoss,
  type NLLLossOptions,
  nllLoss,
  type ReductionOptions,
} from '../ops/loss.js'
import type { Tensor } from '../tensor.js'
import { Module } from './module.js'

type Reduction = NonNullable<ReductionOptions['reduction']>

/** As `torch.nn.CrossEntropyLoss`: ignoreIndex -100, reduction 'mean', labelSmoothing 0. */
export class CrossEntropyLoss extends Module {
  readonly ignoreIndex: number
  readonly reduction: Reduction
  readonly labelSmoothing: number

  /** @throws TypeError, RangeError */
  constructor(options: CrossEntropyOptions = {}) {
    super()
    const name = 'CrossEntropyLoss'
    checkOptions(name, options, ['ignoreIndex', 'reduction', 'labelSmoothing'])
    this.ignoreIndex = checkIgnoreIndex(name, options.ignoreIndex)
    this.reduction = checkReduction(name, options.reduction)
    this.labelSmoothing = checkNumber(name, 'labelSmoothing', options.labelSmoothing ?? 0, 0, 1)
  }

  /** Logits `[N, C]` or `[C]` and int32 classes `[N]` or `[]`. @throws TypeError, RangeError */
  override forward(input: Tensor, target: Tensor): Tensor {
    const { ignoreIndex, reduction, labelSmoothing } = this
    return crossEntropy(input, target, { ignoreIndex, reduction, labelSmoothing })
  }
}

/** As `torch.nn.NLLLoss`: ignoreIndex -100, reduction 'mean'. */
export class NLLLoss extends Module {
  readonly ignoreIndex: number
  readonly reduction: Reduction

  /** @throws TypeError, RangeError */
  constructor(options: NLLLossOptions = {}) {
    super()
    checkOptions('NLLLoss', options, ['ignoreIndex', 'reduction'])
    this.ignoreIndex = checkIgnoreIndex('NLLLoss', options.ignoreIndex)
    this.reduction = checkReduction('NLLLoss', options.reduction)
  }

  /** Log probabilities `[N, C]` or `[C]` and int32 classes `[N]` or `[]`. */
  override forward(input: Tensor, target: Tensor): Tensor {
    return nllLoss(input, target, { ignoreIndex: this.ignoreIndex, reduction: this.reduction })
  }
}

/** As `torch.nn.MSELoss`: reduction 'mean'. */
export class MSELoss extends Module {
  readonly reduction: Reduction

  /** @throws TypeError */
  constructor(options: ReductionOptions = {}) {
    super()
    checkOptions('MSELoss', options, ['reduction'])
    this.reduction = checkReduction('MSELoss', options.reduction)
  }

  /** Two tensors of one shape. @throws TypeError, RangeError */
  override forward(input: Tensor, target: Tensor): Tensor {
    return mseLoss(input, target, { reduction: this.reduction })
  }
}

/** As `torch.nn.BCEWithLogitsLoss`: reduction 'mean', no weights. */
export class BCEWithLogitsLoss extends Module {
  readonly reduction: Reduction
  weight: Tensor | null
  posWeight: Tensor | null

  /** @throws TypeError */
  constructor(options: BCEWithLogitsOptions = {}) {
    super()
    checkOptions('BCEWithLogitsLoss', options, ['weight', 'posWeight', 'reduction'])
    this.reduction = checkReduction('BCEWithLogitsLoss', options.reduction)
    this.weight = options.weight ?? null
    this.posWeight = options.posWeight ?? null
  }

  /** Its weights move along with a model's parameters. */
  protected override moveTensors(device: string): void {
    super.moveTensors(device)
    this.weight = this.weight?.to(device) ?? null
    this.posWeight = this.posWeight?.to(device) ?? null
  }

  /** Logits and probabilities of one shape. @throws TypeError, RangeError */
  override forward(input: Tensor, target: Tensor): Tensor {
    const { reduction, weight, posWeight } = this
    return binaryCrossEntropyWithLogits(input, target, { reduction, weight, posWeight })
  }
}
