/** Metrics as a table. */
import { appendFile, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { rangeError } from '../../errors.js'
import { exists } from '../../io/folders.js'
import { FileLogger, type LoggerOptions } from './file_logger.js'

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
    const path = join(folder, 'metrics.csv')
    const record: Readonly<Record<string, number>> = { step, ...metrics }
    this.#columns ??= await columnsOf(path)
    const columns = this.#columns
    const more = Object.keys(record).filter((name) => !columns.includes(name))
    if (more.length > 0) {
      await addColumns(path, more)
      columns.push(...more)
    }
    await appendFile(path, `${columns.map((name) => record[name] ?? '').join(',')}\n`)
  }
}

/** The names in the first line; none where there is no file. */
async function columnsOf(path: string): Promise<string[]> {
  if (!(await exists(path))) return []
  const [header = ''] = (await readFile(path, 'utf8')).split('\n', 1)
  return header === '' ? [] : header.split(',')
}

/** Puts columns at the end of the table, or begins one. */
async function addColumns(path: string, names: readonly string[]): Promise<void> {
  const before = (await exists(path)) ? await readFile(path, 'utf8') : ''
  const [header, ...rows] = before.split('\n').slice(0, -1)
  const lines = [
    header === undefined ? names.join(',') : `${header},${names.join(',')}`,
    ...rows.map((row) => row + ','.repeat(names.length)),
  ]
  // Who reads, or comes after a crash, finds the old table or the new one.
  await writeFile(`${path}.tmp`, `${lines.join('\n')}\n`)
  await rename(`${path}.tmp`, path)
}
