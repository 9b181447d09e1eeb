/**
 * A checkpoint is a folder: model.safetensors (and whatever else the model writes of itself),
 * trainer.safetensors and trainer.json.
 */
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { makeFolders } from '../io/folders.js'
import { load, save } from '../io/safetensors.js'
import type { Module } from '../nn/module.js'
import type { SchedulerState } from '../optim/lr_scheduler.js'
import type { RandomState } from '../random.js'
import type { Tensor } from '../tensor.js'
import type { HistoryRecord } from './history.js'
import type { Totals } from './meter.js'
import { type Json, pack, unpack } from './pack.js'
import type { Carried, TrainingModule } from './types.js'

const FORMAT = 'fused-rnn checkpoint'
const VERSION = 1
const MODEL = 'model.safetensors'
const TENSORS = 'trainer.safetensors'
const STATE = 'trainer.json'

/** What a training loop is made of, beside the model's weights. */
export interface LoopState extends Record<string, unknown> {
  epoch: number
  batch: number
  globalStep: number
  validatedAt: number
  carried: Carried
  epochTotals: Totals
  windowTotals: Totals
  callbackMetrics: Record<string, number>
  random: RandomState
  optimizer: unknown
  scheduler: SchedulerState | null
  trainData: object | null
  callbacks: Record<string, object>
  history: HistoryRecord[]
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

/** Where a checkpoint is set aside for the moment in which its successor takes its name. */
export const setAside = (path: string): string => `${path}.previous`

/**
 * Where the checkpoint of this name is to be read: a crash between the two renames of
 * replaceFolder leaves the complete one set aside.
 */
export async function checkpointFolder(path: string): Promise<string> {
  const previous = setAside(resolve(path))
  return !(await exists(path)) && (await exists(previous)) ? previous : path
}

/** Whether nothing is lost when a checkpoint takes this name: nothing, an empty folder, a checkpoint. */
async function mayReplace(path: string): Promise<boolean> {
  if (!(await exists(path)) || (await exists(join(path, STATE)))) return true
  return (await stat(path)).isDirectory() && (await readdir(path)).length === 0
}

/**
 * Writes a folder under another name and then gives it `path`, so that at no moment there is only
 * an incomplete one.
 */
async function replaceFolder(
  path: string,
  write: (folder: string) => Promise<void>,
): Promise<void> {
  const temporary = `${path}.tmp`
  try {
    if (!(await mayReplace(path)))
      throw new Error('there is something of that name that is no checkpoint')
    await makeFolders(dirname(path))
    await rm(temporary, { recursive: true, force: true })
    await mkdir(temporary)
    await write(temporary)
    for (const name of await readdir(temporary)) {
      const file = await open(join(temporary, name), 'r+')
      await file.sync().finally(() => file.close())
    }
    if (await exists(path)) {
      await rm(setAside(path), { recursive: true, force: true })
      await rename(path, setAside(path))
    }
    await rename(temporary, path)
    await rm(setAside(path), { recursive: true, force: true })
  } catch (error) {
    await rm(temporary, { recursive: true, force: true }).catch(() => {})
    throw new Error(`[saveCheckpoint] cannot write '${path}': ${(error as Error).message}`, {
      cause: error,
    })
  }
}

/** Writes a checkpoint; `state` may hold tensors, numbers, strings, arrays, maps and plain objects. */
export async function writeCheckpoint(
  path: string,
  model: Module,
  state: LoopState,
): Promise<void> {
  await replaceFolder(resolve(path), async (folder) => {
    const { writeFiles } = model as Module & Pick<TrainingModule<unknown>, 'writeFiles'>
    if (writeFiles !== undefined) await writeFiles.call(model, folder)
    else await save(join(folder, MODEL), model.stateDict())
    const tensors = new Map<string, Tensor>()
    const json = Object.fromEntries(
      Object.entries(state).map(([key, value]) => [key, pack(value, tensors, key)]),
    )
    await save(join(folder, TENSORS), tensors)
    await writeFile(
      join(folder, STATE),
      JSON.stringify({ format: FORMAT, version: VERSION, ...json }),
    )
  })
}

/**
 * Reads a checkpoint's weights into `model` and gives the rest back.
 * @throws (rejects) Error with a one-line message when there is none, or it is damaged or of another
 *   model; the model is then unchanged
 */
export async function readCheckpoint(path: string, model: Module): Promise<LoopState> {
  const folder = await checkpointFolder(path)
  if (!(await exists(join(folder, STATE)))) {
    throw new Error(
      `[fit] ckptPath: expected a checkpoint folder, got '${path}', which has no ${STATE}`,
    )
  }
  try {
    const json = JSON.parse(await readFile(join(folder, STATE), 'utf8')) as Record<string, Json>
    if (json.format !== FORMAT || json.version !== VERSION)
      throw new Error(`${STATE} is not one of version ${VERSION}`)
    const tensors = await load(join(folder, TENSORS))
    const state = unpack(json, tensors) as LoopState
    const weights = await load(join(folder, MODEL))
    model.loadStateDict(weights)
    for (const tensor of weights.values()) tensor[Symbol.dispose]()
    return state
  } catch (error) {
    throw new Error(`[fit] ckptPath: cannot go on from '${path}': ${(error as Error).message}`, {
      cause: error,
    })
  }
}
