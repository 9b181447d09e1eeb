/** One-dimensional pooling over windows. */
import { type Backward, record, willRecord } from '../autograd.js'
import { binding } from '../binding.js'
import { deviceNumber } from '../device.js'
import { checkBoolean, checkInteger, checkOptions, formatShape, rangeError } from '../errors.js'
import type { Shape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { summed } from './along.js'
import { checkFloat } from './common.js'
import { checkStep } from './convolution.js'
import { backWindows, spreadValues, type Windows, windowCount, windowValues } from './windows.js'

/** What pooling takes. */
export interface PoolOptions {
  /** Steps between the windows. Default: the kernel's size. */
  stride?: number
  /** How far windows reach beyond both ends, at most half the kernel. Default 0. */
  padding?: number
  /** Let a last window that begins within the input reach beyond the end. Default false. */
  ceilMode?: boolean
}

/** What {@link maxPool1d} takes. */
export interface MaxPoolOptions extends PoolOptions {
  /** Steps between the elements of a window. Default 1. */
  dilation?: number
}

/** What {@link avgPool1d} takes. */
export interface AvgPoolOptions extends PoolOptions {
  /** Count what lies beyond the ends as zeros instead of leaving it out. Default true. */
  countIncludePad?: boolean
}

interface Pooling {
  /** Channels of all sequences. */
  rows: number
  length: number
  windows: Windows
  count: number
  shape: number[]
}

const POOL = ['stride', 'padding', 'ceilMode']

function poolingOf(
  fn: string,
  input: Tensor,
  kernelSize: number,
  options: MaxPoolOptions,
): Pooling {
  const { shape } = checkFloat(fn, 'input', input)
  const rank = shape.length
  if (rank !== 2 && rank !== 3)
    throw rangeError(fn, 'input', 'shape (N, C, L) or (C, L)', formatShape(shape))
  const kernel = checkStep(fn, 'kernelSize', kernelSize, Number.NaN)
  const stride = checkStep(fn, 'stride', options.stride, kernel)
  const dilation = checkStep(fn, 'dilation', options.dilation)
  const before = checkInteger(fn, 'padding', options.padding ?? 0, 0, Math.floor(kernel / 2))
  const ceil = checkBoolean(fn, 'ceilMode', options.ceilMode ?? false)
  const length = shape[rank - 1] as number
  const windows = { kernel, stride, dilation, before, after: before }
  let count = windowCount(length, windows)
  const reach = dilation * (kernel - 1) + 1
  const beyond = length + 2 * before - (count - 1) * stride - reach
  if (ceil && count > 0 && beyond > 0 && count * stride < length + before) {
    windows.after += stride - beyond
    count++
  }
  if (count === 0)
    throw rangeError(
      fn,
      'input',
      `a length of at least ${reach - 2 * before} for a kernel of ${kernel}`,
      formatShape(shape),
    )
  const rows = shape.slice(0, -1).reduce((a, b) => a * b, 1)
  return { rows, length, windows, count, shape: [...shape.slice(0, -1), count] }
}

/** The int32 numbers from 0, `step` apart, plus `first`. */
function steps(n: number, step: number, first: number, device: string): Tensor {
  const values = Int32Array.from({ length: n }, (_, i) => first + i * step)
  return Tensor.wrap(binding.upload(values, deviceNumber(device), n), [n], device, 'int32')
}

/**
 * The largest element of each window; as `torch.nn.functional.max_pool1d`.
 * @param input `[N, C, L]` or `[C, L]`
 * @throws TypeError, RangeError
 */
export function maxPool1d(input: Tensor, kernelSize: number, options: MaxPoolOptions = {}): Tensor {
  const fn = 'maxPool1d'
  checkOptions(fn, options, [...POOL, 'dilation'])
  const { rows, length, windows, count, shape } = poolingOf(fn, input, kernelSize, options)
  const { device, shape: full } = input
  const { kernel, stride, dilation, before } = windows
  const all = windowValues(input.buffer, device, 1, rows, length, windows, -Infinity, false)
  const [values, places] = binding.max(all, rows * count, kernel, 1, false, true, true)
  binding.release(all)
  const out = Tensor.wrap(values as NonNullable<typeof values>, shape, device)
  const place = Tensor.wrap(places as NonNullable<typeof places>, [rows, count], device, 'int32')
  if (!willRecord([input])) {
    place[Symbol.dispose]()
    return out
  }
  // Where it is in all rows as one.
  using starts = steps(count, stride, -before, device)
  using firsts = steps(rows, length, 0, device)
  using dilated = place.mul(dilation)
  using within = dilated.add(starts)
  using inside = within.clamp(0)
  const index = inside.add(firsts.reshape([rows, 1]))
  place[Symbol.dispose]()
  record(
    fn,
    [input],
    [out],
    ([g]) => {
      const dy = g as Tensor
      const dx = binding.scatterAddRows(dy.buffer, index.buffer, 1, rows * length, 1, -1)
      return [Tensor.wrap(dx, full, device)]
    },
    [index],
    'values',
    ([g]) => {
      const places = index.viewAs([rows * count])
      const dy = (g as Tensor).reshape([rows * count])
      return [summed(fn, [rows * length], 0, places, dy).reshape(full)]
    },
  )
  return out
}

/**
 * The mean of each window; as `torch.nn.functional.avg_pool1d`.
 * @param input `[N, C, L]` or `[C, L]`
 * @throws TypeError, RangeError
 */
export function avgPool1d(input: Tensor, kernelSize: number, options: AvgPoolOptions = {}): Tensor {
  const fn = 'avgPool1d'
  const { countIncludePad = true, ...rest } = options
  checkOptions(fn, options, [...POOL, 'countIncludePad'])
  checkBoolean(fn, 'countIncludePad', countIncludePad)
  const pooling = poolingOf(fn, input, kernelSize, rest)
  const sums = windowSums(input, pooling)
  const { windows, count, length } = pooling
  const { kernel, stride, before } = windows
  const padding = options.padding ?? 0
  const sizes = Float32Array.from({ length: count }, (_, i) => {
    const from = i * stride - before
    const low = countIncludePad ? from : Math.max(from, 0)
    const high = Math.min(from + kernel, countIncludePad ? length + padding : length)
    return 1 / (high - low)
  })
  const [first] = sizes
  if (sizes.every((size) => size === first)) return sums.mul(first as number)
  const factors = binding.upload(sizes, deviceNumber(input.device), count)
  using weights = Tensor.wrap(factors, [count], input.device)
  return sums.mul(weights)
}

function windowSums(input: Tensor, pooling: Pooling): Tensor {
  const { rows, length, windows, count, shape } = pooling
  const { device, shape: full } = input
  const all = windowValues(input.buffer, device, 1, rows, length, windows, 0, false)
  const out = Tensor.wrap(binding.sum(all, rows * count, windows.kernel, 1, 1), shape, device)
  binding.release(all)
  const backward: Backward = ([g]) => [windowSpread(g as Tensor, pooling, full)]
  record('avgPool1d', [input], [out], backward, [], 'values', backward)
  return out
}

/** Each window's value at all elements of the window, added up: windowSums()'s backward. */
function windowSpread(dy: Tensor, pooling: Pooling, full: Shape): Tensor {
  const { rows, length, windows, count } = pooling
  const { device } = dy
  const spread = spreadValues(dy.buffer, rows, count, windows.stride)
  const wide = (count - 1) * windows.stride + 1
  const back = backWindows(length, windows)
  const parts = windowValues(spread, device, 1, rows, wide, back, 0, false)
  binding.release(spread)
  const out = Tensor.wrap(binding.sum(parts, rows * length, windows.kernel, 1, 1), full, device)
  binding.release(parts)
  const backward: Backward = ([g]) => [windowSums(g as Tensor, pooling)]
  record('avgPool1d', [dy], [out], backward, [], 'values', backward)
  return out
}

/**
 * Means of `outputSize` windows that cover the input evenly; as
 * `torch.nn.functional.adaptive_avg_pool1d`.
 * @param input `[N, C, L]` or `[C, L]`
 * @throws TypeError, RangeError
 */
export function adaptiveAvgPool1d(input: Tensor, outputSize: number): Tensor {
  const fn = 'adaptiveAvgPool1d'
  const { shape } = checkFloat(fn, 'input', input)
  const rank = shape.length
  const length = shape[rank - 1] as number
  if ((rank !== 2 && rank !== 3) || length === 0)
    throw rangeError(fn, 'input', 'shape (N, C, L) or (C, L)', formatShape(shape))
  const size = checkStep(fn, 'outputSize', outputSize, Number.NaN)
  const weights = new Float32Array(length * size)
  for (let i = 0; i < size; i++) {
    const begin = Math.floor((i * length) / size)
    const end = Math.ceil(((i + 1) * length) / size)
    for (let t = begin; t < end; t++) weights[t * size + i] = 1 / (end - begin)
  }
  const buffer = binding.upload(weights, deviceNumber(input.device), weights.length)
  using matrix = Tensor.wrap(buffer, [length, size], input.device)
  return input.matmul(matrix)
}
