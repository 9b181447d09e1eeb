/** The options of a Trainer and of fit, and the result of fit. */
import { checkTimeout } from '../distributed/group.js'
import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  rangeError,
  typeError,
} from '../errors.js'
import type { Scheduler } from '../optim/lr_scheduler.js'
import type { History } from './history.js'
import { devBatches, limitsOf, type MaxTime, secondsOf } from './limits.js'
import { PRECISIONS, type TrainerPrecision } from './precision.js'
import type {
  CallbackHooks,
  Logger,
  SchedulerConfig,
  StopReason,
  TrainableOptimizer,
  TrainerSettings,
} from './types.js'

/** What {@link Trainer} takes; Lightning's names. C is its kind of callback. */
export interface TrainerOptionsOf<C extends CallbackHooks> {
  /** Passes over the data. Default: 1000, or no limit with maxSteps. */
  maxEpochs?: number
  /** Optimiser steps. Default: no limit. */
  maxSteps?: number
  /**
   * Clip gradients to this norm or value, above 0. Default, or null: what the optimiser does by
   * itself.
   */
  gradientClipVal?: number | null
  /** 'norm': the norm of all gradients together. 'value': each element. Default 'norm'. */
  gradientClipAlgorithm?: 'norm' | 'value'
  /**
   * When the loss or a gradient of a step is NaN or infinite, that step's update is not made. 'error':
   * fit rejects with a RangeError that names the step, and the parameter if it is a gradient; steps
   * that were queued meanwhile have run. 'skip': training goes on, `trainer.skippedSteps` counts, and
   * every step waits for its gradients. Default 'error'.
   */
  nonFinite?: 'error' | 'skip'
  callbacks?: readonly C[]
  /** Where the metrics go, beside the history. Default: nowhere. */
  logger?: Logger | readonly Logger[]
  /**
   * Show progress on standard error: a bar on a terminal, plain lines elsewhere. Default: unless the
   * callbacks have a {@link ProgressBar}.
   */
  progressBar?: boolean
  /** Steps per record of the training loss. Default 50. */
  logEveryNSteps?: number
  /**
   * How often to validate within an epoch: every N batches (above 1), or a fraction of the epoch (up
   * to 1). Default: at the end of the epoch.
   */
  valCheckInterval?: number
  /** Validate after every N epochs, without valCheckInterval. Default 1. */
  checkValEveryNEpoch?: number
  /**
   * Add up the gradients of so many batches, and make one optimiser step of their mean; the last one
   * of an epoch may have fewer. Default 1.
   */
  accumulateGradBatches?: number
  /** Take no more batches in an epoch: a number from 1 on, or a part below 1. Default: all. */
  limitTrainBatches?: number
  /** The same for validation; 0: none. Default: all. */
  limitValBatches?: number
  /** The same for `test`. Default: all. */
  limitTestBatches?: number
  /** The same for `predict`. Default: all. */
  limitPredictBatches?: number
  /**
   * Train and validate with the first batches alone, the same in every epoch: a number from 1 on, or
   * a part below 1. To see that a model can learn at all. Default 0: no.
   */
  overfitBatches?: number
  /**
   * Run one batch (true), or so many, of everything, to see that nothing fails: without loggers,
   * checkpoints and early stopping. Default false.
   */
  fastDevRun?: boolean | number
  /** End training after the step in which this time is over: 'DD:HH:MM:SS', or its parts. */
  maxTime?: string | MaxTime
  /** Ends training after the running step. */
  signal?: AbortSignal
  /**
   * 'auto': with the other processes, when mpirun has started several or `distributed.init` has been
   * called. 'ddp': with the others of a group, which fit joins if need be. 'single': alone. Default
   * 'auto'. All processes have to call fit alike; docs/scaling.md says more.
   */
  strategy?: 'auto' | 'ddp' | 'single'
  /** With other processes: see nn.parallel.DistributedDataParallel. Default false. */
  findUnusedParameters?: boolean
  /**
   * With other processes: how long a collective may wait for them, in milliseconds; see
   * `distributed.init`, which it is passed on to; as the `timeout` of Lightning's DDPStrategy.
   * Default: what init has been given, or 30 minutes.
   */
  timeout?: number
  /**
   * Of a generator of its own, from which everything draws that fit calls (dropout, callbacks, data),
   * as if there were no other training in the process; others' random numbers stay as they are. It
   * starts at the beginning of fit, and goes on where fit goes on. Default: the numbers that
   * manualSeed sets.
   */
  seed?: number
  /**
   * What fit and validate compute products in; Lightning's names. 'bf16-mixed': their factors
   * rounded to bfloat16, all else float32. '32-true': float32, or a GPU's TF32. It sets `backends`
   * for as long as they run, for the whole process. Default, or null: what `backends` says.
   */
  precision?: TrainerPrecision | null
}

/** What `fit` takes besides model and data. */
export interface FitOptions {
  /** Default: what the model's configureOptimizers gives. */
  optimizer?: TrainableOptimizer
  scheduler?: Scheduler | SchedulerConfig
  /** Go on from this checkpoint. */
  ckptPath?: string | URL
}

/** What `fit` resolves with. */
export interface FitResult {
  /** 'shouldStop' is a callback's doing, EarlyStopping's for example. */
  stopped: StopReason
  /** Complete epochs. */
  epoch: number
  globalStep: number
  /** The last values of all metrics. */
  metrics: Record<string, number>
  history: History
  /** The checkpoint from which to go on, if a ModelCheckpoint has written one. */
  checkpoint: string | null
}

const OPTIONS = [
  'maxEpochs',
  'maxSteps',
  'gradientClipVal',
  'gradientClipAlgorithm',
  'nonFinite',
  'callbacks',
  'logger',
  'progressBar',
  'logEveryNSteps',
  'valCheckInterval',
  'checkValEveryNEpoch',
  'accumulateGradBatches',
  'limitTrainBatches',
  'limitValBatches',
  'limitTestBatches',
  'limitPredictBatches',
  'overfitBatches',
  'fastDevRun',
  'maxTime',
  'signal',
  'strategy',
  'findUnusedParameters',
  'timeout',
  'seed',
  'precision',
]

/** The options checked, with their defaults. @throws TypeError, RangeError */
export function checkTrainerOptions(options: TrainerOptionsOf<CallbackHooks>): TrainerSettings {
  const fn = 'Trainer'
  checkOptions(fn, options, OPTIONS)
  const optional = <T>(value: T | undefined, check: (value: T) => unknown): T | null => {
    if (value === undefined) return null
    check(value)
    return value
  }
  const maxSteps = optional(options.maxSteps, (n) => checkInteger(fn, 'maxSteps', n, 1))
  const maxEpochs = optional(options.maxEpochs, (n) => checkInteger(fn, 'maxEpochs', n, 1))
  const valCheckInterval = optional(options.valCheckInterval, (n) => {
    if (checkNumber(fn, 'valCheckInterval', n, 0) > 1) checkInteger(fn, 'valCheckInterval', n, 1)
    if (n === 0) throw rangeError(fn, 'valCheckInterval', 'a number above 0', '0')
  })
  const signal = optional(options.signal, (value) => {
    if (!(value instanceof AbortSignal)) throw typeError(fn, 'signal', 'an AbortSignal', value)
  })
  const fastDevRun = devBatches(fn, options.fastDevRun ?? false)
  const limits = limitsOf(fn, options, fastDevRun)
  return {
    ...limits,
    fastDevRun,
    maxTime: options.maxTime === undefined ? null : secondsOf(fn, options.maxTime),
    accumulateGradBatches: checkInteger(
      fn,
      'accumulateGradBatches',
      options.accumulateGradBatches ?? 1,
      1,
    ),
    maxEpochs: fastDevRun > 0 ? 1 : (maxEpochs ?? (maxSteps === null ? 1000 : Infinity)),
    maxSteps: fastDevRun > 0 ? fastDevRun : (maxSteps ?? Infinity),
    logEveryNSteps: checkInteger(fn, 'logEveryNSteps', options.logEveryNSteps ?? 50, 1),
    valCheckInterval: fastDevRun > 0 ? null : valCheckInterval,
    checkValEveryNEpoch:
      fastDevRun > 0
        ? 1
        : checkInteger(fn, 'checkValEveryNEpoch', options.checkValEveryNEpoch ?? 1, 1),
    signal,
    gradientClipVal: optional(options.gradientClipVal ?? undefined, (n) => {
      checkNumber(fn, 'gradientClipVal', n, 0)
      if (n === 0) throw rangeError(fn, 'gradientClipVal', 'a number above 0', '0')
    }),
    gradientClipAlgorithm: checkOneOf(
      fn,
      'gradientClipAlgorithm',
      options.gradientClipAlgorithm ?? 'norm',
      ['norm', 'value'],
    ),
    nonFinite: checkOneOf(fn, 'nonFinite', options.nonFinite ?? 'error', ['error', 'skip']),
    strategy: checkOneOf(fn, 'strategy', options.strategy ?? 'auto', ['auto', 'ddp', 'single']),
    findUnusedParameters: checkBoolean(
      fn,
      'findUnusedParameters',
      options.findUnusedParameters ?? false,
    ),
    timeout: optional(options.timeout, (ms) => checkTimeout(fn, ms)),
    seed: optional(options.seed, (n) => checkInteger(fn, 'seed', n, 0)),
    precision: optional(options.precision ?? undefined, (name) =>
      checkOneOf(fn, 'precision', name, PRECISIONS),
    ),
  }
}

/** What a limit is raised to. @throws TypeError, RangeError */
export function checkLimit(name: string, value: number): number {
  return value === Infinity ? value : checkInteger('Trainer', name, value, 1)
}
