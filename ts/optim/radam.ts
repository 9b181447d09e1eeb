import { UpdateRule } from '../binding.js'
import { checkBoolean } from '../errors.js'
import { atLeastZero, checkBetas } from './checks.js'
import type { OptimizerOptions, Params } from './optimizer.js'
import { type RuleCall, RuleOptimizer } from './rule_optimizer.js'
import type { ParamState } from './state_dict.js'

/** The options of one group. */
export interface RAdamGroup {
  lr: number
  /** How slowly the running means of gradients and of their squares forget. */
  betas: readonly [number, number]
  eps: number
  weightDecay: number
  /** Shrinks the parameters by weightDecay, as AdamW, instead of adding it to the gradient. */
  decoupledWeightDecay: boolean
  /** Goes up instead of down. */
  maximize: boolean
}

/** What {@link RAdam} takes. */
export type RAdamOptions = Partial<RAdamGroup> & OptimizerOptions

/**
 * Adam with a rectified variance; as `torch.optim.RAdam`, with its formulas and defaults: lr 1e-3,
 * betas [0.9, 0.999], eps 1e-8, weightDecay 0, decoupledWeightDecay false, maximize false.
 */
export class RAdam extends RuleOptimizer<RAdamGroup> {
  /**
   * @param params parameters, or groups `{ params, lr, … }`
   * @throws TypeError, RangeError for anything but leaf tensors, each once, and legal options
   */
  constructor(params: Params<RAdamGroup>, options: RAdamOptions = {}) {
    super(
      'RAdam',
      params,
      options,
      {
        lr: 1e-3,
        betas: [0.9, 0.999],
        eps: 1e-8,
        weightDecay: 0,
        decoupledWeightDecay: false,
        maximize: false,
      },
      {
        lr: atLeastZero,
        betas: checkBetas,
        eps: atLeastZero,
        weightDecay: atLeastZero,
        decoupledWeightDecay: checkBoolean,
        maximize: checkBoolean,
      },
    )
  }

  protected override stateKeys() {
    return { numbers: ['step'], tensors: ['expAvg', 'expAvgSq'], optional: [] }
  }

  protected override call(group: RAdamGroup): RuleCall {
    const { lr, betas, eps, weightDecay, decoupledWeightDecay } = group
    return {
      rule: UpdateRule.radam,
      tensors: ['expAvg', 'expAvgSq'],
      options: [1 - betas[0], betas[1], 1 - betas[1], eps],
      weightDecay: decoupledWeightDecay ? 0 : weightDecay,
      shrink: decoupledWeightDecay ? 1 - lr * weightDecay : 1,
    }
  }

  protected override numbers({ lr, betas }: RAdamGroup, state: ParamState): number[] {
    const step = state.step as number
    const [correction1, correction2] = [1 - betas[0] ** step, 1 - betas[1] ** step]
    const limit = 2 / (1 - betas[1]) - 1
    // The length of the simple moving average that knows as much of the variance.
    const length = limit - (2 * step * betas[1] ** step) / correction2
    const rectify =
      length > 5
        ? Math.sqrt(((length - 4) * (length - 2) * limit) / ((limit - 4) * (limit - 2) * length))
        : 0
    return [lr / correction1, Math.sqrt(correction2) * rectify]
  }
}
