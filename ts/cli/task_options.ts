/** The options of the commands over tables, and the tables. */
import { text } from 'node:stream/consumers'
import { parseTable, readTable, type Table } from '../data/csv.js'
import { seriesOfTable } from '../data/load_csv.js'
import { type data, models } from '../index.js'
import { exists } from '../io/folders.js'
import { writeWhole } from '../io/whole_file.js'
import { kindOfModel } from '../models/model_folder.js'
import { UserError } from './errors.js'

/** What says how a table is read. */
export interface TableOptions {
  time?: string
  id?: string
  target?: string[]
  hist?: string[]
  futr?: string[]
  text?: string
  label?: string
  columns?: string[]
  separator?: string
}

/** What the commands that use a model understand. */
export interface UseOptions extends TableOptions {
  threads?: number
  device: string
  json?: boolean
  out?: string
  level?: number[]
  horizon?: number
  recursive?: boolean
  windows?: number
  plot?: string
  threshold?: number
  seed?: number
}

/** The table in a file, or that of standard input for `-`. */
export async function tableOf(file: string, { separator }: TableOptions): Promise<Table> {
  const given = separator === '\\t' || separator === 'tab' ? '\t' : separator
  if (given !== undefined && given.length !== 1)
    throw new UserError(`--separator: expected one character, got '${given}'`)
  if (file !== '-') return readTable('table', file, given)
  return parseTable('table', 'standard input', await text(process.stdin), given)
}

/** The series of a table. */
export function seriesIn(table: Table, options: TableOptions): data.Series[] {
  const named = [...(options.target ?? []), ...(options.hist ?? []), ...(options.futr ?? [])]
  const columns = options.columns ?? (options.target === undefined ? undefined : named)
  return seriesOfTable('table', table, {
    ...(options.time !== undefined && { time: options.time }),
    ...(options.id !== undefined && { id: options.id }),
    ...(columns !== undefined && { columns }),
  })
}

const TEXT_NAMES = /^(text|body|message|content|mail|review|sentence|input)$/i

/** The texts of a table, and their labels where there are any. */
export function textsIn(
  table: Table,
  options: TableOptions,
  labelled: boolean,
): { input: string; label: string }[] {
  const textName =
    options.text ??
    table.columns.find((name) => TEXT_NAMES.test(name)) ??
    (table.columns.length === 1 ? table.columns[0] : undefined)
  const textAt = columnAt(table, textName, '--text')
  const labelAt = labelled ? columnAt(table, options.label ?? 'label', '--label') : -1
  if (table.rows.length === 0) throw new UserError(`${table.name} has no rows`)
  return table.rows.map((row, i) => {
    const where = `${table.name}, row ${i + 1} (line ${table.lines[i]})`
    const input = row[textAt] as string
    if (input.trim() === '')
      throw new UserError(`${where}, column '${textName}': expected a text, got an empty one`)
    const label = labelAt < 0 ? '' : (row[labelAt] as string).trim()
    if (labelled && label === '')
      throw new UserError(
        `${where}, column '${options.label ?? 'label'}': expected a label, got none`,
      )
    return { input, label }
  })
}

function columnAt(table: Table, name: string | undefined, option: string): number {
  const at = name === undefined ? -1 : table.columns.indexOf(name)
  if (at >= 0) return at
  const got = name === undefined ? 'none' : `'${name}'`
  throw new UserError(
    `${option}: expected a column of ${table.name} (${table.columns.join(', ')}), got ${got}`,
  )
}

export type TaskOf = models.Forecaster | models.SequenceClassifier | models.AnomalyDetector

const LOADERS: Record<string, (folder: string) => Promise<TaskOf>> = {
  Forecaster: (folder) => models.Forecaster.load(folder),
  SequenceClassifier: (folder) => models.SequenceClassifier.load(folder),
  AnomalyDetector: (folder) => models.AnomalyDetector.load(folder),
}

/** The model of a task in a folder; null for another kind of model, or none. */
export async function loadTaskModel(folder: string): Promise<TaskOf | null> {
  const kind = await kindOfModel(folder)
  const load = kind === null ? undefined : LOADERS[kind]
  return load === undefined ? null : load(folder)
}

/** The same, of one of these kinds. @throws UserError */
export async function loadOnly<T extends TaskOf>(
  folder: string,
  kinds: readonly (abstract new (...args: never[]) => T)[],
  command: string,
): Promise<T> {
  if (!(await exists(folder))) throw new UserError(`there is no folder '${folder}'`)
  const model = await loadTaskModel(folder)
  if (model !== null && kinds.some((kind) => model instanceof kind)) return model as T
  const got = (await kindOfModel(folder)) ?? 'no model'
  const wanted = kinds.map(({ name }) => name).join(' or ')
  throw new UserError(`${command}: expected the folder of ${wanted}, got ${got} in '${folder}'`)
}

/** Writes to a file, or to standard output. */
export async function put(out: string | undefined, content: string): Promise<void> {
  if (out === undefined || out === '-') process.stdout.write(content)
  else await writeWhole(out, content)
}

export const csvField = (value: string): string =>
  /[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value

export const fixed = (x: number): string =>
  Number.isNaN(x) ? '-' : Number(x.toPrecision(4)).toString()
