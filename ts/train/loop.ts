/** One run of training: the epochs, their steps and validations, and the state that goes into checkpoints. */
import type { Module } from '../nn/module.js'
import type { Tensor } from '../tensor.js'
import { batchOn, deviceOf } from './batch.js'
import { dropped, handOver } from './carried.js'
import { claimCheckpoints, readCheckpoint, writeCheckpoint } from './checkpoint.js'
import { Clock } from './clock.js'
import { stepScheduler, validationDue } from './due.js'
import { checkResult, countOf, evaluate, skippedAlone } from './evaluate.js'
import { explainIndex } from './explain.js'
import { finiteCarried } from './finite.js'
import { FitMetrics, FitStatus } from './fit_metrics.js'
import { allOrNothing, cutLogs, restoreShared, sharedState } from './fit_state.js'
import { History } from './history.js'
import { Hooks } from './hooks.js'
import { batchesOf, limitedLength } from './limits.js'
import type { Metering } from './meter.js'
import { precisionOn, tellOfChange } from './precision.js'
import { ProgressBar } from './progress_bar.js'
import { EpochReader } from './reader.js'
import { SaveGate } from './save_gate.js'
import { disposeBatch, iterate, lengthOf, noBatch } from './source.js'
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
import { Updates } from './updates.js'
import { type Batches, withBatches } from './waiting.js'

interface StepLoss {
  loss: Tensor
}

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
  readonly parts: LoopParts<B>
  /** What the Trainer shows of this fit. */
  readonly status = new FitStatus()
  /** Batches in an epoch, if known. */
  readonly length: number | null
  /** No more than these of training and validation data; null: all. */
  readonly #limits: { train: number | null; valid: number | null }
  readonly hooks: Hooks
  readonly #trainer: TrainerHandle
  readonly #strategy: Strategy
  readonly #meter: Metering
  readonly #metrics: FitMetrics
  #carried: Carried = null
  /** Where the model is in this epoch. */
  #device: string | null = null
  readonly #updates: Updates
  /** The batch number before which this epoch's last validation was made. */
  #validatedAt = -1
  #lastRead = 0
  /** Runs while training steps do. */
  readonly #stopwatch = new Stopwatch()
  /** Keeps steps and saves apart. */
  readonly #gate = new SaveGate()
  /** Whether an update has failed halfway. */
  #torn = false
  #running = false
  readonly #clock = new Clock()

  constructor(trainer: TrainerHandle, parts: LoopParts<B>, strategy: Strategy) {
    this.#trainer = trainer
    this.parts = parts
    this.#strategy = strategy
    // The bar that shows progress is in one process only.
    const shown = (one: CallbackHooks): boolean =>
      strategy.isGlobalZero || !(one instanceof ProgressBar)
    this.hooks = new Hooks(trainer, trainer.callbacks.filter(shown), parts.model as Module)
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
    const { limitTrainBatches, limitValBatches } = trainer.options
    const { trainData, validData } = parts
    this.#limits = {
      train: batchesOf('limitTrainBatches', limitTrainBatches, trainData),
      valid: validData && batchesOf('limitValBatches', limitValBatches, validData),
    }
    this.length = limitedLength(lengthOf(trainData), this.#limits.train)
    this.#updates = new Updates(parts as LoopParts<never>, trainer.options, strategy)
  }

  /** Steps of this fit that were left out because the loss or a gradient was not finite. */
  get skippedSteps(): number {
    return this.#updates.skipped
  }

  /** Trains until something ends it. */
  async run(): Promise<StopReason> {
    this.#running = true
    this.#clock.start()
    try {
      let stop: StopReason | null = null
      while (stop === null) stop = (await this.#beforeEpoch()) ?? (await this.#runEpoch())
      return stop
    } finally {
      this.#clock.stop()
      this.#running = false
      await this.#gate.idle()
    }
  }

  /** Why there is to be no other epoch. */
  async #beforeEpoch(): Promise<StopReason | null> {
    const { maxEpochs, maxSteps } = this.#trainer.options
    await this.#strategy.agree(this.#requested())
    const stop = this.#strategy.stopReason(this.#requested())
    if (stop === 'aborted') return stop
    if (this.epoch >= maxEpochs) return 'maxEpochs'
    if (stop === 'maxTime') return stop
    return this.globalStep >= maxSteps ? 'maxSteps' : null
  }

  /** Whether there is anything to validate with. */
  get validating(): boolean {
    return this.parts.validData !== null && this.#limits.valid !== 0
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
    if (this.status.shouldStop) return 'shouldStop'
    return this.#clock.seconds >= (this.#trainer.options.maxTime ?? Infinity) ? 'maxTime' : null
  }

  async #runEpoch(): Promise<StopReason | null> {
    const { trainData } = this.parts
    this.status.currentEpoch = this.epoch
    this.#device = deviceOf(this.parts.model)
    this.#updates.beginEpoch()
    this.#strategy.averageGradients(this.parts.model)
    await this.hooks.call('onTrainEpochStart')
    this.#stopwatch.start()
    const stop = await withBatches(
      iterate(trainData, this.#trainer.options.overfitBatches > 0 ? 0 : this.epoch, this.batch),
      this.#strategy.stopsAlone ? this.#trainer.options.signal : null,
      (batches) => this.#runBatches(batches),
    )
    await this.#meter.flush()
    this.#stopwatch.stop()
    if (stop === 'aborted') return stop
    if (stop === null && this.batch === 0) throw noBatch(this.epoch)

    this.#metrics.publishMeans()
    const { valCheckInterval, checkValEveryNEpoch } = this.#trainer.options
    const due =
      valCheckInterval === null && (stop !== null || (this.epoch + 1) % checkValEveryNEpoch === 0)
    if (this.validating && due && this.#validatedAt !== this.batch && !(await this.#validate()))
      return 'aborted'
    await this.#endEpoch(stop === null)
    await this.#strategy.agree(this.#requested())
    return stop ?? this.#stopReason()
  }

  /** The steps of an epoch and the validations between them. Null when the epoch is complete. */
  async #runBatches(batches: Batches<B>): Promise<StopReason | null> {
    const reader = new EpochReader(batches, {
      length: this.length,
      limit: this.#limits.train,
      marksLast: this.#trainer.options.accumulateGradBatches > 1,
      checkSameEnd: (done) => this.#strategy.checkSameEnd(done, this.batch),
    })
    try {
      return await this.#runReader(reader)
    } finally {
      reader.end(this.parts.trainData)
    }
  }

  async #runReader(reader: EpochReader<B>): Promise<StopReason | null> {
    let stop: StopReason | null = null
    for (;;) {
      if (this.#validationDue()) {
        if (!(await this.#validate())) stop = 'aborted'
        this.#stopwatch.start()
      }
      const pace = this.#meter.pace()
      if (pace !== null) await pace
      const reason = this.#stopReason()
      if (reason === 'aborted' || !this.#updates.open) stop ??= reason
      if (stop === 'aborted') return stop
      if (reader.full(this.batch)) return null
      const next = await reader.next()
      if (next === null) return 'aborted'
      if (next.done) return null
      if (stop !== null) {
        disposeBatch(this.parts.trainData, next.value)
        return stop
      }
      const last = await reader.isLast(this.batch)
      await this.hooks.call('onTrainBatchStart')
      await this.#gate.step(() => this.#step(next.value, last))
      await this.hooks.call('onTrainBatchEnd')
    }
  }

  async #endEpoch(complete: boolean): Promise<void> {
    await this.#gate.step(async () => this.#closeEpoch(complete))
    if (complete) await this.hooks.call('onTrainEpochEnd')
  }

  #closeEpoch(complete: boolean): void {
    const { optimizer, schedule } = this.parts
    this.#metrics.epochEnded(this.epoch, this.globalStep, optimizer.lr, this.rates.count)
    if (!complete) return
    if (schedule !== null && schedule.interval !== 'step') this.#stepScheduler(schedule)
    this.epoch++
    this.batch = 0
    this.#validatedAt = -1
    this.#metrics.beginEpoch()
    this.#carried = dropped(this.#carried)
  }

  #stopReason(): StopReason | null {
    const stop = this.#strategy.stopReason(this.#requested())
    if (stop !== null) return stop
    return this.globalStep >= this.#trainer.options.maxSteps ? 'maxSteps' : null
  }

  /** One batch: loss, gradients, and the update if it is the last that this waits for. */
  async #step(given: B, last: boolean): Promise<void> {
    this.#meter.check()
    const { model, optimizer, trainData, schedule } = this.parts
    const updates = this.#updates
    const batch = batchOn(given, this.#device)
    const context: StepContext = {
      epoch: this.epoch,
      batchIdx: this.batch,
      globalStep: this.globalStep,
      carried: this.#carried,
    }
    updates.begin()
    const result = checkResult('trainingStep', await model.trainingStep(batch, context))
    const count = result === null ? 0 : countOf(trainData, given, result)
    const { stopsAlone } = this.#strategy
    if (result === null && !stopsAlone) throw skippedAlone()
    // Several processes average their gradients, also where one has nothing to add.
    const learns = result !== null && (count > 0 || !stopsAlone)
    this.#torn = true
    if (learns) updates.backward(result.loss, count)
    this.#carried = handOver(this.#carried, context.carried)
    disposeBatch(trainData, given, batch)
    this.batch++
    const closes = updates.closesWith(last)
    const step = this.globalStep + 1
    if (closes) {
      this.globalStep++
      this.stepsThisFit++
    }
    this.#meter.queued(count)
    if (await updates.add(step, learns ? result.loss : null, closes)) {
      this.#metrics.began(optimizer.lr, closes)
      this.#meter.add(step, count, { ...result?.metrics, loss: (result as StepLoss).loss.detach() })
    } else {
      for (const tensor of Object.values(result?.metrics ?? {})) tensor[Symbol.dispose]()
      if (learns) await this.#forgetSpoiled()
    }
    result?.loss[Symbol.dispose]()
    const now = performance.now()
    const logs = closes && step % this.#trainer.options.logEveryNSteps === 0
    if (logs || now - this.#lastRead > READ_INTERVAL_MS) {
      this.#lastRead = now
      this.#meter.read()
    }
    if (closes) {
      await updates.close()
      if (schedule?.interval === 'step') this.#stepScheduler(schedule)
    }
    this.#torn = false
  }

  /** What the next step would begin with; the model may have given up what it had before. */
  async #forgetSpoiled(): Promise<void> {
    if (!(await finiteCarried(this.#carried))) this.#carried = dropped(this.#carried)
  }

  /** The error to tell a user. */
  explain(error: unknown): unknown {
    return explainIndex(this.#updates.explain(error), this.parts.model as Module)
  }

  #stepScheduler(schedule: SchedulerConfig): void {
    const monitor = this.validating ? 'valLoss' : 'trainLoss'
    stepScheduler(schedule, this.status, monitor)
  }

  #validationDue(): boolean {
    const interval = this.#trainer.options.valCheckInterval
    if (!this.validating || interval === null) return false
    if (this.batch === 0 || this.#validatedAt === this.batch) return false
    return validationDue(interval, this.batch, this.length)
  }

  /** False when the signal came first. */
  async #validate(): Promise<boolean> {
    await this.#meter.flush()
    this.#stopwatch.stop()
    await this.hooks.call('onValidationStart')
    const means = await evaluate(
      this.parts.model,
      this.parts.validData as DataSource<B>,
      this,
      () => this.#strategy.stopsAlone && this.#aborted(),
      (totals) => this.#strategy.total(totals),
      this.#strategy.stopsAlone ? this.#trainer.options.signal : null,
      { limit: this.#limits.valid },
    )
    if (means === null) return false
    await this.#strategy.agree(this.#requested())
    await this.#gate.step(async () => {
      this.#metrics.validated(this.epoch, this.globalStep, means)
      this.#validatedAt = this.batch
    })
    await this.hooks.call('onValidationEnd')
    return true
  }

  get isGlobalZero(): boolean {
    return this.#strategy.isGlobalZero
  }

  /** A callback's numbers. */
  logMetrics(metrics: Readonly<Record<string, number>>): void {
    this.#metrics.logged(this.epoch, this.globalStep, metrics)
  }

  /** The loggers, in the process that has them write. */
  get loggers(): readonly Logger[] {
    return this.#strategy.isGlobalZero ? this.#trainer.loggers : []
  }

  /**
   * Writes everything that {@link restore} needs; in the middle of a step, when that has ended.
   * @throws (rejects) also when a step has failed halfway, and there is no state to go on from
   */
  async save(path: string): Promise<void> {
    if (this.#running && !this.#strategy.stopsAlone && !this.hooks.running) {
      throw new TypeError(
        '[saveCheckpoint] expected a call in a hook of a callback, in all processes; a timer or a signal comes between different steps in each',
      )
    }
    await this.#gate.save(async () => {
      if (this.#torn)
        throw new Error('[saveCheckpoint] the step that failed has left no state to go on from')
      await this.#meter.flush()
      const carried = await this.#strategy.gather(this.#carried)
      if (this.#strategy.isGlobalZero) await this.#write(path, carried)
    })
  }

  async #write(path: string, carried: Carried): Promise<void> {
    const state: LoopState = {
      epoch: this.epoch,
      batch: this.batch,
      globalStep: this.globalStep,
      validatedAt: this.#validatedAt,
      carried,
      epochTotals: this.#metrics.epochTotals,
      windowTotals: this.#metrics.windowTotals,
      callbackMetrics: this.status.callbackMetrics,
      ...sharedState(this.parts, this.#trainer.callbacks),
      history: this.status.history.toJSON(),
      // A fit that has ended has given the settings back.
      precision: this.#trainer.options.precision ?? precisionOn(deviceOf(this.parts.model)),
      openStep: this.#updates.state(),
      elapsed: this.#clock.seconds,
    }
    await writeCheckpoint(path, this.parts.model as Module, state, this.#trainer)
  }

  /** Keeps other trainings out of folders. @returns gives them back @throws (rejects) Error */
  async claim(paths: readonly string[]): Promise<() => Promise<void>> {
    return claimCheckpoints(this.#strategy.isGlobalZero ? paths : [], this.#trainer)
  }

  /** Goes back to a checkpoint. @throws (rejects) Error, RangeError when it does not fit */
  async restore(path: string): Promise<void> {
    await this.#gate.step(() =>
      allOrNothing(this.parts, this.#trainer.callbacks, async () => {
        const state = await readCheckpoint(path, this.parts.model as Module)
        this.#takeOver(state)
        tellOfChange(path, state.precision ?? null, deviceOf(this.parts.model))
        await cutLogs(this.loggers, this.status.history, this.globalStep)
      }),
    )
  }

  /** Goes on where another fit of the same trainer has ended, with an epoch from its beginning. */
  continue({ epoch, globalStep, status }: FitLoop<unknown>): void {
    this.epoch = epoch
    this.globalStep = globalStep
    this.status.currentEpoch = epoch
    this.status.callbackMetrics = status.callbackMetrics
    this.status.history = status.history
  }

  #takeOver(state: LoopState): void {
    this.epoch = state.epoch
    this.batch = state.batch
    this.globalStep = state.globalStep
    this.#validatedAt = state.validatedAt
    const carried = this.#strategy.partOf(state.carried)
    this.#carried = batchOn(carried, deviceOf(this.parts.model))
    this.#metrics.epochTotals = state.epochTotals
    this.#metrics.windowTotals = state.windowTotals
    this.status.callbackMetrics = state.callbackMetrics
    this.status.history = History.fromJSON(state.history)
    restoreShared(this.parts, this.#trainer.callbacks, state)
    this.#updates.restore(state.openStep)
    this.#clock.seconds = state.elapsed
  }
}
