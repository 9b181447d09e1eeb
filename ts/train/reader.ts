/** The batches of an epoch, and whether one of them is the last. */
import { disposeBatch } from './source.js'
import type { DataSource } from './types.js'
import type { Batches } from './waiting.js'

/** What {@link EpochReader} is told about an epoch. */
export interface EpochOptions {
  /** Batches in it, if known. */
  length: number | null
  /** No more than these; null: all. */
  limit: number | null
  /** Whether it matters which batch is the last. */
  marksLast: boolean
  /** @throws (rejects) unless the data of all processes end here, or those of none */
  checkSameEnd: (done: boolean) => Promise<void>
}

/** Reads batches one by one; one ahead where only the data know which is the last. */
export class EpochReader<B> {
  readonly #batches: Batches<B>
  readonly #options: EpochOptions
  #ahead: IteratorResult<B> | null = null

  constructor(batches: Batches<B>, options: EpochOptions) {
    this.#batches = batches
    this.#options = options
  }

  /** Whether the limit is reached. @param batch how many there have been */
  full(batch: number): boolean {
    return batch >= (this.#options.limit ?? Infinity)
  }

  /** The next batch; null when the signal comes first. */
  async next(): Promise<IteratorResult<B> | null> {
    const next = this.#ahead ?? (await this.#read())
    this.#ahead = null
    return next
  }

  /** Whether the batch that next() gave last is the last. @param batch its number */
  async isLast(batch: number): Promise<boolean> {
    const { length, limit, marksLast } = this.#options
    if (!marksLast || batch + 1 === (length ?? limit)) return marksLast
    if (length !== null) return false
    this.#ahead = await this.#read()
    return this.#ahead?.done ?? false
  }

  /** Frees a batch that was read ahead. */
  end(data: DataSource<B>): void {
    if (this.#ahead !== null && !this.#ahead.done) disposeBatch(data, this.#ahead.value)
    this.#ahead = null
  }

  async #read(): Promise<IteratorResult<B> | null> {
    const next = await this.#batches.next()
    if (next !== null && this.#options.length === null)
      await this.#options.checkSameEnd(next.done ?? false)
    return next
  }
}
