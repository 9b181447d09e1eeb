/** Whole models. */
export type { CellName, LanguageModelConfig } from './config.js'
export type { GenerateOptions } from './generate.js'
export {
  LanguageModel,
  type LanguageModelOptions,
  type LanguageModelState,
} from './language_model.js'
