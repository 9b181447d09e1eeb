/**
 * A checkpoint is a folder: model.safetensors (and whatever else the model writes of itself),
 * trainer.safetensors and trainer.json.
 */
import { mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import {
  checkpointFolder,
  exists,
  inTurn,
  makeFolders,
  setAside,
  syncFolder,
} from '../io/folders.js'
import { type Json, pack, unpack } from '../io/pack.js'
import { load, save } from '../io/safetensors.js'
import type { Module } from '../nn/module.js'
import type { Tensor } from '../tensor.js'
import { isObject } from './checks.js'
import { checkState, type LoopState } from './state.js'
import type { TrainingModule } from './types.js'

const FORMAT = 'fused-rnn checkpoint'
const VERSION = 1
const MODEL = 'model.safetensors'
const TENSORS = 'trainer.safetensors'
const STATE = 'trainer.json'

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
    await syncFolder(temporary)
    if (await exists(path)) {
      await rm(setAside(path), { recursive: true, force: true })
      await rename(path, setAside(path))
    }
    await rename(temporary, path)
    await syncFolder(dirname(path))
    // What cannot be deleted now will be next time.
    await rm(setAside(path), { recursive: true, force: true }).catch(() => {})
  } catch (error) {
    if (!(await exists(path))) await rename(setAside(path), path).catch(() => {})
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
  const target = resolve(path)
  const write = async (folder: string): Promise<void> => {
    const { writeFiles } = model as Module & Pick<TrainingModule<unknown>, 'writeFiles'>
    if (writeFiles !== undefined) await writeFiles.call(model, folder)
    else await save(join(folder, MODEL), model.stateDict())
    const tensors = new Map<string, Tensor>()
    const json = Object.fromEntries(
      Object.entries(state).map(([key, value]) => [
        key,
        pack('saveCheckpoint', value, tensors, key),
      ]),
    )
    await save(join(folder, TENSORS), tensors)
    await writeFile(
      join(folder, STATE),
      JSON.stringify({ format: FORMAT, version: VERSION, ...json }),
    )
  }
  await inTurn(target, () => replaceFolder(target, write))
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
  const loaded: Tensor[] = []
  const read = async (name: string): Promise<Map<string, Tensor>> => {
    const tensors = await load(join(folder, name))
    loaded.push(...tensors.values())
    return tensors
  }
  try {
    const state = parseState(await readFile(join(folder, STATE), 'utf8'), await read(TENSORS))
    const weights = await read(MODEL)
    model.loadStateDict(weights)
    for (const tensor of weights.values()) tensor[Symbol.dispose]()
    return state
  } catch (error) {
    for (const tensor of loaded) tensor[Symbol.dispose]()
    throw new Error(`[fit] ckptPath: cannot go on from '${path}': ${(error as Error).message}`, {
      cause: error,
    })
  }
}

/**
 * The state in a checkpoint's trainer.json, with its tensors.
 * @throws Error, RangeError that says what is wrong
 */
export function parseState(text: string, tensors: ReadonlyMap<string, Tensor>): LoopState {
  const json: unknown = JSON.parse(text)
  if (!isObject(json) || json.format !== FORMAT || json.version !== VERSION)
    throw new Error(`${STATE} is not one of version ${VERSION}`)
  return checkState(unpack(json as Json, tensors), STATE)
}
