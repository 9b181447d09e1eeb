import { type Buffer, binding } from '../binding.js'
import { checkBoolean } from '../errors.js'
import type { Tensor } from '../tensor.js'
import { atLeastZero, checkBetas } from './checks.js'
import {
  Optimizer,
  type OptimizerOptions,
  type Params,
  type Update,
  zerosLike,
} from './optimizer.js'
import type { ParamState } from './state_dict.js'

/** The options of one group. */
export interface AdamGroup {
  lr: number
  /** How slowly the running means of gradients and of their squares forget. */
  betas: readonly [number, number]
  eps: number
  /** Adam adds it to the gradient, AdamW shrinks the parameters by it. */
  weightDecay: number
  /** Divides by the largest running mean of squares so far. */
  amsgrad: boolean
  /** Goes up instead of down. */
  maximize: boolean
}

/** What {@link Adam} and {@link AdamW} take. */
export type AdamOptions = Partial<AdamGroup> & OptimizerOptions

/** What Adam and AdamW share. */
abstract class AdamBase extends Optimizer<AdamGroup> {
  readonly #decoupled: boolean

  protected constructor(
    name: string,
    params: Params<AdamGroup>,
    options: AdamOptions,
    weightDecay: number,
    decoupled: boolean,
  ) {
    super(
      name,
      params,
      options,
      { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay, amsgrad: false, maximize: false },
      {
        lr: atLeastZero,
        betas: checkBetas,
        eps: atLeastZero,
        weightDecay: atLeastZero,
        amsgrad: checkBoolean,
        maximize: checkBoolean,
      },
    )
    this.#decoupled = decoupled
  }

  protected override stateKeys() {
    return { numbers: ['step'], tensors: ['expAvg', 'expAvgSq'], optional: ['maxExpAvgSq'] }
  }

  protected override update({ group, params, buffers, clip }: Update<AdamGroup>): void {
    const [beta1, beta2] = group.betas
    const states = params.map((param) => this.#stateOf(param, group.amsgrad))
    const steps = states.map((state) => {
      state.step = (state.step as number) + 1
      return state.step
    })
    const rest: (Buffer | number)[] = buffers
    const lists = ['expAvg', 'expAvgSq', ...(group.amsgrad ? ['maxExpAvgSq'] : [])]
    for (const key of lists) for (const state of states) rest.push((state[key] as Tensor).buffer)
    for (const step of steps) rest.push(group.lr / (1 - beta1 ** step))
    for (const step of steps) rest.push(1 / Math.sqrt(1 - beta2 ** step))
    binding.adam(
      ...clip,
      beta1,
      beta2,
      group.eps,
      this.#decoupled ? 0 : group.weightDecay,
      this.#decoupled ? 1 - group.lr * group.weightDecay : 1,
      group.maximize,
      group.amsgrad,
      params.length,
      ...rest,
    )
  }

  #stateOf(param: Tensor, amsgrad: boolean): ParamState {
    let state = this.state.get(param)
    if (state === undefined) {
      state = { step: 0, expAvg: zerosLike(param), expAvgSq: zerosLike(param) }
      this.state.set(param, state)
    }
    // Where the parameter may have moved.
    for (const key in state) if (key !== 'step') (state[key] as Tensor).moveTo(param.device)
    if (amsgrad) state.maxExpAvgSq ??= zerosLike(param)
    return state
  }
}

/**
 * As `torch.optim.Adam`, with its formulas and defaults: lr 1e-3, betas [0.9, 0.999], eps 1e-8,
 * weightDecay 0 (added to the gradient), amsgrad false, maximize false.
 */
export class Adam extends AdamBase {
  /**
   * @param params parameters, or groups `{ params, lr, … }`
   * @throws TypeError, RangeError for anything but leaf tensors, each once, and legal options
   */
  constructor(params: Params<AdamGroup>, options: AdamOptions = {}) {
    super('Adam', params, options, 0, false)
  }
}

/** As `torch.optim.AdamW`: {@link Adam} with weightDecay 0.01 apart from the gradient. */
export class AdamW extends AdamBase {
  /**
   * @param params parameters, or groups `{ params, lr, … }`
   * @throws TypeError, RangeError for anything but leaf tensors, each once, and legal options
   */
  constructor(params: Params<AdamGroup>, options: AdamOptions = {}) {
    super('AdamW', params, options, 0.01, true)
  }
}
