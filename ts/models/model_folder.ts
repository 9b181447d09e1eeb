/** A language model as files in a folder. */
import { readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Vocabulary } from '../data/vocabulary.js'
import { typeError } from '../errors.js'
import { makeFolders } from '../io/folders.js'
import { load, save } from '../io/safetensors.js'
import type { Tensor } from '../tensor.js'
import type { LanguageModel } from './language_model.js'

const WEIGHTS = 'model.safetensors'
const CONFIG = 'config.json'
const VOCABULARY = 'vocabulary.json'
const FORMAT = 'fused-rnn LanguageModel'
const VERSION = 1

/** Writes the files into a folder that exists. */
export async function writeModelFiles(folder: string, model: LanguageModel): Promise<void> {
  const replace = async (name: string, write: (path: string) => Promise<void>): Promise<void> => {
    const temporary = join(folder, `${name}.tmp`)
    try {
      await write(temporary)
      await rename(temporary, join(folder, name))
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => {})
      throw error
    }
  }
  const json = (value: unknown) => (path: string) =>
    writeFile(path, `${JSON.stringify(value, null, 1)}\n`)
  await replace(WEIGHTS, (path) => save(path, model.stateDict()))
  if (model.vocabulary !== null) await replace(VOCABULARY, json(model.vocabulary))
  else await rm(join(folder, VOCABULARY), { force: true }) // of the model that was here before
  await replace(CONFIG, json({ format: FORMAT, version: VERSION, ...model.config }))
}

/** Makes the folder and writes the files. @throws (rejects) Error with a one-line message */
export async function writeModelFolder(folder: string, model: LanguageModel): Promise<void> {
  if (typeof folder !== 'string' || folder === '')
    throw typeError('LanguageModel.save', 'folder', 'a path', folder)
  try {
    await makeFolders(folder)
    await writeModelFiles(folder, model)
  } catch (error) {
    throw new Error(`[LanguageModel.save] cannot write '${folder}': ${(error as Error).message}`, {
      cause: error,
    })
  }
}

/** What is in a model's folder. @throws (rejects) Error with a one-line message */
export async function readModelFolder(folder: string): Promise<{
  config: Record<string, unknown>
  vocabulary: Vocabulary | null
  weights: Map<string, Tensor>
}> {
  if (typeof folder !== 'string' || folder === '')
    throw typeError('LanguageModel.load', 'folder', 'a path', folder)
  const fail = (reason: string, cause?: unknown): Error =>
    new Error(`[LanguageModel.load] '${folder}' does not hold a model: ${reason}`, { cause })
  if (!(await isThere(folder))) throw fail('there is no such folder')
  const read = async <T>(name: string, parse: (path: string) => Promise<T>): Promise<T> => {
    if (!(await isThere(join(folder, name)))) throw fail(`${name} is missing`)
    try {
      return await parse(join(folder, name))
    } catch (error) {
      throw fail(`${name}: ${(error as Error).message}`, error)
    }
  }
  const json = async (path: string): Promise<unknown> => JSON.parse(await readFile(path, 'utf8'))
  const { format, version, ...config } = ((await read(CONFIG, json)) ?? {}) as Record<
    string,
    unknown
  >
  if (format !== FORMAT || version !== VERSION)
    throw fail(`${CONFIG} does not describe a LanguageModel of version ${VERSION}`)
  const hasVocabulary = await isThere(join(folder, VOCABULARY))
  const vocabulary = hasVocabulary
    ? await read(VOCABULARY, async (path) => Vocabulary.fromJSON(await json(path)))
    : null
  return { config, vocabulary, weights: await read(WEIGHTS, load) }
}

async function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}
