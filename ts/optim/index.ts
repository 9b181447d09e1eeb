/** Optimisers and learning-rate schedules; as `torch.optim`. */
export { Adam, type AdamGroup, type AdamOptions, AdamW } from './adam.js'
export * as lrScheduler from './lr_scheduler.js'
export {
  Optimizer,
  type OptimizerOptions,
  type OptimizerState,
  type ParamGroup,
  type ParamGroupInput,
  type ParamState,
  type Params,
} from './optimizer.js'
export { SGD, type SGDGroup, type SGDOptions } from './sgd.js'
