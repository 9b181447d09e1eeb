/** How good forecasts would have been, beside the naive one. */
import type { Series, SeriesData } from '../data/series.js'
import { interpolated } from '../data/window_features.js'
import { checkBoolean, checkInteger, checkOptions, rangeError } from '../errors.js'
import { coverage, mae, mase, quantileLoss, rmse, smape } from '../metrics/regression.js'
import type { FitResult } from '../train/options.js'
import { bandOf, type Forecast } from './forecast.js'
import type { ForecasterConfig, ForecasterState } from './forecaster_config.js'
import type { PredictOptions } from './forecaster_predict.js'

/** What {@link Forecaster.backtest} takes. */
export interface BacktestOptions {
  /** How many forecasts of each series. Default 5. */
  windows?: number
  /** Rows between two of them. Default: the horizon. */
  stride?: number
  /** Learn anew before each forecast. Default false: once, before the first. */
  refit?: boolean
  /** Of the models that learn, see fit. */
  seed?: number
  maxEpochs?: number
  progressBar?: boolean
}

/** Means over all forecasts. */
export interface ForecastMetrics {
  mae: number
  rmse: number
  smape: number
  /** NaN for a history that repeats itself. */
  mase: number
}

/** What {@link Forecaster.backtest} gives. */
export interface BacktestResult {
  /** Of the model; coverage: of the widest band, which should be its level. */
  metrics: ForecastMetrics & { coverage: number; level: number; quantileLoss: number }
  /** Of repeating the last season. */
  naive: ForecastMetrics
  /** In the order of time, series by series. */
  forecasts: { forecast: Forecast; actual: number[]; naive: number[] }[]
  /** Whether a new model has learnt, because this one knew the rows that were predicted. */
  retrained: boolean
}

/** What is tested. */
export interface Testable {
  readonly config: Readonly<ForecasterConfig>
  readonly state: ForecasterState | null
  fit(series: SeriesData, options?: object): Promise<FitResult>
  predict(history: readonly Series[], options?: PredictOptions): Promise<Forecast[]>
}

/** The numbers of a season ago, of those that are there. */
export function seasonalNaive(history: Float64Array, season: number, horizon: number): number[] {
  const filled = interpolated(history)
  const out: number[] = []
  for (let h = 0; h < horizon; h++) {
    let at = history.length - season + (h % season)
    while (at >= 0 && Number.isNaN(history[at])) at -= season
    out.push((at >= 0 ? history[at] : filled.at(-1)) as number)
  }
  return out
}

export async function backtest<M extends Testable>(
  fn: string,
  own: M,
  all: readonly Series[],
  options: BacktestOptions,
  fresh: () => M,
): Promise<BacktestResult> {
  checkOptions(fn, options, ['windows', 'stride', 'refit', 'seed', 'maxEpochs', 'progressBar'])
  const { horizon } = own.config
  const windows = checkInteger(fn, 'windows', options.windows ?? 5, 1, 2 ** 16)
  const stride = checkInteger(fn, 'stride', options.stride ?? horizon, 1, 2 ** 20)
  const refit = checkBoolean(fn, 'refit', options.refit ?? false)
  if (own.config.futrExog.length > 0) checkFuture(fn, all, own.config.futrExog)
  const reach = horizon + (windows - 1) * stride
  const { seed, maxEpochs, progressBar = false } = options
  const fitOptions = {
    progressBar,
    ...(seed !== undefined && { seed }),
    ...(maxEpochs !== undefined && { maxEpochs }),
  }
  const before = (back: number): Series[] => all.map((one) => one.slice(0, one.length - back))
  for (const series of all)
    if (series.length - reach < horizon + 2)
      throw rangeError(
        fn,
        'series',
        `more than ${reach + horizon + 2} rows for ${windows} windows`,
        `${series.length}${series.id === null ? '' : ` in '${series.id}'`}`,
      )
  const retrained = refit || knows(own.state, all, reach)
  let model = own
  const results: BacktestResult['forecasts'] = []
  for (let w = 0; w < windows; w++) {
    const back = reach - w * stride
    const histories = before(back)
    if (retrained && (w === 0 || refit)) {
      model = fresh()
      await model.fit(histories, fitOptions)
    }
    const { spec, seasonLength } = model.state as ForecasterState
    const futrExog = (series: Series): PredictOptions =>
      spec.futrExog.length === 0
        ? {}
        : {
            futrExog: Object.fromEntries(
              spec.futrExog.map((name) => [
                name,
                series
                  .column(name)
                  .slice(series.length - back)
                  .slice(0, horizon),
              ]),
            ),
          }
    const forecasts =
      spec.futrExog.length === 0
        ? await model.predict(histories)
        : (
            await Promise.all(
              histories.map((one, i) => model.predict([one], futrExog(all[i] as Series))),
            )
          ).flat()
    forecasts.forEach((forecast, i) => {
      const series = all[i] as Series
      const start = series.length - back
      for (const target of spec.targets) {
        const column = series.column(target)
        results.push({
          forecast: forecast.column(target),
          actual: [...column.slice(start, start + horizon)],
          naive: seasonalNaive(column.slice(0, start), seasonLength, horizon),
        })
        histories[i] = series.slice(0, start)
        pasts.set(results.at(-1) as object, column.slice(0, start))
      }
    })
  }
  const { seasonLength } = model.state as ForecasterState
  const scored = results.filter(({ actual }) => actual.some((y) => !Number.isNaN(y)))
  if (scored.length === 0) throw rangeError(fn, 'series', 'values in the last rows', 'none')
  const [q] = own.config.quantiles as [number]
  const errors = (said: (one: (typeof scored)[number]) => number[]): ForecastMetrics => {
    const each = scored.map((one) => errorsOf(said(one), one.actual, pastOf(one), seasonLength))
    const mean = (name: keyof ForecastMetrics): number =>
      each.reduce((sum, e) => sum + e[name], 0) / each.length
    return { mae: mean('mae'), rmse: mean('rmse'), smape: mean('smape'), mase: mean('mase') }
  }
  const top = own.config.quantiles.at(-1) as number
  const pairs = scored.map(({ forecast, actual }) => {
    const rows = actual.flatMap((y, i) => (Number.isNaN(y) ? [] : [i]))
    const pick = (values: number[]): number[] => rows.map((i) => values[i] as number)
    return {
      inside: coverage(pick(forecast.quantile(q)), pick(forecast.quantile(top)), pick(actual)),
      loss:
        own.config.quantiles.reduce(
          (sum, one) => sum + quantileLoss(pick(forecast.quantile(one)), pick(actual), one),
          0,
        ) / own.config.quantiles.length,
    }
  })
  const mean = (name: 'inside' | 'loss'): number =>
    pairs.reduce((sum, pair) => sum + pair[name], 0) / pairs.length
  return {
    metrics: {
      ...errors(({ forecast }) => forecast.median),
      coverage: mean('inside'),
      level:
        Math.round(((1 - bandOf(q) / 100) / 2 === 1 - top ? bandOf(q) : (top - q) * 100) * 1e6) /
        1e6,
      quantileLoss: mean('loss'),
    },
    naive: errors(({ naive }) => naive),
    forecasts: results,
    retrained,
  }
}

/** The rows before each forecast, for what errors are scaled by. */
const pasts = new WeakMap<object, Float64Array>()
const pastOf = (result: object): Float64Array => pasts.get(result) as Float64Array

function errorsOf(
  said: readonly number[],
  actual: readonly number[],
  past: Float64Array,
  season: number,
): ForecastMetrics {
  const rows = actual.flatMap((y, i) => (Number.isNaN(y) ? [] : [i]))
  const [p, y] = [said, actual].map((values) => rows.map((i) => values[i] as number)) as [
    number[],
    number[],
  ]
  let scaled = Number.NaN
  const filled = interpolated(past)
  try {
    scaled = mase(p, y, filled, Math.min(season, Math.max(1, filled.length - 1)))
  } catch {
    // A history that repeats itself has no scale.
  }
  return { mae: mae(p, y), rmse: rmse(p, y), smape: smape(p, y), mase: scaled }
}

/** Whether a model has learnt from rows that are to be predicted. */
function knows(state: ForecasterState | null, all: readonly Series[], reach: number): boolean {
  if (state === null) return true
  return all.some((series) => {
    const first = series.length - reach
    const time = series.timeAt(first)
    return state.seen.some(({ id, rows, lastTime }) => {
      if (id !== series.id) return false
      return time !== null && lastTime !== null ? lastTime >= time : rows > first
    })
  })
}

function checkFuture(fn: string, all: readonly Series[], names: readonly string[]): void {
  for (const series of all)
    for (const name of names)
      if (!series.columns.includes(name))
        throw rangeError(fn, 'series', `a column '${name}'`, `columns ${series.columns.join(', ')}`)
}
