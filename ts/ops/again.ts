/**
 * What backward functions are made of where gradients are differentiated in turn (`createGraph`):
 * operations that are recorded themselves.
 */
import type { Backward } from '../autograd.js'
import { binding, type UnaryOp } from '../binding.js'
import { deviceNumber } from '../device.js'
import { numelOf, type Shape, sameShape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { unary } from './unary.js'

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
  sin: (g, x) => g.mul(x.cos()),
  cos: (g, x) => g.mul(x.sin().neg()),
  tan: (g, y) => g.mul(y.square().add(1)),
  asin: (g, x) => g.div(x.square().neg().add(1).sqrt()),
  acos: (g, x) => g.neg().div(x.square().neg().add(1).sqrt()),
  atan: (g, x) => g.div(x.square().add(1)),
  sinh: (g, x) => g.mul(x.cosh()),
  cosh: (g, x) => g.mul(x.sinh()),
  erf: (g, x) =>
    g.mul(
      x
        .square()
        .neg()
        .exp()
        .mul(2 / Math.sqrt(Math.PI)),
    ),
  log1p: (g, x) => g.div(x.add(1)),
  expm1: (g, y) => g.mul(y.add(1)),
  log2: (g, x) => g.div(x.mul(Math.LN2)),
  log10: (g, x) => g.div(x.mul(Math.LN10)),
  exp2: (g, y) => g.mul(y.mul(Math.LN2)),
  rsqrt: (g, y) => g.mul(y.mul(y).mul(y).mul(-0.5)),
  reciprocal: (g, y) => g.mul(y.square().neg()),
  square: (g, x) => g.mul(x.mul(2)),
  softplus: (g, x, p) => g.mul(x.mul(p).sigmoid()),
  logSigmoid: (g, x) => g.mul(x.neg().sigmoid()),
  elu: (g, x, p) => g.mul(x.clamp(null, 0).exp().mul(p).where(x.le(0), 1)),
  silu: (g, x) => {
    const s = x.sigmoid()
    return g.mul(s.mul(x.mul(s.neg().add(1)).add(1)))
  },
  gelu: (g, x) => {
    const cdf = x.mul(Math.SQRT1_2).erf().add(1).mul(0.5)
    const density = x
      .square()
      .mul(-0.5)
      .exp()
      .div(Math.sqrt(2 * Math.PI))
    return g.mul(cdf.add(x.mul(density)))
  },
  geluTanh: (g, x) => {
    const scale = Math.sqrt(2 / Math.PI)
    const t = x.mul(x.square().mul(0.044715).add(1)).mul(scale).tanh()
    const slope = x
      .square()
      .mul(3 * 0.044715)
      .add(1)
      .mul(scale)
    const bent = x.mul(t.square().neg().add(1)).mul(slope)
    return g.mul(t.add(1).add(bent).mul(0.5))
  },
  mish: (g, x) => {
    const t = unary('softplus', x, 1, 20).tanh()
    return g.mul(t.add(x.mul(t.square().neg().add(1)).mul(x.sigmoid())))
  },
  sign: 'steps',
  round: 'steps',
  floor: 'steps',
  ceil: 'steps',
  trunc: 'steps',
  leakyRelu: 'steps',
  hardtanh: 'steps',
  nanToNum: 'steps',
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
