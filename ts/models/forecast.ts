/** What a Forecaster says of the rows to come. */

import { timeText } from '../data/time.js'
import { quantileOf } from '../data/window_features.js'
import { checkNumber, checkOptions, describe, rangeError } from '../errors.js'
import { checkPath } from '../io/path.js'
import { reason, writeWhole } from '../io/whole_file.js'
import { checkQuantile } from '../metrics/regression.js'
import { type ForecastPlotOptions, forecastPlot } from './forecast_plot.js'

/** What a forecast is made of. */
export interface ForecastParts {
  id: string | null
  /** ms since 1970 of each row; null: not known. */
  times: readonly number[] | null
  targets: readonly string[]
  /** Rising. */
  quantiles: readonly number[]
  /** By target, quantile and row. */
  values: readonly (readonly (readonly number[])[])[]
  /** The rows before, by target. */
  history: readonly (readonly number[])[]
  historyTimes: readonly number[] | null
  /** The bands of the table. */
  levels: readonly number[]
}

/** A forecast of one series: a median and the bands around it, row by row. */
export class Forecast {
  /** Which series it is of; null: the only one. */
  readonly id: string | null
  /** When each row is, in ISO 8601; null where the history has no times. */
  readonly time: readonly string[] | null
  readonly targets: readonly string[]
  /** The quantiles that were learnt. */
  readonly quantiles: readonly number[]
  readonly #parts: ForecastParts
  readonly #target: number

  /** @internal */
  constructor(parts: ForecastParts, target = 0) {
    this.#parts = parts
    this.#target = target
    this.id = parts.id
    this.time = parts.times?.map(timeText) ?? null
    this.targets = parts.targets
    this.quantiles = parts.quantiles
  }

  /** Rows. */
  get horizon(): number {
    return this.#parts.values[0]?.[0]?.length ?? 0
  }

  /** The middle of what is likely, of the first target. */
  get median(): number[] {
    return this.quantile(0.5)
  }

  /** The forecast of one of several targets. @throws RangeError for another name */
  column(target: string): Forecast {
    const at = this.targets.indexOf(target)
    if (at < 0)
      throw rangeError('Forecast', 'target', `one of ${this.targets.join(', ')}`, describe(target))
    return new Forecast(this.#parts, at)
  }

  /**
   * The lower end of the band in which the truth is in `level` of 100 cases.
   * @param level 80 with the usual quantiles; those between learnt ones are drawn between them
   * @throws TypeError, RangeError for a wider band than was learnt
   */
  lower(level: number): number[] {
    return this.quantile(tail('lower', level, this.quantiles))
  }

  /** As {@link lower}. */
  upper(level: number): number[] {
    const q = tail('upper', level, this.quantiles)
    return this.quantile(Math.round((1 - q) * 1e9) / 1e9)
  }

  /** @throws TypeError, RangeError outside of the quantiles that were learnt */
  quantile(q: number): number[] {
    checkQuantile('Forecast', 'q', q)
    const { quantiles } = this
    const values = this.#parts.values[this.#target] as readonly (readonly number[])[]
    const at = quantiles.findIndex((own) => own >= q - 1e-9)
    const above = quantiles[at]
    if (above === undefined || (at === 0 && above > q + 1e-9))
      throw rangeError(
        'Forecast',
        'q',
        `between ${quantiles[0]} and ${quantiles.at(-1)}, which were learnt (quantiles of the Forecaster)`,
        String(q),
      )
    const high = values[at] as readonly number[]
    if (Math.abs(above - q) < 1e-9) return [...high]
    const below = quantiles[at - 1] as number
    const share = (q - below) / (above - below)
    return high.map((x, row) => quantileOf([values[at - 1]?.[row] as number, x], share))
  }

  /**
   * A table: time (or step), id where there is one, and for each target median and bands: those that
   * `predict` was asked for.
   */
  toCSV(): string {
    const { levels } = this.#parts
    const several = this.targets.length > 1
    const names = this.targets.flatMap((target) =>
      ['median', ...levels.flatMap((level) => [`lower_${level}`, `upper_${level}`])].map((name) =>
        several ? `${target}_${name}` : name,
      ),
    )
    const columns = this.targets.flatMap((target) => {
      const own = this.column(target)
      return [own.median, ...levels.flatMap((level) => [own.lower(level), own.upper(level)])]
    })
    const head = [
      this.time === null ? 'step' : 'time',
      ...(this.id === null ? [] : ['id']),
      ...names,
    ]
    const rows = Array.from({ length: this.horizon }, (_, row) => [
      this.time?.[row] ?? String(row + 1),
      ...(this.id === null ? [] : [quoted(this.id)]),
      ...columns.map((column) => String(column[row])),
    ])
    return `${[head.map(quoted), ...rows].map((row) => row.join(',')).join('\n')}\n`
  }

  /** The picture that {@link writeSVG} writes: history, median and the widest band. */
  toSVG(options: ForecastPlotOptions = {}): string {
    checkOptions('toSVG', options, ['title', 'width', 'height', 'actual'])
    const { history, historyTimes, times } = this.#parts
    const widest = this.quantiles[0] as number
    return forecastPlot(
      {
        history: history[this.#target] ?? [],
        historyTimes,
        times,
        median: this.median,
        lower: this.quantile(widest),
        upper: this.quantile(this.quantiles.at(-1) as number),
      },
      { title: this.targets[this.#target] ?? '', ...options },
    )
  }

  /** Writes a picture of history, median and the widest band. @throws (rejects) Error that names the file */
  async writeSVG(path: string | URL, options: ForecastPlotOptions = {}): Promise<void> {
    const file = checkPath('writeSVG', 'path', path, 'the path of a file')
    const picture = this.toSVG(options)
    try {
      await writeWhole(file, picture)
    } catch (error) {
      throw new Error(`[writeSVG] cannot write '${file}': ${reason(error)}`, { cause: error })
    }
  }
}

/** The level of the band from a quantile to the opposite one. */
export const bandOf = (q: number): number => Math.round((1 - 2 * q) * 1e6) / 1e4
const quoted = (text: string): string =>
  /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text

/** The lower quantile of a band. @throws TypeError, RangeError */
function tail(fn: string, level: unknown, quantiles: readonly number[]): number {
  checkNumber(fn, 'level', level, 0, 100)
  const q = Math.round((0.5 - (level as number) / 200) * 1e9) / 1e9
  const widest = bandOf(Math.max(quantiles[0] as number, 1 - (quantiles.at(-1) as number)))
  if ((level as number) > widest + 1e-6 || level === 100)
    throw rangeError(
      fn,
      'level',
      `at most ${widest}, as quantiles ${quantiles[0]} to ${quantiles.at(-1)} were learnt`,
      String(level),
    )
  return q
}
