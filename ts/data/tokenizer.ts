/** From a text to tokens and back. */
import {
  checkBoolean,
  checkIterable,
  checkOneOf,
  checkOptions,
  checkString,
  typeError,
} from '../errors.js'

/** What one token is: a Unicode code point, or a word. */
export type TokenLevel = 'char' | 'word'

/** What {@link Tokenizer} takes. */
export interface TokenizerOptions {
  /**
   * 'char': every Unicode code point is a token. 'word': whatever stands between white space, and
   * `<eos>` for every newline (Mikolov's treatment of the Penn Treebank).
   */
  level?: TokenLevel
  /** Turn the text into lower case first. Default false. */
  lowerCase?: boolean
  /** Put one space for every run of characters that are not A–Z or a–z first. Default false. */
  lettersOnly?: boolean
  /**
   * Leave the line ends of other systems (CR LF of Windows, CR of old Macs) as they are. By default
   * each becomes a newline, so that `\r` is no token and no line end is lost. Default false.
   */
  keepCr?: boolean
}

/** The token that stands for a newline in a text of words. */
export const END_OF_SENTENCE = '<eos>'

const NEWLINE = 10

function isSpace(code: number): boolean {
  if (code <= 32) return code === 32 || (code >= 9 && code <= 13)
  if (code < 0xa0) return code === 0x85
  return (
    code === 0xa0 ||
    code === 0x1680 ||
    (code >= 0x2000 && code <= 0x200a) ||
    code === 0x2028 ||
    code === 0x2029 ||
    code === 0x202f ||
    code === 0x205f ||
    code === 0x3000 ||
    code === 0xfeff
  )
}

/** Cuts a text into characters or words, and puts tokens together again. */
export class Tokenizer {
  readonly level: TokenLevel
  readonly lowerCase: boolean
  readonly lettersOnly: boolean
  readonly keepCr: boolean

  constructor(options: TokenizerOptions = {}) {
    checkOptions('Tokenizer', options, ['level', 'lowerCase', 'lettersOnly', 'keepCr'])
    this.level = checkOneOf('Tokenizer', 'level', options.level ?? 'char', ['char', 'word'])
    this.lowerCase = checkBoolean('Tokenizer', 'lowerCase', options.lowerCase ?? false)
    this.lettersOnly = checkBoolean('Tokenizer', 'lettersOnly', options.lettersOnly ?? false)
    this.keepCr = checkBoolean('Tokenizer', 'keepCr', options.keepCr ?? false)
  }

  /** The text as it is before it is cut: line ends, lower case, letters only, as the options say. */
  clean(text: string): string {
    if (typeof text !== 'string') throw typeError('Tokenizer', 'text', 'a string', text)
    const lines = this.keepCr || !text.includes('\r') ? text : text.replace(/\r\n?/g, '\n')
    const letters = this.lettersOnly ? lines.replace(/[^A-Za-z]+/g, ' ') : lines
    return this.lowerCase ? letters.toLowerCase() : letters
  }

  /** Calls `visit` with each token of the text, in order. */
  forEach(text: string, visit: (token: string) => void): void {
    if (typeof visit !== 'function') throw typeError('Tokenizer', 'visit', 'a function', visit)
    const clean = this.clean(text)
    if (this.level === 'char') {
      for (const character of clean) visit(character)
      return
    }
    let start = -1
    for (let i = 0; i < clean.length; i++) {
      const code = clean.charCodeAt(i)
      if (!isSpace(code)) {
        if (start < 0) start = i
        continue
      }
      if (start >= 0) visit(clean.slice(start, i))
      start = -1
      if (code === NEWLINE) visit(END_OF_SENTENCE)
    }
    if (start >= 0) visit(clean.slice(start))
  }

  /** The tokens of a text. */
  tokenize(text: string): string[] {
    const tokens: string[] = []
    this.forEach(text, (token) => {
      tokens.push(token)
    })
    return tokens
  }

  /**
   * What to write for `token` after `previous` (null at the beginning): the token itself, after a
   * space where words need one; a newline for `<eos>`.
   */
  textAfter(previous: string | null, token: string): string {
    checkString('Tokenizer', 'token', token)
    if (previous !== null) checkString('Tokenizer', 'previous', previous)
    if (this.level === 'char') return token
    if (token === END_OF_SENTENCE) return '\n'
    return previous === null || previous === END_OF_SENTENCE ? token : ` ${token}`
  }

  /** The text that the tokens stand for. */
  join(tokens: Iterable<string>): string {
    checkIterable('Tokenizer', 'tokens', tokens, 'an iterable of tokens')
    let text = ''
    let previous: string | null = null
    for (const token of tokens) {
      text += this.textAfter(previous, token)
      previous = token
    }
    return text
  }

  /** The options, as JSON.stringify wants them. */
  toJSON(): Required<TokenizerOptions> {
    const { level, lowerCase, lettersOnly, keepCr } = this
    return { level, lowerCase, lettersOnly, keepCr }
  }
}
