/** add, sub, mul, div with NumPy broadcasting. The pattern for a differentiable operation. */
import { record } from '../autograd.js'
import { BinaryOp, binding } from '../binding.js'
import { formatShape, typeError } from '../errors.js'
import { type Shape, Tensor } from '../tensor.js'

/** The broadcast shape. @throws RangeError */
export function broadcastShapes(fn: string, a: Shape, b: Shape): number[] {
  const dims = Math.max(a.length, b.length)
  const out = new Array<number>(dims)
  for (let d = 0; d < dims; d++) {
    const x = a[a.length - dims + d] ?? 1
    const y = b[b.length - dims + d] ?? 1
    if (x !== y && x !== 1 && y !== 1) {
      throw new RangeError(
        `[${fn}] shapes: expected shapes that broadcast together, got ${formatShape(a)} and ${formatShape(b)}`,
      )
    }
    out[d] = x === 1 ? y : x
  }
  return out
}

/** Element strides that read `shape` as if it had shape `out`: 0 where it is repeated. */
export function broadcastStrides(shape: Shape, out: Shape): number[] {
  const strides = new Array<number>(out.length).fill(0)
  let stride = 1
  for (let d = shape.length - 1; d >= 0; d--) {
    const size = shape[d] as number
    if (size !== 1) strides[out.length - shape.length + d] = stride
    stride *= size
  }
  return strides
}

function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((size, d) => size === b[d])
}

/** The raw operation, without history. */
export function binaryValues(fn: string, op: number, a: Tensor, b: Tensor): Tensor {
  if (sameShape(a.shape, b.shape)) {
    return Tensor.wrap(binding.binary(op, a.buffer, b.buffer, [a.numel], [1], [1]), a.shape)
  }
  const shape = broadcastShapes(fn, a.shape, b.shape)
  return Tensor.wrap(
    binding.binary(
      op,
      a.buffer,
      b.buffer,
      shape,
      broadcastStrides(a.shape, shape),
      broadcastStrides(b.shape, shape),
    ),
    shape,
  )
}

function operand(fn: string, value: unknown): Tensor {
  if (value instanceof Tensor) return value
  if (typeof value === 'number') return Tensor.wrap(binding.fill(1, value), [])
  throw typeError(fn, 'other', 'a tensor or a number', value)
}

export function add(a: Tensor, other: Tensor | number): Tensor {
  const b = operand('add', other)
  const out = binaryValues('add', BinaryOp.add, a, b)
  record('add', [a, b], [out], ([g]) => [g as Tensor, g as Tensor])
  return out
}
export function sub(a: Tensor, other: Tensor | number): Tensor {
  return binaryValues('sub', BinaryOp.sub, a, operand('sub', other))
}
export function mul(a: Tensor, other: Tensor | number): Tensor {
  return binaryValues('mul', BinaryOp.mul, a, operand('mul', other))
}
export function div(a: Tensor, other: Tensor | number): Tensor {
  return binaryValues('div', BinaryOp.div, a, operand('div', other))
}
