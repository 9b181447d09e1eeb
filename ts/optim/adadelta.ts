import { UpdateRule } from '../binding.js'
import { checkBoolean, checkNumber } from '../errors.js'
import { atLeastZero } from './checks.js'
import type { OptimizerOptions, Params } from './optimizer.js'
import { type RuleCall, RuleOptimizer } from './rule_optimizer.js'

/** The options of one group. */
export interface AdadeltaGroup {
  lr: number
  /** How slowly the running means forget, in [0, 1]. */
  rho: number
  eps: number
  weightDecay: number
  /** Goes up instead of down. */
  maximize: boolean
}

/** What {@link Adadelta} takes. */
export type AdadeltaOptions = Partial<AdadeltaGroup> & OptimizerOptions

/**
 * As `torch.optim.Adadelta`, with its formulas and defaults: lr 1, rho 0.9, eps 1e-6,
 * weightDecay 0, maximize false.
 */
export class Adadelta extends RuleOptimizer<AdadeltaGroup> {
  /**
   * @param params parameters, or groups `{ params, lr, … }`
   * @throws TypeError, RangeError for anything but leaf tensors, each once, and legal options
   */
  constructor(params: Params<AdadeltaGroup>, options: AdadeltaOptions = {}) {
    super(
      'Adadelta',
      params,
      options,
      { lr: 1, rho: 0.9, eps: 1e-6, weightDecay: 0, maximize: false },
      {
        lr: atLeastZero,
        rho: (fn, name, value) => checkNumber(fn, name, value, 0, 1),
        eps: atLeastZero,
        weightDecay: atLeastZero,
        maximize: checkBoolean,
      },
    )
  }

  protected override stateKeys() {
    return { numbers: ['step'], tensors: ['squareAvg', 'accDelta'], optional: [] }
  }

  protected override call({ lr, rho, eps, weightDecay }: AdadeltaGroup): RuleCall {
    const { tensors } = this.stateKeys()
    return { rule: UpdateRule.adadelta, tensors, options: [rho, 1 - rho, eps, lr], weightDecay }
  }
}
