/** What a Seq2Seq is: its options, and its inputs as tokens. */
import { Vocabulary } from '../data/vocabulary.js'
import type { Device } from '../device.js'
import {
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  rangeError,
  typeError,
} from '../errors.js'
import { CELL_NAMES, type CellName } from './cell_names.js'

/** How a decoder looks at the source: Luong's general and dot products, Bahdanau's sum; null: not. */
export type Attention = 'general' | 'dot' | 'additive' | null

/** A text, whose characters are its tokens unless a vocabulary cuts it otherwise, or tokens. */
export type TokenInput = string | readonly string[]

/** What {@link Seq2Seq} takes. */
export interface Seq2SeqOptions {
  /** Of the inputs. Default: what the data have. */
  source?: Vocabulary
  /** Of the targets, `<s>` and `</s>` among its tokens. Default: what the data have. */
  target?: Vocabulary
  /** E, of both sides. Default 64. */
  embeddingSize?: number
  /** Default 'gru'. */
  cell?: CellName
  /** H, of the encoder in each direction, and of the decoder. Default 128. */
  hiddenSize?: number
  /** Default 1. */
  numLayers?: number
  /** On embeddings, between layers, and before the output. Default 0.1. */
  dropout?: number
  /** Default 'general'. */
  attention?: Attention
  /** How often the decoder reads the true token before, in training; else its own likeliest one. Default 1. */
  teacherForcing?: number
  /** Default 0. */
  labelSmoothing?: number
  /** Tokens of the longest output. Default 100. */
  maxLength?: number
  /** Where the parameters are made. Default: the default device. */
  device?: string | Device
}

/** The options with their defaults. */
export interface Seq2SeqConfig {
  embeddingSize: number
  cell: CellName
  hiddenSize: number
  numLayers: number
  dropout: number
  attention: Attention
  teacherForcing: number
  labelSmoothing: number
  maxLength: number
}

/** An input and what is to come out. */
export interface SequencePair {
  input: TokenInput
  target: TokenInput
}

const KEYS = [
  'embeddingSize',
  'cell',
  'hiddenSize',
  'numLayers',
  'dropout',
  'attention',
  'teacherForcing',
  'labelSmoothing',
  'maxLength',
]

export const BEGIN = '<s>'
export const END = '</s>'
export const PAD = '<pad>'

/** @throws TypeError, RangeError */
export function checkSeq2Seq(options: Seq2SeqOptions): Seq2SeqConfig {
  const fn = 'Seq2Seq'
  checkOptions(fn, options, [...KEYS, 'source', 'target', 'device'])
  for (const name of ['source', 'target'] as const)
    if (options[name] !== undefined && !(options[name] instanceof Vocabulary))
      throw typeError(fn, name, 'a Vocabulary', options[name])
  if (options.target !== undefined)
    for (const token of [BEGIN, END])
      if (!options.target.has(token))
        throw rangeError(
          fn,
          'target',
          `a vocabulary with ${BEGIN} and ${END} (specialTokens: ['${BEGIN}', '${END}'])`,
          `one without ${token}`,
        )
  const dropout = checkNumber(fn, 'dropout', options.dropout ?? 0.1, 0, 1)
  if (dropout === 1) throw rangeError(fn, 'dropout', 'a number below 1', '1')
  const { attention = 'general' } = options
  return {
    embeddingSize: checkInteger(fn, 'embeddingSize', options.embeddingSize ?? 64, 1, 2 ** 16),
    cell: checkOneOf(fn, 'cell', options.cell ?? 'gru', CELL_NAMES),
    hiddenSize: checkInteger(fn, 'hiddenSize', options.hiddenSize ?? 128, 1, 2 ** 16),
    numLayers: checkInteger(fn, 'numLayers', options.numLayers ?? 1, 1, 64),
    dropout,
    attention:
      attention === null
        ? null
        : checkOneOf<'general' | 'dot' | 'additive'>(fn, 'attention', attention, [
            'general',
            'dot',
            'additive',
          ] as const),
    teacherForcing: checkNumber(fn, 'teacherForcing', options.teacherForcing ?? 1, 0, 1),
    labelSmoothing: checkNumber(fn, 'labelSmoothing', options.labelSmoothing ?? 0, 0, 1),
    maxLength: checkInteger(fn, 'maxLength', options.maxLength ?? 100, 1, 2 ** 16),
  }
}

/** The tokens of one side. @throws TypeError, RangeError for none */
export function sideTokens(
  fn: string,
  name: string,
  given: unknown,
  vocabulary: Vocabulary | null,
): string[] {
  const expected = 'a text or an array of tokens'
  if (typeof given !== 'string' && !Array.isArray(given)) throw typeError(fn, name, expected, given)
  const tokens =
    typeof given === 'string'
      ? vocabulary === null
        ? [...given]
        : vocabulary.tokenizer.tokenize(given)
      : Array.from(given as unknown[])
  tokens.forEach((token, i) => {
    if (typeof token !== 'string') throw typeError(fn, `${name}[${i}]`, 'a token, a text', token)
  })
  if (tokens.length === 0) throw rangeError(fn, name, 'at least one token', 'none')
  return tokens as string[]
}

/** The same of a target. @throws RangeError for a token that the model sets itself */
export function targetTokens(
  fn: string,
  name: string,
  given: unknown,
  vocabulary: Vocabulary | null,
): string[] {
  const tokens = sideTokens(fn, name, given, vocabulary)
  const own = tokens.findIndex((token) => token === BEGIN || token === END || token === PAD)
  if (own >= 0)
    throw rangeError(
      fn,
      `${name}[${own}]`,
      `another token than ${PAD}, ${BEGIN} and ${END}, which the model sets itself`,
      `'${tokens[own]}'`,
    )
  return tokens
}

/** @throws TypeError, RangeError with the number of the example */
export function checkPairs(fn: string, name: string, given: unknown): SequencePair[] {
  if (!Array.isArray(given)) throw typeError(fn, name, 'an array of { input, target }', given)
  const list = Array.from(given as unknown[])
  if (list.length === 0) throw rangeError(fn, name, 'at least one example', 'none')
  list.forEach((one, i) => {
    if (typeof one !== 'object' || one === null)
      throw typeError(fn, `${name}[${i}]`, 'an object { input, target }', one)
  })
  return list as SequencePair[]
}
