/** What a training was asked to do: decided here, and kept in its folder so that it can go on. */
import { join, resolve } from 'node:path'
import { readJson } from '../io/open_file.js'
import { DEMO_OPTIONS } from './demo.js'
import { UserError } from './errors.js'
import type { TrainOptions } from './options.js'

export const SETTINGS_FILE = 'settings.json'

/** Everything that determines a training. */
export interface Settings extends TrainOptions {
  /** Absolute path of the text; null for the demo's. */
  text: string | null
}

/** What may be said anew when a training goes on; everything else stays as it was. */
const CHANGEABLE = [
  'epochs',
  'threads',
  'device',
  'timeout',
  'sampleLength',
  'checkpointEvery',
  'trace',
  'resume',
]

/**
 * @param given whether the user typed an option (rather than leaving its default)
 * @throws UserError for options that contradict each other, or a folder that cannot be resumed
 */
export async function decide(
  file: string | undefined,
  options: TrainOptions,
  given: (name: keyof TrainOptions) => boolean,
): Promise<Settings> {
  if (given('clip') && given('clipValue')) {
    throw new UserError('give --clip or --clip-value, not both')
  }
  if (options.resume !== undefined) return resumed(file, options, given)
  if (options.demo) {
    if (file !== undefined) throw new UserError(`--demo brings its own text; leave out '${file}'`)
    const preset = Object.entries(DEMO_OPTIONS).filter(([key]) => !given(key as keyof TrainOptions))
    return check({ ...options, ...Object.fromEntries(preset), text: null })
  }
  if (file === undefined) {
    throw new UserError(
      'which text? Give a text file, or --demo to try it on a text that comes along',
    )
  }
  const settings: Settings = { ...options, text: resolve(file) }
  if (options.valid !== undefined) settings.valid = resolve(options.valid)
  return check(settings)
}

async function resumed(
  file: string | undefined,
  options: TrainOptions,
  given: (name: keyof TrainOptions) => boolean,
): Promise<Settings> {
  const folder = options.resume as string
  let saved: Settings
  try {
    saved = (await readJson(join(folder, SETTINGS_FILE), { limit: 2 ** 20 })) as Settings
    if (saved === null || typeof saved !== 'object' || !('text' in saved))
      throw new Error('damaged')
  } catch (error) {
    throw new UserError(
      `cannot resume: '${folder}' is not the output folder of a training (no readable ${SETTINGS_FILE})`,
      { cause: error },
    )
  }
  // The defaults stand in for what an older or damaged file lacks.
  const settings: Settings = { ...options, ...saved, out: folder, resume: folder }
  if (file !== undefined) settings.text = resolve(file)
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
  return check(settings)
}

/** @throws UserError for options that do not go together */
function check(settings: Settings): Settings {
  const { tie, embedding, hidden, momentum, optimizer } = settings
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
