/** What a language model is: its sizes and kinds. */
import { Vocabulary } from '../data/vocabulary.js'
import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  formatShape,
  rangeError,
  typeError,
} from '../errors.js'
import { storedShape } from '../quantization/int8.js'
import { sameShape } from '../shape.js'
import type { Tensor } from '../tensor.js'
import { CELL_NAMES, type CellName } from './cell_names.js'
import type { LanguageModelOptions } from './language_model.js'

/** Sizes and kinds; what is written as config.json. */
export interface LanguageModelConfig {
  /** V, the number of tokens. */
  vocabSize: number
  /** E, the width of the embedding; 0: no embedding, the layers read one-hot vectors. Default 200. */
  embeddingSize: number
  /** H. Default 200. */
  hiddenSize: number
  /** Default 2. */
  numLayers: number
  /** Default 'lstm'. */
  cell: CellName
  /** Of the cell 'rnn'. Default 'tanh'. */
  nonlinearity: 'tanh' | 'relu'
  /** On the embedding, between the layers and on the output. Default 0.2. */
  dropout: number
  /** One matrix for embedding and output layer; needs embeddingSize = hiddenSize. Default false. */
  tieWeights: boolean
}

const KEYS = [
  'vocabSize',
  'embeddingSize',
  'hiddenSize',
  'numLayers',
  'cell',
  'nonlinearity',
  'dropout',
  'tieWeights',
] as const

/** The options with their defaults in place. @throws TypeError, RangeError */
export function checkConfig(options: LanguageModelOptions): LanguageModelConfig {
  const fn = 'LanguageModel'
  checkOptions(fn, options, [...KEYS, 'vocabulary', 'device'])
  const { vocabulary } = options
  if (vocabulary !== undefined && !(vocabulary instanceof Vocabulary))
    throw typeError(fn, 'vocabulary', 'a Vocabulary', vocabulary)
  const cell = checkOneOf(fn, 'cell', options.cell ?? 'lstm', CELL_NAMES)
  if (options.nonlinearity !== undefined && cell !== 'rnn')
    throw typeError(fn, 'nonlinearity', "nothing (it belongs to cell 'rnn')", options.nonlinearity)
  const config: LanguageModelConfig = {
    vocabSize: checkInteger(fn, 'vocabSize', options.vocabSize ?? vocabulary?.size, 1),
    embeddingSize: checkInteger(fn, 'embeddingSize', options.embeddingSize ?? 200, 0),
    hiddenSize: checkInteger(fn, 'hiddenSize', options.hiddenSize ?? 200, 1),
    numLayers: checkInteger(fn, 'numLayers', options.numLayers ?? 2, 1),
    cell,
    nonlinearity: checkOneOf(fn, 'nonlinearity', options.nonlinearity ?? 'tanh', ['tanh', 'relu']),
    dropout: checkNumber(fn, 'dropout', options.dropout ?? 0.2, 0, 1),
    tieWeights: checkBoolean(fn, 'tieWeights', options.tieWeights ?? false),
  }
  const { vocabSize, embeddingSize, hiddenSize } = config
  if (vocabulary !== undefined && vocabulary.size !== vocabSize) {
    throw rangeError(fn, 'vocabulary', `${vocabSize} tokens (vocabSize)`, String(vocabulary.size))
  }
  if (config.tieWeights && embeddingSize !== hiddenSize) {
    throw rangeError(
      fn,
      'tieWeights',
      'embeddingSize equal to hiddenSize',
      `${embeddingSize} and ${hiddenSize}`,
    )
  }
  return config
}

/**
 * Whether weights are of the sizes that a configuration names. Before a model is made: a damaged
 * configuration must not ask for more memory than the file has tensors.
 * @throws RangeError
 */
export function checkSizes(
  config: Readonly<LanguageModelConfig>,
  weights: ReadonlyMap<string, Tensor>,
): void {
  const { vocabSize, hiddenSize, embeddingSize, numLayers } = config
  const check = (name: string, expected: readonly number[]): void => {
    const shape = weights.get(name)?.shape
    if (shape === undefined) throw rangeError('loadStateDict', name, 'a tensor', 'none')
    const stored = storedShape(weights, name, expected)
    if (sameShape(shape, stored)) return
    throw rangeError(
      'loadStateDict',
      `'${name}'`,
      `shape ${formatShape(stored)}`,
      formatShape(shape),
    )
  }
  check('decoder.weight', [vocabSize, hiddenSize])
  if (embeddingSize > 0) check('encoder.weight', [vocabSize, embeddingSize])
  if (!weights.has(`rnn.weight_ih_l${numLayers - 1}`))
    throw rangeError('loadStateDict', 'rnn', `${numLayers} layers`, 'fewer')
}
