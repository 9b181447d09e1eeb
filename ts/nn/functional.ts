/** As `torch.nn.functional`. */

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
export { embedding } from './embedding.js'
