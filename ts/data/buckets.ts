/** Batches of sentences of about the same length. */
import { types } from 'node:util'
import { checkBoolean, checkInteger, checkOptions, rangeError, typeError } from '../errors.js'
import { tensor } from '../factories.js'
import { int32s } from '../js_memory.js'
import { checkIgnoreIndex } from '../ops/loss.js'
import type { Batch } from './batches.js'
import { EpochBatches, type Part, share, WHOLE } from './epochs.js'
import { drawSeed, permutation } from './shuffle.js'

/** What {@link BucketBatches} takes. */
export interface BucketBatchesOptions {
  /** B, the number of sentences side by side. */
  batchSize: number
  /**
   * Lengths of batches, ascending: a sentence goes into the shortest that holds it, and one that is
   * longer than all is left out. Default: every length of which there are `batchSize` sentences.
   */
  buckets?: readonly number[]
  /** Stands in the input where there is no token; one that the model knows. Default 0. */
  paddingIdx?: number
  /**
   * Stands in the target where there is no token. No token of a text, as those would be left out of
   * the loss, too. Default -100, which crossEntropy ignores by itself.
   */
  ignoreIndex?: number
  /** Leave out what does not fill a whole batch. Default false. */
  dropLast?: boolean
  /** The order of epoch e depends on (seed, e) only. Default: drawn from the generator that manualSeed sets. */
  seed?: number
}

const OPTIONS = ['batchSize', 'buckets', 'paddingIdx', 'ignoreIndex', 'dropLast', 'seed']

/**
 * Sentences sorted by length into buckets, and batches from one bucket at a time, so that little of
 * a batch is padding; as MXNet's `BucketSentenceIter`. Sentences and batches come in another order
 * in every epoch. The target of a token is the one after it; the last one's, and those of padding,
 * are `ignoreIndex`, which the loss leaves out and `tokens` does not count.
 */
export class BucketBatches extends EpochBatches<Batch> {
  readonly batchSize: number
  readonly paddingIdx: number
  readonly ignoreIndex: number
  readonly buckets: readonly number[]
  readonly length: number
  /** Sentences that are in no bucket, too long or (below two tokens) without a target. */
  readonly discarded: number
  /** Of the sentences and `paddingIdx`: models need a vocabulary that is larger. */
  readonly largestToken: number
  /** The sentences of each bucket. */
  readonly #sentences: readonly (readonly Int32Array[])[]
  /** Bucket and number in it of every batch. */
  readonly #plan: readonly [bucket: number, batch: number][]

  /**
   * @param sentences tokens of each, the one that ends it included; read in place, not copied
   * @throws TypeError, RangeError for options out of range, or when no sentence fits
   */
  constructor(sentences: readonly Int32Array[], options: BucketBatchesOptions) {
    super()
    const fn = 'BucketBatches'
    checkOptions(fn, options, OPTIONS)
    if (!Array.isArray(sentences))
      throw typeError(fn, 'sentences', 'an array of Int32Arrays', sentences)
    // By index: a hole is no sentence either.
    for (let i = 0; i < sentences.length; i++) {
      if (!types.isInt32Array(sentences[i]))
        throw typeError(fn, `sentences[${i}]`, 'an Int32Array', sentences[i])
    }
    this.batchSize = checkInteger(fn, 'batchSize', options.batchSize, 1)
    this.paddingIdx = checkInteger(fn, 'paddingIdx', options.paddingIdx ?? 0, 0)
    this.ignoreIndex = checkIgnoreIndex(fn, options.ignoreIndex)
    const dropLast = checkBoolean(fn, 'dropLast', options.dropLast ?? false)
    this.seed = options.seed === undefined ? drawSeed() : checkInteger(fn, 'seed', options.seed, 0)
    this.buckets =
      options.buckets === undefined
        ? commonLengths(sentences, this.batchSize)
        : checkBuckets(fn, options.buckets)
    const filled = this.buckets.map((): Int32Array[] => [])
    for (const sentence of sentences) {
      const bucket = this.buckets.findIndex((length) => sentence.length <= length)
      if (sentence.length > 1) filled[bucket]?.push(sentence)
    }
    this.#sentences = filled
    const round = dropLast ? Math.floor : Math.ceil
    this.#plan = filled.flatMap(({ length }, bucket) =>
      Array.from({ length: round(length / this.batchSize) }, (_, i): [number, number] => [
        bucket,
        i,
      ]),
    )
    this.length = this.#plan.length
    const kept = filled.flat()
    this.discarded = sentences.length - kept.length
    this.largestToken = kept.reduce(
      (a, tokens) => tokens.reduce((b, c) => Math.max(b, c), a),
      this.paddingIdx,
    )
    if (this.length === 0) {
      throw rangeError(
        fn,
        'sentences',
        dropLast
          ? `a bucket with at least ${this.batchSize} sentences of two tokens or more`
          : 'a sentence of two tokens or more that fits into a bucket',
        `${kept.length} of ${sentences.length} that fit`,
      )
    }
  }

  /**
   * As {@link EpochBatches.batches}.
   * @param part what of every batch: that of one of several processes. Default: all
   */
  override *batches(epoch: number, start = 0, part: Part = WHOLE): Generator<Batch, void> {
    this.checkPlace(epoch, start, part)
    const order = permutation('batches', this.#plan.length, this.seed, epoch)
    const within = this.#sentences.map(({ length }, bucket) =>
      permutation('batches', length, this.seed + bucket + 1, epoch),
    )
    for (const planned of order.subarray(start)) {
      const [bucket, i] = this.#plan[planned] as [number, number]
      const chosen = (within[bucket] as Int32Array).subarray(
        i * this.batchSize,
        (i + 1) * this.batchSize,
      )
      const sentences = this.#sentences[bucket] as Int32Array[]
      const { own, padding } = share(chosen, part)
      const batch = this.#batch(
        this.buckets[bucket] as number,
        own.map((sentence) => sentences[sentence] as Int32Array),
      )
      yield padding ? { ...batch, tokens: 0 } : batch
    }
  }

  /** A column per sentence; time-major. */
  #batch(steps: number, sentences: readonly Int32Array[]): Batch {
    const columns = sentences.length
    const input = int32s('batches', steps * columns).fill(this.paddingIdx)
    const target = int32s('batches', steps * columns).fill(this.ignoreIndex)
    let tokens = 0
    sentences.forEach((sentence, b) => {
      sentence.forEach((token, t) => {
        input[t * columns + b] = token
        if (t > 0) target[(t - 1) * columns + b] = token
      })
      tokens += sentence.length - 1
    })
    const shape = [steps, columns]
    return {
      input: tensor(input, { shape }),
      target: tensor(target, { shape }),
      tokens,
      ignoreIndex: this.ignoreIndex,
      reset: true,
    }
  }

  protected override arrangement(): Record<string, number | string> {
    const sentences = this.#sentences.reduce((sum, { length }) => sum + length, 0)
    return { sentences, batchSize: this.batchSize, buckets: this.buckets.join(' ') }
  }
}

function checkBuckets(fn: string, buckets: readonly number[]): readonly number[] {
  if (!Array.isArray(buckets) || buckets.length === 0)
    throw typeError(fn, 'buckets', 'an array of lengths', buckets)
  buckets.forEach((length, i) => {
    const shorter = i === 0 ? 1 : (buckets[i - 1] as number)
    checkInteger(fn, `buckets[${i}]`, length, shorter + 1)
  })
  return Object.freeze([...buckets])
}

/** The lengths that enough sentences have to fill a batch. */
function commonLengths(sentences: readonly Int32Array[], enough: number): readonly number[] {
  const counts = new Map<number, number>()
  for (const { length } of sentences) counts.set(length, (counts.get(length) ?? 0) + 1)
  const common = [...counts].filter(([length, count]) => length > 1 && count >= enough)
  return Object.freeze(common.map(([length]) => length).sort((a, b) => a - b))
}
