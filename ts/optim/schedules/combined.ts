/** Schedules that are made of others. */
import { checkInteger, rangeError, typeError } from '../../errors.js'
import {
  checkOptimizer,
  groupsOf,
  type HasLearningRate,
  LRScheduler,
  type SchedulerState,
} from './base.js'

/** @throws TypeError, RangeError unless they are schedules of this optimiser */
function checkSchedulers(
  fn: string,
  schedulers: readonly LRScheduler[],
  optimizer?: HasLearningRate,
): LRScheduler[] {
  if (!Array.isArray(schedulers))
    throw typeError(fn, 'schedulers', 'an array of schedulers', schedulers)
  if (schedulers.length === 0) throw rangeError(fn, 'schedulers', 'at least one', 'none')
  // A copy has no holes, which forEach would pass over.
  const list = [...(schedulers as readonly LRScheduler[])]
  const own = optimizer ?? (list[0] as Partial<LRScheduler> | null | undefined)?.optimizer
  list.forEach((scheduler, i) => {
    if (!(scheduler instanceof LRScheduler)) {
      const expected = 'a scheduler that depends on the number of steps alone'
      throw typeError(fn, `schedulers[${i}]`, expected, scheduler)
    }
    if (scheduler.optimizer !== own)
      throw rangeError(fn, `schedulers[${i}]`, 'a scheduler of the same optimizer', 'another')
  })
  return list
}

/** What both share: the schedules' states. */
abstract class Combined extends LRScheduler {
  protected readonly schedulers: readonly LRScheduler[]

  constructor(fn: string, optimizer: HasLearningRate, schedulers: readonly LRScheduler[]) {
    super(fn, optimizer)
    this.schedulers = schedulers
  }

  override stateDict(): SchedulerState {
    const schedulers = this.schedulers.map((scheduler) => scheduler.stateDict())
    return { ...super.stateDict(), schedulers }
  }

  override loadStateDict(state: SchedulerState): void {
    const fn = `${this.constructor.name}.loadStateDict`
    const states = state?.schedulers
    if (!Array.isArray(states) || states.length !== this.schedulers.length)
      throw typeError(fn, 'state.schedulers', `${this.schedulers.length} state dicts`, states)
    const before = this.schedulers.map((scheduler) => scheduler.stateDict())
    const load = (all: readonly SchedulerState[]): void => {
      this.schedulers.forEach((scheduler, i) => {
        scheduler.loadStateDict(all[i] as SchedulerState)
      })
    }
    try {
      load(states as SchedulerState[])
      super.loadStateDict(state)
    } catch (error) {
      load(before)
      throw error
    }
  }

  override restart(): void {
    throw rangeError(
      'SequentialLR',
      'schedulers',
      'plain schedulers behind the first',
      this.constructor.name,
    )
  }

  /** Takes back what the constructors of schedules have counted. */
  protected undo(): void {
    for (const scheduler of this.schedulers) {
      if (scheduler instanceof Combined) scheduler.undo()
      else scheduler.lastEpoch--
    }
  }

  protected next(lr: number): number {
    return lr
  }

  /** Keeps the learning rates that a schedule has set. */
  protected keepRates(): void {
    this.setRates(groupsOf(this.optimizer).map((group) => group.lr))
  }
}

/**
 * One schedule after the other; as `SequentialLR`. At a milestone the next one begins with its
 * epoch 0. A ChainedScheduler or a SequentialLR can only be the first.
 */
export class SequentialLR extends Combined {
  readonly milestones: readonly number[]

  /**
   * @param milestones the epochs at which the second, third, … schedule begins
   * @throws TypeError, RangeError
   */
  constructor(
    optimizer: HasLearningRate,
    schedulers: readonly LRScheduler[],
    milestones: readonly number[],
  ) {
    const fn = 'SequentialLR'
    const list = checkSchedulers(fn, schedulers, checkOptimizer(fn, optimizer))
    if (!Array.isArray(milestones))
      throw typeError(fn, 'milestones', 'an array of epochs', milestones)
    if (milestones.length !== list.length - 1) {
      const expected = `${list.length - 1} milestone(s), one fewer than schedulers`
      throw rangeError(fn, 'milestones', expected, String(milestones.length))
    }
    milestones.forEach((epoch, i) => {
      checkInteger(fn, `milestones[${i}]`, epoch, i === 0 ? 0 : (milestones[i - 1] as number))
    })
    list.slice(1).forEach((scheduler, i) => {
      if (scheduler instanceof Combined) {
        const name = `schedulers[${i + 1}]`
        throw rangeError(fn, name, 'a plain scheduler behind the first', scheduler.constructor.name)
      }
    })
    super(fn, optimizer, list)
    this.milestones = [...milestones]
    this.setRates(this.baseLrs)
    this.undo()
    this.#at(0).begin()
    this.keepRates()
  }

  /** The schedule for an epoch. */
  #at(epoch: number): LRScheduler {
    return this.schedulers[this.#number(epoch)] as LRScheduler
  }

  #number(epoch: number): number {
    return this.milestones.filter((milestone) => milestone <= epoch).length
  }

  override step(): void {
    this.lastEpoch++
    const i = this.#number(this.lastEpoch)
    const scheduler = this.#at(this.lastEpoch)
    if (i > 0 && this.milestones[i - 1] === this.lastEpoch) scheduler.restart()
    else scheduler.step()
    this.keepRates()
  }

  /** As the first of another one it has counted its own beginning already. */
  override begin(): void {
    this.step()
  }
}

/** Several schedules at once, each changing what the one before has set; as `ChainedScheduler`. */
export class ChainedScheduler extends Combined {
  /** @param schedulers of one optimiser @throws TypeError, RangeError */
  constructor(schedulers: readonly LRScheduler[]) {
    const list = checkSchedulers('ChainedScheduler', schedulers)
    super('ChainedScheduler', (list[0] as LRScheduler).optimizer, list)
  }

  override step(): void {
    this.lastEpoch++
    for (const scheduler of this.schedulers) scheduler.step()
    this.keepRates()
  }
}
