/** Writing on where a text ends. */
import { noGrad } from '../autograd.js'
import {
  checkInteger,
  checkIterable,
  checkNumber,
  checkOptions,
  rangeError,
  typeError,
} from '../errors.js'
import { tensor } from '../factories.js'
import { int32s } from '../js_memory.js'
import { sample } from '../nn/functional.js'
import { evalMode } from '../nn/module.js'
import { nextRandom, type RandomState, randomState, setRandomState } from '../random.js'
import type { Tensor } from '../tensor.js'
import type { LanguageModel, LanguageModelState } from './language_model.js'

/** How a language model goes on. */
export interface GenerateOptions {
  /** How many tokens. Default: without end. */
  length?: number
  /** Below 1: likelier tokens more often; above 1: less; 0: always the likeliest. Default 1. */
  temperature?: number
  /** Choose among the likeliest K only. Default: all. */
  topK?: number
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
  checkOptions(fn, options, ['length', 'temperature', 'topK', 'seed'])
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
  return run(model, tokens, length, { temperature, topK }, { seed, counter: 0 })
}

async function* run(
  model: LanguageModel,
  prefix: Int32Array,
  length: number,
  options: { temperature: number; topK: number },
  random: RandomState,
): AsyncGenerator<number, void> {
  let input = tensor(prefix, { shape: [prefix.length, 1], device: model.decoder.weight.device })
  let state: LanguageModelState | null = null
  let own = random
  try {
    for (let i = 0; i < length; i++) {
      // Between two tokens the model may be trained and the generator used by others: whatever this
      // changes of them is put back before anything else can run.
      const others = randomState()
      setRandomState(own)
      const restoreModes = evalMode(model)
      let next: Tensor
      try {
        ;[next, state] = noGrad(() => step(model, input, state, options))
      } finally {
        own = randomState()
        setRandomState(others)
        restoreModes()
      }
      input[Symbol.dispose]()
      input = next
      yield (await next.data())[0] as number
    }
  } finally {
    input[Symbol.dispose]()
    dispose(state)
  }
}

/** One token further: the chosen token (1, 1) and the new state; frees the old one. */
function step(
  model: LanguageModel,
  input: Tensor,
  state: LanguageModelState | null,
  options: { temperature: number; topK: number },
): [Tensor, LanguageModelState] {
  const [logits, next] = model.forward(input, state)
  const rows = input.shape[0] as number
  const last = rows === 1 ? logits : logits.slice(0, rows - 1, rows)
  using drawn = sample(last, options)
  const token = drawn.reshape([1, 1])
  if (last !== logits) last[Symbol.dispose]()
  logits[Symbol.dispose]()
  dispose(state)
  return [token, next]
}

function dispose(state: LanguageModelState | null): void {
  if (state === null) return
  for (const tensor of Array.isArray(state) ? state : [state]) tensor[Symbol.dispose]()
}
