/** From one sequence to another: encoder, decoder, attention. */
import { type ExampleBatch, ExampleBatches } from '../data/example_batches.js'
import { Vocabulary } from '../data/vocabulary.js'
import { deviceOption } from '../device.js'
import { checkInteger, checkNumber, checkOptions, rangeError, typeError } from '../errors.js'
import { full, tensor } from '../factories.js'
import { enableGrad, noGrad } from '../grad_mode.js'
import { errorRate } from '../metrics/sequences.js'
import { Dropout } from '../nn/dropout.js'
import type { Embedding } from '../nn/embedding.js'
import { crossEntropy } from '../nn/functional.js'
import type { Linear } from '../nn/linear.js'
import { cat } from '../ops/shape.js'
import { manualSeed, nextRandom } from '../random.js'
import { Tensor } from '../tensor.js'
import type { FitResult } from '../train/options.js'
import type { StepContext, StepResult } from '../train/types.js'
import { beamSearch } from './beam_search.js'
import {
  longestOutput,
  noteLengths,
  type OutputLengths,
  outputLengthsOf,
} from './output_lengths.js'
import type { CellLayer } from './recurrent_cells.js'
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
  targetTokens,
} from './seq2seq_config.js'
import { decoderOf } from './seq2seq_decoder.js'
import { decode, encode, makeLayers, type Seq2SeqLayers } from './seq2seq_network.js'
import { checkFitOptions, type FitModelOptions, fitExamples } from './task_fit.js'
import {
  checkStack,
  checkWeightShape,
  type LoadModelOptions,
  loadTask,
  notFitted,
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
  /**
   * Tokens of the longest. Default: a quarter more than training has shown for inputs of that length,
   * at most the model's.
   */
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

const DEFAULTS = {
  valid: 0.05,
  batchSize: 32,
  lr: 0.003,
  maxEpochs: 20,
  patience: 5,
  oneCycle: true,
}
/** Batches of much the same length, one after the other, would pull the network to and fro. */
const SORT_WITHIN = 4

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
  encoder: CellLayer | null = null
  decoder: CellLayer | null = null
  /** From the last states of both directions to where the decoder begins. */
  bridge: Linear | null = null
  /** The same for the cell states of LSTMs. */
  bridgeCell: Linear | null = null
  /** 'general': W of h·W·m; 'additive': of the source's states. */
  attend: Linear | null = null
  /** 'additive': of the decoder's states, and what weighs the sum. */
  attendState: Linear | null = null
  attendSum: Linear | null = null
  combine: Linear | null = null
  output: Linear | null = null
  /** Whether the vocabularies are the user's, whose tokenizers cut texts. */
  protected given: { source: boolean; target: boolean }
  /** How long targets were that were learnt from. */
  protected lengths: OutputLengths = []
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
    this.source = source
    this.target = target
    Object.assign(this, makeLayers(this.config, source.size, target.size, this.home))
  }

  /** The layers and what was learnt with them. @throws before fit */
  protected layers(fn: string): Seq2SeqLayers & { source: Vocabulary; target: Vocabulary } {
    if (this.source === null || this.target === null || this.encoder === null) throw notFitted(fn)
    return this as Seq2SeqLayers & { source: Vocabulary; target: Vocabulary }
  }

  /**
   * Logits of each target token, given those before it.
   * @param input tokens int32 (B, T)
   * @param lengths of each input
   * @param target int32 (B, S): `<s>` and the tokens before
   * @returns (B, S, V)
   */
  forward(input: Tensor, lengths: readonly number[], target: Tensor): Tensor {
    const layers = this.layers('Seq2Seq.forward')
    const memory = encode(layers, this.drop, this.config.attention, input, lengths)
    return decode(layers, this.drop, target, memory, memory.start)[0]
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
    // Without </s>.
    if (this.training)
      targetLengths.forEach((length, i) => {
        noteLengths(this.lengths, lengths[i] as number, length - 1)
      })
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
   * Adam's rate rises to `lr` (.003) in the first fifth of the `maxEpochs` (20) and falls until their end
   * (OneCycleLR); a `trainer` of one's own keeps it as it is.
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
              targetTokens(
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
          sortWithin: SORT_WITHIN,
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
    const layers = this.layers(fn)
    const { target } = layers
    const beamSize = checkInteger(fn, 'beamSize', options.beamSize ?? 4, 1, 4096)
    const nBest = checkInteger(fn, 'nBest', options.nBest ?? 1, 1, beamSize)
    const lengthPenalty = checkNumber(fn, 'lengthPenalty', options.lengthPenalty ?? 1, 0, 10)
    const read = this.sourceOf(fn, 'input', input)
    const most = longestOutput(this.lengths, read.length, this.config.maxLength)
    const maxLength = checkInteger(fn, 'maxLength', options.maxLength ?? most, 1, 2 ** 16)
    const found = await beamSearch(
      decoderOf(this, layers, read),
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
      targetTokens(fn, `examples[${i}].target`, one.target, this.given.target ? target : null),
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
    const { config, source, target, given, lengths } = this
    return { config: { ...config, given, lengths }, vocabulary: { source, target } }
  }

  /** A model that `save` wrote. @throws (rejects) Error with a one-line message */
  static async load(folder: string | URL, options: LoadModelOptions = {}): Promise<Seq2Seq> {
    return loadTask('Seq2Seq', folder, options, (config, json, weights, device) => {
      const { given, lengths, ...rest } = config as unknown as Seq2SeqOptions & {
        given: { source: boolean; target: boolean }
        lengths: unknown
      }
      const model = new Seq2Seq({ ...rest, device })
      const both = Object(json) as { source?: unknown; target?: unknown }
      const [source, target] = [Vocabulary.fromJSON(both.source), Vocabulary.fromJSON(both.target)]
      const { embeddingSize, hiddenSize } = model.config
      checkWeightShape(weights, 'encoderEmbedding.weight', [source.size, embeddingSize])
      checkWeightShape(weights, 'output.weight', [target.size, hiddenSize])
      checkStack(weights, 'decoder', embeddingSize, model.config)
      model.build(source, target)
      model.lengths = outputLengthsOf(lengths)
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
