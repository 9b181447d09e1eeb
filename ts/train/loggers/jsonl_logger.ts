/** Metrics as lines of JSON. */
import { appendFile } from 'node:fs/promises'
import { join } from 'node:path'
import { FileLogger, type LoggerOptions } from './file_logger.js'

/**
 * Writes `metrics.jsonl`, an object per record and line: `{"step":50,"epoch":0,"trainLoss":2.31,…}`.
 * NaN and infinity, which JSON does not have, are null.
 */
export class JSONLLogger extends FileLogger {
  /** @param saveDir the folder for all runs @throws TypeError, RangeError */
  constructor(saveDir: string | URL, options: LoggerOptions = {}) {
    super('JSONLLogger', saveDir, options)
  }

  protected override async write(
    folder: string,
    metrics: Readonly<Record<string, number>>,
    step: number,
  ): Promise<void> {
    const line = `${JSON.stringify({ step, ...metrics })}\n`
    await appendFile(join(folder, 'metrics.jsonl'), line)
  }
}
