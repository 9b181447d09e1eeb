/** Measured series: numbers in the order of time, some of which may be missing. */
import { types } from 'node:util'
import { isPlainObject } from '../copies.js'
import {
  checkInteger,
  checkIterable,
  checkOptions,
  checkString,
  describe,
  rangeError,
  typeError,
} from '../errors.js'
import { type Frequency, frequencyOf, gridRows, stepTime, timeOf, timeText } from './time.js'

/** What {@link Series} takes beside its values. */
export interface SeriesOptions {
  /** When each row is: texts in ISO 8601, dates, or milliseconds since 1970; rising. */
  time?: ArrayLike<string | number | Date>
  /** Its name among others. */
  id?: string
}

/** Columns by name; null and NaN are missing. */
export type SeriesValues = Record<string, ArrayLike<number | null>> | ArrayLike<number | null>

/** The name of the only column of plain numbers. */
export const PLAIN = 'value'

/**
 * One or several columns of numbers in the order of time. Where the times are those of a regular grid
 * (hours, days, months …), rows that are missing in it are put in as NaN.
 */
export class Series {
  readonly id: string | null
  readonly columns: readonly string[]
  /** Milliseconds since 1970 (UTC); null: only an order. */
  readonly time: Float64Array | null
  /** How far apart the rows are; null without times, or where these are no grid. */
  readonly frequency: Frequency | null
  readonly length: number
  readonly values: Readonly<Record<string, Float64Array>>

  /**
   * @param values columns by name, or the numbers of one column, which is called `value`
   * @throws TypeError, RangeError for columns of unlike lengths, infinite numbers, times that do not
   *   rise, with the row
   */
  constructor(values: SeriesValues, options: SeriesOptions = {}) {
    const fn = 'Series'
    checkOptions(fn, options, ['time', 'id'])
    const { id } = options
    if (id !== undefined && typeof id !== 'string') throw typeError(fn, 'id', 'a text', id)
    if (typeof values !== 'object' || values === null)
      throw typeError(fn, 'values', 'columns by name, or numbers', values)
    const given: Record<string, unknown> = isPlainObject(values)
      ? { ...values }
      : { [PLAIN]: values }
    const entries = Object.entries(given).map(
      ([name, column]) => [name, columnNumbers(fn, name, column)] as const,
    )
    if (entries.length === 0) throw rangeError(fn, 'values', 'at least one column', 'none')
    const [[name, first]] = entries as [(typeof entries)[number]]
    for (const [other, column] of entries)
      if (column.length !== first.length)
        throw rangeError(
          fn,
          other,
          `${first.length} values, as '${name}' has`,
          String(column.length),
        )
    const times = options.time === undefined ? null : timesOf(fn, options.time, first.length)
    const frequency = times && frequencyOf(times)
    const rows = times && frequency && gridRows(times, frequency)
    // A typing error in a year must not become a billion rows.
    const length = (rows?.at(-1) ?? -1) + 1
    const fill = rows !== null && length > first.length && length <= 20 * first.length + 1000
    this.id = id ?? null
    this.columns = Object.freeze(entries.map(([column]) => column))
    this.frequency = length > first.length && !fill ? null : frequency
    this.values = Object.freeze(
      Object.fromEntries(
        entries.map(([column, numbers]) => [
          column,
          fill ? spread(numbers, rows, length) : numbers,
        ]),
      ),
    )
    this.length = fill ? length : first.length
    this.time = fill ? grid(times as Float64Array, frequency as Frequency, length) : times
  }

  /** The numbers of a column. @throws RangeError that lists the columns there are */
  column(name: string): Float64Array {
    checkString('Series', 'column', name)
    const found = Object.hasOwn(this.values, name) ? this.values[name] : undefined
    if (found === undefined)
      throw rangeError('Series', 'column', `one of ${this.columns.join(', ')}`, describe(name))
    return found
  }

  /** The rows [start, end), as Array's slice. */
  slice(start = 0, end = this.length): Series {
    const most = Number.MAX_SAFE_INTEGER
    checkInteger('slice', 'start', start, -most)
    checkInteger('slice', 'end', end, -most)
    const part = Object.create(Series.prototype) as { -readonly [K in keyof Series]: Series[K] }
    part.id = this.id
    part.columns = this.columns
    part.frequency = this.frequency
    part.values = Object.freeze(
      Object.fromEntries(this.columns.map((name) => [name, this.column(name).slice(start, end)])),
    )
    part.time = this.time?.slice(start, end) ?? null
    part.length = part.values[this.columns[0] as string]?.length ?? 0
    return part as Series
  }

  /** When a row is, also one behind the last; null where that is not known. */
  timeAt(row: number): number | null {
    checkInteger('timeAt', 'row', row, 0, 2 ** 40)
    if (this.time === null || this.time.length === 0) return null
    if (row < this.time.length) return this.time[row] ?? null
    if (this.frequency === null) return null
    const time = stepTime(this.time[0] as number, this.frequency, row)
    return Math.abs(time) <= 8.64e15 ? time : null
  }

  /** What a row is called in messages. */
  rowName(row: number): string {
    checkInteger('rowName', 'row', row, 0, 2 ** 40)
    const time = this.timeAt(row)
    const series = this.id === null ? '' : `series '${this.id}', `
    return `${series}row ${row + 1}${time === null ? '' : ` (${timeText(time)})`}`
  }
}

function columnNumbers(fn: string, name: string, column: unknown): Float64Array {
  const expected = 'an array of numbers (null or NaN where one is missing)'
  const array = Array.isArray(column) || (ArrayBuffer.isView(column) && !types.isDataView(column))
  if (!array) throw typeError(fn, name, expected, column)
  checkIterable(fn, name, column, expected)
  const list = Array.from(column as unknown[])
  return Float64Array.from(list, (value, i) => {
    if (value === null || value === undefined) {
      if (i in (column as unknown[])) return Number.NaN
      throw typeError(fn, `${name}[${i}]`, 'a number, null or NaN', value)
    }
    if (typeof value !== 'number')
      throw typeError(fn, `${name}[${i}]`, 'a number, null or NaN', value)
    if (value === Infinity || value === -Infinity)
      throw rangeError(fn, `${name}[${i}]`, 'a finite number, null or NaN', String(value))
    return value
  })
}

function timesOf(fn: string, given: unknown, length: number): Float64Array {
  const expected = 'an array of times: texts in ISO 8601, dates, or ms since 1970'
  if (!Array.isArray(given) && !ArrayBuffer.isView(given))
    throw typeError(fn, 'time', expected, given)
  checkIterable(fn, 'time', given, expected)
  const list = Array.from(given as unknown as unknown[])
  if (list.length !== length)
    throw rangeError(fn, 'time', `${length} times, one for each row`, String(list.length))
  const times = Float64Array.from(list, (value, i) => {
    const time = types.isDate(value)
      ? value.getTime()
      : typeof value === 'string'
        ? timeOf(value)
        : value
    if (typeof time !== 'number') throw typeError(fn, `time[${i}]`, 'a time', value)
    if (!(Math.abs(time) <= 8.64e15))
      throw rangeError(
        fn,
        `time[${i}]`,
        'a time in ISO 8601, a date, or ms since 1970',
        describe(value),
      )
    return time
  })
  checkRising(fn, times, (i) => `time[${i}]`)
  return times
}

/** @throws RangeError that names the first row that is not later than the one before */
export function checkRising(
  fn: string,
  times: Float64Array,
  placeOf: (row: number) => string,
): void {
  for (let i = 1; i < times.length; i++) {
    const [before, now] = [times[i - 1] as number, times[i] as number]
    if (now > before) continue
    const what = now === before ? 'the same time again' : `${timeText(now)}, which is earlier`
    throw rangeError(
      fn,
      placeOf(i),
      `a time after that of the row before, ${timeText(before)} (sort the rows, keep one of each time)`,
      what,
    )
  }
}

function spread(numbers: Float64Array, rows: readonly number[], length: number): Float64Array {
  const out = new Float64Array(length).fill(Number.NaN)
  rows.forEach((row, i) => {
    out[row] = numbers[i] as number
  })
  return out
}

function grid(times: Float64Array, frequency: Frequency, length: number): Float64Array {
  const first = times[0] as number
  return Float64Array.from({ length }, (_, i) => stepTime(first, frequency, i))
}

const TIME_NAMES = /^(date|time|timestamp|datetime|ds|day|month|year|week)$/i

/** Whether a column's name says that it has the times. */
export const isTimeName = (name: string): boolean => TIME_NAMES.test(name.trim())

/** Whatever a series may be given as. */
export type SeriesData =
  | Series
  | readonly Series[]
  | ArrayLike<number | null>
  | readonly ArrayLike<number>[]
  | readonly Record<string, number | string | Date | null>[]

/**
 * Series of what a user gave: numbers; rows, each an array or an object (`{ date, sales }`); a
 * Series, or several.
 * @throws TypeError, RangeError
 */
export function seriesOf(fn: string, name: string, given: unknown): Series[] {
  if (given instanceof Series) return [given]
  const expected = 'numbers, rows (arrays or objects), a Series or several'
  if (!Array.isArray(given) && !ArrayBuffer.isView(given))
    throw typeError(fn, name, expected, given)
  checkIterable(fn, name, given, expected)
  const list = Array.from(given as unknown as unknown[])
  if (list.length === 0) throw rangeError(fn, name, 'at least one row', 'none')
  const [first] = list
  if (list.some((one) => one instanceof Series)) {
    for (const [i, one] of list.entries())
      if (!(one instanceof Series)) throw typeError(fn, `${name}[${i}]`, 'a Series', one)
    return list as Series[]
  }
  return [
    named(fn, name, () => (isRow(first) ? rowsOf(fn, name, list) : new Series(list as number[]))),
  ]
}

const isRow = (value: unknown): value is object =>
  typeof value === 'object' &&
  value !== null &&
  (isPlainObject(value) || Array.isArray(value) || ArrayBuffer.isView(value))

/** The errors of Series under the name of the function that was called. */
function named<T>(fn: string, name: string, make: () => T): T {
  try {
    return make()
  } catch (error) {
    if (error instanceof Error)
      error.message = error.message.replace(/^\[Series\] /, `[${fn}] ${name}: `)
    throw error
  }
}

function rowsOf(fn: string, name: string, rows: readonly unknown[]): Series {
  const keys = new Map<string, (number | null)[]>()
  const times: unknown[] = []
  let timeKey: string | null = null
  rows.forEach((row, i) => {
    const expected = 'rows of one kind: arrays of numbers, or objects'
    if (!isRow(row)) throw typeError(fn, `${name}[${i}]`, expected, row)
    if (ArrayBuffer.isView(row)) checkIterable(fn, `${name}[${i}]`, row, expected)
    const entries = isPlainObject(row)
      ? Object.entries(row)
      : Array.from(row as ArrayLike<unknown>, (value, j): [string, unknown] => [String(j), value])
    if (i === 0) {
      timeKey = isPlainObject(row) ? (entries.find(([key]) => isTimeName(key))?.[0] ?? null) : null
      for (const [key] of entries) if (key !== timeKey) keys.set(key, [])
    }
    const columns = entries.filter(([key]) => key !== timeKey)
    const strange = columns.find(([key]) => !keys.has(key))
    if (strange !== undefined || columns.length !== keys.size)
      throw rangeError(
        fn,
        `${name}[${i}]`,
        `the columns of the first row (${[...keys.keys()].join(', ')})`,
        columns.map(([key]) => key).join(', ') || 'none',
      )
    for (const [key, value] of columns) {
      if (value !== null && typeof value !== 'number')
        throw typeError(fn, `${name}[${i}].${key}`, 'a number, null or NaN', value)
      ;(keys.get(key) as (number | null)[]).push(value)
    }
    if (timeKey !== null) times.push((row as Record<string, unknown>)[timeKey])
  })
  return new Series(Object.fromEntries(keys), timeKey === null ? {} : { time: times as string[] })
}
