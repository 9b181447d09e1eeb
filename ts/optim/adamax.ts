import { UpdateRule } from '../binding.js'
import { checkBoolean } from '../errors.js'
import { atLeastZero, checkBetas } from './checks.js'
import type { OptimizerOptions, Params } from './optimizer.js'
import { type RuleCall, RuleOptimizer } from './rule_optimizer.js'
import type { ParamState } from './state_dict.js'

/** The options of one group. */
export interface AdamaxGroup {
  lr: number
  /** How slowly the running mean and the largest magnitude forget. */
  betas: readonly [number, number]
  eps: number
  weightDecay: number
  /** Goes up instead of down. */
  maximize: boolean
}

/** What {@link Adamax} takes. */
export type AdamaxOptions = Partial<AdamaxGroup> & OptimizerOptions

/**
 * As `torch.optim.Adamax`, with its formulas and defaults: lr 2e-3, betas [0.9, 0.999], eps 1e-8,
 * weightDecay 0, maximize false.
 */
export class Adamax extends RuleOptimizer<AdamaxGroup> {
  /**
   * @param params parameters, or groups `{ params, lr, … }`
   * @throws TypeError, RangeError for anything but leaf tensors, each once, and legal options
   */
  constructor(params: Params<AdamaxGroup>, options: AdamaxOptions = {}) {
    super(
      'Adamax',
      params,
      options,
      { lr: 2e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0, maximize: false },
      {
        lr: atLeastZero,
        betas: checkBetas,
        eps: atLeastZero,
        weightDecay: atLeastZero,
        maximize: checkBoolean,
      },
    )
  }

  protected override stateKeys() {
    return { numbers: ['step'], tensors: ['expAvg', 'expInf'], optional: [] }
  }

  protected override call({ betas, eps, weightDecay }: AdamaxGroup): RuleCall {
    const { tensors } = this.stateKeys()
    const options = [1 - betas[0], betas[1], eps]
    return { rule: UpdateRule.adamax, tensors, options, weightDecay }
  }

  protected override numbers({ lr, betas }: AdamaxGroup, state: ParamState): number[] {
    return [lr / (1 - betas[0] ** (state.step as number))]
  }
}
