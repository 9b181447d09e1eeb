import { type Buffer, binding, UpdateRule } from '../binding.js'
import { checkBoolean, checkNumber, rangeError } from '../errors.js'
import type { Tensor } from '../tensor.js'
import { atLeastZero } from './checks.js'
import {
  type GradientKinds,
  Optimizer,
  type OptimizerOptions,
  type Params,
  type Update,
  zerosLike,
} from './optimizer.js'

/** The options of one group. */
export interface SGDGroup {
  lr: number
  /** 0: none. */
  momentum: number
  /** What part of a new gradient the momentum buffer leaves out. */
  dampening: number
  weightDecay: number
  nesterov: boolean
  /** Goes up instead of down. */
  maximize: boolean
}

/** What {@link SGD} takes. */
export type SGDOptions = Partial<SGDGroup> & OptimizerOptions

/**
 * Stochastic gradient descent; as `torch.optim.SGD`, with its formulas and defaults:
 * lr 1e-3, momentum 0, dampening 0, weightDecay 0, nesterov false, maximize false. A step with a sparse
 * gradient (nn.Embedding's `sparse`) goes through its rows alone; with momentum, which moves rows that are
 * not looked up too, through the whole table. weightDecay is refused with one, as in PyTorch.
 */
export class SGD extends Optimizer<SGDGroup> {
  /**
   * @param params parameters, or groups `{ params, lr, … }`
   * @throws TypeError, RangeError for anything but leaf tensors, each once, and legal options
   */
  constructor(params: Params<SGDGroup>, options: SGDOptions = {}) {
    super(
      'SGD',
      params,
      options,
      { lr: 1e-3, momentum: 0, dampening: 0, weightDecay: 0, nesterov: false, maximize: false },
      {
        lr: atLeastZero,
        momentum: atLeastZero,
        dampening: checkNumber,
        weightDecay: atLeastZero,
        nesterov: checkBoolean,
        maximize: checkBoolean,
      },
    )
  }

  protected override checkTogether(options: SGDGroup): void {
    if (options.nesterov && (options.momentum <= 0 || options.dampening !== 0)) {
      throw rangeError(
        'SGD',
        'nesterov',
        'a momentum above 0 and dampening 0 with it',
        `momentum ${options.momentum}, dampening ${options.dampening}`,
      )
    }
  }

  protected override stateKeys() {
    return { numbers: [], tensors: ['momentumBuffer'], optional: [] }
  }

  protected override gradientKinds({ momentum, weightDecay }: SGDGroup): GradientKinds {
    if (weightDecay !== 0) return { dense: true, sparse: null, with: ' with weightDecay' }
    return { dense: true, sparse: momentum === 0 ? 'rows' : 'dense' }
  }

  protected override update({ group, params, buffers, rows, clip }: Update<SGDGroup>): void {
    if (rows !== null) {
      const { lr, maximize } = group
      const options = [UpdateRule.sgd, maximize, lr, 0, 0, 0, 0] as const
      const [values, count] = [buffers.slice(params.length), params.length]
      const tables = buffers.slice(0, count)
      binding.sparseStep(...clip, ...options, 0, 0, count, ...tables, ...rows, ...values)
      return
    }
    const rest: (Buffer | boolean)[] = buffers
    if (group.momentum !== 0) {
      const first: boolean[] = []
      for (const param of params) rest.push(this.#momentum(param, first).buffer)
      rest.push(...first)
    }
    binding.sgd(
      ...clip,
      group.lr,
      group.momentum,
      group.dampening,
      group.weightDecay,
      group.nesterov,
      group.maximize,
      params.length,
      ...rest,
    )
  }

  /** The momentum buffer; notes in `first` whether it begins now, as the gradient itself. */
  #momentum(param: Tensor, first: boolean[]): Tensor {
    let buffer = this.state.get(param)?.momentumBuffer as Tensor | undefined
    first.push(buffer === undefined)
    if (buffer === undefined) {
      buffer = zerosLike(param)
      this.state.set(param, { momentumBuffer: buffer })
    }
    buffer.moveTo(param.device) // where the parameter may have moved
    return buffer
  }
}
