import { binding, UpdateRule } from '../binding.js'
import { deviceNumber } from '../device.js'
import { checkBoolean } from '../errors.js'
import { Tensor } from '../tensor.js'
import { atLeastZero } from './checks.js'
import type { GradientKinds, OptimizerOptions, Params } from './optimizer.js'
import { type RuleCall, RuleOptimizer } from './rule_optimizer.js'
import type { ParamState } from './state_dict.js'

/** The options of one group. */
export interface AdagradGroup {
  lr: number
  /** In step t, from 0, the rate is lr / (1 + t lrDecay). */
  lrDecay: number
  weightDecay: number
  /** Where the sums of squares begin. */
  initialAccumulatorValue: number
  eps: number
  /** Goes up instead of down. */
  maximize: boolean
}

/** What {@link Adagrad} takes. */
export type AdagradOptions = Partial<AdagradGroup> & OptimizerOptions

/**
 * As `torch.optim.Adagrad`, with its formulas and defaults: lr 1e-2, lrDecay 0, weightDecay 0,
 * initialAccumulatorValue 0, eps 1e-10, maximize false. A parameter's state begins with its first
 * step, not with the optimiser. A step with a sparse gradient (nn.Embedding's `sparse`) goes through its
 * rows alone; weightDecay is refused with one, as in PyTorch.
 */
export class Adagrad extends RuleOptimizer<AdagradGroup> {
  /**
   * @param params parameters, or groups `{ params, lr, … }`
   * @throws TypeError, RangeError for anything but leaf tensors, each once, and legal options
   */
  constructor(params: Params<AdagradGroup>, options: AdagradOptions = {}) {
    super(
      'Adagrad',
      params,
      options,
      {
        lr: 1e-2,
        lrDecay: 0,
        weightDecay: 0,
        initialAccumulatorValue: 0,
        eps: 1e-10,
        maximize: false,
      },
      {
        lr: atLeastZero,
        lrDecay: atLeastZero,
        weightDecay: atLeastZero,
        initialAccumulatorValue: atLeastZero,
        eps: atLeastZero,
        maximize: checkBoolean,
      },
    )
  }

  protected override gradientKinds({ weightDecay }: AdagradGroup): GradientKinds {
    if (weightDecay !== 0) return { dense: true, sparse: null, with: ' with weightDecay' }
    return { dense: true, sparse: 'rows' }
  }

  protected override stateKeys() {
    return { numbers: ['step'], tensors: ['sum'], optional: [] }
  }

  protected override firstTensor(_key: string, param: Tensor, group: AdagradGroup): Tensor {
    const { numel, device, shape } = param
    const buffer = binding.fill(numel, group.initialAccumulatorValue, deviceNumber(device))
    return Tensor.wrap(buffer, shape, device)
  }

  protected override call({ eps, weightDecay }: AdagradGroup): RuleCall {
    return { rule: UpdateRule.adagrad, tensors: ['sum'], options: [eps], weightDecay }
  }

  protected override numbers({ lr, lrDecay }: AdagradGroup, state: ParamState): number[] {
    return [lr / (1 + ((state.step as number) - 1) * lrDecay)]
  }
}
