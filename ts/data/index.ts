/** Texts, vocabularies and batches. */
export {
  type Batch,
  type BatchesOptions,
  RandomWindows,
  SequentialBatches,
  TextBatches,
} from './batches.js'
export { BucketBatches, type BucketBatchesOptions } from './buckets.js'
export {
  DistributedBatches,
  DistributedSampler,
  type DistributedSamplerOptions,
  type ReplicaOptions,
} from './distributed.js'
export { type BatchesState, EpochBatches, type Part } from './epochs.js'
export {
  type Example,
  type ExampleBatch,
  ExampleBatches,
  type ExampleBatchesOptions,
} from './example_batches.js'
export { IndexedBatches } from './indexed_batches.js'
export { type LoadCSVOptions, loadCSV } from './load_csv.js'
export { Series, type SeriesData, type SeriesOptions, type SeriesValues } from './series.js'
export { SeriesWindows, type SeriesWindowsOptions, type WindowBatch } from './series_windows.js'
export { type LoadTextOptions, loadText, split } from './text.js'
export type { Frequency } from './time.js'
export { END_OF_SENTENCE, Tokenizer, type TokenizerOptions, type TokenLevel } from './tokenizer.js'
export { Vocabulary, type VocabularyJSON, type VocabularyOptions } from './vocabulary.js'
export type { Missing, Scaler } from './window_features.js'
