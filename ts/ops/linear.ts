/** The product of a linear layer. */
import { record, willRecord } from '../autograd.js'
import { binding } from '../binding.js'
import { checkSameDevice } from '../device.js'
import { formatShape, rangeError } from '../errors.js'
import { checkShape, numelOf } from '../shape.js'
import { Tensor } from '../tensor.js'
import { checkFloat } from './common.js'

/**
 * x · weightᵀ + bias; as `torch.nn.functional.linear`.
 * @param x `[…, I]`
 * @param weight `[O, I]`
 * @param bias `[O]`, or null
 * @returns `[…, O]`
 * @throws TypeError for anything but float32 tensors; RangeError when the shapes do not fit
 */
export function linear(x: Tensor, weight: Tensor, bias: Tensor | null = null): Tensor {
  checkFloat('linear', 'x', x)
  checkFloat('linear', 'weight', weight)
  if (bias !== null) checkFloat('linear', 'bias', bias)
  checkSameDevice('linear', 'weight', weight, x.device)
  checkSameDevice('linear', 'bias', bias, x.device)
  if (weight.shape.length !== 2)
    throw rangeError('linear', 'weight', 'shape (O, I)', formatShape(weight.shape))
  const [outputs, inputs] = weight.shape as readonly [number, number]
  if (x.shape.length === 0 || x.shape.at(-1) !== inputs) {
    throw rangeError(
      'linear',
      'x',
      `shape (…, ${inputs}) for a weight of shape ${formatShape(weight.shape)}`,
      formatShape(x.shape),
    )
  }
  if (bias !== null && (bias.shape.length !== 1 || bias.shape[0] !== outputs)) {
    throw rangeError('linear', 'bias', `shape (${outputs},)`, formatShape(bias.shape))
  }
  const m = numelOf(x.shape.slice(0, -1))
  const outShape = checkShape('linear', [...x.shape.slice(0, -1), outputs])
  const recorded = willRecord([x, weight, bias])
  const out = Tensor.wrap(
    binding.linear(x.buffer, weight.buffer, bias?.buffer ?? null, m, inputs, outputs, !recorded),
    outShape,
    x.device,
  )
  if (!recorded) return out
  const { shape } = x
  const savedX = weight.requiresGrad ? x.share() : null
  const savedWeight = x.requiresGrad ? weight.share() : null
  record(
    'linear',
    [x, weight, bias],
    [out],
    ([g], node) => {
      const dy = g as Tensor
      const [dx, dw, db] = binding.linearBackward(
        dy.buffer,
        savedX?.buffer ?? null,
        savedWeight?.buffer ?? null,
        m,
        inputs,
        outputs,
        node.needs(2),
      )
      return [
        dx && Tensor.wrap(dx, shape, dy.device),
        dw && Tensor.wrap(dw, [outputs, inputs], dy.device),
        db && Tensor.wrap(db, [outputs], dy.device),
      ]
    },
    [savedX, savedWeight].filter((t) => t !== null),
    'deferred',
    ([g], node) => {
      const dy = (g as Tensor).reshape([m, outputs])
      const { device } = dy
      const dx =
        node.needs(0) && savedWeight
          ? dy.matmul(node.input(1, savedWeight, [outputs, inputs], device)).reshape(shape)
          : null
      const dw =
        node.needs(1) && savedX
          ? dy.t().matmul(node.input(0, savedX, shape, device).reshape([m, inputs]))
          : null
      return [dx, dw, node.needs(2) ? dy.sum(0) : null]
    },
  )
  return out
}
