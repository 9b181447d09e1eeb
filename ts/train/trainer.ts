/** What a user calls to train a model; as Lightning's `Trainer`. The work is done by FitLoop. */
import { checkBoolean, typeError } from '../errors.js'
import { checkPath } from '../io/path.js'
import { Module } from '../nn/module.js'
import { manualSeed, type RandomState, withRandom } from '../random.js'
import type { Tensor } from '../tensor.js'
import { deviceOf } from './batch.js'
import { checkStateful } from './callback_states.js'
import { isNumbers } from './checks.js'
import { EarlyStopping } from './early_stopping.js'
import { evaluate } from './evaluate.js'
import { checkModel, checkpointPath, checkSchedule, prepareFit } from './fit_arguments.js'
import { FitStatus } from './fit_metrics.js'
import type { History } from './history.js'
import { batchesOf } from './limits.js'
import { FitLoop } from './loop.js'
import { checkpointPaths, ModelCheckpoint } from './model_checkpoint.js'
import { prefixed } from './monitor.js'
import {
  checkLimit,
  checkTrainerOptions,
  type FitOptions,
  type FitResult,
  type TrainerOptionsOf,
} from './options.js'
import { holdPrecision } from './precision.js'
import { predict } from './predict.js'
import { ProgressBar } from './progress_bar.js'
import { checkSource } from './source.js'
import { createStrategy } from './strategies/create.js'
import type { Strategy } from './strategies/strategy.js'
import type {
  CallbackHooks,
  DataSource,
  Logger,
  Progress,
  SchedulerConfig,
  TrainableOptimizer,
  TrainerHandle,
  TrainerSettings,
  TrainingModule,
} from './types.js'

/**
 * Hooks into training; as Lightning's `Callback`. All may be async; training waits for them.
 * Without a batch hook, nothing happens in between steps.
 */
export interface Callback extends CallbackHooks<Trainer> {}

/** What {@link Trainer} takes; Lightning's names. */
export interface TrainerOptions extends TrainerOptionsOf<Callback> {}

/**
 * Trains a model that has a `trainingStep` (see {@link TrainingModule}; LanguageModel has one): epochs
 * with validation, clipped optimiser steps, schedules, callbacks, checkpoints with exact resume.
 */
export class Trainer implements TrainerHandle {
  readonly options: Readonly<TrainerSettings>
  /**
   * In order; checkpoints come last, so that they keep what the others have decided. Without
   * checkpoints and early stopping where fastDevRun is on.
   */
  readonly callbacks: readonly Callback[]
  readonly loggers: readonly Logger[]
  /** The fit that is running, or the latest. */
  #loop: FitLoop<unknown> | null = null
  #status = new FitStatus()
  #running = false
  /** The latest fit that has ended without an error, with which the next goes on. */
  #ended: FitLoop<unknown> | null = null
  /** The random numbers of a training with a seed; null: the shared ones. */
  readonly #random: RandomState | null
  /** What `options` shows. */
  readonly #settings: TrainerSettings

  /** @throws TypeError, RangeError for wrong or unknown options */
  constructor(options: TrainerOptions = {}) {
    const fn = 'Trainer'
    this.#settings = checkTrainerOptions(options)
    this.options = this.#settings
    const { seed } = this.options
    this.#random = seed === null ? null : { seed, counter: 0 }
    const callbacks = options.callbacks ?? []
    if (!Array.isArray(callbacks))
      throw typeError(fn, 'callbacks', 'an array of callbacks', callbacks)
    callbacks.forEach((callback, i) => {
      if (typeof callback !== 'object' || callback === null)
        throw typeError(fn, `callbacks[${i}]`, 'a callback', callback)
      checkStateful(fn, `callbacks[${i}]`, callback)
    })
    const ownBar = callbacks.some((callback) => callback instanceof ProgressBar)
    const bar = checkBoolean(fn, 'progressBar', options.progressBar ?? !ownBar)
      ? [new ProgressBar()]
      : []
    const dev = this.options.fastDevRun > 0
    const left = (callback: Callback): boolean =>
      callback instanceof ModelCheckpoint || callback instanceof EarlyStopping
    const used = dev ? callbacks.filter((callback) => !left(callback)) : callbacks
    const isCheckpoint = (callback: Callback): boolean => callback instanceof ModelCheckpoint
    this.callbacks = [...bar, ...used.filter((c) => !isCheckpoint(c)), ...used.filter(isCheckpoint)]
    const loggers = options.logger === undefined ? [] : ([options.logger].flat() as Logger[])
    this.loggers = dev ? [] : loggers
    loggers.forEach((logger, i) => {
      if (typeof logger?.logMetrics !== 'function')
        throw typeError(fn, `logger[${i}]`, 'an object with logMetrics', logger)
    })
  }

  /** The epoch that is running, from 0; after fit, the number of complete epochs. */
  get currentEpoch(): number {
    return this.#status.currentEpoch
  }

  set currentEpoch(epoch: number) {
    this.#status.currentEpoch = epoch
  }

  /** A callback sets this to end training after the running step. */
  get shouldStop(): boolean {
    return this.#status.shouldStop
  }

  set shouldStop(stop: boolean) {
    this.#status.shouldStop = stop
  }

  /** The latest trainLoss, valLoss, … */
  get callbackMetrics(): Record<string, number> {
    return this.#status.callbackMetrics
  }

  set callbackMetrics(metrics: Record<string, number>) {
    this.#status.callbackMetrics = metrics
  }

  get history(): History {
    return this.#status.history
  }

  set history(history: History) {
    this.#status.history = history
  }

  /** Optimiser steps taken, those before a resumed checkpoint included. */
  get globalStep(): number {
    return this.#loop?.globalStep ?? 0
  }

  /** Optimiser steps taken since fit was called. */
  get stepsThisFit(): number {
    return this.#loop?.stepsThisFit ?? 0
  }

  /** Steps of this fit that `nonFinite: 'skip'` has left out; stepsThisFit counts them too. */
  get skippedSteps(): number {
    return this.#loop?.skippedSteps ?? 0
  }

  /** Whether this fit has validation data. */
  get validating(): boolean {
    return this.#loop?.validating ?? false
  }

  /** The optimiser that fit uses. */
  get optimizer(): TrainableOptimizer | null {
    return this.#loop?.parts.optimizer ?? null
  }

  /** The schedule that fit uses; a callback may give it another one. */
  get schedule(): SchedulerConfig | null {
    return this.#loop?.parts.schedule ?? null
  }

  set schedule(schedule: SchedulerConfig | null) {
    if (this.#loop !== null) this.#loop.parts.schedule = checkSchedule(schedule ?? undefined)
  }

  /** Whether this is the process that writes files and logs: rank 0. */
  get isGlobalZero(): boolean {
    return this.#loop?.isGlobalZero ?? true
  }

  /**
   * Adds a record of numbers to the history, and gives it to the loggers; for callbacks.
   * @throws TypeError
   */
  logMetrics(metrics: Readonly<Record<string, number>>): void {
    if (!isNumbers(metrics))
      throw typeError('logMetrics', 'metrics', 'an object of numbers', metrics)
    this.#loop?.logMetrics(metrics)
  }

  /** Where training stands. */
  get progress(): Progress {
    const loop = this.#loop
    const { maxEpochs, maxSteps } = this.options
    const batches = loop?.length ?? null
    const done = loop?.globalStep ?? 0
    const inEpochs =
      batches === null || loop === null ? Infinity : (maxEpochs - loop.epoch) * batches - loop.batch
    const stepsLeft = Math.min(inEpochs / this.options.accumulateGradBatches, maxSteps - done)
    const rate = loop?.rates ?? { steps: 0, count: 0 }
    return {
      epoch: this.currentEpoch,
      maxEpochs: Number.isFinite(maxEpochs) ? maxEpochs : null,
      batch: loop?.batch ?? 0,
      batches,
      globalStep: done,
      metrics: loop?.means ?? {},
      tokensPerSecond: rate.count,
      secondsLeft: Number.isFinite(stepsLeft) && rate.steps > 0 ? stepsLeft / rate.steps : null,
    }
  }

  /** Epochs in all, of which `fit` runs those that are left; Infinity without a limit. */
  get maxEpochs(): number {
    return this.options.maxEpochs
  }

  /** To go on after `fit` has ended with all epochs. @throws TypeError, RangeError */
  set maxEpochs(epochs: number) {
    this.#settings.maxEpochs = checkLimit('maxEpochs', epochs)
  }

  /** Optimiser steps in all; Infinity without a limit. */
  get maxSteps(): number {
    return this.options.maxSteps
  }

  /** As {@link maxEpochs}. @throws TypeError, RangeError */
  set maxSteps(steps: number) {
    this.#settings.maxSteps = checkLimit('maxSteps', steps)
  }

  /**
   * Trains a model. As in Lightning, `maxEpochs` and `maxSteps` are those of the trainer: a second call
   * goes on with the epoch that comes next, and runs nothing when all have been run; raise
   * `trainer.maxEpochs` for more. An epoch that was not complete begins again with its first batch; a call that failed counts for
   * nothing.
   * @param trainData batches, iterated once per epoch: `data.SequentialBatches`,
   *   `data.RandomWindows`, an array, any iterable
   * @param validData batches to validate with, or nothing
   * @returns how it ended; also when the signal stopped it
   * @throws (rejects) TypeError or RangeError for arguments that do not fit together; RangeError for
   *   a loss or gradient that is not finite (see nonFinite); whatever a step, a callback or the
   *   device threw
   */
  async fit<B>(
    model: TrainingModule<B>,
    trainData: DataSource<B>,
    validData?: DataSource<B> | null,
    options: FitOptions = {},
  ): Promise<FitResult> {
    if (this.#running)
      throw new TypeError(
        '[fit] this trainer is training already; make another one, or wait for the first fit',
      )
    const parts = prepareFit(model, trainData, validData ?? null, options)
    const giveBack = holdPrecision('fit', this.options.precision)
    this.#running = true
    try {
      return await this.#withRandom(async () => {
        const strategy = await createStrategy(this.options, deviceOf(model))
        const own = await strategy.divide(parts, this.options)
        return this.#run(new FitLoop<B>(this, own, strategy), options, strategy)
      })
    } finally {
      this.#running = false
      giveBack()
    }
  }

  /** Does some of this training, with its random numbers. */
  #withRandom<R>(work: () => Promise<R>): Promise<R> {
    return this.#random === null ? work() : withRandom(this.#random, work)
  }

  async #run<B>(loop: FitLoop<B>, options: FitOptions, strategy: Strategy): Promise<FitResult> {
    const { model, optimizer } = loop.parts
    const [before, status] = [this.#loop, this.#status]
    this.#loop = loop as unknown as FitLoop<unknown>
    this.#status = loop.status
    if (this.#ended !== null) loop.continue(this.#ended)
    let restored = options.ckptPath === undefined
    const clip = { maxGradNorm: optimizer.maxGradNorm, maxGradValue: optimizer.maxGradValue }
    let giveBack = async (): Promise<void> => {}
    try {
      giveBack = await loop.claim(await checkpointPaths(this.callbacks))
      if (options.ckptPath !== undefined) await loop.restore(checkpointPath(options.ckptPath))
      else if (this.options.seed !== null && loop.globalStep === 0) manualSeed(this.options.seed)
      restored = true
      await strategy.setup(model)
      const { gradientClipVal, gradientClipAlgorithm } = this.options
      if (gradientClipVal !== null) {
        const byNorm = gradientClipAlgorithm === 'norm'
        optimizer.maxGradNorm = byNorm ? gradientClipVal : undefined
        optimizer.maxGradValue = byNorm ? undefined : gradientClipVal
      }
      // Once only: what a callback sets to evaluation mode (frozen layers) stays there.
      model.train()
      await loop.hooks.call('onFitStart')
      const stopped = await loop.run()
      if (stopped === 'aborted' && loop.stepsThisFit > 0) await loop.hooks.call('onAbort')
      await loop.hooks.call('onFitEnd')
      await loop.hooks.call('onTeardown')
      const ended = stopped === 'aborted' ? 'aborted' : 'success'
      for (const logger of loop.loggers) await logger.finalize?.(ended)
      loop.status.currentEpoch = loop.epoch
      this.#ended = this.#loop
      const checkpoint =
        this.callbacks.find((callback) => callback instanceof ModelCheckpoint)?.lastModelPath ??
        null
      return {
        stopped,
        epoch: loop.epoch,
        globalStep: loop.globalStep,
        metrics: { ...this.callbackMetrics },
        history: this.history,
        checkpoint,
      }
    } catch (thrown) {
      const error = loop.explain(thrown)
      await strategy.onException(error)
      const last = await loop.hooks.callOnException(error)
      await Promise.allSettled(loop.loggers.map(async (logger) => logger.finalize?.('failed')))
      if (!restored) [this.#loop, this.#status] = [before, status]
      throw last
    } finally {
      await giveBack()
      strategy.teardown()
      Object.assign(optimizer, clip)
    }
  }

  /**
   * The metrics of a model on data: `valLoss` and what the model reports more (`valPerplexity`).
   * @throws (rejects) as fit
   */
  async validate<B>(
    model: TrainingModule<B>,
    data: DataSource<B>,
  ): Promise<Record<string, number>> {
    checkModel('validate', model, 'validationStep')
    return prefixed('val', await this.#evaluate('validate', model, data))
  }

  /**
   * The same by the model's testStep, or validationStep where it has none: `testLoss`, …; as
   * Lightning's `Trainer.test`.
   * @throws (rejects) as fit
   */
  async test<B>(model: TrainingModule<B>, data: DataSource<B>): Promise<Record<string, number>> {
    const own = model instanceof Module && typeof model.testStep === 'function'
    checkModel('test', model, own ? null : 'validationStep')
    return prefixed('test', await this.#evaluate('test', model, data))
  }

  async #evaluate<B>(
    fn: 'validate' | 'test',
    model: TrainingModule<B>,
    data: DataSource<B>,
  ): Promise<Record<string, number>> {
    checkSource(fn, 'data', data)
    model.checkData?.(data)
    const testing = fn === 'test'
    const { signal, limitValBatches, limitTestBatches } = this.options
    const name = testing ? 'limitTestBatches' : 'limitValBatches'
    const limit = batchesOf(name, testing ? limitTestBatches : limitValBatches, data)
    const giveBack = holdPrecision(fn, this.options.precision)
    try {
      const means = await evaluate(
        model,
        data,
        { epoch: this.currentEpoch, globalStep: this.globalStep },
        () => signal?.aborted ?? false,
        undefined,
        signal,
        { limit: limit === 0 ? null : limit, testing },
      )
      signal?.throwIfAborted()
      return means ?? {}
    } finally {
      giveBack()
    }
  }

  /**
   * What the model's predictStep gives for each batch, or forward(batch) where it has none: in
   * evaluation mode, without gradients; as Lightning's `Trainer.predict`.
   * @throws (rejects) as fit
   */
  async predict<B, P = Tensor>(model: TrainingModule<B>, data: DataSource<B>): Promise<P[]> {
    checkModel('predict', model, null)
    checkSource('predict', 'data', data)
    const { signal, limitPredictBatches } = this.options
    const limit = batchesOf('limitPredictBatches', limitPredictBatches, data)
    const { currentEpoch: epoch, globalStep } = this
    const giveBack = holdPrecision('predict', this.options.precision)
    try {
      const found = await predict(model, data, { epoch, globalStep }, signal, limit)
      signal?.throwIfAborted()
      return found as P[]
    } finally {
      giveBack()
    }
  }

  /**
   * Writes a folder from which `fit(…, { ckptPath })` goes on with the same bits: in a callback's hook,
   * after fit, or, in a single process, from a timer or a signal's handler, where it waits for the end
   * of the running step. An older checkpoint of that name is replaced when this one is complete.
   */
  async saveCheckpoint(path: string | URL): Promise<void> {
    const folder = checkPath('saveCheckpoint', 'path', path, 'the path of a folder')
    if (this.#loop === null)
      throw new TypeError('[saveCheckpoint] there is nothing to save: fit has not been called')
    const loop = this.#loop
    await this.#withRandom(() => loop.save(folder))
  }
}
