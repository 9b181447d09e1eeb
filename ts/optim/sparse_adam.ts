import { UpdateRule } from '../binding.js'
import { checkBoolean, checkNumber, rangeError } from '../errors.js'
import { atLeastZero, checkBetas } from './checks.js'
import type { Check, GradientKinds, OptimizerOptions, Params } from './optimizer.js'
import { type RuleCall, RuleOptimizer } from './rule_optimizer.js'
import type { ParamState } from './state_dict.js'

/** The options of one group. */
export interface SparseAdamGroup {
  lr: number
  /** How slowly the running means of gradients and of their squares forget. */
  betas: readonly [number, number]
  eps: number
  /** Goes up instead of down. */
  maximize: boolean
}

/** What {@link SparseAdam} takes. */
export type SparseAdamOptions = Partial<SparseAdamGroup> & OptimizerOptions

const aboveZero: Check = (fn, name, value) => {
  if (checkNumber(fn, name, value, 0) === 0) throw rangeError(fn, name, 'a number above 0', '0')
}

/**
 * As `torch.optim.SparseAdam`, with its formulas and defaults: lr 1e-3, betas [0.9, 0.999], eps 1e-8,
 * maximize false. For sparse gradients alone, those of nn.Embedding's `sparse`: a step changes the rows
 * of the table, and of the running means, that the gradient has, and no others. Unlike Adam's, the root
 * of the squares is not corrected before eps is added to it. The running means are as large as the table;
 * they are made at a parameter's first step.
 */
export class SparseAdam extends RuleOptimizer<SparseAdamGroup> {
  /**
   * @param params parameters, or groups `{ params, lr, … }`
   * @throws TypeError, RangeError for anything but leaf tensors, each once, and legal options; `step`
   *   for a gradient that is not sparse
   */
  constructor(params: Params<SparseAdamGroup>, options: SparseAdamOptions = {}) {
    super(
      'SparseAdam',
      params,
      options,
      { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, maximize: false },
      { lr: atLeastZero, betas: checkBetas, eps: aboveZero, maximize: checkBoolean },
    )
  }

  protected override gradientKinds(): GradientKinds {
    return { dense: false, sparse: 'rows' }
  }

  protected override stateKeys() {
    return { numbers: ['step'], tensors: ['expAvg', 'expAvgSq'], optional: [] }
  }

  protected override call({ betas: [beta1, beta2], eps }: SparseAdamGroup): RuleCall {
    const options = [1 - beta1, 1 - beta2, eps]
    return { rule: UpdateRule.sparseAdam, tensors: ['expAvg', 'expAvgSq'], options }
  }

  protected override numbers({ lr, betas }: SparseAdamGroup, state: ParamState): number[] {
    const step = state.step as number
    return [(lr * Math.sqrt(1 - betas[1] ** step)) / (1 - betas[0] ** step)]
  }
}
