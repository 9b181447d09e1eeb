/**
 * What may happen to the states of a recurrent layer between its steps: dropout in the recurrent
 * product, zoneout, resets, masks. RnnStepOptions in native/ops/ops.h has the equations.
 */
import { type Buffer, binding } from '../binding.js'
import { checkSameDevice, deviceNumber } from '../device.js'
import { describe, formatShape, rangeError, typeError } from '../errors.js'
import type { Memory } from '../memory.js'
import { filled } from '../ops/again.js'
import { gatherRows } from '../ops/gather.js'
import { dropped } from '../ops/random.js'
import { nextRandom } from '../random.js'
import { sameShape } from '../shape.js'
import { type Shape, Tensor } from '../tensor.js'
import { alikePacked, indexTensor, PackedSequence, rowsInPadding } from './packed_sequence.js'

export interface StepOptions {
  /** Probability of dropping an element of h(t-1) in the recurrent product; 0: none. */
  recurrentDropout: number
  /** Probabilities that a unit of h and of c keeps its old value. */
  zoneout: readonly [h: number, c: number]
  /** Whether dropout and zoneout draw; else the one is off, and the other its expectation. */
  training: boolean
  /** bool `[rows]`: where the state is reset before the step; null: nowhere. */
  reset: Tensor | null
  /** bool `[rows]`: where false, the state stays; null: nowhere. */
  mask: Tensor | null
  /** `[L*D, N, P]`: what h becomes at a reset; null: zeros. */
  resetH: Tensor | null
  /** `[L*D, N, H]`, as c0: what c becomes; null: zeros. */
  resetC: Tensor | null
}

/** The sizes that masks are drawn for. */
interface Sizes {
  layers: number
  directions: number
  hidden: number
  proj: number
  batch: number
}

type Masks = readonly [
  hFactor: Tensor | null,
  keepH: Tensor | null,
  keepC: Tensor | null,
  reset: Tensor | null,
  mask: Tensor | null,
]

type NativeOptions = readonly [partH: number, partC: number, masks: (Buffer | null)[] | null]

/** The options of one call as the kernels take them, its masks drawn. */
export class DrawnOptions {
  /** Parts of the old h and c in the new ones. */
  readonly parts: readonly [h: number, c: number]
  readonly masks: Masks
  /** Of the masks, those that were made for this call. */
  readonly #own: readonly (Tensor | null)[]

  constructor(options: StepOptions, sizes: Sizes, rows: number, c: boolean, device: string) {
    const { recurrentDropout, zoneout, training, reset, mask } = options
    const stacks = sizes.layers * sizes.directions
    const out = sizes.proj || sizes.hidden
    const keep = (p: number, width: number): Tensor | null =>
      training && p > 0 ? booleans([stacks, rows, width], p, device) : null
    const own = [
      training && recurrentDropout > 0
        ? factors([stacks, sizes.batch, out], recurrentDropout, device)
        : null,
      keep(zoneout[0], out),
      c ? keep(zoneout[1], sizes.hidden) : null,
    ] as const
    this.#own = own
    this.masks = [...own, reset, mask]
    this.parts = training ? [0, 0] : [zoneout[0], c ? zoneout[1] : 0]
  }

  /** The native arguments. */
  get native(): NativeOptions {
    return [...this.parts, this.masks.map((mask) => mask?.buffer ?? null)]
  }

  /** Shares of the masks' memory, for backward. */
  share(): (Memory | null)[] {
    return this.masks.map((mask) => mask?.share() ?? null)
  }

  [Symbol.dispose](): void {
    for (const mask of this.#own) mask?.[Symbol.dispose]()
  }
}

/** The masks of a single step. */
export const NO_MASKS = { reset: null, mask: null, resetH: null, resetC: null } as const

/** The options of a call that has none. */
export const NO_OPTIONS: NativeOptions = [0, 0, null]

/** 0 with probability p, else 1 / (1 - p). */
function factors(shape: Shape, p: number, device: string): Tensor {
  using ones = filled(shape, 1, device)
  const { seed, counter } = nextRandom()
  return dropped(ones, p, seed, counter)
}

function booleans(shape: Shape, p: number, device: string): Tensor {
  const { seed, counter } = nextRandom()
  const length = shape.reduce((product, size) => product * size, 1)
  const buffer = binding.randomBooleans(length, p, seed, counter, deviceNumber(device))
  return Tensor.wrap(buffer, shape, device, 'bool')
}

/** How the steps of a call lie in its input. */
interface Layout {
  batch: number
  steps: number | Int32Array
  unbatched: boolean
  batchFirst: boolean
  device: string
  packed: PackedSequence | null
}

/**
 * Checks a mask of steps and lays it out as the rows of the input.
 * @returns bool `[rows]`, a tensor of its own; null where there is none
 */
export function maskRows(
  fn: string,
  name: string,
  mask: Tensor | PackedSequence | null | undefined,
  { batch, steps, unbatched, batchFirst, device, packed }: Layout,
): Tensor | null {
  if (mask === undefined || mask === null) return null
  if (mask instanceof PackedSequence) return packedMask(fn, name, mask, packed, device)
  if (!(mask instanceof Tensor))
    throw typeError(fn, name, packed ? 'a tensor or a PackedSequence' : 'a tensor', mask)
  checkMask(fn, name, mask, device)
  const longest = typeof steps === 'number' ? steps : steps.length
  const swapped = batchFirst && !unbatched
  const expected = unbatched ? [longest] : swapped ? [batch, longest] : [longest, batch]
  if (!sameShape(mask.shape, expected)) {
    const names = unbatched ? '' : swapped ? ' (N, T)' : ' (T, N)'
    const padded = packed ? ', padded to the longest sequence' : ''
    throw rangeError(
      fn,
      name,
      `shape ${formatShape(expected)}${names}${padded}`,
      formatShape(mask.shape),
    )
  }
  using bool = asBool(mask)
  if (packed) {
    const [perStep, perSequence] = swapped ? [1, longest] : [batch, 1]
    using flat = bool.reshape([longest * batch])
    const { batchSizes, places: sorted } = packed
    const order: number[] = []
    for (const [n, place] of sorted.entries()) order[place] = n
    const index = rowsInPadding(fn, { batchSizes, order }, perStep, perSequence)
    using places = indexTensor(index, device)
    return gatherRows(fn, flat, places)
  }
  using byTime = swapped ? bool.transpose(0, 1) : bool.viewAs(bool.shape)
  return byTime.reshape([longest * batch])
}

/** A mask that was packed like the input. */
function packedMask(
  fn: string,
  name: string,
  mask: PackedSequence,
  input: PackedSequence | null,
  device: string,
): Tensor {
  if (input === null) throw typeError(fn, name, 'a tensor, as the input is not packed', mask)
  checkMask(fn, name, mask.data, device)
  if (mask.data.shape.length !== 1)
    throw rangeError(fn, name, 'packed data of 1 dimension', formatShape(mask.data.shape))
  if (!alikePacked(mask, input))
    throw rangeError(
      fn,
      name,
      `a PackedSequence of the input's lengths and order, ${describe(input.lengths)}`,
      describe(mask.lengths),
    )
  return asBool(mask.data)
}

function checkMask(fn: string, name: string, mask: Tensor, device: string): void {
  if (mask.dtype !== 'int32' && mask.dtype !== 'bool')
    throw typeError(fn, name, 'an int32 or bool tensor', mask.dtype)
  checkSameDevice(fn, name, mask, device)
}

/** A tensor of its own. */
function asBool(mask: Tensor): Tensor {
  return mask.dtype === 'bool' ? mask.viewAs(mask.shape) : mask.ne(0)
}
