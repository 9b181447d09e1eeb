/** Ends training when a metric stops improving. */
import { copyValues } from '../autograd.js'
import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  typeError,
} from '../errors.js'
import type { Module } from '../nn/module.js'
import { Tensor } from '../tensor.js'
import { isBetter, monitored, stateKeyOf } from './monitor.js'
import type { CallbackHooks, TrainerHandle } from './types.js'

export interface EarlyStoppingOptions {
  /** The metric to watch. Default 'valLoss'. */
  monitor?: string
  /** How much better counts as an improvement. Default 0. */
  minDelta?: number
  /** How many checks without improvement to accept. Default 3. */
  patience?: number
  /** Whether the metric should fall ('min') or rise ('max'). Default 'min'. */
  mode?: 'min' | 'max'
  /** End training when the metric is NaN or infinite. Default true. */
  checkFinite?: boolean
  /** End training as soon as the metric is better than this. Default: never. */
  stoppingThreshold?: number
  /** End training as soon as the metric is worse than this. Default: never. */
  divergenceThreshold?: number
  /**
   * Give the model the weights of the best check when `fit` ends; as in Keras. Checkpoints keep
   * both those and the latest ones. Default false.
   */
  restoreBestWeights?: boolean
}

/** What a checkpoint has of it. */
interface State {
  bestScore: number | null
  waitCount: number
  /** With restoreBestWeights: the model's state dict at the best check, once there was one. */
  bestWeights?: ReadonlyMap<string, Tensor> | null
}

/**
 * Ends training when a metric has not improved for a while; as Lightning's `EarlyStopping`. A
 * validation metric ('val…') is checked after each validation, another one after each epoch.
 */
export class EarlyStopping implements CallbackHooks {
  readonly monitor: string
  readonly minDelta: number
  readonly patience: number
  readonly mode: 'min' | 'max'
  readonly checkFinite: boolean
  readonly stoppingThreshold: number | null
  readonly divergenceThreshold: number | null
  readonly restoreBestWeights: boolean
  bestScore: number | null = null
  /** Checks without improvement so far. */
  waitCount = 0
  /** The epoch in which it ended training, or null. */
  stoppedEpoch: number | null = null
  #bestWeights: ReadonlyMap<string, Tensor> | null = null

  /** @throws TypeError, RangeError */
  constructor(options: EarlyStoppingOptions = {}) {
    const fn = 'EarlyStopping'
    checkOptions(fn, options, [
      'monitor',
      'minDelta',
      'patience',
      'mode',
      'checkFinite',
      'stoppingThreshold',
      'divergenceThreshold',
      'restoreBestWeights',
    ])
    this.monitor = options.monitor ?? 'valLoss'
    if (typeof this.monitor !== 'string')
      throw typeError(fn, 'monitor', 'the name of a metric', this.monitor)
    this.minDelta = checkNumber(fn, 'minDelta', options.minDelta ?? 0, 0)
    this.patience = checkInteger(fn, 'patience', options.patience ?? 3, 0)
    this.mode = checkOneOf(fn, 'mode', options.mode ?? 'min', ['min', 'max'])
    this.checkFinite = checkBoolean(fn, 'checkFinite', options.checkFinite ?? true)
    const limit = (name: 'stoppingThreshold' | 'divergenceThreshold'): number | null =>
      options[name] === undefined ? null : checkNumber(fn, name, options[name])
    this.stoppingThreshold = limit('stoppingThreshold')
    this.divergenceThreshold = limit('divergenceThreshold')
    const { restoreBestWeights = false } = options
    this.restoreBestWeights = checkBoolean(fn, 'restoreBestWeights', restoreBestWeights)
  }

  /** Its class, metric and mode; as in Lightning. */
  get stateKey(): string {
    return stateKeyOf(this, 'EarlyStopping', { monitor: this.monitor, mode: this.mode })
  }

  onValidationEnd(trainer: TrainerHandle, model: Module): void {
    if (this.monitor.startsWith('val')) this.#check(trainer, model)
  }

  onTrainEpochEnd(trainer: TrainerHandle, model: Module): void {
    if (!this.monitor.startsWith('val') || !trainer.validating) this.#check(trainer, model)
  }

  onTeardown(_trainer: TrainerHandle, model: Module): void {
    if (this.#bestWeights !== null) model.loadStateDict(new Map(this.#bestWeights))
  }

  #check(trainer: TrainerHandle, model: Module): void {
    const score = monitored('EarlyStopping', this.monitor, trainer)
    if (score === null) return
    if (isBetter(score, this.bestScore, this.mode, this.minDelta)) {
      this.bestScore = score
      this.waitCount = 0
      if (this.restoreBestWeights) this.#keep(model)
    } else {
      this.waitCount++
    }
    if (!this.#shouldStop(score)) return
    this.stoppedEpoch = trainer.currentEpoch
    trainer.shouldStop = true
  }

  #shouldStop(score: number): boolean {
    if (this.checkFinite && !Number.isFinite(score)) return true
    const sign = this.mode === 'min' ? 1 : -1
    const { stoppingThreshold, divergenceThreshold } = this
    if (stoppingThreshold !== null && sign * score < sign * stoppingThreshold) return true
    if (divergenceThreshold !== null && sign * score > sign * divergenceThreshold) return true
    return this.waitCount > 0 && this.waitCount >= this.patience
  }

  #keep(model: Module): void {
    const before = this.#bestWeights
    this.#bestWeights = copyOf(model.stateDict())
    for (const tensor of before?.values() ?? []) tensor[Symbol.dispose]()
  }

  stateDict(): object {
    const state: State = { bestScore: this.bestScore, waitCount: this.waitCount }
    return this.restoreBestWeights ? { ...state, bestWeights: this.#bestWeights } : state
  }

  /** @throws TypeError, RangeError */
  loadStateDict(state: State): void {
    const fn = 'EarlyStopping.loadStateDict'
    checkOptions(fn, state, ['bestScore', 'waitCount', 'bestWeights'])
    if (state.bestScore !== null) checkNumber(fn, 'bestScore', state.bestScore)
    checkInteger(fn, 'waitCount', state.waitCount, 0)
    const weights = state.bestWeights ?? null
    const fine = weights === null || weights instanceof Map
    if (!fine || [...(weights?.values() ?? [])].some((value) => !(value instanceof Tensor)))
      throw typeError(fn, 'bestWeights', 'a state dict or null', weights)
    this.bestScore = state.bestScore
    this.waitCount = state.waitCount
    this.#bestWeights = this.restoreBestWeights && weights !== null ? copyOf(weights) : null
  }
}

/** Values of their own. */
function copyOf(weights: ReadonlyMap<string, Tensor>): ReadonlyMap<string, Tensor> {
  return new Map([...weights].map(([name, value]) => [name, copyValues(value)]))
}
