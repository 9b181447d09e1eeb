/** Layers, losses and what they are made of; as `torch.nn`. */
export {
  type CellOptions,
  GRUCell,
  LSTMCell,
  RecurrentCell,
  RNNCell,
  type RNNCellOptions,
} from './cells.js'
export { ModuleList, Sequential } from './containers.js'
export { Dropout } from './dropout.js'
export { Embedding, type EmbeddingOptions } from './embedding.js'
export * as functional from './functional.js'
export type { BackwardHook, ForwardHook, ForwardPreHook } from './hooks.js'
export * as init from './init.js'
export { LayerNormLSTM, LayerNormLSTMCell } from './layer_norm_lstm.js'
export { Linear, type LinearOptions } from './linear.js'
export { BCEWithLogitsLoss, CrossEntropyLoss, MSELoss, NLLLoss } from './loss.js'
export { type IncompatibleKeys, type LoadStateDictOptions, Module } from './module.js'
export * as parallel from './parallel.js'
export { Parameter } from './parameter.js'
export { GRU, LSTM, RNN, type RNNOptions } from './recurrent.js'
export {
  type LSTMOptions,
  RecurrentLayer,
  type RecurrentOptions,
  type RecurrentState,
} from './recurrent_layer.js'
export * as utils from './utils.js'
