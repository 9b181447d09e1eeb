/**
 * A language model as files in a folder: model.safetensors, config.json and, where the model has
 * one, vocabulary.json.
 *
 * Whoever reads finds files that belong together, whenever the writer was killed. The weights' file
 * and the configuration have the same id, a hash of configuration and vocabulary. These two are first
 * written beside, under names with that id; the weights' file taking its name is the moment in which
 * the new model replaces the old one; then the other two take theirs, the configuration last.
 */
import { createHash, randomBytes } from 'node:crypto'
import { readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Vocabulary } from '../data/vocabulary.js'
import {
  checkpointFolder,
  exists,
  inTurn,
  makeFolders,
  syncFolder,
  writeSynced,
} from '../io/folders.js'
import { checkPath } from '../io/path.js'
import { loadWithMetadata, save } from '../io/safetensors.js'
import type { Tensor } from '../tensor.js'
import type { LanguageModel } from './language_model.js'

const WEIGHTS = 'model.safetensors'
const CONFIG = 'config.json'
const VOCABULARY = 'vocabulary.json'
const FORMAT = 'fused-rnn LanguageModel'
const VERSION = 1
/** Under which the id stands, in both files. */
const ID = 'id'

const beside = (folder: string, name: string, id: string): string =>
  join(folder, `.${name}.${id}.tmp`)
const LEFT_BEHIND = /^\.(model\.safetensors|config\.json|vocabulary\.json)\.[0-9a-f]+\.tmp$/

/** Writes the files into a folder that exists. */
export async function writeModelFiles(folder: string, model: LanguageModel): Promise<void> {
  const { vocabulary, config } = model
  const description = { format: FORMAT, version: VERSION, ...config }
  const id = createHash('sha256')
    .update(JSON.stringify([description, vocabulary]))
    .digest('hex')
    .slice(0, 16)
  const files: [name: string, value: unknown][] = [
    [CONFIG, { ...description, vocabulary: vocabulary !== null, [ID]: id }],
  ]
  if (vocabulary !== null) files.push([VOCABULARY, vocabulary])
  const temporary = `${id}${randomBytes(6).toString('hex')}`
  const own: string[] = []
  try {
    for (const [name, value] of files) {
      // One of the same content may already be needed there.
      const named = beside(folder, name, id)
      const first = beside(folder, name, temporary)
      own.push(...((await exists(named)) ? [first] : [first, named]))
      await writeSynced(first, `${JSON.stringify(value, null, 1)}\n`)
      await rename(first, named)
    }
    await save(join(folder, WEIGHTS), model.stateDict(), { metadata: { [ID]: id } })
  } catch (error) {
    for (const path of own) await rm(path, { force: true }).catch(() => {})
    throw error
  }
  if (vocabulary !== null) await rename(beside(folder, VOCABULARY, id), join(folder, VOCABULARY))
  else await rm(join(folder, VOCABULARY), { force: true }) // of the model that was here before
  await rename(beside(folder, CONFIG, id), join(folder, CONFIG))
  for (const name of await readdir(folder))
    if (LEFT_BEHIND.test(name)) await rm(join(folder, name), { force: true })
  await syncFolder(folder)
}

/** Makes the folder and writes the files. @throws (rejects) Error with a one-line message */
export async function writeModelFolder(path: string | URL, model: LanguageModel): Promise<void> {
  const folder = checkPath('LanguageModel.save', 'folder', path, 'the path of a folder')
  try {
    await inTurn(folder, async () => {
      await makeFolders(folder)
      await writeModelFiles(folder, model)
    })
  } catch (error) {
    throw new Error(`[LanguageModel.save] cannot write '${folder}': ${(error as Error).message}`, {
      cause: error,
    })
  }
}

/** What is in a model's folder. */
export interface ModelFolder {
  config: Record<string, unknown>
  vocabulary: Vocabulary | null
  weights: Map<string, Tensor>
}

/** How often to begin again when the files change while they are read. */
const ATTEMPTS = 4

/** @throws (rejects) Error with a one-line message */
export async function readModelFolder(from: string | URL): Promise<ModelFolder> {
  const path = checkPath('LanguageModel.load', 'folder', from, 'the path of a folder')
  const fail = (reason: string, cause?: unknown): Error =>
    new Error(`[LanguageModel.load] '${path}' does not hold a model: ${reason}`, { cause })
  const folder = await checkpointFolder(path)
  if (!(await exists(folder))) throw fail('there is no such folder')
  const read = async <T>(
    name: string,
    parse: (file: string) => Promise<T>,
    file = join(folder, name),
  ): Promise<T> => {
    if (!(await exists(file))) throw fail(`${name} is missing`)
    try {
      return await parse(file)
    } catch (error) {
      throw fail(`${name}: ${(error as Error).message}`, error)
    }
  }
  for (let attempt = 1; ; attempt++) {
    const own = (await exists(join(folder, CONFIG))) ? await read(CONFIG, json) : undefined
    if (own === undefined && !(await exists(join(folder, WEIGHTS))))
      throw fail(`${CONFIG} is missing`)
    const { tensors, metadata } = await read(WEIGHTS, loadWithMetadata)
    try {
      const id = metadata.get(ID)
      // Where the writer was killed after the weights, what belongs to them has its other name.
      const aside = async (name: string): Promise<string | null> =>
        id !== undefined && /^[0-9a-f]+$/.test(id) ? existing(beside(folder, name, id)) : null
      const waiting = await aside(CONFIG)
      const found = waiting === null ? own : await read(CONFIG, json, waiting)
      if (found === undefined) throw fail(`${CONFIG} is missing`)
      const { format, version, [ID]: of, vocabulary: wanted, ...config } = fields(found)
      if (format !== FORMAT || version !== VERSION)
        throw fail(`${CONFIG} does not describe a LanguageModel of version ${VERSION}`)
      // A writer may have come between the two files; files that were put together by hand stay so.
      if (of !== undefined && id !== undefined && of !== id && attempt < ATTEMPTS) {
        dispose(tensors)
        continue
      }
      const file = (await aside(VOCABULARY)) ?? (await existing(join(folder, VOCABULARY)))
      const vocabulary =
        wanted === false || file === null
          ? null
          : await read(VOCABULARY, async (from) => Vocabulary.fromJSON(await json(from)), file)
      return { config, vocabulary, weights: tensors }
    } catch (error) {
      dispose(tensors)
      throw error
    }
  }
}

async function existing(path: string | null): Promise<string | null> {
  return path !== null && (await exists(path)) ? path : null
}

async function json(path: string): Promise<unknown> {
  return JSON.parse(await readFile(path, 'utf8'))
}

function fields(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? { ...value } : {}
}

function dispose(tensors: Map<string, Tensor>): void {
  for (const tensor of tensors.values()) tensor[Symbol.dispose]()
}
