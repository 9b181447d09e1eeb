/** Optimisers and learning-rate schedules; as `torch.optim`. */
export * as lrScheduler from './lr_scheduler.js'
