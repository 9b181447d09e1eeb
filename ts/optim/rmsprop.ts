import { UpdateRule } from '../binding.js'
import { checkBoolean } from '../errors.js'
import { atLeastZero } from './checks.js'
import type { OptimizerOptions, Params } from './optimizer.js'
import { type RuleCall, RuleOptimizer } from './rule_optimizer.js'

/** The options of one group. */
export interface RMSpropGroup {
  lr: number
  /** How slowly the running means forget. */
  alpha: number
  eps: number
  weightDecay: number
  /** 0: none. */
  momentum: number
  /** Divides by an estimate of the standard deviation instead of the root mean square. */
  centered: boolean
  /** Goes up instead of down. */
  maximize: boolean
}

/** What {@link RMSprop} takes. */
export type RMSpropOptions = Partial<RMSpropGroup> & OptimizerOptions

/**
 * As `torch.optim.RMSprop`, with its formulas and defaults: lr 1e-2, alpha 0.99, eps 1e-8,
 * weightDecay 0, momentum 0, centered false, maximize false.
 */
export class RMSprop extends RuleOptimizer<RMSpropGroup> {
  /**
   * @param params parameters, or groups `{ params, lr, … }`
   * @throws TypeError, RangeError for anything but leaf tensors, each once, and legal options
   */
  constructor(params: Params<RMSpropGroup>, options: RMSpropOptions = {}) {
    super(
      'RMSprop',
      params,
      options,
      {
        lr: 1e-2,
        alpha: 0.99,
        eps: 1e-8,
        weightDecay: 0,
        momentum: 0,
        centered: false,
        maximize: false,
      },
      {
        lr: atLeastZero,
        alpha: atLeastZero,
        eps: atLeastZero,
        weightDecay: atLeastZero,
        momentum: atLeastZero,
        centered: checkBoolean,
        maximize: checkBoolean,
      },
    )
  }

  protected override stateKeys() {
    return { numbers: ['step'], tensors: ['squareAvg'], optional: ['gradAvg', 'momentumBuffer'] }
  }

  protected override call(group: RMSpropGroup): RuleCall {
    const { lr, alpha, eps, weightDecay, momentum, centered } = group
    const keeps = momentum > 0
    const tensors = [
      'squareAvg',
      ...(centered ? ['gradAvg'] : []),
      ...(keeps ? ['momentumBuffer'] : []),
    ]
    const { rmsprop, rmspropMomentum, rmspropCentered, rmspropCenteredMomentum } = UpdateRule
    const plain = keeps ? rmspropMomentum : rmsprop
    const rule = centered ? (keeps ? rmspropCenteredMomentum : rmspropCentered) : plain
    return { rule, tensors, options: [alpha, 1 - alpha, eps, momentum, lr], weightDecay }
  }
}
