/** The weights of one layer, in the order of Keras. */

import { formatShape } from '../../errors.js'
import { tensor } from '../../factories.js'
import type { Module } from '../../nn/module.js'
import type { Tensor } from '../../tensor.js'

/** An array as a file has it. */
export interface Weight {
  name: string
  shape: number[]
  values: Float32Array
}

/** Hands out a layer's weights one after the other. */
export class Weights {
  readonly #list: readonly Weight[]
  #at = 0

  constructor(list: readonly Weight[]) {
    this.#list = list
  }

  /** @param shape what is expected; null: any size. @throws Error unless the next one is so */
  next(what: string, shape: readonly (number | null)[]): Tensor {
    const weight = this.#list[this.#at++]
    if (weight === undefined) throw new Error(`its ${what} is missing`)
    const fits =
      weight.shape.length === shape.length &&
      shape.every((size, i) => size === null || size === weight.shape[i])
    if (!fits)
      throw new Error(
        `its ${what} ('${weight.name}') has shape ${formatShape(weight.shape)}, expected ${formatShape(shape.map((size) => size ?? '…'))}`,
      )
    return tensor(weight.values, { shape: weight.shape, device: 'cpu' })
  }

  /** @throws Error when some are left */
  end(): void {
    const left = this.#list[this.#at]
    if (left !== undefined) throw new Error(`it has one more weight, '${left.name}'`)
  }
}

/** Copies values into parameters by their names. */
export function fill(module: Module, values: Record<string, Tensor>): void {
  module.loadStateDict(new Map(Object.entries(values)))
}
