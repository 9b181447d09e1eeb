/** The activations of ONNX's LSTM, GRU and RNN by their names. */
import { describe } from '../errors.js'
import * as F from '../nn/functional.js'
import { where } from '../ops/where.js'
import type { Tensor } from '../tensor.js'

export type Activation = (x: Tensor) => Tensor

/** What is known of one: the defaults of alpha and beta, null for one that it has not. */
interface Kind {
  alpha: number | null
  beta: number | null
  make(alpha: number, beta: number): Activation
}

const kind = (
  alpha: number | null,
  beta: number | null,
  make: (alpha: number, beta: number) => Activation,
): Kind => ({ alpha, beta, make })

const KINDS: Record<string, Kind> = {
  Relu: kind(null, null, () => F.relu),
  Tanh: kind(null, null, () => F.tanh),
  Sigmoid: kind(null, null, () => F.sigmoid),
  Softsign: kind(null, null, () => (x) => x.div(x.abs().add(1))),
  Softplus: kind(null, null, () => (x) => F.softplus(x)),
  Affine: kind(1, 0, (alpha, beta) => (x) => x.mul(alpha).add(beta)),
  ScaledTanh: kind(1, 1, (alpha, beta) => (x) => x.mul(beta).tanh().mul(alpha)),
  HardSigmoid: kind(
    0.2,
    0.5,
    (alpha, beta) => (x) => F.hardtanh(x.mul(alpha).add(beta), { minVal: 0, maxVal: 1 }),
  ),
  LeakyRelu: kind(0.01, null, (alpha) => (x) => F.leakyRelu(x, { negativeSlope: alpha })),
  ThresholdedRelu: kind(1, null, (alpha) => (x) => where(x.gt(alpha), x, 0)),
  Elu: kind(1, null, (alpha) => (x) => F.elu(x, { alpha })),
}

/** As the files have them, in any case. */
const BY_NAME = new Map(Object.entries(KINDS).map(([name, one]) => [name.toLowerCase(), one]))

/**
 * Activations in order. Those that have an alpha or a beta take the next of the lists, while there
 * are any.
 * @param refuse throws for a name that is not known
 */
export function activationsOf(
  names: readonly string[],
  alphas: readonly number[],
  betas: readonly number[],
  refuse: (what: string) => never,
): Activation[] {
  const [a, b] = [[...alphas], [...betas]]
  const made = names.map((name) => {
    const found = BY_NAME.get(name.toLowerCase())
    if (found === undefined)
      return refuse(
        `attribute 'activations': ${describe(name)} is not known; known: ${Object.keys(KINDS).join(', ')}`,
      )
    const alpha = found.alpha === null ? 0 : (a.shift() ?? found.alpha)
    const beta = found.beta === null ? 0 : (b.shift() ?? found.beta)
    return found.make(alpha, beta)
  })
  if (a.length + b.length > 0)
    refuse("attributes 'activation_alpha' and 'activation_beta' have more numbers than are used")
  return made
}
