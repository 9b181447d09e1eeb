/** Texts, vocabularies and batches. */
export {
  type Batch,
  type BatchesOptions,
  type BatchesState,
  RandomWindows,
  SequentialBatches,
  TextBatches,
} from './batches.js'
export { loadText, split } from './text.js'
export { END_OF_SENTENCE, Tokenizer, type TokenizerOptions, type TokenLevel } from './tokenizer.js'
export { Vocabulary, type VocabularyJSON, type VocabularyOptions } from './vocabulary.js'
