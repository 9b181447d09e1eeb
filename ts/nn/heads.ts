/** Recurrent weights of several heads: the units of a head see those of their own alone. */
import { checkInteger, rangeError } from '../errors.js'
import { eye } from '../ranges.js'
import type { Shape, Tensor } from '../tensor.js'
import { hasHeads } from './recurrent_op.js'

/** @throws TypeError, RangeError unless hiddenSize can be divided among so many */
export function checkHeads(fn: string, heads: unknown, hiddenSize: number): number {
  const count = checkInteger(fn, 'numHeads', heads, 1)
  if (hiddenSize % count !== 0)
    throw rangeError(fn, 'numHeads', `a divisor of hiddenSize, ${hiddenSize}`, String(count))
  return count
}

/** The shape of a parameter: `weight_hh` of a cell with heads is `(G, heads, H/heads, H/heads)`. */
export function shapeInHeads(
  cell: number,
  kind: string,
  shape: Shape | null,
  heads: number,
): Shape | null {
  if (shape === null || kind !== 'weight_hh' || !hasHeads(cell)) return shape
  const [rows, units] = shape as unknown as [number, number]
  const size = units / heads
  return [rows / units, heads, size, size]
}

/** Parameters as the kernels take them. */
export function withHeads(weights: readonly (Tensor | null)[]): readonly (Tensor | null)[] {
  if (!weights.some((weight) => weight?.shape.length === 4)) return weights
  return weights.map((weight) => (weight?.shape.length === 4 ? blockDiagonal(weight) : weight))
}

/** `(G, heads, H/heads, H/heads)` as `(G·H, H)`, with zeros between the heads. */
function blockDiagonal(weight: Tensor): Tensor {
  const [gates, heads, size] = weight.shape as unknown as [number, number, number]
  const units = heads * size
  if (heads === 1) return weight.reshape([gates * units, units])
  const own = eye(heads, { device: weight.device }).reshape([1, heads, 1, heads, 1])
  const apart = weight.reshape([gates, heads, size, 1, size]).mul(own)
  return apart.reshape([gates * units, units])
}
