/** Activations with options; as in `torch.nn.functional`. All take and give float32, of any shape. */
import { checkNumber, checkOneOf, checkOptions, rangeError } from '../errors.js'
import type { Tensor } from '../tensor.js'
import { checkFloat } from './common.js'
import { unary } from './unary.js'

/** What {@link gelu} takes. */
export interface GELUOptions {
  /** 'none' (default): the normal distribution itself; 'tanh': by a hyperbolic tangent. */
  approximate?: 'none' | 'tanh'
}

/** x Φ(x) with the normal distribution Φ (Hendrycks & Gimpel 2016). @throws TypeError */
export function gelu(input: Tensor, options: GELUOptions = {}): Tensor {
  checkFloat('gelu', 'input', input)
  checkOptions('gelu', options, ['approximate'])
  const form = checkOneOf('gelu', 'approximate', options.approximate ?? 'none', ['none', 'tanh'])
  return unary(form === 'tanh' ? 'geluTanh' : 'gelu', input, 0, 0, 0, 'gelu')
}

/** x sigmoid(x), also known as swish. @throws TypeError */
export function silu(input: Tensor): Tensor {
  return unary('silu', checkFloat('silu', 'input', input))
}

/** What {@link softplus} takes. */
export interface SoftplusOptions {
  /** Default 1. */
  beta?: number
  /** Where beta · x is above it, the result is x. Default 20. */
  threshold?: number
}

/** log(1 + exp(beta x)) / beta. @throws TypeError, RangeError for a beta of 0 */
export function softplus(input: Tensor, options: SoftplusOptions = {}): Tensor {
  checkFloat('softplus', 'input', input)
  checkOptions('softplus', options, ['beta', 'threshold'])
  const beta = checkNumber('softplus', 'beta', options.beta ?? 1)
  if (beta === 0) throw rangeError('softplus', 'beta', 'a number other than 0', '0')
  return unary(
    'softplus',
    input,
    beta,
    checkNumber('softplus', 'threshold', options.threshold ?? 20),
  )
}

/** What {@link leakyRelu} takes. */
export interface LeakyReluOptions {
  /** Slope below 0. Default 0.01. */
  negativeSlope?: number
}

/** x, times a slope where it is below 0. @throws TypeError */
export function leakyRelu(input: Tensor, options: LeakyReluOptions = {}): Tensor {
  checkFloat('leakyRelu', 'input', input)
  checkOptions('leakyRelu', options, ['negativeSlope'])
  return unary(
    'leakyRelu',
    input,
    checkNumber('leakyRelu', 'negativeSlope', options.negativeSlope ?? 0.01),
  )
}

/** What {@link elu} takes. */
export interface ELUOptions {
  /** What it comes to far below 0, negated. Default 1. */
  alpha?: number
}

/** x, or alpha (exp(x) − 1) where x is below 0 (Clevert et al. 2015). @throws TypeError */
export function elu(input: Tensor, options: ELUOptions = {}): Tensor {
  checkFloat('elu', 'input', input)
  checkOptions('elu', options, ['alpha'])
  return unary('elu', input, checkNumber('elu', 'alpha', options.alpha ?? 1))
}

/** log(sigmoid(x)), without its loss of precision. @throws TypeError */
export function logSigmoid(input: Tensor): Tensor {
  return unary('logSigmoid', checkFloat('logSigmoid', 'input', input))
}

/** What {@link hardtanh} takes. */
export interface HardtanhOptions {
  /** Default -1. */
  minVal?: number
  /** Default 1. */
  maxVal?: number
}

/** Into [minVal, maxVal]; no gradient at the ends. @throws TypeError, RangeError */
export function hardtanh(input: Tensor, options: HardtanhOptions = {}): Tensor {
  checkFloat('hardtanh', 'input', input)
  checkOptions('hardtanh', options, ['minVal', 'maxVal'])
  const low = checkNumber('hardtanh', 'minVal', options.minVal ?? -1)
  return unary('hardtanh', input, low, checkNumber('hardtanh', 'maxVal', options.maxVal ?? 1, low))
}

/** Into [0, 6]; no gradient at the ends. @throws TypeError */
export function relu6(input: Tensor): Tensor {
  return unary('hardtanh', checkFloat('relu6', 'input', input), 0, 6, 0, 'relu6')
}

/** x tanh(softplus(x)) (Misra 2019). @throws TypeError */
export function mish(input: Tensor): Tensor {
  return unary('mish', checkFloat('mish', 'input', input))
}
