/** Repeating, rolling, parts of matrices, and shapes made of others. */
import { type Backward, record } from '../autograd.js'
import { binding } from '../binding.js'
import { deviceNumber } from '../device.js'
import { checkInteger, formatShape, rangeError, typeError } from '../errors.js'
import { checkShape, numelOf, type Shape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { sumLike } from './again.js'
import {
  broadcastStrides,
  castValues,
  checkDim,
  checkNumeric,
  checkTensor,
  relabel,
  splitAt,
  sumTo,
} from './common.js'
import { gatherRows, indexSelect } from './gather.js'
import { cat, expand, permute, reshape, slice } from './shape.js'

// ---- Repeated --------------------------------------------------------------------------------------

export function repeat(x: Tensor, sizes: readonly number[]): Tensor {
  checkTensor('repeat', 'tensor', x)
  if (!Array.isArray(sizes)) throw typeError('repeat', 'sizes', 'an array of numbers', sizes)
  const times = sizes.map((n, i) => checkInteger('repeat', `sizes[${i}]`, n, 0))
  const rank = x.shape.length
  if (times.length < rank) {
    const expected = `at least ${rank} numbers for a tensor of shape ${formatShape(x.shape)}`
    throw rangeError('repeat', 'sizes', expected, `[${times.join(', ')}]`)
  }
  const shape = [...new Array<number>(times.length - rank).fill(1), ...x.shape]
  const wanted = checkShape(
    'repeat',
    shape.map((n, d) => n * (times[d] as number)),
  )
  // Pairs of (times, size); dimensions that are not repeated belong to the one before.
  const groups: [times: number, size: number][] = [[1, 1]]
  shape.forEach((size, d) => {
    const last = groups.at(-1) as [number, number]
    if (times[d] === 1) last[1] *= size
    else groups.push([times[d] as number, size])
  })
  // The memory of eight dimensions: four pairs at a time, from the right.
  let out = x
  for (let end = groups.length; end > 0; end = Math.max(0, end - 3)) {
    const begin = Math.max(0, end - 3)
    const now = groups.slice(begin, end)
    const outer = numelOf(groups.slice(0, begin).map(([, size]) => size))
    const inner = numelOf(groups.slice(end).map(([n, size]) => n * size))
    const small = [outer, ...now.flatMap(([, size]) => [1, size]), inner]
    const large = [outer, ...now.flat(), inner]
    out = repeated(out, small, large, begin === 0 ? wanted : [numelOf(large)])
  }
  return out
}

/** x under the shape `small`, broadcast to `large`, under the shape `shape`; one pass, with history. */
function repeated(x: Tensor, small: Shape, large: Shape, shape: Shape): Tensor {
  const before = x.shape
  const strides = broadcastStrides(small, large)
  const out = Tensor.wrap(
    binding.copyStrided(x.buffer, large, strides, 0),
    shape,
    x.device,
    x.dtype,
  )
  record(
    'repeat',
    [x],
    [out],
    ([dy]) => {
      const all = (dy as Tensor).viewAs(large)
      const sum = sumTo(all, small)
      return [sum === all ? all.viewAs(before) : relabel(sum, before)]
    },
    [],
    'values',
    ([dy]) => [reshape(sumLike(reshape(dy as Tensor, large), small), before)],
  )
  return out
}

export function repeatInterleave(
  x: Tensor,
  repeats: number | readonly number[],
  dim?: number | null,
): Tensor {
  checkTensor('repeatInterleave', 'tensor', x)
  const all = dim === undefined || dim === null
  const from = all ? reshape(x, [-1]) : x
  const d = all ? 0 : checkDim('repeatInterleave', 'dim', dim, x.shape.length)
  const { outer, n, inner } = splitAt(from.shape, d)
  const of = (size: number): Shape =>
    checkShape(
      'repeatInterleave',
      from.shape.length === 0 ? [size] : from.shape.map((old, i) => (i === d ? size : old)),
    )
  if (typeof repeats === 'number') {
    const times = checkInteger('repeatInterleave', 'repeats', repeats, 0)
    const shape = of(n * times)
    return reshape(expand(reshape(from, [outer, n, 1, inner]), [outer, n, times, inner]), shape)
  }
  if (repeats instanceof Tensor)
    throw typeError(
      'repeatInterleave',
      'repeats',
      'a number or an array of numbers (the size of the result has to be known: use [...(await repeats.data())])',
      repeats,
    )
  if (!Array.isArray(repeats))
    throw typeError('repeatInterleave', 'repeats', 'a number or an array of numbers', repeats)
  if (repeats.length !== n)
    throw rangeError('repeatInterleave', 'repeats', `${n} numbers`, `${repeats.length}`)
  const places: number[] = []
  repeats.forEach((times, i) => {
    const count = checkInteger('repeatInterleave', `repeats[${i}]`, times, 0)
    of(places.length + count)
    for (let k = 0; k < count; k++) places.push(i)
  })
  const values = Int32Array.from(places)
  const buffer = binding.upload(values, deviceNumber(x.device), values.length)
  using index = Tensor.wrap(buffer, [values.length], x.device, 'int32')
  if (from.shape.length === 0) return gatherRows('repeatInterleave', reshape(from, [1]), index)
  return indexSelect(from, d, index)
}

// ---- Rolled ----------------------------------------------------------------------------------------

export function roll(
  x: Tensor,
  shifts: number | readonly number[],
  dims?: number | readonly number[] | null,
): Tensor {
  checkTensor('roll', 'tensor', x)
  const by = Array.isArray(shifts) ? (shifts as readonly number[]) : [shifts as number]
  by.forEach((shift, i) => {
    checkInteger('roll', `shifts[${i}]`, shift, -Number.MAX_SAFE_INTEGER)
  })
  if (dims === undefined || dims === null) {
    if (by.length !== 1)
      throw rangeError('roll', 'shifts', 'one number without dims', `[${by.join(', ')}]`)
    return reshape(rolledBy(reshape(x, [-1]), [[0, by[0] as number]]), x.shape)
  }
  const list = Array.isArray(dims) ? (dims as readonly number[]) : [dims as number]
  if (list.length !== by.length)
    throw rangeError('roll', 'dims', `as many as shifts, ${by.length}`, String(list.length))
  const steps = list.map(
    (dim, i) => [checkDim('roll', 'dims', dim, x.shape.length), by[i]] as const,
  )
  return rolledBy(x, x.shape.length === 0 ? [] : (steps as readonly Step[]))
}

type Step = readonly [dim: number, shift: number]

/** With history; the gradient is rolled back. */
function rolledBy(x: Tensor, steps: readonly Step[]): Tensor {
  let out: Tensor | null = null
  for (const [dim, shift] of steps) {
    const next = rolledValues(out ?? x, dim, shift)
    if (next === null) continue
    out?.[Symbol.dispose]()
    out = next
  }
  if (out === null) return x.clone()
  const backward: Backward = ([dy]) => [
    rolledBy(
      dy as Tensor,
      steps.map(([dim, shift]) => [dim, -shift] as const),
    ),
  ]
  record('roll', [x], [out], backward, [], 'values', backward)
  return out
}

/** Without history; null where nothing moves. */
function rolledValues(x: Tensor, dim: number, shift: number): Tensor | null {
  const { outer, n, inner } = splitAt(x.shape, dim)
  const end = n === 0 ? 0 : ((shift % n) + n) % n
  if (end === 0 || x.numel === 0) return null
  const widths = [end * inner, (n - end) * inner] as const
  // What goes to the front, and the rest.
  const starts = [(n - end) * inner, 0] as const
  const parts = widths.map((width, i) =>
    outer === 1
      ? binding.view(x.buffer, starts[i] as number, width)
      : binding.copyStrided(x.buffer, [outer, width], [n * inner, 1], starts[i] as number),
  )
  const joined = binding.concat(parts, widths, outer)
  for (const part of parts) binding.release(part)
  return Tensor.wrap(joined, x.shape, x.device, x.dtype)
}

// ---- Parts of matrices -----------------------------------------------------------------------------

/** x where low <= column − row <= high, else 0, with history. */
function band(fn: string, x: Tensor, low: number, high: number): Tensor {
  if (x.dtype === 'bool') {
    using whole = castValues(x, 'int32')
    using out = band(fn, whole, low, high)
    return castValues(out, 'bool')
  }
  const [rows, columns] = x.shape.slice(-2) as [number, number]
  const batch = numelOf(x.shape.slice(0, -2))
  const out = Tensor.wrap(
    binding.band(x.buffer, batch, rows, columns, low, high),
    x.shape,
    x.device,
    x.dtype,
  )
  const backward: Backward = ([dy]) => [band(fn, dy as Tensor, low, high)]
  record(fn, [x], [out], backward, [], 'values', backward)
  return out
}

/** Further than any matrix is wide. */
const FAR = 2 ** 52

function checkMatrix(fn: string, x: Tensor, diagonal: number): number {
  checkTensor(fn, 'tensor', x)
  if (x.shape.length < 2)
    throw rangeError(fn, 'tensor', 'at least 2 dimensions', formatShape(x.shape))
  return checkInteger(fn, 'diagonal', diagonal, -FAR, FAR)
}

export function tril(x: Tensor, diagonal = 0): Tensor {
  return band('tril', x, -FAR, checkMatrix('tril', x, diagonal))
}

export function triu(x: Tensor, diagonal = 0): Tensor {
  return band('triu', x, checkMatrix('triu', x, diagonal), FAR)
}

export function diagonal(x: Tensor, offset = 0, dim1 = 0, dim2 = 1): Tensor {
  checkTensor('diagonal', 'tensor', x)
  const rank = x.shape.length
  if (rank < 2)
    throw rangeError('diagonal', 'tensor', 'at least 2 dimensions', formatShape(x.shape))
  const row = checkDim('diagonal', 'dim1', dim1, rank)
  const column = checkDim('diagonal', 'dim2', dim2, rank)
  if (row === column) throw rangeError('diagonal', 'dim2', 'another dimension than dim1', `${dim2}`)
  checkInteger('diagonal', 'offset', offset, -FAR, FAR)
  const rest = [...x.shape.keys()].filter((d) => d !== row && d !== column)
  const [m, n] = [x.shape[row] as number, x.shape[column] as number]
  const length = Math.max(0, Math.min(offset < 0 ? m + offset : m, offset < 0 ? n : n - offset))
  const matrices = permute(x, [...rest, row, column])
  const flat = reshape(matrices, [...rest.map((d) => x.shape[d] as number), m * n])
  if (length === 0) return slice(flat, -1, 0, 0)
  const first = offset < 0 ? -offset * n : offset
  return slice(flat, -1, first, first + (length - 1) * (n + 1) + 1, n + 1)
}

export function diag(x: Tensor, k = 0): Tensor {
  checkNumeric('diag', 'tensor', x)
  if (x.shape.length !== 1 && x.shape.length !== 2)
    throw rangeError('diag', 'tensor', '1 or 2 dimensions', formatShape(x.shape))
  if (x.shape.length === 2) return diagonal(x, k)
  checkInteger('diag', 'diagonal', k, -FAR, FAR)
  const size = x.numel + Math.abs(k)
  checkShape('diag', [size, size])
  let line = x
  if (k !== 0) {
    const rest = binding.fill(Math.abs(k), 0, deviceNumber(x.device))
    using floats = Tensor.wrap(rest, [Math.abs(k)], x.device)
    line = cat([x, x.dtype === 'int32' ? floats.int() : floats])
  }
  // Each row, or, below the diagonal, each column has one element of it.
  const all = expand(k < 0 ? line : reshape(line, [size, 1]), [size, size])
  return band('diag', all, k, k)
}

// ---- Shapes made of others -------------------------------------------------------------------------

export function flatten(x: Tensor, startDim = 0, endDim = -1): Tensor {
  checkTensor('flatten', 'tensor', x)
  const rank = x.shape.length
  const start = checkDim('flatten', 'startDim', startDim, rank)
  const end = checkDim('flatten', 'endDim', endDim, rank)
  if (start > end)
    throw rangeError('flatten', 'endDim', `a dimension from startDim ${startDim} on`, `${endDim}`)
  const inner = numelOf(x.shape.slice(start, end + 1))
  return reshape(x, [...x.shape.slice(0, start), inner, ...x.shape.slice(end + 1)])
}

export function unflatten(x: Tensor, dim: number, sizes: Shape): Tensor {
  checkTensor('unflatten', 'tensor', x)
  if (x.shape.length === 0) throw rangeError('unflatten', 'tensor', 'at least one dimension', '()')
  const d = checkDim('unflatten', 'dim', dim, x.shape.length)
  if (!Array.isArray(sizes)) throw typeError('unflatten', 'sizes', 'an array of sizes', sizes)
  const n = x.shape[d] as number
  const known = sizes.filter((size) => size !== -1)
  checkShape('unflatten', known)
  const rest = numelOf(known)
  const open = sizes.length - known.length
  if (sizes.length === 0 || open > 1 || (open === 1 ? rest === 0 || n % rest !== 0 : rest !== n)) {
    const expected = `sizes that make ${n}, one of them perhaps -1`
    throw rangeError('unflatten', 'sizes', expected, formatShape(sizes))
  }
  const filled = sizes.map((size) => (size === -1 ? n / rest : size))
  return reshape(x, [...x.shape.slice(0, d), ...filled, ...x.shape.slice(d + 1)])
}

export function movedim(
  x: Tensor,
  source: number | readonly number[],
  destination: number | readonly number[],
): Tensor {
  checkTensor('movedim', 'tensor', x)
  const rank = x.shape.length
  const listed = (name: string, dims: number | readonly number[]): number[] => {
    const list = Array.isArray(dims) ? (dims as readonly number[]) : [dims as number]
    const checked = list.map((dim) => checkDim('movedim', name, dim, rank))
    if (new Set(checked).size !== checked.length)
      throw rangeError('movedim', name, 'different dimensions', `[${list.join(', ')}]`)
    return checked
  }
  const from = listed('source', source)
  const to = listed('destination', destination)
  if (from.length !== to.length)
    throw rangeError('movedim', 'destination', `${from.length} dimensions`, `${to.length}`)
  if (rank === 0) return permute(x, [])
  const stay = [...x.shape.keys()].filter((d) => !from.includes(d))
  const order = x.shape.map((_, d) => {
    const moved = to.indexOf(d)
    return moved >= 0 ? (from[moved] as number) : -1
  })
  return permute(
    x,
    order.map((d) => (d >= 0 ? d : (stay.shift() as number))),
  )
}
