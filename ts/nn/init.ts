/**
 * Initial values, drawn in place and seeded by `manualSeed`; as `torch.nn.init`. Every function
 * returns its tensor and adds nothing to the gradient tape.
 */
import { binding, RandomKind } from '../binding.js'
import { deviceNumber } from '../device.js'
import {
  checkNumber,
  checkOneOf,
  checkOptions,
  describe,
  formatShape,
  rangeError,
} from '../errors.js'
import { checkFloat } from '../ops/common.js'
import { fillInto, randomInto } from '../ops/in_place.js'
import { nextRandom } from '../random.js'
import { numelOf, type Shape, Tensor } from '../tensor.js'
import { Parameter } from './parameter.js'

export { dirac, eye, orthogonal, sparse, truncNormal } from './init_matrix.js'

function draw(fn: string, tensor: Tensor, kind: number, a: number, b: number): Tensor {
  randomInto(fn, tensor, kind, a, b, nextRandom())
  return tensor
}

/** Uniform in [a, b); as `init.uniform_`. */
export function uniform(tensor: Tensor, a = 0, b = 1): Tensor {
  checkFloat('uniform', 'tensor', tensor)
  checkNumber('uniform', 'a', a)
  return draw('uniform', tensor, RandomKind.uniform, a, checkNumber('uniform', 'b', b, a))
}

/** Normal; as `init.normal_`. */
export function normal(tensor: Tensor, mean = 0, std = 1): Tensor {
  checkFloat('normal', 'tensor', tensor)
  checkNumber('normal', 'mean', mean)
  return draw('normal', tensor, RandomKind.normal, mean, checkNumber('normal', 'std', std, 0))
}

/** One value everywhere; as `init.constant_`. */
export function constant(tensor: Tensor, value: number): Tensor {
  checkFloat('constant', 'tensor', tensor)
  if (typeof value !== 'number')
    throw new TypeError(`[constant] value: expected a number, got ${describe(value)}`)
  fillInto('constant', tensor, value)
  return tensor
}

/** As `init.zeros_`. */
export function zeros(tensor: Tensor): Tensor {
  return constant(tensor, 0)
}

/** As `init.ones_`. */
export function ones(tensor: Tensor): Tensor {
  return constant(tensor, 1)
}

/** Inputs and outputs of one unit of a weight `[out, in, …]`. */
function fans(fn: string, tensor: Tensor): { fanIn: number; fanOut: number } {
  checkFloat(fn, 'tensor', tensor)
  const { shape } = tensor
  if (shape.length < 2)
    throw rangeError(fn, 'tensor', 'at least two dimensions', formatShape(shape))
  const field = numelOf(shape.slice(2))
  return { fanIn: (shape[1] as number) * field, fanOut: (shape[0] as number) * field }
}

/** Uniform with variance 2 gain² / (fan in + fan out); as `init.xavier_uniform_`. */
export function xavierUniform(tensor: Tensor, gain = 1): Tensor {
  const { fanIn, fanOut } = fans('xavierUniform', tensor)
  checkNumber('xavierUniform', 'gain', gain, 0)
  const bound = gain * Math.sqrt(6 / (fanIn + fanOut))
  return draw('xavierUniform', tensor, RandomKind.uniform, -bound, bound)
}

/** Normal with variance 2 gain² / (fan in + fan out); as `init.xavier_normal_`. */
export function xavierNormal(tensor: Tensor, gain = 1): Tensor {
  const { fanIn, fanOut } = fans('xavierNormal', tensor)
  checkNumber('xavierNormal', 'gain', gain, 0)
  return draw('xavierNormal', tensor, RandomKind.normal, 0, gain * Math.sqrt(2 / (fanIn + fanOut)))
}

/** What the functions of He et al. 2015 take. */
export interface KaimingOptions {
  /** Negative slope of the leaky ReLU behind. Default 0. */
  a?: number
  /** Whose variance stays: forward's ('fanIn', default) or backward's ('fanOut'). */
  mode?: 'fanIn' | 'fanOut'
  /** What comes behind. Default 'leakyRelu'. */
  nonlinearity?: 'linear' | 'sigmoid' | 'tanh' | 'relu' | 'leakyRelu' | 'selu'
}

/** The factor that a nonlinearity asks of the initial standard deviation; as `init.calculate_gain`. */
export function calculateGain(
  nonlinearity: NonNullable<KaimingOptions['nonlinearity']>,
  slope = 0.01,
): number {
  checkNumber('calculateGain', 'slope', slope)
  const gains = {
    linear: 1,
    sigmoid: 1,
    tanh: 5 / 3,
    relu: Math.SQRT2,
    leakyRelu: Math.sqrt(2 / (1 + slope ** 2)),
    selu: 3 / 4,
  }
  const names = Object.keys(gains) as (keyof typeof gains)[]
  return gains[checkOneOf('calculateGain', 'nonlinearity', nonlinearity, names)]
}

function kaimingStd(fn: string, tensor: Tensor, options: KaimingOptions): number {
  const both = fans(fn, tensor)
  checkOptions(fn, options, ['a', 'mode', 'nonlinearity'])
  const mode = checkOneOf(fn, 'mode', options.mode ?? 'fanIn', ['fanIn', 'fanOut'])
  const slope = checkNumber(fn, 'a', options.a ?? 0)
  const gain = calculateGain(options.nonlinearity ?? 'leakyRelu', slope)
  return gain / Math.sqrt(both[mode])
}

/** Uniform with variance gain² / fan; as `init.kaiming_uniform_`. */
export function kaimingUniform(tensor: Tensor, options: KaimingOptions = {}): Tensor {
  const bound = Math.sqrt(3) * kaimingStd('kaimingUniform', tensor, options)
  return draw('kaimingUniform', tensor, RandomKind.uniform, -bound, bound)
}

/** Normal with variance gain² / fan; as `init.kaiming_normal_`. */
export function kaimingNormal(tensor: Tensor, options: KaimingOptions = {}): Tensor {
  return draw(
    'kaimingNormal',
    tensor,
    RandomKind.normal,
    0,
    kaimingStd('kaimingNormal', tensor, options),
  )
}

/** Internal: a new parameter, uniform in [-bound, bound). */
export function uniformParameter(shape: Shape, bound: number, device: string): Tensor {
  const { seed, counter } = nextRandom()
  const number = deviceNumber(device)
  const n = numelOf(shape)
  const values = binding.random(RandomKind.uniform, n, -bound, bound, seed, counter, number)
  return Parameter(Tensor.wrap(values, shape, device))
}
