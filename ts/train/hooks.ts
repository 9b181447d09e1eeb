/** Calling the callbacks. */
import type { Module } from '../nn/module.js'
import { ModelCheckpoint } from './model_checkpoint.js'
import type { CallbackHooks, TrainerHandle } from './types.js'

/** Hooks without an argument of their own. */
export type Hook = Exclude<
  { [K in keyof CallbackHooks]-?: K extends `on${string}` ? K : never }[keyof CallbackHooks],
  'onException'
>

/** The hooks of all callbacks of a fit. */
export class Hooks {
  readonly #trainer: TrainerHandle
  readonly #callbacks: readonly CallbackHooks[]
  readonly #checkpoints: readonly ModelCheckpoint[]
  readonly #model: Module
  #count = 0

  constructor(trainer: TrainerHandle, callbacks: readonly CallbackHooks[], model: Module) {
    this.#trainer = trainer
    this.#callbacks = callbacks
    this.#checkpoints = callbacks.filter((one) => one instanceof ModelCheckpoint)
    this.#model = model
  }

  /** Whether a hook is running. */
  get running(): boolean {
    return this.#count > 0
  }

  /**
   * Calls a hook of every callback, one after the other. Checkpoints are written after that, and have
   * the state of all.
   */
  async call(hook: Hook): Promise<void> {
    this.#count++
    for (const one of this.#checkpoints) one.pending = []
    try {
      for (const callback of this.#callbacks) {
        const result = callback[hook]?.(this.#trainer, this.#model)
        if (result !== undefined) await result
      }
      for (const { pending } of this.#checkpoints)
        for (; pending?.[0] !== undefined; pending.shift()) await pending[0].save()
    } finally {
      for (const one of this.#checkpoints) {
        for (const { undo } of one.pending?.reverse() ?? []) undo()
        one.pending = null
      }
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
