/** What all kinds of batches share: epochs that depend on a seed, and going on from a position. */
import { checkInteger, checkOptions, describe, rangeError, typeError } from '../errors.js'

/** Where an iteration stands; what {@link EpochBatches.restore} needs to go on from there. */
export interface BatchesState {
  epoch: number
  /** Batches of this epoch already given out. */
  position: number
  seed: number
  /** What the batches were cut from and how; restoring into another arrangement is an error. */
  [arrangement: string]: number | string
}

/** One of several processes that share every batch. */
export interface Part {
  rank: number
  size: number
}

export const WHOLE: Part = { rank: 0, size: 1 }

/** The columns [from, to) of `count` that belong to a part: its share, in the order of the ranks. */
export function columnsOf(count: number, { rank, size }: Part): [from: number, to: number] {
  return [Math.floor((rank * count) / size), Math.floor(((rank + 1) * count) / size)]
}

/** What of a batch's columns a process gets; where there are too few, the first, as padding. */
export function share<T>(columns: ArrayLike<T>, part: Part): { own: T[]; padding: boolean } {
  const [from, to] = columnsOf(columns.length, part)
  const own = Array.prototype.slice.call(columns, from, to) as T[]
  return own.length > 0 ? { own, padding: false } : { own: [columns[0] as T], padding: true }
}

/**
 * Batches for any number of epochs: each pass of a `for` loop is a new one, and the batches of an
 * epoch depend on nothing but its number and the seed.
 */
export abstract class EpochBatches<B> implements Iterable<B> {
  /** Batches in an epoch; every epoch has as many. */
  abstract readonly length: number
  protected seed = 0
  #epoch = 0
  #position = 0
  /** Whether the next pass begins where the state says, rather than at the next epoch. */
  #fresh = true

  /**
   * The batches of an epoch from number `start` on, each made of new tensors. Does not change where
   * this object's own iteration stands.
   */
  abstract batches(epoch: number, start?: number): Generator<B, void>

  /** What the batches are cut from and how, for `state()`. */
  protected abstract arrangement(): Record<string, number | string>

  /** The batches of the next epoch (after {@link restore}: the rest of that epoch). */
  *[Symbol.iterator](): Generator<B, void> {
    if (!this.#fresh) {
      this.#epoch++
      this.#position = 0
    }
    this.#fresh = false
    for (const batch of this.batches(this.#epoch, this.#position)) {
      this.#position++
      yield batch
    }
  }

  /** Checks what {@link batches} was given. */
  protected checkPlace(epoch: number, start: number, part: Part = WHOLE): void {
    checkInteger('batches', 'epoch', epoch, 0)
    checkInteger('batches', 'start', start, 0)
    checkOptions('batches', part, ['rank', 'size'])
    const size = checkInteger('batches', 'part.size', part.size, 1)
    checkInteger('batches', 'part.rank', part.rank, 0, size - 1)
  }

  /** Where the batches are, as plain data for a checkpoint. */
  state(): BatchesState {
    const { seed } = this
    return { epoch: this.#epoch, position: this.#position, seed, ...this.arrangement() }
  }

  /** Goes on where `state()` was taken. @throws RangeError when that was over other data */
  restore(state: BatchesState): void {
    if (typeof state !== 'object' || state === null)
      throw typeError('restore', 'state', 'what state() gave', state)
    for (const [key, value] of Object.entries(this.arrangement())) {
      if (state[key] !== value) {
        throw rangeError(
          'restore',
          key,
          `${describe(value)}, as these batches have`,
          `${describe(state[key])} in the saved state`,
        )
      }
    }
    this.seed = checkInteger('restore', 'seed', state.seed, 0)
    this.#epoch = checkInteger('restore', 'epoch', state.epoch, 0)
    this.#position = checkInteger('restore', 'position', state.position, 0, this.length)
    this.#fresh = true
  }
}
