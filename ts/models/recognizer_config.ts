/** What a SequenceRecognizer is: its options, its results, and what it learns beside its weights. */
import type { Scale } from '../data/window_features.js'
import type { Device } from '../device.js'
import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  checkString,
  rangeError,
  typeError,
} from '../errors.js'
import { CELL_NAMES, type CellName } from './cell_names.js'

/** What {@link SequenceRecognizer} takes. */
export interface SequenceRecognizerOptions {
  /** What can be recognised, in the order of their numbers. Default: all labels of the data, sorted. */
  labels?: readonly string[]
  /** F, the numbers of a row. Default: that of the data. */
  inputSize?: number
  /** Default 'gru'. */
  cell?: CellName
  /** H, in each direction. Default 64. */
  hiddenSize?: number
  /** Default 1. */
  numLayers?: number
  /** Whether rows are read backwards, too; `stream` needs false. Default true. */
  bidirectional?: boolean
  /** Between layers, and before the output. Default 0.2. */
  dropout?: number
  /** Where the parameters are made. Default: the default device. */
  device?: string | Device
}

/** Rows and the labels that are in them, in their order; of a text, each character is a label. */
export interface TranscribedSequence {
  input: readonly ArrayLike<number>[]
  target: string | readonly string[]
}

/** What is recognised in a sequence. */
export interface Recognition {
  labels: string[]
  /** The logarithm of its probability: of the one way (greedy), or of all ways that were followed. */
  score: number
}

/** What a recogniser of sequences is asked. */
export interface RecognizeOptions {
  /** Sequences side by side. Default 64. */
  batchSize?: number
  /** 1: the likeliest label of each row; more: prefix beam search over so many. Default 1. */
  beamSize?: number
}

/** The options with their defaults; null: by the data. */
export interface SequenceRecognizerConfig {
  labels: readonly string[] | null
  inputSize: number | null
  cell: CellName
  hiddenSize: number
  numLayers: number
  bidirectional: boolean
  dropout: number
}

/** What `fit` has found in the data. */
export interface RecognizerState {
  labels: string[]
  /** Of the columns of the rows. */
  scales: Scale[]
}

const KEYS = [
  'labels',
  'inputSize',
  'cell',
  'hiddenSize',
  'numLayers',
  'bidirectional',
  'dropout',
] as const

/** @throws TypeError, RangeError */
export function checkRecognizer(options: SequenceRecognizerOptions): SequenceRecognizerConfig {
  const fn = 'SequenceRecognizer'
  checkOptions(fn, options, [...KEYS, 'device'])
  const { labels, inputSize } = options
  const dropout = checkNumber(fn, 'dropout', options.dropout ?? 0.2, 0, 1)
  if (dropout === 1) throw rangeError(fn, 'dropout', 'a number below 1', '1')
  return {
    labels: labels == null ? null : checkLabels(fn, labels),
    inputSize: inputSize == null ? null : checkInteger(fn, 'inputSize', inputSize, 1, 2 ** 20),
    cell: checkOneOf(fn, 'cell', options.cell ?? 'gru', CELL_NAMES),
    hiddenSize: checkInteger(fn, 'hiddenSize', options.hiddenSize ?? 64, 1, 2 ** 16),
    numLayers: checkInteger(fn, 'numLayers', options.numLayers ?? 1, 1, 64),
    bidirectional: checkBoolean(fn, 'bidirectional', options.bidirectional ?? true),
    dropout,
  }
}

function checkLabels(fn: string, given: unknown): string[] {
  if (!Array.isArray(given)) throw typeError(fn, 'labels', 'an array of labels', given)
  const list = Array.from(given, (label, i) => checkString(fn, `labels[${i}]`, label))
  if (list.length === 0) throw rangeError(fn, 'labels', 'at least one label', 'none')
  const twice = list.find((label, i) => list.indexOf(label) < i)
  if (twice !== undefined) throw rangeError(fn, 'labels', 'distinct labels', `'${twice}' twice`)
  return list
}

/** Examples, their targets as labels. @throws TypeError, RangeError with the number of the example */
export function checkTranscribed(
  fn: string,
  name: string,
  given: unknown,
): { input: unknown; target: string[] }[] {
  if (!Array.isArray(given)) throw typeError(fn, name, 'an array of { input, target }', given)
  const list = Array.from(given as unknown[])
  if (list.length === 0) throw rangeError(fn, name, 'at least one example', 'none')
  return list.map((one, i) => {
    if (typeof one !== 'object' || one === null)
      throw typeError(fn, `${name}[${i}]`, 'an object { input, target }', one)
    const { input, target } = one as { input?: unknown; target?: unknown }
    const where = `${name}[${i}].target`
    if (typeof target !== 'string' && !Array.isArray(target))
      throw typeError(fn, where, 'a text or an array of labels', target)
    const labels =
      typeof target === 'string'
        ? [...target]
        : Array.from(target as unknown[], (label, k) => checkString(fn, `${where}[${k}]`, label))
    if (labels.length === 0) throw rangeError(fn, where, 'at least one label', 'none')
    return { input, target: labels }
  })
}

/** The numbers of labels, from 1: 0 is the blank. @throws RangeError for one that is none */
export function numbersOfLabels(
  fn: string,
  name: string,
  target: readonly string[],
  index: ReadonlyMap<string, number>,
): number[] {
  return target.map((label, k) => {
    const found = index.get(label)
    if (found !== undefined) return found
    const some = [...index.keys()].slice(0, 20).join(', ')
    const expected = `one of the ${index.size} labels (${some}${index.size > 20 ? ', …' : ''})`
    throw rangeError(fn, `${name}[${k}]`, expected, `'${label}'`)
  })
}

/** @throws RangeError for a target that no way through the rows can give */
export function checkFits(fn: string, name: string, rows: number, target: readonly number[]): void {
  const doubled = target.filter((label, k) => k > 0 && label === target[k - 1]).length
  if (target.length + doubled <= rows) return
  const between = doubled === 0 ? '' : ` and ${doubled} blanks between equal ones`
  throw rangeError(
    fn,
    name,
    `at most ${rows} labels, as the input has ${rows} row${rows === 1 ? '' : 's'}`,
    `${target.length}${between}`,
  )
}
