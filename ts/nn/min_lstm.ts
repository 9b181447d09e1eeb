/** nn.MinLSTM and nn.MinLSTMCell. */
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
 * Minimal LSTM (Feng et al. 2024, "Were RNNs All We Needed?"): the gates depend on the input alone, so that
 * h is a linear function of its old value, and time can be computed in chunks side by side.
 *
 * h = f/(f + i) ∘ h(t−1) + i/(f + i) ∘ g(h̃), f, i and h̃ from W x + b, f and i through σ
 *
 * with g(x) = x + ½ for x ≥ 0, else σ(x): the paper's form of training in log space, whose values are
 * positive, so a given h0 should be, too. Computed step by step and in chunks of steps, never in log
 * space; both agree to 1e-5.
 *
 * Parameters: `weight_ih_l0` `(3·H, I)` and `bias_ih_l0` `(3·H)`, blocks f, i, h̃; further layers and
 * directions as of {@link GRU}. All begin in U(−1/√H, 1/√H). Options, shapes and states are those of
 * {@link GRU}. PyTorch has no such layer.
 *
 * @throws TypeError, RangeError naming the expected and actual sizes
 */
export class MinLSTM extends RecurrentLayer<Tensor> {
  constructor(inputSize: number, hiddenSize: number, options: ElementwiseOptions = {}) {
    super('MinLSTM', cellKind('min_lstm'), inputSize, hiddenSize, options, ELEMENTWISE_OPTIONS)
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
 * One step of {@link MinLSTM}; called as {@link GRUCell}. Parameters: `weight_ih` `(3·H, I)` and
 * `bias_ih` `(3·H)`.
 */
export class MinLSTMCell extends RecurrentCell {
  constructor(inputSize: number, hiddenSize: number, options: ElementwiseCellOptions = {}) {
    const known = ELEMENTWISE_CELL_OPTIONS
    super('MinLSTMCell', cellKind('min_lstm'), inputSize, hiddenSize, options, known)
  }

  forward(input: Tensor, h?: Tensor | null): Tensor {
    return this.step(input, h ?? null, null)[0]
  }
}
