/** Metrics as curves in TensorBoard. */
import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { readBytes } from '../../io/open_file.js'
import { Message } from '../../io/protobuf.js'
import { appendTo, writeWhole } from '../../io/whole_file.js'
import { before, FileLogger, type LoggerOptions } from './file_logger.js'
import { tfRecord, tfRecords } from './tfrecord.js'

/** Field numbers of tensorflow/core/util/event.proto and framework/summary.proto. */
const EVENT = { wallTime: 1, step: 2, fileVersion: 3, summary: 5, sessionLog: 7 } as const
const SESSION = { status: 1, start: 1 } as const
const SUMMARY_VALUE = 1
/** A file that is longer is not one of ours. */
const LIMIT = { limit: 2 ** 30 }
const VALUE = { tag: 1, simpleValue: 2 } as const

/** The names that we give event files; those of other programs in the folder are left alone. */
const OWN = /^events\.out\.tfevents\.\d+\..+\.\d+\.[0-9a-f]{8}$/

/**
 * Writes an event file, a scalar per metric and record; as Lightning's `TensorBoardLogger`.
 * `tensorboard --logdir SAVE_DIR` shows all runs, while they go on.
 */
export class TensorBoardLogger extends FileLogger {
  /** The event file; null before the first record. Every logger begins one of its own. */
  #path: string | null = null
  /** The step from which on earlier events are to be forgotten, until that has been written. */
  #purgeStep: number | null = null

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
      // TensorBoard reads files in the order of their names.
      const times = (await ownFiles(folder)).map((name) => Number(name.split('.')[3]))
      const number = Math.max(Math.floor(time), ...times.map((earlier) => earlier + 1))
      const parts = [number, hostname(), process.pid, randomBytes(4).toString('hex')]
      this.#path = join(folder, `events.out.tfevents.${parts.join('.')}`)
      const first = new Message().double(EVENT.wallTime, time)
      records.push(tfRecord(first.string(EVENT.fileVersion, 'brain.Event:2').toBytes()))
    }
    if (this.#purgeStep !== null) {
      // A TensorBoard that is running has read the events that are gone from the files.
      const start = new Message().int(SESSION.status, SESSION.start)
      const event = new Message().double(EVENT.wallTime, time).int(EVENT.step, this.#purgeStep)
      records.push(tfRecord(event.message(EVENT.sessionLog, start).toBytes()))
      this.#purgeStep = null
    }
    const summary = new Message()
    for (const [name, number] of Object.entries(metrics)) {
      const value = new Message().string(VALUE.tag, name).float(VALUE.simpleValue, number)
      summary.message(SUMMARY_VALUE, value)
    }
    const event = new Message().double(EVENT.wallTime, time).int(EVENT.step, step)
    records.push(tfRecord(event.message(EVENT.summary, summary).toBytes()))
    await appendTo(this.#path, Buffer.concat(records))
  }

  protected override async cut(folder: string, step: number, records: number): Promise<void> {
    let left = records
    for (const name of await ownFiles(folder)) {
      const path = join(folder, name)
      const all = tfRecords(await readBytes(path, LIMIT))
      const kept = before(all, stepOf, step, left)
      left -= kept.filter((record) => stepOf(record) === step).length
      if (kept.length === all.length) continue
      await writeWhole(path, kept.map(tfRecord))
      this.#purgeStep = step + 1
    }
  }
}

/** The step of an event of ours with metrics, -1 for a version, NaN for what purged earlier files. */
function stepOf(event: Uint8Array): number {
  // wall_time, a fixed64, comes first; then step, a varint.
  if (event[0] !== EVENT.wallTime * 8 + 1 || event[9] !== EVENT.step * 8) return -1
  let step = 0
  for (let i = 10, factor = 1; i < event.length; i++, factor *= 128) {
    const byte = event[i] as number
    step += (byte & 127) * factor
    if (byte < 128) return event[i + 1] === EVENT.summary * 8 + 2 ? step : NaN
  }
  return -1
}

/** The event files of our own in a folder, in the order in which they were begun. */
async function ownFiles(folder: string): Promise<string[]> {
  return (await readdir(folder)).filter((name) => OWN.test(name)).sort()
}
