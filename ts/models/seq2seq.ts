/** From one sequence to another: encoder, decoder, attention. */
import { type ExampleBatch, ExampleBatches, padInputs } from '../data/example_batches.js'
import { Vocabulary } from '../data/vocabulary.js'
import { deviceOption } from '../device.js'
import { checkInteger, checkNumber, checkOptions, rangeError, typeError } from '../errors.js'
import { full, tensor } from '../factories.js'
import { enableGrad, noGrad } from '../grad_mode.js'
import { errorRate } from '../metrics/sequences.js'
import { Dropout } from '../nn/dropout.js'
import { Embedding } from '../nn/embedding.js'
import { crossEntropy } from '../nn/functional.js'
import { Linear } from '../nn/linear.js'
import { evalMode } from '../nn/module.js'
import { packPaddedSequence, padPackedSequence } from '../nn/packed.js'
import type { GRU, LSTM, RNN } from '../nn/recurrent.js'
import type { RecurrentLayer } from '../nn/recurrent_layer.js'
import { cat } from '../ops/shape.js'
import { manualSeed, nextRandom } from '../random.js'
import { Tensor } from '../tensor.js'
import type { FitResult } from '../train/options.js'
import type { StepContext, StepResult } from '../train/types.js'
import { beamSearch, type Decoder } from './beam_search.js'
import {
  BEGIN,
  checkPairs,
  checkSeq2Seq,
  END,
  PAD,
  type Seq2SeqConfig,
  type Seq2SeqOptions,
  type SequencePair,
  sideTokens,
  type TokenInput,
} from './seq2seq_config.js'
import { checkFitOptions, type FitModelOptions, fitExamples } from './task_fit.js'
import {
  checkStack,
  checkWeightShape,
  type LoadModelOptions,
  loadTask,
  notFitted,
  recurrentStack,
  TaskModel,
} from './task_model.js'

/** How {@link Seq2Seq.generate} looks for the likeliest sequences. */
export interface GenerateSequenceOptions {
  /** How many are followed at a time; 1: always the likeliest token. Default 4. */
  beamSize?: number
  /** Scores are divided by the length to this power. Default 1. */
  lengthPenalty?: number
  /** How many to give, the best first; at most beamSize. Default 1. */
  nBest?: number
  /** Tokens of the longest. Default: the model's. */
  maxLength?: number
}

/** A sequence that was generated. */
export interface GeneratedSequence {
  tokens: string[]
  /** The logarithm of its probability over its length to the power of the penalty. */
  score: number
  /** Of each token, how much the decoder looked at each token of the input; null without attention. */
  attention: number[][] | null
}

/** What the decoder reads of the source. */
interface Memory {
  /** (B, T, H) */
  states: Tensor
  /** (B, 1, T): 0, or much less than 0 where a sequence has ended. */
  mask: Tensor
  /** Of the decoder at its beginning: (layers, B, H), for an LSTM a pair. */
  start: Tensor | [Tensor, Tensor]
}

const DEFAULTS = { valid: 0.05, batchSize: 64, lr: 0.002, maxEpochs: 20, patience: 3 }

/**
 * Turns sequences into others: spelling into sound, dates into one form, words into other words.
 *
 * ```ts
 * const model = new models.Seq2Seq()
 * await model.fit([{ input: 'cat', target: ['K', 'AE1', 'T'] }, …])
 * const [{ tokens }] = await model.generate('bat')
 * ```
 */
export class Seq2Seq extends TaskModel<ExampleBatch> {
  readonly config: Readonly<Seq2SeqConfig>
  /** Null before `fit` has found one. */
  source: Vocabulary | null
  target: Vocabulary | null
  drop: Dropout
  encoderEmbedding: Embedding | null = null
  decoderEmbedding: Embedding | null = null
  encoder: RNN | GRU | LSTM | null = null
  decoder: RNN | GRU | LSTM | null = null
  /** 'general': W of h·W·m; 'additive': of the source's states. */
  attend: Linear | null = null
  /** 'additive': of the decoder's states, and what weighs the sum. */
  attendState: Linear | null = null
  attendSum: Linear | null = null
  combine: Linear | null = null
  output: Linear | null = null
  /** Whether the vocabularies are the user's, whose tokenizers cut texts. */
  protected given: { source: boolean; target: boolean }
  protected home: string

  /** @throws TypeError, RangeError for wrong or unknown options */
  constructor(options: Seq2SeqOptions = {}) {
    super()
    this.config = Object.freeze(checkSeq2Seq(options))
    this.source = options.source ?? null
    this.target = options.target ?? null
    this.given = { source: this.source !== null, target: this.target !== null }
    this.drop = new Dropout(this.config.dropout)
    this.home = deviceOption('Seq2Seq', options.device)
    if (this.source !== null && this.target !== null) this.build(this.source, this.target)
  }

  /** Makes the layers for the vocabularies. */
  protected build(source: Vocabulary, target: Vocabulary): void {
    const { embeddingSize, hiddenSize, attention, cell, numLayers, dropout } = this.config
    const device = this.home
    const stack = { cell, hiddenSize, numLayers, dropout, device }
    this.source = source
    this.target = target
    this.encoderEmbedding = new Embedding(source.size, embeddingSize, { device })
    this.decoderEmbedding = new Embedding(target.size, embeddingSize, { device })
    this.encoder = recurrentStack(embeddingSize, { ...stack, bidirectional: true })
    this.decoder = recurrentStack(embeddingSize, stack)
    const plain = { bias: false, device }
    if (attention === 'general' || attention === 'additive')
      this.attend = new Linear(hiddenSize, hiddenSize, plain)
    if (attention === 'additive') {
      this.attendState = new Linear(hiddenSize, hiddenSize, { device })
      this.attendSum = new Linear(hiddenSize, 1, plain)
    }
    this.combine = new Linear(hiddenSize * (attention === null ? 1 : 2), hiddenSize, { device })
    this.output = new Linear(hiddenSize, target.size, { device })
  }

  /** The layers and what was learnt with them. @throws before fit */
  protected layers(fn: string): {
    source: Vocabulary
    target: Vocabulary
    encoder: RNN | GRU | LSTM
    decoder: RNN | GRU | LSTM
    embeddings: [Embedding, Embedding]
    combine: Linear
    output: Linear
  } {
    const { source, target, encoder, decoder, combine, output } = this
    const embeddings = [this.encoderEmbedding, this.decoderEmbedding] as [Embedding, Embedding]
    if (source === null || target === null || encoder === null) throw notFitted(fn)
    return {
      source,
      target,
      encoder,
      decoder: decoder as RNN,
      embeddings,
      combine: combine as Linear,
      output: output as Linear,
    }
  }

  /** The states of the source. */
  protected encode(input: Tensor, lengths: readonly number[]): Memory {
    const { encoder, embeddings } = this.layers('Seq2Seq.forward')
    const { hiddenSize, numLayers } = this.config
    const embedded = this.drop.forward(embeddings[0].forward(input))
    const packed = packPaddedSequence(embedded, lengths, { batchFirst: true, enforceSorted: false })
    const [out, last] = (encoder as RecurrentLayer).forward(packed as never) as unknown as [
      never,
      Tensor | [Tensor, Tensor],
    ]
    const [both] = padPackedSequence(out, { batchFirst: true })
    const [batch, time] = both.shape as [number, number, number]
    // Both directions, added: as wide as the decoder.
    const states = both.reshape([batch, time, 2, hiddenSize]).sum(2)
    const bridge = (state: Tensor): Tensor =>
      state.reshape([numLayers, 2, batch, hiddenSize]).sum(1)
    const behind = new Float32Array(batch * time)
    lengths.forEach((length, b) => {
      behind.fill(-1e9, b * time + length, (b + 1) * time)
    })
    const mask = tensor(behind, { shape: [batch, 1, time], device: both.device })
    const start: Memory['start'] = Array.isArray(last)
      ? [bridge(last[0]), bridge(last[1])]
      : bridge(last)
    return { states, mask, start }
  }

  /** Logits (B, S, V) of what follows the tokens (B, S), the attention (B, S, T), and the state. */
  protected decode(
    tokens: Tensor,
    memory: Memory,
    state: Memory['start'],
  ): [logits: Tensor, attention: Tensor | null, state: Memory['start']] {
    const { decoder, embeddings, combine, output } = this.layers('Seq2Seq.forward')
    const { attention } = this.config
    const embedded = this.drop.forward(embeddings[1].forward(tokens))
    const [h, next] = (decoder as RecurrentLayer).forward(embedded, state as never) as unknown as [
      Tensor,
      Memory['start'],
    ]
    let seen: Tensor | null = null
    let read = h
    if (attention !== null) {
      seen = this.scores(h, memory.states).add(memory.mask).softmax(2)
      read = cat([h, seen.matmul(memory.states)], 2)
    }
    const mixed = this.drop.forward(combine.forward(read).tanh())
    return [output.forward(mixed), seen, next]
  }

  /** How well each state of the decoder (B, S, H) fits each of the source (B, T, H): (B, S, T). */
  protected scores(h: Tensor, states: Tensor): Tensor {
    const { attend, attendState, attendSum } = this
    if (attendState !== null && attendSum !== null && attend !== null) {
      const sums = attendState.forward(h).unsqueeze(2).add(attend.forward(states).unsqueeze(1))
      return attendSum.forward(sums.tanh()).squeeze(3)
    }
    const keys = attend === null ? states : attend.forward(states)
    return h.matmul(keys.transpose(1, 2))
  }

  /**
   * Logits of each target token, given those before it.
   * @param input tokens int32 (B, T)
   * @param lengths of each input
   * @param target int32 (B, S): `<s>` and the tokens before
   * @returns (B, S, V)
   */
  forward(input: Tensor, lengths: readonly number[], target: Tensor): Tensor {
    const memory = this.encode(input, lengths)
    return this.decode(target, memory, memory.start)[0]
  }

  /** The mean cross entropy of the target tokens. */
  override async trainingStep(batch: ExampleBatch, _context?: StepContext): Promise<StepResult> {
    const fn = 'Seq2Seq.trainingStep'
    if (typeof batch !== 'object' || batch === null) throw typeError(fn, 'batch', 'a batch', batch)
    const { target: vocabulary } = this.layers(fn)
    const { target, input, lengths, targetLengths = [] } = batch
    if (!(target instanceof Tensor)) throw typeError(fn, 'batch.target', 'a tensor', target)
    if (!Array.isArray(targetLengths))
      throw typeError(fn, 'batch.targetLengths', 'an array of numbers', targetLengths)
    const [size, steps] = target.shape as [number, number]
    const begin = full([size, 1], vocabulary.indexOf(BEGIN), {
      dtype: 'int32',
      device: target.device,
    })
    let before = steps > 1 ? cat([begin, target.slice(1, 0, steps - 1)], 1) : begin
    const { teacherForcing, labelSmoothing } = this.config
    if (this.training && teacherForcing < 1)
      before = await this.ownTokens(input, lengths, before, 1 - teacherForcing)
    const logits = this.forward(input, lengths, before)
    const loss = crossEntropy(
      logits.reshape([size * steps, vocabulary.size]),
      target.reshape([size * steps]),
      { ignoreIndex: padOf(vocabulary), labelSmoothing: this.training ? labelSmoothing : 0 },
    )
    const count = targetLengths.reduce(
      (sum, length, i) => sum + checkInteger(fn, `batch.targetLengths[${i}]`, length, 0),
      0,
    )
    return { loss, count: checkInteger(fn, 'batch.count', batch.count, 0) === 0 ? 0 : count }
  }

  override validationStep(batch: ExampleBatch, context?: StepContext): Promise<StepResult> {
    return this.trainingStep(batch, context)
  }

  /**
   * The decoder's input with a share of the true tokens replaced by what it would have said itself,
   * given the true ones before (scheduled sampling in two passes, Mihaylova & Martins 2019).
   */
  protected async ownTokens(
    input: Tensor,
    lengths: readonly number[],
    before: Tensor,
    share: number,
  ): Promise<Tensor> {
    const said = noGrad(() => this.forward(input, lengths, before).argmax(2))
    const [own, truth] = await Promise.all([said.data(), before.data()])
    const [size, steps] = before.shape as [number, number]
    const { seed, counter } = nextRandom()
    const values = Int32Array.from(truth, (token, i) => {
      if (i % steps === 0) return token
      return mixed(seed, counter + i) < share ? (own[i - 1] as number) : token
    })
    return enableGrad(() => tensor(values, { shape: [size, steps], device: before.device }))
  }

  /**
   * Learns from pairs of sequences. The last 5 % (`valid`) are kept apart; the best weights are kept.
   * @param examples `input` and `target`: texts (by characters, unless a vocabulary cuts them
   *   otherwise) or arrays of tokens
   * @throws (rejects) TypeError, RangeError for empty sequences, with the example
   */
  async fit(
    examples: readonly SequencePair[],
    options: FitModelOptions<readonly SequencePair[]> = {},
  ): Promise<FitResult> {
    const fn = 'Seq2Seq.fit'
    const settings = checkFitOptions(fn, options, DEFAULTS)
    const { seed } = settings
    const all = checkPairs(fn, 'examples', examples)
    const own = typeof options.valid === 'object' ? checkPairs(fn, 'valid', options.valid) : null
    if (this.encoder === null) {
      if (seed !== undefined) manualSeed(seed)
      const side = (name: 'input' | 'target', vocabulary: Vocabulary | null): string[] =>
        all.flatMap((one, i) => sideTokens(fn, `examples[${i}].${name}`, one[name], vocabulary))
      this.build(
        this.source ?? Vocabulary.fromTokens(side('input', null), { specialTokens: [PAD] }),
        this.target ??
          Vocabulary.fromTokens(side('target', null), { specialTokens: [PAD, BEGIN, END] }),
      )
    }
    const { target } = this.layers(fn)
    const batches = (
      pairs: readonly SequencePair[],
      name: string,
      from: number,
      shuffle: boolean,
    ) =>
      new ExampleBatches(
        pairs.map((one, i) => ({
          input: this.sourceOf(fn, `${name}[${from + i}].input`, one.input),
          target: [
            ...target.encode(
              sideTokens(
                fn,
                `${name}[${from + i}].target`,
                one.target,
                this.given.target ? target : null,
              ),
            ),
            target.indexOf(END),
          ],
        })),
        {
          batchSize: settings.batchSize,
          ignoreIndex: padOf(target),
          shuffle,
          ...(seed !== undefined && { seed }),
        },
      )
    return fitExamples<ExampleBatch, SequencePair>(fn, this, all, own, settings, batches)
  }

  /** Numbers of an input's tokens. @throws RangeError where all are unknown */
  protected sourceOf(fn: string, name: string, input: unknown): Int32Array {
    const { source } = this.layers(fn)
    const tokens = sideTokens(fn, name, input, this.given.source ? source : null)
    if (!tokens.some((token) => source.has(token)))
      throw rangeError(
        fn,
        name,
        'at least one token of the vocabulary',
        `only unknown ones, such as '${tokens[0]}'`,
      )
    return source.encode(tokens)
  }

  /**
   * The likeliest outputs for an input, by beam search.
   * @throws (rejects) TypeError before fit; RangeError for an empty input, or one of unknown tokens only
   */
  async generate(
    input: TokenInput,
    options: GenerateSequenceOptions = {},
  ): Promise<GeneratedSequence[]> {
    const fn = 'Seq2Seq.generate'
    checkOptions(fn, options, ['beamSize', 'lengthPenalty', 'nBest', 'maxLength'])
    const { target, output } = this.layers(fn)
    const beamSize = checkInteger(fn, 'beamSize', options.beamSize ?? 4, 1, 4096)
    const nBest = checkInteger(fn, 'nBest', options.nBest ?? 1, 1, beamSize)
    const lengthPenalty = checkNumber(fn, 'lengthPenalty', options.lengthPenalty ?? 1, 0, 10)
    const most = this.config.maxLength
    const maxLength = checkInteger(fn, 'maxLength', options.maxLength ?? most, 1, 2 ** 16)
    const read = this.sourceOf(fn, 'input', input)
    const device = output.weight.device
    const found = await beamSearch(
      this.stepper(read, device),
      target.size,
      target.indexOf(BEGIN),
      target.indexOf(END),
      new Set(
        [BEGIN, PAD].filter((token) => target.has(token)).map((token) => target.indexOf(token)),
      ),
      { beamSize, lengthPenalty, maxLength },
    )
    return found.slice(0, nBest).map(({ tokens, score, beside }) => ({
      tokens: tokens.map((token) => target.token(token)),
      score,
      attention: this.config.attention === null ? null : beside.map((row) => Array.from(row)),
    }))
  }

  /** What beam search asks for the next token. */
  protected stepper(input: Int32Array, device: string): Decoder {
    let memory: Memory | null = null
    let state: Memory['start'] | null = null
    const rows = (x: Tensor, dim: number, index: Tensor): Tensor => x.indexSelect(dim, index)
    return {
      step: async (from, tokens) => {
        const restoreModes = evalMode(this)
        let read: [Promise<ArrayLike<number>>, Promise<ArrayLike<number>> | null]
        try {
          read = noGrad(() => {
            memory ??= this.encode(padInputs([input], 0, 0).to(device), [input.length])
            let before: Memory['start'] = state ?? memory.start
            if (from !== null) {
              const index = tensor(Int32Array.from(from), { device })
              before = Array.isArray(before)
                ? [rows(before[0], 1, index), rows(before[1], 1, index)]
                : rows(before, 1, index)
            }
            const next = tensor(Int32Array.from(tokens), { shape: [tokens.length, 1], device })
            const time = input.length
            const { hiddenSize } = this.config
            const wide: Memory = {
              ...memory,
              states: memory.states.expand([tokens.length, time, hiddenSize]),
            }
            const [logits, seen, after] = this.decode(next, wide, before)
            state = after
            return [logits.logSoftmax(2).data(), seen === null ? null : seen.data()]
          })
        } finally {
          restoreModes()
        }
        const [logProbs, seen] = await Promise.all(read)
        const time = input.length
        return {
          logProbs: logProbs as ArrayLike<number>,
          beside: (row) =>
            seen === null ? [] : Array.prototype.slice.call(seen, row * time, (row + 1) * time),
        }
      },
    }
  }

  /**
   * How often outputs are right: the share of exact ones, and edits over the length of the targets.
   * @throws (rejects) as generate
   */
  async evaluate(
    examples: readonly SequencePair[],
    options: GenerateSequenceOptions = {},
  ): Promise<{ accuracy: number; errorRate: number }> {
    const fn = 'Seq2Seq.evaluate'
    const all = checkPairs(fn, 'examples', examples)
    const { target } = this.layers(fn)
    const truth = all.map((one, i) =>
      sideTokens(fn, `examples[${i}].target`, one.target, this.given.target ? target : null),
    )
    const said: string[][] = []
    for (const { input } of all) said.push((await this.generate(input, options))[0]?.tokens ?? [])
    const same = said.filter((tokens, i) => tokens.join('\0') === truth[i]?.join('\0')).length
    return { accuracy: same / all.length, errorRate: errorRate(said, truth) }
  }

  protected override kind(): string {
    return 'Seq2Seq'
  }

  protected override saved(): { config: object; vocabulary: object | null } {
    const { config, source, target, given } = this
    return { config: { ...config, given }, vocabulary: { source, target } }
  }

  /** A model that `save` wrote. @throws (rejects) Error with a one-line message */
  static async load(folder: string | URL, options: LoadModelOptions = {}): Promise<Seq2Seq> {
    return loadTask('Seq2Seq', folder, options, (config, json, weights, device) => {
      const { given, ...rest } = config as unknown as Seq2SeqOptions & {
        given: { source: boolean; target: boolean }
      }
      const model = new Seq2Seq({ ...rest, device })
      const both = Object(json) as { source?: unknown; target?: unknown }
      const [source, target] = [Vocabulary.fromJSON(both.source), Vocabulary.fromJSON(both.target)]
      const { embeddingSize, hiddenSize } = model.config
      checkWeightShape(weights, 'encoderEmbedding.weight', [source.size, embeddingSize])
      checkWeightShape(weights, 'output.weight', [target.size, hiddenSize])
      checkStack(weights, 'decoder', embeddingSize, model.config)
      model.build(source, target)
      model.given = { source: given.source === true, target: given.target === true }
      return model
    })
  }

  override extraRepr(): string {
    return `cell='${this.config.cell}', attention=${this.config.attention}`
  }
}

/** What stands where a target has ended; a token that is no target. */
function padOf(target: Vocabulary): number {
  return target.indexOf(target.has(PAD) ? PAD : BEGIN)
}

/** A number from 0 up to 1 of two whole numbers (the finaliser of murmur3). */
function mixed(seed: number, counter: number): number {
  let h = (seed ^ Math.imul(counter, 0x9e3779b1)) | 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return ((h ^ (h >>> 16)) >>> 0) / 2 ** 32
}
