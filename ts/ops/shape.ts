/** Other shapes and orders of the same elements. */
import { type Backward, record, willRecord } from '../autograd.js'
import { type Buffer, binding } from '../binding.js'
import { checkSameDevice } from '../device.js'
import { checkInteger, formatShape, rangeError, typeError } from '../errors.js'
import { checkShape, numelOf, type Shape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { filled, sumLike } from './again.js'
import { checkDim, checkTensor, expandValues, splitAt, stridesOf, sumTo } from './common.js'

/**
 * Element [i…] is x's element offset + Σ i·stride: a view where that is a contiguous window, else a
 * copy. Without history.
 */
function layoutValues(x: Tensor, shape: Shape, strides: readonly number[], offset = 0): Tensor {
  const contiguous = stridesOf(shape)
  if (shape.every((size, d) => size <= 1 || strides[d] === contiguous[d])) {
    return x.viewAs(shape, offset)
  }
  return Tensor.wrap(
    binding.copyStrided(x.buffer, shape, strides, offset),
    shape,
    x.device,
    x.dtype,
  )
}

/** A view of another shape, with history. */
function reshaped(fn: string, x: Tensor, shape: Shape): Tensor {
  const before = x.shape
  const out = x.viewAs(checkShape(fn, shape))
  record(
    fn,
    [x],
    [out],
    ([dy]) => [(dy as Tensor).viewAs(before)],
    [],
    'view',
    ([dy]) => [reshaped(fn, dy as Tensor, before)],
  )
  return out
}

export function reshape(x: Tensor, shape: Shape, fn = 'reshape'): Tensor {
  if (!Array.isArray(shape)) throw typeError(fn, 'shape', 'an array of sizes', shape)
  const open = shape.indexOf(-1)
  const sizes = [...shape]
  if (open >= 0) {
    sizes[open] = 1
    checkShape(fn, sizes)
    const rest = numelOf(sizes)
    if (rest === 0 || x.numel % rest !== 0) {
      const expected = `a shape that ${x.numel} elements fill in one way`
      throw rangeError(fn, 'shape', expected, formatShape(shape))
    }
    sizes[open] = x.numel / rest
  }
  checkShape(fn, sizes)
  if (numelOf(sizes) !== x.numel) {
    const expected = `a shape of ${x.numel} elements for a tensor of shape ${formatShape(x.shape)}`
    throw rangeError(fn, 'shape', expected, formatShape(shape))
  }
  return reshaped(fn, x, sizes)
}

export function unsqueeze(x: Tensor, dim: number): Tensor {
  const d = checkDim('unsqueeze', 'dim', dim, x.shape.length + 1)
  return reshaped('unsqueeze', x, [...x.shape.slice(0, d), 1, ...x.shape.slice(d)])
}

export function squeeze(x: Tensor, dim?: number): Tensor {
  const chosen = dim === undefined ? null : checkDim('squeeze', 'dim', dim, x.shape.length)
  const shape = x.shape.filter((size, d) => size !== 1 || (chosen !== null && d !== chosen))
  return reshaped('squeeze', x, shape)
}

// ---- Order of dimensions and elements --------------------------------------------------------------

function permuteValues(x: Tensor, order: readonly number[]): Tensor {
  const strides = stridesOf(x.shape)
  return layoutValues(
    x,
    order.map((d) => x.shape[d] as number),
    order.map((d) => strides[d] as number),
  )
}

function permuted(fn: string, x: Tensor, order: readonly number[]): Tensor {
  const out = permuteValues(x, order)
  const backward: Backward = ([dy]) => {
    const inverse = order.map((_, d) => order.indexOf(d))
    return [permuted(fn, dy as Tensor, inverse)]
  }
  record(fn, [x], [out], backward, [], 'values', backward)
  return out
}

export function permute(x: Tensor, dims: readonly number[]): Tensor {
  const rank = x.shape.length
  if (!Array.isArray(dims)) throw typeError('permute', 'dims', 'an array of dimensions', dims)
  const order = dims.map((dim, i) => checkDim('permute', `dims[${i}]`, dim, rank))
  if (order.length !== rank || new Set(order).size !== rank) {
    throw rangeError('permute', 'dims', `each of ${rank} dimensions once`, `[${dims.join(', ')}]`)
  }
  return permuted('permute', x, order)
}

export function transpose(x: Tensor, a: number, b: number): Tensor {
  const rank = x.shape.length
  const first = checkDim('transpose', 'a', a, rank)
  const second = checkDim('transpose', 'b', b, rank)
  const order = x.shape.map((_, d) => (d === first ? second : d === second ? first : d))
  return permuted('transpose', x, order)
}

export function t(x: Tensor): Tensor {
  if (x.shape.length > 2)
    throw rangeError('t', 'tensor', 'at most 2 dimensions', formatShape(x.shape))
  return permuted('t', x, x.shape.length === 2 ? [1, 0] : [...x.shape.keys()])
}

function flipValues(x: Tensor, flipped: ReadonlySet<number>): Tensor {
  let offset = 0
  const strides = stridesOf(x.shape).map((stride, d) => {
    const size = x.shape[d] as number
    if (!flipped.has(d) || size < 2) return stride
    offset += (size - 1) * stride
    return -stride
  })
  if (x.numel === 0) offset = 0
  return layoutValues(x, x.shape, strides, offset)
}

export function flip(x: Tensor, dims: number | readonly number[]): Tensor {
  const list = Array.isArray(dims) ? (dims as readonly number[]) : [dims as number]
  const flipped = new Set(list.map((dim) => checkDim('flip', 'dims', dim, x.shape.length)))
  return flippedAt(x, flipped)
}

function flippedAt(x: Tensor, flipped: ReadonlySet<number>): Tensor {
  const out = flipValues(x, flipped)
  const backward: Backward = ([dy]) => [flippedAt(dy as Tensor, flipped)]
  record('flip', [x], [out], backward, [], 'values', backward)
  return out
}

export function expand(x: Tensor, shape: Shape): Tensor {
  if (!Array.isArray(shape)) throw typeError('expand', 'shape', 'an array of sizes', shape)
  const extra = shape.length - x.shape.length
  const sizes = shape.map((size, d) =>
    size === -1 && d >= extra ? (x.shape[d - extra] ?? 0) : size,
  )
  checkShape('expand', sizes)
  if (extra < 0 || x.shape.some((size, d) => size !== 1 && size !== sizes[d + extra])) {
    const expected = `a shape that ${formatShape(x.shape)} broadcasts to`
    throw rangeError('expand', 'shape', expected, formatShape(shape))
  }
  const before = x.shape
  const out = expandValues(x, sizes)
  record(
    'expand',
    [x],
    [out],
    ([dy]) => [sumTo(dy as Tensor, before)],
    [],
    'values',
    ([dy]) => [sumLike(dy as Tensor, before)],
  )
  return out
}

// ---- Windows ---------------------------------------------------------------------------------------

/** x[begin, begin + count) along a dimension, under the shape `shape`, with history. */
function window(
  fn: string,
  x: Tensor,
  dim: number,
  begin: number,
  count: number,
  shape: Shape,
): Tensor {
  const { outer, n, inner } = splitAt(x.shape, dim)
  const values =
    outer === 1
      ? x.viewAs(shape, begin * inner)
      : Tensor.wrap(
          binding.copyStrided(x.buffer, [outer, count * inner], [n * inner, 1], begin * inner),
          shape,
          x.device,
          x.dtype,
        )
  const before = x.shape
  const widths = [begin * inner, count * inner, (n - begin - count) * inner] as const
  record(
    fn,
    [x],
    [values],
    ([g]) => {
      const dy = g as Tensor
      const dx = binding.concat([null, dy.buffer, null], widths, outer)
      return [Tensor.wrap(dx, before, dy.device)]
    },
    [],
    'values',
    ([g]) => [padded((g as Tensor).reshape([outer, widths[1]]), widths[0], widths[2], before)],
  )
  return values
}

/** Zeros before and after each row, under the shape `shape`, with history. */
function padded(x: Tensor, before: number, after: number, shape: Shape): Tensor {
  const rows = x.shape[0] as number
  const zeros = (width: number): Tensor => filled([rows, width], 0, x.device)
  return reshaped('reshape', cat([zeros(before), x, zeros(after)], 1), shape)
}

/** x[begin, begin + count) along a dimension, which are known to be within. */
export function narrowTo(x: Tensor, dim: number, begin: number, count: number): Tensor {
  const shape = x.shape.map((n, d) => (d === dim ? count : n))
  return window('narrow', x, dim, begin, count, shape)
}

export function slice(x: Tensor, dim: number, start: number, end: number, step = 1): Tensor {
  if (x.shape.length === 0) throw rangeError('slice', 'tensor', 'at least one dimension', '()')
  const d = checkDim('slice', 'dim', dim, x.shape.length)
  const size = x.shape[d] as number
  const bound = (name: string, value: number): number => {
    if (value === Infinity) return size
    const checked = checkInteger('slice', name, value, -Number.MAX_SAFE_INTEGER)
    return Math.min(Math.max(checked < 0 ? checked + size : checked, 0), size)
  }
  const begin = bound('start', start)
  const width = Math.max(bound('end', end) - begin, 0)
  const count = Math.ceil(width / checkInteger('slice', 'step', step, 1))
  const shape = x.shape.map((n, i) => (i === d ? count : n))
  if (step > 1 && count > 1) return everyStep(x, d, begin, count, step, shape)
  return window('slice', x, d, begin, count, shape)
}

/** Every step-th element along a dimension from `begin`, with history. */
function everyStep(
  x: Tensor,
  dim: number,
  begin: number,
  count: number,
  step: number,
  shape: Shape,
): Tensor {
  const { outer, n, inner } = splitAt(x.shape, dim)
  const strides = [n * inner, step * inner, 1]
  const values = binding.copyStrided(x.buffer, [outer, count, inner], strides, begin * inner)
  const out = Tensor.wrap(values, shape, x.device, x.dtype)
  const before = x.shape
  const again: Backward = ([g]) => {
    const dy = (g as Tensor).reshape([outer * count, inner])
    const spread = padded(dy, 0, (step - 1) * inner, [outer, count * step * inner])
    const rest = (n - begin) * inner
    const kept = Math.min(count * step * inner, rest)
    return [padded(slice(spread, 1, 0, kept), begin * inner, rest - kept, before)]
  }
  const backward: Backward = ([g]) => {
    const dy = g as Tensor
    // Each element followed by the zeros up to the next; the last one's may reach beyond the end.
    const spread = binding.concat([dy.buffer, null], [inner, (step - 1) * inner], outer * count)
    const row = count * step * inner
    const rest = (n - begin) * inner
    const kept = Math.min(row, rest)
    const cut = row === kept ? spread : binding.copyStrided(spread, [outer, kept], [row, 1], 0)
    const widths = [begin * inner, kept, rest - kept]
    const dx = binding.concat([null, cut, null], widths, outer)
    if (cut !== spread) binding.release(spread)
    binding.release(cut)
    return [Tensor.wrap(dx, before, dy.device)]
  }
  record('slice', [x], [out], backward, [], 'values', again)
  return out
}

export function select(x: Tensor, dim: number, index: number): Tensor {
  if (x.shape.length === 0) throw rangeError('select', 'tensor', 'at least one dimension', '()')
  const d = checkDim('select', 'dim', dim, x.shape.length)
  const size = x.shape[d] as number
  const checked = checkInteger('select', 'index', index, -size, size - 1)
  const shape = x.shape.filter((_, i) => i !== d)
  return window('select', x, d, checked < 0 ? checked + size : checked, 1, shape)
}

// ---- Joining ---------------------------------------------------------------------------------------

function checkTensors(fn: string, tensors: unknown): readonly [Tensor, ...Tensor[]] {
  if (!Array.isArray(tensors)) throw typeError(fn, 'tensors', 'an array of tensors', tensors)
  if (tensors.length === 0) throw rangeError(fn, 'tensors', 'at least one tensor', 'none')
  // By index: holes are no tensors either.
  const list: Tensor[] = []
  for (let i = 0; i < tensors.length; i++) {
    const tensor = checkTensor(fn, `tensors[${i}]`, tensors[i])
    const { dtype, device } = list[0] ?? tensor
    if (tensor.dtype !== dtype)
      throw typeError(fn, `tensors[${i}]`, `a ${dtype} tensor`, tensor.dtype)
    checkSameDevice(fn, `tensors[${i}]`, tensor, device)
    list.push(tensor)
  }
  return list as [Tensor, ...Tensor[]]
}

/** Each tensor's rows ([outer, numel / outer]) side by side. */
function join(fn: string, tensors: readonly Tensor[], outer: number, shape: Shape): Tensor {
  checkShape(fn, shape)
  const widths = tensors.map((tensor) => (outer === 0 ? 0 : tensor.numel / outer))
  const buffers: Buffer[] = tensors.map((tensor) => tensor.buffer)
  const { device, dtype } = tensors[0] as Tensor
  const out = Tensor.wrap(binding.concat(buffers, widths, outer), shape, device, dtype)
  if (!willRecord(tensors)) return out
  const total = widths.reduce((a, b) => a + b, 0)
  const shapes = tensors.map((tensor) => tensor.shape)
  const backward: Backward = ([g], node) => {
    const dy = g as Tensor
    let offset = 0
    return shapes.map((part, i) => {
      const width = widths[i] as number
      const from = offset
      offset += width
      if (!node.needs(i)) return null
      if (outer === 1) return dy.viewAs(part, from)
      const dx = binding.copyStrided(dy.buffer, [outer, width], [total, 1], from)
      return Tensor.wrap(dx, part, dy.device)
    })
  }
  const again: Backward = ([g], node) => {
    const rows = (g as Tensor).reshape([outer, total])
    let offset = 0
    return shapes.map((part, i) => {
      const from = offset
      offset += widths[i] as number
      return node.needs(i) ? slice(rows, 1, from, offset).reshape(part) : null
    })
  }
  record(fn, tensors, [out], backward, [], 'values', again)
  return out
}

/**
 * Tensors of one type one after the other along `dim`; as `torch.cat`.
 * @param tensors of equal shapes except in `dim`
 */
export function cat(tensors: readonly Tensor[], dim = 0): Tensor {
  const list = checkTensors('cat', tensors)
  const first = list[0].shape
  if (first.length === 0) throw rangeError('cat', 'tensors[0]', 'at least one dimension', '()')
  const d = checkDim('cat', 'dim', dim, first.length)
  list.forEach(({ shape }, i) => {
    if (shape.length === first.length && shape.every((n, k) => k === d || n === first[k])) return
    const expected = formatShape(first.map((n, k) => (k === d ? '…' : n)))
    throw rangeError('cat', `tensors[${i}]`, `shape ${expected}`, formatShape(shape))
  })
  const size = list.reduce((n, { shape }) => n + (shape[d] as number), 0)
  const shape = first.map((n, k) => (k === d ? size : n))
  return join('cat', list, numelOf(first.slice(0, d)), shape)
}

/**
 * Tensors of one shape and type as the slices of a new dimension `dim`; as `torch.stack`.
 */
export function stack(tensors: readonly Tensor[], dim = 0): Tensor {
  const list = checkTensors('stack', tensors)
  const first = list[0].shape
  const d = checkDim('stack', 'dim', dim, first.length + 1)
  list.forEach(({ shape }, i) => {
    if (shape.length === first.length && shape.every((n, k) => n === first[k])) return
    throw rangeError('stack', `tensors[${i}]`, `shape ${formatShape(first)}`, formatShape(shape))
  })
  const shape = [...first.slice(0, d), list.length, ...first.slice(d)]
  return join('stack', list, numelOf(first.slice(0, d)), shape)
}
