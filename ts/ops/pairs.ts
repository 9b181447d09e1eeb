/** Functions of two elements with NumPy broadcasting: values, without history, of one type. */
import { BinaryOp, binding } from '../binding.js'
import { sameShape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { broadcastShapes, broadcastStrides } from './common.js'

export type PairName = keyof typeof BinaryOp

/** @param fn the public function that messages name */
export function pairValues(op: PairName, a: Tensor, b: Tensor, fn: string = op): Tensor {
  const code = BinaryOp[op]
  const dtype = code >= BinaryOp.eq ? 'bool' : a.dtype
  if (sameShape(a.shape, b.shape)) {
    return Tensor.wrap(
      binding.binary(code, a.buffer, b.buffer, [a.numel], [1], [1]),
      a.shape,
      a.device,
      dtype,
    )
  }
  const shape = broadcastShapes(fn, a.shape, b.shape)
  const aStrides = broadcastStrides(a.shape, shape)
  const bStrides = broadcastStrides(b.shape, shape)
  return Tensor.wrap(
    binding.binary(code, a.buffer, b.buffer, shape, aStrides, bStrides),
    shape,
    a.device,
    dtype,
  )
}

/** With a number on the right. */
export function numberValues(op: PairName, a: Tensor, value: number): Tensor {
  const code = BinaryOp[op]
  return Tensor.wrap(
    binding.binaryNumber(code, a.buffer, value),
    a.shape,
    a.device,
    code >= BinaryOp.eq ? 'bool' : a.dtype,
  )
}
