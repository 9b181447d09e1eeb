/**
 * A checkpoint is a folder: trainer.json, its head, trainer.safetensors, model.safetensors and whatever
 * else the model writes of itself. The head has a hash of every other file; io/saved_folder.ts says
 * how they replace older ones.
 */
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  checkpointFolder,
  FORMAT,
  filesOf,
  isCheckpoint,
  isFileName,
  STATE,
  STATE_LIMIT,
} from '../io/checkpoint_folder.js'
import { exists } from '../io/folders.js'
import { InUse } from '../io/lock.js'
import { digestOf, parsePlainJson, readText } from '../io/open_file.js'
import { type Json, pack, unpack } from '../io/pack.js'
import { save } from '../io/safetensors.js'
import { checkClaim, claim, placesOf, saveFolder } from '../io/saved_folder.js'
import { TensorFile } from '../io/tensor_file.js'
import { reason, writeWhole } from '../io/whole_file.js'
import type { Module } from '../nn/module.js'
import type { Tensor } from '../tensor.js'
import { isObject } from './checks.js'
import { checkState, type LoopState } from './state.js'
import type { TrainingModule } from './types.js'

const VERSION = 1
const FAILED = '[saveCheckpoint] cannot write'
const MODEL = 'model.safetensors'
const TENSORS = 'trainer.safetensors'

/**
 * Writes a checkpoint; `state` may hold tensors, numbers, strings, arrays, maps and plain objects.
 * @param by whose it is; what another training has claimed is refused
 * @throws (rejects) Error that names the path
 */
export async function writeCheckpoint(
  path: string,
  model: Module,
  state: LoopState,
  by: object = state,
): Promise<void> {
  const write = async (folder: string, id: string): Promise<void> => {
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
    const files: Record<string, string> = {}
    for (const name of await readdir(folder)) files[name] = await digestOf(join(folder, name))
    const head = { format: FORMAT, version: VERSION, id, files, ...json }
    await writeWhole(join(folder, STATE), JSON.stringify(head))
  }
  try {
    await checkClaim(path, by)
    await saveFolder(path, { what: 'a saving', head: STATE, check: checkOwn, write })
  } catch (error) {
    throw new Error(`${FAILED} '${path}': ${(error as Error).message}`, { cause: error })
  }
}

/**
 * Makes folders a training's own for as long as it lasts.
 * @returns gives them back
 * @throws (rejects) Error that names the path and who has it
 */
export async function claimCheckpoints(
  paths: readonly string[],
  by: object,
): Promise<() => Promise<void>> {
  const given: (() => Promise<void>)[] = []
  const giveBack = async (): Promise<void> => {
    for (const give of given) await give()
  }
  for (const path of paths) {
    try {
      given.push(await claim(path, 'the training', by))
    } catch (error) {
      await giveBack()
      const { message } = error as Error
      const what = error instanceof InUse ? '[fit] cannot keep checkpoints in' : FAILED
      throw new Error(`${what} '${path}': ${message}`, { cause: error })
    }
  }
  return giveBack
}

/** @throws (rejects) Error unless the files are a checkpoint's */
async function checkOwn(folder: string): Promise<readonly string[]> {
  if (await isCheckpoint(folder)) return filesOf(folder)
  throw new Error('there is something of that name that is no checkpoint of fused-rnn')
}

/**
 * Reads a checkpoint's weights into `model` and gives the rest back.
 * @param signal ends reading
 * @throws (rejects) Error with a one-line message when there is none, or it is damaged, mixed with
 *   another or of another model; the model is then unchanged
 */
export async function readCheckpoint(
  path: string,
  model: Module,
  signal?: AbortSignal,
): Promise<LoopState> {
  const folder = await checkpointFolder(path)
  if (!(await exists(join(folder, STATE)))) {
    throw new Error(
      `[fit] ckptPath: expected a checkpoint folder, got '${path}', which has no ${STATE}`,
    )
  }
  const loaded: Tensor[] = []
  try {
    const { head, weights, tensors } = await readFiles(folder, loaded, signal)
    const state = stateOf(head, tensors)
    model.loadStateDict(weights)
    for (const tensor of weights.values()) tensor[Symbol.dispose]()
    return state
  } catch (error) {
    for (const tensor of loaded) tensor[Symbol.dispose]()
    signal?.throwIfAborted()
    throw new Error(`[fit] ckptPath: cannot go on from '${path}': ${(error as Error).message}`, {
      cause: error,
    })
  }
}

interface Files {
  head: unknown
  tensors: Map<string, Tensor>
  weights: Map<string, Tensor>
}

/** How often to begin again while checkpoints are written there. */
const ATTEMPTS = 200
/** Between two looks at files that do not fit and may be about to change. */
const PAUSE_MS = 25

/** Files that belong together. @param loaded gets all tensors @throws (rejects) Error */
async function readFiles(
  folder: string,
  loaded: Tensor[],
  signal: AbortSignal | undefined,
): Promise<Files> {
  let before = ''
  for (let attempt = 1; ; attempt++) {
    const text = await named(STATE, readText(join(folder, STATE), { limit: STATE_LIMIT, signal }))
    const head = await named(STATE, Promise.resolve(text).then(parsePlainJson))
    const opened: TensorFile[] = []
    try {
      // Whatever is replaced from now on, these are what will be read.
      const wrong = await openFiles(folder, head, opened, signal)
      if (wrong === null) {
        const [first, second] = opened as [TensorFile, TensorFile]
        const tensors = await named(TENSORS, first.tensors('cpu'))
        loaded.push(...tensors.values())
        const weights = await named(MODEL, second.tensors('cpu'))
        loaded.push(...weights.values())
        return { head, tensors, weights }
      }
      if (text === before || attempt === ATTEMPTS)
        throw new Error(`its ${wrong} is missing, damaged or of another checkpoint`)
    } finally {
      for (const file of opened) await file.close()
    }
    before = text
    await sleep(PAUSE_MS)
  }
}

async function named<T>(name: string, work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw new Error(`${name}: ${reason(error)}`, { cause: error })
  }
}

/**
 * Opens the two files of tensors, and looks at all others that the head names.
 * @returns the name of one that does not fit, or null
 */
async function openFiles(
  folder: string,
  head: unknown,
  opened: TensorFile[],
  signal: AbortSignal | undefined,
): Promise<string | null> {
  const { id, files } = isObject(head) ? head : {}
  // Checkpoints of earlier versions do not say what belongs to them.
  if (files === undefined) {
    for (const name of [TENSORS, MODEL])
      opened.push(await named(name, TensorFile.open(join(folder, name), signal)))
    return null
  }
  if (typeof id !== 'string' || !/^[0-9a-f]{16}$/.test(id) || !isObject(files))
    throw new Error(`${STATE}: 'files' is not what it should be`)
  for (const name of [TENSORS, MODEL]) {
    const file = await fitting(folder, name, id, files[name], signal)
    if (file === null) return name
    opened.push(file)
  }
  for (const [name, hash] of Object.entries(files)) {
    if ([TENSORS, MODEL].includes(name)) continue
    if (!isFileName(name)) throw new Error(`${STATE}: 'files' is not what it should be`)
    const hashes = (await placesOf(folder, name, id)).map((place) =>
      digestOf(place, signal).catch(() => null),
    )
    if (!(await Promise.all(hashes)).includes(hash as string)) return name
  }
  return null
}

/** The file that has this hash; null: there is none. */
async function fitting(
  folder: string,
  name: string,
  id: string,
  hash: unknown,
  signal: AbortSignal | undefined,
): Promise<TensorFile | null> {
  for (const place of await placesOf(folder, name, id)) {
    const file = await TensorFile.open(place, signal).catch(() => null)
    if (file === null) continue
    let fits = false
    try {
      fits = (await file.digest()) === hash
      if (fits) return file
    } finally {
      if (!fits) await file.close()
    }
  }
  return null
}

/** The state in a checkpoint's trainer.json, with its tensors. @throws Error that says what is wrong */
function stateOf(json: unknown, tensors: ReadonlyMap<string, Tensor>): LoopState {
  if (!isObject(json) || json.format !== FORMAT || json.version !== VERSION)
    throw new Error(`${STATE} is not one of version ${VERSION}`)
  return checkState(unpack(json as Json, tensors), STATE)
}
