/** Batches of numbered examples, in another order in every epoch. */
import { EpochBatches, type Part, share, WHOLE } from './epochs.js'
import { permutation } from './shuffle.js'

/** What batches of numbered examples share; a subclass makes a batch of some of them. */
export abstract class IndexedBatches<B> extends EpochBatches<B> {
  readonly batchSize: number
  /** Whether every epoch has an order of its own. */
  readonly shuffle: boolean
  readonly length: number
  /** How many examples there are. */
  readonly count: number
  /** What of every batch this process gets. */
  protected part: Part = WHOLE

  protected constructor(count: number, batchSize: number, shuffle: boolean, seed: number) {
    super()
    this.count = count
    this.batchSize = batchSize
    this.shuffle = shuffle
    this.seed = seed
    this.length = Math.ceil(count / batchSize)
  }

  /**
   * A batch of these examples.
   * @param padding they are copies that only fill up a process's part: without weight
   */
  protected abstract makeBatch(examples: readonly number[], padding: boolean): B

  /** The examples of an epoch in their order. */
  protected orderOf(epoch: number): Int32Array {
    if (this.shuffle) return permutation('batches', this.count, this.seed, epoch)
    return Int32Array.from({ length: this.count }, (_, i) => i)
  }

  override *batches(epoch: number, start = 0): Generator<B, void> {
    this.checkPlace(epoch, start)
    const { batchSize, count } = this
    const order = this.orderOf(epoch)
    for (let at = start * batchSize; at < count; at += batchSize) {
      const { own, padding } = share(order.subarray(at, at + batchSize), this.part)
      yield this.makeBatch(own, padding)
    }
  }

  /** The same batches, of each of which one of several processes gets its share. @internal */
  ofPart(part: Part): this {
    const own = Object.assign(Object.create(Object.getPrototypeOf(this)), this) as this
    own.part = part
    return own
  }
}
