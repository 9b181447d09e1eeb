/** Schedules that go up and down, and may move the momentum the other way. */
import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  rangeError,
  typeError,
} from '../../errors.js'
import {
  checkOptimizer,
  type Group,
  groupsOf,
  type HasLearningRate,
  LRScheduler,
  perGroup,
  setInitialLr,
} from './base.js'

/** A group's momentum, or the first of its betas where it has those. */
function setMomentum(group: Group, momentum: number): void {
  if (group.betas !== undefined) group.betas = [momentum, group.betas[1]]
  else group.momentum = momentum
}

/** @throws RangeError unless the optimiser has a momentum to cycle */
function checkMomentum(fn: string, groups: readonly Group[]): void {
  for (const group of groups) {
    if ('momentum' in group || 'betas' in group) continue
    throw rangeError(
      fn,
      'cycleMomentum',
      'an optimizer with momentum or betas, or cycleMomentum: false',
      'one without',
    )
  }
}

/** What {@link CyclicLR} takes. */
export interface CyclicLROptions {
  /** Steps of the way up. Default 2000. */
  stepSizeUp?: number
  /** Steps of the way down. Default stepSizeUp. */
  stepSizeDown?: number
  /**
   * 'triangular': always the same; 'triangular2': half as high each time; 'expRange': times
   * gamma^step; PyTorch's 'exp_range' is the same. Default 'triangular'.
   */
  mode?: 'triangular' | 'triangular2' | 'expRange' | 'exp_range'
  /** Of 'expRange'. Default 1. */
  gamma?: number
  /** The height as a function of the cycle, from 1, or of the step; instead of `mode`. */
  scaleFn?: (x: number) => number
  /** What scaleFn is given. Default 'cycle'. */
  scaleMode?: 'cycle' | 'iterations'
  /** Move the momentum (or betas[0]) against the learning rate. Default true. */
  cycleMomentum?: boolean
  /** The momentum where the learning rate is highest, for all groups or each. Default 0.8. */
  baseMomentum?: number | readonly number[]
  /** The momentum where it is lowest, for all groups or each. Default 0.9. */
  maxMomentum?: number | readonly number[]
}

/** Learning rates that go up and down in straight lines; as `CyclicLR` (Smith 2017). */
export class CyclicLR extends LRScheduler {
  readonly maxLrs: readonly number[]
  readonly #totalSize: number
  readonly #stepRatio: number
  readonly #scale: (x: number) => number
  readonly #scaleMode: 'cycle' | 'iterations'
  readonly #momentums: readonly (readonly [base: number, max: number])[] | null

  /**
   * @param baseLr the lowest learning rate, for all groups or each
   * @param maxLr the highest
   * @throws TypeError, RangeError
   */
  constructor(
    optimizer: HasLearningRate,
    baseLr: number | readonly number[],
    maxLr: number | readonly number[],
    options: CyclicLROptions = {},
  ) {
    const fn = 'CyclicLR'
    const groups = groupsOf(checkOptimizer(fn, optimizer))
    checkOptions(fn, options, [
      'stepSizeUp',
      'stepSizeDown',
      'mode',
      'gamma',
      'scaleFn',
      'scaleMode',
      'cycleMomentum',
      'baseMomentum',
      'maxMomentum',
    ])
    const baseLrs = perGroup(fn, 'baseLr', baseLr, groups.length, 0)
    const maxLrs = perGroup(fn, 'maxLr', maxLr, groups.length, 0)
    const up = checkInteger(fn, 'stepSizeUp', options.stepSizeUp ?? 2000, 1)
    const down = checkInteger(fn, 'stepSizeDown', options.stepSizeDown ?? up, 0)
    const modes = ['triangular', 'triangular2', 'expRange', 'exp_range'] as const
    const mode = checkOneOf(fn, 'mode', options.mode ?? 'triangular', modes)
    const gamma = checkNumber(fn, 'gamma', options.gamma ?? 1)
    if (options.scaleFn !== undefined && typeof options.scaleFn !== 'function')
      throw typeError(fn, 'scaleFn', 'a function', options.scaleFn)
    const scaleMode = checkOneOf(fn, 'scaleMode', options.scaleMode ?? 'cycle', [
      'cycle',
      'iterations',
    ])
    const cycles = checkBoolean(fn, 'cycleMomentum', options.cycleMomentum ?? true)
    if (cycles) checkMomentum(fn, groups)
    const base = perGroup(fn, 'baseMomentum', options.baseMomentum ?? 0.8, groups.length, 0)
    const max = perGroup(fn, 'maxMomentum', options.maxMomentum ?? 0.9, groups.length, 0)
    groups.forEach((group, i) => {
      group.lr = baseLrs[i] as number
    })
    super(fn, optimizer)
    this.baseLrs = baseLrs
    this.maxLrs = maxLrs
    this.#totalSize = up + down
    this.#stepRatio = up / this.#totalSize
    const scales = {
      triangular: () => 1,
      triangular2: (cycle: number) => 1 / 2 ** (cycle - 1),
      expRange: (step: number) => gamma ** step,
      exp_range: (step: number) => gamma ** step,
    }
    this.#scale = options.scaleFn ?? scales[mode]
    const own = mode.startsWith('exp') ? 'iterations' : 'cycle'
    this.#scaleMode = options.scaleFn === undefined ? own : scaleMode
    this.#momentums = cycles ? base.map((one, i) => [one, max[i] as number]) : null
    this.begin()
  }

  /** How much of the way from the lowest to the highest. */
  #height(): number {
    const cycle = Math.floor(1 + this.lastEpoch / this.#totalSize)
    const x = 1 + this.lastEpoch / this.#totalSize - cycle
    const ratio = this.#stepRatio
    const height = x <= ratio ? x / ratio : (x - 1) / (ratio - 1)
    const scale = this.#scale(this.#scaleMode === 'cycle' ? cycle : this.lastEpoch)
    return height * checkNumber('CyclicLR', 'scaleFn(…)', scale)
  }

  protected override next(_lr: number, baseLr: number, group: number): number {
    const height = this.#height()
    const momentum = this.#momentums?.[group]
    if (momentum !== undefined) {
      const [base, max] = momentum
      setMomentum(groupsOf(this.optimizer)[group] as Group, max - (max - base) * height)
    }
    return baseLr + ((this.maxLrs[group] as number) - baseLr) * height
  }
}

/** What {@link OneCycleLR} takes: totalSteps, or epochs and stepsPerEpoch. */
export interface OneCycleLROptions {
  /** Steps in all. */
  totalSteps?: number
  epochs?: number
  stepsPerEpoch?: number
  /** The part of the steps that go up, in [0, 1]. Default 0.3. */
  pctStart?: number
  /** Along a cosine or a straight line. Default 'cos'. */
  annealStrategy?: 'cos' | 'linear'
  /** Move the momentum (or betas[0]) against the learning rate. Default true. */
  cycleMomentum?: boolean
  /** The momentum where the learning rate is highest, for all groups or each. Default 0.85. */
  baseMomentum?: number | readonly number[]
  /** The momentum at both ends, for all groups or each. Default 0.95. */
  maxMomentum?: number | readonly number[]
  /** The first learning rate is maxLr / divFactor. Default 25. */
  divFactor?: number
  /** The last is the first / finalDivFactor. Default 1e4. */
  finalDivFactor?: number
  /** Down to the first learning rate as fast as up, and then to the last. Default false. */
  threePhase?: boolean
}

interface Phase {
  /** The step in which it ends. */
  end: number
  from: 'initial' | 'max'
  to: 'initial' | 'max' | 'min'
}

/**
 * Up to a high learning rate and down to a very low one, in one go over the whole training; as
 * `OneCycleLR` (Smith & Topin 2018). Step it after every optimiser step; one step more than
 * totalSteps is an error.
 */
export class OneCycleLR extends LRScheduler {
  readonly totalSteps: number
  readonly #phases: readonly Phase[]
  readonly #rates: readonly Record<'initial' | 'max' | 'min', number>[]
  readonly #momentums: readonly (readonly [base: number, max: number])[] | null
  readonly #cosine: boolean

  /**
   * @param maxLr the highest learning rate, for all groups or each
   * @throws TypeError, RangeError
   */
  constructor(
    optimizer: HasLearningRate,
    maxLr: number | readonly number[],
    options: OneCycleLROptions = {},
  ) {
    const fn = 'OneCycleLR'
    const groups = groupsOf(checkOptimizer(fn, optimizer))
    checkOptions(fn, options, [
      'totalSteps',
      'epochs',
      'stepsPerEpoch',
      'pctStart',
      'annealStrategy',
      'cycleMomentum',
      'baseMomentum',
      'maxMomentum',
      'divFactor',
      'finalDivFactor',
      'threePhase',
    ])
    const total = totalStepsOf(fn, options)
    const part = checkNumber(fn, 'pctStart', options.pctStart ?? 0.3, 0, 1)
    const three = checkBoolean(fn, 'threePhase', options.threePhase ?? false)
    const phases = phasesOf(total, part, three)
    if (phases[0]?.end === 0) {
      throw rangeError(
        fn,
        'pctStart',
        'a way up of more than one step, or 0',
        `${part} of ${total} steps`,
      )
    }
    const strategies = ['cos', 'linear'] as const
    const strategy = checkOneOf(fn, 'annealStrategy', options.annealStrategy ?? 'cos', strategies)
    const cycles = checkBoolean(fn, 'cycleMomentum', options.cycleMomentum ?? true)
    if (cycles) checkMomentum(fn, groups)
    const base = perGroup(fn, 'baseMomentum', options.baseMomentum ?? 0.85, groups.length, 0)
    const max = perGroup(fn, 'maxMomentum', options.maxMomentum ?? 0.95, groups.length, 0)
    const div = checkDivisor(fn, 'divFactor', options.divFactor ?? 25)
    const finalDiv = checkDivisor(fn, 'finalDivFactor', options.finalDivFactor ?? 1e4)
    const rates = perGroup(fn, 'maxLr', maxLr, groups.length, 0).map((highest) => {
      const initial = highest / div
      return { initial, max: highest, min: initial / finalDiv }
    })
    groups.forEach((group, i) => {
      setInitialLr(group, rates[i]?.initial as number)
    })
    super(fn, optimizer)
    this.totalSteps = total
    this.#phases = phases
    this.#rates = rates
    this.#momentums = cycles ? base.map((one, i) => [one, max[i] as number]) : null
    this.#cosine = strategy === 'cos'
    this.begin()
  }

  override step(): void {
    const next = this.lastEpoch + 1
    if (next > this.totalSteps) {
      throw rangeError(
        'OneCycleLR.step',
        'totalSteps',
        `a call for each of the ${this.totalSteps} steps at most`,
        `call ${next}`,
      )
    }
    super.step()
  }

  protected override next(_lr: number, _baseLr: number, group: number): number {
    const step = this.lastEpoch
    const found = this.#phases.findIndex(({ end }) => step <= end)
    const i = found < 0 ? this.#phases.length - 1 : found
    const phase = this.#phases[i] as Phase
    const start = this.#phases[i - 1]?.end ?? 0
    if (phase.end === start)
      throw rangeError('OneCycleLR.step', 'totalSteps', 'steps for each phase', `none for ${i + 1}`)
    const part = (step - start) / (phase.end - start)
    const anneal = (from: number, to: number): number =>
      this.#cosine
        ? to + ((from - to) / 2) * (1 + Math.cos(Math.PI * part))
        : (to - from) * part + from
    const momentum = this.#momentums?.[group]
    if (momentum !== undefined) {
      // High where the rate is low.
      const at = (rate: Phase['to']): number => momentum[rate === 'max' ? 0 : 1]
      const now = anneal(at(phase.from), at(phase.to))
      setMomentum(groupsOf(this.optimizer)[group] as Group, now)
    }
    const rates = this.#rates[group] as Record<Phase['to'], number>
    return anneal(rates[phase.from], rates[phase.to])
  }
}

function totalStepsOf(fn: string, options: OneCycleLROptions): number {
  const { totalSteps, epochs, stepsPerEpoch } = options
  if (totalSteps !== undefined) return checkInteger(fn, 'totalSteps', totalSteps, 1)
  if (epochs === undefined || stepsPerEpoch === undefined)
    throw rangeError(fn, 'totalSteps', 'it, or epochs and stepsPerEpoch', 'neither')
  const steps = checkInteger(fn, 'stepsPerEpoch', stepsPerEpoch, 1)
  return checkInteger(fn, 'epochs', epochs, 1) * steps
}

function phasesOf(total: number, part: number, three: boolean): Phase[] {
  const up: Phase = { end: part * total - 1, from: 'initial', to: 'max' }
  if (!three) return [up, { end: total - 1, from: 'max', to: 'min' }]
  return [
    up,
    { end: 2 * part * total - 2, from: 'max', to: 'initial' },
    { end: total - 1, from: 'initial', to: 'min' },
  ]
}

function checkDivisor(fn: string, name: string, value: number): number {
  if (checkNumber(fn, name, value, 0) === 0) throw rangeError(fn, name, 'a number above 0', '0')
  return value
}
