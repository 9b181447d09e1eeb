/** Which rows of measurements are unlike what is normal. */
import { type ExampleBatch, ExampleBatches, padInputs } from '../data/example_batches.js'
import { type Series, type SeriesData, seriesOf } from '../data/series.js'
import { quantileOf } from '../data/window_features.js'
import { deviceOption } from '../device.js'
import { checkInteger, checkOptions, rangeError, typeError } from '../errors.js'
import { tensor } from '../factories.js'
import { noGrad } from '../grad_mode.js'
import { Linear } from '../nn/linear.js'
import { evalMode } from '../nn/module.js'
import type { OnnxModule } from '../onnx/export.js'
import type { Graph } from '../onnx/graph.js'
import { manualSeed } from '../random.js'
import { Tensor } from '../tensor.js'
import type { FitResult } from '../train/options.js'
import type { StepContext, StepResult } from '../train/types.js'
import {
  type AnomalyDetectorConfig,
  type AnomalyDetectorOptions,
  type AnomalyDetectorState,
  type AnomalyThreshold,
  checkDetector,
} from './anomaly_config.js'
import { bestThreshold, rangesOf, scaled, scalesOf, sum } from './anomaly_rows.js'
import { AnomalyStream } from './anomaly_stream.js'
import { at, layerOf, scaledValue, stackValue } from './onnx_parts.js'
import type { CellLayer } from './recurrent_cells.js'
import { checkFitOptions, type FitModelOptions, fitModel } from './task_fit.js'
import {
  checkStack,
  type LoadModelOptions,
  loadTask,
  notFitted,
  recurrentStack,
  runStack,
  TaskModel,
} from './task_model.js'

/** How strange rows are. */
export interface AnomalyScores {
  /** Of each row; 0 of the first ones, before there is a window. */
  score: number[]
  /** What each column adds to it. */
  byColumn: Record<string, number[]>
}

/** Rows that are anomalies. */
export interface Anomalies extends AnomalyScores {
  threshold: number
  /** Numbers of the rows that score more, from 0. */
  rows: number[]
  /** Rows next to each other: from start to end, with the highest score. */
  ranges: { start: number; end: number; score: number }[]
}

const DEFAULTS = { valid: 0.2, batchSize: 64, lr: 0.003, maxEpochs: 60, patience: 6 }

/**
 * Learns what is normal, and tells how far each row is from that: sensors, metrics of servers.
 *
 * ```ts
 * const model = new models.AnomalyDetector()
 * await model.fit(normal)
 * const { ranges } = await model.detect(series)
 * ```
 */
export class AnomalyDetector extends TaskModel<ExampleBatch> implements OnnxModule {
  readonly config: Readonly<AnomalyDetectorConfig>
  /** Null before `fit`. */
  state: AnomalyDetectorState | null = null
  encoder: CellLayer | null = null
  /** Of the autoencoder. */
  decoder: CellLayer | null = null
  head: Linear | null = null
  protected home: string

  /** @throws TypeError, RangeError for wrong or unknown options */
  constructor(options: AnomalyDetectorOptions = {}) {
    super()
    this.config = Object.freeze(checkDetector(options))
    this.home = deviceOption('AnomalyDetector', options.device)
  }

  /** Makes the layers for the columns. */
  protected build(state: AnomalyDetectorState): void {
    const { cell, hiddenSize, method } = this.config
    const stack = { cell, hiddenSize, numLayers: 1, dropout: 0, device: this.home }
    const width = state.columns.length
    this.encoder = recurrentStack(width, stack)
    this.decoder = method === 'autoencoder' ? recurrentStack(hiddenSize, stack) : null
    this.head = new Linear(hiddenSize, width, { device: this.home })
    this.state = state
  }

  /** The layers and what was learnt with them. @throws before fit */
  protected layers(fn: string): {
    encoder: CellLayer
    head: Linear
    state: AnomalyDetectorState
  } {
    const { encoder, head, state } = this
    if (encoder === null || head === null || state === null) throw notFitted(fn)
    return { encoder, head, state }
  }

  /**
   * What the network expects in place of windows (B, L, F) of scaled rows: for the autoencoder the
   * windows themselves, for 'forecast' each window's last row (B, 1, F), of which it sees those before.
   */
  forward(windows: Tensor): Tensor {
    const fn = 'AnomalyDetector.forward'
    const { encoder, head, state } = this.layers(fn)
    if (!(windows instanceof Tensor)) throw typeError(fn, 'windows', 'a tensor', windows)
    const { shape } = windows
    const [width, length] = [state.columns.length, this.config.windowSize]
    if (shape.length !== 3 || shape[1] !== length || shape[2] !== width)
      throw rangeError(fn, 'windows', `shape (B, ${length}, ${width})`, `(${shape.join(', ')})`)
    const seen = this.decoder === null ? windows.slice(1, 0, length - 1) : windows
    const [, hidden] = runStack(encoder, seen)
    const last = hidden.select(0, (hidden.shape[0] as number) - 1)
    if (this.decoder === null) return head.forward(last).unsqueeze(1)
    const batch = shape[0] as number
    const repeated = last.unsqueeze(1).expand([batch, length, this.config.hiddenSize])
    const [rows] = runStack(this.decoder, repeated)
    return head.forward(rows)
  }

  /** The mean squared difference of scaled rows. */
  override trainingStep(batch: ExampleBatch, _context?: StepContext): StepResult {
    const fn = 'AnomalyDetector.trainingStep'
    if (typeof batch !== 'object' || batch === null) throw typeError(fn, 'batch', 'a batch', batch)
    const count = checkInteger(fn, 'batch.count', batch.count, 0)
    return { loss: this.errors(batch.input).mean(), count }
  }

  /** Squared differences (B, L or 1, F). */
  protected errors(windows: Tensor): Tensor {
    const expected = this.forward(windows)
    const { windowSize } = this.config
    const actual = this.decoder === null ? windows.slice(1, windowSize - 1, windowSize) : windows
    return expected.sub(actual).pow(2)
  }

  /**
   * Learns from normal rows. The last fifth (`valid`) of each series is kept apart: it ends training,
   * and sets the threshold.
   * @param normal rows, a Series or several; missing values are drawn through
   * @throws (rejects) TypeError, RangeError for unknown columns, series shorter than some windows, a
   *   column without a value
   */
  async fit(normal: SeriesData, options: FitModelOptions<SeriesData> = {}): Promise<FitResult> {
    const fn = 'AnomalyDetector.fit'
    const settings = checkFitOptions(fn, options, DEFAULTS)
    const all = seriesOf(fn, 'normal', normal)
    const fresh = this.state === null
    if (settings.seed !== undefined && fresh) manualSeed(settings.seed)
    const columns = fresh
      ? [...(this.config.columns ?? (all[0] as Series).columns)]
      : this.layers(fn).state.columns
    const { windowSize } = this.config
    const own = typeof options.valid === 'object' ? seriesOf(fn, 'valid', options.valid) : null
    const parts = all.map((series) => {
      const cut = own === null ? Math.round((1 - settings.valid) * series.length) : series.length
      return [series.slice(0, cut), series.slice(cut)] as const
    })
    const train = parts.map(([before]) => before).filter(({ length }) => length >= windowSize)
    if (train.length === 0)
      throw rangeError(
        fn,
        'normal',
        `more than ${Math.ceil(windowSize / (1 - settings.valid))} rows`,
        `${Math.max(...all.map(({ length }) => length))}`,
      )
    const scales = fresh ? scalesOf(fn, train, columns) : this.layers(fn).state.scales
    if (fresh) this.build({ columns, scales, threshold: 0, normal: [] })
    const after = (own ?? parts.map(([, end]) => end)).filter(({ length }) => length >= windowSize)
    const { batchSize, seed } = settings
    const windows = this.windowsOf(fn, train)
    const batches = new ExampleBatches(
      windows.map((input) => ({ input })),
      { batchSize, ...(seed !== undefined && { seed }) },
    )
    const held = this.windowsOf(fn, after)
    const validData =
      held.length === 0
        ? null
        : new ExampleBatches(
            held.map((input) => ({ input })),
            { batchSize: 256, shuffle: false },
          )
    const result = await fitModel<ExampleBatch>(this, batches, validData, settings)
    const scores = await this.windowScores(held.length > 0 ? held : windows)
    const sorted = scores.map((row) => sum(row)).sort((a, b) => a - b)
    const quantiles = [0, 0.5, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1]
    const normalScores = quantiles.map((quantile) => ({
      quantile,
      score: quantileOf(sorted, quantile),
    }))
    const threshold = thresholdOf(this.config.threshold, (q) => quantileOf(sorted, q))
    this.state = { columns, scales, threshold, normal: normalScores }
    return result
  }

  /** Scaled windows of series, in their order. */
  protected windowsOf(fn: string, all: readonly Series[]): Float32Array[][] {
    const { state } = this.layers(fn)
    return all.flatMap((series) => {
      const rows = scaled(fn, series, state)
      const { windowSize } = this.config
      return Array.from({ length: Math.max(0, rows.length - windowSize + 1) }, (_, i) =>
        rows.slice(i, i + windowSize),
      )
    })
  }

  /** What each column adds to the score of each window's last row. */
  protected async windowScores(windows: readonly Float32Array[][]): Promise<number[][]> {
    const { state, head } = this.layers('AnomalyDetector.score')
    const width = state.columns.length
    const out: number[][] = []
    for (let at = 0; at < windows.length; at += 512) {
      const part = windows.slice(at, at + 512)
      const restoreModes = evalMode(this)
      let values: Promise<ArrayLike<number>>
      try {
        values = noGrad(() => {
          using input = padInputs(part, width, 0).to(head.weight.device)
          using errors = this.errors(input)
          return errors.data()
        })
      } finally {
        restoreModes()
      }
      const data = await values
      const steps = data.length / part.length / width
      for (let b = 0; b < part.length; b++)
        out.push(
          Array.from(
            { length: width },
            (_, k) => (data[(b * steps + steps - 1) * width + k] as number) / width,
          ),
        )
    }
    return out
  }

  /**
   * How far each row is from what the rows before let expect: the mean over columns of the squared
   * difference, in deviations of normal rows.
   * @param series rows or a Series, with the columns that were learnt
   * @throws (rejects) TypeError before fit; RangeError for other columns, fewer rows than a window
   */
  async score(series: SeriesData): Promise<AnomalyScores> {
    return this.scoresOf('AnomalyDetector.score', series)
  }

  /** The same for other methods, which messages name. */
  protected async scoresOf(fn: string, series: SeriesData): Promise<AnomalyScores> {
    const { state } = this.layers(fn)
    const [one, ...more] = seriesOf(fn, 'series', series) as [Series, ...Series[]]
    if (more.length > 0) throw rangeError(fn, 'series', 'one series', String(more.length + 1))
    const { windowSize } = this.config
    if (one.length < windowSize)
      throw rangeError(fn, 'series', `at least ${windowSize} rows (windowSize)`, String(one.length))
    const parts = await this.windowScores(this.windowsOf(fn, [one]))
    const before = new Array<number>(windowSize - 1).fill(0)
    return {
      score: [...before, ...parts.map(sum)],
      byColumn: Object.fromEntries(
        state.columns.map((name, k) => [
          name,
          [...before, ...parts.map((row) => row[k] as number)],
        ]),
      ),
    }
  }

  /** The rows whose score is above the threshold, one by one and as ranges. @throws (rejects) as score */
  async detect(series: SeriesData, options: { threshold?: number } = {}): Promise<Anomalies> {
    const fn = 'AnomalyDetector.detect'
    checkOptions(fn, options, ['threshold'])
    const { state } = this.layers(fn)
    const threshold =
      options.threshold === undefined
        ? state.threshold
        : (checkDetector({ threshold: options.threshold }).threshold as number)
    const scores = await this.scoresOf(fn, series)
    const rows = scores.score.flatMap((x, i) => (x > threshold ? [i] : []))
    return { ...scores, threshold, rows, ranges: rangesOf(rows, scores.score) }
  }

  /**
   * Puts the threshold where the F1 of labelled rows is highest.
   * @param labelled the series, and of each row whether it is an anomaly
   * @returns the threshold and the F1 there
   * @throws (rejects) as score; RangeError for labels of one kind only
   */
  async calibrate(labelled: {
    series: SeriesData
    anomaly: ArrayLike<boolean | number>
  }): Promise<{ threshold: number; f1: number }> {
    const fn = 'AnomalyDetector.calibrate'
    checkOptions(fn, labelled, ['series', 'anomaly'])
    const { score } = await this.scoresOf(fn, labelled.series)
    const best = bestThreshold(fn, score, labelled.anomaly)
    this.state = { ...this.layers(fn).state, threshold: best.threshold }
    return best
  }

  /**
   * Row by row: each row that is pushed gets the score that `score` gives it (rounding may depend on how
   * many windows are computed together).
   * @param from the state of another stream. Default: no rows yet
   */
  stream(from?: Uint8Array): AnomalyStream {
    const { state } = this.layers('AnomalyDetector.stream')
    return new AnomalyStream((rows) => this.score(rows), state, this.config.windowSize, from)
  }

  /**
   * For `onnx.export`: input `windows` float32 (B, windowSize, columns), rows as they were measured,
   * without missing values; outputs `score` (B) of each window's last row and `byColumn` (B, columns).
   */
  toOnnx(graph: Graph): void {
    const { encoder, head, state } = this.layers('onnx.export')
    const { windowSize, hiddenSize } = this.config
    const width = state.columns.length
    const rows = graph.input('windows', 'float32', ['batch', windowSize, width])
    const windows = scaledValue(graph, rows, state.scales)
    const before = [graph.ints(0), graph.ints(windowSize - 1), graph.ints(1)]
    const seen = this.decoder === null ? graph.node('Slice', [windows, ...before]) : windows
    let last = layerOf(graph, stackValue(graph, encoder, seen)[1], 0)
    if (this.decoder !== null) {
      const one = graph.node('Unsqueeze', [last, graph.ints(1)])
      const repeated = graph.node('Expand', [one, graph.ints(1, windowSize, hiddenSize)])
      last = at(graph, stackValue(graph, this.decoder, repeated)[0], 1, windowSize - 1)
    }
    const error = graph.node('Sub', [graph.call(head, last), at(graph, windows, 1, windowSize - 1)])
    using share = tensor([1 / width])
    const squared = graph.node('Mul', [error, error])
    const byColumn = graph.node('Mul', [squared, graph.weight(share, 'share')])
    const score = graph.node('ReduceSum', [byColumn, graph.ints(1)], { keepdims: 0 })
    graph.output('score', score, 'float32', ['batch'])
    graph.output('byColumn', byColumn, 'float32', ['batch', width])
  }

  protected override kind(): string {
    return 'AnomalyDetector'
  }

  protected override saved(): { config: object; vocabulary: null } {
    return { config: { ...this.config, state: this.state }, vocabulary: null }
  }

  /** A model that `save` wrote, with its threshold. @throws (rejects) Error with a one-line message */
  static async load(
    folder: string | URL,
    options: LoadModelOptions = {},
  ): Promise<AnomalyDetector> {
    return loadTask('AnomalyDetector', folder, options, (config, _, weights, device) => {
      const { state, ...rest } = config as unknown as AnomalyDetectorOptions & {
        state: AnomalyDetectorState
      }
      const model = new AnomalyDetector({ ...rest, device })
      checkStack(weights, 'encoder', state.columns.length, { ...model.config, numLayers: 1 })
      model.build(state)
      return model
    })
  }

  override extraRepr(): string {
    const { method, windowSize, hiddenSize } = this.config
    return `method='${method}', windowSize=${windowSize}, hiddenSize=${hiddenSize}`
  }
}

function thresholdOf(threshold: AnomalyThreshold, quantile: (q: number) => number): number {
  return typeof threshold === 'number' ? threshold : threshold.factor * quantile(threshold.quantile)
}
