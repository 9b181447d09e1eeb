/**
 * A model or a checkpoint as files in a folder, written so that every reader finds files that belong
 * together, whenever a writer was killed and however many there are.
 *
 * All files are first written, complete and on the disk, into a folder of their own inside, whose name
 * has a number that is drawn for it. Then they take their names, the head first: that is the moment
 * in which the new ones replace the old. The head says which files belong to it, and readers look for
 * those in both places. A lock keeps writers apart. Nothing is touched but these files.
 */
import { randomBytes } from 'node:crypto'
import { lstat, mkdir, readdir, rm, rmdir } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { exists, inTurn, isFolder, makeFolders, syncFolder, syncTree } from './folders.js'
import { holderOf, Lock } from './lock.js'
import { kindOf } from './open_file.js'
import { isDeadName, nameOf, threadName } from './owner.js'
import { renameOver } from './rename.js'
import { behindLinks } from './whole_file.js'

const LOCK = '.fused-rnn.lock'
const STAGING = /^\.fused-rnn\.[0-9a-f]{16}\.tmp$/
/** Of earlier versions. */
const STAGED = /^\.(model\.safetensors|config\.json|vocabulary\.json)\.[0-9a-f]+\.tmp$/
/** Saving lasts no longer than this, about; a training that saves again and again leaves pauses. */
const WAIT_MS = 60_000

const stagingName = (id: string): string => `.fused-rnn.${id}.tmp`
/** Whether only a writer of ours gives such a name. */
export const isOwn = (name: string): boolean =>
  name.startsWith(LOCK) || STAGING.test(name) || STAGED.test(name)

/** What is to be written, and where that is allowed. */
export interface Saving {
  /** What writes, to be named in the errors of others. */
  what: string
  /** The file whose new name is the moment in which all are replaced. */
  head: string
  /**
   * Whether a folder that has files may be written to.
   * @param names of all of them, but for those of a writer that was killed
   * @returns the names of those that an earlier saving wrote: to be replaced, or to be taken away
   * @throws (rejects) Error that says why not
   */
  check(folder: string, names: readonly string[]): Promise<readonly string[]>
  /** Writes all files. @param id that is drawn for them, 16 characters */
  write(folder: string, id: string): Promise<void>
}

/** A folder by the path behind all links, the same for all spellings. */
export async function realFolder(path: string): Promise<string> {
  return (await behindLinks(path)).path
}

/** Writes into a folder, or makes one. @throws (rejects) Error with a reason, without the path */
export async function saveFolder(path: string, saving: Saving): Promise<void> {
  const folder = await realFolder(path)
  await inTurn(folder, async () => {
    if (!(await exists(folder)) && (await create(folder, saving))) return
    if (!(await isFolder(folder)))
      throw new Error('there is something of that name that is no folder')
    const lock = await Lock.take(join(folder, LOCK), saving.what, WAIT_MS)
    try {
      await replace(folder, saving, lock)
    } finally {
      await lock.release()
    }
  })
}

/** Makes a folder under another name, and gives it its own. @returns false: there is one now */
async function create(folder: string, saving: Saving): Promise<boolean> {
  const parent = dirname(folder)
  await makeFolders(parent)
  const name = `.${basename(folder).slice(0, 60)}.fused-rnn.`
  await removeDead(parent, name)
  const temporary = join(parent, `${name}${threadName()}.${randomBytes(8).toString('hex')}.tmp`)
  await mkdir(temporary)
  let lock: Lock | null = null
  try {
    lock = await Lock.take(join(temporary, LOCK), saving.what, 0)
    await replace(temporary, saving, lock)
    // Onto an empty folder it would work, too.
    if (await exists(folder)) return false
    await renameOver(temporary, folder)
    lock.path = join(folder, LOCK)
    await syncFolder(parent)
    return true
  } catch (error) {
    // Windows says that it is not permitted.
    const { code = '' } = error as NodeJS.ErrnoException
    if (['EEXIST', 'ENOTEMPTY', 'EPERM', 'EACCES'].includes(code) && (await exists(folder)))
      return false
    throw error
  } finally {
    await lock?.release()
    await rm(temporary, { recursive: true, force: true }).catch(() => {})
  }
}

/** What programs that were killed have left under names that only {@link create} gives. */
async function removeDead(parent: string, name: string): Promise<void> {
  for (const found of await readdir(parent))
    if (found.startsWith(name) && isDeadName(found.slice(name.length)))
      await rm(join(parent, found), { recursive: true, force: true }).catch(() => {})
}

async function replace(folder: string, saving: Saving, lock: Lock): Promise<void> {
  const { head } = saving
  const before = await readdir(folder)
  const names = before.filter((name) => !isOwn(name))
  const owned = names.length > 0 ? await saving.check(folder, names) : []
  const id = randomBytes(8).toString('hex')
  const staging = join(folder, stagingName(id))
  await mkdir(staging)
  let written: string[]
  try {
    await saving.write(staging, id)
    written = await readdir(staging)
    for (const name of [...written, ...owned]) await checkReplaceable(folder, name, owned)
    await syncTree(staging)
    await lock.check()
    await renameOver(join(staging, head), join(folder, head))
  } catch (error) {
    await rm(staging, { recursive: true, force: true }).catch(() => {})
    throw error
  }
  // From here on the new files are the ones that count, wherever they are.
  for (const name of written)
    if (name !== head) await renameOver(join(staging, name), join(folder, name))
  for (const name of owned)
    if (!written.includes(name)) await rm(join(folder, name), { force: true })
  await syncFolder(folder)
  await rmdir(staging)
  // Those of writers that were killed.
  for (const name of before)
    if (STAGING.test(name) || STAGED.test(name))
      await rm(join(folder, name), { recursive: true, force: true }).catch(() => {})
}

/** @throws (rejects) Error when something of that name is not ours, or no usual file */
async function checkReplaceable(
  folder: string,
  name: string,
  owned: readonly string[],
): Promise<void> {
  const info = await lstat(join(folder, name)).catch(() => null)
  if (info === null) return
  if (!owned.includes(name))
    throw new Error(`its ${name} is not of the same kind; move it away first`)
  if (info.isFile()) return
  const kind = info.isSymbolicLink() ? 'a link' : kindOf(info)
  throw new Error(`its ${name} is ${kind}, which is not replaced; move it away first`)
}

/**
 * Where a file may be that a head names: under its name, or where a writer was killed before it got it.
 * @param id of the head, if it has one: the others' folders need not be looked at
 */
export async function placesOf(folder: string, name: string, id?: string): Promise<string[]> {
  const all =
    id === undefined ? (await readdir(folder)).filter((n) => STAGING.test(n)) : [stagingName(id)]
  return [join(folder, name), ...all.map((staging) => join(folder, staging, name))]
}

// ---- Claims: a folder is a training's own for as long as it lasts -----------------------------------

const claims = new Map<string, { lock: Lock; by: object }>()

const claimOf = (folder: string): string =>
  join(dirname(folder), `.${basename(folder).slice(0, 60)}.fused-rnn.lock`)

/**
 * Keeps other trainings, of this process and others, from writing a folder.
 * @param by who may write it
 * @returns gives it back
 * @throws (rejects) InUse that names who has claimed it; Error of the file system
 */
export async function claim(path: string, what: string, by: object): Promise<() => Promise<void>> {
  const folder = await realFolder(path)
  const file = claimOf(folder)
  if (claims.get(file)?.by === by) return async () => {}
  await makeFolders(dirname(folder))
  const lock = await Lock.take(file, what, 0)
  claims.set(file, { lock, by })
  return async () => {
    claims.delete(file)
    await lock.release()
  }
}

/** @throws (rejects) Error when somebody else has claimed a folder */
export async function checkClaim(path: string, by: object): Promise<void> {
  const file = claimOf(await realFolder(path))
  const own = claims.get(file)
  if (own?.by === by) return own.lock.check()
  const owner = await holderOf(file)
  if (owner !== null) throw new Error(`${nameOf(owner)} keeps its checkpoints there`)
}
