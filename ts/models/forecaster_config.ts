/** What a Forecaster is: its options, and what it learns beside its weights. */
import type { Series } from '../data/series.js'
import { checkNames, scalesOf, spanOf, tooShort } from '../data/series_windows.js'
import { calendarInputs, type Frequency, usualSeason } from '../data/time.js'
import type { Missing, Scaler, WindowSpec } from '../data/window_features.js'
import type { Device } from '../device.js'
import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  rangeError,
  typeError,
} from '../errors.js'
import { checkQuantile } from '../metrics/regression.js'
import { CELL_NAMES, type CellName } from './cell_names.js'
import { seasonOf } from './season.js'

/** What {@link Forecaster} takes. */
export interface ForecasterOptions {
  /** How many rows to predict. */
  horizon: number
  /**
   * How many rows before are read. Default: three seasons, up to five in a long series; three horizons
   * where there is no season.
   */
  inputSize?: number
  /** Rows in a season, 1: none. Default: by the times (12 for months, 7 for days, 24 for hours), or found in the numbers. */
  seasonLength?: number
  /** The columns to predict. Default: those that are named nowhere else. */
  targets?: readonly string[]
  /** Columns that are known up to now. */
  histExog?: readonly string[]
  /** Columns that are known of the future, too. */
  futrExog?: readonly string[]
  /** Hour, weekday and month as inputs, as far as the times have them. Default true. */
  calendar?: boolean
  /** Default 'lstm'. */
  cell?: CellName
  /** H. Default 64. */
  hiddenSize?: number
  /** Default 1. */
  numLayers?: number
  /** On the last state, and between layers. Default 0. */
  dropout?: number
  /** Rising, with .5 among them. Default .1, .5, .9: the median and an 80 % band. */
  quantiles?: readonly number[]
  /** Default 'window': each window by its own mean and deviation. */
  scaler?: Scaler
  /** Default 'mask': missing values are 0, and another input says so. */
  missing?: Missing
  /** Where the parameters are made. Default: the default device. */
  device?: string | Device
}

/** The options with their defaults; null: by the data. */
export interface ForecasterConfig {
  horizon: number
  inputSize: number | null
  seasonLength: number | null
  targets: readonly string[] | null
  histExog: readonly string[]
  futrExog: readonly string[]
  calendar: boolean
  cell: CellName
  hiddenSize: number
  numLayers: number
  dropout: number
  quantiles: readonly number[]
  scaler: Scaler
  missing: Missing
}

/** What `fit` has found in the data. */
export interface ForecasterState {
  spec: WindowSpec
  seasonLength: number
  frequency: Frequency | null
  /** What calibration adds to each quantile, in the windows' units. */
  offsets: number[]
  /** How far each series went that was learnt from. */
  seen: { id: string | null; rows: number; lastTime: number | null }[]
}

const KEYS = [
  'horizon',
  'inputSize',
  'seasonLength',
  'targets',
  'histExog',
  'futrExog',
  'calendar',
  'cell',
  'hiddenSize',
  'numLayers',
  'dropout',
  'quantiles',
  'scaler',
  'missing',
]

/** @throws TypeError, RangeError */
export function checkForecaster(options: ForecasterOptions): ForecasterConfig {
  const fn = 'Forecaster'
  checkOptions(fn, options, [...KEYS, 'device'])
  const optional = (name: 'inputSize' | 'seasonLength', least: number): number | null =>
    options[name] == null ? null : checkInteger(fn, name, options[name], least, 2 ** 20)
  const dropout = checkNumber(fn, 'dropout', options.dropout ?? 0, 0, 1)
  if (dropout === 1) throw rangeError(fn, 'dropout', 'a number below 1', '1')
  const config: ForecasterConfig = {
    horizon: checkInteger(fn, 'horizon', options.horizon, 1, 2 ** 16),
    inputSize: optional('inputSize', 2),
    seasonLength: optional('seasonLength', 1),
    targets: options.targets == null ? null : checkNames(fn, 'targets', options.targets),
    histExog: checkNames(fn, 'histExog', options.histExog),
    futrExog: checkNames(fn, 'futrExog', options.futrExog),
    calendar: checkBoolean(fn, 'calendar', options.calendar ?? true),
    cell: checkOneOf(fn, 'cell', options.cell ?? 'lstm', CELL_NAMES),
    hiddenSize: checkInteger(fn, 'hiddenSize', options.hiddenSize ?? 64, 1, 2 ** 16),
    numLayers: checkInteger(fn, 'numLayers', options.numLayers ?? 1, 1, 64),
    dropout,
    quantiles: checkQuantiles(fn, options.quantiles ?? [0.1, 0.5, 0.9]),
    scaler: checkOneOf(fn, 'scaler', options.scaler ?? 'window', [
      'window',
      'standard',
      'robust',
      'none',
    ]),
    missing: checkOneOf(fn, 'missing', options.missing ?? 'mask', ['mask', 'interpolate', 'error']),
  }
  const names = [...(config.targets ?? []), ...config.histExog, ...config.futrExog]
  const twice = names.find((name, i) => names.indexOf(name) < i)
  if (twice !== undefined)
    throw rangeError(
      fn,
      'targets, histExog, futrExog',
      'each column once',
      `'${twice}' a second time`,
    )
  if (config.targets?.length === 0) throw rangeError(fn, 'targets', 'at least one column', 'none')
  return config
}

function checkQuantiles(fn: string, given: unknown): number[] {
  if (!Array.isArray(given)) throw typeError(fn, 'quantiles', 'an array of numbers', given)
  const list = Array.from(given as unknown[])
  const quantiles = list.map((q, i) => checkQuantile(fn, `quantiles[${i}]`, q))
  if (!quantiles.includes(0.5))
    throw rangeError(fn, 'quantiles', '.5, the median, among them', list.join(', '))
  if (
    quantiles.length > 1000 ||
    quantiles.some((q, i) => i > 0 && q <= (quantiles[i - 1] as number))
  )
    throw rangeError(fn, 'quantiles', 'rising numbers', list.slice(0, 8).join(', '))
  return quantiles
}

/** What a model learns of its data before it is trained. @throws RangeError, with the row */
export function stateFor(
  fn: string,
  config: ForecasterConfig,
  all: readonly Series[],
): ForecasterState {
  const [first] = all as [Series]
  const others = [...config.histExog, ...config.futrExog]
  const targets = config.targets ?? first.columns.filter((name) => !others.includes(name))
  if (targets.length === 0) throw rangeError(fn, 'series', 'a column to predict', 'none')
  for (const series of all.slice(1))
    if (JSON.stringify(series.frequency) !== JSON.stringify(first.frequency))
      throw rangeError(
        fn,
        'series',
        `${frequencyText(first.frequency)}, as the first series has`,
        frequencyText(series.frequency),
      )
  const longest = all.reduce((a, b) => (b.length > a.length ? b : a))
  const seasonLength =
    config.seasonLength ??
    usualSeason(first.frequency) ??
    (longest.columns.includes(targets[0] as string)
      ? seasonOf(longest.column(targets[0] as string))
      : 1)
  const { horizon } = config
  // From three to five seasons, as far as that is no more than an eighth of the series.
  const eighth = Math.floor(longest.length / 8)
  const seasons = Math.min(Math.max(3 * seasonLength, eighth), 5 * seasonLength)
  const wanted = seasonLength > 1 ? Math.max(seasons, horizon) : 3 * horizon
  // A season that is long beside the series: less is read, so that there are windows to learn from.
  const room = Math.max(2, Math.floor((longest.length - horizon) / 2))
  const inputSize = config.inputSize ?? Math.max(2, Math.min(wanted, room, 1024))
  const { scaler, missing, histExog, futrExog } = config
  const spec = {
    inputSize,
    horizon,
    targets,
    histExog,
    futrExog,
    calendar: config.calendar ? calendarInputs(first.frequency, spanOf(longest)) : [],
    scaler,
    missing,
  }
  const scales = scalesOf(fn, all, spec)
  if (longest.length < inputSize + horizon) throw tooShort(fn, all, inputSize + horizon)
  for (const name of targets) checkVaries(fn, all, name)
  return {
    spec: { ...spec, scales },
    seasonLength,
    frequency: first.frequency,
    offsets: config.quantiles.map(() => 0),
    seen: all.map(({ id, length, time }) => ({ id, rows: length, lastTime: time?.at(-1) ?? null })),
  }
}

export function frequencyText(frequency: Frequency | null): string {
  if (frequency === null) return 'no regular times'
  const { unit, step } = frequency
  if (unit === 'month') return step === 12 ? 'a row a year' : `a row every ${step} months`
  const [name, size] =
    step % 86_400_000 === 0
      ? ['days', 86_400_000]
      : step % 3_600_000 === 0
        ? ['hours', 3_600_000]
        : step % 60_000 === 0
          ? ['minutes', 60_000]
          : ['ms', 1]
  return `a row every ${step / size} ${name}`
}

function checkVaries(fn: string, all: readonly Series[], name: string): void {
  let value = Number.NaN
  for (const series of all)
    for (const x of series.column(name)) {
      if (Number.isNaN(x)) continue
      if (Number.isNaN(value)) value = x
      if (x !== value) return
    }
  throw rangeError(
    fn,
    `column '${name}'`,
    'numbers that change',
    Number.isNaN(value) ? 'none at all' : `${value} in every row`,
  )
}
