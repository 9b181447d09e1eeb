/** What each operation costs; as `torch.autograd.profiler`. */
import { binding, type QueueTrace } from '../binding.js'
import { devicesInUse, synchronize } from '../device.js'
import { checkInteger, checkOneOf, checkOptions, checkString, typeError } from '../errors.js'
import { checkPath } from '../io/path.js'
import { reason, writeWhole } from '../io/whole_file.js'
import { type Range, setTracer, Tracer, tracerNow } from './tracer.js'

/** The sums of all events of one name. */
export interface EventAverage {
  /** Of the operation, a call of the addon, or a range of the user's. */
  key: string
  /** 'queue': the operation itself; else on JavaScript's thread. */
  where: 'queue' | 'call' | 'backward' | 'range'
  count: number
  /** Milliseconds. */
  total: number
  mean: number
}

/** What {@link EventAverages.table} takes. */
export interface TableOptions {
  /** Default 'total', the most first. */
  sortBy?: 'total' | 'mean' | 'count' | 'key'
  /** At most so many lines. Default 100. */
  rowLimit?: number
}

/** Events by name; an array that can be printed. */
export class EventAverages extends Array<EventAverage> {
  /** What map and filter make is a plain array. */
  static override get [Symbol.species](): ArrayConstructor {
    return Array
  }

  /** As `key_averages().table()`: a text of lines, in milliseconds. */
  table(options: TableOptions = {}): string {
    checkOptions('table', options, ['sortBy', 'rowLimit'])
    const keys = ['total', 'mean', 'count', 'key'] as const
    const by = checkOneOf('table', 'sortBy', options.sortBy ?? 'total', keys)
    const limit = checkInteger('table', 'rowLimit', options.rowLimit ?? 100, 1)
    const rows = [...this].sort((a, b) =>
      by === 'key' ? a.key.localeCompare(b.key) : b[by] - a[by],
    )
    const cells = rows
      .slice(0, limit)
      .map(({ key, where, count, total, mean }) => [
        key,
        where,
        String(count),
        total.toFixed(3),
        mean.toFixed(4),
      ])
    const lines = [['name', 'where', 'calls', 'total ms', 'mean ms'], ...cells]
    const widths = (lines[0] as string[]).map((_, i) =>
      Math.max(...lines.map((line) => (line[i] as string).length)),
    )
    return lines
      .map((line) =>
        line
          .map((cell, i) =>
            i < 2 ? cell.padEnd(widths[i] as number) : cell.padStart(widths[i] as number),
          )
          .join('  ')
          .trimEnd(),
      )
      .join('\n')
  }
}

/** Calls of the addon that only wait or tell, and are not worth a line. */
const PASSED_OVER =
  /^(view|release|info|cells|memory|cuda|startTrace|takeTrace|takeError|setYoungCollector)$/

/** Has every call of the addon timed; returns what undoes that. */
function timeCalls(tracer: Tracer): () => void {
  const calls = binding as unknown as Record<string, unknown>
  const before = new Map<string, unknown>()
  for (const name in calls) {
    const f = calls[name]
    if (typeof f !== 'function' || PASSED_OVER.test(name)) continue
    before.set(name, f)
    calls[name] = (...args: unknown[]) => tracer.time('call', name, () => f.apply(binding, args))
  }
  return () => {
    for (const [name, f] of before) calls[name] = f
  }
}

interface Track {
  device: number
  /** What to add to the queue's clock for that of `performance.now()`. */
  shift: number
}

/**
 * Notes what every operation costs from here to {@link stop}; as `torch.autograd.profiler.profile`, which
 * is a context there. One at a time in a thread. Without one nothing is noted and nothing costs more.
 *
 * On the CPU the times on the queue are those of the operations; on a GPU they are those in which the
 * queue's thread hands them over.
 * @throws TypeError while another one runs
 */
export class profile {
  readonly #tracer = new Tracer()
  readonly #tracks: Track[] = []
  readonly #queues: { device: number; trace: QueueTrace; shift: number }[] = []
  readonly #undo: () => void
  #stopped: Promise<void> | null = null
  #done = false

  constructor() {
    if (tracerNow() !== null)
      throw new TypeError(
        '[profile] expected one profile at a time, got a second one: stop() the first',
      )
    for (const device of devicesInUse()) {
      const clock = binding.startTrace(device)
      this.#tracks.push({ device, shift: performance.now() - clock })
    }
    this.#undo = timeCalls(this.#tracer)
    setTracer(this.#tracer)
  }

  /**
   * Waits for what is queued, and ends it. Later calls do nothing.
   * @throws (rejects) with the first failure among the operations queued so far
   */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  async #stop(): Promise<void> {
    this.#undo()
    setTracer(null)
    try {
      await synchronize()
    } finally {
      for (const { device, shift } of this.#tracks)
        this.#queues.push({ device, shift, trace: binding.takeTrace(device) })
      this.#done = true
    }
  }

  /** The sums of the events of each name. @throws TypeError before it has stopped */
  keyAverages(): EventAverages {
    if (!this.#done)
      throw new TypeError('[keyAverages] expected a profile that has ended: await its stop() first')
    const sums = new Map<string, EventAverage>()
    const add = (key: string, where: EventAverage['where'], took: number): void => {
      const id = `${where} ${key}`
      const sum = sums.get(id) ?? { key, where, count: 0, total: 0, mean: 0 }
      sum.count++
      sum.total += took
      sum.mean = sum.total / sum.count
      sums.set(id, sum)
    }
    for (const { trace } of this.#queues)
      trace.ops.forEach((op, i) => {
        add(op, 'queue', (trace.times[2 * i + 1] as number) - (trace.times[2 * i] as number))
      })
    for (const { name, kind, begin, end } of this.#tracer.ranges) add(name, kind, end - begin)
    return EventAverages.from(sums.values()) as EventAverages
  }

  /**
   * Ends it and writes the events for chrome://tracing or ui.perfetto.dev: JavaScript's thread and that
   * of each device's queue, one above the other. As `export_chrome_trace`.
   * @throws TypeError; rejects when the file cannot be written
   */
  async exportChromeTrace(path: string | URL): Promise<void> {
    const file = checkPath('exportChromeTrace', 'path', path, 'the path of a file')
    await this.stop()
    const text = JSON.stringify({ traceEvents: this.#events(), displayTimeUnit: 'ms' })
    try {
      await writeWhole(file, text)
    } catch (cause) {
      const got = `'${file}': ${reason(cause)}`
      throw new Error(`[exportChromeTrace] path: expected a file that can be written, got ${got}`, {
        cause,
      })
    }
  }

  #events(): object[] {
    const named = (tid: number, name: string): object => {
      return { ph: 'M', pid: 1, tid, name: 'thread_name', args: { name } }
    }
    const event = (tid: number, name: string, cat: string, begin: number, end: number): object => {
      return { ph: 'X', pid: 1, tid, name, cat, ts: 1000 * begin, dur: 1000 * (end - begin) }
    }
    const all: object[] = [named(1, 'JavaScript')]
    const add = ({ name, kind, begin, end }: Range): void => {
      all.push(event(1, name, kind, begin, end))
    }
    this.#tracer.ranges.forEach(add)
    let dropped = this.#tracer.dropped
    for (const { device, shift, trace } of this.#queues) {
      const tid = 3 + device
      all.push(named(tid, device < 0 ? 'queue of the CPU' : `queue of cuda:${device}`))
      dropped += trace.dropped
      trace.ops.forEach((op, i) => {
        const [begin, end] = [trace.times[2 * i] as number, trace.times[2 * i + 1] as number]
        // What is small ran at the call, inside of it.
        all.push(event(trace.here[i] ? 1 : tid, op, 'queue', begin + shift, end + shift))
      })
    }
    if (dropped > 0)
      all.push({
        ph: 'I',
        pid: 1,
        tid: 1,
        name: `${dropped} events more than are kept`,
        ts: 0,
        s: 'g',
      })
    return all
  }
}

/**
 * f(), as a range of that name in a profile that runs; as `torch.autograd.profiler.record_function`.
 * @returns what `f` returns; of a promise only the beginning is timed
 */
export function recordFunction<T>(name: string, f: () => T): T {
  checkString('recordFunction', 'name', name)
  if (typeof f !== 'function') throw typeError('recordFunction', 'f', 'a function', f)
  const tracer = tracerNow()
  return tracer === null ? f() : tracer.time('range', name, f)
}
