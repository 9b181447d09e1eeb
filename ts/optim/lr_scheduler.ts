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

/** What a schedule is about: an optimiser, whose groups may have learning rates of their own. */
export interface HasLearningRate {
  lr: number
  readonly paramGroups?: readonly { lr: number }[]
}

/** What a scheduler needs to go on; plain JSON. */
export type SchedulerState = Record<string, number | null | number[]>

/** What every scheduler can do. */
export interface Scheduler {
  /** Sets the learning rates of the next epoch. @param metric only for {@link ReduceLROnPlateau} */
  step(metric?: number): void
  /** The learning rates set last, one per parameter group. */
  getLastLr(): number[]
  /** All that the schedule depends on, as plain data. */
  stateDict(): SchedulerState
  /** Goes on from what stateDict gave. */
  loadStateDict(state: SchedulerState): void
}

function checkOptimizer(fn: string, optimizer: HasLearningRate): HasLearningRate {
  if (typeof optimizer !== 'object' || optimizer === null || typeof optimizer.lr !== 'number') {
    throw typeError(fn, 'optimizer', 'an optimizer', optimizer)
  }
  return optimizer
}

/** The groups, or the optimiser itself where it has none. */
function groupsOf(optimizer: HasLearningRate): readonly { lr: number }[] {
  return optimizer.paramGroups ?? [optimizer]
}

function stateRates(fn: string, state: SchedulerState, key: string, groups: number): number[] {
  if (typeof state !== 'object' || state === null)
    throw typeError(fn, 'state', 'a state dict', state)
  const rates = state[key]
  if (!Array.isArray(rates) || rates.length !== groups) {
    throw typeError(fn, `state.${key}`, `${groups} learning rate(s)`, rates)
  }
  return rates.map((rate, i) => checkNumber(fn, `state.${key}[${i}]`, rate))
}

/** Base of the schedules that depend on the number of steps alone. */
export abstract class LRScheduler implements Scheduler {
  readonly optimizer: HasLearningRate
  /** The learning rates at the beginning, one per parameter group. */
  baseLrs: number[]
  /** How often step() has been called. */
  lastEpoch = 0
  #lastLr: number[]

  protected constructor(fn: string, optimizer: HasLearningRate) {
    this.optimizer = checkOptimizer(fn, optimizer)
    this.baseLrs = groupsOf(optimizer).map((group) => group.lr)
    this.#lastLr = this.baseLrs
  }

  /**
   * The learning rate of a group for `lastEpoch`.
   * @param lr what the group has now
   * @param baseLr what it had at the beginning
   * @param group its number
   */
  protected abstract next(lr: number, baseLr: number, group: number): number

  /** Sets the learning rates of the next epoch. */
  step(): void {
    this.lastEpoch++
    this.apply()
  }

  /** Sets the learning rates for `lastEpoch`. */
  protected apply(): void {
    const groups = groupsOf(this.optimizer)
    this.#lastLr = groups.map((group, i) => this.next(group.lr, this.baseLrs[i] as number, i))
    groups.forEach((group, i) => {
      group.lr = this.#lastLr[i] as number
    })
  }

  getLastLr(): number[] {
    return [...this.#lastLr]
  }

  /** All that the schedule depends on, as plain data. */
  stateDict(): SchedulerState {
    return { baseLrs: [...this.baseLrs], lastEpoch: this.lastEpoch, lastLr: [...this.#lastLr] }
  }

  /** Goes on from a state; the optimizer's own learning rates are in the optimizer's state. */
  loadStateDict(state: SchedulerState): void {
    const fn = `${this.constructor.name}.loadStateDict`
    const { length } = groupsOf(this.optimizer)
    const baseLrs = stateRates(fn, state, 'baseLrs', length)
    const lastLr = stateRates(fn, state, 'lastLr', length)
    this.lastEpoch = checkInteger(fn, 'state.lastEpoch', state.lastEpoch, 0)
    this.baseLrs = baseLrs
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

  protected override next(lr: number): number {
    return this.lastEpoch % this.stepSize === 0 ? lr * this.gamma : lr
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

  protected override next(lr: number): number {
    const times = this.milestones.filter((epoch) => epoch === this.lastEpoch).length
    return lr * this.gamma ** times
  }
}

/** Multiplies the learning rate by `gamma` every epoch; as `ExponentialLR`. */
export class ExponentialLR extends LRScheduler {
  readonly gamma: number

  constructor(optimizer: HasLearningRate, gamma: number) {
    super('ExponentialLR', optimizer)
    this.gamma = checkNumber('ExponentialLR', 'gamma', gamma)
  }

  protected override next(lr: number): number {
    return lr * this.gamma
  }
}

/** The first learning rate times a function of the epoch; as `LambdaLR`. */
export class LambdaLR extends LRScheduler {
  /** By parameter group: the factor of its first learning rate in an epoch. */
  readonly lrLambdas: readonly ((epoch: number) => number)[]

  /** @param lrLambda one function, or one per parameter group */
  constructor(
    optimizer: HasLearningRate,
    lrLambda: ((epoch: number) => number) | readonly ((epoch: number) => number)[],
  ) {
    super('LambdaLR', optimizer)
    const groups = this.baseLrs.length
    const lambdas = typeof lrLambda === 'function' ? Array(groups).fill(lrLambda) : lrLambda
    if (!Array.isArray(lambdas) || lambdas.some((lambda) => typeof lambda !== 'function')) {
      throw typeError('LambdaLR', 'lrLambda', 'a function or an array of functions', lrLambda)
    }
    if (lambdas.length !== groups) {
      throw rangeError('LambdaLR', 'lrLambda', `${groups} functions`, String(lambdas.length))
    }
    this.lrLambdas = lambdas
    this.apply()
  }

  protected override next(_lr: number, baseLr: number, group: number): number {
    const factor = this.lrLambdas[group]?.(this.lastEpoch)
    return baseLr * checkNumber('LambdaLR', `lrLambda(${this.lastEpoch})`, factor)
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

  protected override next(lr: number, baseLr: number): number {
    const { lastEpoch: epoch, tMax, etaMin } = this
    // On the way up from the bottom the quotient below would be 0 / 0.
    if ((epoch - 1 - tMax) % (2 * tMax) === 0) {
      return lr + ((baseLr - etaMin) * (1 - Math.cos(Math.PI / tMax))) / 2
    }
    const now = 1 + Math.cos((Math.PI * epoch) / tMax)
    const before = 1 + Math.cos((Math.PI * (epoch - 1)) / tMax)
    return (now / before) * (lr - etaMin) + etaMin
  }
}

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
