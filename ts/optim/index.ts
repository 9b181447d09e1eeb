/** Optimisers and learning-rate schedules; as `torch.optim`. */
export { Adadelta, type AdadeltaGroup, type AdadeltaOptions } from './adadelta.js'
export { Adagrad, type AdagradGroup, type AdagradOptions } from './adagrad.js'
export { Adam, type AdamGroup, type AdamOptions, AdamW } from './adam.js'
export { Adamax, type AdamaxGroup, type AdamaxOptions } from './adamax.js'
export { ASGD, type ASGDGroup, type ASGDOptions } from './asgd.js'
export * as lrScheduler from './lr_scheduler.js'
export { NAdam, type NAdamGroup, type NAdamOptions } from './nadam.js'
export {
  Optimizer,
  type OptimizerOptions,
  type ParamGroup,
  type ParamGroupInput,
  type Params,
} from './optimizer.js'
export { RAdam, type RAdamGroup, type RAdamOptions } from './radam.js'
export { RMSprop, type RMSpropGroup, type RMSpropOptions } from './rmsprop.js'
export { Rprop, type RpropGroup, type RpropOptions } from './rprop.js'
export { SGD, type SGDGroup, type SGDOptions } from './sgd.js'
export { SparseAdam, type SparseAdamGroup, type SparseAdamOptions } from './sparse_adam.js'
export type { OptimizerState, ParamState } from './state_dict.js'
export * as swaUtils from './swa_utils.js'
export type { ZeroGradOptions } from './zero_grad.js'
