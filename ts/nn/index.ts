/** Layers, losses and what they are made of; as `torch.nn`. */

export {
  ELU,
  GELU,
  LeakyReLU,
  LogSigmoid,
  LogSoftmax,
  ReLU,
  Sigmoid,
  SiLU,
  Softmax,
  Softplus,
  Tanh,
} from './activation.js'
export {
  type AdaptiveLogSoftmaxOptions,
  AdaptiveLogSoftmaxWithLoss,
} from './adaptive_softmax.js'
export {
  type AttentionForwardOptions,
  MultiheadAttention,
  type MultiheadAttentionOptions,
} from './attention.js'
export { BatchNorm1d, type BatchNormOptions } from './batch_norm.js'
export {
  GRUCell,
  LSTMCell,
  RecurrentCell,
  RNNCell,
  type RNNCellOptions,
} from './cells.js'
export type { CellSizes } from './composed_cells.js'
export {
  type CellDefinition,
  type ComposedLayer,
  type ComposedLayerClass,
  type ComposedState,
  type ComposedWeights,
  recurrent,
} from './composed_layer.js'
export { ModuleDict, ModuleList, ParameterDict, ParameterList, Sequential } from './containers.js'
export {
  AdaptiveAvgPool1d,
  AvgPool1d,
  Conv1d,
  type Conv1dOptions,
  MaxPool1d,
} from './convolution.js'
export {
  CRF,
  type CRFDecodeOptions,
  type CRFForwardOptions,
  type CRFOptions,
} from './crf.js'
export { CTCLoss } from './ctc.js'
export { Dropout } from './dropout.js'
export { Embedding, type EmbeddingOptions } from './embedding.js'
export * as functional from './functional.js'
export type { BackwardHook, ForwardHook, ForwardPreHook } from './hooks.js'
export { IndRNN, IndRNNCell, type IndRNNCellOptions, type IndRNNOptions } from './ind_rnn.js'
export * as init from './init.js'
export { LayerNorm, type LayerNormOptions } from './layer_norm.js'
export { LayerNormLSTM, LayerNormLSTMCell } from './layer_norm_lstm.js'
export { Linear, type LinearOptions } from './linear.js'
export { CrossEntropyLoss, NLLLoss } from './loss.js'
export { MinGRU, MinGRUCell } from './min_gru.js'
export { MinLSTM, MinLSTMCell } from './min_lstm.js'
export {
  type BufferOptions,
  type IncompatibleKeys,
  type LoadStateDictOptions,
  Module,
} from './module.js'
export {
  BCELoss,
  BCEWithLogitsLoss,
  GaussianNLLLoss,
  HuberLoss,
  KLDivLoss,
  L1Loss,
  MSELoss,
  PoissonNLLLoss,
  QuantileLoss,
  SmoothL1Loss,
} from './pair_loss.js'
export * as parallel from './parallel.js'
export { Parameter } from './parameter.js'
export { GRU, LSTM, RNN, type RNNOptions } from './recurrent.js'
export { RecurrentLayer, type RecurrentState } from './recurrent_layer.js'
export type {
  CellOptions,
  ElementwiseCellOptions,
  ElementwiseOptions,
  GRUCellOptions,
  GRUOptions,
  LSTMCellOptions,
  LSTMOptions,
  RecurrentOptions,
  StepMasks,
} from './recurrent_options.js'
export { Flatten, Identity } from './shapes.js'
export {
  SLSTM,
  SLSTMCell,
  type SLSTMCellOptions,
  type SLSTMOptions,
  type SLSTMState,
} from './slstm.js'
export { SRU, SRUCell } from './sru.js'
export * as utils from './utils.js'
