/** Seconds between start and stop, added up. */
export class Stopwatch {
  #seconds = 0
  /** When it was started; null while it stands. */
  #startedAt: number | null = null

  get seconds(): number {
    const running = this.#startedAt === null ? 0 : performance.now() - this.#startedAt
    return this.#seconds + running / 1000
  }

  start(): void {
    this.#startedAt = performance.now()
  }

  stop(): void {
    this.#seconds = this.seconds
    this.#startedAt = null
  }
}
