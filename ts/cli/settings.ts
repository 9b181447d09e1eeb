/** What a training was asked to do: decided here, and kept in its folder so that it can go on. */
import { join, resolve } from 'node:path'
import { readJson } from '../io/open_file.js'
import { checkPath } from '../io/path.js'
import { DEMO_OPTIONS } from './demo.js'
import { UserError } from './errors.js'
import type { TrainOptions } from './options.js'
import { nameOf, STDIN } from './reading.js'

export const SETTINGS_FILE = 'settings.json'

/** Everything that determines a training. */
export interface Settings extends TrainOptions {
  /** Absolute paths of the texts, `-` for standard input; null for the demo's. */
  text: string[] | null
}

/** What is to be done, and, of a training that goes on, what it was asked to do before. */
export interface Decision {
  settings: Settings
  before: Settings | null
}

/** What may be said anew when a training goes on; everything else stays as it was. */
const CHANGEABLE = [
  'epochs',
  'lr',
  'batchSize',
  'valid',
  'encoding',
  'allowUnknown',
  'json',
  'threads',
  'device',
  'timeout',
  'sampleLength',
  'checkpointEvery',
  'resume',
]

/**
 * @param given whether the user typed an option (rather than leaving its default)
 * @throws UserError for options that contradict each other, or a folder that cannot be resumed
 */
export async function decide(
  files: readonly string[],
  typed: TrainOptions,
  given: (name: keyof TrainOptions) => boolean,
): Promise<Decision> {
  const options = withPaths(typed)
  if (given('clip') && given('clipValue')) {
    throw new UserError('give --clip or --clip-value, not both')
  }
  if (files.filter((file) => file === STDIN).length > 1)
    throw new UserError('standard input (-) can be read once only')
  if (options.initFrom !== undefined && options.resume !== undefined) {
    throw new UserError(
      '--init-from begins a new training with the weights of another, --resume goes on with one; give one of them',
    )
  }
  if (options.resume !== undefined) return resumed(files, options, given)
  if (options.demo) {
    if (files[0] !== undefined)
      throw new UserError(`--demo brings its own text; leave out ${nameOf(files[0])}`)
    const preset = Object.entries(DEMO_OPTIONS).filter(([key]) => !given(key as keyof TrainOptions))
    const settings = check({ ...options, ...Object.fromEntries(preset), text: null })
    return { settings, before: null }
  }
  if (files.length === 0) {
    throw new UserError(
      'which text? Give a text file, or --demo to try it on a text that comes along',
    )
  }
  return { settings: check({ ...options, text: files.map(placeOf) }), before: null }
}

/** Absolute, as it is read again by a training that goes on. */
function placeOf(file: string): string {
  return file === STDIN ? STDIN : resolve(checkPath('train', 'text', file, 'the path of a file'))
}

/** `file:` URLs become paths, before anything is joined to them. */
function withPaths(options: TrainOptions): TrainOptions {
  const path = (name: string, value: string): string =>
    checkPath('train', name, value, 'the path of a folder')
  const { out, resume, initFrom, valid } = options
  return {
    ...options,
    out: path('--out', out),
    ...(resume !== undefined && { resume: path('--resume', resume) }),
    ...(initFrom !== undefined && { initFrom: path('--init-from', initFrom) }),
    ...(valid !== undefined && { valid: placeOf(valid) }),
  }
}

async function resumed(
  files: readonly string[],
  options: TrainOptions,
  given: (name: keyof TrainOptions) => boolean,
): Promise<Decision> {
  const folder = options.resume as string
  let saved: Settings
  try {
    saved = (await readJson(join(folder, SETTINGS_FILE), { limit: 2 ** 20 })) as Settings
    if (saved === null || typeof saved !== 'object' || !('text' in saved))
      throw new Error('damaged')
    // Written when there could be one text only.
    if (typeof saved.text === 'string') saved.text = [saved.text]
    if (saved.text !== null && !Array.isArray(saved.text)) throw new Error('damaged')
  } catch (error) {
    throw new UserError(
      `cannot resume: '${folder}' is not the output folder of a training (no readable ${SETTINGS_FILE})`,
      { cause: error },
    )
  }
  // The defaults stand in for what an older or damaged file lacks.
  const defaults = Object.entries(options).filter(([key]) => !given(key as keyof TrainOptions))
  const before = {
    ...Object.fromEntries(defaults),
    ...saved,
    out: folder,
    resume: folder,
  } as Settings
  const settings = { ...before }
  if (files.length > 0) settings.text = files.map(placeOf)
  else if (saved.text?.includes(STDIN)) {
    throw new UserError(
      `cannot resume: the text came from standard input; give it again: … | fused-rnn train --resume ${folder} -`,
    )
  }
  for (const key of Object.keys(options) as (keyof TrainOptions)[]) {
    if (!given(key)) continue
    if (!CHANGEABLE.includes(key)) {
      throw new UserError(
        `--${kebab(key)} cannot be given with --resume: a training goes on as it began (except ${CHANGEABLE.slice(
          0,
          -1,
        )
          .map((name) => `--${kebab(name)}`)
          .join(', ')})`,
      )
    }
    Object.assign(settings, { [key]: options[key] })
  }
  return { settings: check(settings), before }
}

/** @throws UserError for options that do not go together */
function check(settings: Settings): Settings {
  const { tie, embedding, hidden, momentum, optimizer, valid } = settings
  if (valid === STDIN) throw new UserError('--valid takes a file; standard input (-) is the text')
  if (tie && embedding !== hidden) {
    throw new UserError(
      `--tie shares one table between input and output: --embedding (${embedding}) must equal --hidden (${hidden})`,
    )
  }
  if (momentum > 0 && optimizer !== 'sgd') {
    throw new UserError(`--momentum is for --optimizer sgd, not ${optimizer}`)
  }
  return settings
}

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}
