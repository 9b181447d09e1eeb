/** Tables of texts in CSV files, with the line that each row is from. */
import { parse } from 'csv-parse/sync'
import { describe, rangeError, typeError } from '../errors.js'
import { readText } from '../io/open_file.js'
import { reason } from '../io/whole_file.js'

/** What a CSV file has. */
export interface Table {
  /** What is named in errors: the file. */
  name: string
  columns: string[]
  rows: string[][]
  /** The line of the file on which each row ends, from 1. */
  lines: number[]
  separator: string
}

const SEPARATORS = [',', ';', '\t', '|']
const MOST_BYTES = 2 ** 29

/** The separator that a table's first line has most of, outside of quotes. */
export function detectSeparator(text: string): string {
  const counts = new Map(SEPARATORS.map((separator) => [separator, 0]))
  let quoted = false
  for (const character of text) {
    if (character === '"') quoted = !quoted
    else if (!quoted && (character === '\n' || character === '\r')) break
    else if (!quoted && counts.has(character))
      counts.set(character, (counts.get(character) as number) + 1)
  }
  return SEPARATORS.reduce((a, b) => ((counts.get(b) ?? 0) > (counts.get(a) ?? 0) ? b : a))
}

/** @throws TypeError, RangeError unless it is one character that can separate, or undefined */
export function checkSeparator(fn: string, separator: unknown): string | undefined {
  if (separator === undefined) return undefined
  if (typeof separator !== 'string') throw typeError(fn, 'separator', 'one character', separator)
  if (separator.length !== 1 || '"\n\r'.includes(separator))
    throw rangeError(fn, 'separator', "one character, such as ',' or ';'", describe(separator))
  return separator
}

/** @throws (rejects) Error that names the file; RangeError for a table that is damaged, with the line */
export async function readTable(
  fn: string,
  path: string,
  separator?: string,
  signal?: AbortSignal,
): Promise<Table> {
  let text: string
  try {
    text = await readText(path, { limit: MOST_BYTES, signal })
  } catch (error) {
    signal?.throwIfAborted()
    throw new Error(`[${fn}] cannot read '${path}': ${reason(error)}`, { cause: error })
  }
  return parseTable(fn, path, text, separator)
}

interface ParseInfo {
  info: { lines: number }
  record: string[]
}

/** @throws RangeError for a table that is damaged, with the line */
export function parseTable(fn: string, name: string, text: string, separator?: string): Table {
  const delimiter = separator ?? detectSeparator(text.startsWith('\uFEFF') ? text.slice(1) : text)
  let parsed: ParseInfo[]
  try {
    parsed = parse(text, {
      bom: true,
      delimiter,
      info: true,
      skip_empty_lines: true,
      relax_column_count: true,
    }) as unknown as ParseInfo[]
  } catch (error) {
    const { message } = error as Error
    throw new RangeError(
      `[${fn}] ${name}: expected a table of comma-separated values: ${message}`,
      {
        cause: error,
      },
    )
  }
  const [head, ...body] = parsed
  if (head === undefined) throw rangeError(fn, name, 'a line with the names of columns', 'none')
  const columns = head.record.map((column) => column.trim())
  columns.forEach((column, i) => {
    const first = columns.indexOf(column)
    if (column === '') throw rangeError(fn, `${name}, column ${i + 1}`, 'a name', 'none')
    if (first < i)
      throw rangeError(fn, `${name}, column ${i + 1}`, 'distinct names', `'${column}' again`)
  })
  body.forEach(({ record, info }, i) => {
    if (record.length !== columns.length)
      throw rangeError(
        fn,
        `${name}, row ${i + 1} (line ${info.lines})`,
        `${columns.length} values, as there are columns`,
        String(record.length),
      )
  })
  return {
    name,
    columns,
    rows: body.map(({ record }) => record),
    lines: body.map(({ info }) => info.lines),
    separator: delimiter,
  }
}

/** Where a value stands, for errors. */
export function placeIn(table: Table, row: number, column: string): string {
  return `${table.name}, row ${row + 1} (line ${table.lines[row]}), column '${column}'`
}

/** The number of a column. @throws RangeError that lists those there are */
export function columnOf(fn: string, table: Table, name: string, option: string): number {
  const at = table.columns.indexOf(name)
  if (at < 0)
    throw rangeError(
      fn,
      option,
      `a column of ${table.name} (${table.columns.join(', ')})`,
      describe(name),
    )
  return at
}

const MISSING = /^(?:|na|n\/a|nan|null|none|-)$/i

/** Whether a text stands for a value that is not there. */
export const isMissing = (text: string): boolean => MISSING.test(text.trim())

/** The number that a text says; NaN for a missing one, null for what is no number. */
export function numberIn(text: string, separator: string): number | null {
  const trimmed = text.trim()
  if (isMissing(trimmed)) return Number.NaN
  // Where commas do not separate, they may be decimal ones.
  const plain =
    separator !== ',' && /^[+-]?\d+,\d+$/.test(trimmed) ? trimmed.replace(',', '.') : trimmed
  const value = Number(plain)
  return Number.isFinite(value) ? value : null
}
