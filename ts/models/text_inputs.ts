/** Texts, tokens or rows of numbers as a network reads them. */
import { checkRow } from '../data/example_batches.js'
import { Vocabulary } from '../data/vocabulary.js'
import type { Scale } from '../data/window_features.js'
import { checkIterable, rangeError, typeError } from '../errors.js'

/** A text, its tokens, or rows of numbers. */
export type SequenceInput = string | readonly string[] | readonly ArrayLike<number>[]

/** Words and single marks, in lower case: what texts are cut into where there is no vocabulary yet. */
export function wordsOf(text: string): string[] {
  return (
    text.toLowerCase().match(/[\p{L}\p{M}\p{N}]+(?:['’][\p{L}]+)?|[^\s\p{L}\p{M}\p{N}]/gu) ?? []
  )
}

export const PADDING = '<pad>'

/** Whether inputs are texts or tokens, not rows of numbers. @throws TypeError */
export function isText(fn: string, name: string, input: unknown): boolean {
  if (typeof input === 'string') return true
  if (Array.isArray(input)) {
    const [first] = input
    if (typeof first === 'string') return true
    if (Array.isArray(first) || ArrayBuffer.isView(first)) return false
    if (input.length === 0) throw rangeError(fn, name, 'at least one step', 'none')
  }
  throw typeError(fn, name, 'a text, an array of tokens, or rows of numbers', input)
}

/** The tokens of an input. @throws TypeError, RangeError for none */
export function tokensOf(
  fn: string,
  name: string,
  input: unknown,
  cut: (text: string) => string[],
): string[] {
  if (!isText(fn, name, input)) throw typeError(fn, name, 'a text or tokens, as the others', input)
  const tokens = typeof input === 'string' ? cut(input) : Array.from(input as unknown[])
  tokens.forEach((token, i) => {
    if (typeof token !== 'string') throw typeError(fn, `${name}[${i}]`, 'a token, a text', token)
  })
  if (tokens.length === 0)
    throw rangeError(fn, name, 'a text with at least one word', 'an empty one')
  return tokens as string[]
}

/** A vocabulary of what occurs in the data: rare tokens of large data are unknown. */
export function vocabularyOf(all: readonly (readonly string[])[], maxSize = 30_000): Vocabulary {
  return Vocabulary.fromTokens(all.flat(), {
    minFrequency: all.length >= 500 ? 2 : 1,
    maxSize,
    specialTokens: [PADDING],
  })
}

/** Numbers of tokens, the first `maxLength` of them. @throws RangeError where all are unknown */
export function encoded(
  fn: string,
  name: string,
  tokens: readonly string[],
  vocabulary: Vocabulary,
  maxLength: number,
): Int32Array {
  const part = tokens.slice(0, maxLength)
  if (!tokens.some((token) => vocabulary.has(token)))
    throw rangeError(
      fn,
      name,
      'at least one token of the vocabulary',
      `only unknown ones, such as '${tokens[0]}'`,
    )
  return vocabulary.encode(part)
}

/** Rows of finite numbers, the first `maxLength`. @throws TypeError, RangeError with the row */
export function checkRows(
  fn: string,
  name: string,
  input: unknown,
  width: number,
  maxLength: number,
): ArrayLike<number>[] {
  if (!Array.isArray(input)) throw typeError(fn, name, `rows of ${width} numbers`, input)
  checkIterable(fn, name, input, `rows of ${width} numbers`)
  if (input.length === 0) throw rangeError(fn, name, 'at least one row', 'none')
  for (let t = 0; t < input.length; t++) checkRow(fn, `${name}[${t}]`, input[t], width)
  return input.slice(0, maxLength) as ArrayLike<number>[]
}

/** Mean and deviation of each column over all rows. */
export function columnScales(
  all: readonly (readonly ArrayLike<number>[])[],
  width: number,
): Scale[] {
  return Array.from({ length: width }, (_, k) => {
    let [count, sum, squares] = [0, 0, 0]
    for (const rows of all) {
      count += rows.length
      for (const row of rows) sum += row[k] as number
    }
    const center = sum / Math.max(1, count)
    for (const rows of all) for (const row of rows) squares += ((row[k] as number) - center) ** 2
    return { center, scale: Math.sqrt(squares / Math.max(1, count)) || 1 }
  })
}

/** Rows by those. */
export function scaledRows(
  rows: readonly ArrayLike<number>[],
  scales: readonly Scale[],
): Float32Array[] {
  return rows.map((row) =>
    Float32Array.from(scales, ({ center, scale }, k) => ((row[k] as number) - center) / scale),
  )
}

/** Inputs by length, in batches: the numbers of each batch's inputs. */
export function byLength(inputs: readonly { length: number }[], batchSize: number): number[][] {
  const order = inputs.map((_, i) => i)
  order.sort((a, b) => (inputs[a]?.length ?? 0) - (inputs[b]?.length ?? 0) || a - b)
  return Array.from({ length: Math.ceil(order.length / batchSize) }, (_, i) =>
    order.slice(i * batchSize, (i + 1) * batchSize),
  )
}
