/** Training: the Trainer, its callbacks and loggers, the history. */
export { EarlyStopping, type EarlyStoppingOptions } from './early_stopping.js'
export { History, type HistoryRecord } from './history.js'
export { LearningRateMonitor, type LearningRateMonitorOptions } from './learning_rate_monitor.js'
export type { MaxTime } from './limits.js'
export { CSVLogger } from './loggers/csv_logger.js'
export type { LoggerOptions } from './loggers/file_logger.js'
export { JSONLLogger } from './loggers/jsonl_logger.js'
export { TensorBoardLogger } from './loggers/tensorboard_logger.js'
export { ModelCheckpoint, type ModelCheckpointOptions } from './model_checkpoint.js'
export {
  OnlineLearner,
  type OnlineLearnerOptions,
  type OnlineModel,
  type OnlineUpdate,
} from './online_learner.js'
export type { FitOptions, FitResult } from './options.js'
export type { PlotOptions } from './plot.js'
export { ProgressBar, type ProgressBarOptions } from './progress_bar.js'
export {
  StochasticWeightAveraging,
  type StochasticWeightAveragingOptions,
} from './stochastic_weight_averaging.js'
export { type Callback, Trainer, type TrainerOptions } from './trainer.js'
export type {
  Carried,
  DataSource,
  Logger,
  Progress,
  SchedulerConfig,
  SeekableSource,
  StepContext,
  StepResult,
  StopReason,
  TrainableOptimizer,
  TrainerHandle,
  TrainingModule,
} from './types.js'
