/**
 * Learning rates that change on a schedule; as `torch.optim.lr_scheduler`, with its formulas. A
 * scheduler sets `optimizer.lr` when it is made and at every `step()`, to be called after
 * `optimizer.step()`, once an epoch (or once a step: an epoch is whatever step() is called after).
 */
export {
  type HasLearningRate,
  LRScheduler,
  type Scheduler,
  type SchedulerState,
} from './schedules/base.js'
export { ChainedScheduler, SequentialLR } from './schedules/combined.js'
export { CosineAnnealingLR, CosineAnnealingWarmRestarts } from './schedules/cosine.js'
export {
  CyclicLR,
  type CyclicLROptions,
  OneCycleLR,
  type OneCycleLROptions,
} from './schedules/cyclic.js'
export {
  ConstantLR,
  ExponentialLR,
  LambdaLR,
  LinearLR,
  MultiplicativeLR,
  MultiStepLR,
  PolynomialLR,
  StepLR,
} from './schedules/factors.js'
export { ReduceLROnPlateau, type ReduceLROnPlateauOptions } from './schedules/plateau.js'
