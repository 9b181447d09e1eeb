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
export { type LoadTextOptions, loadText, split } from './text.js'
export { END_OF_SENTENCE, Tokenizer, type TokenizerOptions, type TokenLevel } from './tokenizer.js'
export { Vocabulary, type VocabularyJSON, type VocabularyOptions } from './vocabulary.js'
