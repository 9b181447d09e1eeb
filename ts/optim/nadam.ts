import { UpdateRule } from '../binding.js'
import { checkBoolean } from '../errors.js'
import { atLeastZero, checkBetas } from './checks.js'
import type { OptimizerOptions, Params } from './optimizer.js'
import { type RuleCall, RuleOptimizer } from './rule_optimizer.js'
import type { ParamState } from './state_dict.js'

/** The options of one group. */
export interface NAdamGroup {
  lr: number
  /** How slowly the running means of gradients and of their squares forget. */
  betas: readonly [number, number]
  eps: number
  weightDecay: number
  /** How fast the momentum rises to betas[0]. */
  momentumDecay: number
  /** Shrinks the parameters by weightDecay, as AdamW, instead of adding it to the gradient. */
  decoupledWeightDecay: boolean
  /** Goes up instead of down. */
  maximize: boolean
}

/** What {@link NAdam} takes. */
export type NAdamOptions = Partial<NAdamGroup> & OptimizerOptions

/**
 * Adam with Nesterov's momentum; as `torch.optim.NAdam`, with its formulas and defaults: lr 2e-3,
 * betas [0.9, 0.999], eps 1e-8, weightDecay 0, momentumDecay 4e-3, decoupledWeightDecay false,
 * maximize false.
 */
export class NAdam extends RuleOptimizer<NAdamGroup> {
  /**
   * @param params parameters, or groups `{ params, lr, … }`
   * @throws TypeError, RangeError for anything but leaf tensors, each once, and legal options
   */
  constructor(params: Params<NAdamGroup>, options: NAdamOptions = {}) {
    super(
      'NAdam',
      params,
      options,
      {
        lr: 2e-3,
        betas: [0.9, 0.999],
        eps: 1e-8,
        weightDecay: 0,
        momentumDecay: 4e-3,
        decoupledWeightDecay: false,
        maximize: false,
      },
      {
        lr: atLeastZero,
        betas: checkBetas,
        eps: atLeastZero,
        weightDecay: atLeastZero,
        momentumDecay: atLeastZero,
        decoupledWeightDecay: checkBoolean,
        maximize: checkBoolean,
      },
    )
  }

  protected override stateKeys() {
    return { numbers: ['step', 'muProduct'], tensors: ['expAvg', 'expAvgSq'], optional: [] }
  }

  protected override firstNumbers(): ParamState {
    return { muProduct: 1 }
  }

  protected override call(group: NAdamGroup): RuleCall {
    const { lr, betas, eps, weightDecay, decoupledWeightDecay } = group
    return {
      rule: UpdateRule.nadam,
      tensors: ['expAvg', 'expAvgSq'],
      options: [1 - betas[0], betas[1], 1 - betas[1], eps],
      weightDecay: decoupledWeightDecay ? 0 : weightDecay,
      shrink: decoupledWeightDecay ? 1 - lr * weightDecay : 1,
    }
  }

  protected override numbers(group: NAdamGroup, state: ParamState): number[] {
    const { lr, betas, momentumDecay } = group
    const step = state.step as number
    const momentum = (t: number): number => betas[0] * (1 - 0.5 * 0.96 ** (t * momentumDecay))
    const mu = momentum(step)
    const next = momentum(step + 1)
    const product = (state.muProduct as number) * mu
    state.muProduct = product
    return [
      (lr * (1 - mu)) / (1 - product),
      (lr * next) / (1 - product * next),
      1 / Math.sqrt(1 - betas[1] ** step),
    ]
  }
}
