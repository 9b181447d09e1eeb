import { binding, UpdateRule } from '../binding.js'
import { deviceNumber } from '../device.js'
import { checkBoolean, checkNumber, rangeError } from '../errors.js'
import { Tensor } from '../tensor.js'
import { atLeastZero, checkPair } from './checks.js'
import { type Check, type OptimizerOptions, type Params, zerosLike } from './optimizer.js'
import { type RuleCall, RuleOptimizer } from './rule_optimizer.js'

/** The options of one group. */
export interface RpropGroup {
  /** The first step's size. */
  lr: number
  /** What a step is multiplied by when the gradient's sign has changed, and when it has not. */
  etas: readonly [number, number]
  /** The smallest and the largest step. */
  stepSizes: readonly [number, number]
  /** Goes up instead of down. */
  maximize: boolean
}

/** What {@link Rprop} takes. */
export type RpropOptions = Partial<RpropGroup> & OptimizerOptions

const checkEtas: Check = (fn, name, value) => {
  const [minus, plus] = checkPair(fn, name, value, 'two numbers [etaminus, etaplus]')
  if (checkNumber(fn, `${name}[0]`, minus, 0, 1) % 1 === 0)
    throw rangeError(fn, `${name}[0]`, 'a number between 0 and 1', String(minus))
  if (checkNumber(fn, `${name}[1]`, plus, 1) === 1)
    throw rangeError(fn, `${name}[1]`, 'a number above 1', '1')
}

const checkStepSizes: Check = (fn, name, value) => {
  const [smallest, largest] = checkPair(fn, name, value, 'two numbers [smallest, largest]')
  checkNumber(fn, `${name}[1]`, largest, checkNumber(fn, `${name}[0]`, smallest, 0))
}

/**
 * Resilient backpropagation, for whole data sets as batches; as `torch.optim.Rprop`, with its
 * formulas and defaults: lr 1e-2, etas [0.5, 1.2], stepSizes [1e-6, 50], maximize false.
 */
export class Rprop extends RuleOptimizer<RpropGroup> {
  /**
   * @param params parameters, or groups `{ params, lr, … }`
   * @throws TypeError, RangeError for anything but leaf tensors, each once, and legal options
   */
  constructor(params: Params<RpropGroup>, options: RpropOptions = {}) {
    super(
      'Rprop',
      params,
      options,
      { lr: 1e-2, etas: [0.5, 1.2], stepSizes: [1e-6, 50], maximize: false },
      { lr: atLeastZero, etas: checkEtas, stepSizes: checkStepSizes, maximize: checkBoolean },
    )
  }

  protected override stateKeys() {
    return { numbers: ['step'], tensors: ['prev', 'stepSize'], optional: [] }
  }

  protected override firstTensor(key: string, param: Tensor, { lr }: RpropGroup): Tensor {
    if (key === 'prev') return zerosLike(param)
    const { numel, device, shape } = param
    return Tensor.wrap(binding.fill(numel, lr, deviceNumber(device)), shape, device)
  }

  protected override call({ etas, stepSizes }: RpropGroup): RuleCall {
    const { tensors } = this.stateKeys()
    return { rule: UpdateRule.rprop, tensors, options: [...etas, ...stepSizes] }
  }
}
