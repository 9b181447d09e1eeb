/** What the optimisers share whose step is one of the native rules (native/ops/update_rules.h). */
import { type Buffer, binding } from '../binding.js'
import type { Tensor } from '../tensor.js'
import { Optimizer, type Update, zerosLike } from './optimizer.js'
import type { ParamState } from './state_dict.js'

/** How the options of a group make a step. */
export interface RuleCall {
  /** A number of `UpdateRule`. */
  rule: number
  /** The tensors of a parameter's state that the rule changes, in its order. */
  tensors: readonly string[]
  /** The rule's options, in its order. */
  options: readonly number[]
  /** What is added to the gradient for each unit of the parameter. Default 0. */
  weightDecay?: number
  /** What the parameter is multiplied by before the step. Default 1. */
  shrink?: number
}

interface RuleGroup {
  lr: number
  maximize: boolean
}

/** The binding takes as many options whatever the rule is. */
const OPTIONS = 5

/** Base of these optimisers. */
export abstract class RuleOptimizer<G extends RuleGroup> extends Optimizer<G> {
  /** The rule for a group. */
  protected abstract call(group: G): RuleCall

  /** What depends on the number of steps, in the rule's order; the state's `step` is this step's. */
  protected numbers(_group: G, _state: ParamState): readonly number[] {
    return []
  }

  /** The numbers of a new state, beside `step`. */
  protected firstNumbers(_group: G): ParamState {
    return {}
  }

  /** A tensor of a new state. */
  protected firstTensor(_key: string, param: Tensor, _group: G): Tensor {
    return zerosLike(param)
  }

  protected override update({ group, params, buffers, rows, clip }: Update<G>): void {
    const { rule, tensors, options, weightDecay = 0, shrink = 1 } = this.call(group)
    const states = params.map((param) => this.#stateOf(param, group, tensors))
    const rest: (Buffer | number)[] = rows === null ? buffers : buffers.slice(0, params.length)
    for (const key of tensors) for (const state of states) rest.push((state[key] as Tensor).buffer)
    if (rows !== null) rest.push(...rows, ...buffers.slice(params.length))
    const byParam = states.map((state) => {
      state.step = (state.step as number) + 1
      return this.numbers(group, state)
    })
    const count = byParam[0]?.length ?? 0
    for (let i = 0; i < count; i++) for (const own of byParam) rest.push(own[i] as number)
    const five = Array.from({ length: OPTIONS }, (_, i) => options[i] ?? 0)
    const counts = [tensors.length, count, params.length] as const
    const all = five as [number, number, number, number, number]
    if (rows !== null) {
      binding.sparseStep(...clip, rule, group.maximize, ...all, ...counts, ...rest)
      return
    }
    binding.optimizerStep(
      ...clip,
      rule,
      weightDecay,
      shrink,
      group.maximize,
      ...all,
      ...counts,
      ...rest,
    )
  }

  #stateOf(param: Tensor, group: G, tensors: readonly string[]): ParamState {
    let state = this.state.get(param)
    if (state === undefined) {
      state = { step: 0, ...this.firstNumbers(group) }
      this.state.set(param, state)
    }
    for (const key of tensors) {
      state[key] ??= this.firstTensor(key, param, group)
      ;(state[key] as Tensor).moveTo(param.device) // where the parameter may have moved
    }
    return state
  }
}
