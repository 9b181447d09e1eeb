/** Tokens and their numbers. */
import {
  checkInteger,
  checkIterable,
  checkOptions,
  checkString,
  describe,
  rangeError,
  typeError,
} from '../errors.js'
import { Tokenizer, type TokenizerOptions } from './tokenizer.js'

/** What {@link Vocabulary} takes. */
export interface VocabularyOptions {
  /** Leave out tokens that occur less often. Default 1. */
  minFrequency?: number
  /** Keep at most this many tokens (the most frequent), the special ones included. */
  maxSize?: number
  /** Stands for every token that is not in the vocabulary; null: such a token is an error. Default '<unk>'. */
  unknownToken?: string | null
  /** Tokens to have in any case; they get the lowest numbers after the unknown token. */
  specialTokens?: readonly string[]
  /** Cuts the texts given to {@link Vocabulary.encode}. Default: characters. */
  tokenizer?: Tokenizer | TokenizerOptions
}

/** What {@link Vocabulary.toJSON} gives. */
export interface VocabularyJSON {
  tokens: string[]
  unknownToken: string | null
  tokenizer: Required<TokenizerOptions>
}

const OPTIONS = ['minFrequency', 'maxSize', 'unknownToken', 'specialTokens', 'tokenizer']

/**
 * A list of distinct tokens, numbered from 0, with the tokenizer that cuts texts into them. Numbers
 * go to special tokens first, then by falling frequency, equally frequent ones in code-unit order,
 * so that the same text always gives the same vocabulary.
 */
export class Vocabulary {
  readonly tokens: readonly string[]
  readonly unknownToken: string | null
  readonly tokenizer: Tokenizer
  readonly #index: ReadonlyMap<string, number>
  readonly #unknown: number

  /**
   * @param tokens in the order of their numbers
   * @throws TypeError for tokens that are not strings, RangeError for one that occurs twice, none at
   *   all, or an unknown token that is not among them
   */
  constructor(
    tokens: readonly string[],
    options: Pick<VocabularyOptions, 'unknownToken' | 'tokenizer'> = {},
  ) {
    checkOptions('Vocabulary', options, ['unknownToken', 'tokenizer'])
    if (!Array.isArray(tokens))
      throw typeError('Vocabulary', 'tokens', 'an array of strings', tokens)
    if (tokens.length === 0) throw rangeError('Vocabulary', 'tokens', 'at least one token', 'none')
    const index = new Map<string, number>()
    tokens.forEach((token, i) => {
      if (typeof token !== 'string')
        throw typeError('Vocabulary', `tokens[${i}]`, 'a string', token)
      if (index.has(token))
        throw rangeError(
          'Vocabulary',
          `tokens[${i}]`,
          'distinct tokens',
          `'${token}' a second time`,
        )
      index.set(token, i)
    })
    const unknown = options.unknownToken ?? null
    if (unknown !== null && typeof unknown !== 'string')
      throw typeError('Vocabulary', 'unknownToken', 'a string or null', unknown)
    if (unknown !== null && !index.has(unknown))
      throw rangeError('Vocabulary', 'unknownToken', 'one of the tokens', `'${unknown}'`)
    this.tokens = Object.freeze([...tokens])
    this.unknownToken = unknown
    this.#index = index
    this.#unknown = unknown === null ? -1 : (index.get(unknown) as number)
    this.tokenizer =
      options.tokenizer instanceof Tokenizer
        ? options.tokenizer
        : new Tokenizer(options.tokenizer ?? {})
  }

  /** Counts tokens and numbers them. */
  static fromTokens(tokens: Iterable<string>, options: VocabularyOptions = {}): Vocabulary {
    checkOptions('Vocabulary.fromTokens', options, OPTIONS)
    const expected = 'an array or other iterable of tokens'
    if (typeof tokens === 'string')
      throw typeError('Vocabulary.fromTokens', 'tokens', expected, tokens)
    checkIterable('Vocabulary.fromTokens', 'tokens', tokens, expected)
    const counts = new Map<string, number>()
    for (const token of tokens) {
      checkString('Vocabulary.fromTokens', 'tokens', token)
      counts.set(token, (counts.get(token) ?? 0) + 1)
    }
    return Vocabulary.#fromCounts('Vocabulary.fromTokens', counts, options)
  }

  /**
   * The vocabulary of a text to learn from.
   * @throws RangeError for a text with fewer than two different tokens: there is nothing to learn
   */
  static fromText(text: string, options: VocabularyOptions = {}): Vocabulary {
    checkOptions('Vocabulary.fromText', options, OPTIONS)
    const tokenizer =
      options.tokenizer instanceof Tokenizer
        ? options.tokenizer
        : new Tokenizer(options.tokenizer ?? {})
    const counts = new Map<string, number>()
    tokenizer.forEach(text, (token) => {
      counts.set(token, (counts.get(token) ?? 0) + 1)
    })
    if (counts.size < 2) {
      const kind = tokenizer.level === 'char' ? 'characters' : 'words'
      const only = [...counts.keys()].map((token) => `only ${JSON.stringify(token)}`)
      throw rangeError(
        'Vocabulary.fromText',
        'text',
        `at least two different ${kind}`,
        only[0] ?? 'none',
      )
    }
    return Vocabulary.#fromCounts('Vocabulary.fromText', counts, { ...options, tokenizer })
  }

  static #fromCounts(
    fn: string,
    counts: ReadonlyMap<string, number>,
    options: VocabularyOptions,
  ): Vocabulary {
    const minFrequency = checkInteger(fn, 'minFrequency', options.minFrequency ?? 1, 1)
    const unknownToken = options.unknownToken === undefined ? '<unk>' : options.unknownToken
    const { specialTokens = [] } = options
    if (!Array.isArray(specialTokens))
      throw typeError(fn, 'specialTokens', 'an array of tokens', specialTokens)
    const special = new Set([...(unknownToken === null ? [] : [unknownToken]), ...specialTokens])
    const maxSize =
      options.maxSize === undefined
        ? Infinity
        : checkInteger(fn, 'maxSize', options.maxSize, Math.max(1, special.size))
    const frequent = [...counts]
      .filter(([token, count]) => count >= minFrequency && !special.has(token))
      .sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
      .map(([token]) => token)
    const tokens = [...special, ...frequent]
    return new Vocabulary(tokens.slice(0, Math.min(tokens.length, maxSize)), {
      unknownToken,
      ...(options.tokenizer && { tokenizer: options.tokenizer }),
    })
  }

  /** How many tokens there are. */
  get size(): number {
    return this.tokens.length
  }

  /** Whether the token has a number of its own. */
  has(token: string): boolean {
    return this.#index.has(token)
  }

  /**
   * The number of a token, or that of the unknown token.
   * @throws RangeError when the token is not in the vocabulary and there is no unknown token
   */
  indexOf(token: string): number {
    const index = this.#index.get(token) ?? this.#unknown
    if (index < 0)
      throw rangeError(
        'Vocabulary',
        'token',
        'a token of this vocabulary (it has no unknown token)',
        describe(token),
      )
    return index
  }

  /**
   * The numbers of a text's tokens, or of given tokens.
   * @param source a text (cut by the tokenizer) or an iterable of tokens
   */
  encode(source: string | Iterable<string>): Int32Array {
    let indices = new Int32Array(typeof source === 'string' ? source.length : 1024)
    let length = 0
    const push = (token: string): void => {
      if (length === indices.length) {
        const larger = new Int32Array(2 * length + 16)
        larger.set(indices)
        indices = larger
      }
      indices[length++] = this.indexOf(token)
    }
    if (typeof source === 'string') {
      this.tokenizer.forEach(source, push)
    } else {
      checkIterable('Vocabulary.encode', 'source', source, 'a string or an iterable of tokens')
      for (const token of source) push(token)
    }
    return indices.slice(0, length)
  }

  /** The token with a number. @throws RangeError */
  token(index: number): string {
    return this.tokens[checkInteger('Vocabulary', 'index', index, 0, this.size - 1)] as string
  }

  /** The text that numbers stand for. @throws RangeError for a number outside the vocabulary */
  decode(indices: Iterable<number>): string {
    checkIterable('Vocabulary.decode', 'indices', indices, 'an iterable of token numbers')
    return this.tokenizer.join(Array.from(indices, (index) => this.token(index)))
  }

  /** Tokens and options as plain data, for fromJSON. */
  toJSON(): VocabularyJSON {
    return {
      tokens: [...this.tokens],
      unknownToken: this.unknownToken,
      tokenizer: this.tokenizer.toJSON(),
    }
  }

  /** The vocabulary that {@link toJSON} described. @throws TypeError, RangeError when it is something else */
  static fromJSON(json: unknown): Vocabulary {
    if (json === null || typeof json !== 'object')
      throw typeError('Vocabulary.fromJSON', 'json', 'an object', json)
    const { tokens, unknownToken, tokenizer } = json as Partial<VocabularyJSON>
    // Written before there was keepCr: every CR was kept then.
    const keepCr = Array.isArray(tokens) && tokens.includes('\r')
    return new Vocabulary(tokens as string[], {
      unknownToken: unknownToken ?? null,
      tokenizer:
        typeof (tokenizer ?? {}) === 'object' ? { keepCr, ...tokenizer } : (tokenizer as object),
    })
  }
}
