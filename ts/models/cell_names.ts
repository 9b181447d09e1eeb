/**
 * What the option `cell` of models may be. A file of its own, which loads no addon: the command line's
 * help lists the names.
 */

/** Recurrent layers that models are made of, by name. */
export type CellName =
  | 'rnn'
  | 'gru'
  | 'lstm'
  | 'layerNormLSTM'
  | 'indRNN'
  | 'sru'
  | 'minGRU'
  | 'minLSTM'
  | 'sLSTM'

export const CELL_NAMES: readonly CellName[] = [
  'rnn',
  'gru',
  'lstm',
  'layerNormLSTM',
  'indRNN',
  'sru',
  'minGRU',
  'minLSTM',
  'sLSTM',
]
