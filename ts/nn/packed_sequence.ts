/** A batch of sequences of unequal lengths, without padding. */
import { types } from 'node:util'
import type { Device } from '../device.js'
import { checkInteger, describe, formatShape, rangeError, typeError } from '../errors.js'
import { tensor } from '../factories.js'
import { int32s } from '../js_memory.js'
import { Tensor } from '../tensor.js'

/** How sequences are packed: what packed sequences with the same lengths share. Internal. */
export class Packing {
  readonly batchSizes: Int32Array
  /** The caller's position of each sorted sequence; null when they were given sorted. */
  readonly order: readonly number[] | null
  #inverse: readonly number[] | null = null
  /** By device. */
  readonly #sorted = new Map<string, Tensor>()
  readonly #unsorted = new Map<string, Tensor>()

  constructor(batchSizes: Int32Array, order: readonly number[] | null) {
    this.batchSizes = batchSizes
    this.order = order
  }

  /** For each of the caller's sequences, its place among the sorted ones. */
  get inverse(): readonly number[] | null {
    if (this.order !== null) this.#inverse ??= invert(this.order, this.batchSizes[0] as number)
    return this.#inverse
  }

  sortedIndices(device: string): Tensor | null {
    return this.order && kept(this.#sorted, this.order, device)
  }

  unsortedIndices(device: string): Tensor | null {
    return this.inverse && kept(this.#unsorted, this.inverse, device)
  }
}

function kept(tensors: Map<string, Tensor>, values: readonly number[], device: string): Tensor {
  let found = tensors.get(device)
  if (found === undefined) {
    found = indexTensor(values, device)
    tensors.set(device, found)
  }
  return found
}

/**
 * Sequences laid out by time step, longest first: the rows of step t are those of the sequences
 * that are still running. Made by {@link packPaddedSequence} and {@link packSequence}; as
 * `torch.nn.utils.rnn.PackedSequence`.
 */
export class PackedSequence {
  /** `[sum of lengths, …]` */
  readonly data: Tensor
  readonly #packing: Packing

  /**
   * @param batchSizes sequences still running at each step
   * @param order the caller's position of each sorted sequence, or null for sorted input
   */
  constructor(
    data: Tensor,
    batchSizes: Int32Array | readonly number[] | Packing,
    order?: readonly number[] | null,
  ) {
    if (!(data instanceof Tensor)) throw typeError('PackedSequence', 'data', 'a tensor', data)
    this.data = data
    if (batchSizes instanceof Packing) {
      this.#packing = batchSizes
      return
    }
    const packing = new Packing(checkBatchSizes(batchSizes), checkOrder(order ?? null))
    checkRows(packing.batchSizes, data)
    packing.inverse // is there only for a permutation
    this.#packing = packing
  }

  /** Sequences still running at each step, never increasing; a copy. */
  get batchSizes(): Int32Array {
    return this.#packing.batchSizes.slice()
  }

  /** Where the sequences stood in the caller's order; null when they were given sorted. int32 */
  get sortedIndices(): Tensor | null {
    return this.#packing.sortedIndices(this.data.device)
  }

  /** The inverse of sortedIndices. int32 */
  get unsortedIndices(): Tensor | null {
    return this.#packing.unsortedIndices(this.data.device)
  }

  /** The same packing around other rows. @param data `[sum of lengths, …]` */
  withData(data: Tensor): PackedSequence {
    if (!(data instanceof Tensor)) throw typeError('PackedSequence', 'data', 'a tensor', data)
    if (data.shape[0] !== this.data.shape[0]) checkRows(this.batchSizes, data)
    return new PackedSequence(data, this.#packing)
  }

  /** On a device, with its history; itself when it is there already. */
  to(on: string | Device): PackedSequence {
    const data = this.data.to(on)
    return data === this.data ? this : new PackedSequence(data, this.#packing)
  }

  /** Lengths in the caller's order. */
  get lengths(): number[] {
    const sorted = lengthsOf(this.#packing.batchSizes)
    return this.#packing.inverse?.map((n) => sorted[n] as number) ?? sorted
  }

  /** For each of the caller's sequences, its place among the sorted ones. */
  get places(): readonly number[] {
    const batch = this.#packing.batchSizes[0] as number
    return this.#packing.inverse ?? Array.from({ length: batch }, (_, n) => n)
  }
}

/**
 * Where each row was in a padded batch: step t of sequence n at t · perStep + n · perSequence.
 * @param order as that of Packing
 * @param fn the function that messages name
 */
export function rowsInPadding(
  fn: string,
  { batchSizes, order }: { batchSizes: Int32Array; order: readonly number[] | null },
  perStep: number,
  perSequence: number,
): Int32Array {
  const index = int32s(
    fn,
    batchSizes.reduce((sum, size) => sum + size, 0),
  )
  let row = 0
  for (let t = 0; t < batchSizes.length; t++) {
    for (let i = 0; i < (batchSizes[t] as number); i++)
      index[row++] = t * perStep + (order ? (order[i] as number) : i) * perSequence
  }
  return index
}

/** Whether two have the same steps of the same sequences in their rows. */
export function alikePacked(a: PackedSequence, b: PackedSequence): boolean {
  const same = (x: readonly number[], y: readonly number[]): boolean =>
    x.length === y.length && x.every((value, i) => value === y[i])
  return same(a.lengths, b.lengths) && same(a.places, b.places)
}

/** A copy, when they are legal. */
function checkBatchSizes(batchSizes: unknown): Int32Array {
  const fn = 'PackedSequence'
  if (!Array.isArray(batchSizes) && !types.isInt32Array(batchSizes))
    throw typeError(fn, 'batchSizes', 'an array of whole numbers', batchSizes)
  const sizes = Int32Array.from(batchSizes as ArrayLike<unknown>, (size, t) =>
    checkInteger(fn, `batchSizes[${t}]`, size, 1, 2 ** 31 - 1),
  )
  if (sizes.length === 0) throw rangeError(fn, 'batchSizes', 'at least one step', 'none')
  sizes.forEach((size, t) => {
    if (t > 0 && size > (sizes[t - 1] as number)) {
      throw rangeError(
        fn,
        'batchSizes',
        'sizes of at least 1 that never increase',
        describe([...sizes]),
      )
    }
  })
  return sizes
}

function checkOrder(order: readonly number[] | null): readonly number[] | null {
  if (order !== null && !Array.isArray(order))
    throw typeError('PackedSequence', 'order', 'an array of positions, or null', order)
  return order && [...order]
}

function checkRows(sizes: Int32Array, data: Tensor): void {
  const rows = sizes.reduce((sum, size) => sum + size, 0)
  if (data.shape[0] !== rows) {
    throw rangeError(
      'PackedSequence',
      'data',
      `${rows} rows (the sum of batchSizes)`,
      `shape ${formatShape(data.shape)}`,
    )
  }
}

function invert(order: readonly number[], batch: number): number[] {
  const inverse = new Array<number>(batch).fill(-1)
  order.forEach((n, i) => {
    if (!Number.isInteger(n) || n < 0 || n >= batch || inverse[n] !== -1) {
      throw rangeError(
        'PackedSequence',
        'order',
        `a permutation of ${batch} sequences`,
        describe([...order]),
      )
    }
    inverse[n] = i
  })
  if (order.length !== batch) {
    throw rangeError('PackedSequence', 'order', `${batch} sequences`, `${order.length}`)
  }
  return inverse
}

/** Lengths of the sorted sequences: sequence n runs while batchSizes[t] > n. */
function lengthsOf(batchSizes: Int32Array): number[] {
  const lengths = new Array<number>(batchSizes[0] as number).fill(0)
  for (const size of batchSizes) for (let n = 0; n < size; n++) (lengths[n] as number)++
  return lengths
}

export function indexTensor(values: Int32Array | readonly number[], device: string): Tensor {
  return tensor(types.isInt32Array(values) ? values : Int32Array.from(values), { device })
}
