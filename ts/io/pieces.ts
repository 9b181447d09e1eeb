/** Long work on the JavaScript thread, cut so that the event loop has its turns. */
import { setImmediate as turn } from 'node:timers/promises'

/** After so many milliseconds others have a turn. */
const AT_A_TIME = 8

/** Says when others should have a turn. */
export class Turns {
  #since = performance.now()
  #asked = 0
  readonly #signal: AbortSignal | undefined

  constructor(signal?: AbortSignal) {
    this.#signal = signal
  }

  /** To be called after each small part of the work; null: go on. @throws the signal's reason */
  due(): Promise<void> | null {
    if (this.#asked++ % 16 !== 0 || performance.now() - this.#since < AT_A_TIME) return null
    return this.#turn()
  }

  async #turn(): Promise<void> {
    await turn()
    this.#signal?.throwIfAborted()
    this.#since = performance.now()
  }
}

/** Takes all steps in one go. */
export function atOnce<T>(steps: Generator<void, T>): T {
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}

/** Takes all steps, with turns for the event loop in between. */
export async function inPieces<T>(steps: Generator<void, T>, signal?: AbortSignal): Promise<T> {
  const turns = new Turns(signal)
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
    const due = turns.due()
    if (due !== null) await due
  }
}
