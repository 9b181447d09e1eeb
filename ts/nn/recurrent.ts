/** nn.RNN, nn.GRU and nn.LSTM: each its cell, its options and the type of its state. */
import { checkBoolean, checkOneOf } from '../errors.js'
import type { Tensor } from '../tensor.js'
import type { PackedSequence } from './packed.js'
import { RecurrentLayer } from './recurrent_layer.js'
import { cellKind, lstmState } from './recurrent_op.js'
import {
  checkRecurrentOptions,
  type GRUOptions,
  LSTM_OPTIONS,
  type LSTMOptions,
  OPTIONS,
  type RecurrentOptions,
  type StepMasks,
} from './recurrent_options.js'

/** What {@link RNN} takes. */
export interface RNNOptions extends RecurrentOptions {
  /** Default 'tanh'. */
  nonlinearity?: 'tanh' | 'relu'
}

/**
 * Elman network: h = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu; as `torch.nn.RNN`.
 *
 * `forward(input, h0?)` takes `(T, N, inputSize)`, `(N, T, inputSize)` with batchFirst, `(T,
 * inputSize)` unbatched, or a PackedSequence, and h0 `(D·numLayers, N, hiddenSize)` (without N
 * when unbatched; zeros when left out). It returns the output `(T, N, D·hiddenSize)`, laid out as
 * the input, and h_n, shaped as h0. D is 2 when bidirectional, else 1. A third argument, {@link
 * StepMasks}, resets the state before some steps or skips some: `forward(input, h0, { reset, resetState, mask })`.
 *
 * @throws TypeError, RangeError naming the expected and actual sizes
 */
export class RNN extends RecurrentLayer<Tensor> {
  readonly nonlinearity: 'tanh' | 'relu'

  constructor(inputSize: number, hiddenSize: number, options: RNNOptions = {}) {
    checkRecurrentOptions('RNN', options, [...OPTIONS, 'nonlinearity'])
    const { nonlinearity = 'tanh', ...rest } = options
    checkOneOf('RNN', 'nonlinearity', nonlinearity, ['tanh', 'relu'])
    const cell = cellKind(`rnn_${nonlinearity}`)
    super('RNN', cell, inputSize, hiddenSize, rest, OPTIONS)
    this.nonlinearity = nonlinearity
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

  override extraRepr(): string {
    return super.extraRepr() + (this.nonlinearity === 'relu' ? ", nonlinearity='relu'" : '')
  }
}

/**
 * Gated recurrent unit (Cho et al. 2014); as `torch.nn.GRU`: n = tanh(W_in x + b_in + r ∘ (W_hn h
 * + b_hn)), h = (1 − z) ∘ n + z ∘ h. Gate order in the weights: r, z, n. Shapes as {@link RNN}.
 *
 * With `resetAfter: false` the reset gate comes before the product, as in the paper, in Keras with
 * `reset_after=False` and in ONNX with `linear_before_reset=0`: n = tanh(W_in x + b_in + W_hn (r ∘ h)
 * + b_hn). The parameters are the same; PyTorch has no such layer.
 */
export class GRU extends RecurrentLayer<Tensor> {
  readonly resetAfter: boolean

  constructor(inputSize: number, hiddenSize: number, options: GRUOptions = {}) {
    checkRecurrentOptions('GRU', options, [...OPTIONS, 'resetAfter'])
    const { resetAfter = true, ...rest } = options
    checkBoolean('GRU', 'resetAfter', resetAfter)
    const cell = cellKind(resetAfter ? 'gru' : 'gru_reset_before')
    super('GRU', cell, inputSize, hiddenSize, rest, OPTIONS)
    this.resetAfter = resetAfter
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
 * Long short-term memory (Hochreiter & Schmidhuber 1997); as `torch.nn.LSTM`. Gate order in the
 * weights: i, f, g, o. Shapes as {@link RNN}, with the state a pair [h, c]: h `(D·numLayers, N,
 * projSize or hiddenSize)`, c `(D·numLayers, N, hiddenSize)`; the output has D·(projSize or
 * hiddenSize) columns.
 *
 * With `peephole: true` the gates see the cell state (Gers & Schmidhuber 2000), as with ONNX's P:
 * i = σ(… + w_ci ∘ c(t−1)), f = σ(… + w_cf ∘ c(t−1)), o = σ(… + w_co ∘ c(t)). The weights
 * `weight_ci_l0`, `weight_cf_l0` and `weight_co_l0` `(hiddenSize)`, of each layer and direction, come
 * behind the others and are drawn as they are. PyTorch has no such layer.
 */
export class LSTM extends RecurrentLayer<readonly [h: Tensor, c: Tensor]> {
  readonly peephole: boolean

  constructor(inputSize: number, hiddenSize: number, options: LSTMOptions = {}) {
    checkRecurrentOptions('LSTM', options, [...LSTM_OPTIONS, 'peephole'])
    const { peephole = false, ...rest } = options
    checkBoolean('LSTM', 'peephole', peephole)
    const cell = cellKind(peephole ? 'lstm_peephole' : 'lstm')
    super('LSTM', cell, inputSize, hiddenSize, rest, LSTM_OPTIONS)
    this.peephole = peephole
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
    const [h0, c0] = lstmState('LSTM.forward', 'hidden', state)
    const [output, hn, cn] = this.run(input, h0, c0, masks)
    return [output, [hn, cn as Tensor]]
  }
}
