/** Activations as modules. */
import { checkInteger } from '../errors.js'
import { checkTensor } from '../ops/common.js'
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
