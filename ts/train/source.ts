/** Where batches come from: what fit may be given, and how it goes through it. */
import { checkIterable, rangeError, typeError } from '../errors.js'
import { Tensor } from '../tensor.js'
import type { DataSource, SeekableSource } from './types.js'

export function isSeekable<B>(data: DataSource<B>): data is SeekableSource<B> {
  return (
    typeof (data as Partial<SeekableSource<B>>).batches === 'function' &&
    typeof (data as Partial<SeekableSource<B>>).state === 'function'
  )
}

/** Number of batches in an epoch, where the data tell. */
export function lengthOf(data: DataSource<unknown>): number | null {
  const { length } = data as { length?: unknown }
  return typeof length === 'number' ? length : null
}

/** @throws TypeError when `data` cannot be iterated */
export function checkSource(fn: string, name: string, data: unknown): void {
  const expected = 'batches: an array, SequentialBatches, RandomWindows or another iterable'
  if (typeof data !== 'object' || data === null) throw typeError(fn, name, expected, data)
  if (!(Symbol.asyncIterator in data)) checkIterable(fn, name, data, expected)
}

/** The batches of an epoch from number `start` on. */
export function iterate<B>(
  data: DataSource<B>,
  epoch: number,
  start: number,
): AsyncIterator<B> | Iterator<B> {
  if (isSeekable(data)) return data.batches(epoch, start)[Symbol.iterator]()
  return skipped(data, start)
}

async function* skipped<B>(data: Iterable<B> | AsyncIterable<B>, start: number): AsyncGenerator<B> {
  let i = 0
  for await (const batch of data) if (i++ >= start) yield batch
}

/**
 * Frees the tensors of a batch that a seekable source has made for us, and of what batchOn has made
 * of it.
 */
export function disposeBatch(data: DataSource<unknown>, ...batches: unknown[]): void {
  if (!isSeekable(data)) return
  for (const batch of batches) {
    if (typeof batch !== 'object' || batch === null) continue
    for (const value of Object.values(batch)) if (value instanceof Tensor) value[Symbol.dispose]()
  }
}

/** What is wrong with training data of which an epoch has no batch. */
export function noBatch(epoch: number): RangeError {
  const got =
    epoch === 0
      ? 'none'
      : `none in epoch ${epoch} (a generator can be iterated only once; an array or an object with [Symbol.iterator] again and again)`
  return rangeError('fit', 'trainData', 'at least one batch', got)
}
