/** What happened during training, number by number. */
import { checkIterable, checkString, typeError } from '../errors.js'
import { checkPath } from '../io/path.js'
import { writeWhole } from '../io/whole_file.js'
import { isCount, isNumbers, isObject } from './checks.js'
import { type PlotOptions, plot, type Series } from './plot.js'

/** What was measured at one point of a training. */
export interface HistoryRecord {
  /** After some steps of training ('step'), after a validation, at the end of an epoch, or from a callback. */
  kind: 'step' | 'validation' | 'epoch' | 'callback'
  /** From 0. */
  epoch: number
  /** Optimiser steps taken so far. */
  step: number
  /** trainLoss, valLoss, trainPerplexity, valPerplexity, lr, tokensPerSecond … */
  metrics: Record<string, number>
}

/** Whether it is a record of {@link History}. */
export function isRecord(value: unknown): value is HistoryRecord {
  return (
    isObject(value) &&
    ['step', 'validation', 'epoch', 'callback'].includes(value.kind as string) &&
    isCount(value.epoch) &&
    isCount(value.step) &&
    isNumbers(value.metrics)
  )
}

/** Records of one training, kept by the trainer; to be written as CSV and as SVG. */
export class History {
  readonly records: HistoryRecord[] = []

  /** Adds a record; one about the same epoch as an earlier 'epoch' record takes its place. */
  add(record: HistoryRecord): void {
    if (!isRecord(record)) throw typeError('History.add', 'record', 'a record', record)
    const same =
      record.kind === 'epoch'
        ? this.records.findIndex((r) => r.kind === 'epoch' && r.epoch === record.epoch)
        : -1
    if (same >= 0) this.records.splice(same, 1)
    this.records.push(record)
  }

  /** The values of a metric with the steps at which they were taken. */
  series(metric: string, kind: HistoryRecord['kind']): { step: number; value: number }[] {
    checkString('History.series', 'metric', metric)
    return this.records
      .filter((record) => record.kind === kind && record.metrics[metric] !== undefined)
      .map((record) => ({ step: record.step, value: record.metrics[metric] as number }))
  }

  /** One line per record: kind, epoch, step, then every metric there is. */
  toCSV(): string {
    const names = [...new Set(this.records.flatMap((record) => Object.keys(record.metrics)))]
    const lines = this.records.map(({ kind, epoch, step, metrics }) =>
      [kind, epoch, step, ...names.map((name) => metrics[name] ?? '')].join(','),
    )
    return `${[['kind', 'epoch', 'step', ...names].join(','), ...lines].join('\n')}\n`
  }

  /** Writes {@link toCSV} to a file. @throws Error of the file system, with the path */
  async writeCSV(path: string | URL): Promise<void> {
    await write('History.writeCSV', path, this.toCSV())
  }

  /**
   * A picture of a metric over the steps, for training and validation.
   * @param options.metric 'loss' (default), 'perplexity' or another that the model reports
   */
  toSVG(options: { metric?: string } & PlotOptions = {}): string {
    if (typeof options !== 'object' || options === null)
      throw typeError('History.toSVG', 'options', 'an object', options)
    const { metric = 'loss', ...rest } = options
    if (typeof metric !== 'string')
      throw typeError('History.toSVG', 'metric', 'the name of a metric', metric)
    const name = metric.charAt(0).toUpperCase() + metric.slice(1)
    const pick = (key: string, kinds: HistoryRecord['kind'][]): Series['points'] => {
      // Short trainings have no record between the epochs.
      const found = kinds.map((kind) => this.series(key, kind)).find((points) => points.length > 1)
      return (found ?? this.series(key, kinds.at(-1) as HistoryRecord['kind'])).map(
        ({ step, value }) => [step, value],
      )
    }
    const series: Series[] = [
      { name: 'training', points: pick(`train${name}`, ['step', 'epoch']) },
      { name: 'validation', points: pick(`val${name}`, ['validation']) },
    ]
    return plot(
      series.filter(({ points }) => points.length > 0),
      { title: name, xLabel: 'step', yLabel: metric, ...rest },
    )
  }

  /** Writes {@link toSVG} to a file. @throws Error of the file system, with the path */
  async writeSVG(path: string | URL, options?: { metric?: string } & PlotOptions): Promise<void> {
    await write('History.writeSVG', path, this.toSVG(options))
  }

  /** The records, as JSON.stringify wants them. */
  toJSON(): HistoryRecord[] {
    return this.records
  }

  /** A history of records that {@link toJSON} gave. */
  static fromJSON(records: HistoryRecord[]): History {
    checkIterable('History.fromJSON', 'records', records, 'an array of records')
    const history = new History()
    for (const record of records) history.add(record)
    return history
  }
}

/** @throws (rejects) Error that names the file; the one that was there is then as it was */
async function write(fn: string, path: string | URL, text: string): Promise<void> {
  const file = checkPath(fn, 'path', path, 'the path of a file')
  try {
    await writeWhole(file, text)
  } catch (error) {
    throw new Error(`[${fn}] cannot write '${file}': ${(error as Error).message}`, { cause: error })
  }
}
