/** Indexing as NumPy's and PyTorch's square brackets. */
import { binding } from '../binding.js'
import { checkSameDevice, deviceNumber } from '../device.js'
import { checkInteger, formatShape, rangeError, typeError } from '../errors.js'
import { numelOf, type Shape, sameShape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { broadcastShapes, checkTensor, fromFront } from './common.js'
import { gatherAlong, gatherRows } from './gather.js'
import { permute, reshape, select, slice, unsqueeze } from './shape.js'

type Bound = number | ''
/** A range as Python writes it: `'1:5'`, `':-1'`, `'::2'`, `':'`. */
export type Range = `${Bound}:${Bound}` | `${Bound}:${Bound}:${Bound}`
/**
 * What {@link Tensor.at} takes for one dimension: a number, a range, an int32 tensor of indices; or
 * `null` for a new dimension, `'...'` for all dimensions that are not named.
 */
export type AtItem = number | Range | '...' | null | Tensor

const EXPECTED = "a number, a range such as '1:5', '...', null or an int32 tensor of indices"

function isItem(item: unknown): item is AtItem {
  return item === null || ['number', 'string'].includes(typeof item) || item instanceof Tensor
}

/** The bounds and the step of a range; null for one that is not given. */
function rangeOf(name: string, text: string): [number | null, number | null, number] {
  const parts = /^ *(-?\d*) *: *(-?\d*) *(?:: *(-?\d*) *)?$/.exec(text)
  const numbers = parts?.slice(1, 4).map((part) => (part ? Number(part) : null))
  if (!numbers || numbers.some(Number.isNaN)) throw typeError('at', name, EXPECTED, text)
  const [start, end, step] = numbers as [number | null, number | null, number | null]
  if (step !== null && step < 1)
    throw rangeError(
      'at',
      name,
      'a step of at least 1 (flip() turns a dimension round)',
      `'${text}'`,
    )
  return [start, end, step ?? 1]
}

function checkItem(name: string, item: AtItem, x: Tensor): void {
  if (!isItem(item)) {
    const expected = Array.isArray(item)
      ? `${EXPECTED}; for indices tensor([…], { dtype: 'int32' }), for a range '${item[0] ?? ''}:${item[1] ?? ''}'`
      : EXPECTED
    throw typeError('at', name, expected, item)
  }
  if (!(item instanceof Tensor)) return
  if (item.dtype === 'bool')
    throw typeError(
      'at',
      name,
      `${EXPECTED}; how many elements a bool mask leaves is not known at the call: use where(mask, x, other) or x.maskedFill(mask, value), or take indices: const on = await mask.data(); x.at(tensor([...on.keys()].filter((i) => on[i]), { dtype: 'int32' })), with x and mask flattened to one dimension`,
      item,
    )
  if (item.dtype !== 'int32') throw typeError('at', name, 'an int32 tensor of indices', item.dtype)
  checkSameDevice('at', name, item, x.device)
}

/** An index tensor and the dimension that it is for. */
interface Chosen {
  dim: number
  index: Tensor
}

export function at(x: Tensor, items: readonly AtItem[]): Tensor {
  checkTensor('at', 'tensor', x)
  items.forEach((item, i) => {
    checkItem(`items[${i}]`, item, x)
  })
  const named = items.filter((item) => item !== null && item !== '...').length
  const rank = x.shape.length
  if (named > rank) {
    const expected = `at most ${rank} for a tensor of shape ${formatShape(x.shape)}`
    throw rangeError('at', 'items', expected, `${named}`)
  }
  if (items.filter((item) => item === '...').length > 1)
    throw rangeError('at', 'items', "'...' once", 'more')
  let out = x
  let dim = 0
  const chosen: Chosen[] = []
  items.forEach((item, i) => {
    const name = `items[${i}]`
    const size = out.shape[dim] as number
    if (item === '...') {
      dim += rank - named
    } else if (item === null) {
      out = unsqueeze(out, dim++)
    } else if (typeof item === 'number') {
      checkInteger('at', name, item, -size, size - 1)
      out = select(out, dim, item)
    } else if (item instanceof Tensor) {
      chosen.push({ dim: dim++, index: item })
    } else {
      const [start, end, step] = rangeOf(name, item)
      if (start !== null || end !== null || step !== 1)
        out = slice(out, dim, start ?? 0, end ?? Infinity, step)
      dim++
    }
  })
  if (chosen.length > 0) return choose(out, chosen)
  return out === x ? reshape(x, x.shape) : out
}

/**
 * By index tensors, which broadcast together. Their dimensions take the place of those that they are
 * for where these are neighbours; else they come first.
 */
function choose(x: Tensor, chosen: readonly Chosen[]): Tensor {
  const dims = chosen.map(({ dim }) => dim)
  const first = dims[0] as number
  const count = dims.length
  if (count === 1) {
    const { index } = chosen[0] as Chosen
    return gatherAlong('at', x, first, fromFront(index, x.shape[first] as number))
  }
  const neighbours = dims.every((dim, i) => dim === first + i)
  const rest = [...x.shape.keys()].filter((d) => !dims.includes(d))
  const from = neighbours ? x : permute(x, [...dims, ...rest])
  const place = neighbours ? first : 0
  const sizes = from.shape.slice(place, place + count)
  const all = numelOf(sizes)
  if (all >= 2 ** 31)
    throw rangeError('at', 'items', 'fewer than 2^31 elements to choose from', String(all))
  const index = combined(
    chosen.map((one) => one.index),
    sizes,
  )
  const { shape } = from
  const merged = [...shape.slice(0, place), all, ...shape.slice(place + count)]
  return gatherAlong('at', reshape(from, merged), place, index)
}

/** The index of each element among all of `sizes`. Each index is checked against its own size. */
function combined(indices: readonly Tensor[], sizes: Shape): Tensor {
  indices.reduce<Shape>((shape, index) => broadcastShapes('at', shape, index.shape), [])
  const { shape, device } = indices[0] as Tensor
  if (indices.every((index) => sameShape(index.shape, shape))) {
    const buffers = indices.map((index, i) => fromFront(index, sizes[i] as number).buffer)
    return Tensor.wrap(binding.flatIndex('at', buffers, sizes), shape, device, 'int32')
  }
  let stride = 1
  let sum: Tensor | null = null
  for (let i = indices.length - 1; i >= 0; i--) {
    const size = sizes[i] as number
    const index = indices[i] as Tensor
    const number = deviceNumber(index.device)
    const buffer = binding.ramp(size, 0, stride, stride * Math.max(0, size - 1), true, number)
    using table = Tensor.wrap(buffer, [size], index.device, 'int32')
    const part = gatherRows('at', table, fromFront(index, size))
    sum = sum === null ? part : part.add(sum)
    stride *= size
  }
  return sum as Tensor
}
