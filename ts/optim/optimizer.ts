/** What the optimisers share: groups of parameters, clipping, the step as a promise, state dicts. */

import { type Buffer, binding } from '../binding.js'
import { refuseJSON } from '../copies.js'
import { checkSameDevice, deviceNumber } from '../device.js'
import {
  checkIterable,
  checkNumber,
  checkOptions,
  formatShape,
  rangeError,
  typeError,
} from '../errors.js'
import { enableGrad } from '../grad_mode.js'
import { denseOf, rowsOnce } from '../ops/rows.js'
import { Tensor } from '../tensor.js'
import {
  checkState,
  copyState,
  type OptimizerState,
  type ParamState,
  type StateKeys,
  writeState,
} from './state_dict.js'
import { type ZeroGradOptions, zeroGradients } from './zero_grad.js'

/** Options that every optimiser has. */
export interface OptimizerOptions {
  /** Learning rate, at least 0. */
  lr?: number
  /** As `torch.nn.utils.clip_grad_norm_` before every step, over all groups, in the same pass. */
  maxGradNorm?: number | undefined
  /** As `torch.nn.utils.clip_grad_value_` before every step (after the norm), in the same pass. */
  maxGradValue?: number | undefined
}

/** Parameters with options of their own; as the dicts that PyTorch's optimisers take. */
export type ParamGroupInput<G> = Partial<G> & { params: Tensor | Iterable<Tensor> }
/** Parameters with settings of their own. */
export type ParamGroup<G> = G & { params: Tensor[] }
/** Parameters, or groups of them. */
export type Params<G> = Iterable<Tensor> | Iterable<ParamGroupInput<G>>

/** A checked option of a group: throws unless the value is fine. */
export type Check = (fn: string, name: string, value: unknown) => unknown

/** Parameters in one native call: each is several arguments, and the stack limits their number. */
const MOST_IN_A_CALL = 1000

/** Parameters of one group that have a gradient. */
export interface Update<G> {
  group: ParamGroup<G>
  params: Tensor[]
  /** The parameters' buffers, then their gradients'; of sparse ones the values of their rows. */
  buffers: Buffer[]
  /** Of sparse gradients: which rows these are, none of them twice. Else null. */
  rows: Buffer[] | null
  /** How to clip; see the binding. */
  clip: readonly [norm: Buffer | null, maxNorm: number, maxValue: number]
}

/** Which gradients an optimiser makes steps with. */
export interface GradientKinds {
  dense: boolean
  /** 'rows': on their rows alone. 'dense': on all, as if it were not sparse. null: refused. */
  sparse: 'rows' | 'dense' | null
  /** What sparse ones are refused with, for the message: ' with weightDecay'. */
  with?: string
}

/** Base of the optimisers; as `torch.optim.Optimizer`. */
export abstract class Optimizer<G extends { lr: number } = { lr: number }> {
  /** The groups, with their options; as PyTorch's `param_groups`. */
  readonly paramGroups: ParamGroup<G>[] = []
  /** What the optimiser remembers of each parameter. */
  protected readonly state = new Map<Tensor, ParamState>()
  readonly #name: string
  /** For the errors of a backward that needed the parameters as they were. */
  readonly #stepName: string
  readonly #defaults: G
  readonly #checks: Record<keyof G & string, Check>
  /** Options of groups as they were checked last. */
  readonly #legal = new WeakMap<ParamGroup<G>, ParamGroup<G>>()
  #maxGradNorm: number | undefined
  #maxGradValue: number | undefined

  /**
   * @param name of the class, for messages
   * @param defaults every option of a group, with its default
   */
  protected constructor(
    name: string,
    params: Params<G>,
    options: Partial<G> & OptimizerOptions,
    defaults: G,
    checks: Record<keyof G & string, Check>,
  ) {
    this.#name = name
    this.#stepName = `${name}.step`
    this.#checks = checks
    checkOptions(name, options, [...Object.keys(checks), 'maxGradNorm', 'maxGradValue'])
    const { maxGradNorm, maxGradValue, ...own } = given(options)
    this.#defaults = defaults
    this.#defaults = { ...defaults, ...this.#checked(own as Partial<G>) }
    this.maxGradNorm = maxGradNorm
    this.maxGradValue = maxGradValue
    for (const key of Object.keys(checks)) if (key !== 'lr') this.#refuseOption(key)
    checkIterable(name, 'params', params, 'an iterable of parameters or of groups')
    const list = [...params] as (Tensor | ParamGroupInput<G>)[]
    if (list.length === 0) throw rangeError(name, 'params', 'at least one parameter', 'none')
    if (list.some((item) => item instanceof Tensor)) {
      this.addParamGroup({ params: list as Tensor[] } as unknown as ParamGroupInput<G>)
    } else {
      for (const group of list as ParamGroupInput<G>[]) this.addParamGroup(group)
    }
  }

  /** Options are those of groups: setting one here would change nothing. */
  #refuseOption(key: string): void {
    if (key in this) return
    Object.defineProperty(this, key, {
      configurable: true,
      get: () => undefined,
      set: () => {
        throw new TypeError(
          `[${this.#name}] ${key}: an optimiser has it in its groups; set it there: for (const group of optimizer.paramGroups) group.${key} = …`,
        )
      },
    })
  }

  /** The learning rate of the first group; setting it sets all groups'. */
  get lr(): number {
    return (this.paramGroups[0] as ParamGroup<G>).lr
  }

  set lr(value: number) {
    checkNumber(this.#name, 'lr', value, 0)
    for (const group of this.paramGroups) group.lr = value
  }

  /** The norm that all gradients together are scaled down to, or undefined. */
  get maxGradNorm(): number | undefined {
    return this.#maxGradNorm
  }

  set maxGradNorm(value: number | undefined) {
    if (value !== undefined) checkNumber(this.#name, 'maxGradNorm', value, 0)
    this.#maxGradNorm = value
  }

  /** The largest magnitude of a gradient's element, or undefined. */
  get maxGradValue(): number | undefined {
    return this.#maxGradValue
  }

  set maxGradValue(value: number | undefined) {
    if (value !== undefined) checkNumber(this.#name, 'maxGradValue', value, 0)
    this.#maxGradValue = value
  }

  /**
   * Adds parameters with options of their own; as `Optimizer.add_param_group`.
   * @throws TypeError for anything but leaf tensors that require gradients; RangeError when the
   *   group is empty or has a parameter that is already there
   */
  addParamGroup(group: ParamGroupInput<G>): void {
    const name = this.#name
    if (typeof group !== 'object' || group === null || !('params' in group)) {
      throw typeError(name, 'params', 'tensors, or groups { params, … }', group)
    }
    const { params, ...own } = given(group)
    if (!(params instanceof Tensor)) checkIterable(name, 'params', params, 'an iterable of tensors')
    const list = params instanceof Tensor ? [params] : [...params]
    if (list.length === 0) throw rangeError(name, 'params', 'at least one parameter', 'none')
    const known = new Set(this.paramGroups.flatMap((other) => other.params))
    list.forEach((param, i) => {
      if (!(param instanceof Tensor)) throw typeError(name, `params[${i}]`, 'a tensor', param)
      if (param.gradFn !== null) {
        throw new TypeError(
          `[${name}] params[${i}]: expected a leaf tensor, got one of shape ${formatShape(param.shape)} that was computed by '${param.gradFn.name}'`,
        )
      }
      if (known.has(param)) {
        throw rangeError(
          name,
          `params[${i}]`,
          'every parameter once',
          `the one of shape ${formatShape(param.shape)} again`,
        )
      }
      if (param.dtype !== 'float32')
        throw typeError(name, `params[${i}]`, 'a float32 tensor', param.dtype)
      known.add(param)
    })
    this.paramGroups.push({
      ...this.#defaults,
      ...this.#checked(own as unknown as Partial<G>),
      params: list,
    })
  }

  /** Sets the gradients of all parameters to null, or zeros; as `Optimizer.zero_grad`. */
  zeroGrad(options: ZeroGradOptions = {}): void {
    for (const { params } of this.paramGroups) zeroGradients(params, options)
  }

  /**
   * Clips as the options say and updates every parameter that has a gradient; as `Optimizer.step`.
   * The work is queued before the call returns. Gradients themselves stay unclipped.
   * @returns a promise that settles, never before the event loop has turned, when the queue has
   *   room again: await it once per training step
   * @throws (rejects) with the first failure among the operations queued so far
   */
  step(): Promise<void>
  /**
   * Calls the closure, then does the same.
   * @param closure computes the gradients and returns the loss; it may be asynchronous
   * @returns a promise of what the closure returned
   */
  step<T>(closure: () => T | Promise<T>): Promise<T>
  step(closure?: () => unknown): Promise<unknown> {
    if (closure !== undefined) return this.#stepAfter(closure)
    // Errors, also that of a disposed tensor, come before anything is changed.
    for (const group of this.paramGroups) {
      this.#checkGroup(group)
      const kinds = this.gradientKinds(group)
      for (const { ownGrad } of group.params) if (ownGrad !== null) this.#checkKind(ownGrad, kinds)
    }
    const updates: Update<G>[] = []
    const made: Tensor[] = []
    const maxNorm = this.#maxGradNorm ?? -1
    const clip = [null, maxNorm, this.#maxGradValue ?? Infinity] as const
    for (const group of this.paramGroups) {
      const all = group.params.filter((param) => param.ownGrad !== null)
      const byRows = this.gradientKinds(group).sparse === 'rows'
      for (const params of calls(all, byRows)) {
        const grads = params.map(({ ownGrad }) => ownGrad as Tensor)
        const rows = byRows && grads[0]?.isSparse ? grads.map(rowsOnce) : null
        const dense = rows === null ? grads.map(denseOf) : []
        made.push(...dense.filter((grad, i) => grad !== grads[i]))
        const numbers = rows?.map(({ values }) => values) ?? dense
        const buffers = [...params, ...numbers].map(({ buffer }) => buffer)
        const index = rows?.map(({ index }) => index.buffer) ?? null
        updates.push({ group, params, buffers, rows: index, clip })
      }
    }
    if (maxNorm >= 0 && updates.length > 1) this.#updateWithOneNorm(updates)
    else for (const update of updates) this.update(update)
    for (const { params } of updates) for (const param of params) param.changed(this.#stepName)
    for (const one of made) one[Symbol.dispose]()
    return room()
  }

  /** @throws TypeError for a gradient that the optimiser makes no step with */
  #checkKind(grad: Tensor, { dense, sparse, with: option = '' }: GradientKinds): void {
    if (grad.isSparse ? sparse !== null : dense) return
    const name = this.#name
    const got = `got one of shape ${formatShape(grad.shape)}`
    throw new TypeError(
      grad.isSparse
        ? `[${name}.step] ${name}${option} does not support sparse gradients, ${got}; use SGD, Adagrad or SparseAdam without weightDecay, or nn.Embedding without sparse`
        : `[${name}.step] ${name} does not support dense gradients, ${got}; use Adam for it, or nn.Embedding with sparse: true`,
    )
  }

  async #stepAfter(closure: () => unknown): Promise<unknown> {
    if (typeof closure !== 'function')
      throw typeError(`${this.#name}.step`, 'closure', 'a function', closure)
    const loss = await enableGrad(closure)
    await this.step()
    return loss
  }

  /** @throws TypeError always: JSON cannot hold the values of tensors */
  toJSON(): never {
    refuseJSON(this.#name, 'write a file with io.save(optimizer.stateDict(), path)')
  }

  /** Clips several updates by the norm of all their gradients. */
  #updateWithOneNorm(updates: readonly Update<G>[]): void {
    const { device } = (updates[0] as Update<G>).params[0] as Tensor
    for (const { params } of updates) {
      checkSameDevice(this.#name, 'maxGradNorm: parameters', params[0], device)
    }
    const grads = updates.flatMap(({ params, buffers }) => buffers.slice(params.length))
    const norm = binding.gradNorm(grads, 2)
    for (const update of updates) {
      const [, maxNorm, maxValue] = update.clip
      this.update({ ...update, clip: [norm, maxNorm, maxValue] })
    }
    binding.release(norm)
  }

  /**
   * The state of every parameter and the options; as `Optimizer.state_dict`. Its tensors share the
   * optimiser's memory: save or copy them to keep a state.
   */
  stateDict(): OptimizerState {
    return writeState(this.paramGroups, this.state)
  }

  /**
   * Goes on from a saved state: options and state of every parameter; as
   * `Optimizer.load_state_dict`. Values are copied. Nothing is changed when anything is wrong.
   * @throws TypeError, RangeError when groups, parameters or shapes do not fit
   */
  loadStateDict(saved: OptimizerState): void {
    const fn = `${this.#name}.loadStateDict`
    const { options, states } = checkState(
      fn,
      saved,
      this.paramGroups,
      () => this.stateKeys(),
      (own) => this.#checked(own as Partial<G>),
    )
    this.paramGroups.forEach((group, g) => {
      Object.assign(group, options[g])
    })
    this.state.clear()
    for (const [param, own] of states) this.state.set(param, copyState(own, param.device))
  }

  /** Queues the update of the parameters of one group that have gradients. */
  protected abstract update(update: Update<G>): void

  /** Which gradients a group's steps are made with; by default no sparse ones. */
  protected gradientKinds(_group: G): GradientKinds {
    return { dense: true, sparse: null }
  }

  /** What may be in a parameter's state. */
  protected abstract stateKeys(): StateKeys

  #checked(options: Partial<G>): Partial<G> {
    for (const [key, value] of Object.entries(options)) {
      if (key === 'params') continue
      const check = Object.hasOwn(this.#checks, key) ? this.#checks[key as keyof G & string] : null
      if (!check) {
        throw typeError(
          this.#name,
          'options',
          `one of ${Object.keys(this.#checks).join(', ')}`,
          key,
        )
      }
      check(this.#name, key, value)
    }
    this.checkTogether({ ...this.#defaults, ...options })
    return options
  }

  /** Checks a group's options, which the user may change between steps, if they have changed. */
  #checkGroup(group: ParamGroup<G>): void {
    const before = this.#legal.get(group)
    if (before !== undefined && sameOptions(group, before)) return
    this.#checked(group)
    this.#legal.set(group, { ...group })
  }

  /** Checks options that depend on each other. */
  protected checkTogether(_options: G): void {}
}

/**
 * Parameters as they go into calls: MOST_IN_A_CALL at most, all of one device.
 * @param apart whether those with sparse gradients go into calls of their own
 */
function calls(params: Tensor[], apart: boolean): Tensor[][] {
  const lists: Tensor[][] = []
  for (const param of params) {
    const last = lists.at(-1)
    const first = last?.[0]
    const alike =
      first?.device === param.device &&
      (!apart || first.ownGrad?.isSparse === param.ownGrad?.isSparse)
    if (last && last.length < MOST_IN_A_CALL && alike) last.push(param)
    else lists.push([param])
  }
  return lists
}

/** Options without those that are undefined, which mean the default as in every other call. */
function given<O extends object>(options: O): O {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined)
  return Object.fromEntries(entries) as O
}

/** A tensor of zeros of a parameter's shape. */
export function zerosLike(param: Tensor): Tensor {
  const buffer = binding.fill(param.numel, 0, deviceNumber(param.device))
  return Tensor.wrap(buffer, param.shape, param.device)
}

/** Whether two groups have the same options; false when one is an object, which may have changed. */
function sameOptions(group: object, before: object): boolean {
  const a = group as Record<string, unknown>
  const b = before as Record<string, unknown>
  let count = 0
  for (const key in a) {
    count++
    if (key === 'params') continue
    if (a[key] !== b[key] || typeof a[key] === 'object') return false
  }
  for (const _ in b) count--
  return count === 0
}

/** A promise for room in the queue that always lets the event loop turn. */
function room(): Promise<void> {
  return binding.room() ?? new Promise(onNextTurn)
}

function onNextTurn(resolve: () => void, reject: (error: Error) => void): void {
  setImmediate(settle, resolve, reject)
}

function settle(resolve: () => void, reject: (error: Error) => void): void {
  const error = binding.takeError()
  if (error === null) resolve()
  else reject(new Error(error))
}
