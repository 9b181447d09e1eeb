/** Series out of CSV files. */
import {
  checkIterable,
  checkOptions,
  checkSignal,
  checkString,
  rangeError,
  typeError,
} from '../errors.js'
import { checkPath } from '../io/path.js'
import {
  checkSeparator,
  columnOf,
  isMissing,
  numberIn,
  placeIn,
  readTable,
  type Table,
} from './csv.js'
import { checkRising, isTimeName, Series } from './series.js'
import { timeOf } from './time.js'

/** What {@link loadCSV} takes. */
export interface LoadCSVOptions {
  /** The column of times. Default: the first called date, time, timestamp, datetime, ds, day, week, month or year. */
  time?: string
  /** The column that says which series a row is of. Default: all rows are of one. */
  id?: string
  /** The columns with numbers. Default: all that have them. */
  columns?: readonly string[]
  /** Default: whichever of comma, semicolon, tab and bar the first line has most of. */
  separator?: string
  signal?: AbortSignal
}

export const CSV_OPTIONS = ['time', 'id', 'columns', 'separator', 'signal']

/**
 * The series of a CSV file in the long format: a row for each time (and each series, where there is
 * an id), a column for each kind of number. Empty fields and NA are missing (NaN), and so are the rows
 * that a regular grid of times lacks. Numbers may have decimal commas where commas do not separate.
 * @returns one series for each id, in the order in which they first come
 * @throws (rejects) TypeError, RangeError for unknown columns, what is no number or no time, times
 *   that do not rise, with row, line and column; Error for a file that cannot be read
 */
export async function loadCSV(path: string | URL, options: LoadCSVOptions = {}): Promise<Series[]> {
  const fn = 'loadCSV'
  const file = checkPath(fn, 'path', path, 'the path of a file')
  checkCsvOptions(fn, options)
  return seriesOfTable(fn, await readTable(fn, file, options.separator, options.signal), options)
}

export function checkCsvOptions(fn: string, options: LoadCSVOptions): void {
  checkOptions(fn, options, CSV_OPTIONS)
  checkSignal(fn, options.signal)
  checkSeparator(fn, options.separator)
  if (options.time !== undefined) checkString(fn, 'time', options.time)
  if (options.id !== undefined) checkString(fn, 'id', options.id)
  const { columns } = options
  if (columns === undefined) return
  if (!Array.isArray(columns)) throw typeError(fn, 'columns', 'an array of names', columns)
  checkIterable(fn, 'columns', columns, 'an array of names')
  for (let i = 0; i < columns.length; i++) checkString(fn, `columns[${i}]`, columns[i])
  if (columns.length === 0) throw rangeError(fn, 'columns', 'at least one name', 'none')
}

export function seriesOfTable(fn: string, table: Table, options: LoadCSVOptions): Series[] {
  const { rows } = table
  if (rows.length === 0) throw rangeError(fn, table.name, 'at least one row', 'none')
  const timeName = options.time ?? table.columns.find(isTimeName)
  const time = timeName === undefined ? null : columnOf(fn, table, timeName, 'time')
  const id = options.id === undefined ? null : columnOf(fn, table, options.id, 'id')
  const columns = (options.columns ?? numericColumns(fn, table, [time, id])).map((name) =>
    columnOf(fn, table, name, 'columns'),
  )
  const groups = new Map<string, number[]>()
  rows.forEach((row, i) => {
    const key = id === null ? '' : (row[id] as string).trim()
    const own = groups.get(key)
    if (own === undefined) groups.set(key, [i])
    else own.push(i)
  })
  return [...groups].map(([key, own]) => {
    const values = columns.map((at) => {
      const name = table.columns[at] as string
      const numbers = Float64Array.from(own, (row) => numberAt(fn, table, row, at))
      return [name, numbers] as const
    })
    const times = time === null ? null : timesIn(fn, table, own, time)
    return new Series(Object.fromEntries(values), {
      ...(times && { time: times }),
      ...(id !== null && { id: key }),
    })
  })
}

function numberAt(fn: string, table: Table, row: number, at: number): number {
  const text = (table.rows[row] as string[])[at] as string
  const number = numberIn(text, table.separator)
  if (number === null)
    throw rangeError(
      fn,
      placeIn(table, row, table.columns[at] as string),
      'a number, or nothing where it is missing',
      `'${text.slice(0, 40)}'`,
    )
  return number
}

function timesIn(fn: string, table: Table, rows: readonly number[], at: number): Float64Array {
  const place = (row: number): string => placeIn(table, row, table.columns[at] as string)
  const times = Float64Array.from(rows, (row) => {
    const text = (table.rows[row] as string[])[at] as string
    const time = timeOf(text)
    if (Number.isNaN(time))
      throw rangeError(
        fn,
        place(row),
        'a time as ISO 8601 writes it: 2026-01-31 or 2026-01-31T13:00',
        `'${text.slice(0, 40)}'`,
      )
    return time
  })
  checkRising(fn, times, (i) => place(rows[i] as number))
  return times
}

/** The columns most of whose values are numbers: a single typing error does not make one of texts. */
function numericColumns(fn: string, table: Table, others: readonly (number | null)[]): string[] {
  const found = table.columns.filter((_, at) => {
    if (others.includes(at)) return false
    const there = table.rows.map((row) => row[at] as string).filter((text) => !isMissing(text))
    const numbers = there.filter((text) => numberIn(text, table.separator) !== null)
    return numbers.length > there.length / 2
  })
  if (found.length === 0)
    throw rangeError(
      fn,
      table.name,
      'a column of numbers',
      `${table.columns.join(', ')} (separated by '${table.separator}')`,
    )
  return found
}
