/** Windows over series: what came before, and what is to be predicted. */
import {
  checkBoolean,
  checkInteger,
  checkOneOf,
  checkOptions,
  checkString,
  rangeError,
  typeError,
} from '../errors.js'
import { tensor } from '../factories.js'
import type { Tensor } from '../tensor.js'
import { IndexedBatches } from './indexed_batches.js'
import { type Series, type SeriesData, seriesOf } from './series.js'
import { drawSeed } from './shuffle.js'
import { calendarInputs } from './time.js'
import {
  columnNames,
  inputFeatures,
  type Missing,
  type PreparedSeries,
  prepareSeries,
  presentIn,
  type Scale,
  type Scaler,
  scaleOf,
  type WindowSpec,
  writeWindow,
} from './window_features.js'

/** What {@link SeriesWindows} takes. */
export interface SeriesWindowsOptions {
  /** L, how many rows before are read. */
  inputSize: number
  /** How many rows after are predicted. */
  horizon: number
  /** Rows between the beginnings of two windows. Default 1. */
  stride?: number
  /** B. Default 32. */
  batchSize?: number
  /** Another order in every epoch. Default true. */
  shuffle?: boolean
  /** The order of epoch e depends on (seed, e) only. Default: drawn from the generator that manualSeed sets. */
  seed?: number
  /** The columns to predict. Default: those that are named nowhere else. */
  targets?: readonly string[]
  /** Columns that are known up to now. */
  histExog?: readonly string[]
  /** Columns that are known of the future, too: prices, holidays. */
  futrExog?: readonly string[]
  /** Sine and cosine of hour, weekday and month, as far as the times have them. Default false. */
  calendar?: boolean
  /** 'window': each window's targets by its own mean and deviation. Default 'none'. */
  scaler?: Scaler
  /** Default 'mask'. */
  missing?: Missing
  /** What a model has learnt of the data before, in place of what these show. @internal */
  learnt?: Pick<WindowSpec, 'calendar' | 'scales'>
}

const OPTIONS = [
  'inputSize',
  'horizon',
  'stride',
  'batchSize',
  'shuffle',
  'seed',
  'targets',
  'histExog',
  'futrExog',
  'calendar',
  'scaler',
  'missing',
  'learnt',
]

/** A batch of windows. Missing values are 0, and their masks or weights too. */
export interface WindowBatch {
  /**
   * (B, L, F): the columns, scaled (targets, histExog, futrExog); with missing 'mask' as many ones and
   * zeros, whether they are there; the calendar.
   */
  input: Tensor
  /** (B, horizon, futrExog), where there are any. */
  future?: Tensor
  /** (B, horizon, targets), scaled as the input. */
  target: Tensor
  /** (B, horizon, targets): 1, or 0 where the target is missing. */
  weight: Tensor
  /** (B, targets): what the values were scaled by: x = center + scale · value. */
  center: Tensor
  scale: Tensor
  /** How many targets are there. */
  count: number
}

/** Windows of series, in another order in every epoch. */
export class SeriesWindows extends IndexedBatches<WindowBatch> {
  readonly inputSize: number
  readonly horizon: number
  readonly stride: number
  /** F, the numbers of a step. */
  readonly features: number
  /** What the windows are made of. @internal */
  readonly spec: WindowSpec
  /** @internal */
  readonly prepared: readonly PreparedSeries[]
  /** Series and first row of each window. @internal */
  readonly places: readonly (readonly [series: number, row: number])[]

  /**
   * @param series numbers, rows, a Series or several
   * @throws TypeError, RangeError for unknown columns, series that are too short, missing values where
   *   those are an error
   */
  constructor(series: SeriesData, options: SeriesWindowsOptions) {
    const fn = 'SeriesWindows'
    checkOptions(fn, options, OPTIONS)
    const all = seriesOf(fn, 'series', series)
    const spec = checkedSpec(fn, all, options)
    const stride = checkInteger(fn, 'stride', options.stride ?? 1, 1)
    const batchSize = checkInteger(fn, 'batchSize', options.batchSize ?? 32, 1)
    const shuffle = checkBoolean(fn, 'shuffle', options.shuffle ?? true)
    const seed = options.seed === undefined ? drawSeed() : checkInteger(fn, 'seed', options.seed, 0)
    const prepared = all.map((one) => prepareSeries(fn, one, spec))
    const places = windowPlaces(spec, prepared, stride)
    if (places.length === 0) throw tooShort(fn, all, spec.inputSize + spec.horizon)
    super(places.length, batchSize, shuffle, seed)
    this.inputSize = spec.inputSize
    this.horizon = spec.horizon
    this.stride = stride
    this.spec = spec
    this.features = inputFeatures(spec)
    this.prepared = prepared
    this.places = places
  }

  protected override arrangement(): Record<string, number | string> {
    const { count, batchSize, inputSize, horizon, stride } = this
    return { windows: count, batchSize, inputSize, horizon, stride }
  }

  protected override makeBatch(examples: readonly number[], padding: boolean): WindowBatch {
    const { spec, features } = this
    const { inputSize, horizon, targets, futrExog } = spec
    const size = examples.length
    const steps = horizon * targets.length
    const input = new Float32Array(size * inputSize * features)
    const target = new Float32Array(size * steps)
    const weight = new Float32Array(size * steps)
    const center = new Float32Array(size * targets.length)
    const scale = new Float32Array(size * targets.length)
    const future = new Float32Array(size * horizon * futrExog.length)
    let count = 0
    examples.forEach((example, b) => {
      const [number, start] = this.places[example] as readonly [number, number]
      const prepared = this.prepared[number] as PreparedSeries
      const scales = writeWindow(spec, prepared, start, input, b * inputSize * features)
      scales.forEach((one, k) => {
        center[b * targets.length + k] = one.center
        scale[b * targets.length + k] = one.scale
      })
      for (let h = 0; h < horizon; h++) {
        const row = start + inputSize + h
        scales.forEach((one, k) => {
          const at = b * steps + h * targets.length + k
          const x = (prepared.measured[k] as Float64Array)[row] as number
          if (Number.isNaN(x)) return
          target[at] = (x - one.center) / one.scale
          weight[at] = 1
          count++
        })
      }
      writeFuture(spec, prepared, start + inputSize, future, b * horizon * futrExog.length)
    })
    const of = (values: Float32Array, ...shape: number[]): Tensor => tensor(values, { shape })
    return {
      input: of(input, size, inputSize, features),
      ...(futrExog.length > 0 && { future: of(future, size, horizon, futrExog.length) }),
      target: of(target, size, horizon, targets.length),
      weight: of(weight, size, horizon, targets.length),
      center: of(center, size, targets.length),
      scale: of(scale, size, targets.length),
      count: padding ? 0 : count,
    }
  }
}

/** Writes what is known of the rows from `row` on: (horizon, futrExog). */
export function writeFuture(
  spec: WindowSpec,
  prepared: PreparedSeries,
  row: number,
  out: Float32Array,
  offset: number,
): void {
  const { futrExog, horizon } = spec
  const before = columnNames(spec).length - futrExog.length
  for (let h = 0; h < horizon; h++)
    for (const [k, name] of futrExog.entries()) {
      const { center, scale } = spec.scales[name] ?? { center: 0, scale: 1 }
      const x = prepared.columns[before + k]?.[row + h] ?? Number.NaN
      const scaled = spec.scaler === 'none' ? x : (x - center) / scale
      out[offset + h * futrExog.length + k] = Number.isNaN(scaled) ? 0 : scaled
    }
}

/** Every window that has something to read and something to predict. */
function windowPlaces(
  { inputSize, horizon, targets }: WindowSpec,
  prepared: readonly PreparedSeries[],
  stride: number,
): [number, number][] {
  const places: [number, number][] = []
  prepared.forEach(({ series, measured }, number) => {
    const seen = measured[0] as Float64Array
    for (let row = 0; row + inputSize + horizon <= series.length; row += stride) {
      const readable = presentIn(seen, row, inputSize) >= Math.min(2, inputSize)
      const known = targets.some(
        (_, k) => presentIn(measured[k] as Float64Array, row + inputSize, horizon) > 0,
      )
      if (readable && known) places.push([number, row])
    }
  })
  return places
}

/** What is wrong with series of which no window fits. */
export function tooShort(fn: string, all: readonly Series[], rows: number): RangeError {
  const longest = Math.max(...all.map(({ length }) => length))
  return rangeError(
    fn,
    'series',
    `at least ${rows} rows with values (inputSize + horizon)`,
    `${longest} rows${longest >= rows ? ', too many of them missing' : ''}`,
  )
}

/** Names of columns. @throws TypeError */
export function checkNames(fn: string, name: string, value: unknown): string[] {
  if (value === undefined) return []
  if (!Array.isArray(value)) throw typeError(fn, name, 'an array of names', value)
  const list = Array.from(value as unknown[])
  return list.map((one, i) => checkString(fn, `${name}[${i}]`, one))
}

function checkedSpec(fn: string, all: Series[], options: SeriesWindowsOptions): WindowSpec {
  const scaler = checkOneOf(fn, 'scaler', options.scaler ?? 'none', [
    'window',
    'standard',
    'robust',
    'none',
  ])
  const missing = checkOneOf(fn, 'missing', options.missing ?? 'mask', [
    'mask',
    'interpolate',
    'error',
  ])
  const histExog = checkNames(fn, 'histExog', options.histExog)
  const futrExog = checkNames(fn, 'futrExog', options.futrExog)
  const [first] = all as [Series]
  const others = new Set([...histExog, ...futrExog])
  const targets =
    options.targets === undefined
      ? first.columns.filter((name) => !others.has(name))
      : checkNames(fn, 'targets', options.targets)
  if (targets.length === 0) throw rangeError(fn, 'targets', 'at least one column', 'none')
  const calendar = checkBoolean(fn, 'calendar', options.calendar ?? false)
  const spec = {
    inputSize: checkInteger(fn, 'inputSize', options.inputSize, 1, 2 ** 24),
    horizon: checkInteger(fn, 'horizon', options.horizon, 1, 2 ** 24),
    targets,
    histExog,
    futrExog,
    calendar: calendar ? calendarInputs(first.frequency, spanOf(first)) : [],
    scaler,
    missing,
  }
  const { learnt } = options
  return learnt === undefined
    ? { ...spec, scales: scalesOf(fn, all, spec) }
    : { ...spec, calendar: learnt.calendar, scales: learnt.scales }
}

/** From the first to the last time, in ms. */
export function spanOf({ time }: Series): number {
  return time === null || time.length === 0 ? 0 : (time.at(-1) as number) - (time[0] as number)
}

/** Center and spread of every column over all series. @throws RangeError for an unknown column */
export function scalesOf(
  fn: string,
  all: readonly Series[],
  spec: Omit<WindowSpec, 'scales'>,
): Record<string, Scale> {
  const scales: Record<string, Scale> = {}
  for (const name of columnNames({ ...spec, scales })) {
    const columns = all.map((series) => {
      if (!series.columns.includes(name))
        throw rangeError(fn, 'series', `a column '${name}'`, `columns ${series.columns.join(', ')}`)
      return series.column(name)
    })
    scales[name] = scaleOf(columns, spec.scaler)
  }
  return scales
}
