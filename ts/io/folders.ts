/** Making folders, and writing into them so that nothing is lost. */
import { mkdir, open, readdir, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'

/**
 * Makes a folder and those above it, where they are missing. Node's own `recursive` never ends on
 * a file system that answers "no such file" to every new folder, as /proc does.
 */
export async function makeFolders(path: string): Promise<void> {
  try {
    await mkdir(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    // Windows forbids to make a drive's or a share's root.
    if (code !== 'ENOENT' && (await isFolder(path))) return
    const parent = dirname(path)
    if (code !== 'ENOENT' || parent === path || (await isFolder(parent))) throw error
    await makeFolders(parent)
    await mkdir(path)
  }
}

/** Whether there is a folder of this name. */
export async function isFolder(path: string): Promise<boolean> {
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

/** What has been written into a folder is on the disk when the promise resolves. */
export async function syncTree(path: string): Promise<void> {
  for (const entry of await readdir(path, { withFileTypes: true })) {
    const inner = join(path, entry.name)
    if (entry.isDirectory()) await syncTree(inner)
    if (!entry.isFile()) continue
    const file = await open(inner, 'r+')
    await file.sync().finally(() => file.close())
  }
  await syncFolder(path)
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
