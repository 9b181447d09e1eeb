/** Schedules that multiply the learning rate, epoch after epoch. */
import { checkInteger, checkNumber, checkOptions, rangeError, typeError } from '../../errors.js'
import { functionPerGroup, type HasLearningRate, LRScheduler } from './base.js'

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
    this.begin()
  }

  protected override next(lr: number): number {
    return this.lastEpoch > 0 && this.lastEpoch % this.stepSize === 0 ? lr * this.gamma : lr
  }

  protected override first(_lr: number, baseLr: number): number {
    return baseLr
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
    this.begin()
  }

  protected override next(lr: number): number {
    const times = this.milestones.filter((epoch) => epoch === this.lastEpoch).length
    return lr * this.gamma ** times
  }

  protected override first(_lr: number, baseLr: number): number {
    return this.next(baseLr)
  }
}

/** Multiplies the learning rate by `gamma` every epoch; as `ExponentialLR`. */
export class ExponentialLR extends LRScheduler {
  readonly gamma: number

  constructor(optimizer: HasLearningRate, gamma: number) {
    super('ExponentialLR', optimizer)
    this.gamma = checkNumber('ExponentialLR', 'gamma', gamma)
    this.begin()
  }

  protected override next(lr: number): number {
    return this.beginning ? lr : lr * this.gamma
  }

  protected override first(_lr: number, baseLr: number): number {
    return baseLr
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
    this.lrLambdas = functionPerGroup('LambdaLR', lrLambda, this.baseLrs.length)
    this.begin()
  }

  protected override next(_lr: number, baseLr: number, group: number): number {
    const factor = this.lrLambdas[group]?.(this.lastEpoch)
    return baseLr * checkNumber('LambdaLR', `lrLambda(${this.lastEpoch})`, factor)
  }
}

/** The learning rate so far times a function of the epoch, from epoch 1 on; as `MultiplicativeLR`. */
export class MultiplicativeLR extends LRScheduler {
  /** By parameter group: what its learning rate is multiplied by in an epoch. */
  readonly lrLambdas: readonly ((epoch: number) => number)[]

  /** @param lrLambda one function, or one per parameter group */
  constructor(
    optimizer: HasLearningRate,
    lrLambda: ((epoch: number) => number) | readonly ((epoch: number) => number)[],
  ) {
    super('MultiplicativeLR', optimizer)
    this.lrLambdas = functionPerGroup('MultiplicativeLR', lrLambda, this.baseLrs.length)
    this.begin()
  }

  protected override next(lr: number, _baseLr: number, group: number): number {
    if (this.beginning) return lr
    const factor = this.lrLambdas[group]?.(this.lastEpoch)
    return lr * checkNumber('MultiplicativeLR', `lrLambda(${this.lastEpoch})`, factor)
  }
}

/**
 * Multiplies the learning rate by `factor` until epoch `totalIters`, where it is divided by it; as
 * `ConstantLR`.
 */
export class ConstantLR extends LRScheduler {
  readonly factor: number
  readonly totalIters: number

  /** @param options.factor in (0, 1], default 1/3; options.totalIters default 5 */
  constructor(optimizer: HasLearningRate, options: { factor?: number; totalIters?: number } = {}) {
    const fn = 'ConstantLR'
    super(fn, optimizer)
    checkOptions(fn, options, ['factor', 'totalIters'])
    this.factor = checkFactor(fn, 'factor', options.factor ?? 1 / 3)
    this.totalIters = checkInteger(fn, 'totalIters', options.totalIters ?? 5, 0)
    this.begin()
  }

  protected override next(lr: number): number {
    if (this.lastEpoch === 0) return lr * this.factor
    return this.lastEpoch === this.totalIters ? lr * (1 / this.factor) : lr
  }

  protected override first(_lr: number, baseLr: number): number {
    return this.totalIters === 0 ? baseLr : baseLr * this.factor
  }
}

/**
 * The learning rate times a factor that goes from `startFactor` to `endFactor` in `totalIters`
 * epochs, in equal steps; as `LinearLR`.
 */
export class LinearLR extends LRScheduler {
  readonly startFactor: number
  readonly endFactor: number
  readonly totalIters: number

  /** @param options.startFactor in (0, 1], default 1/3; endFactor in [0, 1], default 1; totalIters default 5 */
  constructor(
    optimizer: HasLearningRate,
    options: { startFactor?: number; endFactor?: number; totalIters?: number } = {},
  ) {
    const fn = 'LinearLR'
    super(fn, optimizer)
    checkOptions(fn, options, ['startFactor', 'endFactor', 'totalIters'])
    this.startFactor = checkFactor(fn, 'startFactor', options.startFactor ?? 1 / 3)
    this.endFactor = checkNumber(fn, 'endFactor', options.endFactor ?? 1, 0, 1)
    this.totalIters = checkInteger(fn, 'totalIters', options.totalIters ?? 5, 0)
    this.begin()
  }

  protected override next(lr: number): number {
    const { lastEpoch: epoch, startFactor, endFactor, totalIters } = this
    if (epoch === 0) return lr * startFactor
    if (this.beginning || epoch > totalIters) return lr
    const rise = endFactor - startFactor
    return lr * (1 + rise / (totalIters * startFactor + (epoch - 1) * rise))
  }

  protected override first(_lr: number, baseLr: number): number {
    return baseLr * this.startFactor
  }
}

/** The learning rate falls to 0 in `totalIters` epochs, as a polynomial; as `PolynomialLR`. */
export class PolynomialLR extends LRScheduler {
  readonly totalIters: number
  readonly power: number

  /** @param options.totalIters default 5; options.power default 1 */
  constructor(optimizer: HasLearningRate, options: { totalIters?: number; power?: number } = {}) {
    const fn = 'PolynomialLR'
    super(fn, optimizer)
    checkOptions(fn, options, ['totalIters', 'power'])
    this.totalIters = checkInteger(fn, 'totalIters', options.totalIters ?? 5, 0)
    this.power = checkNumber(fn, 'power', options.power ?? 1)
    this.begin()
  }

  protected override next(lr: number): number {
    const { lastEpoch: epoch, totalIters, power } = this
    if (this.beginning || epoch > totalIters) return lr
    return lr * ((1 - epoch / totalIters) / (1 - (epoch - 1) / totalIters)) ** power
  }

  protected override first(_lr: number, baseLr: number): number {
    return baseLr
  }
}

function checkFactor(fn: string, name: string, value: number): number {
  if (checkNumber(fn, name, value, 0, 1) === 0)
    throw rangeError(fn, name, 'a number above 0, by which to divide', '0')
  return value
}
