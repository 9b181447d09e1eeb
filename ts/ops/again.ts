/**
 * What backward functions are made of where gradients are differentiated in turn (`createGraph`):
 * operations that are recorded themselves.
 */
import type { Backward } from '../autograd.js'
import { binding, type UnaryOp } from '../binding.js'
import { deviceNumber } from '../device.js'
import { numelOf, type Shape, sameShape } from '../shape.js'
import { Tensor } from '../tensor.js'

/** The sum of a gradient over the dimensions in which a tensor of `shape` was broadcast. */
export function sumLike(gradient: Tensor, shape: Shape): Tensor {
  if (sameShape(gradient.shape, shape)) return gradient
  const extra = gradient.shape.length - shape.length
  const dims = [...gradient.shape.keys()].filter(
    (d) => d < extra || (shape[d - extra] === 1 && gradient.shape[d] !== 1),
  )
  const sum = dims.length === 0 ? gradient : gradient.sum(dims, { keepdim: true })
  return sum.reshape(shape)
}

/** A tensor of one value, without history. */
export function filled(shape: Shape, value: number, device: string): Tensor {
  return Tensor.wrap(binding.fill(numelOf(shape), value, deviceNumber(device)), shape, device)
}

/**
 * The backward of an operation whose gradient is its outputs' times something that does not depend on
 * the inputs: a mask, a sign, a scale.
 * @param raw the backward itself, of one input
 */
export function linearly(raw: Backward): Backward {
  return ([g], node) => {
    const dy = g as Tensor
    const [factor] = raw([filled(dy.shape, 1, dy.device)], node)
    return [dy.mul(factor as Tensor)]
  }
}

/** The gradient of x from that of the result; `source` is x or the result, see unary.ts. */
type Derivative = (g: Tensor, source: Tensor, p: number) => Tensor

/** Of the functions of one element. One that is missing has no gradient of its gradient. */
const DERIVATIVES: Partial<Record<keyof typeof UnaryOp, Derivative | 'steps'>> = {
  neg: (g) => g.neg(),
  exp: (g, y) => g.mul(y),
  log: (g, x) => g.div(x),
  sqrt: (g, y) => g.div(y.mul(2)),
  pow: (g, x, p) => (p === 0 ? g.mul(0) : g.mul(x.pow(p - 1).mul(p))),
  tanh: (g, y) => g.mul(y.mul(y).neg().add(1)),
  sigmoid: (g, y) => g.mul(y.mul(y.neg().add(1))),
  abs: 'steps',
  relu: 'steps',
  clamp: 'steps',
}

/**
 * The differentiable backward of a function of one element, or null.
 * @param source what the derivative is made of: the input or the output
 */
export function unaryAgain(
  op: keyof typeof UnaryOp,
  raw: Backward,
  source: 'input' | 'output',
  saved: Parameters<Parameters<Backward>[1]['input']>[1] | null,
  shape: Shape,
  p: number,
): Backward | null {
  const derivative = DERIVATIVES[op]
  if (derivative === undefined) return null
  if (derivative === 'steps') return linearly(raw)
  return ([g], node) => {
    const dy = g as Tensor
    if (saved === null) return [derivative(dy, dy, p)]
    return [derivative(dy, node[source](0, saved, shape, dy.device), p)]
  }
}
