/** What the losses of pairs of numbers share: one fused pass forward, one backward. */
import { record, willRecord } from '../autograd.js'
import { BinaryOp, binding, Reduction } from '../binding.js'
import { checkSameDevice, deviceNumber } from '../device.js'
import { formatShape, rangeError } from '../errors.js'
import { sameShape } from '../shape.js'
import { type Shape, Tensor } from '../tensor.js'
import { broadcastStrides, checkFloat } from './common.js'
import { checkReduction } from './loss.js'
import { pairLossAgain } from './loss_again.js'

/** A tensor of weights at the input's shape, as a new handle. */
export function expanded(
  fn: string,
  name: string,
  weight: Tensor | null,
  shape: Shape,
): Tensor | null {
  if (weight === null) return null
  checkFloat(fn, name, weight)
  if (weight.requiresGrad) {
    throw new TypeError(`[${fn}] ${name}: expected a tensor that requires no gradient`)
  }
  const offset = shape.length - weight.shape.length
  if (offset < 0 || weight.shape.some((size, d) => size !== 1 && size !== shape[offset + d])) {
    throw rangeError(
      fn,
      name,
      `a shape that broadcasts to ${formatShape(shape)}`,
      formatShape(weight.shape),
    )
  }
  if (sameShape(weight.shape, shape)) return weight.viewAs(shape)
  const zero = binding.fill(1, 0, deviceNumber(weight.device))
  const strides = broadcastStrides(weight.shape, shape)
  const full = binding.binary(
    BinaryOp.add,
    weight.buffer,
    zero,
    shape,
    strides,
    shape.map(() => 0),
  )
  binding.release(zero)
  return Tensor.wrap(full, shape, weight.device)
}

/** Tensors of the input's shape, and the formula's number; see native/ops/pair_losses.h. */
export interface PairExtra {
  weight?: Tensor | null
  posWeight?: Tensor | null
  option?: number
}

export function pairLoss(
  fn: string,
  kind: number,
  input: Tensor,
  target: Tensor,
  reductionOption: unknown,
  extra: PairExtra = {},
): Tensor {
  const { weight = null, posWeight = null, option = 0 } = extra
  checkFloat(fn, 'input', input)
  checkFloat(fn, 'target', target)
  const { shape, numel } = input
  if (!sameShape(shape, target.shape)) {
    throw rangeError(
      fn,
      'target',
      `the input's shape ${formatShape(shape)}`,
      formatShape(target.shape),
    )
  }
  checkSameDevice(fn, 'target', target, input.device)
  checkSameDevice(fn, 'weight', weight, input.device)
  checkSameDevice(fn, 'posWeight', posWeight, input.device)
  const reduction = checkReduction(fn, reductionOption)
  const code = Reduction[reduction]
  const weights = [weight, posWeight].filter((tensor) => tensor !== null)
  const out = Tensor.wrap(
    binding.pairLoss(
      kind,
      option,
      code,
      numel,
      input.buffer,
      target.buffer,
      weight?.buffer ?? null,
      posWeight?.buffer ?? null,
    ),
    reduction === 'none' ? shape : [],
    input.device,
  )
  if (!willRecord([input, target])) {
    for (const tensor of weights) tensor[Symbol.dispose]()
    return out
  }
  const x = input.share()
  const t = target.share()
  record(
    fn,
    [input, target],
    [out],
    ([g], node) => {
      const gradients = binding.pairLossBackward(
        kind,
        option,
        code,
        numel,
        x.buffer,
        t.buffer,
        weight?.buffer ?? null,
        posWeight?.buffer ?? null,
        (g as Tensor).buffer,
        node.needs(0),
        node.needs(1),
      )
      return gradients.map(
        (gradient) => gradient && Tensor.wrap(gradient, shape, (g as Tensor).device),
      )
    },
    [x, t, ...weights],
    'values',
    ([g], node) => {
      const { device } = g as Tensor
      const pair = [node.input(0, x, shape, device), node.input(1, t, shape, device)] as const
      const needs = [node.needs(0), node.needs(1)] as const
      const mean = reduction === 'mean'
      return pairLossAgain(kind, mean, g as Tensor, pair, [weight, posWeight], needs, option)
    },
  )
  return out
}
