/** The activations of Keras and TensorFlow.js by their names. */
import { describe } from '../../errors.js'
import * as F from '../../nn/functional.js'
import { where } from '../../ops/where.js'
import type { Tensor } from '../../tensor.js'

export type Activation = (x: Tensor) => Tensor

/** The first hard sigmoid is that of Keras before version 3, and of TensorFlow.js. */
const HARD = { old: 1 / 5, new: 1 / 6 }
const SELU = { scale: 1.0507009873554805, alpha: 1.6732632423543772 }

const ACTIVATIONS: Record<string, Activation> = {
  linear: (x) => x,
  relu: F.relu,
  relu6: (x) => F.relu6(x),
  sigmoid: F.sigmoid,
  tanh: F.tanh,
  softmax: (x) => x.softmax(-1),
  log_softmax: (x) => x.logSoftmax(-1),
  elu: (x) => F.elu(x),
  selu: (x) => where(x.gt(0), x, F.elu(x, { alpha: SELU.alpha })).mul(SELU.scale),
  softplus: (x) => F.softplus(x),
  softsign: (x) => x.div(x.abs().add(1)),
  silu: (x) => F.silu(x),
  swish: (x) => F.silu(x),
  gelu: (x) => F.gelu(x),
  mish: (x) => F.mish(x),
  exponential: (x) => x.exp(),
  leaky_relu: (x) => F.leakyRelu(x, { negativeSlope: 0.2 }),
}

/**
 * @param old whether the file is of Keras before version 3, or of TensorFlow.js
 * @throws Error that names what is not known
 */
export function activationOf(value: unknown, old: boolean): Activation {
  if (value === null || value === undefined) return ACTIVATIONS.linear as Activation
  const name = nameOf(value)
  if (name === 'hard_sigmoid') {
    const slope = old ? HARD.old : HARD.new
    return (x) => F.hardtanh(x.mul(slope).add(0.5), { minVal: 0, maxVal: 1 })
  }
  const found = Object.hasOwn(ACTIVATIONS, name) ? ACTIVATIONS[name] : undefined
  if (found !== undefined) return found
  const known = [...Object.keys(ACTIVATIONS), 'hard_sigmoid'].join(', ')
  throw new Error(`its activation is ${describe(name)}; known are ${known}`)
}

/** 'hardSigmoid' and { class_name: 'function', config: 'hard_sigmoid' } as 'hard_sigmoid'. */
export function nameOf(value: unknown): string {
  if (typeof value === 'string') return value.replace(/([a-z])([A-Z])/g, '$1_$2').toLowerCase()
  const { config, class_name: type } = Object(value) as { config?: unknown; class_name?: unknown }
  if (typeof config === 'string') return nameOf(config)
  return typeof type === 'string' ? type : String(value)
}
