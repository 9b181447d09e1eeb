/** Making folders, and writing into them so that nothing is lost. */
import { randomBytes } from 'node:crypto'
import { mkdir, open, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'

/**
 * Makes a folder and those above it, where they are missing. Node's own `recursive` never ends on
 * a file system that answers "no such file" to every new folder, as /proc does.
 */
export async function makeFolders(path: string): Promise<void> {
  try {
    await mkdir(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'EEXIST' && (await isFolder(path))) return
    const parent = dirname(path)
    if (code !== 'ENOENT' || parent === path || (await isFolder(parent))) throw error
    await makeFolders(parent)
    await mkdir(path)
  }
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (info) => info.isDirectory(),
    () => false,
  )
}

/** Whether there is something of this name. */
export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  )
}

/** Writes a file whose bytes are on the disk when the promise resolves. */
export async function writeSynced(path: string, text: string | Uint8Array): Promise<void> {
  const file = await open(path, 'w')
  try {
    await file.writeFile(text)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Gives a file new contents, or leaves it as it is. */
export async function replaceFile(path: string, text: string | Uint8Array): Promise<void> {
  const target = await realpath(path).catch(() => path) // a link stays one
  const info = await stat(target).catch(() => null)
  if (info !== null && !info.isFile()) return writeFile(target, text) // a pipe, for example
  const hidden = `.${basename(target)}.${randomBytes(6).toString('hex')}.tmp`
  const temporary = join(dirname(target), hidden)
  try {
    await writeSynced(temporary, text)
    await rename(temporary, target)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {})
    throw error
  }
}

/** What files a folder has is on the disk too, where the system can be asked for that. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r').catch(() => null)
  await folder?.sync().catch(() => {})
  await folder?.close()
}

const busy = new Map<string, Promise<unknown>>()

/** Does one work after the other, in the order of the calls, for all that use the same path. */
export async function inTurn<T>(path: string, work: () => Promise<T>): Promise<T> {
  const key = resolve(path)
  const mine = (busy.get(key) ?? Promise.resolve()).then(work)
  const settled = mine.catch(() => {})
  busy.set(key, settled)
  try {
    return await mine
  } finally {
    if (busy.get(key) === settled) busy.delete(key)
  }
}

/** Where a checkpoint is set aside for the moment in which its successor takes its name. */
export const setAside = (path: string): string => `${path}.previous`

/**
 * Where the checkpoint of this name is to be read: a crash between the two renames that replace a
 * checkpoint leaves the complete one set aside.
 */
export async function checkpointFolder(path: string): Promise<string> {
  const previous = setAside(resolve(path))
  return !(await exists(path)) && (await exists(previous)) ? previous : path
}
