import { checkNumber } from '../errors.js'
import { dropout } from '../ops/random.js'
import type { Tensor } from '../tensor.js'
import { Module } from './module.js'

/** Zeroes elements with probability p in training, scaling the others; as `torch.nn.Dropout`. */
export class Dropout extends Module {
  /** May be changed between calls. */
  p: number

  /** @param p in [0, 1] @throws TypeError, RangeError */
  constructor(p = 0.5) {
    super()
    this.p = checkNumber('Dropout', 'p', p, 0, 1)
  }

  /** Any shape; in evaluation mode the input itself. */
  override forward(x: Tensor): Tensor {
    return dropout(x, { p: this.p, training: this.training })
  }

  override extraRepr(): string {
    return `p=${this.p}`
  }
}
