/** nn.IndRNN and nn.IndRNNCell. */
import { RandomKind } from '../binding.js'
import { checkOneOf } from '../errors.js'
import { randomInto } from '../ops/in_place.js'
import { nextRandom } from '../random.js'
import type { Tensor } from '../tensor.js'
import { RecurrentCell } from './cells.js'
import type { PackedSequence } from './packed.js'
import { RecurrentLayer } from './recurrent_layer.js'
import { cellKind } from './recurrent_op.js'
import {
  checkRecurrentOptions,
  ELEMENTWISE_CELL_OPTIONS,
  ELEMENTWISE_OPTIONS,
  type ElementwiseCellOptions,
  type ElementwiseOptions,
  type StepMasks,
} from './recurrent_options.js'

/** What {@link IndRNN} takes. */
export interface IndRNNOptions extends ElementwiseOptions {
  /** Default 'relu'. */
  nonlinearity?: 'tanh' | 'relu'
}

/** What {@link IndRNNCell} takes. */
export interface IndRNNCellOptions extends ElementwiseCellOptions {
  /** Default 'relu'. */
  nonlinearity?: 'tanh' | 'relu'
}

/** Draws u from U(0, 1) for relu, U(−1, 1) for tanh: no unit forgets or explodes at once. */
function drawRecurrent(
  parameters: readonly (readonly [name: string, parameter: Tensor])[],
  nonlinearity: 'tanh' | 'relu',
): void {
  for (const [name, parameter] of parameters) {
    if (!name.startsWith('weight_hh')) continue
    const low = nonlinearity === 'relu' ? 0 : -1
    randomInto('resetParameters', parameter, RandomKind.uniform, low, 1, nextRandom())
  }
}

/**
 * Independently recurrent network (Li et al. 2018, "Independently Recurrent Neural Network"): every unit
 * sees its own old value alone.
 *
 * h = act(W x + b + u ∘ h(t−1)), act relu or tanh
 *
 * Parameters: `weight_ih_l0` `(H, I)`, `weight_hh_l0` `(H)`, which is u, and `bias_l0` `(H)`; further
 * layers and directions as of {@link RNN}. W and b begin in U(−1/√H, 1/√H), u in U(0, 1) with relu as in
 * the paper, in U(−1, 1) with tanh. The paper also bounds |u| by 2^(1/T) for sequences of T steps:
 * activations beyond that grow with T.
 *
 * Options, shapes and states are those of {@link RNN}. A layer takes a fraction of an LSTM's time: there
 * is no product in the loop over time. PyTorch has no such layer.
 *
 * @throws TypeError, RangeError naming the expected and actual sizes
 */
export class IndRNN extends RecurrentLayer<Tensor> {
  readonly nonlinearity: 'tanh' | 'relu'

  constructor(inputSize: number, hiddenSize: number, options: IndRNNOptions = {}) {
    checkRecurrentOptions('IndRNN', options, [...ELEMENTWISE_OPTIONS, 'nonlinearity'])
    const { nonlinearity = 'relu', ...rest } = options
    checkOneOf('IndRNN', 'nonlinearity', nonlinearity, ['tanh', 'relu'])
    const cell = cellKind(`ind_rnn_${nonlinearity}`)
    super('IndRNN', cell, inputSize, hiddenSize, rest, ELEMENTWISE_OPTIONS)
    this.nonlinearity = nonlinearity
    drawRecurrent(this.namedParameters(), nonlinearity)
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

  /** Draws every parameter anew, as the constructor does. */
  override resetParameters(): void {
    super.resetParameters()
    // Not yet there while the base's constructor runs.
    if (this.nonlinearity !== undefined) drawRecurrent(this.namedParameters(), this.nonlinearity)
  }

  override extraRepr(): string {
    return super.extraRepr() + (this.nonlinearity === 'tanh' ? ", nonlinearity='tanh'" : '')
  }
}

/**
 * One step of {@link IndRNN}; called as {@link RNNCell}. Parameters: `weight_ih` `(H, I)`, `weight_hh`
 * `(H)` and, for the layer's `bias_l0`, `bias_ih` `(H)`.
 */
export class IndRNNCell extends RecurrentCell {
  readonly nonlinearity: 'tanh' | 'relu'

  constructor(inputSize: number, hiddenSize: number, options: IndRNNCellOptions = {}) {
    checkRecurrentOptions('IndRNNCell', options, [...ELEMENTWISE_CELL_OPTIONS, 'nonlinearity'])
    const { nonlinearity = 'relu', ...rest } = options
    checkOneOf('IndRNNCell', 'nonlinearity', nonlinearity, ['tanh', 'relu'])
    const [cell, known] = [cellKind(`ind_rnn_${nonlinearity}`), ELEMENTWISE_CELL_OPTIONS]
    super('IndRNNCell', cell, inputSize, hiddenSize, rest, known)
    this.nonlinearity = nonlinearity
    drawRecurrent(this.namedParameters(), nonlinearity)
  }

  forward(input: Tensor, h?: Tensor | null): Tensor {
    return this.step(input, h ?? null, null)[0]
  }

  /** Draws every parameter anew, as the constructor does. */
  override resetParameters(): void {
    super.resetParameters()
    if (this.nonlinearity !== undefined) drawRecurrent(this.namedParameters(), this.nonlinearity)
  }

  override extraRepr(): string {
    return super.extraRepr() + (this.nonlinearity === 'tanh' ? ", nonlinearity='tanh'" : '')
  }
}
