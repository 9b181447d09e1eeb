/** Metrics as lines of JSON. */
import { join } from 'node:path'
import { appendTo } from '../../io/whole_file.js'
import {
  before,
  endLine,
  FileLogger,
  type LoggerOptions,
  linesOf,
  replaceLines,
} from './file_logger.js'

const FILE = 'metrics.jsonl'

/**
 * Writes `metrics.jsonl`, an object per record and line: `{"step":50,"epoch":0,"trainLoss":2.31,…}`.
 * NaN and infinity, which JSON does not have, are null.
 */
export class JSONLLogger extends FileLogger {
  /** Whether the file may end within a line. */
  #unknown = true

  /** @param saveDir the folder for all runs @throws TypeError, RangeError */
  constructor(saveDir: string | URL, options: LoggerOptions = {}) {
    super('JSONLLogger', saveDir, options)
  }

  protected override async write(
    folder: string,
    metrics: Readonly<Record<string, number>>,
    step: number,
  ): Promise<void> {
    const path = join(folder, FILE)
    if (this.#unknown) await endLine(path)
    this.#unknown = false
    await appendTo(path, `${JSON.stringify({ step, ...metrics })}\n`)
  }

  protected override async cut(folder: string, step: number, records: number): Promise<void> {
    const path = join(folder, FILE)
    const lines = await linesOf(path)
    const kept = before(lines, stepOf, step, records)
    if (kept.length < lines.length) await replaceLines(path, kept)
  }
}

/** NaN for a line that is no record. */
function stepOf(line: string): number {
  try {
    const { step } = JSON.parse(line)
    return typeof step === 'number' ? step : NaN
  } catch {
    return NaN
  }
}
