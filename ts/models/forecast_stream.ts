/** Forecasts row by row. */
import { types } from 'node:util'
import { isPlainObject } from '../copies.js'
import { isTimeName, Series, type SeriesData, seriesOf } from '../data/series.js'
import { stepTime, timeOf } from '../data/time.js'
import { columnNames } from '../data/window_features.js'
import { describe, rangeError, typeError } from '../errors.js'
import type { Forecast } from './forecast.js'
import type { ForecasterState } from './forecaster_config.js'

const FORMAT = 'fused-rnn forecast stream 1'

/** A row: the number of the only column, numbers in the order of the columns, or by name. */
export type StreamRow = number | null | ArrayLike<number | null> | Record<string, unknown>

/** The last rows of one series; see {@link Forecaster.stream}. */
export class ForecastStream {
  readonly #predict: (history: readonly Series[]) => Promise<Forecast[]>
  readonly #model: ForecasterState
  readonly #columns: readonly string[]
  #rows: number[][] = []
  #time: number | null = null

  /** @internal */
  constructor(
    predict: (history: readonly Series[]) => Promise<Forecast[]>,
    model: ForecasterState,
    from?: Uint8Array | SeriesData,
  ) {
    this.#predict = predict
    this.#model = model
    this.#columns = columnNames(model.spec)
    if (types.isUint8Array(from)) this.#restore(from)
    else if (from !== undefined) this.#begin(from)
  }

  /**
   * Takes the next row.
   * @param row a number, numbers in the order of the columns, or by name, with a time where there is
   *   one; null and NaN are missing
   * @returns the forecast of what comes next; null as long as there are fewer rows than the model reads
   * @throws TypeError, RangeError for other columns, a time that is not the next one
   */
  push(row: StreamRow): Promise<Forecast | null> {
    const { spec, frequency } = this.#model
    const [numbers, time] = this.#read(row)
    if (time !== null && this.#time !== null && frequency !== null) {
      const next = stepTime(this.#time, frequency, 1)
      if (time !== next)
        throw rangeError(
          'push',
          'row',
          `the time ${new Date(next).toISOString()} (push a row of null for one that is missing)`,
          new Date(time).toISOString(),
        )
    }
    const following =
      this.#time === null || frequency === null ? null : stepTime(this.#time, frequency, 1)
    this.#time = time ?? following
    this.#rows.push(numbers)
    if (this.#rows.length > spec.inputSize) this.#rows.shift()
    return this.#forecast()
  }

  async #forecast(): Promise<Forecast | null> {
    const { spec } = this.#model
    if (this.#rows.length < spec.inputSize) return null
    return (await this.#predict([this.#series()]))[0] as Forecast
  }

  #series(): Series {
    const values = this.#columns.map((name, k) => [name, this.#rows.map((row) => row[k] as number)])
    const { frequency } = this.#model
    const last = this.#time
    const time =
      last === null || frequency === null
        ? {}
        : { time: this.#rows.map((_, i) => stepTime(last, frequency, i + 1 - this.#rows.length)) }
    return new Series(Object.fromEntries(values) as Record<string, number[]>, time)
  }

  #read(row: StreamRow): [numbers: number[], time: number | null] {
    const names = this.#columns
    const expected =
      names.length === 1 ? 'a number or { time, value }' : `numbers of ${names.join(', ')}`
    const check = (value: unknown, name: string): number => {
      if (value === null || value === undefined) return Number.NaN
      if (typeof value !== 'number') throw typeError('push', name, 'a number or null', value)
      if (value === Infinity || value === -Infinity)
        throw rangeError('push', name, 'a finite number or null', String(value))
      return value
    }
    if (typeof row === 'number' || row === null) {
      if (row !== null && names.length > 1) throw typeError('push', 'row', expected, row)
      return [names.map(() => check(row, 'row')), null]
    }
    if (typeof row !== 'object') throw typeError('push', 'row', expected, row)
    if (!isPlainObject(row)) {
      const list = row as ArrayLike<unknown>
      if (!Array.isArray(row) && !ArrayBuffer.isView(row))
        throw typeError('push', 'row', expected, row)
      if (list.length !== names.length)
        throw rangeError('push', 'row', `${names.length} numbers`, String(list.length))
      return [names.map((name, k) => check(list[k], name)), null]
    }
    const given = row as Record<string, unknown>
    const timeKey = Object.keys(given).find((key) => !names.includes(key) && isTimeName(key))
    for (const key of Object.keys(given))
      if (key !== timeKey && !names.includes(key))
        throw rangeError('push', 'row', `columns ${names.join(', ')}`, `'${key}'`)
    const missing = names.find((name) => !(name in given))
    if (missing !== undefined) throw rangeError('push', 'row', `a column '${missing}'`, 'none')
    return [
      names.map((name) => check(given[name], name)),
      timeKey === undefined ? null : this.#timeIn(given[timeKey]),
    ]
  }

  #timeIn(value: unknown): number {
    const time = types.isDate(value)
      ? value.getTime()
      : typeof value === 'string'
        ? timeOf(value)
        : value
    if (typeof time !== 'number' || Number.isNaN(time))
      throw rangeError(
        'push',
        'row',
        'a time in ISO 8601, a date, or ms since 1970',
        describe(value),
      )
    return time
  }

  #begin(from: SeriesData): void {
    const [series, ...more] = seriesOf('stream', 'from', from) as [Series, ...Series[]]
    if (more.length > 0) throw rangeError('stream', 'from', 'one series', `${more.length + 1}`)
    const plain = this.#columns.length === 1 && series.columns.length === 1
    const columns = this.#columns.map((name) =>
      series.column(plain ? (series.columns[0] as string) : name),
    )
    const first = Math.max(0, series.length - this.#model.spec.inputSize)
    for (let row = first; row < series.length; row++)
      this.#rows.push(columns.map((column) => column[row] as number))
    this.#time = series.time?.at(-1) ?? null
  }

  /** The last rows, for `forecaster.stream(state)` in this process or another. */
  state(): Uint8Array {
    const rows = this.#rows.map((row) => row.map((x) => (Number.isNaN(x) ? null : x)))
    const text = JSON.stringify({ format: FORMAT, columns: this.#columns, time: this.#time, rows })
    return new TextEncoder().encode(text)
  }

  #restore(bytes: Uint8Array): void {
    const expected = `the state of a stream over ${this.#columns.join(', ')}`
    let state: Record<string, unknown>
    try {
      state = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>
    } catch {
      throw rangeError('stream', 'state', expected, 'something else')
    }
    const { format, columns, time, rows } = state ?? {}
    const fits =
      format === FORMAT &&
      JSON.stringify(columns) === JSON.stringify(this.#columns) &&
      (time === null || Number.isFinite(time)) &&
      Array.isArray(rows) &&
      rows.length <= this.#model.spec.inputSize &&
      rows.every(
        (row) =>
          Array.isArray(row) &&
          row.length === this.#columns.length &&
          row.every((x) => x === null || Number.isFinite(x)),
      )
    if (!fits) throw rangeError('stream', 'state', expected, 'another one')
    this.#time = time as number | null
    this.#rows = (rows as (number | null)[][]).map((row) => row.map((x) => x ?? Number.NaN))
  }
}
