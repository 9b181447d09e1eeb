/** Activations as modules. */
import { checkInteger, checkNumber, checkOneOf, checkOptions, rangeError } from '../errors.js'
import {
  type ELUOptions,
  elu,
  type GELUOptions,
  gelu,
  type LeakyReluOptions,
  leakyRelu,
  logSigmoid,
  type SoftplusOptions,
  silu,
  softplus,
} from '../ops/activation.js'
import { checkFloat, checkTensor } from '../ops/common.js'
import { logSoftmax, softmax } from '../ops/softmax.js'
import * as unary from '../ops/unary.js'
import type { Tensor } from '../tensor.js'
import { Module } from './module.js'

/** max(x, 0); as `torch.nn.ReLU`. */
export class ReLU extends Module {
  /** Any shape. @throws TypeError */
  override forward(input: Tensor): Tensor {
    return unary.relu(checkTensor('ReLU', 'input', input))
  }
}

/** The hyperbolic tangent; as `torch.nn.Tanh`. */
export class Tanh extends Module {
  /** Any shape. @throws TypeError */
  override forward(input: Tensor): Tensor {
    return unary.tanh(checkTensor('Tanh', 'input', input))
  }
}

/** 1 / (1 + exp(−x)); as `torch.nn.Sigmoid`. */
export class Sigmoid extends Module {
  /** Any shape. @throws TypeError */
  override forward(input: Tensor): Tensor {
    return unary.sigmoid(checkTensor('Sigmoid', 'input', input))
  }
}

/** A softmax along a dimension, which has to be given; as `torch.nn.Softmax`. */
export class Softmax extends Module {
  readonly dim: number

  /** @throws TypeError, RangeError */
  constructor(dim: number) {
    super()
    this.dim = checkInteger('Softmax', 'dim', dim, -8, 7)
  }

  /** Any shape. @throws TypeError, RangeError */
  override forward(input: Tensor): Tensor {
    return softmax(checkTensor('Softmax', 'input', input), this.dim)
  }

  override extraRepr(): string {
    return `dim=${this.dim}`
  }
}

/** The logarithm of a softmax along a dimension, which has to be given; as `torch.nn.LogSoftmax`. */
export class LogSoftmax extends Module {
  readonly dim: number

  /** @throws TypeError, RangeError */
  constructor(dim: number) {
    super()
    this.dim = checkInteger('LogSoftmax', 'dim', dim, -8, 7)
  }

  /** Any shape. @throws TypeError, RangeError */
  override forward(input: Tensor): Tensor {
    return logSoftmax(checkTensor('LogSoftmax', 'input', input), this.dim)
  }

  override extraRepr(): string {
    return `dim=${this.dim}`
  }
}

/** x Φ(x) with the normal distribution Φ, or its approximation; as `torch.nn.GELU`. */
export class GELU extends Module {
  readonly approximate: 'none' | 'tanh'

  /** @throws TypeError, RangeError */
  constructor(options: GELUOptions = {}) {
    super()
    checkOptions('GELU', options, ['approximate'])
    const { approximate = 'none' } = options
    this.approximate = checkOneOf('GELU', 'approximate', approximate, ['none', 'tanh'])
  }

  /** Any shape. @throws TypeError */
  override forward(input: Tensor): Tensor {
    return gelu(checkFloat('GELU', 'input', input), { approximate: this.approximate })
  }

  override extraRepr(): string {
    return `approximate='${this.approximate}'`
  }
}

/** x sigmoid(x), also known as swish; as `torch.nn.SiLU`. */
export class SiLU extends Module {
  /** Any shape. @throws TypeError */
  override forward(input: Tensor): Tensor {
    return silu(checkFloat('SiLU', 'input', input))
  }
}

/** x, or alpha (exp(x) − 1) where x is below 0; as `torch.nn.ELU`. */
export class ELU extends Module {
  readonly alpha: number

  /** @throws TypeError, RangeError */
  constructor(options: ELUOptions = {}) {
    super()
    checkOptions('ELU', options, ['alpha'])
    this.alpha = checkNumber('ELU', 'alpha', options.alpha ?? 1)
  }

  /** Any shape. @throws TypeError */
  override forward(input: Tensor): Tensor {
    return elu(checkFloat('ELU', 'input', input), { alpha: this.alpha })
  }

  override extraRepr(): string {
    return `alpha=${this.alpha}`
  }
}

/** x, times a slope where it is below 0; as `torch.nn.LeakyReLU`. */
export class LeakyReLU extends Module {
  readonly negativeSlope: number

  /** @throws TypeError, RangeError */
  constructor(options: LeakyReluOptions = {}) {
    super()
    checkOptions('LeakyReLU', options, ['negativeSlope'])
    this.negativeSlope = checkNumber('LeakyReLU', 'negativeSlope', options.negativeSlope ?? 0.01)
  }

  /** Any shape. @throws TypeError */
  override forward(input: Tensor): Tensor {
    return leakyRelu(checkFloat('LeakyReLU', 'input', input), { negativeSlope: this.negativeSlope })
  }

  override extraRepr(): string {
    return `negativeSlope=${this.negativeSlope}`
  }
}

/** log(1 + exp(beta x)) / beta; as `torch.nn.Softplus`. */
export class Softplus extends Module {
  readonly beta: number
  readonly threshold: number

  /** @throws TypeError, RangeError, also for a beta of 0 */
  constructor(options: SoftplusOptions = {}) {
    super()
    checkOptions('Softplus', options, ['beta', 'threshold'])
    this.beta = checkNumber('Softplus', 'beta', options.beta ?? 1)
    if (this.beta === 0) throw rangeError('Softplus', 'beta', 'a number other than 0', '0')
    this.threshold = checkNumber('Softplus', 'threshold', options.threshold ?? 20)
  }

  /** Any shape. @throws TypeError */
  override forward(input: Tensor): Tensor {
    const { beta, threshold } = this
    return softplus(checkFloat('Softplus', 'input', input), { beta, threshold })
  }

  override extraRepr(): string {
    return `beta=${this.beta}, threshold=${this.threshold}`
  }
}

/** log(sigmoid(x)); as `torch.nn.LogSigmoid`. */
export class LogSigmoid extends Module {
  /** Any shape. @throws TypeError */
  override forward(input: Tensor): Tensor {
    return logSigmoid(checkFloat('LogSigmoid', 'input', input))
  }
}
