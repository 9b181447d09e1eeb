import { UpdateRule } from '../binding.js'
import { checkBoolean, checkNumber } from '../errors.js'
import { atLeastZero } from './checks.js'
import type { OptimizerOptions, Params } from './optimizer.js'
import { type RuleCall, RuleOptimizer } from './rule_optimizer.js'
import type { ParamState } from './state_dict.js'

/** The options of one group. */
export interface ASGDGroup {
  lr: number
  /** Shrinks the parameters, and makes the rate fall. */
  lambd: number
  /** The power with which the rate falls. */
  alpha: number
  /** The step at which averaging begins. */
  t0: number
  weightDecay: number
  /** Goes up instead of down. */
  maximize: boolean
}

/** What {@link ASGD} takes. */
export type ASGDOptions = Partial<ASGDGroup> & OptimizerOptions

/**
 * Averaged stochastic gradient descent; as `torch.optim.ASGD`, with its formulas and defaults:
 * lr 1e-2, lambd 1e-4, alpha 0.75, t0 1e6, weightDecay 0, maximize false. The averages are `ax` in
 * its state. As in PyTorch, a changed lr counts from the step after the next on.
 */
export class ASGD extends RuleOptimizer<ASGDGroup> {
  /**
   * @param params parameters, or groups `{ params, lr, … }`
   * @throws TypeError, RangeError for anything but leaf tensors, each once, and legal options
   */
  constructor(params: Params<ASGDGroup>, options: ASGDOptions = {}) {
    super(
      'ASGD',
      params,
      options,
      { lr: 1e-2, lambd: 1e-4, alpha: 0.75, t0: 1e6, weightDecay: 0, maximize: false },
      {
        lr: atLeastZero,
        lambd: checkNumber,
        alpha: checkNumber,
        t0: checkNumber,
        weightDecay: atLeastZero,
        maximize: checkBoolean,
      },
    )
  }

  protected override stateKeys() {
    return { numbers: ['step', 'eta', 'mu'], tensors: ['ax'], optional: [] }
  }

  protected override firstNumbers({ lr }: ASGDGroup): ParamState {
    return { eta: lr, mu: 1 }
  }

  protected override call({ weightDecay }: ASGDGroup): RuleCall {
    return { rule: UpdateRule.asgd, tensors: ['ax'], options: [], weightDecay }
  }

  protected override numbers(group: ASGDGroup, state: ParamState): number[] {
    const { lr, lambd, alpha, t0 } = group
    const { step, eta, mu } = state as Record<'step' | 'eta' | 'mu', number>
    state.eta = lr / (1 + lambd * lr * step) ** alpha
    state.mu = 1 / Math.max(1, step - t0)
    return [eta, 1 - lambd * eta, mu]
  }
}
