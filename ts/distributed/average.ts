/** Averages gradients over all processes while backward is still running. */
import {
  type GradientListener,
  gradientListener,
  listenToGradient,
  stopListening,
} from '../autograd.js'
import { type Buffer, binding } from '../binding.js'
import { deviceNumber } from '../device.js'
import { formatShape } from '../errors.js'
import { denseOf } from '../ops/rows.js'
import { Tensor } from '../tensor.js'
import { attempt, member } from './group.js'

/** As PyTorch's: small, so that the first all-reduce begins early. */
const FIRST_BUCKET_BYTES = 2 ** 20
export const DEFAULT_BUCKET_MB = 25

export interface AverageOptions {
  bucketCapMb: number
  findUnusedParameters: boolean
}

/** Gradients that are averaged together. */
interface Bucket {
  readonly leaves: Tensor[]
  /** How many of them are still to come. */
  open: number
  /** While its collective is under way. */
  sent: { ticket: number; flat: Buffer } | null
}

/**
 * Listens to the parameters of a model. A bucket's collective begins when backward has queued the
 * last of its gradients, and in the same order in all processes; the queue waits for the results
 * where backward ends.
 */
export class GradientAverage implements GradientListener {
  /**
   * This process's share in the averages that begin from now on, relative to the others': how many
   * examples its loss is the mean of. They need not know it.
   */
  weight = 1
  /** Above 0 while gradients are to stay this process's own (`noSync`). */
  paused = 0
  readonly #fn: string
  readonly #names: ReadonlyMap<Tensor, string>
  readonly #buckets: readonly Bucket[]
  readonly #bucketOf = new Map<Tensor, Bucket>()
  readonly #findUnused: boolean
  readonly #arrived = new Set<Tensor>()
  /** The first bucket that has not been sent. */
  #next = 0

  /**
   * @param fn to name in errors
   * @param named parameters that require gradients, in the order of the model
   * @throws TypeError when one is averaged by another already
   */
  constructor(fn: string, named: readonly (readonly [string, Tensor])[], options: AverageOptions) {
    this.#fn = fn
    this.#findUnused = options.findUnusedParameters
    this.#names = new Map(named.map(([name, leaf]) => [leaf, name]))
    for (const [name, leaf] of named) {
      if (gradientListener(leaf) !== undefined)
        throw new TypeError(`[${fn}] '${name}': its gradient is averaged already, by another model`)
    }
    // Backward comes to the last layers first.
    this.#buckets = bucketsOf(
      named.map(([, leaf]) => leaf).reverse(),
      options.bucketCapMb * 2 ** 20,
    )
    for (const bucket of this.#buckets) {
      for (const leaf of bucket.leaves) {
        this.#bucketOf.set(leaf, bucket)
        listenToGradient(leaf, this)
      }
    }
  }

  /** Stops listening; another model may average these parameters afterwards. */
  stop(): void {
    for (const leaf of this.#names.keys()) stopListening(leaf)
  }

  complete(leaf: Tensor): void {
    if (this.paused > 0 || leaf.ownGrad === null || this.#arrived.has(leaf)) return
    // Which rows there are differs between the processes.
    if (leaf.ownGrad.isSparse) leaf.ownGrad = denseOf(leaf.ownGrad)
    this.#arrived.add(leaf)
    const bucket = this.#bucketOf.get(leaf) as Bucket
    bucket.open--
    this.#send()
  }

  finished(): void {
    if (this.paused > 0) return
    try {
      const missing = [...this.#names.keys()].filter((leaf) => !this.#arrived.has(leaf))
      const error = missing.length > 0 ? this.#fill(missing) : null
      // Also what is under way when there is an error: it has memory.
      this.#receive()
      if (error !== null) throw error
    } finally {
      this.#reset()
    }
  }

  /** A collective that has begun cannot be taken back: the other processes are in it, or will be. */
  failed(error: unknown): void {
    if (this.paused > 0) return
    const message = error instanceof Error ? error.message : String(error)
    const sent = this.#next > 0
    try {
      this.#receive()
    } finally {
      this.#reset()
    }
    if (sent)
      binding.breakGroup(
        `[${this.#fn}] a backward pass has failed while gradients were being averaged: ${message}`,
      )
  }

  /** For the next backward. */
  #reset(): void {
    this.#arrived.clear()
    this.#next = 0
    for (const bucket of this.#buckets) bucket.open = bucket.leaves.length
  }

  /** Begins the collectives of buckets that are complete, none before another's turn. */
  #send(): void {
    for (; this.#next < this.#buckets.length; this.#next++) {
      const bucket = this.#buckets[this.#next] as Bucket
      if (bucket.open > 0) return
      const grads = gradientsOf(bucket)
      const [ticket, flat] = attempt(this.#fn, () => binding.beginAverage(grads, this.weight))
      bucket.sent = { ticket, flat }
    }
  }

  /** The queue waits for the averages, which take the gradients' places. */
  #receive(): void {
    for (const bucket of this.#buckets) {
      if (bucket.sent === null) continue
      const { ticket, flat } = bucket.sent
      bucket.sent = null
      binding.endAverage(ticket, flat, gradientsOf(bucket))
      for (const { ownGrad } of bucket.leaves) ownGrad?.changed(this.#fn)
      binding.release(flat)
    }
  }

  /** What to do about parameters that backward has not reached: an error, unless it is allowed. */
  #fill(missing: readonly Tensor[]): RangeError | null {
    if (this.#findUnused) {
      this.#zeros(missing)
      return null
    }
    const [rank] = member(this.#fn)
    const names = missing.map((leaf) => `'${this.#names.get(leaf)}' ${formatShape(leaf.shape)}`)
    return new RangeError(
      `[${this.#fn}] gradients: expected one for every parameter, got none for ${names.join(', ')} on rank ${rank}: the loss does not depend on them; freeze them (requiresGrad = false) before, or use findUnusedParameters`,
    )
  }

  #zeros(leaves: readonly Tensor[]): void {
    for (const leaf of leaves) {
      if (leaf.ownGrad === null) {
        const zeros = binding.fill(leaf.numel, 0, deviceNumber(leaf.device))
        leaf.ownGrad = Tensor.wrap(zeros, leaf.shape, leaf.device)
      }
      this.complete(leaf)
    }
  }
}

function gradientsOf({ leaves }: Bucket): Buffer[] {
  return leaves.map((leaf) => (leaf.ownGrad as Tensor).buffer)
}

/** In the order given, a new bucket wherever one is full or the device is another. */
function bucketsOf(leaves: readonly Tensor[], cap: number): Bucket[] {
  const buckets: Bucket[] = []
  let bytes = 0
  for (const leaf of leaves) {
    const last = buckets.at(-1)
    const limit = buckets.length === 1 ? Math.min(cap, FIRST_BUCKET_BYTES) : cap
    if (last === undefined || bytes >= limit || last.leaves[0]?.device !== leaf.device) {
      buckets.push({ leaves: [leaf], open: 1, sent: null })
      bytes = 0
    } else {
      last.leaves.push(leaf)
      last.open++
    }
    bytes += 4 * leaf.numel
  }
  return buckets
}
