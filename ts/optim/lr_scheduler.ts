/**
 * Learning rates that change on a schedule; as `torch.optim.lr_scheduler`, with its formulas. A
 * scheduler sets `optimizer.lr` when it is made and at every `step()`, to be called after
 * `optimizer.step()`, once an epoch (or once a step: an epoch is whatever step() is called after).
 */
import {
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  rangeError,
  typeError,
} from '../errors.js'

/** What a schedule is about: anything with a learning rate to set. */
export interface HasLearningRate {
  lr: number
}

/** What a scheduler needs to go on; plain JSON. */
export type SchedulerState = Record<string, number | null>

/** What every scheduler can do. */
export interface Scheduler {
  /** @param metric only for {@link ReduceLROnPlateau} */
  step(metric?: number): void
  /** The learning rate set last. */
  getLastLr(): number
  stateDict(): SchedulerState
  loadStateDict(state: SchedulerState): void
}

function checkOptimizer(fn: string, optimizer: HasLearningRate): HasLearningRate {
  if (typeof optimizer !== 'object' || optimizer === null || typeof optimizer.lr !== 'number') {
    throw typeError(fn, 'optimizer', 'an optimizer', optimizer)
  }
  return optimizer
}

function stateNumber(fn: string, state: SchedulerState, key: string): number {
  if (typeof state !== 'object' || state === null)
    throw typeError(fn, 'state', 'a state dict', state)
  return checkNumber(fn, `state.${key}`, state[key])
}

/** Base of the schedules that depend on the number of steps alone. */
export abstract class LRScheduler implements Scheduler {
  readonly optimizer: HasLearningRate
  /** The learning rate at the beginning. */
  baseLr: number
  /** How often step() has been called. */
  lastEpoch = 0
  #lastLr: number

  protected constructor(fn: string, optimizer: HasLearningRate) {
    this.optimizer = checkOptimizer(fn, optimizer)
    this.baseLr = optimizer.lr
    this.#lastLr = optimizer.lr
  }

  /** The learning rate for `lastEpoch`, from the one the optimizer has now. */
  abstract getLr(): number

  step(): void {
    this.lastEpoch++
    this.apply()
  }

  /** Sets the learning rate for `lastEpoch`. */
  protected apply(): void {
    this.#lastLr = this.getLr()
    this.optimizer.lr = this.#lastLr
  }

  getLastLr(): number {
    return this.#lastLr
  }

  stateDict(): SchedulerState {
    return { baseLr: this.baseLr, lastEpoch: this.lastEpoch, lastLr: this.#lastLr }
  }

  /** Goes on from a state; the optimizer's own learning rate is in the optimizer's state. */
  loadStateDict(state: SchedulerState): void {
    const fn = `${this.constructor.name}.loadStateDict`
    const baseLr = stateNumber(fn, state, 'baseLr')
    const lastLr = stateNumber(fn, state, 'lastLr')
    this.lastEpoch = checkInteger(fn, 'state.lastEpoch', state.lastEpoch, 0)
    this.baseLr = baseLr
    this.#lastLr = lastLr
  }
}

/** Multiplies the learning rate by `gamma` every `stepSize` epochs; as `StepLR`. */
export class StepLR extends LRScheduler {
  readonly stepSize: number
  readonly gamma: number

  /** @param options.gamma default 0.1 */
  constructor(optimizer: HasLearningRate, stepSize: number, options: { gamma?: number } = {}) {
    super('StepLR', optimizer)
    checkOptions('StepLR', options, ['gamma'])
    this.stepSize = checkInteger('StepLR', 'stepSize', stepSize, 1)
    this.gamma = checkNumber('StepLR', 'gamma', options.gamma ?? 0.1)
  }

  override getLr(): number {
    const due = this.lastEpoch > 0 && this.lastEpoch % this.stepSize === 0
    return due ? this.optimizer.lr * this.gamma : this.optimizer.lr
  }
}

/** Multiplies the learning rate by `gamma` at each of the given epochs; as `MultiStepLR`. */
export class MultiStepLR extends LRScheduler {
  readonly milestones: readonly number[]
  readonly gamma: number

  /** @param options.gamma default 0.1 */
  constructor(
    optimizer: HasLearningRate,
    milestones: readonly number[],
    options: { gamma?: number } = {},
  ) {
    super('MultiStepLR', optimizer)
    checkOptions('MultiStepLR', options, ['gamma'])
    if (!Array.isArray(milestones))
      throw typeError('MultiStepLR', 'milestones', 'an array of epochs', milestones)
    this.milestones = milestones.map((epoch, i) =>
      checkInteger('MultiStepLR', `milestones[${i}]`, epoch, 0),
    )
    this.gamma = checkNumber('MultiStepLR', 'gamma', options.gamma ?? 0.1)
  }

  override getLr(): number {
    const times = this.milestones.filter((epoch) => epoch === this.lastEpoch).length
    return this.optimizer.lr * this.gamma ** times
  }
}

/** Multiplies the learning rate by `gamma` every epoch; as `ExponentialLR`. */
export class ExponentialLR extends LRScheduler {
  readonly gamma: number

  constructor(optimizer: HasLearningRate, gamma: number) {
    super('ExponentialLR', optimizer)
    this.gamma = checkNumber('ExponentialLR', 'gamma', gamma)
  }

  override getLr(): number {
    return this.lastEpoch === 0 ? this.optimizer.lr : this.optimizer.lr * this.gamma
  }
}

/** The first learning rate times a function of the epoch; as `LambdaLR`. */
export class LambdaLR extends LRScheduler {
  readonly lrLambda: (epoch: number) => number

  constructor(optimizer: HasLearningRate, lrLambda: (epoch: number) => number) {
    super('LambdaLR', optimizer)
    if (typeof lrLambda !== 'function')
      throw typeError('LambdaLR', 'lrLambda', 'a function', lrLambda)
    this.lrLambda = lrLambda
    this.apply()
  }

  override getLr(): number {
    return (
      this.baseLr *
      checkNumber('LambdaLR', `lrLambda(${this.lastEpoch})`, this.lrLambda(this.lastEpoch))
    )
  }
}

/** Half a cosine from the first learning rate to `etaMin` in `tMax` epochs, and back; as `CosineAnnealingLR`. */
export class CosineAnnealingLR extends LRScheduler {
  readonly tMax: number
  readonly etaMin: number

  /** @param options.etaMin default 0 */
  constructor(optimizer: HasLearningRate, tMax: number, options: { etaMin?: number } = {}) {
    super('CosineAnnealingLR', optimizer)
    checkOptions('CosineAnnealingLR', options, ['etaMin'])
    this.tMax = checkInteger('CosineAnnealingLR', 'tMax', tMax, 1)
    this.etaMin = checkNumber('CosineAnnealingLR', 'etaMin', options.etaMin ?? 0)
  }

  override getLr(): number {
    const { lastEpoch: epoch, tMax, etaMin } = this
    const lr = this.optimizer.lr
    if (epoch === 0) return lr
    // On the way up from the bottom the quotient below would be 0 / 0.
    if ((epoch - 1 - tMax) % (2 * tMax) === 0)
      return lr + ((this.baseLr - etaMin) * (1 - Math.cos(Math.PI / tMax))) / 2
    return (
      ((1 + Math.cos((Math.PI * epoch) / tMax)) / (1 + Math.cos((Math.PI * (epoch - 1)) / tMax))) *
        (lr - etaMin) +
      etaMin
    )
  }
}

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
  #lastLr: number

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
    this.#lastLr = optimizer.lr
  }

  /** @param metric this epoch's value of what should improve */
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
      const reduced = Math.max(this.optimizer.lr * factor, minLr)
      if (this.optimizer.lr - reduced > eps) this.optimizer.lr = reduced
      this.cooldownCounter = cooldown
      this.numBadEpochs = 0
    }
    this.#lastLr = this.optimizer.lr
  }

  #better(metric: number): boolean {
    const { mode, threshold, thresholdMode } = this.options
    if (mode === 'min')
      return (
        metric < (thresholdMode === 'rel' ? this.best * (1 - threshold) : this.best - threshold)
      )
    return metric > (thresholdMode === 'rel' ? this.best * (1 + threshold) : this.best + threshold)
  }

  getLastLr(): number {
    return this.#lastLr
  }

  stateDict(): SchedulerState {
    return {
      // JSON has no infinity.
      best: Number.isFinite(this.best) ? this.best : null,
      numBadEpochs: this.numBadEpochs,
      cooldownCounter: this.cooldownCounter,
      lastEpoch: this.lastEpoch,
      lastLr: this.#lastLr,
    }
  }

  loadStateDict(state: SchedulerState): void {
    const fn = 'ReduceLROnPlateau.loadStateDict'
    const lastLr = stateNumber(fn, state, 'lastLr')
    const counts = (['numBadEpochs', 'cooldownCounter', 'lastEpoch'] as const).map((key) =>
      checkInteger(fn, `state.${key}`, state[key], 0),
    )
    if (state.best !== null) this.best = stateNumber(fn, state, 'best')
    else this.best = this.options.mode === 'min' ? Infinity : -Infinity
    ;[this.numBadEpochs, this.cooldownCounter, this.lastEpoch] = counts as [number, number, number]
    this.#lastLr = lastLr
  }
}
