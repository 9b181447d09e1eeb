/** From the bytes of a file, as they come, to its text: with the place where it is none. */
import { fileKind, HEAD_BYTES } from '../io/file_kind.js'
import {
  checkEncoding,
  decodeBytes,
  guess,
  isByteEncoding,
  markOf,
  whereWrong,
} from './encoding.js'

/** Who asks, for messages. */
export interface TextOrigin {
  fn: string
  /** How the text is named: `'book.txt'`. */
  name: string
  /** What a user does to name an encoding. */
  advice(encoding: string): string
}

/** Enough for a character that is not complete. */
const KEPT_BYTES = 4

/** Decodes one text. Without an encoding: UTF-8, or the UTF-16 whose mark the text begins with. */
export class Decoding {
  readonly #origin: TextOrigin
  readonly #given: string | undefined
  /** As the user writes it. */
  readonly #named: string
  /** Null: not known yet. */
  #encoding: string | null = null
  #decoder: InstanceType<typeof TextDecoder> | null = null
  /** Bytes before there are enough to see a mark. */
  #head: Uint8Array | null = new Uint8Array(0)
  /** The last bytes that were decoded. */
  #before: Uint8Array = new Uint8Array(0)
  /** The first bytes. */
  #first: Uint8Array = new Uint8Array(0)
  /** Bytes that were decoded. */
  #at = 0
  #newlines = 0
  #returns = 0

  /** @throws TypeError for what is no encoding */
  constructor(origin: TextOrigin, encoding?: string) {
    this.#origin = origin
    this.#given = encoding === undefined ? undefined : checkEncoding(origin.fn, encoding)
    this.#named = String(encoding)
  }

  /** The text of the bytes that come next. @throws TypeError that names the place of what is no text */
  push(bytes: Uint8Array): string {
    if (this.#head === null) return this.#decode(bytes)
    const head = Buffer.concat([this.#head, bytes])
    if (head.length < KEPT_BYTES) {
      this.#head = head
      return ''
    }
    return this.#begin(head)
  }

  /** What is left at the end. @throws TypeError as {@link push} */
  end(): string {
    const rest = this.#head === null ? '' : this.#begin(this.#head)
    try {
      return rest + (this.#decoder?.decode() ?? '')
    } catch (cause) {
      const { offset } = whereWrong(this.#encoding as string, this.#before, new Uint8Array(0))
      const other = this.#given === undefined ? guess(this.#before) : null
      throw this.#error(`it ends within a character${this.#place(offset, '')}`, other, cause)
    }
  }

  #begin(head: Uint8Array): string {
    this.#head = null
    this.#first = head.subarray(0, HEAD_BYTES)
    const mark = markOf(head)
    if (mark === 'utf-32')
      throw this.#error('it is UTF-32; convert it: iconv -f UTF-32 -t UTF-8', null)
    const given = this.#given
    const fits = given === undefined || given === mark || (given === 'utf-16' && mark !== 'utf-8')
    if (mark !== null && !fits) {
      throw this.#error(
        `it begins with the mark (BOM) of ${mark.toUpperCase()}, and encoding '${this.#named}' was given`,
        mark,
      )
    }
    const encoding = mark ?? (given === 'utf-16' ? 'utf-16le' : (given ?? 'utf-8'))
    this.#encoding = encoding
    if (!isByteEncoding(encoding)) this.#decoder = new TextDecoder(encoding, { fatal: true })
    return this.#decode(head)
  }

  #decode(bytes: Uint8Array): string {
    const encoding = this.#encoding as string
    const zero = encoding.startsWith('utf-16') ? -1 : bytes.indexOf(0)
    if (zero >= 0) {
      const text = decodeBytes('iso-8859-1', bytes.subarray(0, zero))
      throw this.#error(`it has bytes of value 0${this.#place(zero, text)}`, guess(bytes))
    }
    let text: string
    try {
      text = isByteEncoding(encoding)
        ? decodeBytes(encoding, bytes)
        : (this.#decoder as InstanceType<typeof TextDecoder>).decode(bytes, { stream: true })
    } catch (cause) {
      const wrong = whereWrong(encoding, this.#before, bytes)
      const byte = bytes[wrong.offset] ?? this.#before[this.#before.length + wrong.offset]
      const place = this.#place(wrong.offset, wrong.text, byte)
      const other = this.#given === undefined ? guess(bytes) : null
      throw this.#error(`it is not valid ${encoding.toUpperCase()}${place}`, other, cause)
    }
    if (encoding.startsWith('utf-16')) {
      const nul = text.indexOf('\0')
      if (nul >= 0) {
        const place = this.#place(2 * nul, text.slice(0, nul))
        throw this.#error(`it has the character 0${place}`, null)
      }
    }
    this.#at += bytes.length
    this.#before = Buffer.concat([this.#before, bytes.subarray(-KEPT_BYTES)]).subarray(-KEPT_BYTES)
    this.#newlines += occurrences(text, '\n')
    this.#returns += occurrences(text, '\r')
    return text
  }

  /** @param offset among the bytes that are being decoded @param text of those before it */
  #place(offset: number, text: string, byte?: number): string {
    const newlines = this.#newlines + occurrences(text, '\n')
    const line = 1 + (newlines > 0 ? newlines : this.#returns + occurrences(text, '\r'))
    const value = byte === undefined ? '' : `0x${byte.toString(16).toUpperCase().padStart(2, '0')} `
    return ` (${value}at line ${line}, byte offset ${this.#at + offset})`
  }

  /** @param encoding one to try */
  #error(what: string, encoding: string | null, cause?: unknown): TypeError {
    const { fn, name, advice } = this.#origin
    const kind = this.#at === 0 ? fileKind(this.#first, name.replace(/^'(.*)'$/, '$1')) : null
    if (kind !== null)
      return new TypeError(`[${fn}] ${name} is not a text file: ${kind}`, { cause })
    const try_ = encoding === null ? '' : `; if it is ${spoken(encoding)}, ${advice(encoding)}`
    return new TypeError(`[${fn}] ${name} is not a text file: ${what}${try_}`, { cause })
  }
}

function spoken(encoding: string): string {
  if (encoding === 'latin1') return 'Latin-1'
  return encoding === 'windows-1252' ? 'Windows-1252' : encoding.toUpperCase()
}

function occurrences(text: string, character: string): number {
  let n = 0
  for (let at = text.indexOf(character); at >= 0; at = text.indexOf(character, at + 1)) n++
  return n
}
