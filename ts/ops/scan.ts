/** Running sums and products. */

import { over } from '../autograd/node.js'
import { type Backward, record, willRecord } from '../autograd.js'
import { BinaryOp, type Buffer, binding, ScanKind } from '../binding.js'
import { Tensor } from '../tensor.js'
import { filled } from './again.js'
import { checkDim, checkNumeric, splitAt } from './common.js'
import { cat } from './shape.js'

/** The running sum from the first element or, reversed, from the last, with history. */
function runningSum(x: Tensor, dim: number, reverse: boolean): Tensor {
  const { outer, n, inner } = splitAt(x.shape, dim)
  const out = Tensor.wrap(
    binding.scan(ScanKind.sum, x.buffer, null, outer, n, inner, reverse),
    x.shape,
    x.device,
    x.dtype,
  )
  const backward: Backward = ([dy]) => [runningSum(dy as Tensor, dim, !reverse)]
  record('cumsum', [x], [out], backward, [], 'values', backward)
  return out
}

export function cumsum(x: Tensor, dim: number): Tensor {
  checkNumeric('cumsum', 'tensor', x)
  return runningSum(x, checkDim('cumsum', 'dim', dim, x.shape.length), false)
}

/**
 * out[i] = x[i] + a[i] · out[i − 1] along the middle of `[outer, n, inner]` or, reversed, out[i] = x[i] +
 * a[i + 1] · out[i + 1]; with history. Each is the other's gradient by x.
 */
function recurrence(x: Tensor, a: Tensor, reverse: boolean): Tensor {
  const [outer, n, inner] = x.shape as [number, number, number]
  const buffer = binding.scan(ScanKind.linear, x.buffer, a.buffer, outer, n, inner, reverse)
  const out = Tensor.wrap(buffer, x.shape, x.device)
  if (!willRecord([x, a])) return out
  const [savedA, savedOut] = [a.share(), out.share()]
  const { shape } = x
  const gradients = (dy: Tensor, from: Tensor, y: Tensor, needsA: boolean): (Tensor | null)[] => {
    const dx = recurrence(dy, from, !reverse)
    if (!needsA) return [dx, null]
    // What the factor of an element was multiplied by, and whose gradient it came into.
    const before = reverse ? dx : y
    const after = reverse ? y : dx
    return [dx, shifted(before).mul(after)]
  }
  record(
    'scan',
    [x, a],
    [out],
    ([g], node) => {
      const dy = g as Tensor
      const [from, y] = [over(savedA, shape, dy.device), over(savedOut, shape, dy.device)]
      return gradients(dy, from, y, node.needs(1))
    },
    [savedA, savedOut],
    'values',
    ([g], node) => {
      const dy = g as Tensor
      const from = node.input(1, savedA, shape, dy.device)
      return gradients(dy, from, node.output(0, savedOut, shape, dy.device), node.needs(1))
    },
  )
  return out
}

/** Each element of the middle dimension one further on, after a 0. */
function shifted(x: Tensor): Tensor {
  const [outer, n, inner] = x.shape as [number, number, number]
  if (n === 0) return x
  return cat([filled([outer, 1, inner], 0, x.device), x.slice(1, 0, n - 1)], 1)
}

/**
 * The gradient of running products p over the middle of `[outer, n, inner]`, with history; as
 * productsBackward().
 */
export function productsAgain(dy: Tensor, x: Tensor, p: Tensor): Tensor {
  const [outer, n, inner] = x.shape as [number, number, number]
  if (n === 0) return x.mul(0)
  const before = cat([filled([outer, 1, inner], 1, x.device), p.slice(1, 0, n - 1)], 1)
  return recurrence(dy, x, true).mul(before)
}

function product(buffer: Buffer, other: Buffer, n: number): Buffer {
  return binding.binary(BinaryOp.mul, buffer, other, [n], [1], [1])
}

/**
 * The gradient of running products p over the middle of `[outer, n, inner]`, for any number of
 * zeros: dx[k] = p[k - 1] · (dy[k] + x[k + 1] · (dy[k + 1] + x[k + 2] · (…))).
 */
export function productsBackward(
  dy: Buffer,
  x: Buffer,
  p: Buffer,
  [outer, n, inner]: readonly [number, number, number],
  device: string,
): Tensor {
  const shape = [outer, n, inner]
  const rest = binding.scan(ScanKind.linear, dy, x, outer, n, inner, true)
  const numel = outer * n * inner
  if (n <= 1 || numel === 0) return Tensor.wrap(rest, shape, device)
  const head = binding.copyStrided(p, [outer, (n - 1) * inner], [n * inner, 1], 0)
  const zeros = binding.concat([null, head], [inner, (n - 1) * inner], outer)
  // Before the first stands the empty product, 1: there the gradient is `rest` itself.
  const scaled = product(rest, zeros, numel)
  const first = binding.copyStrided(rest, [outer, inner], [n * inner, 1], 0)
  const padded = binding.concat([first, null], [inner, (n - 1) * inner], outer)
  const dx = binding.binary(BinaryOp.add, scaled, padded, [numel], [1], [1])
  for (const buffer of [rest, head, zeros, scaled, first, padded]) binding.release(buffer)
  return Tensor.wrap(dx, shape, device)
}

export function cumprod(x: Tensor, dim: number): Tensor {
  checkNumeric('cumprod', 'tensor', x)
  const d = checkDim('cumprod', 'dim', dim, x.shape.length)
  const { outer, n, inner } = splitAt(x.shape, d)
  const out = Tensor.wrap(
    binding.scan(ScanKind.product, x.buffer, null, outer, n, inner, false),
    x.shape,
    x.device,
    x.dtype,
  )
  if (!willRecord([x])) return out
  const { shape } = x
  const savedX = x.share()
  const savedOut = out.share()
  record(
    'cumprod',
    [x],
    [out],
    ([g]) => {
      const { buffer, device } = g as Tensor
      const sizes = [outer, n, inner] as const
      using dx = productsBackward(buffer, savedX.buffer, savedOut.buffer, sizes, device)
      return [dx.viewAs(shape)]
    },
    [savedX, savedOut],
    'values',
    ([g], node) => {
      const dy = g as Tensor
      const sizes = [outer, n, inner]
      const p = node.output(0, savedOut, shape, dy.device).reshape(sizes)
      const from = node.input(0, savedX, shape, dy.device).reshape(sizes)
      return [productsAgain(dy.reshape(sizes), from, p).reshape(shape)]
    },
  )
  return out
}
