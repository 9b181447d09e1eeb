/** Optimisers and learning-rate schedules; as `torch.optim`. */
export { Adam, type AdamGroup, type AdamOptions, AdamW } from './adam.js'
export * as lrScheduler from './lr_scheduler.js'
export {
  Optimizer,
  type OptimizerOptions,
  type ParamGroup,
  type ParamGroupInput,
  type Params,
} from './optimizer.js'
export { SGD, type SGDGroup, type SGDOptions } from './sgd.js'
export type { OptimizerState, ParamState } from './state_dict.js'
export type { ZeroGradOptions } from './zero_grad.js'
