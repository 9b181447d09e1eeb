/** Windows over the last dimension, for convolutions and pooling; values without history. */
import { type Buffer, binding } from '../binding.js'
import { deviceNumber } from '../device.js'

/** Windows of `kernel` elements, `dilation` apart, each `stride` after the one before. */
export interface Windows {
  kernel: number
  stride: number
  dilation: number
  /** Elements before the first and after the last, which are there or, if negative, are not. */
  before: number
  after: number
}

/** How many windows there are over `length` elements. */
export function windowCount(length: number, w: Windows): number {
  const room = length + w.before + w.after - w.dilation * (w.kernel - 1) - 1
  return room < 0 ? 0 : Math.floor(room / w.stride) + 1
}

/** `[rows, length]` with `value` before and after; null: no need. */
function padded(
  x: Buffer,
  device: string,
  rows: number,
  length: number,
  before: number,
  after: number,
  value: number,
): Buffer | null {
  if (before <= 0 && after <= 0) return null
  const front = Math.max(before, 0)
  const back = Math.max(after, 0)
  if (value === 0 && (front === 0 || back === 0))
    return binding.concat(
      front > 0 ? [null, x] : [x, null],
      front > 0 ? [front, length] : [length, back],
      rows,
    )
  const edge = binding.fill(rows * Math.max(front, back), value, deviceNumber(device))
  const parts = [front, back].map((n) => (n === 0 ? null : binding.view(edge, 0, rows * n)))
  const inputs: Buffer[] = []
  const widths: number[] = []
  if (parts[0]) {
    inputs.push(parts[0])
    widths.push(front)
  }
  inputs.push(x)
  widths.push(length)
  if (parts[1]) {
    inputs.push(parts[1])
    widths.push(back)
  }
  const out = binding.concat(inputs, widths, rows)
  for (const part of parts) if (part) binding.release(part)
  binding.release(edge)
  return out
}

/**
 * The windows of `[batch, channels, length]` as a new buffer.
 * @param value of what lies beyond the ends
 * @param columns false: `[batch, channels, windows, kernel]`; true: `[groups, channels / groups,
 *   kernel, batch, windows]`
 */
export function windowValues(
  x: Buffer,
  device: string,
  batch: number,
  channels: number,
  length: number,
  w: Windows,
  value: number,
  columns: boolean,
  groups = 1,
): Buffer {
  const count = windowCount(length, w)
  const rows = batch * channels
  const wide = padded(x, device, rows, length, w.before, w.after, value)
  const whole = length + Math.max(w.before, 0) + Math.max(w.after, 0)
  const offset = Math.max(-w.before, 0)
  const inGroup = channels / groups
  const shape = columns
    ? [groups, inGroup, w.kernel, batch, count]
    : [batch, channels, count, w.kernel]
  const strides = columns
    ? [inGroup * whole, whole, w.dilation, channels * whole, w.stride]
    : [channels * whole, whole, w.stride, w.dilation]
  const empty = shape.includes(0)
  const out = binding.copyStrided(wide ?? x, shape, strides, empty ? 0 : offset)
  if (wide) binding.release(wide)
  return out
}

/** `[rows, n]` with stride − 1 zeros between neighbours: `[rows, (n − 1) stride + 1]`. */
export function spreadValues(x: Buffer, rows: number, n: number, stride: number): Buffer {
  if (stride === 1 || n === 0) return binding.clone(x)
  const wide = binding.concat([x, null], [1, stride - 1], rows * n)
  const out = binding.copyStrided(wide, [rows, (n - 1) * stride + 1], [n * stride, 1], 0)
  binding.release(wide)
  return out
}

/**
 * The windows whose sums, over the kernel backwards, are the gradient of `length` elements from that of
 * the windows `w` over them, spread by its stride.
 */
export function backWindows(length: number, w: Windows): Windows {
  const { kernel, dilation } = w
  const spread = (windowCount(length, w) - 1) * w.stride + 1
  const before = dilation * (kernel - 1) - w.before
  const after = length + dilation * (kernel - 1) - spread - before
  return { kernel, stride: 1, dilation, before, after }
}
