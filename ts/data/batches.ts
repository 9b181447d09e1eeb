/** Batches of text: windows of tokens with the same windows one token later as targets. */
import { types } from 'node:util'
import { checkBoolean, checkInteger, checkOptions, rangeError, typeError } from '../errors.js'
import { tensor } from '../factories.js'
import { int32s } from '../js_memory.js'
import type { Tensor } from '../tensor.js'
import { EpochBatches, type Part, share, WHOLE } from './epochs.js'
import { drawSeed, permutation, uniformInteger } from './shuffle.js'

/** One step of training: T time steps of B sequences. */
export interface Batch {
  /** int32 (T, B): the tokens. */
  input: Tensor
  /** int32 (T, B): for every token, the one that follows it. */
  target: Tensor
  /**
   * How many targets count: T·B without those that are `ignoreIndex`; 0 for a batch without any
   * weight (see {@link DistributedBatches}).
   */
  tokens: number
  /** Stands in `target` where there is no token; no loss counts it. Default -100, as crossEntropy's. */
  ignoreIndex?: number
  /** Whether the sequences begin here: a state carried from the batch before has no meaning. */
  reset: boolean
}

export interface BatchesOptions {
  /** B, the number of sequences side by side. */
  batchSize: number
  /** T, the number of time steps in a window. */
  sequenceLength: number
  /** Leave out what does not fill a whole batch (a shorter last window, fewer sequences). Default false. */
  dropLast?: boolean
}

/** What {@link SequentialBatches} and {@link RandomWindows} share. */
export abstract class TextBatches extends EpochBatches<Batch> {
  readonly batchSize: number
  readonly sequenceLength: number
  readonly dropLast: boolean
  protected readonly tokens: Int32Array
  #largest: number | null = null

  protected constructor(
    fn: string,
    tokens: Int32Array,
    options: BatchesOptions,
    known: readonly string[],
  ) {
    super()
    if (!types.isInt32Array(tokens)) throw typeError(fn, 'tokens', 'an Int32Array', tokens)
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

  /**
   * As {@link EpochBatches.batches}.
   * @param part what of every batch: that of one of several processes. Default: all
   */
  abstract override batches(epoch: number, start?: number, part?: Part): Generator<Batch, void>

  /** The largest number among the tokens: models need a vocabulary that is larger. */
  get largestToken(): number {
    this.#largest ??= this.tokens.reduce((a, b) => Math.max(a, b))
    return this.#largest
  }

  protected override arrangement(): Record<string, number> {
    const { tokens, batchSize, sequenceLength } = this
    return { tokens: tokens.length, batchSize, sequenceLength }
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

  /**
   * As {@link EpochBatches.batches}.
   * @param part what of every batch: that of one of several processes. Default: all
   */
  override *batches(epoch: number, start = 0, part = WHOLE): Generator<Batch, void> {
    this.checkPlace(epoch, start, part)
    const rows = Array.from({ length: this.batchSize }, (_, b) => b * this.#rowLength)
    for (let i = start; i < this.length; i++) {
      const from = i * this.sequenceLength
      const steps = Math.min(this.sequenceLength, this.#rowLength - 1 - from)
      yield makeBatch(this.tokens, rows, from, steps, i === 0, part)
    }
  }
}

/**
 * Windows of T steps in random order, each read from a fresh state. They begin `stride` tokens
 * apart, the first at a random token below `stride`, anew in every epoch.
 */
export class RandomWindows extends TextBatches {
  readonly length: number
  readonly stride: number
  readonly #windows: number

  /**
   * @param tokens the text; read in place, not copied
   * @param options.stride tokens from the beginning of one window to that of the next; below
   *   sequenceLength they overlap. Default: sequenceLength, so that they lie side by side
   * @param options.seed the order of epoch e depends on (seed, e) only. Default: drawn from the
   *   generator that manualSeed sets
   * @throws RangeError when the text is empty, shorter than a window, or has too few windows
   */
  constructor(tokens: Int32Array, options: BatchesOptions & { stride?: number; seed?: number }) {
    const fn = 'RandomWindows'
    super(fn, tokens, options, ['batchSize', 'sequenceLength', 'dropLast', 'stride', 'seed'])
    this.stride = checkInteger(fn, 'stride', options.stride ?? this.sequenceLength, 1)
    this.seed = options.seed === undefined ? drawSeed() : checkInteger(fn, 'seed', options.seed, 0)
    // As many windows whatever the first token; where there is room for one only, the first is 0.
    this.#windows = Math.max(1, Math.floor((tokens.length - this.sequenceLength) / this.stride))
    if (this.batchSize > this.#windows) {
      throw rangeError(
        fn,
        'batchSize',
        `at most ${this.#windows} windows of ${this.sequenceLength} from a text of ${tokens.length} tokens`,
        String(this.batchSize),
      )
    }
    const full = this.#windows / this.batchSize
    this.length = this.dropLast ? Math.floor(full) : Math.ceil(full)
  }

  /**
   * As {@link EpochBatches.batches}.
   * @param part what of every batch: that of one of several processes. Default: all
   */
  override *batches(epoch: number, start = 0, part = WHOLE): Generator<Batch, void> {
    this.checkPlace(epoch, start, part)
    const { tokens, sequenceLength, stride, batchSize, seed } = this
    const spare = tokens.length - 1 - sequenceLength - (this.#windows - 1) * stride
    const first = uniformInteger(Math.min(spare + 1, stride), seed, epoch)
    const order = permutation('batches', this.#windows, seed, epoch)
    for (let i = start; i < this.length; i++) {
      const chosen = order.subarray(i * batchSize, (i + 1) * batchSize)
      const offsets = Array.from(chosen, (window) => window * stride)
      yield makeBatch(tokens, offsets, first, sequenceLength, true, part)
    }
  }

  protected override arrangement(): Record<string, number> {
    return { ...super.arrangement(), stride: this.stride }
  }
}

/** One column per offset that is the part's, read `from` tokens after it; `steps` rows; time-major. */
function makeBatch(
  tokens: Int32Array,
  offsets: readonly number[],
  from: number,
  steps: number,
  reset: boolean,
  part: Part,
): Batch {
  const { own, padding } = share(offsets, part)
  const columns = own.length
  const input = int32s('batches', steps * columns)
  const target = int32s('batches', steps * columns)
  for (let b = 0; b < columns; b++) {
    const offset = (own[b] as number) + from
    for (let t = 0; t < steps; t++) {
      input[t * columns + b] = tokens[offset + t] as number
      target[t * columns + b] = tokens[offset + t + 1] as number
    }
  }
  const shape = [steps, columns]
  return {
    input: tensor(input, { shape }),
    target: tensor(target, { shape }),
    tokens: padding ? 0 : steps * columns,
    reset,
  }
}
