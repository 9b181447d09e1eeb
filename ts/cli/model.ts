/** From options to models, optimisers and schedules; from a folder to a model. */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { checkDevice } from '../device.js'
import { type data, models, optim, setDefaultDevice, setNumThreads } from '../index.js'
import { checkpointFolder, isCheckpoint } from '../io/checkpoint_folder.js'
import type { GenerateOptions } from '../models/index.js'
import { UserError } from './errors.js'
import type { Settings } from './settings.js'

export const BEST = 'best'
export const LAST = 'last'

export function makeModel(vocabulary: data.Vocabulary, settings: Settings): models.LanguageModel {
  return new models.LanguageModel({
    vocabulary,
    cell: settings.cell,
    embeddingSize: settings.embedding,
    hiddenSize: settings.hidden,
    numLayers: settings.layers,
    dropout: settings.dropout,
    tieWeights: settings.tie ?? false,
  })
}

export function makeOptimizer(model: models.LanguageModel, settings: Settings): optim.Optimizer {
  const { optimizer, momentum, weightDecay } = settings
  const lr = settings.lr ?? (optimizer === 'sgd' ? 1 : 0.002)
  const decay = weightDecay === undefined ? {} : { weightDecay }
  if (optimizer === 'sgd') return new optim.SGD(model.parameters(), { lr, momentum, ...decay })
  const Optimizer = optimizer === 'adam' ? optim.Adam : optim.AdamW
  return new Optimizer(model.parameters(), { lr, ...decay })
}

export function makeScheduler(
  optimizer: optim.Optimizer,
  { schedule, gamma, stepSize, patience }: Settings,
): optim.lrScheduler.Scheduler | null {
  const { StepLR, ExponentialLR, ReduceLROnPlateau } = optim.lrScheduler
  if (schedule === 'step') return new StepLR(optimizer, stepSize, { gamma })
  if (schedule === 'exponential') return new ExponentialLR(optimizer, gamma)
  if (schedule === 'plateau') return new ReduceLROnPlateau(optimizer, { factor: gamma, patience })
  return null
}

/**
 * Sets what the options say about the machine: models are made on that device.
 * @throws RangeError, TypeError for a device that is not there
 */
export function useMachine(options: { device: string; threads?: number }): void {
  setDefaultDevice(checkDevice('device', '--device', options.device))
  if (options.threads !== undefined) setNumThreads(options.threads)
}

/**
 * The model of a training's output folder (the best one, else the last), or of a folder that
 * LanguageModel.save wrote.
 */
export async function loadModel(folder: string): Promise<models.LanguageModel> {
  for (const name of [BEST, LAST]) {
    const candidate = await checkpointFolder(join(folder, name))
    if (await isCheckpoint(candidate)) return models.LanguageModel.load(candidate)
  }
  return models.LanguageModel.load(folder)
}

/** The vocabulary of a model. @throws UserError when it was saved without one */
export function vocabularyOf(model: models.LanguageModel, folder: string): data.Vocabulary {
  if (model.vocabulary !== null) return model.vocabulary
  throw new UserError(`the model in '${folder}' has no vocabulary (vocabulary.json)`)
}

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

/** What a model writes after `prefix`, piece by piece. An empty prefix: from the start of a line. */
export async function* write(
  model: models.LanguageModel,
  vocabulary: data.Vocabulary,
  prefix: string,
  options: GenerateOptions,
): AsyncGenerator<string, void> {
  const { tokenizer } = vocabulary
  let start = vocabulary.encode(prefix)
  let previous: string | null = null
  if (start.length === 0) {
    const newline = [...tokenizer.tokenize('\n'), vocabulary.tokens.at(-1) as string]
    const first = newline.find((token) => vocabulary.has(token)) as string
    start = Int32Array.of(vocabulary.indexOf(first))
  } else {
    yield prefix
    previous = vocabulary.token(start.at(-1) as number)
  }
  for await (const index of model.generate(start, options)) {
    const token = vocabulary.token(index)
    yield tokenizer.textAfter(previous, token)
    previous = token
  }
}
