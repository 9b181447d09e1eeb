/** One-dimensional convolutions: windows, and one matrix product over the whole batch. */

import { throughFunction } from '../autograd/partial.js'
import { record, willRecord } from '../autograd.js'
import { type Buffer, binding } from '../binding.js'
import { checkSameDevice, deviceNumber } from '../device.js'
import { checkInteger, checkOptions, formatShape, rangeError, typeError } from '../errors.js'
import { Tensor } from '../tensor.js'
import { filled } from './again.js'
import { checkFloat } from './common.js'
import { cat } from './shape.js'
import { backWindows, spreadValues, type Windows, windowCount, windowValues } from './windows.js'

/** What {@link conv1d} takes. */
export interface Conv1dFunctionOptions {
  /** `[O]`. Default: none. */
  bias?: Tensor | null
  /** Steps between the places of the kernel. Default 1. */
  stride?: number
  /** Zeros at both ends; 'same': as many as keep the length; 'valid': none. Default 0. */
  padding?: number | 'same' | 'valid'
  /** Steps between the elements of the kernel. Default 1. */
  dilation?: number
  /** Parts of the channels that are convolved each on their own. Default 1. */
  groups?: number
}

/** Checks a `padding` option. */
export function checkPadding(
  fn: string,
  value: unknown,
  stride: number,
): number | 'same' | 'valid' {
  if (value === 'same' || value === 'valid') {
    if (value === 'same' && stride !== 1)
      throw rangeError(fn, 'padding', "a number, as 'same' is for stride 1", `stride ${stride}`)
    return value
  }
  if (typeof value === 'string')
    throw typeError(fn, 'padding', "a number, 'same' or 'valid'", value)
  return checkInteger(fn, 'padding', value ?? 0, 0, 2 ** 31)
}

export function checkStep(fn: string, name: string, value: unknown, otherwise = 1): number {
  return checkInteger(fn, name, value ?? otherwise, 1, 2 ** 31)
}

interface Sizes {
  batch: number
  channels: number
  length: number
  outputs: number
  groups: number
  windows: Windows
  count: number
}

/**
 * The cross-correlation of a sequence with kernels; as `torch.nn.functional.conv1d`.
 * @param input `[N, C, L]` or `[C, L]`
 * @param weight `[O, C / groups, K]`
 * @returns `[N, O, L']` or `[O, L']`
 * @throws TypeError, RangeError
 */
export function conv1d(input: Tensor, weight: Tensor, options: Conv1dFunctionOptions = {}): Tensor {
  const fn = 'conv1d'
  checkFloat(fn, 'input', input)
  checkFloat(fn, 'weight', weight)
  checkOptions(fn, options, ['bias', 'stride', 'padding', 'dilation', 'groups'])
  const { bias = null } = options
  const stride = checkStep(fn, 'stride', options.stride)
  const dilation = checkStep(fn, 'dilation', options.dilation)
  const groups = checkStep(fn, 'groups', options.groups)
  const padding = checkPadding(fn, options.padding, stride)
  const rank = input.shape.length
  const [outputs, inGroup, kernel] = weight.shape as readonly [number, number, number]
  if (weight.shape.length !== 3 || outputs % groups !== 0 || weight.numel === 0)
    throw rangeError(
      fn,
      'weight',
      `shape (O, C / groups, K) with O a multiple of ${groups}`,
      formatShape(weight.shape),
    )
  const channels = inGroup * groups
  if ((rank !== 2 && rank !== 3) || input.shape[rank - 2] !== channels)
    throw rangeError(
      fn,
      'input',
      `shape (N, ${channels}, L) or (${channels}, L)`,
      formatShape(input.shape),
    )
  checkSameDevice(fn, 'weight', weight, input.device)
  if (bias !== null) {
    checkFloat(fn, 'bias', bias)
    if (bias.shape.length !== 1 || bias.numel !== outputs)
      throw rangeError(fn, 'bias', `shape (${outputs},)`, formatShape(bias.shape))
    checkSameDevice(fn, 'bias', bias, input.device)
  }
  const total = dilation * (kernel - 1)
  const before = padding === 'same' ? Math.floor(total / 2) : padding === 'valid' ? 0 : padding
  const after = padding === 'same' ? total - before : before
  const windows = { kernel, stride, dilation, before, after }
  const length = input.shape[rank - 1] as number
  const count = windowCount(length, windows)
  if (count === 0)
    throw rangeError(
      fn,
      'input',
      `a length of at least ${total + 1 - before - after} for a kernel of ${kernel}`,
      formatShape(input.shape),
    )
  const batch = rank === 3 ? (input.shape[0] as number) : 1
  const sizes = { batch, channels, length, outputs, groups, windows, count }
  const out = convolved(input, weight, sizes)
  return bias === null ? out : out.add(bias.reshape([outputs, 1]))
}

/** A product of matrices for each group. */
function product(
  groups: number,
  a: Buffer,
  b: Buffer,
  transA: boolean,
  transB: boolean,
  m: number,
  n: number,
  k: number,
): Buffer {
  return binding.matmul(a, b, transA, transB, m, n, k, [groups], [1], [1])
}

function convolved(input: Tensor, weight: Tensor, sizes: Sizes): Tensor {
  const { batch, channels, length, outputs, groups, windows, count } = sizes
  const { kernel } = windows
  const { device, shape } = input
  const rows = outputs / groups
  const inner = (channels / groups) * kernel
  const places = batch * count
  const columns = (): Buffer =>
    windowValues(x.buffer, device, batch, channels, length, windows, 0, true, groups)
  const x = input.share()
  const forward = columns()
  const flat = product(groups, weight.buffer, forward, false, false, rows, places, inner)
  binding.release(forward)
  const turned = binding.copyStrided(flat, [batch, outputs, count], [count, places, 1], 0)
  binding.release(flat)
  const outShape = [...shape.slice(0, -2), outputs, count]
  const out = Tensor.wrap(turned, outShape, device)
  if (!willRecord([input, weight])) {
    x[Symbol.dispose]()
    return out
  }
  const w = weight.share()
  const weightShape = weight.shape
  record(
    'conv1d',
    [input, weight],
    [out],
    ([g], node) => {
      const dy = (g as Tensor).buffer
      let dx: Tensor | null = null
      let dw: Tensor | null = null
      if (node.needs(1)) {
        const rowsFirst = binding.copyStrided(
          dy,
          [outputs, batch, count],
          [count, outputs * count, 1],
          0,
        )
        const again = columns()
        const grad = product(groups, rowsFirst, again, false, true, rows, inner, places)
        binding.release(rowsFirst)
        binding.release(again)
        dw = Tensor.wrap(grad, weightShape, device)
      }
      if (node.needs(0)) dx = Tensor.wrap(inputGradient(dy, w.buffer, device, sizes), shape, device)
      return [dx, dw]
    },
    [x, w],
    'values',
    ([g], node) => {
      const inputs = [node.input(0, x, shape, device), node.input(1, w, weightShape, device)]
      const through = (...[a, b]: (Tensor | null)[]) => [
        composed(a as Tensor, b as Tensor, sizes).reshape(outShape),
      ]
      return throughFunction('conv1d', through, inputs, [g as Tensor])
    },
  )
  return out
}

/** The same of operations that are recorded, as `[N, groups, O / groups, L']`. */
function composed(x: Tensor, weight: Tensor, sizes: Sizes): Tensor {
  const { batch, channels, length, outputs, groups, windows, count } = sizes
  const { kernel, stride, dilation, before, after } = windows
  const { device } = x
  const edge = (size: number) => filled([batch, channels, size], 0, device)
  const wide = cat([edge(before), x.reshape([batch, channels, length]), edge(after)], 2)
  const places = Int32Array.from({ length: kernel * count }, (_, i) => {
    return Math.floor(i / count) * dilation + (i % count) * stride
  })
  const buffer = binding.upload(places, deviceNumber(device), places.length)
  const index = Tensor.wrap(buffer, [places.length], device, 'int32')
  const inner = (channels / groups) * kernel
  const columns = wide.indexSelect(2, index).reshape([batch, groups, inner, count])
  return weight.reshape([groups, outputs / groups, inner]).matmul(columns)
}

/** The gradient of the input: the convolution of dy, spread by the stride, with the kernels turned. */
function inputGradient(dy: Buffer, weight: Buffer, device: string, sizes: Sizes): Buffer {
  const { batch, channels, length, outputs, groups, windows, count } = sizes
  const { kernel } = windows
  const inGroup = channels / groups
  const rows = outputs / groups
  const spread = spreadValues(dy, batch * outputs, count, windows.stride)
  const wide = (count - 1) * windows.stride + 1
  const back = backWindows(length, windows)
  const columns = windowValues(spread, device, batch, outputs, wide, back, 0, true, groups)
  binding.release(spread)
  // [groups, C / groups, O / groups, K], backwards in K
  const turned = binding.copyStrided(
    weight,
    [groups, inGroup, rows, kernel],
    [rows * inGroup * kernel, kernel, inGroup * kernel, -1],
    kernel - 1,
  )
  const places = batch * length
  const flat = product(groups, turned, columns, false, false, inGroup, places, rows * kernel)
  binding.release(columns)
  binding.release(turned)
  const dx = binding.copyStrided(flat, [batch, channels, length], [length, places, 1], 0)
  binding.release(flat)
  return dx
}
