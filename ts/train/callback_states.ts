/** The states of callbacks in a checkpoint: each instance has its own, and gets its own back. */
import { typeError } from '../errors.js'
import { isObject } from './checks.js'
import type { CallbackHooks as Callback } from './types.js'

type States = Record<string, object>

/** A callback with a state, and what distinguishes it from all others of its trainer. */
interface Keyed {
  /** The callback's stateKey, else its class: `EarlyStopping{"monitor":"valLoss","mode":"min"}`. */
  kind: string
  /** The kind; that of the second of a kind ends in #2, in the order of the trainer's callbacks. */
  key: string
  callback: Callback
}

function keyed(callbacks: readonly Callback[]): Keyed[] {
  const counts = new Map<string, number>()
  const stateful = callbacks.filter((callback) => callback.stateDict !== undefined)
  return stateful.map((callback) => {
    const kind = callback.stateKey ?? (callback.constructor?.name || 'Object')
    const n = (counts.get(kind) ?? 0) + 1
    counts.set(kind, n)
    return { kind, key: n === 1 ? kind : `${kind}#${n}`, callback }
  })
}

function kindOf(key: string): string {
  return key.replace(/#\d+$/, '')
}

/** A kind without its arguments. */
function classOf(key: string): string {
  return kindOf(key).replace(/\{.*$/s, '')
}

/** @throws TypeError when a callback has only one of stateDict and loadStateDict, or a wrong stateKey */
export function checkStateful(fn: string, name: string, callback: Callback): void {
  const { stateKey, stateDict, loadStateDict } = callback
  if (stateKey !== undefined && (typeof stateKey !== 'string' || stateKey === ''))
    throw typeError(fn, `${name}.stateKey`, 'a name', stateKey)
  if (stateKey !== undefined && kindOf(stateKey) !== stateKey) {
    const expected =
      "a name that does not end in '#' and a number, which tell callbacks of one name"
    throw typeError(fn, `${name}.stateKey`, `${expected} apart`, stateKey)
  }
  if (stateDict === undefined && loadStateDict === undefined) return
  if (typeof stateDict !== 'function')
    throw typeError(fn, `${name}.stateDict`, 'a function, as there is loadStateDict', stateDict)
  if (typeof loadStateDict !== 'function')
    throw typeError(fn, `${name}.loadStateDict`, 'a function, as there is stateDict', loadStateDict)
}

/** The state of every callback that has one. @throws TypeError when it is no object */
export function statesOf(callbacks: readonly Callback[]): States {
  return Object.fromEntries(
    keyed(callbacks).map(({ key, callback }) => {
      const state: unknown = callback.stateDict?.()
      if (!isObject(state) || typeof state.then === 'function')
        throw typeError('saveCheckpoint', `stateDict of ${key}`, 'an object (no promise)', state)
      return [key, state]
    }),
  )
}

/**
 * Gives every callback its own state back. One that the checkpoint does not know begins anew; a state
 * whose callback the trainer does not have is left, with a warning, as in Lightning.
 * @throws Error when it cannot be told whose a state is, or a callback has other arguments than the
 *   one that was saved; whatever a loadStateDict throws
 */
export function restoreStates(callbacks: readonly Callback[], saved: States): void {
  const own = keyed(callbacks)
  const states = translated(own, saved)
  const lost = [...states.keys()].filter((key) => !own.some((one) => one.key === key))
  for (const kind of new Set(own.map((one) => one.kind))) {
    const here = own.filter((one) => one.kind === kind)
    const there = [...states].filter(([key]) => kindOf(key) === kind)
    if (there.length === 0 || there.length === here.length) continue
    if (there.every(([, state]) => here.some(({ callback }) => isSame(callback, state)))) continue
    throw new Error(
      `[fit] ckptPath: callbacks: expected ${there.length} of ${kind}, as in the checkpoint, got ${here.length}; whose the state is cannot be told`,
    )
  }
  const unknown = own.filter(({ key }) => !states.has(key))
  for (const key of lost) {
    const state = states.get(key) as object
    const changed = unknown.filter(({ kind }) => classOf(kind) === classOf(key))
    if (changed.length === 0 || changed.some(({ callback }) => isSame(callback, state))) continue
    throw new Error(
      `[fit] ckptPath: callbacks: expected ${key}, as in the checkpoint, got ${changed[0]?.key}; give it the same arguments, or leave it out to go on without its state`,
    )
  }
  for (const { key, callback } of own) {
    const state = states.get(key)
    if (state !== undefined) callback.loadStateDict?.(state)
  }
  const gone = lost.filter(
    (key) =>
      !own.some(({ kind }) => classOf(kind) === classOf(key)) &&
      Object.values(states.get(key) as object).some((value) => value !== null),
  )
  if (gone.length > 0) {
    process.emitWarning(
      `[fit] ckptPath: the state of ${gone.join(', ')} is left in the checkpoint: this trainer has no such callback`,
    )
  }
}

/** Whether nothing is lost when a callback begins anew instead of with a state. */
function isSame(callback: Callback, state: object): boolean {
  try {
    return JSON.stringify(callback.stateDict?.()) === JSON.stringify(state)
  } catch {
    return false // tensors, which no JSON holds
  }
}

/**
 * States under the keys of today. Older checkpoints have the class alone as the key, with the state of
 * the last callback of it, or a number for a callback without a stateKey.
 */
function translated(own: readonly Keyed[], saved: States): Map<string, object> {
  const states = new Map<string, object>()
  for (const [key, state] of Object.entries(saved)) {
    if (own.some((one) => one.key === key)) {
      states.set(key, state)
      continue
    }
    const numbered = /^\d+$/.test(key) ? own[Number(key)] : undefined
    const same =
      numbered === undefined
        ? own.filter(({ kind }) => kind !== key && classOf(kind) === key)
        : [numbered].filter(({ callback }) => callback.stateKey === undefined)
    if (same.length > 1) {
      throw new Error(
        `[fit] ckptPath: callbacks: expected one ${key}, got ${same.length}; the checkpoint, of an older version, has the state of one only, and whose it is cannot be told`,
      )
    }
    states.set(same[0]?.key ?? key, state)
  }
  return states
}
