/** Batches of sequences of unequal lengths; as `torch.nn.utils.rnn`. */
import { types } from 'node:util'
import { checkSameDevice } from '../device.js'
import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  describe,
  formatShape,
  rangeError,
  typeError,
} from '../errors.js'
import { full } from '../factories.js'
import { int32s } from '../js_memory.js'
import { knownValues } from '../known_values.js'
import { gatherOfPairs, gatherRows } from '../ops/gather.js'
import { cat } from '../ops/shape.js'
import { checkShape, Tensor } from '../tensor.js'
import { indexTensor, PackedSequence, Packing, rowsInPadding } from './packed_sequence.js'

export { PackedSequence } from './packed_sequence.js'

/** Checks lengths and packs them, longest first; equal ones keep their order. */
function packingOf(fn: string, lengths: readonly number[], enforceSorted: boolean): Packing {
  if (enforceSorted) {
    lengths.forEach((length, n) => {
      if (n > 0 && length > (lengths[n - 1] as number)) {
        throw rangeError(
          fn,
          'lengths',
          'decreasing lengths, or enforceSorted: false',
          describe([...lengths]),
        )
      }
    })
  }
  const order = enforceSorted ? null : lengths.map((_, n) => n)
  order?.sort((a, b) => (lengths[b] as number) - (lengths[a] as number))
  const longest = lengths[order?.[0] ?? 0] as number
  const batchSizes = int32s(fn, longest)
  for (const length of lengths) for (let t = 0; t < length; t++) (batchSizes[t] as number)++
  return new Packing(batchSizes, order)
}

function checkLengths(fn: string, lengths: unknown, batch: number, longest: number): number[] {
  const given = lengths instanceof Tensor ? valuesOf(fn, lengths) : lengths
  const isArray = Array.isArray(given) || types.isInt32Array(given)
  if (!isArray) throw typeError(fn, 'lengths', 'an array of whole numbers', lengths)
  const list = Array.from(given as ArrayLike<number>)
  if (list.length !== batch) {
    throw rangeError(fn, 'lengths', `${batch} lengths, one a sequence`, `${list.length}`)
  }
  list.forEach((length, n) => {
    const fine = Number.isInteger(length) && length >= 1 && length <= longest
    if (!fine) checkInteger(fn, `lengths[${n}]`, length, 1, longest)
  })
  return list
}

/** @throws TypeError unless they are known at once: the shape of what is packed depends on them */
function valuesOf(fn: string, lengths: Tensor): Int32Array {
  if (lengths.dtype !== 'int32' || lengths.shape.length !== 1) {
    const got = `${lengths.dtype} of shape ${formatShape(lengths.shape)}`
    throw rangeError(fn, 'lengths', 'an int32 tensor of one dimension', got)
  }
  const values = knownValues(lengths)
  if (values !== null) return values
  throw new TypeError(
    `[${fn}] lengths: expected an array, or a tensor that was made from one: the values of one that was computed take a wait; give 'await lengths.data()'`,
  )
}

/** What {@link packPaddedSequence} takes. */
export interface PackPaddedOptions {
  /** The input is (N, T, …). Default false: (T, N, …). */
  batchFirst?: boolean
  /** Refuse lengths that do not decrease; false sorts and remembers the order. Default true. */
  enforceSorted?: boolean
}

/**
 * Packs padded sequences, without their padding; as `torch.nn.utils.rnn.pack_padded_sequence`.
 * @param input `(T, N, …)`, or `(N, T, …)` with batchFirst
 * @param lengths N whole numbers in [1, T]; also as an int32 tensor that was made from an array
 * @throws TypeError, RangeError
 */
export function packPaddedSequence(
  input: Tensor,
  lengths: readonly number[] | Int32Array | Tensor,
  options: PackPaddedOptions = {},
): PackedSequence {
  const fn = 'packPaddedSequence'
  if (!(input instanceof Tensor)) throw typeError(fn, 'input', 'a tensor', input)
  checkOptions(fn, options, ['batchFirst', 'enforceSorted'])
  const batchFirst = checkBoolean(fn, 'batchFirst', options.batchFirst ?? false)
  const enforceSorted = checkBoolean(fn, 'enforceSorted', options.enforceSorted ?? true)
  if (input.shape.length < 2) {
    throw rangeError(fn, 'input', 'at least 2 dimensions', `shape ${formatShape(input.shape)}`)
  }
  const [steps, batch] = (
    batchFirst ? [input.shape[1], input.shape[0]] : [input.shape[0], input.shape[1]]
  ) as [number, number]
  if (batch === 0) throw rangeError(fn, 'input', 'at least one sequence', 'none')
  const list = checkLengths(fn, lengths, batch, steps)
  const packing = packingOf(fn, list, enforceSorted)
  const [perStep, perSequence] = batchFirst ? [1, steps] : [batch, 1]
  using places = indexTensor(rowsInPadding(fn, packing, perStep, perSequence), input.device)
  return new PackedSequence(gatherOfPairs(fn, input, places), packing)
}

/** What {@link padPackedSequence} takes. */
export interface PadPackedOptions {
  /** The result is (N, T, …). Default false: (T, N, …). */
  batchFirst?: boolean
  /** What stands behind the end of a sequence. Default 0. */
  paddingValue?: number
  /** Pad to this many steps; at least the longest length. */
  totalLength?: number
}

/**
 * The inverse of {@link packPaddedSequence}, in the caller's order; as
 * `torch.nn.utils.rnn.pad_packed_sequence`.
 * @returns the padded sequences `(T, N, …)` (or `(N, T, …)`) and their lengths
 */
export function padPackedSequence(
  sequence: PackedSequence,
  options: PadPackedOptions = {},
): [padded: Tensor, lengths: number[]] {
  const fn = 'padPackedSequence'
  checkPacked(fn, sequence)
  checkOptions(fn, options, ['batchFirst', 'paddingValue', 'totalLength'])
  const batchFirst = checkBoolean(fn, 'batchFirst', options.batchFirst ?? false)
  const fill = checkNumber(fn, 'paddingValue', options.paddingValue ?? 0)
  const { batchSizes, places, lengths } = sequence
  const steps = batchSizes.length
  const total = checkInteger(fn, 'totalLength', options.totalLength ?? steps, 0)
  if (total < steps)
    throw rangeError(fn, 'totalLength', `at least the longest length ${steps}`, `${total}`)
  const starts = stepStarts(batchSizes)
  const batch = lengths.length
  const width = sequence.data.shape.slice(1)
  const shapeOf = (n: number): number[] =>
    batchFirst ? [batch, n, ...width] : [n, batch, ...width]
  checkShape(fn, shapeOf(total))
  const index = int32s(fn, steps * batch).fill(-1)
  for (let n = 0; n < batch; n++) {
    for (let t = 0; t < (lengths[n] as number); t++) {
      const row = (starts[t] as number) + (places[n] as number)
      index[batchFirst ? n * steps + t : t * batch + n] = row
    }
  }
  using source = indexTensor(index, sequence.data.device)
  using rows = gatherRows(fn, sequence.data, source, { fill })
  const padded = rows.reshape(shapeOf(steps))
  if (total === steps) return [padded, lengths]
  using shorter = padded
  const { device, dtype } = sequence.data
  using rest = full(shapeOf(total - steps), fill, { device, dtype })
  return [cat([shorter, rest], batchFirst ? 1 : 0), lengths]
}

/** The first row of every step. */
function stepStarts(batchSizes: Int32Array): number[] {
  let row = 0
  return Array.from(batchSizes, (size) => {
    row += size
    return row - size
  })
}

function checkPacked(fn: string, sequence: unknown): void {
  if (!(sequence instanceof PackedSequence)) {
    throw typeError(fn, 'sequence', 'a PackedSequence', sequence)
  }
}

/** Checks a list of sequences that differ in their first dimension only. */
function checkSequences(fn: string, sequences: readonly Tensor[]): number[] {
  if (!Array.isArray(sequences)) throw typeError(fn, 'sequences', 'an array of tensors', sequences)
  if (sequences.length === 0) throw rangeError(fn, 'sequences', 'at least one tensor', 'none')
  const first = sequences[0] as Tensor
  return sequences.map((sequence, n) => {
    const name = `sequences[${n}]`
    if (!(sequence instanceof Tensor)) throw typeError(fn, name, 'a tensor', sequence)
    const [length, ...rest] = sequence.shape
    if (length === undefined) throw rangeError(fn, name, 'at least one dimension', 'shape ()')
    if (formatShape(rest) !== formatShape(first.shape.slice(1))) {
      throw rangeError(
        fn,
        name,
        `shape (*, ${first.shape.slice(1).join(', ')})`,
        formatShape(sequence.shape),
      )
    }
    if (sequence.dtype !== first.dtype) throw typeError(fn, name, first.dtype, sequence.dtype)
    checkSameDevice(fn, name, sequence, first.device)
    return length
  })
}

/** What {@link padSequence} takes. */
export interface PadSequenceOptions {
  /** The result is (N, T, …). Default false: (T, N, …). */
  batchFirst?: boolean
  /** Default 0. */
  paddingValue?: number
  /** Which end is padded. Default 'right'. */
  paddingSide?: 'right' | 'left'
}

/**
 * Stacks sequences of unequal lengths, padded to the longest; as
 * `torch.nn.utils.rnn.pad_sequence`.
 * @param sequences tensors `(length, …)`
 * @returns `(T, N, …)`, or `(N, T, …)` with batchFirst
 */
export function padSequence(
  sequences: readonly Tensor[],
  options: PadSequenceOptions = {},
): Tensor {
  const fn = 'padSequence'
  const lengths = checkSequences(fn, sequences)
  checkOptions(fn, options, ['batchFirst', 'paddingValue', 'paddingSide'])
  const batchFirst = checkBoolean(fn, 'batchFirst', options.batchFirst ?? false)
  const fill = checkNumber(fn, 'paddingValue', options.paddingValue ?? 0)
  const side = checkOneOf(fn, 'paddingSide', options.paddingSide ?? 'right', ['right', 'left'])
  const steps = Math.max(...lengths)
  const batch = lengths.length
  const index = int32s(fn, steps * batch).fill(-1)
  let row = 0
  lengths.forEach((length, n) => {
    const from = side === 'left' ? steps - length : 0
    for (let t = from; t < from + length; t++) {
      index[batchFirst ? n * steps + t : t * batch + n] = row++
    }
  })
  using joined = cat(sequences, 0)
  using source = indexTensor(index, joined.device)
  using rows = gatherRows(fn, joined, source, { fill })
  const outer = batchFirst ? [batch, steps] : [steps, batch]
  return rows.reshape([...outer, ...(sequences[0] as Tensor).shape.slice(1)])
}

/**
 * Cuts padded sequences back to their lengths; as `torch.nn.utils.rnn.unpad_sequence`. Neither
 * argument is changed.
 * @param padded `(T, N, …)`, or `(N, T, …)` with batchFirst
 * @returns N tensors `(length, …)`
 */
export function unpadSequence(
  padded: Tensor,
  lengths: readonly number[] | Int32Array | Tensor,
  options: { batchFirst?: boolean } = {},
): Tensor[] {
  const fn = 'unpadSequence'
  if (!(padded instanceof Tensor)) throw typeError(fn, 'padded', 'a tensor', padded)
  checkOptions(fn, options, ['batchFirst'])
  const batchFirst = checkBoolean(fn, 'batchFirst', options.batchFirst ?? false)
  if (padded.shape.length < 2) {
    throw rangeError(fn, 'padded', 'at least 2 dimensions', `shape ${formatShape(padded.shape)}`)
  }
  const [a, b] = padded.shape as [number, number]
  const [steps, batch] = batchFirst ? [b, a] : [a, b]
  const list = checkLengths(fn, lengths, batch, steps)
  using rows = padded.reshape([a * b, ...padded.shape.slice(2)])
  return list.map((length, n) => {
    using index = indexTensor(
      Int32Array.from({ length }, (_, t) => (batchFirst ? n * steps + t : t * batch + n)),
      padded.device,
    )
    return gatherRows(fn, rows, index)
  })
}

/**
 * Packs a list of sequences; as `torch.nn.utils.rnn.pack_sequence`.
 * @param sequences tensors `(length, …)`, longest first unless enforceSorted is false
 */
export function packSequence(
  sequences: readonly Tensor[],
  options: { enforceSorted?: boolean } = {},
): PackedSequence {
  const fn = 'packSequence'
  const lengths = checkSequences(fn, sequences)
  checkOptions(fn, options, ['enforceSorted'])
  const enforceSorted = checkBoolean(fn, 'enforceSorted', options.enforceSorted ?? true)
  using padded = padSequence(sequences)
  return packPaddedSequence(padded, lengths, { enforceSorted })
}

/**
 * The sequences of a packing, in the caller's order; as `torch.nn.utils.rnn.unpack_sequence`.
 * @returns N tensors `(length, …)`
 */
export function unpackSequence(sequence: PackedSequence): Tensor[] {
  const fn = 'unpackSequence'
  checkPacked(fn, sequence)
  const starts = stepStarts(sequence.batchSizes)
  const { places } = sequence
  return sequence.lengths.map((length, n) => {
    using index = indexTensor(
      Int32Array.from({ length }, (_, t) => (starts[t] as number) + (places[n] as number)),
      sequence.data.device,
    )
    return gatherRows(fn, sequence.data, index)
  })
}
