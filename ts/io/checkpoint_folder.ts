/** What carries the mark of a checkpoint, and where one is. */
import { lstat, readdir, rm } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { exists } from './folders.js'
import { openRegular, readJson } from './open_file.js'
import { isOwn } from './saved_folder.js'

export const FORMAT = 'fused-rnn checkpoint'
/** The head of a checkpoint, which begins with the mark. */
export const STATE = 'trainer.json'
/** Much longer ones are not ours. */
export const STATE_LIMIT = 2 ** 29
const MARK = new RegExp(`^\\s*\\{\\s*"format"\\s*:\\s*"${FORMAT}"`)
/** Of checkpoints that do not say what belongs to them. */
const NAMES = [
  'model.safetensors',
  'config.json',
  'vocabulary.json',
  'trainer.safetensors',
] as const

/** Whether a folder has a checkpoint's head. */
export async function isCheckpoint(folder: string): Promise<boolean> {
  try {
    const { file } = await openRegular(join(folder, STATE))
    try {
      const bytes = Buffer.alloc(256)
      const { bytesRead } = await file.read(bytes, 0, bytes.length, 0)
      return MARK.test(bytes.toString('utf8', 0, bytesRead))
    } finally {
      await file.close()
    }
  } catch {
    return false
  }
}

/**
 * Where the checkpoint of this name is to be read. Earlier versions replaced it by two renames; between
 * them there were a complete one set aside and its successor.
 */
export async function checkpointFolder(path: string): Promise<string> {
  if (await exists(path)) return path
  const [previous, next] = [`${resolve(path)}.previous`, `${resolve(path)}.tmp`] as const
  return (await isCheckpoint(previous)) && (await isCheckpoint(next)) ? previous : path
}

/** The files that belong to a checkpoint, its head included. */
export async function filesOf(folder: string): Promise<string[]> {
  const head = await readJson(join(folder, STATE), { limit: STATE_LIMIT }).catch(() => null)
  const { files } = (head ?? {}) as { files?: unknown }
  const named = typeof files === 'object' && files !== null ? Object.keys(files) : NAMES
  return [STATE, ...named.filter(isFileName)]
}

/** What separates folders, and on Windows drives and a file's streams. */
const SEPARATORS = process.platform === 'win32' ? /[/\\:\0]/ : /[/\\\0]/

/** Whether it names a file of a folder and nothing outside. */
export function isFileName(name: string): boolean {
  return !SEPARATORS.test(name) && !['', '.', '..'].includes(name)
}

/**
 * Deletes a checkpoint with its folder. One whose folder has other files stays, to be replaced by the
 * next, and so does one behind a link.
 */
export async function removeCheckpoint(path: string): Promise<void> {
  if (!(await isCheckpoint(path)) || (await lstat(resolve(path))).isSymbolicLink()) return
  const own = await filesOf(path)
  const others = (await readdir(path)).filter((name) => !own.includes(name) && !isOwn(name))
  if (others.length === 0) await rm(path, { recursive: true })
}
