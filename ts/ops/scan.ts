/** Running sums and products. */
import { type Backward, record, willRecord } from '../autograd.js'
import { BinaryOp, type Buffer, binding, ScanKind } from '../binding.js'
import { Tensor } from '../tensor.js'
import { checkDim, checkNumeric, splitAt } from './common.js'

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
    // Of a gradient that is differentiated in turn, NaN where there are zeros.
    ([g], node) => {
      const dy = g as Tensor
      const p = node.output(0, savedOut, shape, dy.device)
      const from = node.input(0, savedX, shape, dy.device)
      return [runningSum(dy.mul(p), d, true).div(from)]
    },
  )
  return out
}
