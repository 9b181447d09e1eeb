/** Shapes, strides and checks that the operations share. */
import { binding } from '../binding.js'
import { type DType, DTypeCode } from '../dtype.js'
import { checkInteger, formatShape, rangeError, typeError } from '../errors.js'
import { checkShape, numelOf, type Shape, sameShape } from '../shape.js'
import { Tensor } from '../tensor.js'

/** Checks a tensor. @throws TypeError */
export function checkTensor(fn: string, name: string, value: unknown): Tensor {
  if (!(value instanceof Tensor)) throw typeError(fn, name, 'a tensor', value)
  return value
}

/** Checks a float32 tensor. @throws TypeError */
export function checkFloat(fn: string, name: string, value: unknown): Tensor {
  if (!(value instanceof Tensor)) throw typeError(fn, name, 'a tensor', value)
  if (value.dtype !== 'float32') throw typeError(fn, name, 'a float32 tensor', value.dtype)
  return value
}

/** Checks a tensor of numbers, not booleans. @throws TypeError */
export function checkNumeric(fn: string, name: string, value: unknown): Tensor {
  const x = checkTensor(fn, name, value)
  if (x.dtype === 'bool') throw typeError(fn, name, 'a float32 or int32 tensor', x.dtype)
  return x
}

/**
 * Checks a dimension, which counts from the end when negative, and returns it as a number >= 0. A
 * number's shape () has dimension 0 all the same, as in PyTorch.
 */
export function checkDim(fn: string, name: string, dim: unknown, rank: number): number {
  const count = Math.max(rank, 1)
  const checked = checkInteger(fn, name, dim, -count, count - 1)
  return checked < 0 ? checked + count : checked
}

/** The strides of a contiguous tensor. */
export function stridesOf(shape: Shape): number[] {
  const strides = new Array<number>(shape.length)
  let stride = 1
  for (let d = shape.length - 1; d >= 0; d--) {
    strides[d] = stride
    stride *= shape[d] as number
  }
  return strides
}

/** A shape as the sizes before, of and after dimension `dim`. */
export function splitAt(shape: Shape, dim: number): { outer: number; n: number; inner: number } {
  return {
    outer: numelOf(shape.slice(0, dim)),
    n: shape[dim] ?? 1,
    inner: numelOf(shape.slice(dim + 1)),
  }
}

/** The broadcast shape. @throws RangeError */
export function broadcastShapes(fn: string, a: Shape, b: Shape): number[] {
  const dims = Math.max(a.length, b.length)
  const out = new Array<number>(dims)
  for (let d = 0; d < dims; d++) {
    const x = a[a.length - dims + d] ?? 1
    const y = b[b.length - dims + d] ?? 1
    if (x !== y && x !== 1 && y !== 1) {
      const got = `${formatShape(a)} and ${formatShape(b)}`
      throw rangeError(fn, 'shapes', 'shapes that broadcast together', got)
    }
    out[d] = x === 1 ? y : x
  }
  checkShape(fn, out)
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

// ---- Values without history ----------------------------------------------------------------------

/** The sum over the dimensions that `reduced` marks, which become 1, times `scale`; a new tensor. */
export function sumValues(x: Tensor, reduced: readonly boolean[], scale = 1): Tensor {
  const shape = [...x.shape]
  let out: Tensor | null = null
  // Neighbours that are reduced together are one call; the last ones first, as they shrink most.
  for (let end = shape.length; end > 0; end--) {
    if (!reduced[end - 1]) continue
    let begin = end - 1
    while (begin > 0 && reduced[begin - 1]) begin--
    const outer = numelOf(shape.slice(0, begin))
    const n = numelOf(shape.slice(begin, end))
    const inner = numelOf(shape.slice(end))
    shape.fill(1, begin, end)
    const before: Tensor = out ?? x
    // In the last call: a mean of nothing is 0 · ∞ there, and in an earlier one nothing at all.
    const factor = reduced.indexOf(true) >= begin ? scale : 1
    const sum = Tensor.wrap(
      binding.sum(before.buffer, outer, n, inner, factor),
      shape,
      x.device,
      x.dtype,
    )
    out?.[Symbol.dispose]()
    out = sum
    end = begin + 1
  }
  return out ?? Tensor.wrap(binding.clone(x.buffer), shape, x.device, x.dtype)
}

/**
 * The sum of a gradient over the dimensions in which a tensor of `shape` was broadcast; the gradient
 * itself when it was not.
 */
export function sumTo(gradient: Tensor, shape: Shape): Tensor {
  if (sameShape(gradient.shape, shape)) return gradient
  const extra = gradient.shape.length - shape.length
  const reduced = gradient.shape.map(
    (size, d) => d < extra || (shape[d - extra] === 1 && size !== 1),
  )
  return relabel(sumValues(gradient, reduced), shape)
}

/** As sumTo, for a temporary, which is freed unless it is the result. */
export function sumTemporaryTo(gradient: Tensor, shape: Shape): Tensor {
  const out = sumTo(gradient, shape)
  if (out !== gradient) gradient[Symbol.dispose]()
  return out
}

/** A new tensor's memory under another shape of as many elements; the old handle is given up. */
export function relabel(x: Tensor, shape: Shape): Tensor {
  if (sameShape(x.shape, shape)) return x
  const out = Tensor.wrap(binding.view(x.buffer, 0, x.numel), shape, x.device, x.dtype)
  x[Symbol.dispose]()
  return out
}

/** A tensor repeated to a larger shape; a new tensor. */
export function expandValues(x: Tensor, shape: Shape): Tensor {
  const strides = broadcastStrides(x.shape, shape)
  return Tensor.wrap(binding.copyStrided(x.buffer, shape, strides, 0), shape, x.device, x.dtype)
}

/** The values as another type; a new tensor. */
export function castValues(x: Tensor, dtype: DType): Tensor {
  return Tensor.wrap(binding.cast(x.buffer, DTypeCode[dtype]), x.shape, x.device, dtype)
}

/** Negative numbers count from the end. Those beyond it stay what they are. */
export function fromFront(index: Tensor, size: number): Tensor {
  const negative = index.lt(0).logicalAnd(index.ge(-size))
  return index.add(size).where(negative, index)
}
