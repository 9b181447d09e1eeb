/** Predicts the next rows of series, with bands: a recurrent network over windows. */
import { type Series, type SeriesData, seriesOf } from '../data/series.js'
import {
  SeriesWindows,
  type SeriesWindowsOptions,
  type WindowBatch,
} from '../data/series_windows.js'
import { inputFeatures, prepareSeries } from '../data/window_features.js'
import { deviceOption } from '../device.js'
import { checkBoolean, checkInteger, checkOptions, rangeError, typeError } from '../errors.js'
import { tensor } from '../factories.js'
import { Dropout } from '../nn/dropout.js'
import { Linear } from '../nn/linear.js'
import type { OnnxModule } from '../onnx/export.js'
import type { Graph } from '../onnx/graph.js'
import { cat } from '../ops/shape.js'
import { Tensor } from '../tensor.js'
import type { FitResult } from '../train/options.js'
import type { DataSource, StepContext, StepResult } from '../train/types.js'
import { type BacktestOptions, type BacktestResult, backtest } from './backtest.js'
import { calibrated } from './calibration.js'
import type { Forecast } from './forecast.js'
import { ForecastStream } from './forecast_stream.js'
import {
  checkForecaster,
  type ForecasterConfig,
  type ForecasterOptions,
  type ForecasterState,
  stateFor,
} from './forecaster_config.js'
import { type PredictOptions, predictAll, predictOptions } from './forecaster_predict.js'
import { layerOf, stackValue } from './onnx_parts.js'
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

/** What {@link Forecaster.fit} takes. */
export interface ForecasterFitOptions extends FitModelOptions<SeriesData> {
  /** Widen or narrow the bands so that they would have held on the validation data. Default true. */
  calibrate?: boolean
  /** Rows between the beginnings of two windows to learn from. Default 1. */
  stride?: number
}

const DEFAULTS = { valid: 0.15, batchSize: 32, lr: 0.002, maxEpochs: 30, patience: 10 }
/** Few windows give few steps an epoch; then there are more epochs by default. */
const LEAST_STEPS = 180

/**
 * Predicts the next rows of one or many series: a recurrent network reads a window of the last rows,
 * and gives quantiles of all rows to come at once. With series alone, and with columns that go along.
 *
 * ```ts
 * const model = new models.Forecaster({ horizon: 12 })
 * await model.fit(numbers)
 * const { median } = await model.predict(numbers)
 * ```
 */
export class Forecaster extends TaskModel<WindowBatch> implements OnnxModule {
  readonly config: Readonly<ForecasterConfig>
  /** What the data have shown; null before `fit`. */
  state: ForecasterState | null = null
  rnn: CellLayer | null = null
  drop: Dropout | null = null
  /** From the last state, and what is known of the rows to come, to all quantiles. */
  head: Linear | null = null
  protected home: string

  /** @throws TypeError, RangeError for wrong or unknown options */
  constructor(options: ForecasterOptions) {
    super()
    this.config = Object.freeze(checkForecaster(options))
    this.home = deviceOption('Forecaster', options.device)
  }

  /** Makes the layers for what the data have shown. */
  protected build(state: ForecasterState): void {
    const { spec } = state
    const { cell, hiddenSize, numLayers, dropout, quantiles, horizon } = this.config
    const stack = { cell, hiddenSize, numLayers, dropout, device: this.home }
    this.rnn = recurrentStack(inputFeatures(spec), stack)
    this.drop = new Dropout(dropout)
    const outputs = horizon * spec.targets.length * quantiles.length
    this.head = new Linear(headInputs(this.config, state), outputs, { device: this.home })
    this.state = state
  }

  /**
   * Quantiles of scaled values.
   * @param input (B, L, F), as SeriesWindows makes it
   * @param future (B, horizon, futrExog), where the model has such columns
   * @returns (B, horizon, targets, quantiles)
   */
  forward(input: Tensor, future?: Tensor): Tensor {
    const fn = 'Forecaster.forward'
    const { rnn, drop, head, state } = this.layers(fn)
    const { spec } = state
    const features = inputFeatures(spec)
    if (!(input instanceof Tensor)) throw typeError(fn, 'input', 'a tensor', input)
    const { inputSize, targets } = spec
    if (input.shape.length !== 3 || input.shape[2] !== features || input.shape[1] !== inputSize)
      throw rangeError(
        fn,
        'input',
        `shape (B, ${inputSize}, ${features})`,
        `(${input.shape.join(', ')})`,
      )
    const batch = input.shape[0] as number
    const [output, hidden] = runStack(rnn, input)
    output[Symbol.dispose]()
    const last = drop.forward(hidden.select(0, (hidden.shape[0] as number) - 1))
    const width = spec.horizon * spec.futrExog.length
    if (width > 0) {
      const shape = [batch, spec.horizon, spec.futrExog.length]
      if (!(future instanceof Tensor)) throw typeError(fn, 'future', 'a tensor', future)
      if (future.shape.join() !== shape.join())
        throw rangeError(
          fn,
          'future',
          `shape (${shape.join(', ')})`,
          `(${future.shape.join(', ')})`,
        )
    } else if (future !== undefined) {
      throw typeError(fn, 'future', 'none, as the model has no futrExog', future)
    }
    const phases = seasonRows(state)
    const seasons = Math.floor(inputSize / phases)
    const rows = input.slice(2, 0, targets.length).slice(1, inputSize - seasons * phases)
    // The mean of what each place in the season was, as the last layer may need it without detours.
    const usual = rows.reshape([batch, seasons, phases * targets.length]).mean(1)
    const known = [last, usual, ...(width > 0 ? [(future as Tensor).reshape([batch, width])] : [])]
    return head
      .forward(cat(known, 1))
      .reshape([batch, spec.horizon, spec.targets.length, this.config.quantiles.length])
  }

  /** The layers. @throws TypeError before fit */
  protected layers(fn: string): {
    rnn: CellLayer
    drop: Dropout
    head: Linear
    state: ForecasterState
  } {
    const { rnn, drop, head, state } = this
    if (rnn === null || drop === null || head === null || state === null) throw notFitted(fn)
    return { rnn, drop, head, state }
  }

  /** The mean quantile loss of the targets that are there, over all quantiles. */
  override trainingStep(batch: WindowBatch, _context?: StepContext): StepResult {
    const fn = 'Forecaster.trainingStep'
    if (typeof batch !== 'object' || batch === null) throw typeError(fn, 'batch', 'a batch', batch)
    const { input, future, target, weight } = batch
    for (const [name, one] of Object.entries({ target, weight }))
      if (!(one instanceof Tensor)) throw typeError(fn, `batch.${name}`, 'a tensor', one)
    const predicted = this.forward(input, future)
    const { quantiles } = this.config
    const shape = [...predicted.shape.slice(0, 3), 1]
    const q = tensor([...quantiles], { device: predicted.device })
    const error = target.reshape(shape).sub(predicted)
    // q e where the target is above, (q − 1) e where it is below.
    const losses = error.mul(q).add(error.neg().relu())
    const seen = weight.sum().clamp(1).mul(quantiles.length)
    const loss = losses.mul(weight.reshape(shape)).sum().div(seen)
    return { loss, count: checkInteger(fn, 'batch.count', batch.count, 0) }
  }

  /** @throws TypeError for anything but windows of this model */
  checkData(source: DataSource<WindowBatch>): void {
    if (!(source instanceof SeriesWindows)) return
    const { spec } = this.layers('Forecaster').state
    const features = inputFeatures(spec)
    if (source.features !== features || source.horizon !== spec.horizon)
      throw rangeError(
        'Forecaster',
        'data',
        `windows with ${features} features and horizon ${spec.horizon} (see forecaster.windows)`,
        `${source.features} and ${source.horizon}`,
      )
  }

  /**
   * Windows over series as this model reads them, for a Trainer of one's own.
   * @param options batchSize, stride, seed, shuffle, as of `data.SeriesWindows`
   */
  windows(
    series: SeriesData,
    options: Pick<SeriesWindowsOptions, 'batchSize' | 'stride' | 'seed' | 'shuffle'> = {},
  ): SeriesWindows {
    const fn = 'Forecaster.windows'
    checkOptions(fn, options, ['batchSize', 'stride', 'seed', 'shuffle'])
    const { spec } = this.layers(fn).state
    const { calendar, scales, ...rest } = spec
    return new SeriesWindows(seriesOf(fn, 'series', series), {
      ...rest,
      ...options,
      learnt: { calendar, scales },
    })
  }

  /**
   * Learns from series. The last part (`valid`) of each is kept apart: training ends when the forecasts
   * of it no longer get better, the best weights are kept, and the bands are widened or narrowed so
   * that they would have held there (conformal calibration, Romano et al. 2019).
   * @param series numbers, rows, a Series or several
   * @throws (rejects) TypeError, RangeError for series that are too short or constant, unknown
   *   columns, missing values where those are an error, with the row
   */
  async fit(series: SeriesData, options: ForecasterFitOptions = {}): Promise<FitResult> {
    const fn = 'Forecaster.fit'
    const settings = checkFitOptions(fn, options, DEFAULTS, ['calibrate', 'stride'])
    const calibrate = checkBoolean(fn, 'calibrate', options.calibrate ?? true)
    const stride = checkInteger(fn, 'stride', options.stride ?? 1, 1)
    const all = seriesOf(fn, 'series', series)
    const own =
      options.valid === undefined || typeof options.valid === 'number'
        ? null
        : seriesOf(fn, 'valid', options.valid)
    const fresh = this.state === null
    const state = fresh ? stateFor(fn, this.config, all) : (this.state as ForecasterState)
    const { inputSize, horizon } = state.spec
    if (state.spec.missing === 'error') for (const one of all) prepareSeries(fn, one, state.spec)
    const parts =
      own === null ? all.map((one) => split(one, settings.valid, inputSize, horizon)) : []
    const train = own === null ? parts.map(([before]) => before) : all
    const after = own ?? parts.flatMap(([, end]) => (end === null ? [] : [end]))
    if (fresh) this.build(state)
    const { batchSize, seed } = settings
    const windows = this.windows(train, { batchSize, stride, ...(seed !== undefined && { seed }) })
    const valid =
      after.length === 0 ? null : this.windows(after, { batchSize: 256, shuffle: false })
    const { maxEpochs } = options
    const epochs =
      maxEpochs ?? Math.max(settings.maxEpochs, Math.ceil(LEAST_STEPS / windows.length))
    const result = await fitModel<WindowBatch>(this, windows, valid, {
      ...settings,
      maxEpochs: epochs,
    })
    const { seen } = fresh ? state : stateFor(fn, this.config, all)
    const offsets =
      calibrate && valid !== null
        ? await calibrated(this, valid, this.config.quantiles)
        : state.offsets.map(() => 0)
    this.state = { ...state, seen, offsets }
    return result
  }

  /**
   * The rows that come next.
   * @param history numbers, rows, a Series or several (then there is a forecast of each); at least as
   *   many rows as the model reads
   * @throws (rejects) TypeError before fit; RangeError for a history that is too short, other columns,
   *   other distances between rows, a horizon that was not learnt, a band that was not learnt
   */
  predict(history: readonly Series[], options?: PredictOptions): Promise<Forecast[]>
  predict(history: SeriesData, options?: PredictOptions): Promise<Forecast>
  async predict(history: SeriesData, options: PredictOptions = {}): Promise<Forecast | Forecast[]> {
    const fn = 'Forecaster.predict'
    const { state } = this.layers(fn)
    const all = seriesOf(fn, 'history', history)
    const settings = predictOptions(fn, state.spec, this.config.quantiles, all, options)
    const forecasts = await predictAll(fn, this, state, this.config.quantiles, all, settings)
    const several = Array.isArray(history) && all[0] === (history as unknown[])[0]
    return several ? forecasts : (forecasts[0] as Forecast)
  }

  /**
   * How good forecasts of the last windows of the series would have been, beside repeating the last
   * season. A model that has learnt from rows of those windows would know them: then a new one with the
   * same options learns from what comes before them.
   * @throws (rejects) as fit and predict
   */
  async backtest(series: SeriesData, options: BacktestOptions = {}): Promise<BacktestResult> {
    const fn = 'Forecaster.backtest'
    const all = seriesOf(fn, 'series', series)
    return backtest(
      fn,
      this,
      all,
      options,
      () => new Forecaster({ ...this.options(), device: this.home }),
    )
  }

  /**
   * Forecasts row by row: each row that is pushed gives the forecast that `predict` gives of all so
   * far, to the bit.
   * @param from the state of another stream, or the rows before. Default: none
   */
  stream(from?: Uint8Array | SeriesData): ForecastStream {
    const { state } = this.layers('Forecaster.stream')
    return new ForecastStream((history) => this.predict(history), state, from)
  }

  /** The constructor's options. */
  protected options(): ForecasterOptions {
    const { inputSize, seasonLength, targets, ...rest } = this.config
    return {
      ...rest,
      ...(inputSize !== null && { inputSize }),
      ...(seasonLength !== null && { seasonLength }),
      ...(targets !== null && { targets }),
    }
  }

  /** For `onnx.export`: `input` (B, L, F), `future` where there is any; `quantiles` (B, horizon, targets, Q). */
  toOnnx(graph: Graph): void {
    const { rnn, head, state } = this.layers('onnx.export')
    const { spec } = state
    const width = spec.horizon * spec.futrExog.length
    const targets = spec.targets.length
    const input = graph.input('input', 'float32', ['batch', spec.inputSize, inputFeatures(spec)])
    const [, hidden] = stackValue(graph, rnn, input)
    const phases = seasonRows(state)
    const seasons = Math.floor(spec.inputSize / phases)
    const begin = graph.ints(spec.inputSize - seasons * phases, 0)
    const end = graph.ints(spec.inputSize, targets)
    const rows = graph.node('Slice', [input, begin, end, graph.ints(1, 2)])
    const places = graph.node('Reshape', [rows, graph.ints(-1, seasons, phases * targets)])
    const usual = graph.node('ReduceMean', [places], { axes: [1], keepdims: 0 })
    const known = [layerOf(graph, hidden, this.config.numLayers - 1), usual]
    if (width > 0) {
      const shape = ['batch', spec.horizon, spec.futrExog.length]
      const future = graph.input('future', 'float32', shape)
      known.push(graph.node('Reshape', [future, graph.ints(-1, width)]))
    }
    const all = graph.node('Concat', known, { axis: 1 })
    const shape = [spec.horizon, targets, this.config.quantiles.length]
    const out = graph.node('Reshape', [graph.call(head, all), graph.ints(-1, ...shape)])
    graph.output('quantiles', out, 'float32', ['batch', ...shape])
  }

  protected override kind(): string {
    return 'Forecaster'
  }

  protected override saved(): { config: object; vocabulary: null } {
    return { config: { ...this.options(), state: this.state }, vocabulary: null }
  }

  /** A model that {@link save} wrote: it predicts the same bits. @throws (rejects) Error with a one-line message */
  static async load(folder: string | URL, options: LoadModelOptions = {}): Promise<Forecaster> {
    return loadTask('Forecaster', folder, options, (config, _, weights, device) => {
      const { state, ...rest } = config as unknown as ForecasterOptions & { state: ForecasterState }
      const model = new Forecaster({ ...rest, device })
      const { cell, hiddenSize, numLayers, horizon, quantiles } = model.config
      checkStack(weights, 'rnn', inputFeatures(state.spec), { cell, hiddenSize, numLayers })
      checkWeightShape(weights, 'head.weight', [
        horizon * state.spec.targets.length * quantiles.length,
        headInputs(model.config, state),
      ])
      model.build(state)
      return model
    })
  }

  override extraRepr(): string {
    const { horizon, inputSize, cell, hiddenSize } = this.config
    const reads = this.state?.spec.inputSize ?? inputSize ?? 'by the data'
    return `horizon=${horizon}, inputSize=${reads}, cell='${cell}', hiddenSize=${hiddenSize}`
  }
}

/** Rows in a season, as far as a window has one. */
function seasonRows({ spec, seasonLength }: ForecasterState): number {
  return seasonLength <= spec.inputSize ? seasonLength : 1
}

/** What the last layer reads: state, the usual season, what is known of the rows to come. */
function headInputs({ hiddenSize, horizon }: ForecasterConfig, state: ForecasterState): number {
  const { targets, futrExog } = state.spec
  return hiddenSize + seasonRows(state) * targets.length + horizon * futrExog.length
}

/** What to learn from, and the end to validate with: its targets are the last share of the rows. */
function split(
  series: Series,
  share: number,
  inputSize: number,
  horizon: number,
): [before: Series, end: Series | null] {
  const { length } = series
  const rows = Math.max(horizon, Math.round(share * length))
  const cut = length - rows
  // A short series is learnt from as a whole.
  if (share === 0 || cut < inputSize + horizon) return [series, null]
  return [series.slice(0, cut), series.slice(cut - inputSize)]
}
