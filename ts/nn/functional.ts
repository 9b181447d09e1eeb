/** As `torch.nn.functional`. */
import { checkTensor } from '../ops/common.js'
import * as unary from '../ops/unary.js'
import type { Tensor } from '../tensor.js'

export {
  type ELUOptions,
  elu,
  type GELUOptions,
  gelu,
  type HardtanhOptions,
  hardtanh,
  type LeakyReluOptions,
  leakyRelu,
  logSigmoid,
  mish,
  relu6,
  type SoftplusOptions,
  silu,
  softplus,
} from '../ops/activation.js'
export { type AttentionOptions, scaledDotProductAttention } from '../ops/attention.js'
export { type Conv1dFunctionOptions, conv1d } from '../ops/convolution.js'
export { type CTCLossOptions, ctcLoss, type SequenceLengths } from '../ops/ctc.js'
export { type LayerNormFunctionOptions, layerNorm } from '../ops/layer_norm.js'
export { linear } from '../ops/linear.js'
export {
  type CrossEntropyOptions,
  crossEntropy,
  type NLLLossOptions,
  nllLoss,
  type ReductionOptions,
} from '../ops/loss.js'
export {
  type BCEOptions,
  type BCEWithLogitsOptions,
  binaryCrossEntropy,
  binaryCrossEntropyWithLogits,
  type GaussianNLLOptions,
  gaussianNllLoss,
  type HuberOptions,
  huberLoss,
  type KLDivOptions,
  klDiv,
  l1Loss,
  mseLoss,
  type PoissonNLLOptions,
  poissonNllLoss,
  quantileLoss,
  type SmoothL1Options,
  smoothL1Loss,
} from '../ops/pair_loss.js'
export {
  type AvgPoolOptions,
  adaptiveAvgPool1d,
  avgPool1d,
  type MaxPoolOptions,
  maxPool1d,
  type PoolOptions,
} from '../ops/pooling.js'
export {
  type DropoutOptions,
  dropout,
  oneHot,
  type SampleOptions,
  sample,
} from '../ops/random.js'
export { logSoftmax, softmax } from '../ops/softmax.js'
export { type CTCDecoded, type CTCDecodeOptions, ctcDecode } from './ctc_decode.js'
export { embedding } from './embedding.js'

/** max(x, 0), element by element. @throws TypeError */
export function relu(input: Tensor): Tensor {
  return unary.relu(checkTensor('relu', 'input', input))
}

/** 1 / (1 + exp(-x)), element by element. @throws TypeError */
export function sigmoid(input: Tensor): Tensor {
  return unary.sigmoid(checkTensor('sigmoid', 'input', input))
}

/** The hyperbolic tangent, element by element. @throws TypeError */
export function tanh(input: Tensor): Tensor {
  return unary.tanh(checkTensor('tanh', 'input', input))
}
