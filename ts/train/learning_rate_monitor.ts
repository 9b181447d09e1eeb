/** Logs the learning rates of all parameter groups. */
import { checkBoolean, checkOneOf, checkOptions } from '../errors.js'
import type { CallbackHooks, TrainerHandle } from './types.js'

/** What {@link LearningRateMonitor} takes. */
export interface LearningRateMonitorOptions {
  /**
   * 'step': before every `logEveryNSteps`-th optimiser step; 'epoch': before each epoch. Default: as
   * often as the schedule is stepped, 'epoch' without one.
   */
  loggingInterval?: 'step' | 'epoch'
  /** Log momenta (or betas[0]) as well. Default false. */
  logMomentum?: boolean
}

interface Group {
  lr: number
  momentum?: number
  betas?: readonly number[]
}

/**
 * Logs `lr-SGD` (the name of the optimiser), with several parameter groups `lr-SGD/pg1`, …; and
 * `lr-SGD-momentum`. As Lightning's `LearningRateMonitor`.
 */
export class LearningRateMonitor implements CallbackHooks {
  readonly loggingInterval: 'step' | 'epoch' | null
  readonly logMomentum: boolean
  #loggedAt = -1

  /** @throws TypeError */
  constructor(options: LearningRateMonitorOptions = {}) {
    const fn = 'LearningRateMonitor'
    checkOptions(fn, options, ['loggingInterval', 'logMomentum'])
    const { loggingInterval } = options
    this.loggingInterval =
      loggingInterval === undefined
        ? null
        : checkOneOf<'step' | 'epoch'>(fn, 'loggingInterval', loggingInterval, ['step', 'epoch'])
    this.logMomentum = checkBoolean(fn, 'logMomentum', options.logMomentum ?? false)
  }

  onFitStart(): void {
    this.#loggedAt = -1
  }

  onTrainEpochStart(trainer: TrainerHandle): void {
    if (this.#interval(trainer) === 'epoch') this.#log(trainer)
  }

  onTrainBatchStart(trainer: TrainerHandle): void {
    const { globalStep } = trainer
    if (this.#interval(trainer) !== 'step' || globalStep === this.#loggedAt) return
    if ((globalStep + 1) % trainer.options.logEveryNSteps !== 0) return
    this.#loggedAt = globalStep
    this.#log(trainer)
  }

  #interval({ schedule }: TrainerHandle): 'step' | 'epoch' {
    return this.loggingInterval ?? schedule?.interval ?? 'epoch'
  }

  #log(trainer: TrainerHandle): void {
    const optimizer = trainer.optimizer as (Group & { paramGroups?: readonly Group[] }) | null
    if (optimizer === null) return
    const groups = optimizer.paramGroups ?? [optimizer]
    const metrics: Record<string, number> = {}
    groups.forEach((group, i) => {
      const name = `lr-${optimizer.constructor.name}${groups.length > 1 ? `/pg${i + 1}` : ''}`
      metrics[name] = group.lr
      const momentum = group.betas?.[0] ?? group.momentum
      if (this.logMomentum && momentum !== undefined) metrics[`${name}-momentum`] = momentum
    })
    trainer.logMetrics(metrics)
  }
}
