/** Which tokens may come next, and when a text ends. */
import { checkNumber, checkString, describe, rangeError, typeError } from '../errors.js'
import { tensor } from '../factories.js'
import type { Tensor } from '../tensor.js'
import type { GenerateOptions } from './generate.js'
import type { LanguageModel } from './language_model.js'

const FN = 'generate'

type Choosing = GenerateOptions & { temperature: number; topK: number }

/** What the options of {@link GenerateOptions} do to logits (1, C), and the text written so far. */
export class TokenChoice {
  readonly temperature: number
  readonly #topK: number
  readonly #topP: number
  readonly #penalty: number
  /** 0, or minus infinity for what is forbidden; null: nothing is. (1, C) */
  readonly #mask: Tensor | null
  /** 1 for tokens that have been written, for the penalty. (C) */
  readonly #seen: Float32Array
  readonly #model: LanguageModel
  readonly #stopTexts: readonly string[]
  readonly #stopTokens: ReadonlySet<number>
  /** The end of the text, as long as the longest stop. */
  #text = ''
  #previous: string | null

  /** @throws TypeError, RangeError */
  constructor(model: LanguageModel, prefix: Int32Array, options: Choosing) {
    this.#model = model
    this.temperature = options.temperature
    this.#topK = options.topK
    this.#topP = checkNumber(FN, 'topP', options.topP ?? 1, 0, 1)
    if (this.#topP === 0) throw rangeError(FN, 'topP', 'a number above 0 and up to 1', '0')
    this.#penalty = checkNumber(FN, 'repetitionPenalty', options.repetitionPenalty ?? 1, 0)
    if (this.#penalty === 0 || this.#penalty === Infinity)
      throw rangeError(FN, 'repetitionPenalty', 'a finite number above 0', String(this.#penalty))
    const stops = listOf(options.stop, 'stop')
    this.#stopTexts = stops.filter((one) => typeof one === 'string')
    this.#stopTokens = new Set(stops.filter((one) => typeof one === 'number'))
    if (this.#stopTexts.length > 0 && model.vocabulary === null)
      throw typeError(FN, 'stop', 'token numbers, as the model has no vocabulary', options.stop)
    if (this.#stopTexts.includes('')) throw rangeError(FN, 'stop', 'a text with characters', "''")
    for (const token of this.#stopTokens) this.#checkToken('stop', token)
    this.#mask = this.#maskOf(this.#forbidden(options.forbidden))
    this.#seen = new Float32Array(this.#penalty === 1 ? 0 : model.config.vocabSize)
    if (this.#penalty !== 1) for (const token of prefix) this.#seen[token] = 1
    this.#previous = model.vocabulary?.token(prefix.at(-1) as number) ?? null
  }

  #checkToken(name: string, token: number): void {
    const { vocabSize } = this.#model.config
    if (!Number.isInteger(token) || token < 0 || token >= vocabSize)
      throw rangeError(FN, name, `token numbers between 0 and ${vocabSize - 1}`, String(token))
  }

  #forbidden(given: GenerateOptions['forbidden']): number[] {
    const { vocabulary } = this.#model
    if (given === undefined) {
      const unknown = vocabulary?.unknownToken ?? null
      return vocabulary === null || unknown === null ? [] : [vocabulary.indexOf(unknown)]
    }
    return listOf(given, 'forbidden').map((token) => {
      if (typeof token === 'number') {
        this.#checkToken('forbidden', token)
        return token
      }
      if (vocabulary === null)
        throw typeError(FN, 'forbidden', 'token numbers, as the model has no vocabulary', token)
      if (!vocabulary.has(token))
        throw rangeError(FN, 'forbidden', 'tokens of the vocabulary', describe(token))
      return vocabulary.indexOf(token)
    })
  }

  #maskOf(forbidden: readonly number[]): Tensor | null {
    if (forbidden.length === 0) return null
    const { vocabSize } = this.#model.config
    const mask = new Float32Array(vocabSize)
    for (const token of forbidden) mask[token] = -Infinity
    if (mask.every((value) => value !== 0))
      throw rangeError(FN, 'forbidden', 'at least one token that is allowed', 'all of them')
    return tensor(mask, { shape: [1, vocabSize], device: this.#model.decoder.weight.device })
  }

  /** The logits (1, C) with penalty and mask; the same tensor where there is neither. */
  adjust(logits: Tensor): Tensor {
    let adjusted = logits
    if (this.#penalty !== 1) {
      using seen = tensor(this.#seen, { shape: [1, this.#seen.length], device: logits.device })
      // x / p where x > 0, x p elsewhere, for those that have been seen.
      using positive = logits.relu()
      using negative = logits.sub(positive)
      using penalised = positive.div(this.#penalty).add(negative.mul(this.#penalty))
      adjusted = logits.add(penalised.sub(logits).mul(seen))
    }
    if (this.#mask === null) return adjusted
    const masked = adjusted.add(this.#mask)
    if (adjusted !== logits) adjusted[Symbol.dispose]()
    return masked
  }

  /** Among how many of the likeliest tokens to choose: topK, or fewer by topP. */
  async nucleus(logits: Tensor): Promise<number> {
    if (this.#topP === 1 || this.temperature === 0) return this.#topK
    const sorted = Float64Array.from(await logits.data())
      .sort()
      .reverse()
    const largest = sorted[0] as number
    const weights = sorted
      .subarray(0, this.#topK)
      .map((x) => Math.exp((x - largest) / this.temperature))
    const enough = this.#topP * weights.reduce((sum, weight) => sum + weight, 0)
    let sum = 0
    for (let k = 0; k < weights.length; k++) {
      sum += weights[k] as number
      if (sum >= enough) return k + 1
    }
    return this.#topK
  }

  /** A token has been written. */
  wrote(token: number): void {
    if (this.#penalty !== 1) this.#seen[token] = 1
    const { vocabulary } = this.#model
    if (vocabulary === null || this.#stopTexts.length === 0) return
    const word = vocabulary.token(token)
    this.#text += vocabulary.tokenizer.textAfter(this.#previous, word)
    this.#previous = word
    const longest = Math.max(...this.#stopTexts.map((text) => text.length))
    this.#text = this.#text.slice(-longest)
  }

  /** Whether the text ends with this token. */
  ended(token: number): boolean {
    return this.#stopTokens.has(token) || this.#stopTexts.some((text) => this.#text.endsWith(text))
  }

  [Symbol.dispose](): void {
    this.#mask?.[Symbol.dispose]()
  }
}

/** One, several or none, as an array of texts and numbers. */
function listOf(value: GenerateOptions['stop'], name: string): readonly (string | number)[] {
  if (value === undefined) return []
  const list: readonly unknown[] = Array.isArray(value) ? value : [value]
  for (const item of list) {
    if (typeof item !== 'string' && typeof item !== 'number')
      throw typeError(FN, name, 'texts or token numbers', item)
    if (typeof item === 'string') checkString(FN, name, item)
  }
  return list as readonly (string | number)[]
}
