/** Keeps the last and the best state of training in a folder. */
import { join, resolve } from 'node:path'
import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  checkString,
  typeError,
} from '../errors.js'
import { checkPath } from '../io/path.js'
import { realFolder } from '../io/saved_folder.js'
import { isBetter, monitored, stateKeyOf } from './monitor.js'
import type { CallbackHooks, TrainerHandle } from './types.js'

/** What {@link ModelCheckpoint} takes; as in Lightning. */
export interface ModelCheckpointOptions {
  /** The folder for the checkpoints `last` and `best`; made if it does not exist. */
  dirpath: string | URL
  /** Keep the checkpoint with the best value of this metric as `best`. Default: no `best`. */
  monitor?: string
  /** Whether the metric should fall ('min') or rise ('max'). Default 'min'. */
  mode?: 'min' | 'max'
  /** Keep the latest state as `last`. Default true. */
  saveLast?: boolean
  /** Write `last` after every N optimiser steps as well. */
  everyNTrainSteps?: number
  /** Write `last` after every N epochs. Default 1. */
  everyNEpochs?: number
}

/**
 * Writes checkpoints; as Lightning's `ModelCheckpoint`. Each is a folder from which
 * `trainer.fit(…, { ckptPath })` goes on, and is replaced only when its successor is complete. When
 * training is stopped by the signal, or a callback or the data fail, `last` is written once more.
 */
export class ModelCheckpoint implements CallbackHooks {
  readonly options: Readonly<ModelCheckpointOptions & { dirpath: string }>
  /** Where the best checkpoint is; null before there is one. */
  bestModelPath: string | null = null
  bestModelScore: number | null = null
  /** Where the last checkpoint is; null before there is one. */
  lastModelPath: string | null = null
  #lastSavedStep = -1

  constructor(options: ModelCheckpointOptions) {
    const fn = 'ModelCheckpoint'
    checkOptions(fn, options, [
      'dirpath',
      'monitor',
      'mode',
      'saveLast',
      'everyNTrainSteps',
      'everyNEpochs',
    ])
    const dirpath = checkPath(fn, 'dirpath', options.dirpath, 'the path of a folder')
    if (options.monitor !== undefined && typeof options.monitor !== 'string')
      throw typeError(fn, 'monitor', 'the name of a metric', options.monitor)
    if (options.mode !== undefined) checkOneOf(fn, 'mode', options.mode, ['min', 'max'])
    if (options.saveLast !== undefined) checkBoolean(fn, 'saveLast', options.saveLast)
    if (options.everyNTrainSteps !== undefined)
      checkInteger(fn, 'everyNTrainSteps', options.everyNTrainSteps, 1)
    if (options.everyNEpochs !== undefined)
      checkInteger(fn, 'everyNEpochs', options.everyNEpochs, 1)
    this.options = { ...options, dirpath }
  }

  /** Its class, metric and mode; as in Lightning. */
  get stateKey(): string {
    const { monitor = null, mode = 'min' } = this.options
    return stateKeyOf(this, 'ModelCheckpoint', { monitor, mode })
  }

  /** Where it writes. @internal */
  get paths(): string[] {
    const { dirpath, monitor, saveLast } = this.options
    const names = [
      ...(saveLast === false ? [] : ['last']),
      ...(monitor === undefined ? [] : ['best']),
    ]
    return names.map((name) => join(dirpath, name))
  }

  async onTrainBatchEnd(trainer: TrainerHandle): Promise<void> {
    const every = this.options.everyNTrainSteps
    if (every !== undefined && trainer.globalStep % every === 0) await this.#saveLast(trainer)
  }

  async onValidationEnd(trainer: TrainerHandle): Promise<void> {
    if (this.options.monitor?.startsWith('val')) await this.#saveBest(trainer, this.options.monitor)
  }

  async onTrainEpochEnd(trainer: TrainerHandle): Promise<void> {
    const { monitor, everyNEpochs = 1 } = this.options
    if (monitor !== undefined && !monitor.startsWith('val')) await this.#saveBest(trainer, monitor)
    if ((trainer.currentEpoch + 1) % everyNEpochs === 0) await this.#saveLast(trainer)
  }

  async onAbort(trainer: TrainerHandle): Promise<void> {
    await this.#saveLast(trainer)
  }

  /** Training may end in the middle of an epoch. */
  async onFitEnd(trainer: TrainerHandle): Promise<void> {
    if (trainer.globalStep !== this.#lastSavedStep && trainer.stepsThisFit > 0)
      await this.#saveLast(trainer)
  }

  /** What has been trained since the last checkpoint is not lost when a callback or the data fail. */
  async onException(trainer: TrainerHandle): Promise<void> {
    if (trainer.globalStep === this.#lastSavedStep || trainer.stepsThisFit === 0) return
    // Where there is no state to save, or no room for it, the checkpoint before stays.
    await this.#saveLast(trainer).catch(() => {})
  }

  async #saveLast(trainer: TrainerHandle): Promise<void> {
    if (this.options.saveLast === false) return
    const path = join(this.options.dirpath, 'last')
    await trainer.saveCheckpoint(path)
    this.lastModelPath = path
    this.#lastSavedStep = trainer.globalStep
  }

  async #saveBest(trainer: TrainerHandle, monitor: string): Promise<void> {
    const score = monitored('ModelCheckpoint', monitor, trainer.callbackMetrics)
    if (!isBetter(score, this.bestModelScore, this.options.mode ?? 'min')) return
    const path = join(this.options.dirpath, 'best')
    const before = this.stateDict() as {
      bestModelPath: string | null
      bestModelScore: number | null
    }
    // The checkpoint knows itself as the best.
    this.bestModelScore = score
    this.bestModelPath = path
    try {
      await trainer.saveCheckpoint(path)
    } catch (error) {
      this.loadStateDict(before)
      throw error
    }
  }

  stateDict(): object {
    return { bestModelPath: this.bestModelPath, bestModelScore: this.bestModelScore }
  }

  /** @throws TypeError, RangeError */
  loadStateDict(state: { bestModelPath: string | null; bestModelScore: number | null }): void {
    const fn = 'ModelCheckpoint.loadStateDict'
    checkOptions(fn, state, ['bestModelPath', 'bestModelScore'])
    if (state.bestModelPath !== null) checkString(fn, 'bestModelPath', state.bestModelPath)
    if (state.bestModelScore !== null) checkNumber(fn, 'bestModelScore', state.bestModelScore)
    this.bestModelPath = state.bestModelPath
    this.bestModelScore = state.bestModelScore
  }
}

/**
 * Where all of a trainer's callbacks write checkpoints.
 * @throws (rejects) TypeError when two of them would replace each other's
 */
export async function checkpointPaths(callbacks: readonly CallbackHooks[]): Promise<string[]> {
  const owners = new Map<string, string>()
  const all: string[] = []
  for (const [i, callback] of callbacks.entries()) {
    if (!(callback instanceof ModelCheckpoint)) continue
    const name = `callbacks[${i}] (${callback.stateKey})`
    for (const path of callback.paths) {
      // What cannot be written to is refused by name when it is claimed.
      const folder = await realFolder(path).catch(() => resolve(path))
      const other = owners.get(folder)
      if (other !== undefined) {
        throw new TypeError(
          `[fit] callbacks: expected ModelCheckpoints that write into different folders, got '${path}' for ${other} and ${name}; give each a dirpath of its own`,
        )
      }
      owners.set(folder, name)
      all.push(path)
    }
  }
  return all
}
