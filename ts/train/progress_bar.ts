/** Shows the progress of training. */
import type cliProgress from 'cli-progress'
import { checkInteger, checkOptions } from '../errors.js'
import { requireHere } from '../here.js'
import type { CallbackHooks, Progress, TrainerHandle } from './types.js'

/** Between two lines where there is no terminal. */
const LINE_INTERVAL_MS = 10_000

/** In dist, where scripts/commonjs.mjs has put it; else the package, in a clone without esbuild. */
const DRAWERS = ['./cli-progress.cjs', 'cli-progress']

/**
 * What draws bars; null in a bundle that has left it behind, where lines must do. A bundle of ES
 * modules could not hold it: it asks for Node's modules by `require`.
 */
function drawer(): typeof cliProgress | null {
  for (const name of DRAWERS) {
    try {
      return requireHere(name) as typeof cliProgress
    } catch {}
  }
  return null
}

/** 1:02:03, 2:03 */
export function formatSeconds(seconds: number): string {
  const s = Math.max(0, Math.round(seconds))
  const parts = [Math.floor(s / 3600), Math.floor(s / 60) % 60, s % 60]
  if (parts[0] === 0) parts.shift()
  return parts.map((part, i) => (i === 0 ? String(part) : String(part).padStart(2, '0'))).join(':')
}

/** Four significant digits. */
export function formatMetric(value: number): string {
  return Number.isFinite(value) ? String(Number(value.toPrecision(4))) : String(value)
}

/** 'loss 1.234, perplexity 3.435, 12,345 tokens/s, 1:02 left' */
function describeProgress(
  { metrics, tokensPerSecond, secondsLeft }: Progress,
  left = true,
): string {
  const parts = Object.entries(metrics).map(([name, value]) => `${name} ${formatMetric(value)}`)
  parts.push(`${Math.round(tokensPerSecond).toLocaleString('en-US')} tokens/s`)
  if (left && secondsLeft !== null) parts.push(`${formatSeconds(secondsLeft)} left`)
  return parts.join(', ')
}

/** What {@link ProgressBar} takes. */
export interface ProgressBarOptions {
  /** Default: standard error. */
  stream?: NodeJS.WriteStream
  /** One bar, and one line that stays, for every N epochs: for short epochs. Default 1. */
  everyNEpochs?: number
}

/**
 * Progress on standard error: on a terminal a bar per epoch with loss, perplexity, tokens per second
 * and the time left; elsewhere a plain line every ten seconds. After each epoch a line stays. The
 * trainer adds one by itself unless its callbacks have one or it is told `progressBar: false`.
 */
export class ProgressBar implements CallbackHooks {
  readonly everyNEpochs: number
  readonly #stream: NodeJS.WriteStream
  #bar: cliProgress.SingleBar | null = null
  #lastLine = 0
  #validation: [string, number][] = []

  constructor(options: ProgressBarOptions = {}) {
    checkOptions('ProgressBar', options, ['stream', 'everyNEpochs'])
    this.#stream = options.stream ?? process.stderr
    this.everyNEpochs = checkInteger('ProgressBar', 'everyNEpochs', options.everyNEpochs ?? 1, 1)
  }

  /** Called by the trainer. */
  onFitStart(): void {
    this.#lastLine = performance.now()
  }

  /** Called by the trainer. */
  onTrainEpochStart(trainer: TrainerHandle): void {
    this.#validation = []
    if (!this.#stream.isTTY || this.#bar !== null) return
    const bars = drawer()
    if (bars === null) return
    const { progress } = trainer
    const { batches } = progress
    this.#bar = new bars.SingleBar({
      stream: this.#stream,
      format:
        batches === null
          ? '{name} {value} steps | {state}'
          : '{name} {bar} {percentage}% | {state}',
      barCompleteChar: '█',
      barIncompleteChar: '░',
      barsize: 24,
      fps: 10,
      clearOnComplete: true,
      gracefulExit: false,
    })
    const { everyNEpochs } = this
    const first = progress.epoch - (progress.epoch % everyNEpochs)
    const last = Math.min(first + everyNEpochs, progress.maxEpochs ?? Infinity)
    this.#bar.start((batches ?? 0) * (last - first), this.#done(progress), {
      name: this.#name(progress),
      state: '',
    })
  }

  /** Batches of the bar that are done. */
  #done({ epoch, batch, batches }: Progress): number {
    return (epoch % this.everyNEpochs) * (batches ?? 0) + batch
  }

  #name({ epoch, maxEpochs }: Progress): string {
    return maxEpochs === null ? `epoch ${epoch + 1}` : `epoch ${epoch + 1}/${maxEpochs}`
  }

  onTrainBatchEnd(trainer: TrainerHandle): void {
    if (this.#bar !== null) {
      const { progress } = trainer
      this.#bar.update(this.#done(progress), {
        name: this.#name(progress),
        state: describeProgress(progress),
      })
      return
    }
    const now = performance.now()
    if (now - this.#lastLine < LINE_INTERVAL_MS) return
    this.#lastLine = now
    const { progress } = trainer
    this.#write(
      `${this.#name(progress)}, step ${progress.batch}${progress.batches === null ? '' : `/${progress.batches}`}: ${describeProgress(progress)}`,
    )
  }

  /** Called by the trainer. */
  onValidationStart(): void {
    this.#bar?.update({ state: 'validating' })
  }

  onValidationEnd(trainer: TrainerHandle): void {
    this.#validation = Object.entries(trainer.callbackMetrics).filter(([name]) =>
      name.startsWith('val'),
    )
  }

  onTrainEpochEnd(trainer: TrainerHandle): void {
    const { callbackMetrics, progress } = trainer
    const { epoch, maxEpochs } = progress
    if ((epoch + 1) % this.everyNEpochs !== 0 && epoch + 1 !== maxEpochs) return
    const training = Object.entries(callbackMetrics).filter(([name]) => name.startsWith('train'))
    const name = (key: string): string =>
      key.replace(
        /^(train|val)(.)/,
        (_, set, first) => `${set === 'val' ? 'valid ' : ''}${first.toLowerCase()}`,
      )
    const metrics = [...training, ...this.#validation].map(
      ([key, value]) => `${name(key)} ${formatMetric(value)}`,
    )
    this.stop()
    this.#write(
      `${this.#name(progress)}: ${metrics.join(', ')}, ${describeProgress({ ...progress, metrics: {} }, progress.secondsLeft !== 0)}`,
    )
    this.#lastLine = performance.now()
  }

  /** Called by the trainer. */
  onFitEnd(): void {
    this.stop()
  }

  /** Called by the trainer. */
  onException(): void {
    this.stop()
  }

  /** Takes the bar off the terminal, to make room for other lines; the next epoch draws a new one. */
  stop(): void {
    this.#bar?.stop()
    this.#bar = null
  }

  #write(line: string): void {
    this.#stream.write(`${line}\n`)
  }
}
