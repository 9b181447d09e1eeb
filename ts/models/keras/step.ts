/** A layer in a chain: what it computes, and what becomes of the mask of valid steps. */
import { Module } from '../../nn/module.js'
import type { Tensor } from '../../tensor.js'

/** bool (N, T): which steps count; null: all. */
export type Mask = Tensor | null

/** What comes out of a layer; two where both directions stay apart. */
export type Output = Tensor | readonly [Tensor, Tensor]

export abstract class Step extends Module {
  abstract override forward(x: Tensor, mask?: Mask): Output

  /** The mask behind this layer; most leave it as it is. */
  maskAfter(_x: Tensor, mask: Mask): Mask {
    return mask
  }
}

/** A layer with one tensor as output. */
export abstract class PlainStep extends Step {
  abstract override forward(x: Tensor, mask?: Mask): Tensor
}
