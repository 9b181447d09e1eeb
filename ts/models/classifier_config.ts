/** What a SequenceClassifier is: its options, its results, and what it learns beside its weights. */
import { Vocabulary } from '../data/vocabulary.js'
import type { Scale } from '../data/window_features.js'
import type { Device } from '../device.js'
import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  rangeError,
  typeError,
} from '../errors.js'
import type { Label } from '../metrics/checks.js'
import { CELL_NAMES, type CellName } from './cell_names.js'
import { type ClassWeight, checkClasses, checkClassWeight } from './labels.js'
import type { SequenceInput } from './text_inputs.js'

/** What becomes of the states of all steps. */
export type Pooling = 'concat' | 'last' | 'max' | 'mean'

/** What {@link SequenceClassifier} takes. */
export interface SequenceClassifierOptions {
  /** In the order of their numbers; of two, the second is the one whose F1 counts. Default: all labels, sorted. */
  classes?: readonly Label[]
  /** Cuts and numbers texts. Default: words in lower case, those of the data. */
  vocabulary?: Vocabulary
  /** F, for rows of numbers. Default: that of the data. */
  inputSize?: number
  /** E, of texts. Default 64. */
  embeddingSize?: number
  /** Default 'gru'. */
  cell?: CellName
  /** H. Default 64. */
  hiddenSize?: number
  /** Default 1. */
  numLayers?: number
  /** Default true. */
  bidirectional?: boolean
  /** On the embedding, between layers, and on what is pooled. Default 0.3. */
  dropout?: number
  /** 'concat': last state, largest and mean of all steps, side by side. Default 'concat'. */
  pooling?: Pooling
  /** Steps that are read; what comes after is not. Default 256. */
  maxLength?: number
  /** Default: every example counts alike. */
  classWeight?: ClassWeight
  /** Where the parameters are made. Default: the default device. */
  device?: string | Device
}

/** A sequence with its class. */
export interface LabelledSequence {
  input: SequenceInput
  label: Label
}

/** What the classifier says of a sequence. */
export interface Classification {
  label: Label
  /** The probability of the label. */
  score: number
  /** The probability of each class, in the order of the classes. */
  scores: Record<string, number>
}

/** How well a classifier does. */
export interface ClassificationResult {
  accuracy: number
  /** Of the second of two classes; of more, the mean of all. */
  f1: number
  /** Row i, column j: how often class i was taken for class j. */
  confusionMatrix: number[][]
  classes: Label[]
  /** The confusion matrix for a terminal. */
  text: string
}

/** The options with their defaults; null: by the data. */
export interface SequenceClassifierConfig {
  classes: readonly Label[] | null
  inputSize: number | null
  embeddingSize: number
  cell: CellName
  hiddenSize: number
  numLayers: number
  bidirectional: boolean
  dropout: number
  pooling: Pooling
  maxLength: number
  classWeight: ClassWeight | null
}

/** What `fit` has found in the data. */
export interface ClassifierState {
  classes: Label[]
  weights: number[] | null
  /** Of the columns of rows of numbers; null for texts. */
  scales: Scale[] | null
}

const KEYS = [
  'classes',
  'inputSize',
  'embeddingSize',
  'cell',
  'hiddenSize',
  'numLayers',
  'bidirectional',
  'dropout',
  'pooling',
  'maxLength',
  'classWeight',
]
/** @throws TypeError, RangeError */
export function checkClassifier(
  fn: string,
  options: SequenceClassifierOptions,
): SequenceClassifierConfig {
  checkOptions(fn, options, [...KEYS, 'vocabulary', 'device'])
  const dropout = checkNumber(fn, 'dropout', options.dropout ?? 0.3, 0, 1)
  if (dropout === 1) throw rangeError(fn, 'dropout', 'a number below 1', '1')
  const { vocabulary, inputSize } = options
  if (vocabulary !== undefined && !(vocabulary instanceof Vocabulary))
    throw typeError(fn, 'vocabulary', 'a Vocabulary', vocabulary)
  if (vocabulary !== undefined && inputSize != null)
    throw typeError(fn, 'inputSize', 'none beside a vocabulary', inputSize)
  return {
    classes: options.classes == null ? null : checkClasses(fn, options.classes),
    inputSize: inputSize == null ? null : checkInteger(fn, 'inputSize', inputSize, 1, 2 ** 20),
    embeddingSize: checkInteger(fn, 'embeddingSize', options.embeddingSize ?? 64, 1, 2 ** 16),
    cell: checkOneOf(fn, 'cell', options.cell ?? 'gru', CELL_NAMES),
    hiddenSize: checkInteger(fn, 'hiddenSize', options.hiddenSize ?? 64, 1, 2 ** 16),
    numLayers: checkInteger(fn, 'numLayers', options.numLayers ?? 1, 1, 64),
    bidirectional: checkBoolean(fn, 'bidirectional', options.bidirectional ?? true),
    dropout,
    pooling: checkOneOf(fn, 'pooling', options.pooling ?? 'concat', [
      'concat',
      'last',
      'max',
      'mean',
    ]),
    maxLength: checkInteger(fn, 'maxLength', options.maxLength ?? 256, 1, 2 ** 24),
    classWeight: checkClassWeight(fn, options.classWeight),
  }
}

/** What the last layer reads. */
export function pooledSize({
  hiddenSize,
  bidirectional,
  pooling,
}: SequenceClassifierConfig): number {
  return hiddenSize * (bidirectional ? 2 : 1) * (pooling === 'concat' ? 3 : 1)
}

/** @throws TypeError, RangeError with the number of the example */
export function checkExamples(fn: string, name: string, examples: unknown): [unknown[], Label[]] {
  if (!Array.isArray(examples)) throw typeError(fn, name, 'an array of { input, label }', examples)
  const list = Array.from(examples as unknown[])
  if (list.length === 0) throw rangeError(fn, name, 'at least one example', 'none')
  const labels = list.map((example, i): Label => {
    if (typeof example !== 'object' || example === null)
      throw typeError(fn, `${name}[${i}]`, 'an object { input, label }', example)
    const { label } = example as { label?: unknown }
    if (typeof label !== 'string' && typeof label !== 'boolean' && typeof label !== 'number')
      throw typeError(fn, `${name}[${i}].label`, 'a text, number or boolean', label)
    if (label === '' || (typeof label === 'number' && !Number.isFinite(label)))
      throw rangeError(fn, `${name}[${i}].label`, 'a label', label === '' ? "''" : String(label))
    return label
  })
  return [list.map((example) => (example as { input?: unknown }).input), labels]
}
