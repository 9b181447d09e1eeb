/** What a training begins with that others have made: a checkpoint to go on from, or weights alone. */
import { join } from 'node:path'
import { data, type models } from '../index.js'
import { checkpointFolder } from '../io/checkpoint_folder.js'
import { readJson } from '../io/open_file.js'
import type { Known } from './corpus.js'
import { UserError } from './errors.js'
import { exists, LAST, learningRate, loadModel, vocabularyOf } from './model.js'
import type { TrainOptions } from './options.js'
import { SETTINGS_FILE, type Settings } from './settings.js'

/** The vocabulary of a training that goes on. @throws UserError when there is none */
export async function vocabularyOfCheckpoint({ out }: Settings): Promise<Known> {
  const file = join(await checkpointFolder(join(out, LAST)), 'vocabulary.json')
  if (!(await exists(file))) {
    throw new UserError(`cannot resume: '${out}' has no checkpoint yet`)
  }
  try {
    const vocabulary = data.Vocabulary.fromJSON(await readJson(file, { limit: 2 ** 29 }))
    return { vocabulary, otherwise: 'cannot resume', owner: `the model in '${out}'` }
  } catch (cause) {
    throw new UserError(`cannot resume: '${file}' is damaged`, { cause })
  }
}

/**
 * The model whose weights a new training begins with; its sizes become the settings'.
 * @throws UserError for options that it does not fit
 */
export async function modelToBeginWith(
  settings: Settings,
  given: (name: keyof TrainOptions) => boolean,
): Promise<{ model: models.LanguageModel; known: Known }> {
  const folder = settings.initFrom as string
  const model = await loadModel(folder)
  const vocabulary = vocabularyOf(model, folder)
  const { config } = model
  const { tokenizer } = vocabulary
  if (config.nonlinearity === 'relu')
    throw new UserError(
      `cannot begin from '${folder}': it is an RNN with relu, which train has not`,
    )
  const saved = (await readJson(join(folder, SETTINGS_FILE), { limit: 2 ** 20 }).catch(
    () => null,
  )) as Partial<Settings> | null
  const own = {
    cell: config.cell,
    embedding: config.embeddingSize,
    hidden: config.hiddenSize,
    layers: config.numLayers,
    tie: config.tieWeights,
    level: tokenizer.level,
    clean: tokenizer.lowerCase && tokenizer.lettersOnly,
    keepCr: tokenizer.keepCr,
    minFrequency: saved?.minFrequency ?? 1,
  }
  for (const [name, value] of Object.entries(own)) {
    const key = name as keyof typeof own
    if (given(key) && settings[key] !== value) {
      const option = key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
      throw new UserError(
        `--${option} ${settings[key]} does not fit the model in '${folder}', which has ${value}; leave it out`,
      )
    }
    Object.assign(settings, { [key]: value })
  }
  if (!given('dropout')) settings.dropout = config.dropout
  const owner = `the model in '${folder}'`
  return { model, known: { vocabulary, otherwise: `cannot begin from '${folder}'`, owner } }
}

/** How a training that goes on differs from what it was. */
export interface Changes {
  /** In words: `learning rate 0.002 → 0.001`. */
  lines: string[]
  /** The batches are others. */
  data: boolean
  /** What the model is judged by is other text. */
  judge: boolean
}

/**
 * What a training that goes on begins with anew. What it was trained with so far the checkpoint says:
 * the settings may be those of an attempt that did not get as far as a step.
 * @param trainTokens how many there are now
 */
export async function changesOf(
  before: Settings,
  settings: Settings,
  trainTokens: number,
): Promise<Changes> {
  const file = join(await checkpointFolder(join(settings.out, LAST)), 'trainer.json')
  const head = (await readJson(file, { limit: 2 ** 29 }).catch(() => null)) as {
    trainData?: { tokens?: number; batchSize?: number } | null
  } | null
  const { tokens = trainTokens, batchSize = before.batchSize } = head?.trainData ?? {}
  const lines: string[] = []
  const say = (what: string, from: unknown, to: unknown): boolean => {
    if (from !== to) lines.push(`${what} ${from ?? 'none'} → ${to}`)
    return from !== to
  }
  say('learning rate', learningRate(before), learningRate(settings))
  const size = say('batch size', batchSize, settings.batchSize)
  const files = say('text', before.text?.join(', '), settings.text?.join(', '))
  const text = say('tokens to learn', tokens, trainTokens) || files
  const judge = say('text to validate with', before.valid, settings.valid) || text
  if (judge) lines.push('the best model is chosen anew')
  return { lines, data: text || size, judge }
}
