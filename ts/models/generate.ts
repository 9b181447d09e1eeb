/** Continues a text, token by token. */

import {
  checkInteger,
  checkIterable,
  checkNumber,
  checkOptions,
  rangeError,
  typeError,
} from '../errors.js'
import { tensor } from '../factories.js'
import { noGrad } from '../grad_mode.js'
import { int32s } from '../js_memory.js'
import { sample } from '../nn/functional.js'
import { evalMode } from '../nn/module.js'
import { nextRandom, type RandomState, randomState, setRandomState } from '../random.js'
import type { Tensor } from '../tensor.js'
import type { LanguageModel, LanguageModelState } from './language_model.js'
import { TokenChoice } from './token_choice.js'

/** How a language model continues a text. */
export interface GenerateOptions {
  /** How many tokens. Default: without end. */
  length?: number
  /** Below 1: likelier tokens more often; above 1: less; 0: always the likeliest. Default 1. */
  temperature?: number
  /** Choose among the likeliest K only. Default: all. */
  topK?: number
  /**
   * Choose among the likeliest tokens only whose probabilities, after `temperature`, add up to this
   * much (nucleus sampling, Holtzman et al. 2020). Default 1: all.
   */
  topP?: number
  /**
   * Makes tokens that the prefix or the text so far has less likely: positive logits are divided by
   * it, negative ones multiplied (Keskar et al. 2019). 1: none; below 1: likelier. Default 1.
   */
  repetitionPenalty?: number
  /**
   * Tokens (texts of the vocabulary or numbers) that are never chosen. Default: the vocabulary's
   * unknown token; `[]` allows that one as well.
   */
  forbidden?: readonly (string | number)[]
  /**
   * Ends the text: one of these texts, once what has been written ends with it, or one of these
   * token numbers. The token that completes it is still given. Default: none.
   */
  stop?: string | number | readonly (string | number)[]
  /** The same seed gives the same tokens. Default: drawn from the generator that manualSeed sets. */
  seed?: number
}

/** See {@link LanguageModel.generate}. Checks at the call; the work begins with the first next(). */
export function generate(
  model: LanguageModel,
  prefix: string | ArrayLike<number>,
  options: GenerateOptions,
): AsyncGenerator<number, void> {
  const fn = 'generate'
  checkOptions(fn, options, [
    'length',
    'temperature',
    'topK',
    'topP',
    'repetitionPenalty',
    'forbidden',
    'stop',
    'seed',
  ])
  const { vocabSize } = model.config
  const length =
    options.length === undefined ? Infinity : checkInteger(fn, 'length', options.length, 0)
  const temperature = checkNumber(fn, 'temperature', options.temperature ?? 1, 0)
  const topK =
    options.topK === undefined
      ? vocabSize
      : Math.min(vocabSize, checkInteger(fn, 'topK', options.topK, 1))
  const seed =
    options.seed === undefined ? nextRandom().seed : checkInteger(fn, 'seed', options.seed, 0)
  let tokens: Int32Array
  if (typeof prefix === 'string') {
    if (model.vocabulary === null)
      throw typeError(fn, 'prefix', 'token numbers, as the model has no vocabulary', prefix)
    tokens = model.vocabulary.encode(prefix)
  } else if (typeof prefix?.length === 'number') {
    if (ArrayBuffer.isView(prefix)) checkIterable(fn, 'prefix', prefix, 'token numbers')
    tokens = int32s(fn, checkInteger(fn, 'prefix.length', prefix.length, 0))
    for (let i = 0; i < tokens.length; i++)
      tokens[i] = checkInteger(fn, `prefix[${i}]`, prefix[i], 0, vocabSize - 1)
  } else {
    throw typeError(fn, 'prefix', 'a text or an array of token numbers', prefix)
  }
  if (tokens.length === 0) throw rangeError(fn, 'prefix', 'at least one token', 'none')
  const choice = new TokenChoice(model, tokens, { ...options, temperature, topK })
  return run(model, tokens, length, choice, { seed, counter: 0 })
}

async function* run(
  model: LanguageModel,
  prefix: Int32Array,
  length: number,
  choice: TokenChoice,
  random: RandomState,
): AsyncGenerator<number, void> {
  let input = tensor(prefix, { shape: [prefix.length, 1], device: model.decoder.weight.device })
  let state: LanguageModelState | null = null
  let own = random
  try {
    for (let i = 0; i < length; i++) {
      // Between two tokens the model may be trained and the generator used by others: whatever this
      // changes of them is put back before anything else can run.
      const restoreModes = evalMode(model)
      let logits: Tensor
      try {
        ;[logits, state] = noGrad(() => step(model, input, state, choice))
      } finally {
        restoreModes()
      }
      const topK = await choice.nucleus(logits)
      const others = randomState()
      setRandomState(own)
      let next: Tensor
      try {
        next = noGrad(() => draw(logits, { temperature: choice.temperature, topK }))
      } finally {
        own = randomState()
        setRandomState(others)
      }
      input[Symbol.dispose]()
      input = next
      const token = (await next.data())[0] as number
      choice.wrote(token)
      yield token
      if (choice.ended(token)) return
    }
  } finally {
    input[Symbol.dispose]()
    choice[Symbol.dispose]()
    dispose(state)
  }
}

/** One token further: the logits (1, C) to choose from and the new state; frees the old one. */
function step(
  model: LanguageModel,
  input: Tensor,
  state: LanguageModelState | null,
  choice: TokenChoice,
): [Tensor, LanguageModelState] {
  const [logits, next] = model.forward(input, state)
  const rows = input.shape[0] as number
  const last = rows === 1 ? logits : logits.slice(0, rows - 1, rows)
  const allowed = choice.adjust(last)
  for (const tensor of new Set([logits, last])) if (tensor !== allowed) tensor[Symbol.dispose]()
  dispose(state)
  return [allowed, next]
}

/** The chosen token (1, 1); frees the logits. */
function draw(logits: Tensor, options: { temperature: number; topK: number }): Tensor {
  using drawn = sample(logits, options)
  logits[Symbol.dispose]()
  return drawn.reshape([1, 1])
}

function dispose(state: LanguageModelState | null): void {
  if (state === null) return
  for (const tensor of Array.isArray(state) ? state : [state]) tensor[Symbol.dispose]()
}
