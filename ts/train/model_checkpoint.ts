/** Keeps the last and the best state of training in a folder. */
import { rm } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  checkString,
  rangeError,
  typeError,
} from '../errors.js'
import { checkPath } from '../io/path.js'
import { realFolder } from '../io/saved_folder.js'
import { isObject } from './checks.js'
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
  /**
   * How many of the best checkpoints to keep: 1, as `best`; more, as `epoch=E-step=S`, where the
   * worst is deleted when there is a better one; -1, all of them; 0, none. Without a monitor, -1
   * keeps one whenever `last` is written. Default 1.
   */
  saveTopK?: number
}

/** A checkpoint that is to be written, and what has to be taken back if it cannot be. */
interface PendingSave {
  save(): Promise<void>
  undo(): void
}

interface State {
  bestModelPath: string | null
  bestModelScore: number | null
  /** With saveTopK other than 1: the score of each that is kept, or null without a monitor. */
  bestKModels?: Record<string, number | null>
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
  /** With saveTopK other than 1: those that are kept, with their scores. */
  bestKModels: Record<string, number | null> = {}
  /** While a hook of all callbacks is called: what is to be written after it. @internal */
  pending: PendingSave[] | null = null
  #lastSavedStep = -1
  /** The step after which everyNTrainSteps was last heeded. */
  #lastTrainStep = -1

  constructor(options: ModelCheckpointOptions) {
    const fn = 'ModelCheckpoint'
    checkOptions(fn, options, [
      'dirpath',
      'monitor',
      'mode',
      'saveLast',
      'everyNTrainSteps',
      'everyNEpochs',
      'saveTopK',
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
    const { saveTopK = 1 } = options
    checkInteger(fn, 'saveTopK', saveTopK, -1)
    if (saveTopK > 1 && options.monitor === undefined) {
      const expected = '-1, 0 or 1 without a monitor, which says what is best'
      throw rangeError(fn, 'saveTopK', expected, String(saveTopK))
    }
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
      ...(monitor === undefined || this.#most !== 1 ? [] : ['best']),
    ]
    return names.map((name) => join(dirpath, name))
  }

  /** How many to keep; Infinity for all. */
  get #most(): number {
    const { saveTopK = 1 } = this.options
    return saveTopK < 0 ? Infinity : saveTopK
  }

  /** What its further checkpoints' names begin with, where it has any. @internal */
  get prefix(): string | null {
    const { dirpath, monitor } = this.options
    const many = this.#most > 1 && (monitor !== undefined || this.#most === Infinity)
    return many ? join(dirpath, 'epoch=') : null
  }

  async onTrainBatchEnd(trainer: TrainerHandle): Promise<void> {
    const every = this.options.everyNTrainSteps
    if (every === undefined || trainer.globalStep % every !== 0) return
    // A batch may leave the step to the next ones.
    if (trainer.globalStep === this.#lastTrainStep) return
    this.#lastTrainStep = trainer.globalStep
    if (trainer.globalStep > 0) await this.#saveLast(trainer)
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
    if (this.options.monitor === undefined && this.#most === Infinity)
      await this.#saveAmongBest(trainer, null)
    if (this.options.saveLast === false) return
    const path = join(this.options.dirpath, 'last')
    await this.#write({
      save: async () => {
        await trainer.saveCheckpoint(path)
        this.lastModelPath = path
        this.#lastSavedStep = trainer.globalStep
      },
      undo: () => {},
    })
  }

  /** Now, or when the hooks of all callbacks have been called: a checkpoint has the state of all. */
  async #write(one: PendingSave): Promise<void> {
    if (this.pending !== null) {
      this.pending.push(one)
      return
    }
    try {
      await one.save()
    } catch (error) {
      one.undo()
      throw error
    }
  }

  async #saveBest(trainer: TrainerHandle, monitor: string): Promise<void> {
    const score = monitored('ModelCheckpoint', monitor, trainer)
    if (score === null) return
    if (this.#most !== 1) return this.#saveAmongBest(trainer, score)
    if (!isBetter(score, this.bestModelScore, this.options.mode ?? 'min')) return
    const path = join(this.options.dirpath, 'best')
    const before = this.stateDict()
    // The checkpoint knows itself as the best.
    this.bestModelScore = score
    this.bestModelPath = path
    await this.#write({
      save: () => trainer.saveCheckpoint(path),
      undo: () => this.loadStateDict(before),
    })
  }

  /** Keeps a checkpoint if it is among the best, and deletes the worst where there are too many. */
  async #saveAmongBest(trainer: TrainerHandle, score: number | null): Promise<void> {
    const mode = this.options.mode ?? 'min'
    if (this.#most === 0 || Number.isNaN(score)) return
    const kept = Object.entries(this.bestKModels)
    const worst = kept.reduce<(typeof kept)[number] | null>(
      (a, b) => (a === null || isBetter(a[1] as number, b[1], mode) ? b : a),
      null,
    )
    const full = kept.length >= this.#most
    if (full && worst !== null && !isBetter(score as number, worst[1], mode)) return
    const name = `epoch=${trainer.currentEpoch}-step=${trainer.globalStep}`
    const path = join(this.options.dirpath, name)
    if (Object.hasOwn(this.bestKModels, path)) return
    const before = this.stateDict()
    // The checkpoint knows what is kept beside it.
    this.bestKModels = { ...this.bestKModels, [path]: score }
    if (full && worst !== null) delete this.bestKModels[worst[0]]
    if (score === null || isBetter(score, this.bestModelScore, mode)) {
      this.bestModelScore = score
      this.bestModelPath = path
    }
    await this.#write({
      save: async () => {
        await trainer.saveCheckpoint(path)
        if (full && worst !== null && trainer.isGlobalZero) await this.#remove(worst[0])
      },
      undo: () => this.loadStateDict(before),
    })
  }

  /** Deletes a checkpoint of this folder; the path may be from a file. */
  async #remove(path: string): Promise<void> {
    const name = basename(path)
    if (path !== join(this.options.dirpath, name) || !/^epoch=\d+-step=\d+$/.test(name)) return
    await rm(path, { recursive: true, force: true })
  }

  stateDict(): State {
    const { bestModelPath, bestModelScore, bestKModels } = this
    const best = { bestModelPath, bestModelScore }
    return this.#most === 1 ? best : { ...best, bestKModels: { ...bestKModels } }
  }

  /** @throws TypeError, RangeError */
  loadStateDict(state: State): void {
    const fn = 'ModelCheckpoint.loadStateDict'
    checkOptions(fn, state, ['bestModelPath', 'bestModelScore', 'bestKModels'])
    if (state.bestModelPath !== null) checkString(fn, 'bestModelPath', state.bestModelPath)
    if (state.bestModelScore !== null) checkNumber(fn, 'bestModelScore', state.bestModelScore)
    const kept = state.bestKModels ?? {}
    if (!isObject(kept)) throw typeError(fn, 'bestKModels', 'scores by path', kept)
    for (const [path, score] of Object.entries(kept))
      if (score !== null) checkNumber(fn, `bestKModels['${path}']`, score)
    this.bestModelPath = state.bestModelPath
    this.bestModelScore = state.bestModelScore
    this.bestKModels = { ...kept }
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
    const { paths, prefix } = callback
    for (const path of [...paths, ...(prefix === null ? [] : [prefix])]) {
      // What cannot be written to is refused by name when it is claimed.
      const folder = await realFolder(path).catch(() => resolve(path))
      const other = owners.get(folder)
      if (other !== undefined) {
        throw new TypeError(
          `[fit] callbacks: expected ModelCheckpoints that write into different folders, got '${path}' for ${other} and ${name}; give each a dirpath of its own`,
        )
      }
      owners.set(folder, name)
      if (path !== prefix) all.push(path)
    }
  }
  return all
}
