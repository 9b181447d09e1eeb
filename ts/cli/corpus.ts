/** Reading what to learn: texts, vocabulary, batches. */
import { data } from '../index.js'
import { sonnets } from './demo.js'
import { UserError } from './errors.js'
import { count, plural } from './format.js'
import { countsOf, nameOf, readTokens, renumber, STDIN, type Tokens, tokensOf } from './reading.js'
import type { Settings } from './settings.js'

export interface Corpus {
  name: string
  vocabulary: data.Vocabulary
  train: Int32Array
  /** Null: no validation. */
  valid: Int32Array | null
}

/** A vocabulary that a model has already, and how to say what does not fit it. */
export interface Known {
  vocabulary: data.Vocabulary
  /** `cannot resume` */
  otherwise: string
  /** `the model in 'm'` */
  owner: string
}

/** @throws UserError, or what data.* throws, for a text that cannot be learned from */
export async function loadCorpus(settings: Settings, known: Known | null): Promise<Corpus> {
  const { encoding, text } = settings
  const tokenizer =
    known?.vocabulary.tokenizer ??
    new data.Tokenizer({
      level: settings.level,
      lowerCase: settings.clean ?? false,
      lettersOnly: settings.clean ?? false,
      keepCr: settings.keepCr ?? false,
    })
  const tokens =
    text === null ? tokensOf(sonnets(), tokenizer) : await readTokens(text, tokenizer, { encoding })
  const name = text === null ? "Shakespeare's sonnets" : text.map(plainName).join(', ')
  const vocabulary = known?.vocabulary ?? vocabularyOf(tokens, tokenizer, settings)
  const { unknown, examples } = renumber(tokens, vocabulary)
  const { numbers } = tokens
  // Rare words have taught the model what <unk> is.
  if (known !== null && unknown > 0 && !settings.allowUnknown && settings.minFrequency === 1) {
    const kind = tokenizer.level === 'char' ? 'character' : 'word'
    throw new UserError(
      `${known.otherwise}: the vocabulary of ${known.owner} does not fit ${text?.map(nameOf).join(', ')}: ${count(unknown)} of ${plural(numbers.length, kind)} are not in it (${examples.map((one) => JSON.stringify(one)).join(', ')}${examples.length < 5 ? '' : ', …'}); leave them out, or give --allow-unknown to read them as ${vocabulary.unknownToken}`,
    )
  }
  if (settings.valid !== undefined) {
    const others = await readTokens([settings.valid], tokenizer, { encoding })
    renumber(others, vocabulary)
    return { name, vocabulary, train: numbers, valid: others.numbers }
  }
  if (settings.validRatio === 0) return { name, vocabulary, train: numbers, valid: null }
  const [train, valid] = data.split(numbers, settings.validRatio)
  return { name, vocabulary, train, valid }
}

const plainName = (file: string): string => (file === STDIN ? nameOf(file) : file)

/** @throws UserError for a text with nothing to learn */
function vocabularyOf(
  tokens: Tokens,
  tokenizer: data.Tokenizer,
  { minFrequency, level }: Settings,
): data.Vocabulary {
  const kind = level === 'char' ? 'character' : 'word'
  if (tokens.names.length < 2) {
    const only = tokens.names.map((token) => `only ${JSON.stringify(token)}`)
    throw new UserError(`text: expected at least two different ${kind}s, got ${only[0] ?? 'none'}`)
  }
  const vocabulary = data.Vocabulary.fromCounts(countsOf(tokens), { tokenizer, minFrequency })
  if (vocabulary.size < 2) {
    throw new UserError(
      `--min-frequency ${minFrequency} leaves no ${kind} of the text: none occurs as often`,
    )
  }
  return vocabulary
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
