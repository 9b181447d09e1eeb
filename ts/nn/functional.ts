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
export { linear } from '../ops/linear.js'
export {
  type BCEWithLogitsOptions,
  binaryCrossEntropyWithLogits,
  type CrossEntropyOptions,
  crossEntropy,
  mseLoss,
  type NLLLossOptions,
  nllLoss,
  type ReductionOptions,
} from '../ops/loss.js'
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
