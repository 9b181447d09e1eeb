/**
 * A model as files in a folder: model.safetensors, config.json and, where the model has
 * one, vocabulary.json. How they replace older ones is in io/saved_folder.ts.
 *
 * The file of weights is the head: it has an id, a hash of configuration and vocabulary. A reader
 * takes only those that the id is the hash of.
 */
import { createHash } from 'node:crypto'
import type { BigIntStats } from 'node:fs'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { checkpointFolder, isCheckpoint } from '../io/checkpoint_folder.js'
import { exists } from '../io/folders.js'
import { readJson } from '../io/open_file.js'
import { checkPath } from '../io/path.js'
import { save } from '../io/safetensors.js'
import { placesOf, type Saving, saveFolder } from '../io/saved_folder.js'
import { TensorFile } from '../io/tensor_file.js'
import { reason, writeWhole } from '../io/whole_file.js'
import type { Tensor } from '../tensor.js'

const WEIGHTS = 'model.safetensors'
const CONFIG = 'config.json'
const VOCABULARY = 'vocabulary.json'
/** Before the name of the model's class. */
const FORMAT = 'fused-rnn '
const VERSION = 1
/** Under which the id stands, in both files. */
const ID = 'id'
/** Longer ones are not ours. */
const LIMITS = { [CONFIG]: 2 ** 20, [VOCABULARY]: 2 ** 29 } as const
type Json = Record<string, unknown>

/** What is written of a model. */
export interface SavedModel {
  /** The name of its class. */
  kind: string
  /** Plain data. */
  config: object
  /** Tokens, which may be many; null: none. */
  vocabulary: object | null
  stateDict(): ReadonlyMap<string, Tensor>
}

function idOf(description: object, vocabulary: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify([description, vocabulary]))
    .digest('hex')
    .slice(0, 16)
}

/** Writes the files into a folder that exists. */
export async function writeModelFiles(folder: string, model: SavedModel): Promise<void> {
  const { kind, vocabulary, config } = model
  const description = { format: FORMAT + kind, version: VERSION, ...config }
  const id = idOf(description, vocabulary)
  const write = (name: string, value: unknown): Promise<void> =>
    writeWhole(join(folder, name), `${JSON.stringify(value, null, 1)}\n`)
  // The values as they are now.
  const weights = save(join(folder, WEIGHTS), model.stateDict(), { metadata: { [ID]: id } })
  const texts = async (): Promise<void> => {
    if (vocabulary !== null) await write(VOCABULARY, vocabulary)
    await write(CONFIG, { ...description, vocabulary: vocabulary !== null, [ID]: id })
  }
  const failed = (await Promise.allSettled([weights, texts()])).find((r) => r.status === 'rejected')
  if (failed !== undefined) throw (failed as PromiseRejectedResult).reason
}

/** Whether a folder's files are a model's of ours. @throws (rejects) Error that says why not */
async function checkOwn(folder: string, names: readonly string[]): Promise<readonly string[]> {
  if (await isCheckpoint(folder))
    throw new Error('it is a checkpoint, which would lose its weights; choose another folder')
  const config = await json(join(folder, CONFIG), CONFIG).catch(() => null)
  const own = isOurs(config?.format) || (await hasId(join(folder, WEIGHTS)))
  const strange = own ? undefined : [CONFIG, WEIGHTS].find((name) => names.includes(name))
  if (strange !== undefined) throw new Error(`its ${strange} is not a model's of fused-rnn`)
  if (!own && names.includes(VOCABULARY)) {
    const vocabulary = await json(join(folder, VOCABULARY), VOCABULARY).catch(() => null)
    if (!Array.isArray(vocabulary?.tokens) || vocabulary.tokenizer === undefined)
      throw new Error(`its ${VOCABULARY} is not a model's of fused-rnn`)
  }
  return [WEIGHTS, CONFIG, VOCABULARY]
}

const isOurs = (format: unknown): boolean =>
  typeof format === 'string' && /^fused-rnn [A-Z]/.test(format)

async function hasId(path: string): Promise<boolean> {
  try {
    const file = await TensorFile.open(path)
    await file.close()
    return file.metadata.has(ID)
  } catch {
    return false
  }
}

/** Makes the folder and writes the files. @throws (rejects) Error with a one-line message */
export async function writeModelFolder(path: string | URL, model: SavedModel): Promise<void> {
  const fn = `${model.kind}.save`
  const folder = checkPath(fn, 'folder', path, 'the path of a folder')
  const saving: Saving = {
    what: 'a saving',
    head: WEIGHTS,
    check: checkOwn,
    write: (staging) => writeModelFiles(staging, model),
  }
  try {
    await saveFolder(folder, saving)
  } catch (error) {
    throw new Error(`[${fn}] cannot write '${folder}': ${(error as Error).message}`, {
      cause: error,
    })
  }
}

/** What is in a model's folder. */
export interface ModelFolder<V> {
  config: Json
  vocabulary: V | null
  weights: Map<string, Tensor>
  /** Why the files do not belong together; null: they do, as far as they say. */
  mixed: string | null
}

/** How often to begin again while the files change. */
const ATTEMPTS = 200
/** Between two looks at files that do not fit and may be about to change. */
const PAUSE_MS = 25

/** Which model is to be read. */
export interface Reading<V> {
  /** The name of its class. */
  kind: string
  /** What a vocabulary's JSON describes. */
  vocabularyOf: (json: unknown) => V
  /** Ends reading. */
  signal?: AbortSignal | undefined
}

/** @throws (rejects) Error with a one-line message; the signal's reason */
export async function readModelFolder<V>(
  from: string | URL,
  reading: Reading<V>,
): Promise<ModelFolder<V>> {
  const { kind, signal } = reading
  const path = checkPath(`${kind}.load`, 'folder', from, 'the path of a folder')
  try {
    const folder = await checkpointFolder(path)
    if (!(await exists(folder))) throw new Error('there is no such folder')
    let before = ''
    for (let attempt = 1; ; attempt++) {
      const seen = await signature(folder)
      const last = seen === before || attempt === ATTEMPTS
      const found = await attemptToRead(folder, last, reading)
      if (found !== null) return found
      before = seen
      await sleep(PAUSE_MS)
    }
  } catch (error) {
    signal?.throwIfAborted()
    const what = `'${path}' does not hold a model: ${(error as Error).message}`
    throw new Error(`[${kind}.load] ${what}`, { cause: error })
  }
}

/** Whether files have changed: when they were written, and which they are. */
async function signature(folder: string): Promise<string> {
  const info = (name: string): Promise<BigIntStats | null> =>
    stat(join(folder, name), { bigint: true }).catch(() => null)
  const all = await Promise.all([WEIGHTS, CONFIG, VOCABULARY].map(info))
  return all.map((one) => `${one?.ino} ${one?.mtimeNs} ${one?.size}`).join()
}

/**
 * @param last files that do not fit are to be told, or read as far as they can be
 * @returns null: they do not fit, and may have been replaced in the meantime
 */
async function attemptToRead<V>(
  folder: string,
  last: boolean,
  { kind, vocabularyOf, signal }: Reading<V>,
): Promise<ModelFolder<V> | null> {
  let file: TensorFile | null = null
  try {
    file = await openWeights(folder, signal)
    // Whatever takes its name from now on, these are the weights that will be read.
    const id = file?.metadata.get(ID)
    const texts = await fittingTexts(folder, id)
    if (file === null) {
      if (texts === null && !(await exists(join(folder, CONFIG)))) throw missing(CONFIG)
      throw missing(WEIGHTS)
    }
    if (texts === null && !last) return null
    const { config: described, vocabulary: list } = texts ?? (await plainTexts(folder))
    const { format, version, [ID]: of, vocabulary: wanted, ...config } = described
    if (format !== FORMAT + kind || version !== VERSION) {
      const other = isOurs(format) && version === VERSION ? `, but a ${kindOf(format)}` : ''
      const article = /^[AEIOU]/.test(kind) ? 'an' : 'a'
      throw new Error(
        `${CONFIG} does not describe ${article} ${kind} of version ${VERSION}${other}`,
      )
    }
    if (wanted === true && list === null) throw missing(VOCABULARY)
    return {
      config,
      vocabulary: list === null ? null : checkedVocabulary(list, vocabularyOf),
      weights: await readWeights(file),
      mixed: texts === null ? mixture(id, of, described, wanted) : null,
    }
  } catch (error) {
    // A file may have been taken away by a writer just then.
    if (last) throw error
    signal?.throwIfAborted()
    return null
  } finally {
    await file?.close()
  }
}

const kindOf = (format: unknown): string => String(format).slice(FORMAT.length)

/** The class of the model in a folder; null: there is none. */
export async function kindOfModel(path: string | URL): Promise<string | null> {
  const folder = await checkpointFolder(checkPath('load', 'folder', path, 'the path of a folder'))
  const config = await json(join(folder, CONFIG), CONFIG).catch(() => null)
  return isOurs(config?.format) ? kindOf(config?.format) : null
}

const missing = (name: string): Error => new Error(`${name} is missing`)

function mixture(id: string | undefined, of: unknown, config: Json, wanted: unknown): string {
  const parts =
    id !== of && id !== undefined && of !== undefined
      ? `${CONFIG} and ${WEIGHTS} are of two different models`
      : `${wanted === false || config.vocabulary === false ? CONFIG : `${CONFIG} or ${VOCABULARY}`} is not the one that was saved with ${WEIGHTS}`
  return `${parts}; save the model again`
}

async function openWeights(
  folder: string,
  signal: AbortSignal | undefined,
): Promise<TensorFile | null> {
  for (const place of await placesOf(folder, WEIGHTS)) {
    if (!(await exists(place))) continue
    try {
      return await TensorFile.open(place, signal)
    } catch (error) {
      throw new Error(`${WEIGHTS}: ${reason(error)}`, { cause: error })
    }
  }
  return null
}

async function readWeights(file: TensorFile): Promise<Map<string, Tensor>> {
  try {
    return await file.tensors('cpu')
  } catch (error) {
    throw new Error(`${WEIGHTS}: ${reason(error)}`, { cause: error })
  }
}

function checkedVocabulary<V>(list: unknown, vocabularyOf: (json: unknown) => V): V {
  try {
    return vocabularyOf(list)
  } catch (error) {
    throw new Error(`${VOCABULARY}: ${(error as Error).message}`, { cause: error })
  }
}

interface Texts {
  config: Json
  /** Null: none. */
  vocabulary: unknown
}

/**
 * The configuration and the vocabulary that belong to an id, wherever a writer has left them.
 * @param id of the weights; undefined: somebody else wrote those, and the configuration's own counts
 * @returns null: there are none
 */
async function fittingTexts(folder: string, id: string | undefined): Promise<Texts | null> {
  const vocabularies = await textsOf(folder, VOCABULARY, id)
  for (const config of await textsOf(folder, CONFIG, id)) {
    const { [ID]: of, vocabulary: wanted, ...description } = fields(config)
    // Files without any id were put together by hand.
    if (id === undefined && of === undefined) {
      const plain = wanted === false ? null : (vocabularies[0] ?? null)
      return { config: fields(config), vocabulary: plain }
    }
    if (id !== undefined && of !== undefined && of !== id) continue
    const candidates = wanted === false ? [null] : [...vocabularies, null]
    for (const vocabulary of candidates) {
      if (wanted === true && vocabulary === null) continue
      if (idOf(description, vocabulary) === (id ?? of))
        return { config: fields(config), vocabulary }
    }
  }
  return null
}

/** What JSON there is under a name, in all places; what is not JSON is none. */
async function textsOf(
  folder: string,
  name: typeof CONFIG | typeof VOCABULARY,
  id: string | undefined,
): Promise<Json[]> {
  const places = await placesOf(folder, name)
  // Earlier versions.
  if (id !== undefined && /^[0-9a-f]+$/.test(id)) places.push(join(folder, `.${name}.${id}.tmp`))
  const found = await Promise.all(places.map((place) => json(place, name).catch(() => null)))
  return found.filter((value) => value !== null)
}

/** What is there under the usual names. */
async function plainTexts(folder: string): Promise<Texts> {
  const read = async (name: typeof CONFIG | typeof VOCABULARY): Promise<Json | null> => {
    if (!(await exists(join(folder, name)))) return null
    try {
      return await json(join(folder, name), name)
    } catch (error) {
      throw new Error(`${name}: ${reason(error)}`, { cause: error })
    }
  }
  const config = await read(CONFIG)
  if (config === null) throw missing(CONFIG)
  return { config, vocabulary: config.vocabulary === false ? null : await read(VOCABULARY) }
}

async function json(path: string, name: keyof typeof LIMITS): Promise<Json> {
  return fields(await readJson(path, { limit: LIMITS[name] }))
}

function fields(value: unknown): Json {
  return typeof value === 'object' && value !== null ? { ...value } : {}
}
