/** One run of training: the epochs, their steps and validations, and the state that goes into checkpoints. */
import { rangeError } from '../errors.js'
import type { Module } from '../nn/module.js'
import { ReduceLROnPlateau, type Scheduler } from '../optim/lr_scheduler.js'
import { randomState, setRandomState } from '../random.js'
import type { Tensor } from '../tensor.js'
import { batchOn, deviceOf } from './batch.js'
import { readCheckpoint, writeCheckpoint } from './checkpoint.js'
import {
  checkResult,
  countOf,
  disposeBatch,
  evaluate,
  handOver,
  isSeekable,
  iterate,
  lengthOf,
  tensorsOf,
} from './evaluate.js'
import { FiniteCheck, finiteCarried } from './finite.js'
import { History } from './history.js'
import { addTo, emptyTotals, Meter, type Metering, meansOf, type Totals } from './meter.js'
import { monitored, ofEpoch, prefixed } from './monitor.js'
import { ProgressBar } from './progress_bar.js'
import type { LoopState } from './state.js'
import type { Asked, Team } from './strategies/ddp.js'
import { TeamMeter } from './strategies/ddp_meter.js'
import type { Trainer } from './trainer.js'
import type {
  Callback,
  Carried,
  DataSource,
  Logger,
  SchedulerConfig,
  StepContext,
  StopReason,
  TrainableOptimizer,
  TrainingModule,
} from './types.js'

/** Hooks without an argument of their own. */
export type Hook = Exclude<
  { [K in keyof Callback]-?: K extends `on${string}` ? K : never }[keyof Callback],
  'onException'
>

/** What a loop is made of. */
export interface LoopParts<B> {
  model: TrainingModule<B>
  optimizer: TrainableOptimizer
  schedule: SchedulerConfig | null
  trainData: DataSource<B>
  validData: DataSource<B> | null
}

/** Reading more often than this keeps a progress bar alive when steps are slow. */
const READ_INTERVAL_MS = 1000

export class FitLoop<B> {
  /** The next batch to train with: its epoch and its number there. */
  epoch = 0
  batch = 0
  globalStep = 0
  /** Optimiser steps since fit was called. */
  stepsThisFit = 0
  /** Those of them that were left out because the loss or a gradient was not finite. */
  skippedSteps = 0
  /** Seconds spent in training steps since fit was called. */
  seconds = 0
  readonly parts: LoopParts<B>
  /** Batches in an epoch, if known. */
  readonly length: number | null
  readonly #trainer: Trainer
  /** The processes it is a part of; null: it is alone. */
  readonly #team: Team | null
  readonly #meter: Metering
  /** Sums over this epoch, and over the steps since the last record. */
  #epochTotals: Totals = emptyTotals()
  #windowTotals: Totals = emptyTotals()
  /** Learning rates of the steps whose losses are still on their way. */
  readonly #rates = new Map<number, number>()
  #carried: Carried = null
  /** Where the model is in this epoch. */
  #device: string | null = null
  /** Of the parameters that the model has in this epoch. */
  #finite: FiniteCheck | null = null
  /** The batch number before which this epoch's last validation was made. */
  #validatedAt = -1
  #lastRead = 0
  /** When the running stretch of training steps began; null in between. */
  #clock: number | null = null
  #countThisFit = 0

  constructor(trainer: Trainer, parts: LoopParts<B>, team: Team | null) {
    this.#trainer = trainer
    this.parts = parts
    this.#team = team
    const receive = this.#received.bind(this)
    this.#meter =
      team === null ? new Meter(receive) : new TeamMeter(team, receive, () => this.#asked())
    this.length = lengthOf(parts.trainData)
  }

  /** Trains until something ends it. */
  async run(): Promise<StopReason> {
    const { maxEpochs, maxSteps } = this.#trainer.options
    for (;;) {
      await this.#team?.agree(this.#asked())
      if (this.#stopReason() === 'aborted') return 'aborted'
      if (this.epoch >= maxEpochs) return 'maxEpochs'
      if (this.globalStep >= maxSteps) return 'maxSteps'
      const stop = await this.#runEpoch()
      if (stop !== null) return stop
    }
  }

  /** Training steps per second, tokens (or whatever the steps count) per second, in this fit. */
  get rates(): { steps: number; count: number } {
    const seconds =
      this.seconds + (this.#clock === null ? 0 : (performance.now() - this.#clock) / 1000)
    return seconds > 0
      ? { steps: this.stepsThisFit / seconds, count: this.#countThisFit / seconds }
      : { steps: 0, count: 0 }
  }

  /** The averages of this epoch so far. */
  get means(): Record<string, number> {
    return this.#derived(this.#epochTotals)
  }

  #aborted = (): boolean => this.#trainer.options.signal?.aborted ?? false

  /** Why this process wants to stop. */
  #asked(): Asked | null {
    if (this.#aborted()) return 'aborted'
    return this.#trainer.shouldStop ? 'shouldStop' : null
  }

  #derived(totals: Totals): Record<string, number> {
    if (totals.count === 0) return {}
    const means = meansOf(totals)
    return { ...means, ...this.parts.model.deriveMetrics?.(means) }
  }

  async #runEpoch(): Promise<StopReason | null> {
    const { trainData, validData } = this.parts
    const trainer = this.#trainer
    trainer.currentEpoch = this.epoch
    this.#device = deviceOf(this.parts.model)
    this.#finite = new FiniteCheck(this.parts.model)
    this.#team?.listen(this.parts.model)
    await this.call('onTrainEpochStart')
    this.#clock = performance.now()
    const iterator = iterate(trainData, this.epoch, this.batch)
    let stop: StopReason | null
    try {
      stop = await this.#runBatches(iterator)
    } finally {
      await iterator.return?.()
    }
    await this.#meter.flush()
    this.#stopClock()
    if (stop === 'aborted') return stop
    if (stop === null && this.batch === 0) throw this.#emptyData()

    Object.assign(trainer.callbackMetrics, prefixed('train', this.#derived(this.#epochTotals)))
    const everyNEpochs = trainer.options.checkValEveryNEpoch
    const due =
      trainer.options.valCheckInterval === null &&
      (stop !== null || (this.epoch + 1) % everyNEpochs === 0)
    if (validData !== null && due && this.#validatedAt !== this.batch && !(await this.#validate()))
      return 'aborted'
    await this.#endEpoch(stop === null)
    await this.#team?.agree(this.#asked())
    return stop ?? this.#stopReason()
  }

  /** The steps of an epoch and the validations between them. Null when the epoch is complete. */
  async #runBatches(iterator: AsyncIterator<B> | Iterator<B>): Promise<StopReason | null> {
    let stop: StopReason | null = null
    for (;;) {
      if (this.#validationDue()) {
        if (!(await this.#validate())) stop = 'aborted'
        this.#clock = performance.now()
      }
      if (this.#team !== null) await this.#meter.pace()
      stop ??= this.#stopReason()
      if (stop === 'aborted') return stop
      const next = await iterator.next()
      if (this.length === null) await this.#team?.sameEnd(next.done ?? false, this.batch)
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
    const trainer = this.#trainer
    const metrics = {
      ...trainer.callbackMetrics,
      lr: this.parts.optimizer.lr,
      tokensPerSecond: this.rates.count,
    }
    this.#record('epoch', this.epoch, this.globalStep, metrics)
    if (!complete) return
    const { schedule } = this.parts
    if (schedule !== null && schedule.interval !== 'step') this.#stepScheduler(schedule)
    this.epoch++
    this.batch = 0
    this.#validatedAt = -1
    this.#epochTotals = emptyTotals()
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
    const stop = this.#team === null ? this.#asked() : this.#team.stop
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
    if (this.#team !== null) this.#team.weight = count
    loss.backward()
    this.#carried = handOver(this.#carried, context.carried)
    disposeBatch(trainData, given, batch)
    this.batch++
    this.globalStep++
    this.stepsThisFit++
    if (this.#team === null) this.#countThisFit += count
    const update = await this.#mayUpdate(loss)
    if (update) {
      this.#rates.set(this.globalStep, optimizer.lr)
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
    if (!(this.#team === null ? found : await this.#team.any(found))) return true
    this.skippedSteps++
    // What the next step would begin with; the model may have given up what it had before.
    if (!(await finiteCarried(this.#carried))) this.#dropCarried()
    return false
  }

  /** The error to tell a user. */
  explain(error: unknown): unknown {
    return this.#finite?.explain(error) ?? error
  }

  /** A step's numbers have arrived. */
  #received(step: number, values: Record<string, number>, count: number): void {
    if (this.#team !== null) this.#countThisFit += count
    addTo(this.#epochTotals, values, count)
    addTo(this.#windowTotals, values, count)
    const lr = this.#rates.get(step) as number
    this.#rates.delete(step)
    if (step % this.#trainer.options.logEveryNSteps !== 0) return
    const metrics = {
      ...prefixed('train', this.#derived(this.#windowTotals)),
      lr,
      tokensPerSecond: this.rates.count,
    }
    this.#windowTotals = emptyTotals()
    // Steps are read before their epoch ends.
    this.#record('step', this.epoch, step, metrics)
  }

  #record(
    kind: 'step' | 'validation' | 'epoch',
    epoch: number,
    step: number,
    metrics: Record<string, number>,
  ): void {
    this.#trainer.history.add({ kind, epoch, step, metrics })
    const named = kind === 'epoch' ? ofEpoch(metrics) : metrics
    for (const logger of this.loggers) logger.logMetrics({ epoch, ...named }, step)
  }

  #stepScheduler(schedule: SchedulerConfig): void {
    if (!(schedule.scheduler instanceof ReduceLROnPlateau) && schedule.monitor === undefined) {
      schedule.scheduler.step()
      return
    }
    const monitor = schedule.monitor ?? (this.parts.validData === null ? 'trainLoss' : 'valLoss')
    schedule.scheduler.step(monitored('scheduler', monitor, this.#trainer.callbackMetrics))
  }

  #validationDue(): boolean {
    const interval = this.#trainer.options.valCheckInterval
    if (
      this.parts.validData === null ||
      interval === null ||
      this.batch === 0 ||
      this.#validatedAt === this.batch
    )
      return false
    if (interval > 1) return this.batch % interval === 0
    if (this.length === null) {
      throw rangeError(
        'Trainer',
        'valCheckInterval',
        'a number of batches, when trainData has no length',
        `the fraction ${interval}`,
      )
    }
    return this.batch % Math.max(1, Math.floor(this.length * interval)) === 0
  }

  /** False when the signal came first. */
  async #validate(): Promise<boolean> {
    await this.#meter.flush()
    this.#stopClock()
    await this.call('onValidationStart')
    const means = await evaluate(
      this.parts.model,
      this.parts.validData as DataSource<B>,
      this,
      this.#team === null ? this.#aborted : () => false,
      this.#team,
    )
    if (means === null) return false
    await this.#team?.agree(this.#asked())
    const metrics = prefixed('val', means)
    Object.assign(
      this.#trainer.callbackMetrics,
      prefixed('train', this.#derived(this.#epochTotals)),
      metrics,
    )
    this.#record('validation', this.epoch, this.globalStep, metrics)
    this.#validatedAt = this.batch
    await this.call('onValidationEnd')
    return true
  }

  #stopClock(): void {
    if (this.#clock !== null) this.seconds += (performance.now() - this.#clock) / 1000
    this.#clock = null
  }

  /** Those whose doings are one process's. */
  get loggers(): readonly Logger[] {
    return this.#first ? this.#trainer.loggers : []
  }

  /** All but what shows progress, which one process does. */
  get callbacks(): readonly Callback[] {
    const { callbacks } = this.#trainer
    return this.#first ? callbacks : callbacks.filter((one) => !(one instanceof ProgressBar))
  }

  get #first(): boolean {
    return this.#team === null || this.#team.rank === 0
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
    const carried = this.#team === null ? this.#carried : await this.#team.gather(this.#carried)
    if (this.#first) await this.#write(path, carried)
  }

  async #write(path: string, carried: Carried): Promise<void> {
    const { model, optimizer, schedule, trainData } = this.parts
    const callbacks = this.#trainer.callbacks.filter((callback) => callback.stateDict !== undefined)
    await writeCheckpoint(path, model as Module, {
      epoch: this.epoch,
      batch: this.batch,
      globalStep: this.globalStep,
      validatedAt: this.#validatedAt,
      carried,
      epochTotals: this.#epochTotals,
      windowTotals: this.#windowTotals,
      callbackMetrics: this.#trainer.callbackMetrics,
      random: randomState(),
      optimizer: optimizer.stateDict(),
      scheduler: schedule?.scheduler.stateDict() ?? null,
      trainData: isSeekable(trainData) ? trainData.state() : null,
      callbacks: Object.fromEntries(
        callbacks.map((callback, i) => [
          callback.stateKey ?? String(i),
          callback.stateDict?.() ?? {},
        ]),
      ),
      history: this.#trainer.history.toJSON(),
    })
  }

  /** Goes back to a checkpoint. @throws (rejects) Error, RangeError when it does not fit */
  async restore(path: string): Promise<void> {
    const model = this.parts.model as Module
    // The weights that the model goes back to when the rest does not fit.
    const before = new Map([...model.stateDict()].map(([name, value]) => [name, value.clone()]))
    try {
      this.#takeOver(await readCheckpoint(path, model))
    } catch (error) {
      model.loadStateDict(before)
      throw error
    } finally {
      for (const tensor of before.values()) tensor[Symbol.dispose]()
    }
  }

  #takeOver(state: LoopState): void {
    const { optimizer, schedule, trainData } = this.parts
    this.epoch = state.epoch
    this.batch = state.batch
    this.globalStep = state.globalStep
    this.#validatedAt = state.validatedAt
    const carried = this.#team === null ? state.carried : this.#team.partOf(state.carried)
    this.#carried = batchOn(carried, deviceOf(this.parts.model))
    this.#epochTotals = state.epochTotals
    this.#windowTotals = state.windowTotals
    optimizer.loadStateDict(state.optimizer as never)
    if (schedule !== null && state.scheduler !== null)
      (schedule.scheduler as Scheduler).loadStateDict(state.scheduler)
    if (isSeekable(trainData) && state.trainData !== null) trainData.restore(state.trainData)
    this.#trainer.callbackMetrics = state.callbackMetrics
    this.#trainer.history = History.fromJSON(state.history)
    for (const callback of this.#trainer.callbacks) {
      const saved = callback.stateKey === undefined ? undefined : state.callbacks[callback.stateKey]
      if (saved !== undefined) callback.loadStateDict?.(saved)
    }
    setRandomState(state.random)
  }
}
