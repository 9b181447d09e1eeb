/** nn.MinGRU and nn.MinGRUCell. */
import type { Tensor } from '../tensor.js'
import { RecurrentCell } from './cells.js'
import type { PackedSequence } from './packed.js'
import { RecurrentLayer } from './recurrent_layer.js'
import { cellKind } from './recurrent_op.js'
import {
  ELEMENTWISE_CELL_OPTIONS,
  ELEMENTWISE_OPTIONS,
  type ElementwiseCellOptions,
  type ElementwiseOptions,
  type StepMasks,
} from './recurrent_options.js'

/**
 * Minimal GRU (Feng et al. 2024, "Were RNNs All We Needed?"): the gate depends on the input alone, so that
 * h is a linear function of its old value, and time can be computed in chunks side by side.
 *
 * h = (1 − z) ∘ h(t−1) + z ∘ g(h̃), z and h̃ from W x + b, z through σ
 *
 * with g(x) = x + ½ for x ≥ 0, else σ(x): the paper's form of training in log space, whose values are
 * positive, so a given h0 should be, too. Computed step by step and in chunks of steps, never in log
 * space; both agree to 1e-5.
 *
 * Parameters: `weight_ih_l0` `(2·H, I)` and `bias_ih_l0` `(2·H)`, blocks z, h̃; further layers and
 * directions as of {@link GRU}. All begin in U(−1/√H, 1/√H). Options, shapes and states are those of
 * {@link GRU}. PyTorch has no such layer.
 *
 * @throws TypeError, RangeError naming the expected and actual sizes
 */
export class MinGRU extends RecurrentLayer<Tensor> {
  constructor(inputSize: number, hiddenSize: number, options: ElementwiseOptions = {}) {
    super('MinGRU', cellKind('min_gru'), inputSize, hiddenSize, options, ELEMENTWISE_OPTIONS)
  }

  override forward(
    input: Tensor,
    h0?: Tensor | null,
    masks?: StepMasks<Tensor>,
  ): [output: Tensor, hn: Tensor]
  override forward(
    input: PackedSequence,
    h0?: Tensor | null,
    masks?: StepMasks<Tensor>,
  ): [output: PackedSequence, hn: Tensor]
  override forward(
    input: Tensor | PackedSequence,
    h0?: Tensor | null,
    masks?: StepMasks<Tensor>,
  ): [Tensor | PackedSequence, Tensor] {
    const [output, hn] = this.run(input, h0 ?? null, null, masks)
    return [output, hn]
  }
}

/**
 * One step of {@link MinGRU}; called as {@link GRUCell}. Parameters: `weight_ih` `(2·H, I)` and
 * `bias_ih` `(2·H)`.
 */
export class MinGRUCell extends RecurrentCell {
  constructor(inputSize: number, hiddenSize: number, options: ElementwiseCellOptions = {}) {
    const known = ELEMENTWISE_CELL_OPTIONS
    super('MinGRUCell', cellKind('min_gru'), inputSize, hiddenSize, options, known)
  }

  forward(input: Tensor, h?: Tensor | null): Tensor {
    return this.step(input, h ?? null, null)[0]
  }
}
