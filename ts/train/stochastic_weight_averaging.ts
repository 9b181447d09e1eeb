/** Leaves the model with the mean of its weights over the last epochs. */
import { copyValues } from '../autograd.js'
import {
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  rangeError,
  typeError,
} from '../errors.js'
import type { Module } from '../nn/module.js'
import { copyInto } from '../ops/in_place.js'
import { lerpInto } from '../optim/lerp.js'
import type { SchedulerState } from '../optim/lr_scheduler.js'
import { type AvgFn, SWALR } from '../optim/swa_utils.js'
import { Tensor } from '../tensor.js'
import type { CallbackHooks, TrainerHandle } from './types.js'

/** What {@link StochasticWeightAveraging} takes. */
export interface StochasticWeightAveragingOptions {
  /** The learning rate while weights are averaged, above 0; for all parameter groups or each. */
  swaLrs: number | readonly number[]
  /** The epoch in which it begins, from 1 on; below 1: a part of `maxEpochs`. Default 0.8. */
  swaEpochStart?: number
  /** Epochs on the way to swaLrs. Default 10. */
  annealingEpochs?: number
  /** Along a cosine or a straight line. Default 'cos'. */
  annealingStrategy?: 'cos' | 'linear'
  /** How to average. Default: the mean. */
  avgFn?: AvgFn
}

interface State {
  nAveraged: number
  latestUpdateEpoch: number
  averages: ReadonlyMap<string, Tensor> | null
  schedule: SchedulerState | null
}

/**
 * Stochastic weight averaging (Izmailov et al. 2018); as Lightning's `StochasticWeightAveraging`.
 * From `swaEpochStart` on the weights at the beginning of each epoch are averaged, and the learning
 * rates go to `swaLrs` in place of the schedule. When all epochs have been run, the model gets the
 * averages; checkpoints keep what training goes on from. Running statistics of batch normalisations
 * are not computed anew: call `optim.swaUtils.updateBn` afterwards.
 */
export class StochasticWeightAveraging implements CallbackHooks {
  readonly options: Readonly<StochasticWeightAveragingOptions>
  #nAveraged = 0
  #latestUpdateEpoch = -1
  #averages: Map<string, Tensor> | null = null
  #schedule: SWALR | null = null
  /** Of a checkpoint, until there is an optimiser. */
  #loaded: SchedulerState | null = null
  #complete = false

  /** @throws TypeError, RangeError */
  constructor(options: StochasticWeightAveragingOptions) {
    const fn = 'StochasticWeightAveraging'
    checkOptions(fn, options, [
      'swaLrs',
      'swaEpochStart',
      'annealingEpochs',
      'annealingStrategy',
      'avgFn',
    ])
    const rates = Array.isArray(options.swaLrs) ? options.swaLrs : [options.swaLrs]
    for (const rate of rates as unknown[])
      if (checkNumber(fn, 'swaLrs', rate, 0) === 0)
        throw rangeError(fn, 'swaLrs', 'numbers above 0', '0')
    const { swaEpochStart = 0.8 } = options
    if (checkNumber(fn, 'swaEpochStart', swaEpochStart, 0) >= 1)
      checkInteger(fn, 'swaEpochStart', swaEpochStart, 1)
    if (options.annealingEpochs !== undefined)
      checkInteger(fn, 'annealingEpochs', options.annealingEpochs, 0)
    if (options.annealingStrategy !== undefined)
      checkOneOf(fn, 'annealingStrategy', options.annealingStrategy, ['cos', 'linear'])
    if (options.avgFn !== undefined && typeof options.avgFn !== 'function')
      throw typeError(fn, 'avgFn', 'a function', options.avgFn)
    this.options = { ...options }
  }

  onFitStart(trainer: TrainerHandle): void {
    this.#complete = false
    this.#first(trainer)
    if (this.#loaded === null) return
    this.#takeOver(trainer).loadStateDict(this.#loaded)
    this.#loaded = null
  }

  onTrainEpochStart(trainer: TrainerHandle, model: Module): void {
    const epoch = trainer.currentEpoch
    if (epoch < this.#first(trainer) || epoch <= this.#latestUpdateEpoch) return
    if (this.#schedule === null) this.#takeOver(trainer)
    this.#latestUpdateEpoch = epoch
    this.#update(model)
  }

  onTrainEpochEnd(trainer: TrainerHandle): void {
    this.#schedule?.step()
    this.#complete = trainer.currentEpoch + 1 >= trainer.options.maxEpochs
  }

  onTeardown(_trainer: TrainerHandle, model: Module): void {
    if (!this.#complete || this.#averages === null) return
    for (const [name, parameter] of model.namedParameters()) {
      const average = this.#averages.get(name)
      if (average !== undefined) copyInto('fit', parameter, average.to(parameter.device).buffer)
    }
  }

  /** The first epoch that counts, from 0. */
  #first(trainer: TrainerHandle): number {
    const { maxEpochs } = trainer.options
    if (!Number.isFinite(maxEpochs)) {
      const expected = 'a trainer with maxEpochs, of which the last are averaged'
      throw rangeError('StochasticWeightAveraging', 'maxEpochs', expected, 'none')
    }
    const { swaEpochStart = 0.8 } = this.options
    const start = swaEpochStart < 1 ? Math.floor(maxEpochs * swaEpochStart) : swaEpochStart
    return Math.max(start - 1, 0)
  }

  /** From now on the learning rates are its own. */
  #takeOver(trainer: TrainerHandle): SWALR {
    const { swaLrs, annealingEpochs = 10, annealingStrategy = 'cos' } = this.options
    const { optimizer } = trainer
    if (optimizer === null) throw new TypeError('[StochasticWeightAveraging] no training runs')
    trainer.schedule = null
    this.#schedule = new SWALR(optimizer, swaLrs, {
      annealEpochs: annealingEpochs,
      annealStrategy: annealingStrategy,
    })
    return this.#schedule
  }

  #update(model: Module): void {
    const current = new Map(model.namedParameters())
    if (this.#averages === null) {
      this.#averages = new Map([...current].map(([name, value]) => [name, copyValues(value)]))
    } else {
      const names = [...this.#averages.keys()].filter((name) => current.has(name))
      const averages = names.map((name) => this.#averages?.get(name) as Tensor)
      const values = names.map((name, i) =>
        (current.get(name) as Tensor).detach().to(averages[i]?.device as string),
      )
      this.#average(averages, values)
    }
    this.#nAveraged++
  }

  #average(averages: readonly Tensor[], values: readonly Tensor[]): void {
    const { avgFn } = this.options
    if (avgFn === undefined) {
      lerpInto(averages, values, 1 / (this.#nAveraged + 1))
      return
    }
    for (const [i, to] of averages.entries())
      copyInto('fit', to, avgFn(to, values[i] as Tensor, this.#nAveraged).buffer)
  }

  stateDict(): State {
    return {
      nAveraged: this.#nAveraged,
      latestUpdateEpoch: this.#latestUpdateEpoch,
      averages: this.#averages,
      schedule: this.#schedule?.stateDict() ?? this.#loaded,
    }
  }

  /** @throws TypeError, RangeError */
  loadStateDict(state: State): void {
    const fn = 'StochasticWeightAveraging.loadStateDict'
    checkOptions(fn, state, ['nAveraged', 'latestUpdateEpoch', 'averages', 'schedule'])
    const { averages, schedule } = state
    const fine = averages === null || averages instanceof Map
    if (!fine || [...(averages?.values() ?? [])].some((value) => !(value instanceof Tensor)))
      throw typeError(fn, 'averages', 'a state dict or null', averages)
    if (typeof schedule !== 'object') throw typeError(fn, 'schedule', 'a state or null', schedule)
    this.#nAveraged = checkInteger(fn, 'nAveraged', state.nAveraged, 0)
    this.#latestUpdateEpoch = checkInteger(fn, 'latestUpdateEpoch', state.latestUpdateEpoch, -1)
    this.#averages =
      averages && new Map([...averages].map(([name, value]) => [name, copyValues(value)]))
    this.#schedule = null
    this.#loaded = schedule
  }
}
