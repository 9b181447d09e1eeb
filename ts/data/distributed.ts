/** What each of several processes gets of the data. */
import { member } from '../distributed/group.js'
import { checkBoolean, checkInteger, checkOptions, rangeError, typeError } from '../errors.js'
import { type Batch, TextBatches } from './batches.js'
import { BucketBatches } from './buckets.js'
import { type BatchesState, EpochBatches, type Part } from './epochs.js'
import { permutation } from './shuffle.js'

/** Which of several processes is meant. */
export interface ReplicaOptions {
  /** How many processes there are. Default: distributed.worldSize() */
  numReplicas?: number
  /** Which one this is. Default: distributed.rank() */
  rank?: number
}

/** What DistributedSampler takes. */
export interface DistributedSamplerOptions extends ReplicaOptions {
  /** Another order in every epoch, the same in all processes. Default true. */
  shuffle?: boolean
  /** Of the order; the same in all processes. Default 0. */
  seed?: number
  /** Leave out the last examples where they do not give every process one, instead of repeating the first. Default false. */
  dropLast?: boolean
}

/** @throws TypeError, RangeError; also without a group, when something is not given */
function partOf(fn: string, options: ReplicaOptions): Part {
  const { numReplicas, rank } = options
  const [ownRank, ownSize] =
    numReplicas === undefined || rank === undefined ? member(fn) : [rank, numReplicas]
  const size = checkInteger(fn, 'numReplicas', numReplicas ?? ownSize, 1)
  return { size, rank: checkInteger(fn, 'rank', rank ?? ownRank, 0, size - 1) }
}

/**
 * Numbers of examples, of which every process gets others; as
 * `torch.utils.data.distributed.DistributedSampler` (whose orders are other ones).
 */
export class DistributedSampler implements Iterable<number> {
  /** How many each process gets. */
  readonly length: number
  readonly #count: number
  readonly #part: Part
  readonly #shuffle: boolean
  readonly #seed: number
  #epoch = 0

  /**
   * @param dataset what has a length, or the number of examples
   * @throws TypeError, RangeError
   */
  constructor(
    dataset: number | { readonly length: number },
    options: DistributedSamplerOptions = {},
  ) {
    const fn = 'DistributedSampler'
    const known = ['numReplicas', 'rank', 'shuffle', 'seed', 'dropLast']
    const given = typeof dataset === 'object' && dataset !== null ? dataset.length : dataset
    this.#count = checkInteger(fn, 'dataset', given, 1, 2 ** 31 - 1)
    checkOptions(fn, options, known)
    this.#shuffle = checkBoolean(fn, 'shuffle', options.shuffle ?? true)
    this.#seed = checkInteger(fn, 'seed', options.seed ?? 0, 0)
    const dropLast = checkBoolean(fn, 'dropLast', options.dropLast ?? false)
    this.#part = partOf(fn, options)
    const each = this.#count / this.#part.size
    this.length = dropLast ? Math.floor(each) : Math.ceil(each)
    if (this.length === 0) {
      throw rangeError(
        fn,
        'dataset',
        `at least ${this.#part.size} examples, one for each process`,
        String(this.#count),
      )
    }
  }

  /** Every size-th number of the epoch's order, from the rank on. */
  *[Symbol.iterator](): Generator<number, void> {
    const { size, rank } = this.#part
    const order = this.#shuffle
      ? permutation('DistributedSampler', this.#count, this.#seed, this.#epoch)
      : null
    for (let i = 0; i < this.length; i++) {
      const at = (rank + i * size) % this.#count
      yield order === null ? at : (order[at] as number)
    }
  }

  /** To be called before an epoch, in all processes; the order stays as it is without. */
  setEpoch(epoch: number): void {
    this.#epoch = checkInteger('setEpoch', 'epoch', epoch, 0)
  }
}

/**
 * This process's columns of every batch: with N processes the batches of `batchSize` B have about B/N
 * each, and together they are what one process would have had. Where a last batch has fewer columns
 * than there are processes, some get a copy of its first as padding, with `tokens` 0: it is to have no
 * weight (the Trainer gives it none). The seed has to be the same in all processes.
 */
export class DistributedBatches extends EpochBatches<Batch> {
  readonly length: number
  readonly part: Readonly<Part>
  readonly #source: TextBatches | BucketBatches

  /** @throws TypeError, RangeError when a batch has fewer columns than there are processes */
  constructor(batches: TextBatches | BucketBatches, options: ReplicaOptions = {}) {
    super()
    const fn = 'DistributedBatches'
    if (!(batches instanceof TextBatches) && !(batches instanceof BucketBatches))
      throw typeError(fn, 'batches', 'SequentialBatches, RandomWindows or BucketBatches', batches)
    checkOptions(fn, options, ['numReplicas', 'rank'])
    this.part = Object.freeze(partOf(fn, options))
    const { size } = this.part
    if (batches.batchSize < size) {
      throw rangeError(
        fn,
        'batches',
        `a batchSize of at least ${size}, a column for each process`,
        String(batches.batchSize),
      )
    }
    this.#source = batches
    this.length = batches.length
  }

  /** As the whole batches'. */
  get largestToken(): number {
    return this.#source.largestToken
  }

  override batches(epoch: number, start = 0): Generator<Batch, void> {
    return this.#source.batches(epoch, start, this.part)
  }

  /** That of the whole batches, which any number of processes can go on from. */
  override state(): BatchesState {
    const { epoch, position } = super.state()
    return { ...this.#source.state(), epoch, position }
  }

  override restore(state: BatchesState): void {
    this.#source.restore(state)
    super.restore(state)
  }

  protected override arrangement(): Record<string, number | string> {
    return {}
  }
}
