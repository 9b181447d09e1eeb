/** Which class a text or a series of measurements is of: a recurrent network over it. */
import { type ExampleBatch, ExampleBatches, padInputs } from '../data/example_batches.js'
import { Vocabulary } from '../data/vocabulary.js'
import type { Scale } from '../data/window_features.js'
import { deviceOption } from '../device.js'
import { checkBoolean, checkInteger, checkOptions, rangeError, typeError } from '../errors.js'
import { tensor } from '../factories.js'
import { noGrad } from '../grad_mode.js'
import type { Label } from '../metrics/checks.js'
import {
  accuracy,
  averageF1,
  confusionText,
  countPairs,
  f1OfClass,
} from '../metrics/classification.js'
import { Dropout } from '../nn/dropout.js'
import { Embedding } from '../nn/embedding.js'
import { crossEntropy } from '../nn/functional.js'
import { Linear } from '../nn/linear.js'
import { evalMode } from '../nn/module.js'
import { packPaddedSequence, padPackedSequence } from '../nn/packed.js'
import type { OnnxModule } from '../onnx/export.js'
import type { Graph, Value } from '../onnx/graph.js'
import { DataType } from '../onnx/proto.js'
import { cat } from '../ops/shape.js'
import { manualSeed } from '../random.js'
import { Tensor } from '../tensor.js'
import type { FitResult } from '../train/options.js'
import type { StepContext, StepResult } from '../train/types.js'
import {
  type Classification,
  type ClassificationResult,
  type ClassifierState,
  checkClassifier,
  checkExamples,
  type LabelledSequence,
  pooledSize,
  type SequenceClassifierConfig,
  type SequenceClassifierOptions,
} from './classifier_config.js'
import { classesOf, stratified, weightsOf } from './labels.js'
import { endedValue, layerOf, scaledValue, stackValue } from './onnx_parts.js'
import type { CellLayer } from './recurrent_cells.js'
import { checkFitOptions, type FitModelOptions, fitModel } from './task_fit.js'
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
import {
  byLength,
  checkRows,
  columnScales,
  encoded,
  isText,
  type SequenceInput,
  scaledRows,
  tokensOf,
  vocabularyOf,
  wordsOf,
} from './text_inputs.js'

const DEFAULTS = { valid: 0.1, batchSize: 32, lr: 0.002, maxEpochs: 12, patience: 4 }

/**
 * Tells which class a sequence is of: texts (mails, reviews, names) or rows of numbers (sensors, pen
 * strokes).
 *
 * ```ts
 * const model = new models.SequenceClassifier()
 * await model.fit([{ input: 'win a prize now', label: 'spam' }, …])
 * const [{ label, score }] = await model.predict(['see you at noon'])
 * ```
 */
export class SequenceClassifier extends TaskModel<ExampleBatch> implements OnnxModule {
  readonly config: Readonly<SequenceClassifierConfig>
  /** Of texts; null for rows of numbers, and before `fit` has found one. */
  vocabulary: Vocabulary | null
  /** Null before `fit`. */
  state: ClassifierState | null = null
  embedding: Embedding | null = null
  drop: Dropout
  rnn: CellLayer | null = null
  head: Linear | null = null
  /** Whether texts are cut by the vocabulary's tokenizer, which the user has chosen. */
  protected ownTokenizer: boolean
  protected home: string

  /** @throws TypeError, RangeError for wrong or unknown options */
  constructor(options: SequenceClassifierOptions = {}) {
    super()
    const fn = 'SequenceClassifier'
    this.config = Object.freeze(checkClassifier(fn, options))
    this.vocabulary = options.vocabulary ?? null
    this.ownTokenizer = options.vocabulary !== undefined
    this.drop = new Dropout(this.config.dropout)
    this.home = deviceOption(fn, options.device)
  }

  /** Makes the layers for what the data have shown. */
  protected build(state: ClassifierState): void {
    const { embeddingSize, cell, hiddenSize, numLayers, dropout, bidirectional } = this.config
    const { vocabulary, home: device } = this
    this.embedding =
      vocabulary === null ? null : new Embedding(vocabulary.size, embeddingSize, { device })
    const width = this.embedding === null ? (state.scales as Scale[]).length : embeddingSize
    const stack = { cell, hiddenSize, numLayers, dropout, bidirectional, device }
    this.rnn = recurrentStack(width, stack)
    this.head = new Linear(pooledSize(this.config), state.classes.length, { device })
    this.state = state
  }

  /** The layers and what was learnt with them. @throws before fit */
  protected layers(fn: string): { rnn: CellLayer; head: Linear; state: ClassifierState } {
    const { rnn, head, state } = this
    if (rnn === null || head === null || state === null) throw notFitted(fn)
    return { rnn, head, state }
  }

  /**
   * Logits of the classes.
   * @param input tokens int32 (B, T), or rows of numbers float32 (B, T, F)
   * @param lengths of each sequence; the rest is padding
   * @returns (B, classes)
   */
  forward(input: Tensor, lengths: readonly number[]): Tensor {
    const fn = 'SequenceClassifier.forward'
    const { rnn, head } = this.layers(fn)
    if (!(input instanceof Tensor)) throw typeError(fn, 'input', 'a tensor', input)
    const read = this.embedding === null ? input : this.embedding.forward(input)
    if (read.shape.length !== 3)
      throw rangeError(fn, 'input', 'shape (B, T) or (B, T, F)', `(${input.shape.join(', ')})`)
    const packed = packPaddedSequence(this.drop.forward(read), lengths, {
      batchFirst: true,
      enforceSorted: false,
    })
    const [output, hidden] = runStack(rnn, packed)
    const { pooling, bidirectional } = this.config
    const top = hidden.shape[0] as number
    const last = bidirectional
      ? cat([hidden.select(0, top - 2), hidden.select(0, top - 1)], 1)
      : hidden.select(0, top - 1)
    if (pooling === 'last') return head.forward(this.drop.forward(last))
    const [steps] = padPackedSequence(output, { batchFirst: true })
    const [batch, time] = steps.shape as [number, number, number]
    const parts: Tensor[] = pooling === 'concat' ? [last] : []
    if (pooling !== 'mean') {
      const behind = new Float32Array(batch * time)
      lengths.forEach((length, b) => {
        behind.fill(-1e9, b * time + length, (b + 1) * time)
      })
      const mask = tensor(behind, { shape: [batch, time, 1], device: steps.device })
      parts.push(steps.add(mask).max(1)[0])
    }
    if (pooling !== 'max') {
      const share = Float32Array.from(lengths, (length) => 1 / length)
      parts.push(steps.sum(1).mul(tensor(share, { shape: [batch, 1], device: steps.device })))
    }
    return head.forward(
      this.drop.forward(parts.length === 1 ? (parts[0] as Tensor) : cat(parts, 1)),
    )
  }

  /** The mean cross entropy of a batch, weighted where the classes are. */
  override trainingStep(batch: ExampleBatch, _context?: StepContext): StepResult {
    const fn = 'SequenceClassifier.trainingStep'
    if (typeof batch !== 'object' || batch === null) throw typeError(fn, 'batch', 'a batch', batch)
    const { state } = this.layers(fn)
    const { target } = batch
    if (!(target instanceof Tensor)) throw typeError(fn, 'batch.target', 'a tensor', target)
    const logits = this.forward(batch.input, batch.lengths)
    const count = checkInteger(fn, 'batch.count', batch.count, 0)
    if (state.weights === null) return { loss: crossEntropy(logits, target), count }
    const weights = tensor([...state.weights], { device: logits.device }).indexSelect(0, target)
    const losses = crossEntropy(logits, target, { reduction: 'none' }).mul(weights)
    return { loss: losses.sum().div(weights.sum()), count }
  }

  /**
   * Learns from labelled sequences. About a tenth of each class (`valid`) is kept apart, spread over
   * the data: training ends when its loss no longer falls, and the best weights are kept.
   * @throws (rejects) TypeError, RangeError for empty texts, labels that are none, a class without an
   *   example, rows of unlike width or with what is no number, with the example
   */
  async fit(
    examples: readonly LabelledSequence[],
    options: FitModelOptions<readonly LabelledSequence[]> = {},
  ): Promise<FitResult> {
    const fn = 'SequenceClassifier.fit'
    const settings = checkFitOptions(fn, options, DEFAULTS)
    const [inputs, labels] = checkExamples(fn, 'examples', examples)
    const fresh = this.state === null
    if (settings.seed !== undefined && fresh) manualSeed(settings.seed)
    if (fresh) this.learnData(fn, inputs, labels)
    const { classes } = this.layers(fn).state
    classesOf(fn, labels, classes)
    const index = new Map(classes.map((label, i) => [label, i]))
    const batches = (
      which: readonly number[],
      name: string,
      all: unknown[],
      of: Label[],
      shuffle: boolean,
    ) =>
      new ExampleBatches(
        which.map((i) => ({
          input: this.read(fn, `${name}[${i}].input`, all[i], true),
          target: index.get(of[i] as Label) as number,
        })),
        {
          batchSize: settings.batchSize,
          shuffle,
          ...(settings.seed !== undefined && { seed: settings.seed }),
        },
      )
    const own = typeof options.valid === 'object' ? checkExamples(fn, 'valid', options.valid) : null
    const every = labels.map((_, i) => i)
    const { train, valid } =
      own === null ? stratified(labels, settings.valid) : { train: every, valid: [] }
    const validData =
      own !== null
        ? batches(
            own[1].map((_, i) => i),
            'valid',
            own[0],
            own[1],
            false,
          )
        : valid.length === 0
          ? null
          : batches(valid, 'examples', inputs, labels, false)
    return fitModel<ExampleBatch>(
      this,
      batches(train, 'examples', inputs, labels, true),
      validData,
      settings,
    )
  }

  /** Vocabulary or scales, classes and their weights; and the layers for them. */
  protected learnData(fn: string, inputs: readonly unknown[], labels: readonly Label[]): void {
    const { config } = this
    const classes = classesOf(fn, labels, config.classes)
    const weights = weightsOf(fn, classes, labels, config.classWeight)
    const texts = isText(fn, 'examples[0].input', inputs[0])
    if (texts && config.inputSize !== null)
      throw typeError(fn, 'examples[0].input', `rows of ${config.inputSize} numbers`, inputs[0])
    if (!texts && this.vocabulary !== null)
      throw typeError(fn, 'examples[0].input', 'a text or tokens', inputs[0])
    if (texts) {
      this.vocabulary ??= vocabularyOf(
        inputs.map((input, i) => tokensOf(fn, `examples[${i}].input`, input, wordsOf)),
      )
      this.build({ classes, weights, scales: null })
      return
    }
    const width = config.inputSize ?? (inputs[0] as ArrayLike<number>[])[0]?.length ?? 0
    const rows = inputs.map((input, i) =>
      checkRows(fn, `examples[${i}].input`, input, width, config.maxLength),
    )
    this.build({ classes, weights, scales: columnScales(rows, width) })
  }

  /** An input as the network reads it. */
  protected read(
    fn: string,
    name: string,
    input: unknown,
    learning = false,
  ): Int32Array | Float32Array[] {
    const { state } = this.layers(fn)
    const { maxLength } = this.config
    if (state.scales !== null)
      return scaledRows(checkRows(fn, name, input, state.scales.length, maxLength), state.scales)
    const vocabulary = this.vocabulary as Vocabulary
    const cut = this.ownTokenizer ? (text: string) => vocabulary.tokenizer.tokenize(text) : wordsOf
    const tokens = tokensOf(fn, name, input, cut)
    // Among what is learnt from, rare words alone are no mistake.
    return learning
      ? vocabulary.encode(tokens.slice(0, maxLength))
      : encoded(fn, name, tokens, vocabulary, maxLength)
  }

  /**
   * The likeliest class of each sequence, in batches of equally long ones.
   * @param inputs any number of texts, arrays of tokens, or rows of numbers
   * @throws (rejects) TypeError before fit; RangeError for an empty text, one whose words are all
   *   unknown, rows of another width
   */
  async predict(
    inputs: readonly SequenceInput[],
    options: { batchSize?: number } = {},
  ): Promise<Classification[]> {
    const fn = 'SequenceClassifier.predict'
    checkOptions(fn, options, ['batchSize'])
    const batchSize = checkInteger(fn, 'batchSize', options.batchSize ?? 64, 1)
    const { classes } = this.layers(fn).state
    if (!Array.isArray(inputs)) throw typeError(fn, 'inputs', 'an array of sequences', inputs)
    const read = Array.from(inputs, (input, i) => this.read(fn, `inputs[${i}]`, input))
    const results = new Array<Classification>(read.length)
    for (const numbers of byLength(read, batchSize)) {
      const scores = await this.scores(numbers.map((i) => read[i] as Int32Array))
      numbers.forEach((i, b) => {
        const own = Array.from(scores.subarray(b * classes.length, (b + 1) * classes.length))
        const best = own.indexOf(Math.max(...own))
        results[i] = {
          label: classes[best] as Label,
          score: own[best] as number,
          scores: Object.fromEntries(classes.map((label, c) => [String(label), own[c] as number])),
        }
      })
    }
    return results
  }

  /** Probabilities (B, classes) of what {@link read} gave. */
  protected scores(inputs: readonly (Int32Array | Float32Array[])[]): Promise<Float32Array> {
    const { state, head } = this.layers('SequenceClassifier.predict')
    const restoreModes = evalMode(this)
    try {
      return noGrad(() => {
        using input = padInputs(inputs, state.scales?.length ?? 0, 0).to(head.weight.device)
        using logits = this.forward(
          input,
          inputs.map(({ length }) => length),
        )
        using scores = logits.softmax(1)
        return scores.data() as Promise<Float32Array>
      })
    } finally {
      restoreModes()
    }
  }

  /** How well the classes of labelled sequences are told. @throws (rejects) as predict */
  async evaluate(examples: readonly LabelledSequence[]): Promise<ClassificationResult> {
    const fn = 'SequenceClassifier.evaluate'
    const [inputs, labels] = checkExamples(fn, 'examples', examples)
    const { classes } = this.layers(fn).state
    for (const [i, label] of labels.entries())
      if (!classes.includes(label))
        throw rangeError(fn, `examples[${i}].label`, `one of ${classes.join(', ')}`, String(label))
    const predicted = (await this.predict(inputs as SequenceInput[])).map(({ label }) => label)
    const counts = countPairs(fn, classes, predicted, labels)
    return {
      accuracy: accuracy(predicted, labels),
      f1: classes.length === 2 ? f1OfClass(counts, 1) : averageF1(counts, 'macro'),
      confusionMatrix: counts,
      classes: [...classes],
      text: confusionText(classes, counts),
    }
  }

  /**
   * For `onnx.export`: inputs `tokens` int32 (B, T), or `rows` float32 (B, T, F) as they were measured,
   * and `lengths` int32 (B); output `scores` (B, classes), the probabilities.
   */
  toOnnx(graph: Graph): void {
    const { rnn, head, state } = this.layers('onnx.export')
    const { pooling, bidirectional, numLayers } = this.config
    const shape = ['batch', 'sequence']
    const read =
      this.embedding === null
        ? scaledValue(
            graph,
            graph.input('rows', 'float32', [...shape, (state.scales as Scale[]).length]),
            state.scales as Scale[],
          )
        : graph.call(this.embedding, graph.input('tokens', 'int32', shape))
    const lengths = graph.input('lengths', 'int32', ['batch'])
    const [steps, hidden] = stackValue(graph, rnn, read, lengths)
    const top = (bidirectional ? 2 : 1) * numLayers
    const last = bidirectional
      ? graph.node('Concat', [layerOf(graph, hidden, top - 2), layerOf(graph, hidden, top - 1)], {
          axis: 1,
        })
      : layerOf(graph, hidden, top - 1)
    const parts: Value[] = pooling === 'concat' || pooling === 'last' ? [last] : []
    if (pooling === 'concat' || pooling === 'max') {
      using least = tensor([-1e9])
      const ended = endedValue(graph, steps, lengths)
      const behind = graph.node('Mul', [ended, graph.weight(least, 'behind')])
      const shown = graph.node('Add', [steps, behind])
      parts.push(graph.node('ReduceMax', [shown], { axes: [1], keepdims: 0 }))
    }
    if (pooling === 'concat' || pooling === 'mean') {
      const sum = graph.node('ReduceSum', [steps, graph.ints(1)], { keepdims: 0 })
      const count = graph.node('Cast', [lengths], { to: DataType.float32 })
      parts.push(graph.node('Div', [sum, graph.node('Unsqueeze', [count, graph.ints(1)])]))
    }
    const pooled =
      parts.length === 1 ? (parts[0] as Value) : graph.node('Concat', parts, { axis: 1 })
    const scores = graph.node('Softmax', [graph.call(head, pooled)], { axis: 1 })
    graph.output('scores', scores, 'float32', ['batch', state.classes.length])
  }

  protected override kind(): string {
    return 'SequenceClassifier'
  }

  protected override saved(): { config: object; vocabulary: object | null } {
    const { config, state, vocabulary, ownTokenizer } = this
    return { config: { ...config, state, ownTokenizer }, vocabulary }
  }

  /** A model that `save` wrote: it predicts the same bits. @throws (rejects) Error with a one-line message */
  static async load(
    folder: string | URL,
    options: LoadModelOptions = {},
  ): Promise<SequenceClassifier> {
    return loadTask('SequenceClassifier', folder, options, (config, json, weights, device) => {
      const { state, ownTokenizer, ...rest } = config as unknown as SequenceClassifierOptions & {
        state: ClassifierState
        ownTokenizer: boolean
      }
      const vocabulary = json === null ? undefined : Vocabulary.fromJSON(json)
      const model = new SequenceClassifier({ ...rest, device })
      model.vocabulary = vocabulary ?? null
      model.ownTokenizer = checkBoolean('load', 'ownTokenizer', ownTokenizer)
      const { embeddingSize } = model.config
      if (vocabulary !== undefined)
        checkWeightShape(weights, 'embedding.weight', [vocabulary.size, embeddingSize])
      const width = vocabulary === undefined ? (state.scales as Scale[]).length : embeddingSize
      checkStack(weights, 'rnn', width, model.config)
      checkWeightShape(weights, 'head.weight', [state.classes.length, pooledSize(model.config)])
      model.build(state)
      return model
    })
  }

  override extraRepr(): string {
    return `classes=${(this.state?.classes ?? this.config.classes ?? ['by the data']).join('|')}, pooling='${this.config.pooling}'`
  }
}
