/** The interfaces between the trainer, the models it trains, its callbacks and its loggers. */
import type { Module } from '../nn/module.js'
import type { Scheduler } from '../optim/lr_scheduler.js'
import type { Tensor } from '../tensor.js'
import type { History } from './history.js'
import type { TrainerPrecision } from './precision.js'

/** Tensors that go from one batch to the next, such as the hidden state of a recurrent model. */
export type Carried = Tensor | readonly Tensor[] | null

/** Where a step is in the training; C is the type of what its model carries. */
export interface StepContext<C extends Carried = Carried> {
  readonly epoch: number
  /** Number of the batch in the epoch, from 0. */
  readonly batchIdx: number
  /** Optimiser steps taken so far. */
  readonly globalStep: number
  /**
   * What this step finds from the one before and leaves for the next; null at the beginning of an
   * epoch. It belongs to the trainer, which detaches it from the graph, keeps it in checkpoints and
   * frees it after the next step.
   */
  carried: C | null
}

/** What a step gives back, if more than the loss. */
export interface StepResult {
  /** One element; what is minimised. */
  loss: Tensor
  /**
   * How many examples (tokens) the loss is the mean of: its weight in averages. Default 1. With 0 there
   * is nothing to learn from: no update is made (several processes, though, make it together).
   */
  count?: number
  /** More to average and report: one-element tensors, which the trainer frees, or numbers. */
  metrics?: Record<string, Tensor | number>
}

type Awaitable<T> = T | Promise<T>

/** What the trainer needs of an optimiser. */
export interface TrainableOptimizer {
  lr: number
  maxGradNorm: number | undefined
  maxGradValue: number | undefined
  /** As that of `optim.Optimizer`. */
  zeroGrad(): void
  /** As that of `optim.Optimizer`. */
  step(): Promise<void>
  /** Numbers, strings, arrays, maps and tensors, for checkpoints. */
  stateDict(): unknown
  /** Goes on from what stateDict gave. */
  loadStateDict(state: never): void
}

/** A scheduler with the time to step it. */
export interface SchedulerConfig {
  scheduler: Scheduler
  /** When to step: at the end of each epoch or after each optimiser step. Default 'epoch'. */
  interval?: 'epoch' | 'step'
  /** The metric for ReduceLROnPlateau. Default 'valLoss' with validation data, else 'trainLoss'. */
  monitor?: string
}

/** A model that knows how it is trained; as Lightning's `LightningModule`. */
export interface TrainingModule<B> extends Module {
  /**
   * The loss of one batch; the trainer does backward and the optimiser step. Null skips the batch: it
   * counts as a step, without an update, as None does in Lightning; not with several processes. A loss
   * that is the mean over no targets, because all are ignored, has no weight in averages.
   */
  trainingStep(batch: B, context: StepContext): Awaitable<Tensor | StepResult | null | undefined>
  /** The same for validation, called in evaluation mode without recording. */
  validationStep?(batch: B, context: StepContext): Awaitable<Tensor | StepResult | null | undefined>
  /** The same for `trainer.test`. Default: validationStep. */
  testStep?(batch: B, context: StepContext): Awaitable<Tensor | StepResult | null | undefined>
  /** What `trainer.predict` gives for a batch. Default: forward(batch). */
  predictStep?(batch: B, context: StepContext): unknown
  /** The optimiser, or it with a schedule, for a `fit` that is given none. */
  configureOptimizers?():
    | TrainableOptimizer
    | { optimizer: TrainableOptimizer; lrScheduler?: Scheduler | SchedulerConfig }
  /** Further metrics that follow from the averages, such as perplexity from the loss. */
  deriveMetrics?(means: Readonly<Record<string, number>>): Record<string, number>
  /** Throws when data do not fit the model. */
  checkData?(data: DataSource<B>): void
  /** Writes the model into an existing folder; the weights as model.safetensors. */
  writeFiles?(folder: string): Promise<void>
}

/** Batches that can be given for any epoch and from any position; the tensors are new each time. */
export interface SeekableSource<B> {
  readonly length: number
  /** The batches of an epoch, from the one with number `start` on. */
  batches(epoch: number, start?: number): Iterable<B>
  /** Where the source is, as plain data for a checkpoint. */
  state(): object
  /** Goes on from what state gave. */
  restore(state: object): void
}

/** Training or validation data: iterated once per epoch. */
export type DataSource<B> = SeekableSource<B> | Iterable<B> | AsyncIterable<B>

/**
 * Receives the metrics; as Lightning's `Logger`. {@link CSVLogger}, {@link JSONLLogger} and
 * {@link TensorBoardLogger} write them to files.
 */
export interface Logger {
  /**
   * Called for each record of the history. A name always means the same: trainLoss is the mean since
   * the record before, trainLossEpoch that of a whole epoch.
   */
  logMetrics(metrics: Readonly<Record<string, number>>, step: number): void
  /**
   * Training goes on from a checkpoint of this step: what has been logged of later steps is to go, as
   * those steps come again. As the `purge_step` of TensorBoard's writers.
   * @param records how many records of `step` itself the checkpoint has; what is beyond them goes, too
   */
  resume?(step: number, records: number): Awaitable<void>
  /** After training, however it ended. */
  finalize?(status: 'success' | 'aborted' | 'failed'): Awaitable<void>
}

/**
 * Hooks into training; as Lightning's `Callback`. All may be async; training waits for them.
 * Without a batch hook, nothing happens in between steps.
 */
export interface CallbackHooks<T = TrainerHandle> {
  /** Before anything else. */
  onFitStart?(trainer: T, model: Module): Awaitable<void>
  /** Before the first batch of an epoch. */
  onTrainEpochStart?(trainer: T, model: Module): Awaitable<void>
  /** Before each batch. */
  onTrainBatchStart?(trainer: T, model: Module): Awaitable<void>
  /** After each batch (whose optimiser step, if it makes one, may still be running on the device). */
  onTrainBatchEnd?(trainer: T, model: Module): Awaitable<void>
  /** Before the first validation batch. */
  onValidationStart?(trainer: T, model: Module): Awaitable<void>
  /** The results are in `trainer.callbackMetrics`. */
  onValidationEnd?(trainer: T, model: Module): Awaitable<void>
  /** After the epoch's validation and learning-rate step. */
  onTrainEpochEnd?(trainer: T, model: Module): Awaitable<void>
  /** When the signal has stopped training, before onFitEnd. */
  onAbort?(trainer: T, model: Module): Awaitable<void>
  /** After everything, also where training was stopped early. */
  onFitEnd?(trainer: T, model: Module): Awaitable<void>
  /** Last of all, when also the checkpoints of onFitEnd are written; as Lightning's `teardown`. */
  onTeardown?(trainer: T, model: Module): Awaitable<void>
  /** When training fails, before `fit` rejects with the error. */
  onException?(trainer: T, model: Module, error: unknown): Awaitable<void>
  /**
   * What distinguishes this callback's state in a checkpoint from those of others; as Lightning's
   * `state_key`. Default: the name of its class. Of several callbacks with the same key each has its
   * own state, in the order of `trainer.callbacks`.
   */
  readonly stateKey?: string
  /** Plain data (numbers, strings, arrays, maps, tensors, objects of them) to keep in checkpoints. */
  stateDict?(): object
  /** Goes on from what stateDict gave, when training resumes; needed beside stateDict. */
  loadStateDict?(state: object): void
}

/** Why training ended. */
export type StopReason = 'maxEpochs' | 'maxSteps' | 'maxTime' | 'shouldStop' | 'aborted'

/** Where training stands; for progress displays. */
export interface Progress {
  epoch: number
  /** Null when only maxSteps ends training. */
  maxEpochs: number | null
  /** Batches of this epoch done. */
  batch: number
  /** Batches in an epoch, where the data tell. */
  batches: number | null
  globalStep: number
  /** Averages of this epoch over the steps that have been read. */
  metrics: Record<string, number>
  tokensPerSecond: number
  secondsLeft: number | null
}

/** The options with their defaults in place. */
export interface TrainerSettings {
  maxEpochs: number
  maxSteps: number
  logEveryNSteps: number
  valCheckInterval: number | null
  checkValEveryNEpoch: number
  accumulateGradBatches: number
  limitTrainBatches: number | null
  limitValBatches: number | null
  limitTestBatches: number | null
  limitPredictBatches: number | null
  /** 0: none. */
  overfitBatches: number
  /** 0: none. */
  fastDevRun: number
  /** In seconds. */
  maxTime: number | null
  signal: AbortSignal | null
  gradientClipVal: number | null
  gradientClipAlgorithm: 'norm' | 'value'
  nonFinite: 'error' | 'skip'
  strategy: 'auto' | 'ddp' | 'single'
  findUnusedParameters: boolean
  timeout: number | null
  seed: number | null
  precision: TrainerPrecision | null
}

/** What callbacks see of the {@link Trainer} that runs them. */
export interface TrainerHandle {
  readonly options: Readonly<TrainerSettings>
  readonly callbacks: readonly CallbackHooks[]
  readonly loggers: readonly Logger[]
  /** The epoch that is running, from 0. */
  currentEpoch: number
  /** A callback sets this to end training after the running step. */
  shouldStop: boolean
  /** The latest trainLoss, valLoss, … */
  callbackMetrics: Record<string, number>
  history: History
  /** Optimiser steps taken, those before a resumed checkpoint included. */
  readonly globalStep: number
  /** Optimiser steps taken since fit was called. */
  readonly stepsThisFit: number
  /** Steps of this fit that `nonFinite: 'skip'` has left out; stepsThisFit counts them too. */
  readonly skippedSteps: number
  /** Whether this fit has validation data. */
  readonly validating: boolean
  /** The optimiser that fit uses. */
  readonly optimizer: TrainableOptimizer | null
  /** The schedule that fit uses; a callback may give it another one. */
  schedule: SchedulerConfig | null
  /** Whether this is the process that writes files and logs: rank 0. */
  readonly isGlobalZero: boolean
  /** Adds a record of these numbers to the history, and gives it to the loggers. */
  logMetrics(metrics: Readonly<Record<string, number>>): void
  /** Where training stands. */
  readonly progress: Progress
  /** As {@link Trainer.validate}. */
  validate<B>(model: TrainingModule<B>, data: DataSource<B>): Promise<Record<string, number>>
  /** As {@link Trainer.saveCheckpoint}. */
  saveCheckpoint(path: string | URL): Promise<void>
}

/** What fit trains, and with what. */
export interface LoopParts<B> {
  model: TrainingModule<B>
  optimizer: TrainableOptimizer
  schedule: SchedulerConfig | null
  trainData: DataSource<B>
  validData: DataSource<B> | null
}
