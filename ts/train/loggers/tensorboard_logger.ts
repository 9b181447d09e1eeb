/** Metrics as curves in TensorBoard. */
import { randomBytes } from 'node:crypto'
import { appendFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { Message } from '../../io/protobuf.js'
import { FileLogger, type LoggerOptions } from './file_logger.js'
import { tfRecord } from './tfrecord.js'

/** Field numbers of tensorflow/core/util/event.proto and framework/summary.proto. */
const EVENT = { wallTime: 1, step: 2, fileVersion: 3, summary: 5 } as const
const SUMMARY_VALUE = 1
const VALUE = { tag: 1, simpleValue: 2 } as const

/**
 * Writes an event file, a scalar per metric and record; as Lightning's `TensorBoardLogger`.
 * `tensorboard --logdir SAVE_DIR` shows all runs, while they go on.
 */
export class TensorBoardLogger extends FileLogger {
  /** The event file; null before the first record. Every logger begins one of its own. */
  #path: string | null = null

  /** @param saveDir the folder for all runs @throws TypeError, RangeError */
  constructor(saveDir: string | URL, options: LoggerOptions = {}) {
    super('TensorBoardLogger', saveDir, options)
  }

  protected override async write(
    folder: string,
    metrics: Readonly<Record<string, number>>,
    step: number,
  ): Promise<void> {
    const time = Date.now() / 1000
    const records: Uint8Array[] = []
    if (this.#path === null) {
      const parts = [Math.floor(time), hostname(), process.pid, randomBytes(4).toString('hex')]
      this.#path = join(folder, `events.out.tfevents.${parts.join('.')}`)
      const first = new Message().double(EVENT.wallTime, time)
      records.push(tfRecord(first.string(EVENT.fileVersion, 'brain.Event:2').toBytes()))
    }
    const summary = new Message()
    for (const [name, number] of Object.entries(metrics)) {
      const value = new Message().string(VALUE.tag, name).float(VALUE.simpleValue, number)
      summary.message(SUMMARY_VALUE, value)
    }
    const event = new Message().double(EVENT.wallTime, time).int(EVENT.step, step)
    records.push(tfRecord(event.message(EVENT.summary, summary).toBytes()))
    await appendFile(this.#path, Buffer.concat(records))
  }
}
