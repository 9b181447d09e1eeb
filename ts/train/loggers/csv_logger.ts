/** Metrics as a table. */
import { join } from 'node:path'
import { rangeError } from '../../errors.js'
import { appendTo } from '../../io/whole_file.js'
import {
  before,
  endLine,
  FileLogger,
  type LoggerOptions,
  linesOf,
  replaceLines,
} from './file_logger.js'

const FILE = 'metrics.csv'

/**
 * Writes `metrics.csv`, a row per record, with a column per metric; as Lightning's `CSVLogger`. A
 * metric that comes up later adds a column at the end.
 */
export class CSVLogger extends FileLogger {
  /** Those that the file has; null before it has been looked at. */
  #columns: string[] | null = null

  /** @param saveDir the folder for all runs @throws TypeError, RangeError */
  constructor(saveDir: string | URL, options: LoggerOptions = {}) {
    super('CSVLogger', saveDir, options)
  }

  override logMetrics(metrics: Readonly<Record<string, number>>, step: number): void {
    for (const name of Object.keys(metrics)) {
      if (/[,"\r\n]/.test(name)) {
        const expected = 'names without commas, quotes and line breaks'
        throw rangeError('CSVLogger', 'metrics', expected, JSON.stringify(name))
      }
    }
    super.logMetrics(metrics, step)
  }

  protected override async write(
    folder: string,
    metrics: Readonly<Record<string, number>>,
    step: number,
  ): Promise<void> {
    const path = join(folder, FILE)
    const record: Readonly<Record<string, number>> = { step, ...metrics }
    if (this.#columns === null) {
      await endLine(path)
      const [header = ''] = await linesOf(path)
      this.#columns = header === '' ? [] : header.split(',')
    }
    const columns = this.#columns
    const more = Object.keys(record).filter((name) => !columns.includes(name))
    if (more.length > 0) {
      await addColumns(path, more)
      columns.push(...more)
    }
    await appendTo(path, `${columns.map((name) => record[name] ?? '').join(',')}\n`)
  }

  protected override async cut(folder: string, step: number, records: number): Promise<void> {
    const path = join(folder, FILE)
    const [header = '', ...rows] = await linesOf(path)
    const column = header.split(',').indexOf('step')
    const stepOf = (row: string): number => Number(row.split(',')[column] || NaN)
    const kept = before(rows, stepOf, step, records)
    if (kept.length < rows.length) await replaceLines(path, [header, ...kept])
  }
}

/** Puts columns at the end of the table, or begins one. */
async function addColumns(path: string, names: readonly string[]): Promise<void> {
  const [header, ...rows] = await linesOf(path)
  const lines = [
    header === undefined ? names.join(',') : `${header},${names.join(',')}`,
    ...rows.map((row) => row + ','.repeat(names.length)),
  ]
  await replaceLines(path, lines)
}
