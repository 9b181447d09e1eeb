/** A tag for every token of a sentence: parts of speech, names. */
import { type ExampleBatch, ExampleBatches, padInputs } from '../data/example_batches.js'
import { Vocabulary } from '../data/vocabulary.js'
import { deviceOption } from '../device.js'
import { checkInteger, checkOptions, rangeError, typeError } from '../errors.js'
import { tensor } from '../factories.js'
import { noGrad } from '../grad_mode.js'
import { accuracy } from '../metrics/classification.js'
import { spanF1, spansOf } from '../metrics/sequences.js'
import { CRF } from '../nn/crf.js'
import { Dropout } from '../nn/dropout.js'
import { Embedding } from '../nn/embedding.js'
import { crossEntropy } from '../nn/functional.js'
import { Linear } from '../nn/linear.js'
import { evalMode } from '../nn/module.js'
import { packPaddedSequence, padPackedSequence } from '../nn/packed.js'
import type { OnnxModule } from '../onnx/export.js'
import type { Graph, Value } from '../onnx/graph.js'
import { cat } from '../ops/shape.js'
import { manualSeed } from '../random.js'
import { Tensor } from '../tensor.js'
import type { FitResult } from '../train/options.js'
import type { StepContext, StepResult } from '../train/types.js'
import { at, stackValue } from './onnx_parts.js'
import type { CellLayer } from './recurrent_cells.js'
import {
  checkSentences,
  checkTagger,
  checkTokens,
  featureOf,
  isBio,
  type SequenceTaggerConfig,
  type SequenceTaggerOptions,
  type TaggedSequence,
  type TaggerState,
  type Tagging,
  type Vocabularies,
} from './tagger_config.js'
import { checkFitOptions, type FitModelOptions, fitExamples } from './task_fit.js'
import {
  checkStack,
  checkWeightShape,
  type LoadModelOptions,
  loadTask,
  notFitted,
  recurrentStack,
  runStack,
  TaskModel,
} from './task_model.js'
import { byLength, PADDING } from './text_inputs.js'
import { allowedOnly, type ChainScores, likeliestTags } from './viterbi.js'

const DEFAULTS = { valid: 0.1, batchSize: 32, lr: 0.002, maxEpochs: 20, patience: 3 }

/**
 * Gives every token of a sentence a tag: parts of speech, or names as BIO tags, whose spans it puts
 * together.
 *
 * ```ts
 * const model = new models.SequenceTagger()
 * await model.fit([{ input: ['Ada', 'lives', 'here'], tags: ['B-PER', 'O', 'O'] }, …])
 * const [{ tags, spans }] = await model.predict([['Ada', 'sleeps']])
 * ```
 */
export class SequenceTagger extends TaskModel<ExampleBatch> implements OnnxModule {
  readonly config: Readonly<SequenceTaggerConfig>
  /** Null before `fit` has found one. */
  vocabulary: Vocabulary | null
  /** Null before `fit`. */
  state: TaggerState | null = null
  embeddings: Embedding[] = []
  drop: Dropout
  rnn: CellLayer | null = null
  head: Linear | null = null
  crf: CRF | null = null
  protected features: Vocabulary[] = []
  protected home: string

  /** @throws TypeError, RangeError for wrong or unknown options */
  constructor(options: SequenceTaggerOptions = {}) {
    super()
    this.config = Object.freeze(checkTagger(options))
    this.vocabulary = options.vocabulary ?? null
    this.drop = new Dropout(this.config.dropout)
    this.home = deviceOption('SequenceTagger', options.device)
  }

  /** Makes the layers for tags and tokens. */
  protected build(state: TaggerState, { words, features }: Vocabularies): void {
    const { embeddingSize, cell, hiddenSize, numLayers, dropout } = this.config
    const device = this.home
    const small = Math.max(1, Math.round(embeddingSize / 4))
    this.vocabulary = words
    this.features = features
    this.embeddings = [
      new Embedding(words.size, embeddingSize, { device }),
      ...features.map(({ size }) => new Embedding(size, small, { device })),
    ]
    const width = embeddingSize + small * features.length
    const stack = { cell, hiddenSize, numLayers, dropout, bidirectional: true, device }
    this.rnn = recurrentStack(width, stack)
    this.head = new Linear(2 * hiddenSize, state.tags.length, { device })
    this.crf = state.crf ? new CRF(state.tags.length, { batchFirst: true, device }) : null
    this.state = state
  }

  /** The layers and what was learnt with them. @throws before fit */
  protected layers(fn: string): { rnn: CellLayer; head: Linear; state: TaggerState } {
    const { rnn, head, state } = this
    if (rnn === null || head === null || state === null) throw notFitted(fn)
    return { rnn, head, state }
  }

  /**
   * Scores of each tag at each token.
   * @param input (B, T, 1 + features): numbers of the token, and of its features
   * @param lengths of each sentence
   * @returns (B, T, tags)
   */
  forward(input: Tensor, lengths: readonly number[]): Tensor {
    const fn = 'SequenceTagger.forward'
    const { rnn, head } = this.layers(fn)
    if (!(input instanceof Tensor)) throw typeError(fn, 'input', 'a tensor', input)
    const { shape } = input
    if (shape.length !== 3 || shape[2] !== this.embeddings.length)
      throw rangeError(
        fn,
        'input',
        `shape (B, T, ${this.embeddings.length})`,
        `(${shape.join(', ')})`,
      )
    const numbers = input.int()
    const read = this.embeddings.map((embedding, k) => embedding.forward(numbers.select(2, k)))
    const embedded = this.drop.forward(read.length === 1 ? (read[0] as Tensor) : cat(read, 2))
    const packed = packPaddedSequence(embedded, lengths, { batchFirst: true, enforceSorted: false })
    const [output] = runStack(rnn, packed)
    const [steps] = padPackedSequence(output, { batchFirst: true })
    return head.forward(this.drop.forward(steps))
  }

  /** The mean loss of a token: cross entropy, or the negative log likelihood of its sentence's tags. */
  override trainingStep(batch: ExampleBatch, _context?: StepContext): StepResult {
    const fn = 'SequenceTagger.trainingStep'
    if (typeof batch !== 'object' || batch === null) throw typeError(fn, 'batch', 'a batch', batch)
    const { input, lengths, target } = batch
    if (!(target instanceof Tensor)) throw typeError(fn, 'batch.target', 'a tensor', target)
    const scores = this.forward(input, lengths)
    const [size, time, count] = scores.shape as [number, number, number]
    const tokens = lengths.reduce((a, b) => a + b, 0)
    const weight = checkInteger(fn, 'batch.count', batch.count, 0) === 0 ? 0 : tokens
    if (this.crf === null) {
      const loss = crossEntropy(
        scores.reshape([size * time, count]),
        target.reshape([size * time]),
        {
          ignoreIndex: -1,
        },
      )
      return { loss, count: weight }
    }
    const inside = new Int32Array(size * time)
    lengths.forEach((length, b) => {
      inside.fill(1, b * time, b * time + length)
    })
    const mask = tensor(inside, { shape: [size, time], device: scores.device })
    const loss = this.crf.forward(scores, target, { mask }).div(-tokens)
    return { loss, count: weight }
  }

  /**
   * Learns from tagged sentences. The last tenth (`valid`) is kept apart; the best weights are kept.
   * @throws (rejects) TypeError, RangeError for empty sentences, another number of tags than tokens, a
   *   tag that is none, with the example
   */
  async fit(
    examples: readonly TaggedSequence[],
    options: FitModelOptions<readonly TaggedSequence[]> = {},
  ): Promise<FitResult> {
    const fn = 'SequenceTagger.fit'
    const settings = checkFitOptions(fn, options, DEFAULTS)
    const all = checkSentences(fn, 'examples', examples)
    const own =
      typeof options.valid === 'object' ? checkSentences(fn, 'valid', options.valid) : null
    const { seed } = settings
    if (this.state === null) {
      if (seed !== undefined) manualSeed(seed)
      const tags = [...(this.config.tags ?? [...new Set(all.flatMap((one) => one.tags))].sort())]
      if (tags.length < 2) throw rangeError(fn, 'examples', 'at least two tags', tags.join(', '))
      const tokens = all.flatMap((one) => one.input)
      const made = (of: string[], minFrequency: number): Vocabulary =>
        Vocabulary.fromTokens(of, { specialTokens: [PADDING], minFrequency })
      // In large data a token that occurs once teaches what an unknown one is.
      const words = this.vocabulary ?? made(tokens, all.length >= 500 ? 2 : 1)
      const features = this.config.features.map((feature) =>
        made(
          tokens.map((token) => featureOf(feature, token)),
          1,
        ),
      )
      this.build({ tags, crf: this.config.crf ?? isBio(tags) }, { words, features })
    }
    const { tags } = this.layers(fn).state
    const index = new Map(tags.map((tag, i) => [tag, i]))
    const batches = (
      list: readonly TaggedSequence[],
      name: string,
      from: number,
      shuffle: boolean,
    ) =>
      new ExampleBatches(
        list.map((one, i) => ({
          input: this.read(one.input),
          target: one.tags.map((tag, k) => {
            const found = index.get(tag)
            if (found === undefined)
              throw rangeError(
                fn,
                `${name}[${from + i}].tags[${k}]`,
                `one of ${tags.join(', ')}`,
                `'${tag}'`,
              )
            return found
          }),
        })),
        {
          batchSize: settings.batchSize,
          ignoreIndex: -1,
          shuffle,
          ...(seed !== undefined && { seed }),
        },
      )
    return fitExamples<ExampleBatch, TaggedSequence>(fn, this, all, own, settings, batches)
  }

  /** Rows of the numbers of each token and its features. */
  protected read(tokens: readonly string[]): number[][] {
    const words = this.vocabulary as Vocabulary
    return tokens.map((token) => [
      words.indexOf(token),
      ...this.config.features.map((feature, k) =>
        (this.features[k] as Vocabulary).indexOf(featureOf(feature, token)),
      ),
    ])
  }

  /**
   * The tags of each sentence, the likeliest together; of BIO tags only what they can mean.
   * @throws (rejects) TypeError before fit; RangeError for an empty sentence
   */
  async predict(
    sentences: readonly (readonly string[])[],
    options: { batchSize?: number } = {},
  ): Promise<Tagging[]> {
    const fn = 'SequenceTagger.predict'
    checkOptions(fn, options, ['batchSize'])
    const batchSize = checkInteger(fn, 'batchSize', options.batchSize ?? 64, 1)
    const { state, head } = this.layers(fn)
    if (!Array.isArray(sentences))
      throw typeError(fn, 'sentences', 'an array of arrays of tokens', sentences)
    const all = Array.from(sentences, (one, i) => checkTokens(fn, `sentences[${i}]`, one))
    const { crf } = this
    const chain: ChainScores | null =
      crf === null
        ? null
        : await Promise.all([
            crf.start_transitions.data(),
            crf.end_transitions.data(),
            crf.transitions.data(),
          ]).then(([start, end, transitions]) => ({ start, end, transitions }))
    const bio = isBio(state.tags)
    const zero = new Float32Array(state.tags.length ** 2)
    const scores = bio
      ? allowedOnly(state.tags, chain)
      : (chain ?? { start: zero, end: zero, transitions: zero })
    const count = state.tags.length
    const results = new Array<Tagging>(all.length)
    for (const numbers of byLength(all, batchSize)) {
      const part = numbers.map((i) => all[i] as string[])
      const restoreModes = evalMode(this)
      let read: Promise<ArrayLike<number>>
      try {
        read = noGrad(() => {
          const rows = part.map((tokens) => this.read(tokens))
          using input = padInputs(rows, this.embeddings.length, 0).to(head.weight.device)
          using out = this.forward(
            input,
            part.map(({ length }) => length),
          )
          return out.data()
        })
      } finally {
        restoreModes()
      }
      const data = await read
      const time = data.length / part.length / count
      numbers.forEach((i, b) => {
        const length = (part[b] as string[]).length
        const chosen = likeliestTags(data, b * time * count, length, count, scores)
        const tags = chosen.map((k) => state.tags[k] as string)
        results[i] = {
          tags,
          scores: chosen.map((k, t) => shareOf(data, (b * time + t) * count, count, k)),
          ...(bio && { spans: spansOf(tags) }),
        }
      })
    }
    return results
  }

  /** How many tags are right, and the F1 of spans where the tags are BIO. @throws (rejects) as predict */
  async evaluate(
    examples: readonly TaggedSequence[],
  ): Promise<{ accuracy: number; spanF1: number | null }> {
    const fn = 'SequenceTagger.evaluate'
    const all = checkSentences(fn, 'examples', examples)
    const { tags } = this.layers(fn).state
    const said = (await this.predict(all.map(({ input }) => input))).map((one) => one.tags)
    const truth = all.map((one) => one.tags)
    return {
      accuracy: accuracy(said.flat(), truth.flat()),
      spanF1: isBio(tags) ? spanF1(said, truth) : null,
    }
  }

  /**
   * For `onnx.export`: inputs `input` int32 (B, T, 1 + features), the numbers of each token and its
   * features, and `lengths` int32 (B); output `emissions` (B, T, tags), the scores of each tag by
   * itself. Which tags are likeliest together (the CRF's part) is not in it.
   */
  toOnnx(graph: Graph): void {
    const { rnn, head, state } = this.layers('onnx.export')
    const input = graph.input('input', 'int32', ['batch', 'sequence', this.embeddings.length])
    const lengths = graph.input('lengths', 'int32', ['batch'])
    const read = this.embeddings.map((one, k) => graph.call(one, at(graph, input, 2, k)))
    const rows = read.length === 1 ? (read[0] as Value) : graph.node('Concat', read, { axis: 2 })
    const [steps] = stackValue(graph, rnn, rows, lengths)
    const shape = ['batch', 'sequence', state.tags.length]
    graph.output('emissions', graph.call(head, steps), 'float32', shape)
  }

  protected override kind(): string {
    return 'SequenceTagger'
  }

  protected override saved(): { config: object; vocabulary: object | null } {
    const { config, state, vocabulary, features } = this
    const { tags: _, ...rest } = config
    return { config: { ...rest, state }, vocabulary: { words: vocabulary, features } }
  }

  /** A model that `save` wrote: it predicts the same bits. @throws (rejects) Error with a one-line message */
  static async load(folder: string | URL, options: LoadModelOptions = {}): Promise<SequenceTagger> {
    return loadTask('SequenceTagger', folder, options, (config, json, weights, device) => {
      const { state, crf, ...rest } = config as unknown as SequenceTaggerOptions & {
        state: TaggerState
      }
      const model = new SequenceTagger({ ...rest, ...(crf != null && { crf }), device })
      const { words, features } = Object(json) as { words: unknown; features: unknown[] }
      const vocabularies = {
        words: Vocabulary.fromJSON(words),
        features: Array.from(features, (one) => Vocabulary.fromJSON(one)),
      }
      const { embeddingSize, hiddenSize } = model.config
      checkWeightShape(weights, 'embeddings.0.weight', [vocabularies.words.size, embeddingSize])
      const small = Math.max(1, Math.round(embeddingSize / 4))
      checkStack(weights, 'rnn', embeddingSize + small * vocabularies.features.length, model.config)
      checkWeightShape(weights, 'head.weight', [state.tags.length, 2 * hiddenSize])
      model.build(state, vocabularies)
      return model
    })
  }

  override extraRepr(): string {
    return `tags=${(this.state?.tags ?? ['by the data']).length}, cell='${this.config.cell}'`
  }
}

/** The probability of one of the tags of a token. */
function shareOf(data: ArrayLike<number>, from: number, count: number, tag: number): number {
  let most = -Infinity
  for (let k = 0; k < count; k++) most = Math.max(most, data[from + k] as number)
  let sum = 0
  for (let k = 0; k < count; k++) sum += Math.exp((data[from + k] as number) - most)
  return Math.exp((data[from + tag] as number) - most) / sum
}
