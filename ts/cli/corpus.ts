/** Reading what to learn: texts, vocabulary, batches. */
import { wholeText } from '../data/text.js'
import { data } from '../index.js'
import { sonnets } from './demo.js'
import { UserError } from './errors.js'
import { plural } from './format.js'
import type { Settings } from './settings.js'

export interface Corpus {
  name: string
  vocabulary: data.Vocabulary
  train: Int32Array
  /** Null: no validation. */
  valid: Int32Array | null
}

/** A text file. @throws as data.loadText, with the advice of the command line */
export function readText(file: string, encoding?: string): Promise<string> {
  const advice = (name: string): string => `give --encoding ${name}`
  return wholeText({ fn: 'train', name: `'${file}'`, advice }, file, { encoding })
}

/** @throws UserError, or what data.* throws, for a text that cannot be learned from */
export async function loadCorpus(settings: Settings): Promise<Corpus> {
  const { encoding } = settings
  const text = settings.text === null ? sonnets() : await readText(settings.text, encoding)
  const name = settings.text ?? "Shakespeare's sonnets"
  const tokenizer = new data.Tokenizer({
    level: settings.level,
    lowerCase: settings.clean ?? false,
    lettersOnly: settings.clean ?? false,
    keepCr: settings.keepCr ?? false,
  })
  const vocabulary = data.Vocabulary.fromText(text, {
    tokenizer,
    minFrequency: settings.minFrequency,
  })
  if (vocabulary.size < 2) {
    throw new UserError(
      `--min-frequency ${settings.minFrequency} leaves no ${settings.level === 'char' ? 'character' : 'word'} of the text: none occurs as often`,
    )
  }
  const tokens = vocabulary.encode(text)
  if (settings.valid !== undefined) {
    const valid = vocabulary.encode(await readText(settings.valid, encoding))
    return { name, vocabulary, train: tokens, valid }
  }
  if (settings.validRatio === 0) return { name, vocabulary, train: tokens, valid: null }
  const [train, valid] = data.split(tokens, settings.validRatio)
  return { name, vocabulary, train, valid }
}

/** Batches to train with. @throws UserError when the text is too short for them */
export function trainBatches(tokens: Int32Array, settings: Settings): data.TextBatches {
  const { batchSize, steps: sequenceLength, seed, sampling } = settings
  if (tokens.length <= sequenceLength) {
    throw new UserError(
      `the window of --steps ${sequenceLength} is longer than the text to train with, which has ${plural(tokens.length, 'token')}`,
    )
  }
  const random = sampling === 'random'
  const most = Math.floor(tokens.length / (random ? sequenceLength + 1 : 2))
  if (batchSize > most) {
    throw new UserError(
      `--batch-size ${batchSize} is too large for the text to train with: its ${plural(tokens.length, 'token')} give at most ${plural(most, 'sequence')} side by side`,
    )
  }
  return random
    ? new data.RandomWindows(tokens, { batchSize, sequenceLength, seed })
    : new data.SequentialBatches(tokens, { batchSize, sequenceLength })
}

/**
 * Consecutive batches over a whole text, however short it is.
 * @param what how to name the text
 * @throws UserError for one token
 */
export function readingBatches(
  tokens: Int32Array,
  batchSize: number,
  steps: number,
  what = 'the text',
): data.TextBatches {
  if (tokens.length < 2)
    throw new UserError(`${what} is too short: it has no second token to predict`)
  const rows = Math.min(batchSize, Math.floor(tokens.length / 2))
  const sequenceLength = Math.min(steps, Math.floor(tokens.length / rows) - 1)
  return new data.SequentialBatches(tokens, { batchSize: rows, sequenceLength })
}
