/** Losses of pairs of numbers as modules. */
import { checkBoolean, checkOptions } from '../errors.js'
import { checkReduction, type ReductionOptions } from '../ops/loss.js'
import {
  type BCEOptions,
  type BCEWithLogitsOptions,
  binaryCrossEntropy,
  binaryCrossEntropyWithLogits,
  checkBeta,
  checkDelta,
  checkEps,
  checkKLReduction,
  checkQuantiles,
  type GaussianNLLOptions,
  gaussianNllLoss,
  type HuberOptions,
  huberLoss,
  type KLDivOptions,
  klDiv,
  l1Loss,
  mseLoss,
  type PoissonNLLOptions,
  poissonNllLoss,
  quantileLoss,
  type SmoothL1Options,
  smoothL1Loss,
} from '../ops/pair_loss.js'
import type { Tensor } from '../tensor.js'
import { WeightedLoss } from './loss.js'
import { Module } from './module.js'

type Reduction = NonNullable<ReductionOptions['reduction']>

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
export class BCEWithLogitsLoss extends WeightedLoss {
  readonly reduction: Reduction
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
    this.posWeight = this.posWeight?.to(device) ?? null
  }

  /** Logits and probabilities of one shape. @throws TypeError, RangeError */
  override forward(input: Tensor, target: Tensor): Tensor {
    const { reduction, weight, posWeight } = this
    return binaryCrossEntropyWithLogits(input, target, { reduction, weight, posWeight })
  }
}

/** As `torch.nn.BCELoss`: reduction 'mean', no weight. */
export class BCELoss extends WeightedLoss {
  readonly reduction: Reduction

  /** @throws TypeError */
  constructor(options: BCEOptions = {}) {
    super()
    checkOptions('BCELoss', options, ['weight', 'reduction'])
    this.reduction = checkReduction('BCELoss', options.reduction)
    this.weight = options.weight ?? null
  }

  /** Probabilities of one shape. @throws TypeError, RangeError */
  override forward(input: Tensor, target: Tensor): Tensor {
    return binaryCrossEntropy(input, target, { reduction: this.reduction, weight: this.weight })
  }
}

/** As `torch.nn.L1Loss`: reduction 'mean'. */
export class L1Loss extends Module {
  readonly reduction: Reduction

  /** @throws TypeError */
  constructor(options: ReductionOptions = {}) {
    super()
    checkOptions('L1Loss', options, ['reduction'])
    this.reduction = checkReduction('L1Loss', options.reduction)
  }

  /** Two tensors of one shape. @throws TypeError, RangeError */
  override forward(input: Tensor, target: Tensor): Tensor {
    return l1Loss(input, target, { reduction: this.reduction })
  }
}

/** As `torch.nn.SmoothL1Loss`: beta 1, reduction 'mean'. */
export class SmoothL1Loss extends Module {
  readonly reduction: Reduction
  readonly beta: number

  /** @throws TypeError, RangeError */
  constructor(options: SmoothL1Options = {}) {
    super()
    checkOptions('SmoothL1Loss', options, ['beta', 'reduction'])
    this.reduction = checkReduction('SmoothL1Loss', options.reduction)
    this.beta = checkBeta('SmoothL1Loss', options.beta)
  }

  /** Two tensors of one shape. @throws TypeError, RangeError */
  override forward(input: Tensor, target: Tensor): Tensor {
    return smoothL1Loss(input, target, { reduction: this.reduction, beta: this.beta })
  }
}

/** As `torch.nn.HuberLoss`: delta 1, reduction 'mean'. */
export class HuberLoss extends Module {
  readonly reduction: Reduction
  readonly delta: number

  /** @throws TypeError, RangeError */
  constructor(options: HuberOptions = {}) {
    super()
    checkOptions('HuberLoss', options, ['delta', 'reduction'])
    this.reduction = checkReduction('HuberLoss', options.reduction)
    this.delta = checkDelta('HuberLoss', options.delta)
  }

  /** Two tensors of one shape. @throws TypeError, RangeError */
  override forward(input: Tensor, target: Tensor): Tensor {
    return huberLoss(input, target, { reduction: this.reduction, delta: this.delta })
  }
}

/** As `torch.nn.KLDivLoss`: reduction 'mean', logTarget false. */
export class KLDivLoss extends Module {
  readonly reduction: NonNullable<KLDivOptions['reduction']>
  readonly logTarget: boolean

  /** @throws TypeError */
  constructor(options: KLDivOptions = {}) {
    super()
    checkOptions('KLDivLoss', options, ['logTarget', 'reduction'])
    this.reduction = checkKLReduction('KLDivLoss', options.reduction)
    this.logTarget = checkBoolean('KLDivLoss', 'logTarget', options.logTarget ?? false)
  }

  /** Logarithms and probabilities of one shape. @throws TypeError, RangeError */
  override forward(input: Tensor, target: Tensor): Tensor {
    return klDiv(input, target, { reduction: this.reduction, logTarget: this.logTarget })
  }
}

/** As `torch.nn.PoissonNLLLoss`: logInput true, full false, eps 1e-8, reduction 'mean'. */
export class PoissonNLLLoss extends Module {
  readonly reduction: Reduction
  readonly logInput: boolean
  readonly full: boolean
  readonly eps: number

  /** @throws TypeError, RangeError */
  constructor(options: PoissonNLLOptions = {}) {
    super()
    const name = 'PoissonNLLLoss'
    checkOptions(name, options, ['logInput', 'full', 'eps', 'reduction'])
    this.reduction = checkReduction(name, options.reduction)
    this.logInput = checkBoolean(name, 'logInput', options.logInput ?? true)
    this.full = checkBoolean(name, 'full', options.full ?? false)
    this.eps = checkEps(name, options.eps, 1e-8)
  }

  /** See functional.poissonNllLoss. @throws TypeError, RangeError */
  override forward(input: Tensor, target: Tensor): Tensor {
    const { reduction, logInput, full, eps } = this
    return poissonNllLoss(input, target, { reduction, logInput, full, eps })
  }
}

/** As `torch.nn.GaussianNLLLoss`: full false, eps 1e-6, reduction 'mean'. */
export class GaussianNLLLoss extends Module {
  readonly reduction: Reduction
  readonly full: boolean
  readonly eps: number

  /** @throws TypeError, RangeError */
  constructor(options: GaussianNLLOptions = {}) {
    super()
    checkOptions('GaussianNLLLoss', options, ['full', 'eps', 'reduction'])
    this.reduction = checkReduction('GaussianNLLLoss', options.reduction)
    this.full = checkBoolean('GaussianNLLLoss', 'full', options.full ?? false)
    this.eps = checkEps('GaussianNLLLoss', options.eps, 1e-6)
  }

  /** See functional.gaussianNllLoss. @throws TypeError, RangeError */
  override forward(input: Tensor, target: Tensor, variance: Tensor | number): Tensor {
    const { reduction, full, eps } = this
    return gaussianNllLoss(input, target, variance, { reduction, full, eps })
  }
}

/** The quantile (pinball) loss; see functional.quantileLoss. PyTorch has none. */
export class QuantileLoss extends Module {
  readonly quantiles: readonly number[]
  readonly reduction: Reduction

  /** @throws TypeError, RangeError */
  constructor(quantiles: readonly number[], options: ReductionOptions = {}) {
    super()
    checkQuantiles('QuantileLoss', quantiles)
    checkOptions('QuantileLoss', options, ['reduction'])
    this.quantiles = Object.freeze([...quantiles])
    this.reduction = checkReduction('QuantileLoss', options.reduction)
  }

  /** Estimates `[…, Q]` and numbers `[…]`. @throws TypeError, RangeError */
  override forward(input: Tensor, target: Tensor): Tensor {
    return quantileLoss(input, target, this.quantiles, { reduction: this.reduction })
  }
}
