/** Modules that change shapes, or nothing. */
import { checkInteger, formatShape, rangeError } from '../errors.js'
import { checkTensor } from '../ops/common.js'
import { numelOf } from '../shape.js'
import type { Tensor } from '../tensor.js'
import { Module } from './module.js'

/** Gives its input back; as `torch.nn.Identity`, but without arguments. */
export class Identity extends Module {
  override forward<T>(input: T): T {
    return input
  }
}

/** Dimensions startDim … endDim as one; as `torch.nn.Flatten`. */
export class Flatten extends Module {
  readonly startDim: number
  readonly endDim: number

  /** @throws TypeError, RangeError */
  constructor(startDim = 1, endDim = -1) {
    super()
    this.startDim = checkInteger('Flatten', 'startDim', startDim, -8, 7)
    this.endDim = checkInteger('Flatten', 'endDim', endDim, -8, 7)
  }

  /** @throws TypeError, RangeError */
  override forward(input: Tensor): Tensor {
    const { shape } = checkTensor('Flatten', 'input', input)
    const rank = shape.length
    const [start, end] = [this.startDim, this.endDim].map((dim) =>
      dim < 0 ? dim + rank : dim,
    ) as [number, number]
    if (start < 0 || end >= rank || start > end)
      throw rangeError(
        'Flatten',
        'input',
        `dimensions ${this.startDim} to ${this.endDim}`,
        formatShape(shape),
      )
    const middle = numelOf(shape.slice(start, end + 1))
    return input.reshape([...shape.slice(0, start), middle, ...shape.slice(end + 1)])
  }

  override extraRepr(): string {
    return `startDim=${this.startDim}, endDim=${this.endDim}`
  }
}
