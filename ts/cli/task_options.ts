/** The options of the commands over tables, and the tables. */
import { text } from 'node:stream/consumers'
import { parseTable, placeIn, readTable, type Table } from '../data/csv.js'
import { seriesOfTable } from '../data/load_csv.js'
import { type data, models } from '../index.js'
import { exists } from '../io/folders.js'
import { reason, writeWhole } from '../io/whole_file.js'
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

/**
 * The series of a table.
 * @param learnt the columns of a model that is used; without: those that the options name
 */
export function seriesIn(
  table: Table,
  options: TableOptions,
  learnt?: readonly string[],
): data.Series[] {
  const { time, id, target, hist, futr } = options
  for (const flag of ['time', 'id'] as const)
    if (options[flag] !== undefined) columnAt(table, options[flag], `--${flag}`)
  for (const flag of ['target', 'hist', 'futr', 'columns'] as const)
    if (learnt === undefined)
      for (const name of options[flag] ?? []) columnAt(table, name, `--${flag}`)
  for (const name of learnt ?? [])
    if (!table.columns.includes(name))
      throw new UserError(
        `${table.name}: expected the column '${name}', which the model has learnt, got ${table.columns.join(', ')}`,
      )
  const named = target === undefined ? undefined : [...target, ...(hist ?? []), ...(futr ?? [])]
  const columns = learnt ?? options.columns ?? named
  return seriesOfTable('table', table, {
    ...(time !== undefined && { time }),
    ...(id !== undefined && { id }),
    ...(columns !== undefined && { columns }),
  })
}

const TEXT_NAMES = /^(text|body|message|content|mail|review|sentence|input)$/i
/** What programs write where a label is not known. */
const NO_LABEL = /^(|nan|na|n\/a|null)$/i

/** The texts of a table. */
export interface Texts {
  /** With their labels, where there are any. */
  examples: { input: string; label: string }[]
  /** What a promise gives; errors about an example say in which row and column it is. */
  placed<T>(promise: Promise<T>): Promise<T>
}

export function textsIn(table: Table, options: TableOptions, labelled: boolean): Texts {
  const textName =
    options.text ??
    table.columns.find((name) => TEXT_NAMES.test(name)) ??
    (table.columns.length === 1 ? table.columns[0] : undefined)
  const textAt = columnAt(table, textName, '--text')
  const labelName = options.label ?? 'label'
  const labelAt = labelled ? columnAt(table, labelName, '--label') : -1
  if (table.rows.length === 0) throw new UserError(`${table.name} has no rows`)
  const place = (i: number, part = 'input'): string =>
    placeIn(table, i, part === 'label' ? labelName : (table.columns[textAt] as string))
  const examples = table.rows.map((row, i) => {
    const input = row[textAt] as string
    if (input.trim() === '') throw new UserError(`${place(i)}: expected a text, got an empty one`)
    const label = labelAt < 0 ? '' : (row[labelAt] as string).trim()
    if (labelled && NO_LABEL.test(label))
      throw new UserError(
        `${place(i, 'label')}: expected a label, got ${label === '' ? 'none' : `'${label}', which says that there is none`}`,
      )
    return { input, label }
  })
  const placed = async <T>(promise: Promise<T>): Promise<T> => {
    try {
      return await promise
    } catch (error) {
      const [, i, part, rest] =
        /^\[[\w.]+\] (?:examples|inputs)\[(\d+)\](?:\.(input|label))?(:.*)$/s.exec(
          (error as Error).message,
        ) ?? []
      if (i === undefined) throw error
      throw new UserError(`${place(Number(i), part)}${rest}`)
    }
  }
  return { examples, placed }
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
  const got = await kindOfModel(folder)
  const use = got === null ? undefined : COMMANDS[got]
  if (use !== undefined)
    throw new UserError(`${command}: '${folder}' holds a model for \`fused-rnn ${use}\` (${got})`)
  const wanted = kinds.map(({ name }) => name).join(' or ')
  throw new UserError(
    `${command}: expected the folder of ${wanted}, got ${got ?? 'no model'} in '${folder}'`,
  )
}

/** What each kind of model is for. */
const COMMANDS: Record<string, string> = {
  Forecaster: 'predict',
  SequenceClassifier: 'classify',
  AnomalyDetector: 'detect',
  LanguageModel: 'generate',
}

/** Writes to a file, or to standard output. */
export async function put(out: string | undefined, content: string): Promise<void> {
  if (out === undefined || out === '-') {
    process.stdout.write(content)
    return
  }
  try {
    await writeWhole(out, content)
  } catch (error) {
    throw new UserError(`cannot write '${out}': ${reason(error)}`)
  }
}

export const csvField = (value: string): string =>
  /[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value

export const fixed = (x: number): string =>
  Number.isNaN(x) ? '-' : Number(x.toPrecision(4)).toString()
