/** Which labels are in rows of which nobody knows where each begins: handwriting, speech, gestures. */
import { type ExampleBatch, ExampleBatches, padInputs } from '../data/example_batches.js'
import { deviceOption } from '../device.js'
import { checkInteger, checkOptions, rangeError, typeError } from '../errors.js'
import { tensor } from '../factories.js'
import { noGrad } from '../grad_mode.js'
import { errorRate } from '../metrics/sequences.js'
import { ctcDecode } from '../nn/ctc_decode.js'
import { Dropout } from '../nn/dropout.js'
import { Linear } from '../nn/linear.js'
import { evalMode } from '../nn/module.js'
import { packPaddedSequence, padPackedSequence } from '../nn/packed.js'
import type { RecurrentLayer } from '../nn/recurrent_layer.js'
import type { OnnxModule } from '../onnx/export.js'
import type { Graph } from '../onnx/graph.js'
import { ctcLoss } from '../ops/ctc.js'
import { manualSeed } from '../random.js'
import { Tensor } from '../tensor.js'
import type { FitResult } from '../train/options.js'
import type { StepContext, StepResult } from '../train/types.js'
import { scaledValue, stackValue } from './onnx_parts.js'
import { RecognitionStream, type StreamState } from './recognition_stream.js'
import {
  checkFits,
  checkRecognizer,
  checkTranscribed,
  numbersOfLabels,
  type Recognition,
  type RecognizeOptions,
  type RecognizerState,
  type SequenceRecognizerConfig,
  type SequenceRecognizerOptions,
  type TranscribedSequence,
} from './recognizer_config.js'
import { type CellLayer, stateNames } from './recurrent_cells.js'
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
import { byLength, checkRows, columnScales, scaledRows } from './text_inputs.js'

const DEFAULTS = { valid: 0.1, batchSize: 32, lr: 0.005, maxEpochs: 40, patience: 6 }

/**
 * Tells which labels are in rows of numbers, where it is not known which rows are which label's:
 * handwriting, speech, gestures. Trained with connectionist temporal classification (CTC, Graves et
 * al. 2006).
 *
 * ```ts
 * const model = new models.SequenceRecognizer()
 * await model.fit([{ input: [[0, 1], [3, 1], …], target: 'hi' }, …])
 * const [{ labels }] = await model.predict([rows])
 * ```
 */
export class SequenceRecognizer extends TaskModel<ExampleBatch> implements OnnxModule {
  readonly config: Readonly<SequenceRecognizerConfig>
  /** Null before `fit`. */
  state: RecognizerState | null = null
  drop: Dropout
  rnn: CellLayer | null = null
  head: Linear | null = null
  protected home: string

  /** @throws TypeError, RangeError for wrong or unknown options */
  constructor(options: SequenceRecognizerOptions = {}) {
    super()
    this.config = Object.freeze(checkRecognizer(options))
    this.drop = new Dropout(this.config.dropout)
    this.home = deviceOption('SequenceRecognizer', options.device)
  }

  /** Makes the layers for labels and columns. */
  protected build(state: RecognizerState): void {
    const { cell, hiddenSize, numLayers, dropout, bidirectional } = this.config
    const stack = { cell, hiddenSize, numLayers, dropout, bidirectional, device: this.home }
    this.rnn = recurrentStack(state.scales.length, stack)
    this.head = new Linear(this.width(), state.labels.length + 1, { device: this.home })
    this.state = state
  }

  /** What the last layer reads. */
  protected width(): number {
    return this.config.hiddenSize * (this.config.bidirectional ? 2 : 1)
  }

  /** The layers and what was learnt with them. @throws before fit */
  protected layers(fn: string): { rnn: CellLayer; head: Linear; state: RecognizerState } {
    const { rnn, head, state } = this
    if (rnn === null || head === null || state === null) throw notFitted(fn)
    return { rnn, head, state }
  }

  /**
   * Scores of the blank and of each label at each row, before softmax.
   * @param input scaled rows (B, T, F)
   * @param lengths of each sequence; the rest is padding
   * @returns (B, T, 1 + labels), class 0 the blank
   */
  forward(input: Tensor, lengths: readonly number[]): Tensor {
    const fn = 'SequenceRecognizer.forward'
    const { rnn, head, state } = this.layers(fn)
    if (!(input instanceof Tensor)) throw typeError(fn, 'input', 'a tensor', input)
    const { shape } = input
    const width = state.scales.length
    if (shape.length !== 3 || shape[2] !== width)
      throw rangeError(fn, 'input', `shape (B, T, ${width})`, `(${shape.join(', ')})`)
    const packed = packPaddedSequence(input, lengths, { batchFirst: true, enforceSorted: false })
    const [output] = runStack(rnn, packed)
    const [steps] = padPackedSequence(output, { batchFirst: true })
    return head.forward(this.drop.forward(steps))
  }

  /** Log probabilities (T, B, 1 + labels), as `nn.functional.ctcLoss` and `ctcDecode` take them. */
  protected logProbs(input: Tensor, lengths: readonly number[]): Tensor {
    return this.forward(input, lengths).logSoftmax(2).transpose(0, 1)
  }

  /** The mean CTC loss, each sequence's divided by the labels of its target. */
  override trainingStep(batch: ExampleBatch, _context?: StepContext): StepResult {
    const fn = 'SequenceRecognizer.trainingStep'
    if (typeof batch !== 'object' || batch === null) throw typeError(fn, 'batch', 'a batch', batch)
    const { input, lengths, target, targetLengths } = batch
    if (!(target instanceof Tensor)) throw typeError(fn, 'batch.target', 'a tensor', target)
    if (!Array.isArray(targetLengths))
      throw typeError(fn, 'batch.targetLengths', 'the length of each target', targetLengths)
    const logProbs = this.logProbs(input, lengths)
    return {
      loss: ctcLoss(logProbs, target, lengths, targetLengths, { zeroInfinity: true }),
      count: checkInteger(fn, 'batch.count', batch.count, 0),
    }
  }

  /**
   * Learns from rows and the labels in them. The last tenth (`valid`) is kept apart: training ends when
   * its loss no longer falls, and the best weights are kept.
   * @throws (rejects) TypeError, RangeError for empty sequences, rows of unlike width or with what is
   *   no number, a label that is none, a target longer than its input, with the example
   */
  async fit(
    examples: readonly TranscribedSequence[],
    options: FitModelOptions<readonly TranscribedSequence[]> = {},
  ): Promise<FitResult> {
    const fn = 'SequenceRecognizer.fit'
    const settings = checkFitOptions(fn, options, DEFAULTS)
    const { seed, batchSize } = settings
    const all = checkTranscribed(fn, 'examples', examples)
    const own =
      typeof options.valid === 'object' ? checkTranscribed(fn, 'valid', options.valid) : null
    const fresh = this.state === null
    const state = this.state ?? this.learnData(fn, all)
    const index = new Map(state.labels.map((label, i) => [label, i + 1]))
    const width = state.scales.length
    const read = (list: typeof all, name: string) =>
      list.map(({ input, target }, i) => {
        const rows = checkRows(fn, `${name}[${i}].input`, input, width, Infinity)
        const where = `${name}[${i}].target`
        const numbers = numbersOfLabels(fn, where, target, index)
        checkFits(fn, where, rows.length, numbers)
        return { input: scaledRows(rows, state.scales), target: numbers }
      })
    const [examplesRead, validRead] = [read(all, 'examples'), own && read(own, 'valid')]
    if (fresh) {
      if (seed !== undefined) manualSeed(seed)
      this.build(state)
    }
    type Read = (typeof examplesRead)[number]
    const batches = (list: readonly Read[], _name: string, _from: number, shuffle: boolean) =>
      new ExampleBatches(list, {
        batchSize,
        ignoreIndex: 0,
        shuffle,
        ...(seed !== undefined && { seed }),
      })
    return fitExamples<ExampleBatch, Read>(fn, this, examplesRead, validRead, settings, batches)
  }

  /** Labels and scales of the data. */
  protected learnData(
    fn: string,
    all: readonly { input: unknown; target: string[] }[],
  ): RecognizerState {
    const { labels, inputSize } = this.config
    const first = all[0]?.input as ArrayLike<number>[] | null | undefined
    const width = inputSize ?? first?.[0]?.length ?? 0
    const rows = all.map(({ input }, i) =>
      checkRows(fn, `examples[${i}].input`, input, width, Infinity),
    )
    if (width === 0) throw rangeError(fn, 'examples[0].input[0]', 'at least one number', 'none')
    return {
      labels: [...(labels ?? [...new Set(all.flatMap(({ target }) => target))].sort())],
      scales: columnScales(rows, width),
    }
  }

  /**
   * The labels that are in each sequence.
   * @param inputs any number of sequences of rows
   * @throws (rejects) TypeError before fit; RangeError for an empty sequence, rows of another width
   */
  async predict(
    inputs: readonly (readonly ArrayLike<number>[])[],
    options: RecognizeOptions = {},
  ): Promise<Recognition[]> {
    const fn = 'SequenceRecognizer.predict'
    checkOptions(fn, options, ['batchSize', 'beamSize'])
    const batchSize = checkInteger(fn, 'batchSize', options.batchSize ?? 64, 1)
    const beamSize = checkInteger(fn, 'beamSize', options.beamSize ?? 1, 1, 2 ** 16)
    const { state, head } = this.layers(fn)
    if (!Array.isArray(inputs)) throw typeError(fn, 'inputs', 'an array of sequences', inputs)
    const width = state.scales.length
    const read = Array.from(inputs, (input, i) =>
      scaledRows(checkRows(fn, `inputs[${i}]`, input, width, Infinity), state.scales),
    )
    const results = new Array<Recognition>(read.length)
    for (const numbers of byLength(read, batchSize)) {
      const part = numbers.map((i) => read[i] as Float32Array[])
      const lengths = part.map(({ length }) => length)
      const restoreModes = evalMode(this)
      let decoded: ReturnType<typeof ctcDecode>
      try {
        decoded = noGrad(() => {
          using input = padInputs(part, width, 0).to(head.weight.device)
          using logProbs = this.logProbs(input, lengths)
          return ctcDecode(logProbs, lengths, { beamSize })
        })
      } finally {
        restoreModes()
      }
      for (const [b, { tokens, score }] of (await decoded).entries())
        results[numbers[b] as number] = {
          labels: tokens.map((k) => state.labels[k - 1] as string),
          score,
        }
    }
    return results
  }

  /**
   * How often all labels of a sequence are right, and edits over the labels that are there (of
   * characters: the character error rate).
   * @throws (rejects) as predict; RangeError for a label that was not learnt
   */
  async evaluate(
    examples: readonly TranscribedSequence[],
    options: RecognizeOptions = {},
  ): Promise<{ accuracy: number; errorRate: number }> {
    const fn = 'SequenceRecognizer.evaluate'
    const { state } = this.layers(fn)
    const all = checkTranscribed(fn, 'examples', examples)
    const index = new Map(state.labels.map((label, i) => [label, i + 1]))
    all.forEach(({ target }, i) => {
      numbersOfLabels(fn, `examples[${i}].target`, target, index)
    })
    const inputs = all.map(({ input }) => input as ArrayLike<number>[])
    const said = (await this.predict(inputs, options)).map(({ labels }) => labels)
    const truth = all.map(({ target }) => target)
    const right = said.filter((labels, i) => labels.join('\0') === truth[i]?.join('\0')).length
    return { accuracy: right / all.length, errorRate: errorRate(said, truth) }
  }

  /**
   * Row by row: what each row that is pushed adds to the labels. Together they are those that `predict`
   * gives without a beam.
   * @param from the state of another stream. Default: no rows yet
   * @throws TypeError before fit; RangeError for a model that reads backwards, too
   */
  stream(from?: Uint8Array): RecognitionStream {
    const fn = 'SequenceRecognizer.stream'
    const { rnn, head, state } = this.layers(fn)
    const { bidirectional, hiddenSize, numLayers, cell } = this.config
    if (bidirectional)
      throw rangeError(
        fn,
        'bidirectional',
        'false (new models.SequenceRecognizer({ bidirectional: false })), as the end is not there yet',
        'true',
      )
    const { device } = head.weight
    const step = (row: Float32Array, before: StreamState): [Tensor, StreamState] => {
      const restoreModes = evalMode(this)
      try {
        return noGrad(() => {
          using input = tensor(row, { shape: [1, 1, row.length], device })
          const layer = rnn as RecurrentLayer
          const [output, after] = layer.forward(input, before as never) as [Tensor, StreamState]
          using logits = head.forward(output)
          output[Symbol.dispose]()
          return [logits.softmax(2), after]
        })
      } finally {
        restoreModes()
      }
    }
    const { labels, scales } = state
    const stateShape = [numLayers, 1, hiddenSize]
    const parts = stateNames(cell).length
    return new RecognitionStream({ labels, scales, stateShape, parts, device, step }, from)
  }

  /**
   * For `onnx.export`: inputs `rows` float32 (B, T, F) as they were measured, and `lengths` int32 (B);
   * output `logProbs` (B, T, 1 + labels), class 0 the blank.
   */
  toOnnx(graph: Graph): void {
    const { rnn, head, state } = this.layers('onnx.export')
    const rows = graph.input('rows', 'float32', ['batch', 'sequence', state.scales.length])
    const lengths = graph.input('lengths', 'int32', ['batch'])
    const [steps] = stackValue(graph, rnn, scaledValue(graph, rows, state.scales), lengths)
    const logProbs = graph.node('LogSoftmax', [graph.call(head, steps)], { axis: 2 })
    graph.output('logProbs', logProbs, 'float32', ['batch', 'sequence', state.labels.length + 1])
  }

  protected override kind(): string {
    return 'SequenceRecognizer'
  }

  protected override saved(): { config: object; vocabulary: null } {
    return { config: { ...this.config, state: this.state }, vocabulary: null }
  }

  /** A model that `save` wrote: it recognises the same. @throws (rejects) Error with a one-line message */
  static async load(
    folder: string | URL,
    options: LoadModelOptions = {},
  ): Promise<SequenceRecognizer> {
    return loadTask('SequenceRecognizer', folder, options, (config, _, weights, device) => {
      const { state, ...rest } = config as unknown as SequenceRecognizerOptions & {
        state: RecognizerState
      }
      const model = new SequenceRecognizer({ ...rest, device })
      checkStack(weights, 'rnn', state.scales.length, model.config)
      checkWeightShape(weights, 'head.weight', [state.labels.length + 1, model.width()])
      model.build(state)
      return model
    })
  }

  override extraRepr(): string {
    const labels = this.state?.labels.length ?? this.config.labels?.length ?? 'by the data'
    return `labels=${labels}, cell='${this.config.cell}'`
  }
}
