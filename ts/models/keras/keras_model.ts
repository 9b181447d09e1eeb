/** A model of Keras or TensorFlow.js as a module. */
import { formatShape, rangeError, typeError } from '../../errors.js'
import { Module } from '../../nn/module.js'
import { Tensor } from '../../tensor.js'
import type { Mask, Output, Step } from './step.js'

/**
 * What {@link fromKeras} and {@link fromTfjs} give: the layers of the file one after the other, under
 * their names in `layers`. Its parameters train like any others; layers that were frozen are frozen.
 */
export class KerasModel extends Module {
  readonly layers: Readonly<Record<string, Module>>
  /** The names of the layers from input to output; an object sorts those that are numbers. */
  readonly order: readonly string[]
  /** Sizes of the input, batch first; null: any. Null as a whole: the file says nothing. */
  readonly inputShape: readonly (number | null)[] | null

  /** @internal */
  constructor(layers: readonly [string, Module][], inputShape: (number | null)[] | null) {
    super()
    this.layers = Object.fromEntries(layers)
    this.order = layers.map(([name]) => name)
    this.inputShape = inputShape
  }

  /**
   * @param x (N, T, F), or (N, T) of tokens, as the model was made for; N first
   * @returns what the last layer gives: a tensor, or two where a Bidirectional layer with
   *   merge_mode None comes last
   * @throws TypeError, RangeError for another input
   */
  override forward<T extends Tensor | readonly [Tensor, Tensor] = Tensor>(x: Tensor): T {
    const fn = 'KerasModel'
    if (!(x instanceof Tensor)) throw typeError(fn, 'x', 'a tensor', x)
    const { inputShape } = this
    const fits =
      inputShape === null ||
      (x.shape.length === inputShape.length &&
        inputShape.every((size, d) => size === null || size === x.shape[d]))
    if (!fits) {
      const expected = inputShape.map((size, d) => size ?? (d === 0 ? 'N' : 'T'))
      throw rangeError(fn, 'x', `shape ${formatShape(expected)}`, formatShape(x.shape))
    }
    let value: Output = x
    let mask: Mask = null
    for (const name of this.order) {
      const input: Tensor = value as Tensor
      const layer = this.layers[name] as Step
      value = layer.forward(input, mask)
      mask = layer.maskAfter(input, mask)
    }
    return value as T
  }
}
