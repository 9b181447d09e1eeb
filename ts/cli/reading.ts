/** From text files to tokens, in pieces: a text may be longer than V8's longest string. */
import { Decoding } from '../data/decoding.js'
import { textOf } from '../data/text.js'
import type { data } from '../index.js'
import { piecesOf } from '../io/open_file.js'
import { int32s } from '../js_memory.js'
import { UserError } from './errors.js'

/** The file that is standard input. */
export const STDIN = '-'

/** Tokens are collected in blocks of this many. */
const BLOCK = 2 ** 20
/** A word (or, where the case changes, a line without white space) may have so many characters. */
const LONGEST = 2 ** 26
/** Below this, a UTF-16 code unit is a character by itself. */
const SURROGATES = 0xd800

/** Tokens, and which token each number stands for. */
export interface Tokens {
  numbers: Int32Array
  names: readonly string[]
}

/** How a file is called in messages. */
export function nameOf(file: string): string {
  return file === STDIN ? 'standard input' : `'${file}'`
}

/**
 * The tokens of texts, one after the other, numbered in the order of their first occurrence.
 * @param known tokens that have their numbers already
 * @throws (rejects) as data.loadText, with the advice of the command line
 */
export async function readTokens(
  files: readonly string[],
  tokenizer: data.Tokenizer,
  { encoding, known = [] }: { encoding?: string | undefined; known?: readonly string[] } = {},
): Promise<Tokens> {
  const collector = new Collector(tokenizer, known)
  for (const file of files) {
    const name = nameOf(file)
    const origin = { fn: 'train', name, advice: (other: string) => `give --encoding ${other}` }
    const bytes = file === STDIN ? standardInput() : piecesOf(file, { limit: Infinity })
    let empty = true
    await collector.addAll(textOf(origin, new Decoding(origin, encoding), bytes), (piece) => {
      if (piece !== '') empty = false
    })
    if (empty) throw new UserError(`${name} is empty`)
  }
  return collector.tokens()
}

/** As {@link readTokens}, of a text that is here. */
export function tokensOf(text: string, tokenizer: data.Tokenizer): Tokens {
  const collector = new Collector(tokenizer, [])
  collector.add(text)
  return collector.tokens()
}

async function* standardInput(): AsyncGenerator<Uint8Array, void> {
  for await (const piece of process.stdin) yield piece as Uint8Array
}

/** Gives numbers to tokens. */
export class Collector {
  readonly #tokenizer: data.Tokenizer
  readonly #names: string[]
  readonly #numbers: Map<string, number>
  /** Of characters that are one code unit, their number and 1; 0: none yet. */
  readonly #ofUnits = new Int32Array(SURROGATES)
  readonly #blocks: Int32Array[] = []
  #block: Int32Array = new Int32Array(0)
  #used = 0

  constructor(tokenizer: data.Tokenizer, known: readonly string[]) {
    this.#tokenizer = tokenizer
    this.#names = [...known]
    this.#numbers = new Map(known.map((token, i) => [token, i]))
  }

  /** A text in pieces, which may be cut anywhere. @param seen is called with each piece */
  async addAll(pieces: AsyncIterable<string>, seen?: (piece: string) => void): Promise<void> {
    let rest = ''
    for await (const piece of pieces) {
      seen?.(piece)
      const text = rest + piece
      const cut = completeUpTo(text, rest.length, this.#tokenizer)
      this.add(text.slice(0, cut))
      rest = text.slice(cut)
      if (rest.length > LONGEST)
        throw new UserError(`a word of the text has more than ${LONGEST} characters`)
    }
    this.add(rest)
  }

  /** A text that ends where a token does. */
  add(text: string): void {
    const { level } = this.#tokenizer
    if (level === 'char') this.#addCharacters(this.#tokenizer.clean(text))
    else this.#tokenizer.forEach(text, (token) => this.#push(this.#number(token)))
  }

  tokens(): Tokens {
    this.#blocks.push(this.#block.subarray(0, this.#used))
    const length = this.#blocks.reduce((sum, block) => sum + block.length, 0)
    const numbers = int32s('train', length)
    let at = 0
    for (let block = this.#blocks.shift(); block !== undefined; block = this.#blocks.shift()) {
      numbers.set(block, at)
      at += block.length
    }
    return { numbers, names: this.#names }
  }

  /** Characters are many, and few of them different: a table instead of a Map. */
  #addCharacters(text: string): void {
    const units = this.#ofUnits
    for (let i = 0; i < text.length; i++) {
      const unit = text.charCodeAt(i)
      if (unit < SURROGATES) {
        let number = (units[unit] as number) - 1
        if (number < 0) {
          number = this.#number(text[i] as string)
          units[unit] = number + 1
        }
        this.#push(number)
      } else {
        const character = String.fromCodePoint(text.codePointAt(i) as number)
        i += character.length - 1
        this.#push(this.#number(character))
      }
    }
  }

  #number(token: string): number {
    let number = this.#numbers.get(token)
    if (number === undefined) {
      // A part of a piece would keep the whole piece.
      const own = Buffer.from(token, 'utf16le').toString('utf16le')
      number = this.#names.push(own) - 1
      this.#numbers.set(own, number)
    }
    return number
  }

  #push(number: number): void {
    if (this.#used === this.#block.length) {
      if (this.#used > 0) this.#blocks.push(this.#block)
      this.#block = int32s('train', BLOCK)
      this.#used = 0
    }
    this.#block[this.#used++] = number
  }
}

const isSpace = (unit: number): boolean => unit === 32 || unit === 10 || unit === 13 || unit === 9
const isLetter = (unit: number): boolean =>
  (unit >= 65 && unit <= 90) || (unit >= 97 && unit <= 122)

/**
 * How much of a text has the same tokens whatever comes behind it: no word, no line end and no run of
 * characters that become one space is cut, and none whose lower case depends on the next.
 * @param from where the part begins that is new
 */
export function completeUpTo(text: string, from: number, tokenizer: data.Tokenizer): number {
  const { level, lowerCase, lettersOnly, keepCr } = tokenizer
  if (level === 'char' && !lowerCase && !lettersOnly)
    return !keepCr && text.endsWith('\r') ? text.length - 1 : text.length
  for (let at = text.length - 1; at >= Math.max(1, from); at--) {
    const next = text.charCodeAt(at)
    if (!isSpace(text.charCodeAt(at - 1)) || isSpace(next)) continue
    if (!lettersOnly || isLetter(next)) return at
  }
  return 0
}

/**
 * Numbers of a vocabulary in place of those of first occurrence, in the same array.
 * @returns how often there were tokens that it does not have, and some of them
 */
export function renumber(
  { numbers, names }: Tokens,
  vocabulary: data.Vocabulary,
): { unknown: number; examples: string[] } {
  const own = Int32Array.from(names, (token) => vocabulary.indexOf(token))
  const isUnknown = Uint8Array.from(names, (token) => (vocabulary.has(token) ? 0 : 1))
  const examples = new Set<number>()
  let unknown = 0
  for (let i = 0; i < numbers.length; i++) {
    const number = numbers[i] as number
    if (isUnknown[number] === 1) {
      unknown++
      if (examples.size < 5) examples.add(number)
    }
    numbers[i] = own[number] as number
  }
  return { unknown, examples: [...examples].map((number) => names[number] as string) }
}

/** How often each token occurs. */
export function countsOf({ numbers, names }: Tokens): Map<string, number> {
  const counts = new Float64Array(names.length)
  for (const number of numbers) counts[number] = (counts[number] as number) + 1
  return new Map(names.map((token, i) => [token, counts[i] as number]))
}
