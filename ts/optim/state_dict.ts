/** The state of an optimiser as plain data, and back. */
import { copyValues } from '../autograd.js'
import { checkNumber, checkOptions, formatShape, rangeError, typeError } from '../errors.js'
import { movedValues } from '../ops/transfer.js'
import { Tensor } from '../tensor.js'

/** What an optimiser remembers of one parameter. */
export type ParamState = Record<string, number | Tensor>

/** What an optimiser needs to go on exactly; parameters are numbered in the order of the groups. */
export interface OptimizerState {
  state: Record<number, ParamState>
  paramGroups: (Record<string, unknown> & { params: number[] })[]
}

/** What of a parameter's state an optimiser may have: numbers, and tensors of its shape. */
export interface StateKeys {
  numbers: readonly string[]
  tensors: readonly string[]
  /** Tensors that are there only under some options. */
  optional: readonly string[]
}

/** A group of parameters, whatever its options are. */
interface Group {
  params: Tensor[]
}

/** The state of every parameter and the options of the groups; the tensors share their memory. */
export function writeState(
  groups: readonly Group[],
  states: ReadonlyMap<Tensor, ParamState>,
): OptimizerState {
  const state: Record<number, ParamState> = {}
  let index = 0
  const paramGroups = groups.map((group) => {
    const numbers = group.params.map((param) => {
      const own = states.get(param)
      if (own !== undefined) {
        state[index] = Object.fromEntries(
          Object.entries(own).map(([key, value]) => [
            key,
            value instanceof Tensor ? value.detach() : value,
          ]),
        )
      }
      return index++
    })
    return { ...group, params: numbers }
  })
  return { state, paramGroups }
}

/**
 * Checks a saved state against an optimiser's parameters.
 * @param fn to name in errors
 * @param keys what may be in a parameter's state
 * @param checkedOptions throws unless the options of a group are fine
 * @returns the options of each group, and the state of each parameter that has one, not copied
 * @throws TypeError, RangeError when groups, parameters or shapes do not fit
 */
export function checkState<O>(
  fn: string,
  saved: OptimizerState,
  groups: readonly Group[],
  keys: () => StateKeys,
  checkedOptions: (options: object) => O,
): { options: O[]; states: Map<Tensor, ParamState> } {
  if (typeof saved !== 'object' || saved === null || !Array.isArray(saved.paramGroups)) {
    throw typeError(fn, 'saved', 'an object { state, paramGroups }', saved)
  }
  const { paramGroups, state } = saved
  if (typeof state !== 'object' || state === null) throw typeError(fn, 'state', 'an object', state)
  if (paramGroups.length !== groups.length) {
    throw rangeError(
      fn,
      'paramGroups',
      `${groups.length} group(s)`,
      `${paramGroups.length} group(s)`,
    )
  }
  const options = paramGroups.map((group, g) => {
    const own = groups[g] as Group
    const { params, ...rest } = group ?? {}
    if (!Array.isArray(params) || params.length !== own.params.length) {
      throw rangeError(
        fn,
        `paramGroups[${g}]`,
        `${own.params.length} parameter(s)`,
        `${Array.isArray(params) ? params.length : 'no'} parameter(s)`,
      )
    }
    return checkedOptions(rest)
  })
  const states = new Map<Tensor, ParamState>()
  paramGroups.forEach((group, g) => {
    group.params.forEach((number, p) => {
      const own = state[number]
      const param = (groups[g] as Group).params[p] as Tensor
      if (own === undefined) return
      checkParamState(fn, `state[${number}]`, own, param, keys())
      states.set(param, own)
    })
  })
  return { options, states }
}

function checkParamState(
  fn: string,
  name: string,
  own: ParamState,
  param: Tensor,
  { numbers, tensors, optional }: StateKeys,
): void {
  checkOptions(fn, own, [...numbers, ...tensors, ...optional])
  for (const key of numbers) checkNumber(fn, `${name}.${key}`, own[key], 0)
  for (const key of [...tensors, ...optional]) {
    const value = own[key]
    if (value === undefined && optional.includes(key)) continue
    if (!(value instanceof Tensor)) throw typeError(fn, `${name}.${key}`, 'a tensor', value)
    if (
      value.dtype !== 'float32' ||
      value.numel !== param.numel ||
      formatShape(value.shape) !== formatShape(param.shape)
    ) {
      throw rangeError(
        fn,
        `${name}.${key}`,
        `float32 of shape ${formatShape(param.shape)}`,
        `${value.dtype} of shape ${formatShape(value.shape)}`,
      )
    }
    value.buffer // a disposed tensor is an error before anything is changed
  }
}

/** The state of a parameter on its device, in memory of its own. */
export function copyState(state: ParamState, device: string): ParamState {
  return Object.fromEntries(
    Object.entries(state).map(([key, value]) => [
      key,
      value instanceof Tensor ? copyOn(value, device) : value,
    ]),
  )
}

function copyOn(value: Tensor, device: string): Tensor {
  return value.device === device ? copyValues(value) : movedValues(value, device)
}
