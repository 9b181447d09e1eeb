/** How the models of tasks are trained: a Trainer with defaults, the best weights kept. */

import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOptions,
  checkSignal,
  rangeError,
  typeError,
} from '../errors.js'
import { Adam } from '../optim/adam.js'
import { OneCycleLR } from '../optim/schedules/cyclic.js'
import { EarlyStopping } from '../train/early_stopping.js'
import type { FitResult } from '../train/options.js'
import { Trainer } from '../train/trainer.js'
import type { DataSource, TrainingModule } from '../train/types.js'

/** What the `fit` of a task's model takes; Data is what it learns from. */
export interface FitModelOptions<Data = unknown> {
  /** Which share of the data, at their end, to validate with; 0: none; or data of its own. Default 0.2. */
  valid?: number | Data
  /** Default 32. */
  batchSize?: number
  /** The learning rate of Adam. */
  lr?: number
  maxEpochs?: number
  /** How many epochs without a better validation loss to go on for. */
  patience?: number
  /** The same seed gives the same order of batches and the same dropout. */
  seed?: number
  /** Trains instead of one with these options; its callbacks decide when to stop, and which weights to keep. */
  trainer?: Trainer
  /** Ends training after the running step, with the best weights so far. */
  signal?: AbortSignal
  /** Show progress on standard error. Default true. */
  progressBar?: boolean
}

export const FIT_OPTIONS = [
  'valid',
  'batchSize',
  'lr',
  'maxEpochs',
  'patience',
  'seed',
  'trainer',
  'signal',
  'progressBar',
]

/** The defaults of one model. */
export interface FitDefaults {
  valid: number
  batchSize: number
  lr: number
  maxEpochs: number
  patience: number
  /** The rate rises to lr in the first fifth of the steps, and falls until the last. Default false. */
  oneCycle?: boolean
}

/** The options with their defaults in place. */
export interface FitSettings extends FitDefaults {
  seed: number | undefined
  trainer: Trainer | undefined
  signal: AbortSignal | undefined
  progressBar: boolean
}

/**
 * @param known names of further options
 * @throws TypeError, RangeError
 */
export function checkFitOptions(
  fn: string,
  options: FitModelOptions,
  defaults: FitDefaults,
  known: readonly string[] = [],
): FitSettings {
  checkOptions(fn, options, [...FIT_OPTIONS, ...known])
  const { trainer } = options
  if (trainer !== undefined) {
    if (!(trainer instanceof Trainer)) throw typeError(fn, 'trainer', 'a Trainer', trainer)
    for (const name of ['maxEpochs', 'patience', 'signal', 'progressBar', 'seed'] as const)
      if (options[name] !== undefined)
        throw typeError(fn, name, 'none beside trainer, which decides that', options[name])
  }
  const lr = checkNumber(fn, 'lr', options.lr ?? defaults.lr, 0)
  if (lr === 0 || lr === Infinity) throw rangeError(fn, 'lr', 'a number above 0', String(lr))
  const valid = options.valid ?? defaults.valid
  return {
    valid: typeof valid === 'number' ? checkShare(fn, valid) : 0,
    batchSize: checkInteger(fn, 'batchSize', options.batchSize ?? defaults.batchSize, 1),
    lr,
    maxEpochs: checkInteger(fn, 'maxEpochs', options.maxEpochs ?? defaults.maxEpochs, 1),
    patience: checkInteger(fn, 'patience', options.patience ?? defaults.patience, 1),
    oneCycle: defaults.oneCycle ?? false,
    seed: options.seed === undefined ? undefined : checkInteger(fn, 'seed', options.seed, 0),
    trainer,
    signal: checkSignal(fn, options.signal),
    progressBar: checkBoolean(fn, 'progressBar', options.progressBar ?? true),
  }
}

function checkShare(fn: string, valid: number): number {
  checkNumber(fn, 'valid', valid, 0, 1)
  if (valid === 1) throw rangeError(fn, 'valid', 'a share below 1', '1')
  return valid
}

/** Trains a model as its settings say, and leaves it in evaluation mode. */
export async function fitModel<B>(
  model: TrainingModule<B>,
  trainData: DataSource<B>,
  validData: DataSource<B> | null,
  settings: FitSettings,
): Promise<FitResult> {
  const { lr, maxEpochs, patience, seed, signal, progressBar } = settings
  const trainer =
    settings.trainer ??
    new Trainer({
      maxEpochs,
      gradientClipVal: 1,
      progressBar,
      ...(signal && { signal }),
      ...(seed !== undefined && { seed }),
      callbacks:
        validData === null ? [] : [new EarlyStopping({ patience, restoreBestWeights: true })],
    })
  const optimizer = new Adam(model.parameters(), { lr })
  const steps = maxEpochs * ((trainData as { length?: number }).length ?? 0)
  const scheduler =
    settings.oneCycle && settings.trainer === undefined && steps > 1
      ? new OneCycleLR(optimizer, lr, { totalSteps: steps, pctStart: 0.2 })
      : null
  const result = await trainer.fit(model, trainData, validData, {
    optimizer,
    ...(scheduler && { scheduler: { scheduler, interval: 'step' as const } }),
  })
  model.eval()
  return result
}

/**
 * Trains with examples, the last of which (a share of them) are kept apart to validate with, unless
 * there are `own` ones for it.
 * @param batches makes batches of examples, which messages call `name[from]` and so on
 * @throws (rejects) RangeError where nothing is left to learn from
 */
export function fitExamples<B, E>(
  fn: string,
  model: TrainingModule<B>,
  all: readonly E[],
  own: readonly E[] | null,
  settings: FitSettings,
  batches: (list: readonly E[], name: string, from: number, shuffle: boolean) => DataSource<B>,
): Promise<FitResult> {
  const cut = own === null ? all.length - Math.round(settings.valid * all.length) : all.length
  if (cut === 0)
    throw rangeError(fn, 'valid', 'a share that leaves an example', String(settings.valid))
  const valid = own ?? all.slice(cut)
  const [name, from] = own === null ? (['examples', cut] as const) : (['valid', 0] as const)
  const validData = valid.length === 0 ? null : batches(valid, name, from, false)
  return fitModel<B>(model, batches(all.slice(0, cut), 'examples', 0, true), validData, settings)
}
