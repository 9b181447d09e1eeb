/** Calling the callbacks. */
import type { Module } from '../nn/module.js'
import { suggestion } from '../suggest.js'
import type { CallbackHooks, TrainerHandle } from './types.js'

/** Hooks without an argument of their own. */
export type Hook = Exclude<
  { [K in keyof CallbackHooks]-?: K extends `on${string}` ? K : never }[keyof CallbackHooks],
  'onException'
>

/** All of them; the type says that none is missing. */
const HOOKS: Record<Hook | 'onException', true> = {
  onFitStart: true,
  onTrainEpochStart: true,
  onTrainBatchEnd: true,
  onValidationStart: true,
  onValidationEnd: true,
  onTrainEpochEnd: true,
  onAbort: true,
  onFitEnd: true,
  onException: true,
}

/**
 * Refuses a callback with a method that is named as a hook and would never be called.
 * @param name of the argument
 * @throws TypeError
 */
export function checkHooks(fn: string, name: string, callback: object): void {
  const known = Object.keys(HOOKS)
  for (let at = callback; at !== null && at !== Object.prototype; at = Object.getPrototypeOf(at)) {
    for (const key of Object.getOwnPropertyNames(at)) {
      if (!/^on[A-Z]/.test(key) || known.includes(key)) continue
      if (typeof Object.getOwnPropertyDescriptor(at, key)?.value !== 'function') continue
      const similar = suggestion(key, known)
      throw new TypeError(
        `[${fn}] ${name}: there is no hook '${key}'${similar === null ? '' : `; did you mean '${similar}'?`} (hooks: ${known.join(', ')})`,
      )
    }
  }
}

/** The hooks of all callbacks of a fit. */
export class Hooks {
  readonly #trainer: TrainerHandle
  readonly #callbacks: readonly CallbackHooks[]
  readonly #model: Module
  #count = 0

  constructor(trainer: TrainerHandle, callbacks: readonly CallbackHooks[], model: Module) {
    this.#trainer = trainer
    this.#callbacks = callbacks
    this.#model = model
  }

  /** Whether a hook is running. */
  get running(): boolean {
    return this.#count > 0
  }

  /** Calls a hook of every callback, one after the other. */
  async call(hook: Hook): Promise<void> {
    this.#count++
    try {
      for (const callback of this.#callbacks) {
        const result = callback[hook]?.(this.#trainer, this.#model)
        if (result !== undefined) await result
      }
    } finally {
      this.#count--
    }
  }

  /**
   * Tells every callback that training has failed.
   * @returns the error to tell; one that a callback has thrown meanwhile, with the first as its cause
   */
  async callOnException(first: unknown): Promise<unknown> {
    let last = first
    this.#count++
    for (const callback of this.#callbacks) {
      try {
        await callback.onException?.(this.#trainer, this.#model, first)
      } catch (error) {
        last = withCause(error, last)
      }
    }
    this.#count--
    return last
  }
}

/** An error with the one before as its cause, unless it has that one already. */
function withCause(error: unknown, before: unknown): unknown {
  for (let cause = error; ; cause = cause.cause) {
    if (cause === before) return error
    if (!(cause instanceof Error) || cause.cause === undefined) break
  }
  if (error instanceof Error && error.cause === undefined && Object.isExtensible(error)) {
    error.cause = before
    return error
  }
  const message = error instanceof Error ? error.message : String(error)
  return new Error(`[fit] onException: ${message}`, { cause: before })
}
