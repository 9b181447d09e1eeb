/** The recurrent layers that models are made of, by the name that the option `cell` gives them. */

import { IndRNN } from '../nn/ind_rnn.js'
import { LayerNormLSTM } from '../nn/layer_norm_lstm.js'
import { MinGRU } from '../nn/min_gru.js'
import { MinLSTM } from '../nn/min_lstm.js'
import { GRU, LSTM, RNN } from '../nn/recurrent.js'
import { SLSTM, type SLSTMState } from '../nn/slstm.js'
import { SRU } from '../nn/sru.js'
import type { Tensor } from '../tensor.js'
import type { CellName } from './cell_names.js'

/** The recurrent layers of a model. */
export type CellLayer = RNN | GRU | LSTM | LayerNormLSTM | IndRNN | SRU | MinGRU | MinLSTM | SLSTM

/** A state of such layers: h, of an SRU c; of LSTMs the pair [h, c], of an SLSTM [h, c, n, m]. */
export type CellState = Tensor | [h: Tensor, c: Tensor] | SLSTMState

const LAYERS = {
  rnn: RNN,
  gru: GRU,
  lstm: LSTM,
  layerNormLSTM: LayerNormLSTM,
  indRNN: IndRNN,
  sru: SRU,
  minGRU: MinGRU,
  minLSTM: MinLSTM,
  sLSTM: SLSTM,
} satisfies Record<CellName, unknown>

/** The options that all of them take. */
interface CellLayerOptions {
  numLayers: number
  dropout: number
  device: string
  batchFirst?: boolean
  bidirectional?: boolean
  nonlinearity?: 'tanh' | 'relu'
}

/** The layers of a cell. */
export function cellLayer(
  cell: CellName,
  inputSize: number,
  hiddenSize: number,
  options: CellLayerOptions,
): CellLayer {
  // A single layer has no layer to drop between.
  const dropout = options.numLayers > 1 ? options.dropout : 0
  return new LAYERS[cell](inputSize, hiddenSize, { ...options, dropout })
}

/** Names of the tensors in a cell's state; of one only where the state is that tensor. */
export function stateNames(cell: CellName): readonly string[] {
  if (cell === 'sLSTM') return ['h', 'c', 'n', 'm']
  if (cell === 'lstm' || cell === 'layerNormLSTM') return ['h', 'c']
  return [cell === 'sru' ? 'c' : 'h']
}

/**
 * Names and shapes of two weights of a layer, by which a file's sizes are checked before a model is
 * made: that of the input, and one whose shape does not depend on the input's width.
 */
export function checkedWeights(
  cell: CellName,
  inputSize: number,
  hiddenSize: number,
): [input: [name: string, shape: number[]], own: [name: string, shape: number[]]] {
  const gates = {
    rnn: 1,
    gru: 3,
    lstm: 4,
    layerNormLSTM: 4,
    indRNN: 1,
    sru: inputSize === hiddenSize ? 3 : 4,
    minGRU: 2,
    minLSTM: 3,
    sLSTM: 4,
  }[cell]
  const rows = gates * hiddenSize
  const input: [string, number[]] = ['weight_ih', [rows, inputSize]]
  if (cell === 'indRNN') return [input, ['weight_hh', [hiddenSize]]]
  if (cell === 'sru') return [input, ['weight_c', [2 * hiddenSize]]]
  if (cell === 'minGRU' || cell === 'minLSTM') return [input, ['bias_ih', [rows]]]
  if (cell === 'sLSTM') return [input, ['weight_hh', [gates, 1, hiddenSize, hiddenSize]]]
  return [input, ['weight_hh', [rows, hiddenSize]]]
}
