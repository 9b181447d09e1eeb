/** When a checkpoint can be written while training runs: between steps. */
import { AsyncLocalStorage } from 'node:async_hooks'

/**
 * Keeps steps and saves apart. A hook, a timer or a signal's handler may ask for a save. A save
 * waits for the end of the running step, and the next step for the end of the save.
 */
export class SaveGate {
  /** The running step; null in between. */
  #step: object | null = null
  readonly #waiting: (() => void)[] = []
  readonly #saves = new Set<Promise<void>>()
  readonly #inside = new AsyncLocalStorage<object>()

  /** Does what changes the state that is saved. */
  async step<T>(work: () => Promise<T>): Promise<T> {
    const step = {}
    // From now on saves wait: they may come faster than they are done.
    this.#step = step
    try {
      await this.idle()
      return await this.#inside.run(step, work)
    } finally {
      this.#step = null
      for (const begin of this.#waiting.splice(0)) begin()
    }
  }

  /** Settles when the saves are over that are under way now. */
  async idle(): Promise<void> {
    if (this.#saves.size > 0) await Promise.allSettled([...this.#saves])
  }

  /**
   * Writes something, at once or after the running step.
   * @throws (rejects) TypeError when the running step itself asks for it, and would wait for its own
   *   end; what `work` rejects with
   */
  async save(work: () => Promise<void>): Promise<void> {
    if (this.#step === null) return this.#begin(work)
    if (this.#inside.getStore() === this.#step)
      throw new TypeError(
        '[saveCheckpoint] a step cannot wait for its own end; save in a hook of a callback, such as onTrainBatchEnd',
      )
    return new Promise((resolve) => {
      this.#waiting.push(() => resolve(this.#begin(work)))
    })
  }

  #begin(work: () => Promise<void>): Promise<void> {
    const saving = work()
    this.#saves.add(saving)
    const done = (): void => void this.#saves.delete(saving)
    saving.then(done, done)
    return saving
  }
}
