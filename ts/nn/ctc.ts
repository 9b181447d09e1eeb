import { checkBoolean, checkOptions } from '../errors.js'
import { type CTCLossOptions, checkBlank, ctcLoss, type SequenceLengths } from '../ops/ctc.js'
import { checkReduction } from '../ops/loss.js'
import type { Tensor } from '../tensor.js'
import { Module } from './module.js'

/** As `torch.nn.CTCLoss`: blank 0, reduction 'mean', zeroInfinity false. */
export class CTCLoss extends Module {
  readonly blank: number
  readonly reduction: NonNullable<CTCLossOptions['reduction']>
  readonly zeroInfinity: boolean

  /** @throws TypeError, RangeError */
  constructor(options: CTCLossOptions = {}) {
    super()
    checkOptions('CTCLoss', options, ['blank', 'reduction', 'zeroInfinity'])
    this.blank = checkBlank('CTCLoss', options.blank)
    this.reduction = checkReduction('CTCLoss', options.reduction)
    this.zeroInfinity = checkBoolean('CTCLoss', 'zeroInfinity', options.zeroInfinity ?? false)
  }

  /** See functional.ctcLoss. @throws TypeError, RangeError */
  override forward(
    logProbs: Tensor,
    targets: Tensor,
    inputLengths: SequenceLengths,
    targetLengths: SequenceLengths,
  ): Tensor {
    const { blank, reduction, zeroInfinity } = this
    const options = { blank, reduction, zeroInfinity }
    return ctcLoss(logProbs, targets, inputLengths, targetLengths, options)
  }
}
