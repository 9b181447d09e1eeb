/** Schedules that follow a cosine. */
import { checkInteger, checkNumber, checkOptions } from '../../errors.js'
import { type HasLearningRate, LRScheduler, type SchedulerState } from './base.js'

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
    this.begin()
  }

  protected override next(lr: number, baseLr: number): number {
    const { lastEpoch: epoch, tMax, etaMin } = this
    if (this.beginning) return lr
    // On the way up from the bottom the quotient below would be 0 / 0.
    if ((epoch - 1 - tMax) % (2 * tMax) === 0) {
      return lr + ((baseLr - etaMin) * (1 - Math.cos(Math.PI / tMax))) / 2
    }
    const now = 1 + Math.cos((Math.PI * epoch) / tMax)
    const before = 1 + Math.cos((Math.PI * (epoch - 1)) / tMax)
    return (now / before) * (lr - etaMin) + etaMin
  }

  protected override first(_lr: number, baseLr: number): number {
    return baseLr
  }
}

/**
 * Half a cosine from the first learning rate to `etaMin` in `t0` epochs, then again, each time
 * `tMult` times as long; as `CosineAnnealingWarmRestarts` (Loshchilov & Hutter 2017, SGDR).
 */
export class CosineAnnealingWarmRestarts extends LRScheduler {
  readonly t0: number
  readonly tMult: number
  readonly etaMin: number
  /** Epochs since the last restart. */
  tCur = 0
  /** Epochs between the last restart and the next. */
  tI: number

  /** @param options.tMult default 1; options.etaMin default 0 */
  constructor(
    optimizer: HasLearningRate,
    t0: number,
    options: { tMult?: number; etaMin?: number } = {},
  ) {
    const fn = 'CosineAnnealingWarmRestarts'
    super(fn, optimizer)
    checkOptions(fn, options, ['tMult', 'etaMin'])
    this.t0 = checkInteger(fn, 't0', t0, 1)
    this.tI = this.t0
    this.tMult = checkInteger(fn, 'tMult', options.tMult ?? 1, 1)
    this.etaMin = checkNumber(fn, 'etaMin', options.etaMin ?? 0)
    this.begin()
  }

  /**
   * Sets the learning rates of the next epoch, or of any.
   * @param epoch from 0; a fraction for a step within an epoch, as `epoch + i / batches`
   * @throws RangeError, TypeError
   */
  override step(epoch?: number): void {
    const { t0, tMult } = this
    if (epoch !== undefined) checkNumber('CosineAnnealingWarmRestarts.step', 'epoch', epoch, 0)
    const to = epoch ?? (this.lastEpoch < 0 ? 0 : undefined)
    if (to === undefined) {
      this.lastEpoch++
      this.tCur++
      if (this.tCur >= this.tI) {
        this.tCur %= this.tI
        this.tI *= tMult
      }
      this.apply()
      return
    }
    if (to < t0) {
      this.tI = t0
      this.tCur = to
    } else if (tMult === 1) {
      this.tCur = to % t0
    } else {
      const times = Math.floor(Math.log((to / t0) * (tMult - 1) + 1) / Math.log(tMult))
      this.tCur = to - (t0 * (tMult ** times - 1)) / (tMult - 1)
      this.tI = t0 * tMult ** times
    }
    this.lastEpoch = Math.floor(to)
    this.apply()
  }

  protected override next(_lr: number, baseLr: number): number {
    const { etaMin, tCur, tI } = this
    return etaMin + ((baseLr - etaMin) * (1 + Math.cos((Math.PI * tCur) / tI))) / 2
  }

  override stateDict(): SchedulerState {
    return { ...super.stateDict(), tCur: this.tCur, tI: this.tI }
  }

  override loadStateDict(state: SchedulerState): void {
    const fn = 'CosineAnnealingWarmRestarts.loadStateDict'
    const tCur = checkNumber(fn, 'state.tCur', state?.tCur, 0)
    const tI = checkInteger(fn, 'state.tI', state?.tI, 1)
    super.loadStateDict(state)
    this.tCur = tCur
    this.tI = tI
  }
}
