/** Whole models. */

export { OnlineLearner } from '../train/online_learner.js'
export type {
  AnomalyDetectorConfig,
  AnomalyDetectorOptions,
  AnomalyDetectorState,
  AnomalyThreshold,
} from './anomaly_config.js'
export { type Anomalies, AnomalyDetector, type AnomalyScores } from './anomaly_detector.js'
export { type AnomalyOfRow, AnomalyStream } from './anomaly_stream.js'
export type { BacktestOptions, BacktestResult, ForecastMetrics } from './backtest.js'
export type { CellName } from './cell_names.js'
export type {
  Classification,
  ClassificationResult,
  LabelledSequence,
  Pooling,
  SequenceClassifierConfig,
  SequenceClassifierOptions,
} from './classifier_config.js'
export type { LanguageModelConfig } from './config.js'
export { Forecast } from './forecast.js'
export type { ForecastPlotOptions } from './forecast_plot.js'
export { ForecastStream, type StreamRow } from './forecast_stream.js'
export { Forecaster, type ForecasterFitOptions } from './forecaster.js'
export type { ForecasterConfig, ForecasterOptions, ForecasterState } from './forecaster_config.js'
export type { PredictOptions } from './forecaster_predict.js'
export type { GenerateOptions } from './generate.js'
export { type FromKerasOptions, fromKeras, fromTfjs, type KerasModel } from './keras/index.js'
export type { ClassWeight } from './labels.js'
export {
  LanguageModel,
  type LanguageModelOptions,
  type LanguageModelState,
} from './language_model.js'
export { RecognitionStream, type RecognizedRow } from './recognition_stream.js'
export type {
  Recognition,
  RecognizeOptions,
  SequenceRecognizerConfig,
  SequenceRecognizerOptions,
  TranscribedSequence,
} from './recognizer_config.js'
export type { CellLayer, CellState } from './recurrent_cells.js'
export {
  type GeneratedSequence,
  type GenerateSequenceOptions,
  Seq2Seq,
} from './seq2seq.js'
export type {
  Attention,
  Seq2SeqConfig,
  Seq2SeqOptions,
  SequencePair,
  TokenInput,
} from './seq2seq_config.js'
export { SequenceClassifier } from './sequence_classifier.js'
export { SequenceRecognizer } from './sequence_recognizer.js'
export { SequenceTagger } from './sequence_tagger.js'
export type {
  SequenceTaggerConfig,
  SequenceTaggerOptions,
  TaggedSequence,
  Tagging,
  TokenFeature,
} from './tagger_config.js'
export type { FitModelOptions } from './task_fit.js'
export { type LoadModelOptions, TaskModel } from './task_model.js'
export type { SequenceInput } from './text_inputs.js'
