/** Metrics. */
import { metrics } from 'fused-rnn'
import { call, f, i, make, method, type Recipe } from './tools.js'

const classes = { numClasses: 3, ignoreIndex: 1 }
const counted = <T extends { update(p: number[], t: number[]): void }>(metric: T): T => {
  metric.update([0, 2], [0, 0])
  return metric
}

const scored = (): metrics.Perplexity => {
  const metric = new metrics.Perplexity()
  metric.update(f(2, 3), i(2))
  return metric
}

export const allMetrics: Record<string, Recipe> = {
  ...Object.fromEntries(
    (['mae', 'rmse', 'smape'] as const).map((name) => [
      `metrics.${name}`,
      call(metrics[name], () => [
        [1, 2],
        [2, 4],
      ]),
    ]),
  ),
  'metrics.mase': call(metrics.mase, () => [[1, 2], [2, 4], [1, 2, 5], 1]),
  'metrics.quantileLoss': call(metrics.quantileLoss, () => [[1, 2], [2, 4], 0.5]),
  'metrics.coverage': call(metrics.coverage, () => [
    [1, 2],
    [2, 4],
    [1, 5],
  ]),
  'metrics.accuracy': call(metrics.accuracy, () => [
    ['a', 'b'],
    ['a', 'a'],
  ]),
  'metrics.f1': call(metrics.f1, () => [
    ['a', 'b'],
    ['a', 'a'],
    { positive: 'a', average: 'macro' },
  ]),
  'metrics.confusionMatrix': call(metrics.confusionMatrix, () => [
    ['a', 'b'],
    ['a', 'a'],
    { classes: ['a', 'b'] },
  ]),
  'metrics.spanF1': call(metrics.spanF1, () => [[['B-A', 'O']], [['B-A', 'I-A']]]),
  'metrics.errorRate': call(metrics.errorRate, () => [['ab'], [['a', 'c']]]),
  'metrics.Accuracy': make(metrics.Accuracy, classes),
  'metrics.Accuracy.compute': method(() => counted(new metrics.Accuracy(classes)), 'compute'),
  'metrics.F1Score': make(metrics.F1Score, { ...classes, positive: 1, average: 'micro' }),
  'metrics.F1Score.compute': method(() => counted(new metrics.F1Score(classes)), 'compute'),
  'metrics.ConfusionMatrix': make(metrics.ConfusionMatrix, classes),
  'metrics.ConfusionMatrix.compute': method(
    () => counted(new metrics.ConfusionMatrix(classes)),
    'compute',
  ),
  'metrics.MeanAbsoluteError': make(metrics.MeanAbsoluteError),
  'metrics.MeanAbsoluteError.compute': method(
    () => counted(new metrics.MeanAbsoluteError()),
    'compute',
  ),
  'metrics.Perplexity': make(metrics.Perplexity, { ignoreIndex: 2 }),
  'metrics.Perplexity.compute': method(scored, 'compute'),
  'metrics.Metric.reset': method(() => counted(new metrics.Accuracy(classes)), 'reset'),
}
