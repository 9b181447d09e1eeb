import {
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  rangeError,
  typeError,
} from '../../errors.js'
import {
  checkOptimizer,
  groupsOf,
  type HasLearningRate,
  type Scheduler,
  type SchedulerState,
  stateRates,
} from './base.js'

/** What {@link ReduceLROnPlateau} takes. */
export interface ReduceLROnPlateauOptions {
  /** Whether the metric should fall ('min') or rise ('max'). Default 'min'. */
  mode?: 'min' | 'max'
  /** The learning rate is multiplied by this. Default 0.1. */
  factor?: number
  /** How many epochs without improvement to accept. Default 10. */
  patience?: number
  /** How much better is an improvement. Default 1e-4. */
  threshold?: number
  /** Whether the threshold is a share of the best ('rel') or a difference ('abs'). Default 'rel'. */
  thresholdMode?: 'rel' | 'abs'
  /** Epochs to wait after a reduction before counting again. Default 0. */
  cooldown?: number
  /** The learning rate does not go below this. Default 0. */
  minLr?: number
  /** A smaller change of the learning rate is not made. Default 1e-8. */
  eps?: number
}

/** Reduces the learning rate when a metric has stopped improving; as `ReduceLROnPlateau`. */
export class ReduceLROnPlateau implements Scheduler {
  readonly optimizer: HasLearningRate
  readonly options: Required<ReduceLROnPlateauOptions>
  lastEpoch = 0
  /** The best metric so far. */
  best: number
  numBadEpochs = 0
  cooldownCounter = 0
  #lastLr: number[]

  constructor(optimizer: HasLearningRate, options: ReduceLROnPlateauOptions = {}) {
    const fn = 'ReduceLROnPlateau'
    this.optimizer = checkOptimizer(fn, optimizer)
    checkOptions(fn, options, [
      'mode',
      'factor',
      'patience',
      'threshold',
      'thresholdMode',
      'cooldown',
      'minLr',
      'eps',
    ])
    this.options = {
      mode: checkOneOf(fn, 'mode', options.mode ?? 'min', ['min', 'max']),
      factor: checkNumber(fn, 'factor', options.factor ?? 0.1),
      patience: checkInteger(fn, 'patience', options.patience ?? 10, 0),
      threshold: checkNumber(fn, 'threshold', options.threshold ?? 1e-4),
      thresholdMode: checkOneOf(fn, 'thresholdMode', options.thresholdMode ?? 'rel', [
        'rel',
        'abs',
      ]),
      cooldown: checkInteger(fn, 'cooldown', options.cooldown ?? 0, 0),
      minLr: checkNumber(fn, 'minLr', options.minLr ?? 0, 0),
      eps: checkNumber(fn, 'eps', options.eps ?? 1e-8, 0),
    }
    if (this.options.factor >= 1)
      throw rangeError(fn, 'factor', 'a number below 1', String(options.factor))
    this.best = this.options.mode === 'min' ? Infinity : -Infinity
    this.#lastLr = groupsOf(optimizer).map((group) => group.lr)
  }

  /** Sets the learning rates of the next epoch. @param metric this epoch's value of what should improve */
  step(metric?: number): void {
    if (typeof metric !== 'number')
      throw typeError('ReduceLROnPlateau.step', 'metric', 'a number', metric)
    const { patience, cooldown, factor, minLr, eps } = this.options
    this.lastEpoch++
    if (this.#better(metric)) {
      this.best = metric
      this.numBadEpochs = 0
    } else {
      this.numBadEpochs++
    }
    if (this.cooldownCounter > 0) {
      this.cooldownCounter--
      this.numBadEpochs = 0
    }
    if (this.numBadEpochs > patience) {
      for (const group of groupsOf(this.optimizer)) {
        const reduced = Math.max(group.lr * factor, minLr)
        if (group.lr - reduced > eps) group.lr = reduced
      }
      this.cooldownCounter = cooldown
      this.numBadEpochs = 0
    }
    this.#lastLr = groupsOf(this.optimizer).map((group) => group.lr)
  }

  #better(metric: number): boolean {
    const { mode, threshold, thresholdMode } = this.options
    if (mode === 'min')
      return (
        metric < (thresholdMode === 'rel' ? this.best * (1 - threshold) : this.best - threshold)
      )
    return metric > (thresholdMode === 'rel' ? this.best * (1 + threshold) : this.best + threshold)
  }

  getLastLr(): number[] {
    return [...this.#lastLr]
  }

  /** All that the schedule depends on, as plain data. */
  stateDict(): SchedulerState {
    return {
      // JSON has no infinity.
      best: Number.isFinite(this.best) ? this.best : null,
      numBadEpochs: this.numBadEpochs,
      cooldownCounter: this.cooldownCounter,
      lastEpoch: this.lastEpoch,
      lastLr: [...this.#lastLr],
    }
  }

  /** Goes on from what stateDict gave. */
  loadStateDict(state: SchedulerState): void {
    const fn = 'ReduceLROnPlateau.loadStateDict'
    const lastLr = stateRates(fn, state, 'lastLr', groupsOf(this.optimizer).length)
    const counts = (['numBadEpochs', 'cooldownCounter', 'lastEpoch'] as const).map((key) =>
      checkInteger(fn, `state.${key}`, state[key], 0),
    )
    if (state.best !== null) this.best = checkNumber(fn, 'state.best', state.best)
    else this.best = this.options.mode === 'min' ? Infinity : -Infinity
    ;[this.numBadEpochs, this.cooldownCounter, this.lastEpoch] = counts as [number, number, number]
    this.#lastLr = lastLr
  }
}
