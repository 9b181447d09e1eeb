/** nn.LayerNormLSTM and nn.LayerNormLSTMCell, which PyTorch leaves to its users to write. */
import type { Tensor } from '../tensor.js'
import { RecurrentCell } from './cells.js'
import type { PackedSequence } from './packed.js'
import { RecurrentLayer } from './recurrent_layer.js'
import { cellKind, lstmState } from './recurrent_op.js'
import {
  LSTM_CELL_OPTIONS,
  LSTM_OPTIONS,
  type LSTMCellOptions,
  type LSTMOptions,
  type StepMasks,
} from './recurrent_options.js'

/**
 * LSTM with layer normalisation (Ba, Kiros & Hinton 2016, "Layer Normalization", equations 20–22):
 *
 * a = LN(W_ih x) + LN(W_hh h); i, f, o = σ(a), g = tanh(a); c′ = f ∘ c + i ∘ g; h′ = o ∘ tanh(LN(c′))
 *
 * with LN(z) = gain ∘ (z − mean) / √(variance + 1e-5) + bias. As in the paper there is one norm for
 * each product, over all 4·hiddenSize numbers, not one for each gate, and c goes on to the next step
 * as it is, not normalised. The paper's further bias b adds nothing to those of the norms, and is
 * left out.
 *
 * Parameters, each with `_l{layer}` and `_reverse` behind it as in {@link LSTM}: `weight_ih`,
 * `weight_hh` (gates in the order i, f, g, o), `weight_hr` with projSize; `gain_ih`, `bias_ih` and
 * `gain_hh`, `bias_hh` `(4·hiddenSize)` of the products' norms; `gain_c`, `bias_c` `(hiddenSize)` of
 * the cell state's. Gains begin as 1, biases as 0; `bias: false` leaves out the biases. Options,
 * shapes and states are those of {@link LSTM}.
 *
 * PyTorch has no such layer; torch.nn.LayerNorm (with its eps) around an LSTM's equations gives the
 * same numbers. It cannot be exported to ONNX as one operator.
 *
 * @throws TypeError, RangeError naming the expected and actual sizes
 */
export class LayerNormLSTM extends RecurrentLayer<readonly [h: Tensor, c: Tensor]> {
  constructor(inputSize: number, hiddenSize: number, options: Omit<LSTMOptions, 'peephole'> = {}) {
    const cell = cellKind('layer_norm_lstm')
    super('LayerNormLSTM', cell, inputSize, hiddenSize, options, LSTM_OPTIONS)
  }

  override forward(
    input: Tensor,
    state?: readonly [h0: Tensor, c0: Tensor] | null,
    masks?: StepMasks<readonly [Tensor, Tensor]>,
  ): [output: Tensor, state: [hn: Tensor, cn: Tensor]]
  override forward(
    input: PackedSequence,
    state?: readonly [h0: Tensor, c0: Tensor] | null,
    masks?: StepMasks<readonly [Tensor, Tensor]>,
  ): [output: PackedSequence, state: [hn: Tensor, cn: Tensor]]
  override forward(
    input: Tensor | PackedSequence,
    state?: readonly [h0: Tensor, c0: Tensor] | null,
    masks?: StepMasks<readonly [Tensor, Tensor]>,
  ): [Tensor | PackedSequence, [Tensor, Tensor]] {
    const [h0, c0] = lstmState('LayerNormLSTM.forward', 'hidden', state)
    const [output, hn, cn] = this.run(input, h0, c0, masks)
    return [output, [hn, cn as Tensor]]
  }
}

/**
 * One step of {@link LayerNormLSTM}, with the same parameters, without suffixes. Called as
 * {@link LSTMCell}: the state and the result are pairs [h, c].
 */
export class LayerNormLSTMCell extends RecurrentCell {
  /** `[4·H]` */
  declare gain_ih: Tensor
  /** `[4·H]` */
  declare gain_hh: Tensor
  /** `[H]` */
  declare gain_c: Tensor
  /** `[H]`; not there without bias */
  declare bias_c: Tensor

  constructor(
    inputSize: number,
    hiddenSize: number,
    options: Omit<LSTMCellOptions, 'peephole'> = {},
  ) {
    const cell = cellKind('layer_norm_lstm')
    super('LayerNormLSTMCell', cell, inputSize, hiddenSize, options, LSTM_CELL_OPTIONS)
  }

  forward(input: Tensor, state?: readonly [h: Tensor, c: Tensor] | null): [h: Tensor, c: Tensor] {
    const [h, c] = this.step(input, ...lstmState('LayerNormLSTMCell.forward', 'state', state))
    return [h, c as Tensor]
  }
}
