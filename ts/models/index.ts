/** Whole models. */
export type { GenerateOptions } from './generate.js'
export {
  type CellName,
  LanguageModel,
  type LanguageModelConfig,
  type LanguageModelOptions,
  type LanguageModelState,
} from './language_model.js'
