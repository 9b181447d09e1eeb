/** Batches of text: windows of tokens with the same windows one token later as targets. */
import { checkBoolean, checkInteger, checkOptions, rangeError, typeError } from '../errors.js'
import { tensor } from '../factories.js'
import { nextRandom } from '../random.js'
import type { Tensor } from '../tensor.js'
import { permutation, uniformInteger } from './shuffle.js'

/** One step of training: T time steps of B sequences. */
export interface Batch {
  /** int32 (T, B): the tokens. */
  input: Tensor
  /** int32 (T, B): for every token, the one that follows it. */
  target: Tensor
  /** How many targets there are, T·B. */
  tokens: number
  /** Whether the sequences begin here: a state carried from the batch before has no meaning. */
  reset: boolean
}

/** Where an iteration stands; what {@link TextBatches.restore} needs to go on from there. */
export interface BatchesState {
  epoch: number
  /** Batches of this epoch already given out. */
  position: number
  seed: number
  /** What the batches were cut from and how; restoring into another arrangement is an error. */
  tokens: number
  batchSize: number
  sequenceLength: number
}

export interface BatchesOptions {
  /** B, the number of sequences side by side. */
  batchSize: number
  /** T, the number of time steps in a window. */
  sequenceLength: number
  /** Leave out what does not fill a whole batch (a shorter last window, fewer sequences). Default false. */
  dropLast?: boolean
}

/**
 * What both kinds of batches share: each pass of a `for` loop is a new epoch, and the batches of an
 * epoch depend on nothing but its number and the seed.
 */
export abstract class TextBatches implements Iterable<Batch> {
  readonly batchSize: number
  readonly sequenceLength: number
  readonly dropLast: boolean
  /** Batches in an epoch; every epoch has as many. */
  abstract readonly length: number
  protected readonly tokens: Int32Array
  protected seed = 0
  #largest: number | null = null
  #epoch = 0
  #position = 0
  /** Whether the next pass begins where the state says, rather than at the next epoch. */
  #fresh = true

  protected constructor(
    fn: string,
    tokens: Int32Array,
    options: BatchesOptions,
    known: readonly string[],
  ) {
    if (!(tokens instanceof Int32Array)) throw typeError(fn, 'tokens', 'an Int32Array', tokens)
    checkOptions(fn, options, known)
    this.batchSize = checkInteger(fn, 'batchSize', options.batchSize, 1)
    this.sequenceLength = checkInteger(fn, 'sequenceLength', options.sequenceLength, 1)
    this.dropLast = checkBoolean(fn, 'dropLast', options.dropLast ?? false)
    this.tokens = tokens
    if (tokens.length === 0) throw rangeError(fn, 'tokens', 'a text', 'an empty one')
    if (tokens.length <= this.sequenceLength) {
      throw rangeError(
        fn,
        'sequenceLength',
        `a window shorter than the text of ${tokens.length} tokens`,
        String(this.sequenceLength),
      )
    }
  }

  /** The largest number among the tokens: models need a vocabulary that is larger. */
  get largestToken(): number {
    this.#largest ??= this.tokens.reduce((a, b) => Math.max(a, b))
    return this.#largest
  }

  /**
   * The batches of an epoch from number `start` on, each made of new tensors. Does not change where
   * this object's own iteration stands.
   */
  abstract batches(epoch: number, start?: number): Generator<Batch, void>

  /** The batches of the next epoch (after {@link restore}: the rest of that epoch). */
  *[Symbol.iterator](): Generator<Batch, void> {
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

  state(): BatchesState {
    return {
      epoch: this.#epoch,
      position: this.#position,
      seed: this.seed,
      tokens: this.tokens.length,
      batchSize: this.batchSize,
      sequenceLength: this.sequenceLength,
    }
  }

  /** Goes on where {@link state} was taken. @throws RangeError when that was over other data */
  restore(state: BatchesState): void {
    const own = this.state()
    for (const key of ['tokens', 'batchSize', 'sequenceLength'] as const) {
      if (state?.[key] !== own[key]) {
        throw rangeError(
          'restore',
          key,
          `${own[key]}, as these batches have`,
          `${state?.[key]} in the saved state`,
        )
      }
    }
    this.seed = checkInteger('restore', 'seed', state.seed, 0)
    this.#epoch = checkInteger('restore', 'epoch', state.epoch, 0)
    this.#position = checkInteger('restore', 'position', state.position, 0, this.length)
    this.#fresh = true
  }
}

/**
 * Consecutive batches, for models that carry their state from one to the next: the text is laid in
 * B rows of equal length, and each batch is the next window of T steps of all rows (as batchify and
 * get_batch do in PyTorch's language model example).
 */
export class SequentialBatches extends TextBatches {
  readonly length: number
  readonly #rowLength: number

  /**
   * @param tokens the text; read in place, not copied
   * @throws RangeError when the text is empty, shorter than a window, or too short for B rows
   */
  constructor(tokens: Int32Array, options: BatchesOptions) {
    super('SequentialBatches', tokens, options, ['batchSize', 'sequenceLength', 'dropLast'])
    this.#rowLength = Math.floor(tokens.length / this.batchSize)
    // A row must have one token more than it has inputs, for the last target.
    const needed = this.dropLast ? this.sequenceLength + 1 : 2
    if (this.#rowLength < needed) {
      const most = Math.floor(tokens.length / needed)
      throw rangeError(
        'SequentialBatches',
        'batchSize',
        `at most ${most} rows of ${needed} or more from a text of ${tokens.length} tokens`,
        String(this.batchSize),
      )
    }
    const windows = (this.#rowLength - 1) / this.sequenceLength
    this.length = this.dropLast ? Math.floor(windows) : Math.ceil(windows)
  }

  override *batches(_epoch: number, start = 0): Generator<Batch, void> {
    for (let i = start; i < this.length; i++) {
      const from = i * this.sequenceLength
      const steps = Math.min(this.sequenceLength, this.#rowLength - 1 - from)
      const offsets = Array.from({ length: this.batchSize }, (_, b) => b * this.#rowLength + from)
      yield makeBatch(this.tokens, offsets, steps, i === 0)
    }
  }
}

/**
 * Windows of T steps in random order, each read from a fresh state. The text is cut into windows
 * from a random first token, anew in every epoch.
 */
export class RandomWindows extends TextBatches {
  readonly length: number
  readonly #windows: number

  /**
   * @param tokens the text; read in place, not copied
   * @param options.seed the order of epoch e depends on (seed, e) only. Default: drawn from the
   *   generator that manualSeed sets
   * @throws RangeError when the text is empty, shorter than a window, or has too few windows
   */
  constructor(tokens: Int32Array, options: BatchesOptions & { seed?: number }) {
    super('RandomWindows', tokens, options, ['batchSize', 'sequenceLength', 'dropLast', 'seed'])
    if (options.seed === undefined) {
      const { seed, counter } = nextRandom()
      this.seed = (seed + counter) % 2 ** 32
    } else {
      this.seed = checkInteger('RandomWindows', 'seed', options.seed, 0)
    }
    // As many windows whatever the first token; with less than two windows' worth, the first is 0.
    this.#windows = Math.max(
      1,
      Math.floor((tokens.length - this.sequenceLength) / this.sequenceLength),
    )
    if (this.batchSize > this.#windows) {
      throw rangeError(
        'RandomWindows',
        'batchSize',
        `at most ${this.#windows} windows of ${this.sequenceLength} from a text of ${tokens.length} tokens`,
        String(this.batchSize),
      )
    }
    const full = this.#windows / this.batchSize
    this.length = this.dropLast ? Math.floor(full) : Math.ceil(full)
  }

  override *batches(epoch: number, start = 0): Generator<Batch, void> {
    const spare = this.tokens.length - 1 - this.#windows * this.sequenceLength
    const first = uniformInteger(Math.min(spare + 1, this.sequenceLength), this.seed, epoch)
    const order = permutation(this.#windows, this.seed, epoch)
    for (let i = start; i < this.length; i++) {
      const chosen = order.subarray(i * this.batchSize, (i + 1) * this.batchSize)
      const offsets = Array.from(chosen, (window) => first + window * this.sequenceLength)
      yield makeBatch(this.tokens, offsets, this.sequenceLength, true)
    }
  }
}

/** One column per offset, `steps` rows; time-major. */
function makeBatch(
  tokens: Int32Array,
  offsets: readonly number[],
  steps: number,
  reset: boolean,
): Batch {
  const columns = offsets.length
  const input = new Int32Array(steps * columns)
  const target = new Int32Array(steps * columns)
  for (let b = 0; b < columns; b++) {
    const offset = offsets[b] as number
    for (let t = 0; t < steps; t++) {
      input[t * columns + b] = tokens[offset + t] as number
      target[t * columns + b] = tokens[offset + t + 1] as number
    }
  }
  const shape = [steps, columns]
  return {
    input: tensor(input, { shape }),
    target: tensor(target, { shape }),
    tokens: steps * columns,
    reset,
  }
}
