/** The numbers of one fit: averages, history, and what callbacks and loggers are given. */
import { History, type HistoryRecord } from './history.js'
import { addTo, emptyTotals, meansOf, type Totals } from './meter.js'
import { ofEpoch, prefixed } from './monitor.js'
import type { Logger } from './types.js'

type Metrics = Record<string, number>

/** What {@link FitMetrics} is told about its fit. */
export interface FitMetricsOptions {
  logEveryNSteps: number
  loggers: readonly Logger[]
  /** The model's further metrics, from the averages. */
  derive: (means: Readonly<Metrics>) => Metrics | undefined
}

/** What a fit shows while it runs and afterwards, through the Trainer; a callback may change it. */
export class FitStatus {
  /** The epoch that is running, from 0. */
  currentEpoch = 0
  /** Whether training is to end after the running step. */
  shouldStop = false
  /** The latest trainLoss, valLoss, … */
  callbackMetrics: Metrics = {}
  history = new History()
}

/** Averages the numbers of the steps and makes the records of them. */
export class FitMetrics {
  /** Sums over this epoch, and over the steps since the last record. */
  epochTotals: Totals = emptyTotals()
  windowTotals: Totals = emptyTotals()
  readonly #status: FitStatus
  readonly #options: FitMetricsOptions
  /** The names that a pass has last given a number, by their prefix. */
  readonly #published: Record<string, readonly string[]> = {}
  /** The batches whose losses are still on their way, in order. */
  readonly #begun: { lr: number; closes: boolean }[] = []

  constructor(status: FitStatus, options: FitMetricsOptions) {
    this.#status = status
    this.#options = options
  }

  /** The averages of this epoch so far. */
  get means(): Metrics {
    return this.#derived(this.epochTotals)
  }

  beginEpoch(): void {
    this.epochTotals = emptyTotals()
  }

  /** A batch is queued; its numbers arrive later. @param closes whether it is the last of its step */
  began(lr: number, closes: boolean): void {
    this.#begun.push({ lr, closes })
  }

  /** A batch's numbers have arrived. They are read before their epoch ends. */
  add(
    epoch: number,
    step: number,
    values: Metrics,
    count: number,
    tokensPerSecond: () => number,
  ): void {
    addTo(this.epochTotals, values, count)
    addTo(this.windowTotals, values, count)
    const { lr, closes } = this.#begun.shift() as { lr: number; closes: boolean }
    if (!closes || step % this.#options.logEveryNSteps !== 0) return
    const train = prefixed('train', this.#derived(this.windowTotals))
    this.windowTotals = emptyTotals()
    const metrics = { ...train, lr, tokensPerSecond: tokensPerSecond() }
    this.#record({ kind: 'step', epoch, step, metrics })
  }

  /** The averages of this epoch become what callbacks see. */
  publishMeans(): void {
    this.#publish('train', this.means)
  }

  /** Numbers that this pass does not have are those of no other. */
  #publish(prefix: 'train' | 'val', means: Metrics): Metrics {
    const { callbackMetrics } = this.#status
    const metrics = prefixed(prefix, means)
    for (const name of this.#published[prefix] ?? []) delete callbackMetrics[name]
    this.#published[prefix] = Object.keys(metrics)
    Object.assign(callbackMetrics, metrics)
    return metrics
  }

  validated(epoch: number, step: number, means: Metrics): void {
    this.publishMeans()
    const metrics = this.#publish('val', means)
    this.#record({ kind: 'validation', epoch, step, metrics })
  }

  epochEnded(epoch: number, step: number, lr: number, tokensPerSecond: number): void {
    const metrics = { ...this.#status.callbackMetrics, lr, tokensPerSecond }
    this.#record({ kind: 'epoch', epoch, step, metrics })
  }

  /** What a callback has measured. */
  logged(epoch: number, step: number, metrics: Readonly<Metrics>): void {
    Object.assign(this.#status.callbackMetrics, metrics)
    this.#record({ kind: 'callback', epoch, step, metrics: { ...metrics } })
  }

  #derived(totals: Totals): Metrics {
    if (totals.count === 0) return {}
    const means = meansOf(totals)
    return { ...means, ...this.#options.derive(means) }
  }

  #record(record: HistoryRecord): void {
    const { kind, epoch, step, metrics } = record
    this.#status.history.add(record)
    const named = kind === 'epoch' ? ofEpoch(metrics) : metrics
    for (const logger of this.#options.loggers) logger.logMetrics({ epoch, ...named }, step)
  }
}
