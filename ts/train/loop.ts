/** One run of training: the epochs, their steps and validations, and the state that goes into checkpoints. */
import { rangeError } from '../errors.js'
import type { Module } from '../nn/module.js'
import type { Scheduler } from '../optim/lr_scheduler.js'
import { randomState, setRandomState } from '../random.js'
import type { Tensor } from '../tensor.js'
import { batchOn, deviceOf } from './batch.js'
import { restoreStates, statesOf } from './callback_states.js'
import { handOver, tensorsOf } from './carried.js'
import { claimCheckpoints, readCheckpoint, writeCheckpoint } from './checkpoint.js'
import { stepScheduler, validationDue } from './due.js'
import { checkResult, countOf, evaluate } from './evaluate.js'
import { FiniteCheck, finiteCarried } from './finite.js'
import { FitMetrics, FitStatus } from './fit_metrics.js'
import { History } from './history.js'
import type { Metering } from './meter.js'
import { ProgressBar } from './progress_bar.js'
import { disposeBatch, isSeekable, iterate, lengthOf } from './source.js'
import type { LoopState } from './state.js'
import { Stopwatch } from './stopwatch.js'
import type { StopRequest, Strategy } from './strategies/strategy.js'
import type {
  CallbackHooks,
  Carried,
  DataSource,
  Logger,
  LoopParts,
  SchedulerConfig,
  StepContext,
  StopReason,
  TrainerHandle,
} from './types.js'

/** Hooks without an argument of their own. */
export type Hook = Exclude<
  { [K in keyof CallbackHooks]-?: K extends `on${string}` ? K : never }[keyof CallbackHooks],
  'onException'
>

/** Reading more often than this keeps a progress bar alive when steps are slow. */
const READ_INTERVAL_MS = 1000

/**
 * One fit, the same in one process and in several: what differs is the strategy's. It owns where
 * training stands; the Trainer starts it and shows it.
 */
export class FitLoop<B> {
  /** The next batch to train with: its epoch and its number there. */
  epoch = 0
  batch = 0
  globalStep = 0
  /** Optimiser steps since fit was called. */
  stepsThisFit = 0
  /** Those of them that were left out because the loss or a gradient was not finite. */
  skippedSteps = 0
  readonly parts: LoopParts<B>
  /** What the Trainer shows of this fit. */
  readonly status = new FitStatus()
  /** Batches in an epoch, if known. */
  readonly length: number | null
  readonly #trainer: TrainerHandle
  readonly #strategy: Strategy
  readonly #meter: Metering
  readonly #metrics: FitMetrics
  #carried: Carried = null
  /** Where the model is in this epoch. */
  #device: string | null = null
  /** Of the parameters that the model has in this epoch. */
  #finite: FiniteCheck | null = null
  /** The batch number before which this epoch's last validation was made. */
  #validatedAt = -1
  #lastRead = 0
  /** Runs while training steps do. */
  readonly #stopwatch = new Stopwatch()

  constructor(trainer: TrainerHandle, parts: LoopParts<B>, strategy: Strategy) {
    this.#trainer = trainer
    this.parts = parts
    this.#strategy = strategy
    this.#meter = strategy.createMeter(
      (step, values, count) =>
        this.#metrics.add(this.epoch, step, values, count, () => this.rates.count),
      this.#requested,
    )
    this.#metrics = new FitMetrics(this.status, {
      logEveryNSteps: trainer.options.logEveryNSteps,
      loggers: this.loggers,
      derive: (means) => parts.model.deriveMetrics?.(means),
    })
    this.length = lengthOf(parts.trainData)
  }

  /** Trains until something ends it. */
  async run(): Promise<StopReason> {
    const { maxEpochs, maxSteps } = this.#trainer.options
    for (;;) {
      await this.#strategy.agree(this.#requested())
      if (this.#stopReason() === 'aborted') return 'aborted'
      if (this.epoch >= maxEpochs) return 'maxEpochs'
      if (this.globalStep >= maxSteps) return 'maxSteps'
      const stop = await this.#runEpoch()
      if (stop !== null) return stop
    }
  }

  /** Training steps per second, tokens (or whatever the steps count) per second, in this fit. */
  get rates(): { steps: number; count: number } {
    const { seconds } = this.#stopwatch
    return seconds > 0
      ? { steps: this.stepsThisFit / seconds, count: this.#meter.count / seconds }
      : { steps: 0, count: 0 }
  }

  /** The averages of this epoch so far. */
  get means(): Record<string, number> {
    return this.#metrics.means
  }

  readonly #aborted = (): boolean => this.#trainer.options.signal?.aborted ?? false

  /** Why this process wants to stop. */
  readonly #requested = (): StopRequest | null => {
    if (this.#aborted()) return 'aborted'
    return this.status.shouldStop ? 'shouldStop' : null
  }

  async #runEpoch(): Promise<StopReason | null> {
    const { trainData, validData } = this.parts
    this.status.currentEpoch = this.epoch
    this.#device = deviceOf(this.parts.model)
    this.#finite = new FiniteCheck(this.parts.model)
    this.#strategy.averageGradients(this.parts.model)
    await this.call('onTrainEpochStart')
    this.#stopwatch.start()
    const iterator = iterate(trainData, this.epoch, this.batch)
    let stop: StopReason | null
    try {
      stop = await this.#runBatches(iterator)
    } finally {
      await iterator.return?.()
    }
    await this.#meter.flush()
    this.#stopwatch.stop()
    if (stop === 'aborted') return stop
    if (stop === null && this.batch === 0) throw this.#emptyData()

    this.#metrics.publishMeans()
    const { valCheckInterval, checkValEveryNEpoch } = this.#trainer.options
    const due =
      valCheckInterval === null && (stop !== null || (this.epoch + 1) % checkValEveryNEpoch === 0)
    if (validData !== null && due && this.#validatedAt !== this.batch && !(await this.#validate()))
      return 'aborted'
    await this.#endEpoch(stop === null)
    await this.#strategy.agree(this.#requested())
    return stop ?? this.#stopReason()
  }

  /** The steps of an epoch and the validations between them. Null when the epoch is complete. */
  async #runBatches(iterator: AsyncIterator<B> | Iterator<B>): Promise<StopReason | null> {
    let stop: StopReason | null = null
    for (;;) {
      if (this.#validationDue()) {
        if (!(await this.#validate())) stop = 'aborted'
        this.#stopwatch.start()
      }
      const pace = this.#meter.pace()
      if (pace !== null) await pace
      stop ??= this.#stopReason()
      if (stop === 'aborted') return stop
      const next = await iterator.next()
      if (this.length === null) await this.#strategy.checkSameEnd(next.done ?? false, this.batch)
      if (next.done) return null
      if (stop !== null) {
        disposeBatch(this.parts.trainData, next.value)
        return stop
      }
      await this.#step(next.value)
      await this.call('onTrainBatchEnd')
    }
  }

  async #endEpoch(complete: boolean): Promise<void> {
    this.#metrics.epochEnded(this.epoch, this.globalStep, this.parts.optimizer.lr, this.rates.count)
    if (!complete) return
    const { schedule } = this.parts
    if (schedule !== null && schedule.interval !== 'step') this.#stepScheduler(schedule)
    this.epoch++
    this.batch = 0
    this.#validatedAt = -1
    this.#metrics.beginEpoch()
    this.#dropCarried()
    await this.call('onTrainEpochEnd')
  }

  #dropCarried(): void {
    for (const tensor of tensorsOf(this.#carried)) tensor[Symbol.dispose]()
    this.#carried = null
  }

  #emptyData(): RangeError {
    const got =
      this.epoch === 0
        ? 'none'
        : `none in epoch ${this.epoch} (a generator can be iterated only once; an array or an object with [Symbol.iterator] again and again)`
    return rangeError('fit', 'trainData', 'at least one batch', got)
  }

  #stopReason(): StopReason | null {
    const stop = this.#strategy.stopReason(this.#requested())
    if (stop !== null) return stop
    return this.globalStep >= this.#trainer.options.maxSteps ? 'maxSteps' : null
  }

  /** One batch: loss, gradients, the update. */
  async #step(given: B): Promise<void> {
    this.#meter.check()
    const { model, optimizer, trainData, schedule } = this.parts
    const batch = batchOn(given, this.#device)
    const context: StepContext = {
      epoch: this.epoch,
      batchIdx: this.batch,
      globalStep: this.globalStep,
      carried: this.#carried,
    }
    optimizer.zeroGrad()
    const result = checkResult('trainingStep', await model.trainingStep(batch, context))
    const { loss, metrics } = result
    const count = countOf(trainData, given, result)
    this.#strategy.setLossWeight(count)
    loss.backward()
    this.#carried = handOver(this.#carried, context.carried)
    disposeBatch(trainData, given, batch)
    this.batch++
    this.globalStep++
    this.stepsThisFit++
    this.#meter.queued(count)
    const update = await this.#mayUpdate(loss)
    if (update) {
      this.#metrics.began(this.globalStep, optimizer.lr)
      this.#meter.add(this.globalStep, count, { ...metrics, loss: loss.detach() })
    } else {
      for (const tensor of Object.values(metrics)) tensor[Symbol.dispose]()
    }
    loss[Symbol.dispose]()
    const now = performance.now()
    if (
      this.globalStep % this.#trainer.options.logEveryNSteps === 0 ||
      now - this.#lastRead > READ_INTERVAL_MS
    ) {
      this.#lastRead = now
      this.#meter.read()
    }
    if (update) await optimizer.step()
    if (schedule?.interval === 'step') this.#stepScheduler(schedule)
  }

  /** Whether to make a step's update. A check that fails later makes it do nothing. */
  async #mayUpdate(loss: Tensor): Promise<boolean> {
    const check = this.#finite as FiniteCheck
    if (this.#trainer.options.nonFinite === 'error') {
      check.queue(this.globalStep, loss)
      return true
    }
    const found = (await check.find(loss)) !== null
    if (!(await this.#strategy.any(found))) return true
    this.skippedSteps++
    // What the next step would begin with; the model may have given up what it had before.
    if (!(await finiteCarried(this.#carried))) this.#dropCarried()
    return false
  }

  /** The error to tell a user. */
  explain(error: unknown): unknown {
    return this.#finite?.explain(error) ?? error
  }

  #stepScheduler(schedule: SchedulerConfig): void {
    const monitor = this.parts.validData === null ? 'trainLoss' : 'valLoss'
    stepScheduler(schedule, this.status.callbackMetrics, monitor)
  }

  #validationDue(): boolean {
    const interval = this.#trainer.options.valCheckInterval
    if (this.parts.validData === null || interval === null) return false
    if (this.batch === 0 || this.#validatedAt === this.batch) return false
    return validationDue(interval, this.batch, this.length)
  }

  /** False when the signal came first. */
  async #validate(): Promise<boolean> {
    await this.#meter.flush()
    this.#stopwatch.stop()
    await this.call('onValidationStart')
    const means = await evaluate(
      this.parts.model,
      this.parts.validData as DataSource<B>,
      this,
      () => this.#strategy.stopsAlone && this.#aborted(),
      (totals) => this.#strategy.total(totals),
    )
    if (means === null) return false
    await this.#strategy.agree(this.#requested())
    this.#metrics.validated(this.epoch, this.globalStep, means)
    this.#validatedAt = this.batch
    await this.call('onValidationEnd')
    return true
  }

  /** The loggers, in the process that has them write. */
  get loggers(): readonly Logger[] {
    return this.#strategy.isGlobalZero ? this.#trainer.loggers : []
  }

  /** The callbacks; the bar that shows progress is in one process only. */
  get callbacks(): readonly CallbackHooks[] {
    const { callbacks } = this.#trainer
    return this.#strategy.isGlobalZero
      ? callbacks
      : callbacks.filter((one) => !(one instanceof ProgressBar))
  }

  /** Calls a hook of every callback, one after the other. */
  async call(hook: Hook): Promise<void> {
    for (const callback of this.callbacks) {
      const result = callback[hook]?.(this.#trainer, this.parts.model)
      if (result !== undefined) await result
    }
  }

  /** Writes everything that {@link restore} needs. */
  async save(path: string): Promise<void> {
    await this.#meter.flush()
    const carried = await this.#strategy.gather(this.#carried)
    if (this.#strategy.isGlobalZero) await this.#write(path, carried)
  }

  async #write(path: string, carried: Carried): Promise<void> {
    const { model, optimizer, schedule, trainData } = this.parts
    const state: LoopState = {
      epoch: this.epoch,
      batch: this.batch,
      globalStep: this.globalStep,
      validatedAt: this.#validatedAt,
      carried,
      epochTotals: this.#metrics.epochTotals,
      windowTotals: this.#metrics.windowTotals,
      callbackMetrics: this.status.callbackMetrics,
      random: randomState(),
      optimizer: optimizer.stateDict(),
      scheduler: schedule?.scheduler.stateDict() ?? null,
      trainData: isSeekable(trainData) ? trainData.state() : null,
      callbacks: statesOf(this.#trainer.callbacks),
      history: this.status.history.toJSON(),
    }
    await writeCheckpoint(path, model as Module, state, this.#trainer)
  }

  /** Keeps other trainings out of folders. @returns gives them back @throws (rejects) Error */
  async claim(paths: readonly string[]): Promise<() => Promise<void>> {
    return claimCheckpoints(this.#strategy.isGlobalZero ? paths : [], this.#trainer)
  }

  /** Goes back to a checkpoint. @throws (rejects) Error, RangeError when it does not fit */
  async restore(path: string): Promise<void> {
    const model = this.parts.model as Module
    // The weights that the model goes back to when the rest does not fit.
    const before = new Map([...model.stateDict()].map(([name, value]) => [name, value.clone()]))
    try {
      this.#takeOver(await readCheckpoint(path, model))
      await this.#cutLogs()
    } catch (error) {
      model.loadStateDict(before)
      throw error
    } finally {
      for (const tensor of before.values()) tensor[Symbol.dispose]()
    }
  }

  /** What loggers have got since the checkpoint comes again. */
  async #cutLogs(): Promise<void> {
    const step = this.globalStep
    const records = this.status.history.records.filter((record) => record.step === step)
    for (const logger of this.loggers) await logger.resume?.(step, records.length)
  }

  #takeOver(state: LoopState): void {
    const { optimizer, schedule, trainData } = this.parts
    this.epoch = state.epoch
    this.batch = state.batch
    this.globalStep = state.globalStep
    this.#validatedAt = state.validatedAt
    const carried = this.#strategy.partOf(state.carried)
    this.#carried = batchOn(carried, deviceOf(this.parts.model))
    this.#metrics.epochTotals = state.epochTotals
    this.#metrics.windowTotals = state.windowTotals
    optimizer.loadStateDict(state.optimizer as never)
    if (schedule !== null && state.scheduler !== null)
      (schedule.scheduler as Scheduler).loadStateDict(state.scheduler)
    if (isSeekable(trainData) && state.trainData !== null) trainData.restore(state.trainData)
    this.status.callbackMetrics = state.callbackMetrics
    this.status.history = History.fromJSON(state.history)
    restoreStates(this.#trainer.callbacks, state.callbacks)
    setRandomState(state.random)
  }
}
