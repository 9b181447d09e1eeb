/** Ends training when a metric stops improving. */
import { checkInteger, checkNumber, checkOneOf, checkOptions, typeError } from '../errors.js'
import { isBetter, monitored, stateKeyOf } from './monitor.js'
import type { CallbackHooks, TrainerHandle } from './types.js'

export interface EarlyStoppingOptions {
  /** The metric to watch. Default 'valLoss'. */
  monitor?: string
  /** How much better counts as an improvement. Default 0. */
  minDelta?: number
  /** How many checks without improvement to accept. Default 3. */
  patience?: number
  /** Whether the metric should fall ('min') or rise ('max'). Default 'min'. */
  mode?: 'min' | 'max'
}

/**
 * Ends training when a metric has not improved for a while; as Lightning's `EarlyStopping`. A
 * validation metric ('val…') is checked after each validation, another one after each epoch.
 */
export class EarlyStopping implements CallbackHooks {
  readonly monitor: string
  readonly minDelta: number
  readonly patience: number
  readonly mode: 'min' | 'max'
  bestScore: number | null = null
  /** Checks without improvement so far. */
  waitCount = 0
  /** The epoch in which it ended training, or null. */
  stoppedEpoch: number | null = null

  constructor(options: EarlyStoppingOptions = {}) {
    const fn = 'EarlyStopping'
    checkOptions(fn, options, ['monitor', 'minDelta', 'patience', 'mode'])
    this.monitor = options.monitor ?? 'valLoss'
    if (typeof this.monitor !== 'string')
      throw typeError(fn, 'monitor', 'the name of a metric', this.monitor)
    this.minDelta = checkNumber(fn, 'minDelta', options.minDelta ?? 0, 0)
    this.patience = checkInteger(fn, 'patience', options.patience ?? 3, 0)
    this.mode = checkOneOf(fn, 'mode', options.mode ?? 'min', ['min', 'max'])
  }

  /** Its class, metric and mode; as in Lightning. */
  get stateKey(): string {
    return stateKeyOf(this, 'EarlyStopping', { monitor: this.monitor, mode: this.mode })
  }

  onValidationEnd(trainer: TrainerHandle): void {
    if (this.monitor.startsWith('val')) this.#check(trainer)
  }

  onTrainEpochEnd(trainer: TrainerHandle): void {
    if (!this.monitor.startsWith('val') || !trainer.validating) this.#check(trainer)
  }

  #check(trainer: TrainerHandle): void {
    const score = monitored('EarlyStopping', this.monitor, trainer.callbackMetrics)
    if (isBetter(score, this.bestScore, this.mode, this.minDelta)) {
      this.bestScore = score
      this.waitCount = 0
      return
    }
    this.waitCount++
    if (this.waitCount < this.patience) return
    this.stoppedEpoch = trainer.currentEpoch
    trainer.shouldStop = true
  }

  stateDict(): object {
    return { bestScore: this.bestScore, waitCount: this.waitCount }
  }

  /** @throws TypeError, RangeError */
  loadStateDict(state: { bestScore: number | null; waitCount: number }): void {
    const fn = 'EarlyStopping.loadStateDict'
    checkOptions(fn, state, ['bestScore', 'waitCount'])
    if (state.bestScore !== null) checkNumber(fn, 'bestScore', state.bestScore)
    checkInteger(fn, 'waitCount', state.waitCount, 0)
    this.bestScore = state.bestScore
    this.waitCount = state.waitCount
  }
}
