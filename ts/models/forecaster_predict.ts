/** From the rows before to a forecast. */

import { isPlainObject } from '../copies.js'
import { PLAIN, Series } from '../data/series.js'
import { writeFuture } from '../data/series_windows.js'
import {
  inputFeatures,
  type PreparedSeries,
  prepareSeries,
  presentIn,
  type Scale,
  type WindowSpec,
  writeWindow,
} from '../data/window_features.js'
import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOptions,
  rangeError,
  typeError,
} from '../errors.js'
import { tensor } from '../factories.js'
import { noGrad } from '../grad_mode.js'
import { numbersOf } from '../metrics/checks.js'
import { evalMode, type Module } from '../nn/module.js'
import type { Tensor } from '../tensor.js'
import { deviceOf } from '../train/batch.js'
import { bandOf, Forecast } from './forecast.js'
import { type ForecasterState, frequencyText } from './forecaster_config.js'

/** What {@link Forecaster.predict} takes. */
export interface PredictOptions {
  /** Of each futrExog column, the numbers of the rows to come. */
  futrExog?: Readonly<Record<string, ArrayLike<number>>>
  /** The bands of the table: [80, 50]. Default: those that were learnt. */
  level?: number | readonly number[]
  /** Fewer rows than were learnt; or more, with `recursive`. */
  horizon?: number
  /** Predict more rows than were learnt by reading the median as what has happened. Default false. */
  recursive?: boolean
}

/** What a network that forecasts is called with. */
export interface Forecasting extends Module {
  forward(input: Tensor, future?: Tensor): Tensor
}

/** The options, checked. */
export interface PredictSettings {
  future: Readonly<Record<string, Float64Array>>
  horizon: number
  levels: readonly number[]
}

/** Series side by side in one call. */
const BATCH = 512

export function predictOptions(
  fn: string,
  spec: WindowSpec,
  quantiles: readonly number[],
  all: readonly Series[],
  options: PredictOptions,
): PredictSettings {
  checkOptions(fn, options, ['futrExog', 'level', 'horizon', 'recursive'])
  const recursive = checkBoolean(fn, 'recursive', options.recursive ?? false)
  const horizon = checkInteger(fn, 'horizon', options.horizon ?? spec.horizon, 1, 2 ** 20)
  if (horizon > spec.horizon && !recursive)
    throw rangeError(
      fn,
      'horizon',
      `at most ${spec.horizon}, which was learnt (recursive: true goes on from its own median)`,
      String(horizon),
    )
  if (horizon > spec.horizon && spec.histExog.length > 0)
    throw rangeError(
      fn,
      'recursive',
      'a model without histExog, whose columns nobody knows beyond the horizon',
      spec.histExog.join(', '),
    )
  const { level } = options
  const widest = bandOf(Math.max(quantiles[0] as number, 1 - (quantiles.at(-1) as number)))
  if (level !== undefined && typeof level !== 'number' && !Array.isArray(level))
    throw typeError(fn, 'level', 'a number or an array of numbers', level)
  const levels = (
    level === undefined ? quantiles.filter((q) => q < 0.5).map(bandOf) : [level].flat()
  ).filter((one, i) => {
    checkNumber(fn, `level[${i}]`, one, 0, 100)
    if ((one as number) > widest + 1e-6)
      throw rangeError(
        fn,
        `level[${i}]`,
        `at most ${widest}, as quantiles ${quantiles[0]} to ${quantiles.at(-1)} were learnt`,
        String(one),
      )
    // Unsymmetric quantiles have no bands by themselves.
    return level !== undefined || (one as number) <= widest + 1e-6
  }) as number[]
  return { future: futureOf(fn, spec, horizon, all, options.futrExog), horizon, levels }
}

function futureOf(
  fn: string,
  { futrExog }: WindowSpec,
  horizon: number,
  all: readonly Series[],
  given: unknown,
): Record<string, Float64Array> {
  if (given !== undefined && (typeof given !== 'object' || given === null || !isPlainObject(given)))
    throw typeError(fn, 'futrExog', 'columns by name', given)
  const columns = (given ?? {}) as Record<string, unknown>
  if (futrExog.length > 0 && all.length > 1)
    throw rangeError(
      fn,
      'history',
      'one series, with the futrExog of its rows to come',
      `${all.length}`,
    )
  for (const name of Object.keys(columns))
    if (!futrExog.includes(name))
      throw rangeError(
        fn,
        'futrExog',
        `columns ${futrExog.join(', ') || '(the model has none)'}`,
        name,
      )
  const entries = futrExog.map((name) => {
    if (!(name in columns))
      throw rangeError(fn, 'futrExog', `'${name}' of the ${horizon} rows to come`, 'none')
    const numbers = numbersOf(fn, `futrExog.${name}`, columns[name])
    if (numbers.length !== horizon)
      throw rangeError(fn, `futrExog.${name}`, `${horizon} numbers`, String(numbers.length))
    return [name, numbers] as const
  })
  return Object.fromEntries(entries)
}

/** A forecast of each series. */
export async function predictAll(
  fn: string,
  model: Forecasting,
  state: ForecasterState,
  quantiles: readonly number[],
  all: readonly Series[],
  { future, horizon, levels }: PredictSettings,
): Promise<Forecast[]> {
  const { spec } = state
  const known = all.map((series) => checkHistory(fn, series, state))
  const values = await quantilesOf(fn, model, state, quantiles, known, future)
  let rows = spec.horizon
  while (rows < horizon) {
    // Reads on where its own forecast ends.
    const longer = known.map((series, i) =>
      extended(series, values[i] as number[][][], quantiles, spec, future),
    )
    const ahead = Object.fromEntries(
      Object.entries(future).map(([name, numbers]) => [name, numbers.slice(rows)]),
    )
    const more = await quantilesOf(fn, model, state, quantiles, longer, ahead)
    values.forEach((one, i) => {
      one.forEach((target, k) => {
        target.forEach((list, q) => {
          list.push(...(more[i]?.[k]?.[q] ?? []))
        })
      })
    })
    rows += spec.horizon
  }
  return all.map((series, i) => {
    const tail = series.slice(Math.max(0, series.length - Math.max(spec.inputSize, 3 * horizon)))
    const times = Array.from({ length: horizon }, (_, h) => series.timeAt(series.length + h))
    return new Forecast({
      id: series.id,
      times: times.some((time) => time === null) ? null : (times as number[]),
      targets: spec.targets,
      quantiles,
      levels,
      values: (values[i] as number[][][]).map((target) =>
        target.map((list) => list.slice(0, horizon)),
      ),
      history: spec.targets.map((name) => [...tail.column(name)]),
      historyTimes: tail.time === null ? null : [...tail.time],
    })
  })
}

/** The columns under the names that the model knows. @throws RangeError */
function checkHistory(fn: string, series: Series, { spec, frequency }: ForecasterState): Series {
  const plain = series.columns.length === 1 && series.columns[0] === PLAIN
  const named =
    plain && spec.targets.length === 1 && !spec.targets.includes(PLAIN)
      ? new Series({ [spec.targets[0] as string]: series.column(PLAIN) })
      : series
  if (named.length < spec.inputSize)
    throw rangeError(
      fn,
      'history',
      `at least ${spec.inputSize} rows, as the model reads (inputSize)`,
      `${named.length}${series.id === null ? '' : ` in series '${series.id}'`}`,
    )
  if (named.time !== null && JSON.stringify(named.frequency) !== JSON.stringify(frequency))
    throw rangeError(
      fn,
      'history',
      `${frequencyText(frequency)}, as what was learnt from has`,
      frequencyText(named.frequency),
    )
  const last = named.slice(named.length - spec.inputSize)
  for (const name of spec.targets)
    if (named.columns.includes(name) && presentIn(last.column(name), 0, last.length) === 0)
      throw rangeError(
        fn,
        `history, column '${name}'`,
        `a value among the last ${spec.inputSize} rows`,
        'missing ones only',
      )
  return last
}

/** By series, target, quantile and row; each quantile at least the one before. */
async function quantilesOf(
  fn: string,
  model: Forecasting,
  { spec, offsets }: ForecasterState,
  quantiles: readonly number[],
  all: readonly Series[],
  future: Readonly<Record<string, Float64Array>>,
): Promise<number[][][][]> {
  const features = inputFeatures(spec)
  const result: number[][][][] = []
  for (let at = 0; at < all.length; at += BATCH) {
    const part = all.slice(at, at + BATCH)
    const input = new Float32Array(part.length * spec.inputSize * features)
    const ahead = new Float32Array(part.length * spec.horizon * spec.futrExog.length)
    const scales = part.map((series, b) => {
      const prepared = prepareSeries(fn, series, spec)
      const start = series.length - spec.inputSize
      const own = writeWindow(spec, prepared, start, input, b * spec.inputSize * features)
      writeFuture(
        spec,
        withFuture(prepared, spec, future),
        0,
        ahead,
        b * spec.horizon * spec.futrExog.length,
      )
      return own
    })
    const data = await run(model, spec, part.length, input, ahead)
    scales.forEach((own, b) => {
      result.push(unscaled(spec, quantiles, offsets, own, data, b))
    })
  }
  return result
}

/** The futrExog columns of the rows to come in place of those before. */
function withFuture(
  prepared: PreparedSeries,
  { futrExog }: WindowSpec,
  future: Readonly<Record<string, Float64Array>>,
): PreparedSeries {
  if (futrExog.length === 0) return prepared
  const before = prepared.columns.length - futrExog.length
  const columns = prepared.columns.map((column, k) =>
    k < before ? column : (future[futrExog[k - before] as string] as Float64Array),
  )
  return { ...prepared, columns }
}

async function run(
  model: Forecasting,
  spec: WindowSpec,
  batch: number,
  input: Float32Array,
  ahead: Float32Array,
): Promise<ArrayLike<number>> {
  const device = deviceOf(model) as string
  const restoreModes = evalMode(model)
  try {
    return await noGrad(() => {
      using x = tensor(input, { shape: [batch, spec.inputSize, inputFeatures(spec)], device })
      const width = spec.futrExog.length
      const future =
        width > 0 ? tensor(ahead, { shape: [batch, spec.horizon, width], device }) : undefined
      using out = model.forward(x, future)
      future?.[Symbol.dispose]()
      const values = out.data()
      restoreModes()
      return values
    })
  } finally {
    restoreModes()
  }
}

/** What of one window the network said, in the units of the series: by target, quantile and row. */
function unscaled(
  spec: WindowSpec,
  quantiles: readonly number[],
  offsets: readonly number[],
  scales: readonly Scale[],
  data: ArrayLike<number>,
  window: number,
): number[][][] {
  const { horizon, targets } = spec
  const out = targets.map(() => quantiles.map((): number[] => []))
  for (let h = 0; h < horizon; h++)
    for (const [k, { center, scale }] of scales.entries()) {
      const from = ((window * horizon + h) * targets.length + k) * quantiles.length
      const said = risingQuantiles(
        Array.from({ length: quantiles.length }, (_, q) => data[from + q] as number),
        offsets,
      )
      said.forEach((x, q) => {
        out[k]?.[q]?.push(center + scale * x)
      })
    }
  return out
}

/** Quantiles in their order (rearranged, Chernozhukov et al. 2010), with what calibration adds. */
export function risingQuantiles(said: number[], offsets: readonly number[]): number[] {
  return said
    .sort((a, b) => a - b)
    .map((x, q) => x + (offsets[q] ?? 0))
    .sort((a, b) => a - b)
}

/** A series with its own median behind it. */
function extended(
  series: Series,
  values: readonly (readonly (readonly number[])[])[],
  quantiles: readonly number[],
  spec: WindowSpec,
  future: Readonly<Record<string, Float64Array>>,
): Series {
  const middle = quantiles.indexOf(0.5)
  const length = values[0]?.[middle]?.length ?? 0
  const entries = [
    ...spec.targets.map((name, k) => [
      name,
      [...series.column(name), ...(values[k]?.[middle] ?? [])],
    ]),
    ...spec.futrExog.map((name) => [
      name,
      [...series.column(name), ...(future[name] as Float64Array).slice(0, length)],
    ]),
  ] as [string, number[]][]
  const time = series.time && [
    ...series.time,
    ...Array.from({ length }, (_, h) => series.timeAt(series.length + h) ?? Number.NaN),
  ]
  const longer = new Series(Object.fromEntries(entries), time === null ? {} : { time })
  return longer.slice(longer.length - spec.inputSize)
}
