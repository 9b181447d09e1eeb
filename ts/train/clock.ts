/** How long training takes. */

/** Seconds, those before a checkpoint included. */
export class Clock {
  #before = 0
  #began: number | null = null

  start(): void {
    this.#began = performance.now()
  }

  stop(): void {
    this.#before = this.seconds
    this.#began = null
  }

  get seconds(): number {
    const now = this.#began === null ? 0 : (performance.now() - this.#began) / 1000
    return this.#before + now
  }

  /** Of a checkpoint. */
  set seconds(before: number) {
    this.#before = before
  }
}
