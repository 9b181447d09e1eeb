/** How good predictions are: functions over plain arrays, and classes that add up over batches. */
export type { Label, Numbers } from './checks.js'
export {
  type Average,
  accuracy,
  type ConfusionMatrixOptions,
  confusionMatrix,
  type F1Options,
  f1,
} from './classification.js'
export { coverage, mae, mase, quantileLoss, rmse, smape } from './regression.js'
export {
  Accuracy,
  type ClassMetricOptions,
  ConfusionMatrix,
  F1Score,
  type F1ScoreOptions,
  MeanAbsoluteError,
  Metric,
  Perplexity,
  type PerplexityOptions,
} from './running.js'
export { errorRate, type Sequence, type Span, spanF1 } from './sequences.js'
