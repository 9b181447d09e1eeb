/** Waiting for data that may never come. */

/** A source's iterator, which an AbortSignal ends also while it waits for data. */
export class Batches<B> {
  readonly #iterator: AsyncIterator<B> | Iterator<B>
  readonly #signal: AbortSignal | null
  /** Whether it has been left while it was waiting. */
  #abandoned = false

  constructor(iterator: AsyncIterator<B> | Iterator<B>, signal: AbortSignal | null) {
    this.#iterator = iterator
    this.#signal = signal
  }

  /** The next batch, or null when the signal comes first. */
  async next(): Promise<IteratorResult<B> | null> {
    const signal = this.#signal
    const next = this.#iterator.next()
    if (signal === null || !(next instanceof Promise)) return next
    let abort = (): void => {}
    const aborted = new Promise<null>((resolve) => {
      abort = () => resolve(null)
      if (signal.aborted) abort()
      else signal.addEventListener('abort', abort, { once: true })
    })
    try {
      const first = await Promise.race([next, aborted])
      if (first === null) {
        this.#abandoned = true
        next.catch(() => {}) // nobody's, as nobody waits for it
      }
      return first
    } finally {
      signal.removeEventListener('abort', abort)
    }
  }

  /**
   * No more is wanted.
   * @param failed whether an error is on its way, which one of the source's must not hide
   */
  async end(failed: boolean): Promise<void> {
    // One that waits for data ends when they come, or never.
    if (this.#abandoned) {
      try {
        Promise.resolve(this.#iterator.return?.()).catch(() => {})
      } catch {}
      return
    }
    try {
      await this.#iterator.return?.()
    } catch (error) {
      if (!failed) throw error
    }
  }
}

/** Goes through batches, and ends them whatever happens. */
export async function withBatches<B, T>(
  iterator: AsyncIterator<B> | Iterator<B>,
  signal: AbortSignal | null,
  work: (batches: Batches<B>) => Promise<T>,
): Promise<T> {
  const batches = new Batches(iterator, signal)
  let result: T
  try {
    result = await work(batches)
  } catch (error) {
    await batches.end(true)
    throw error
  }
  await batches.end(false)
  return result
}
