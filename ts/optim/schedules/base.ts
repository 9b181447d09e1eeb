/** What all schedules share; as `torch.optim.lr_scheduler.LRScheduler`. */
import { checkInteger, checkNumber, rangeError, typeError } from '../../errors.js'

/** What a schedule is about: an optimiser, whose groups may have learning rates of their own. */
export interface HasLearningRate {
  lr: number
  readonly paramGroups?: readonly { lr: number }[]
}

/** What a scheduler needs to go on; plain JSON. */
export interface SchedulerState {
  [name: string]: number | null | number[] | SchedulerState[]
}

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

/** A group with whatever options its optimiser has. */
export type Group = { lr: number; momentum?: number; betas?: readonly [number, number] }

export function checkOptimizer(fn: string, optimizer: HasLearningRate): HasLearningRate {
  if (typeof optimizer !== 'object' || optimizer === null || typeof optimizer.lr !== 'number') {
    throw typeError(fn, 'optimizer', 'an optimizer', optimizer)
  }
  return optimizer
}

/** The groups, or the optimiser itself where it has none. */
export function groupsOf(optimizer: HasLearningRate): readonly Group[] {
  return optimizer.paramGroups ?? [optimizer]
}

/** The learning rates that groups had when their first schedule was made; PyTorch's `initial_lr`. */
const initial = new WeakMap<object, number>()

/** As `group.setdefault('initial_lr', lr)`. */
function initialLr(group: Group): number {
  const known = initial.get(group)
  if (known !== undefined) return known
  initial.set(group, group.lr)
  return group.lr
}

/** For a schedule that brings its own. */
export function setInitialLr(group: Group, lr: number): void {
  initial.set(group, lr)
}

/** A number for all groups, or one for each. */
export function perGroup(
  fn: string,
  name: string,
  value: number | readonly number[],
  groups: number,
  min?: number,
): number[] {
  if (!Array.isArray(value)) return Array<number>(groups).fill(checkNumber(fn, name, value, min))
  if (value.length !== groups)
    throw rangeError(fn, name, `${groups} number(s), one a parameter group`, `${value.length}`)
  return value.map((one, i) => checkNumber(fn, `${name}[${i}]`, one, min))
}

/** A function for all groups, or one for each. */
export function functionPerGroup(
  fn: string,
  value: unknown,
  groups: number,
): ((epoch: number) => number)[] {
  const list = typeof value === 'function' ? Array(groups).fill(value) : value
  if (!Array.isArray(list) || list.some((one) => typeof one !== 'function'))
    throw typeError(fn, 'lrLambda', 'a function or an array of functions', value)
  if (list.length !== groups)
    throw rangeError(fn, 'lrLambda', `${groups} functions`, String(list.length))
  return list
}

export function stateRates(
  fn: string,
  state: SchedulerState,
  key: string,
  groups: number,
): number[] {
  if (typeof state !== 'object' || state === null)
    throw typeError(fn, 'state', 'a state dict', state)
  const rates = state[key]
  if (!Array.isArray(rates) || rates.length !== groups) {
    throw typeError(fn, `state.${key}`, `${groups} learning rate(s)`, rates)
  }
  return rates.map((rate, i) => checkNumber(fn, `state.${key}[${i}]`, rate))
}

/**
 * Base of the schedules that depend on the number of steps alone. As in PyTorch, an optimiser's
 * first schedule notes its learning rates; those made later on begin with the same.
 */
export abstract class LRScheduler implements Scheduler {
  readonly optimizer: HasLearningRate
  /** The learning rates at the beginning, one per parameter group. */
  baseLrs: number[]
  /** How often step() has been called. */
  lastEpoch = 0
  /** Whether the schedule is being made. */
  protected beginning = false
  #lastLr: number[]

  protected constructor(fn: string, optimizer: HasLearningRate) {
    this.optimizer = checkOptimizer(fn, optimizer)
    this.baseLrs = groupsOf(optimizer).map(initialLr)
    this.#lastLr = groupsOf(optimizer).map((group) => group.lr)
  }

  /**
   * The learning rate of a group for `lastEpoch`.
   * @param lr what the group has now
   * @param baseLr what it had at the beginning
   * @param group its number
   */
  protected abstract next(lr: number, baseLr: number, group: number): number

  /** The learning rate of a group for epoch 0, whatever it has now. */
  protected first(lr: number, baseLr: number, group: number): number {
    return this.next(lr, baseLr, group)
  }

  /** Sets the learning rates of the next epoch. */
  step(): void {
    this.lastEpoch++
    this.apply()
  }

  /** Sets the learning rates for `lastEpoch`. */
  protected apply(): void {
    this.setRates(groupsOf(this.optimizer).map(({ lr }, i) => this.next(lr, this.base(i), i)))
  }

  /** @internal */
  protected base(group: number): number {
    return this.baseLrs[group] as number
  }

  /** @internal */
  protected setRates(rates: readonly number[]): void {
    const groups = groupsOf(this.optimizer)
    groups.forEach((group, i) => {
      group.lr = rates[i] as number
    })
    this.#lastLr = groups.map((group) => group.lr)
  }

  /** Sets the learning rates of epoch 0: where a constructor ends. @internal */
  begin(): void {
    this.beginning = true
    try {
      this.lastEpoch = -1
      this.step()
    } finally {
      this.beginning = false
    }
  }

  /** Begins with epoch 0 where another schedule has ended. @internal */
  restart(): void {
    this.lastEpoch = 0
    this.setRates(groupsOf(this.optimizer).map(({ lr }, i) => this.first(lr, this.base(i), i)))
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
    // In a SequentialLR, schedules that have not begun are below 0.
    this.lastEpoch = checkInteger(fn, 'state.lastEpoch', state.lastEpoch, -9)
    this.baseLrs = baseLrs
    this.#lastLr = lastLr
  }
}
