/** `fused-rnn train`. */
import { rm } from 'node:fs/promises'
import { basename, join, relative } from 'node:path'
import {
  type Callback,
  devices,
  distributed,
  getDefaultDevice,
  ModelCheckpoint,
  manualSeed,
  type models,
  ProgressBar,
  Trainer,
} from '../index.js'
import { checkpointFolder, isCheckpoint, removeCheckpoint } from '../io/checkpoint_folder.js'
import { makeFolders } from '../io/folders.js'
import { readJson } from '../io/open_file.js'
import { claim } from '../io/saved_folder.js'
import { writeWhole } from '../io/whole_file.js'
import { type Corpus, loadCorpus, readingBatches, trainBatches } from './corpus.js'
import { Interrupted, UserError } from './errors.js'
import { count, duration, formatPerplexity, plural, shellQuote } from './format.js'
import {
  BEST,
  exists,
  LAST,
  makeModel,
  makeOptimizer,
  makeScheduler,
  useMachine,
  write,
} from './model.js'
import type { TrainOptions } from './options.js'
import { joinOthers, ownDevice } from './processes.js'
import { decide, SETTINGS_FILE, type Settings } from './settings.js'
import { tracer } from './trace.js'

const HISTORY = 'history.csv'
const PICTURE = 'loss.svg'

/** @param given whether the user typed an option */
export async function train(
  file: string | undefined,
  options: TrainOptions,
  given: (name: keyof TrainOptions) => boolean,
): Promise<void> {
  const { rank, size } = await joinOthers(options.device, options.timeout)
  const first = rank === 0
  const settings = await decide(file, options, given)
  useMachine({ ...settings, device: ownDevice(settings.device) })
  const corpus = await loadCorpus(settings)
  const batches = trainBatches(corpus.train, settings)
  const validation =
    corpus.valid &&
    readingBatches(corpus.valid, settings.batchSize, settings.steps, 'the text to validate with')
  if (settings.resume !== undefined) await checkVocabulary(corpus, settings)
  // Others may still be reading what is there.
  if (size > 1) await distributed.barrier()

  manualSeed(settings.seed)
  const model = makeModel(corpus.vocabulary, settings)
  const optimizer = makeOptimizer(model, settings)
  const scheduler = makeScheduler(optimizer, settings)
  const { out } = settings
  const bar = new ProgressBar({ stream: process.stdout })
  const interrupt = onInterrupt(() => bar.stop(), first)
  const trainer = new Trainer({
    maxEpochs: settings.epochs,
    ...clipping(settings),
    precision: settings.precision === '32-true' ? '32-true' : 'bf16-mixed',
    signal: interrupt.signal,
    progressBar: false,
    callbacks: [
      ...(first ? [bar, historyFiles(out)] : []),
      ...(first && settings.trace !== undefined ? [traced(settings.trace)] : []),
      ...(first && settings.sampleLength > 0 ? [sampler(model, corpus, settings)] : []),
      new ModelCheckpoint({
        dirpath: out,
        monitor: validation ? 'valLoss' : 'trainLoss',
        ...(settings.checkpointEvery > 0 && { everyNTrainSteps: settings.checkpointEvery }),
      }),
    ],
  })
  const start = performance.now()
  let result: Awaited<ReturnType<typeof trainer.fit>>
  let giveBack = async (): Promise<void> => {}
  try {
    if (first) {
      giveBack = await prepareFolder(settings, trainer)
      print(header(corpus, model, settings, optimizer.lr, batches.length, size))
    }
    result = await trainer.fit(model, batches, validation, {
      optimizer,
      ...(scheduler && { scheduler }),
      ...(settings.resume !== undefined && { ckptPath: join(out, LAST) }),
    })
  } finally {
    interrupt.release()
    await giveBack()
  }
  if (first && trainer.stepsThisFit > 0) await writeHistory(trainer, out)
  if (result.stopped === 'aborted') {
    // All stop together, which is no failure of one.
    if (size > 1) await distributed.destroy()
    if (trainer.stepsThisFit === 0) throw new Interrupted('Stopped before the first step.')
    throw new Interrupted(
      `Stopped after step ${count(result.globalStep)}; saved in ${join(out, LAST)}. To go on:\n  ${size > 1 ? `mpirun -np ${size} ` : ''}${command()} train --resume ${shellQuote(out)}`,
    )
  }
  if (trainer.stepsThisFit === 0) {
    throw new UserError(
      `the training in '${out}' is complete with its ${plural(result.epoch, 'epoch')}; to go on, give a larger --epochs`,
    )
  }
  if (first) print(summary(corpus, trainer, out, (performance.now() - start) / 1000))
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

function header(
  corpus: Corpus,
  model: models.LanguageModel,
  settings: Settings,
  lr: number,
  stepsPerEpoch: number,
  processes: number,
): string {
  const { vocabulary, train, valid } = corpus
  const kind = settings.level === 'char' ? 'characters' : 'words'
  const { cell, layers, hidden, embedding, batchSize, steps, optimizer, epochs } = settings
  const parameters = model.parameters().reduce((sum, { numel }) => sum + numel, 0)
  const input = embedding === 0 ? 'one-hot input' : `embedding ${embedding}`
  const device = getDefaultDevice().toString()
  const machine = devices().find(({ name }) => name === device)?.description
  return [
    `text   ${corpus.name}: ${count(train.length)} ${kind} to learn${valid ? `, ${count(valid.length)} to validate` : ''}; vocabulary ${count(vocabulary.size)}`,
    `model  ${cell.toUpperCase()}, ${plural(layers, 'layer')} of ${hidden}, ${input}: ${count(parameters)} parameters`,
    `run    ${optimizer}, learning rate ${lr}; ${plural(epochs, 'epoch')} of ${plural(stepsPerEpoch, 'step')} of ${batchSize} × ${steps} tokens; ${processes > 1 ? `${plural(processes, 'process', 'processes')} with ` : ''}${device} (${machine})`,
    `out    ${settings.out}`,
    '',
  ].join('\n')
}

function summary(corpus: Corpus, trainer: Trainer, out: string, seconds: number): string {
  const { bestModelScore } = trainer.callbacks.find(
    (callback) => callback instanceof ModelCheckpoint,
  ) as ModelCheckpoint
  const best =
    bestModelScore === null
      ? ''
      : ` (perplexity ${formatPerplexity(bestModelScore)} on ${corpus.valid ? 'unseen' : 'its own'} text)`
  return [
    `Trained ${plural(trainer.stepsThisFit, 'step')} in ${duration(seconds)}.`,
    `  model    ${join(out, BEST)}${best}`,
    `  loss     ${join(out, PICTURE)}, ${join(out, HISTORY)}`,
    '',
    'Let it write:',
    `  ${command()} generate ${shellQuote(out)} --prefix ${shellQuote(examplePrefix(corpus))}`,
  ].join('\n')
}

/** The first words of the text, of those that the model knows. */
function examplePrefix({ vocabulary, train }: Corpus): string {
  const { unknownToken } = vocabulary
  const unknown = unknownToken === null ? -1 : vocabulary.indexOf(unknownToken)
  const known = train.subarray(0, 200).filter((token) => token !== unknown)
  const beginning = vocabulary.decode(known.subarray(0, 40)).trimStart()
  const words = beginning.split(/\s+/).slice(0, 2).join(' ')
  return vocabulary.tokenizer.level === 'char' ? `${words} ` : words
}

/** How the user calls this program, to be typed again. */
function command(): string {
  if (process.env.npm_command === 'exec') return 'npx fused-rnn'
  const script = process.argv[1] ?? ''
  if (basename(script) !== 'main.js') return basename(script)
  return `node ${shellQuote(relative('', script))}`
}

function clipping(settings: Settings): {
  gradientClipVal?: number
  gradientClipAlgorithm?: 'norm' | 'value'
} {
  const { clip, clipValue } = settings
  if (clipValue !== undefined) {
    return { gradientClipVal: clipValue, gradientClipAlgorithm: 'value' }
  }
  return clip === 0 ? {} : { gradientClipVal: clip }
}

/** Prints what the model writes after each epoch. */
function sampler(model: models.LanguageModel, corpus: Corpus, settings: Settings): Callback {
  return {
    async onTrainEpochEnd(trainer) {
      let text = ''
      const options = {
        length: settings.sampleLength,
        temperature: 0.6,
        seed: settings.seed + trainer.currentEpoch,
      }
      for await (const piece of write(model, corpus.vocabulary, '', options)) text += piece
      print(`\n${text.trim().replace(/^/gm, '    ')}\n`)
    },
  }
}

function traced(file: string): Callback {
  return tracer(file, (steps) => {
    print(`trace  ${file}: the first ${plural(steps, 'step')}, for https://ui.perfetto.dev`)
  })
}

/** Keeps the history files up to date while training runs. */
function historyFiles(out: string): Callback {
  return { onTrainEpochEnd: (trainer) => writeHistory(trainer, out) }
}

async function writeHistory({ history }: Trainer, out: string): Promise<void> {
  await history.writeCSV(join(out, HISTORY))
  await history.writeSVG(join(out, PICTURE))
}

/**
 * Makes the output folder, or makes sure that it may be replaced.
 * @param trainer whose the folder is from now on
 * @returns gives it back
 * @throws UserError when there is a model, or another training is still at work
 */
async function prepareFolder(settings: Settings, trainer: Trainer): Promise<() => Promise<void>> {
  const { out, overwrite, resume } = settings
  const settingsFile = join(out, SETTINGS_FILE)
  const given: (() => Promise<void>)[] = []
  const giveBack = async (): Promise<void> => {
    for (const give of given) await give()
  }
  try {
    const replaces = resume === undefined && (await exists(settingsFile))
    if (replaces && !overwrite) {
      const models = await Promise.all(
        [LAST, BEST].map(async (name) => isCheckpoint(await checkpointFolder(join(out, name)))),
      )
      if (models.includes(true)) {
        throw new UserError(
          `'${out}' already has a model; choose another --out, or give --overwrite to replace it, or --resume ${shellQuote(out)} to go on with it`,
        )
      }
    }
    await makeFolders(out)
    // Nothing is changed under a training that is still at work.
    for (const name of [LAST, BEST])
      given.push(await claim(join(out, name), 'the training', trainer))
    if (replaces) {
      for (const name of [BEST, LAST]) await removeCheckpoint(join(out, name))
      for (const name of [HISTORY, PICTURE]) await rm(join(out, name), { force: true })
    }
    const { resume: _, out: __, overwrite: ___, trace: ____, ...kept } = settings
    await writeWhole(settingsFile, `${JSON.stringify(kept, null, 2)}\n`)
    return giveBack
  } catch (error) {
    await giveBack()
    if (error instanceof UserError) throw error
    throw new UserError(`cannot write to the output folder '${out}': ${reason(error)}`, {
      cause: error,
    })
  }
}

function reason(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'EEXIST' || code === 'ENOTDIR') return 'it is not a folder'
  if (code === 'EACCES' || code === 'EPERM') return 'no permission'
  if (code === 'ENOENT') return 'no folder can be made there'
  if (code === 'ENOSPC') return 'the disk is full'
  return message
}

/** @throws UserError when the text of a resumed training has another vocabulary than before */
async function checkVocabulary(corpus: Corpus, { out, text }: Settings): Promise<void> {
  const file = join(await checkpointFolder(join(out, LAST)), 'vocabulary.json')
  if (!(await exists(file))) {
    throw new UserError(`cannot resume: '${out}' has no checkpoint yet`)
  }
  const saved = await readJson(file, { limit: 2 ** 29 }).catch(() => {
    throw new UserError(`cannot resume: '${file}' is damaged`)
  })
  if (JSON.stringify(saved) !== JSON.stringify(corpus.vocabulary)) {
    throw new UserError(
      `cannot resume: the vocabulary of '${text}' does not fit the model in '${out}'`,
    )
  }
}

/** npm passes a Ctrl-C on that the terminal has already sent: one key, two signals. */
const SAME_KEY_MS = 150

/** Ctrl-C, a request to end, the end of the terminal. */
const STOPPING = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Ctrl-C: the first asks training to stop, the second ends the process.
 * @param clear takes away what is drawn on the terminal
 * @param first whether this process is the one that says so
 */
function onInterrupt(clear: () => void, first: boolean): { signal: AbortSignal; release(): void } {
  const controller = new AbortController()
  let since = 0
  const handler = (): void => {
    if (controller.signal.aborted) {
      if (performance.now() - since > SAME_KEY_MS) process.exit(130)
      return
    }
    since = performance.now()
    clear()
    if (first) process.stderr.write('\nStopping after this step (once more: at once)…\n')
    controller.abort()
  }
  for (const name of STOPPING) process.on(name, handler)
  return {
    signal: controller.signal,
    release() {
      for (const name of STOPPING) process.off(name, handler)
    },
  }
}
