/** What a SequenceTagger is: its options, and its sentences. */
import { Vocabulary } from '../data/vocabulary.js'
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
import type { Span } from '../metrics/sequences.js'
import { CELL_NAMES, type CellName } from './cell_names.js'

/** What of a word is an input beside the word itself: its end, its capitals and digits. */
export type TokenFeature = 'suffix3' | 'shape'

/** What {@link SequenceTagger} takes. */
export interface SequenceTaggerOptions {
  /** In the order of their numbers. Default: all of the data, sorted. */
  tags?: readonly string[]
  /** Numbers the tokens. Default: those of the data. */
  vocabulary?: Vocabulary
  /** Default: both. */
  features?: readonly TokenFeature[]
  /** E, of tokens; features have a quarter. Default 100. */
  embeddingSize?: number
  /** Default 'lstm'. */
  cell?: CellName
  /** H, in each direction. Default 100. */
  hiddenSize?: number
  /** Default 1. */
  numLayers?: number
  /** Default 0.3. */
  dropout?: number
  /** Whether the tags of a sentence are scored together. Default: for BIO tags (`B-PER`, `I-PER`, `O`). */
  crf?: boolean
  /** Where the parameters are made. Default: the default device. */
  device?: string | Device
}

/** A sentence with its tags. */
export interface TaggedSequence {
  input: readonly string[]
  tags: readonly string[]
}

/** What the tagger says of a sentence. */
export interface Tagging {
  tags: string[]
  /** Of each tag, its probability by itself. */
  scores: number[]
  /** What BIO tags mark; missing with others. */
  spans?: Span[]
}

/** The options with their defaults; null: by the data. */
export interface SequenceTaggerConfig {
  tags: readonly string[] | null
  features: readonly TokenFeature[]
  embeddingSize: number
  cell: CellName
  hiddenSize: number
  numLayers: number
  dropout: number
  crf: boolean | null
}

/** What `fit` has found. */
export interface TaggerState {
  tags: string[]
  crf: boolean
}

export interface Vocabularies {
  words: Vocabulary
  features: Vocabulary[]
}

const KEYS = [
  'tags',
  'features',
  'embeddingSize',
  'cell',
  'hiddenSize',
  'numLayers',
  'dropout',
  'crf',
]

export function checkTagger(options: SequenceTaggerOptions): SequenceTaggerConfig {
  const fn = 'SequenceTagger'
  checkOptions(fn, options, [...KEYS, 'vocabulary', 'device'])
  const { tags, vocabulary, features = ['suffix3', 'shape'] } = options
  if (vocabulary !== undefined && !(vocabulary instanceof Vocabulary))
    throw typeError(fn, 'vocabulary', 'a Vocabulary', vocabulary)
  if (!Array.isArray(features)) throw typeError(fn, 'features', 'an array', features)
  if (tags != null && !Array.isArray(tags)) throw typeError(fn, 'tags', 'an array of tags', tags)
  const list =
    tags == null ? null : Array.from(tags, (tag, i) => checkString(fn, `tags[${i}]`, tag))
  if (list !== null && new Set(list).size < Math.max(2, list.length))
    throw rangeError(fn, 'tags', 'at least two distinct tags', list.slice(0, 8).join(', '))
  const dropout = checkNumber(fn, 'dropout', options.dropout ?? 0.3, 0, 1)
  if (dropout === 1) throw rangeError(fn, 'dropout', 'a number below 1', '1')
  return {
    tags: list,
    features: [
      ...new Set(
        Array.from(features, (one, i) =>
          checkOneOf(fn, `features[${i}]`, one, ['suffix3', 'shape'] as const),
        ),
      ),
    ],
    embeddingSize: checkInteger(fn, 'embeddingSize', options.embeddingSize ?? 100, 1, 2 ** 16),
    cell: checkOneOf(fn, 'cell', options.cell ?? 'lstm', CELL_NAMES),
    hiddenSize: checkInteger(fn, 'hiddenSize', options.hiddenSize ?? 100, 1, 2 ** 16),
    numLayers: checkInteger(fn, 'numLayers', options.numLayers ?? 1, 1, 64),
    dropout,
    crf: options.crf == null ? null : checkBoolean(fn, 'crf', options.crf),
  }
}

/** Capitals, small letters, digits and others, each run once: 'McDonald-7' is 'AaAa-0'. */
export function featureOf(feature: TokenFeature, token: string): string {
  if (feature === 'suffix3') return token.slice(-3).toLowerCase()
  return token
    .replace(/\p{Lu}+/gu, 'A')
    .replace(/[\p{Ll}\p{Lo}]+/gu, 'a')
    .replace(/\p{N}+/gu, '0')
    .slice(0, 12)
}

/** Whether tags mark spans. */
export const isBio = (tags: readonly string[]): boolean =>
  tags.some((tag) => tag.startsWith('B-')) &&
  tags.every((tag) => tag === 'O' || /^[BI]-./.test(tag))

/** @throws TypeError, RangeError */
export function checkTokens(fn: string, name: string, tokens: unknown): string[] {
  if (!Array.isArray(tokens)) throw typeError(fn, name, 'an array of tokens', tokens)
  if (tokens.length === 0) throw rangeError(fn, name, 'at least one token', 'none')
  return Array.from(tokens, (token, i) => checkString(fn, `${name}[${i}]`, token))
}

/** @throws TypeError, RangeError with the number of the example */
export function checkSentences(
  fn: string,
  name: string,
  given: unknown,
): { input: string[]; tags: string[] }[] {
  if (!Array.isArray(given)) throw typeError(fn, name, 'an array of { input, tags }', given)
  if (given.length === 0) throw rangeError(fn, name, 'at least one example', 'none')
  return Array.from(given as unknown[], (one, i) => {
    if (typeof one !== 'object' || one === null)
      throw typeError(fn, `${name}[${i}]`, 'an object { input, tags }', one)
    const { input, tags } = one as { input?: unknown; tags?: unknown }
    const tokens = checkTokens(fn, `${name}[${i}].input`, input)
    const labels = checkTokens(fn, `${name}[${i}].tags`, tags)
    if (labels.length !== tokens.length)
      throw rangeError(
        fn,
        `${name}[${i}].tags`,
        `${tokens.length} tags, one for each token`,
        String(labels.length),
      )
    return { input: tokens, tags: labels }
  })
}
