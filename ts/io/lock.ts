/**
 * Locks as files, among threads, processes and the machines that share a folder. The file names its
 * owner. One whose owner has ended is taken over; of an owner on another machine, whose processes
 * cannot be seen from here, that is known by its heartbeat, the time of the file.
 */
import { randomBytes } from 'node:crypto'
import { readFileSync, rmSync } from 'node:fs'
import { type FileHandle, link, open, readdir, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { readText } from './open_file.js'
import {
  isAlive,
  isDeadName,
  nameOf,
  newOwner,
  type Owner,
  parseOwner,
  threadName,
} from './owner.js'
import { renameOver } from './rename.js'

const HEARTBEAT_MS = 5_000
/** An owner whose heartbeat is older has ended. */
const SILENT_MS = 60_000
/** Taking over lasts a moment; who has begun it this long ago has ended. */
const TAKING_OVER_MS = 10_000
const READ = { limit: 65_536 }

/** Those that this thread holds: given back when it ends. */
const held = new Set<Lock>()
let waiting = false

/** Another program is at work there. */
export class InUse extends Error {}

export class Lock {
  /** Where its file is. */
  path: string
  /** What stands in it: no other lock has the same token. */
  readonly #text: string
  readonly #timer: NodeJS.Timeout
  #beating: Promise<unknown> = Promise.resolve()

  private constructor(path: string, text: string) {
    this.path = path
    this.#text = text
    this.#timer = setInterval(() => {
      this.#beating = this.#beat().catch(() => {})
    }, HEARTBEAT_MS).unref()
    held.add(this)
    if (!waiting) process.once('exit', releaseAll)
    waiting = true
  }

  /**
   * @param path of its file, in a folder that is there
   * @param what it is for, to be named in the errors of others
   * @param wait milliseconds to wait for another owner
   * @throws (rejects) InUse that names the owner; Error of the file system
   */
  static async take(path: string, what: string, wait: number): Promise<Lock> {
    const token = randomBytes(8).toString('hex')
    const temporary = `${path}.${threadName()}.${token}.tmp`
    const text = JSON.stringify(newOwner(token, what))
    const end = performance.now() + wait
    const file = await open(temporary, 'wx')
    try {
      await file.write(text, 0)
      while (!(await attempt(path, temporary, file))) {
        // What was written just now has the file system's time, whatever clock this machine has.
        await file.write(text, 0)
        const now = (await file.stat()).mtimeMs
        const owner = await ownerOf(path, now)
        if (owner === 'ended' && (await takeOver(path, temporary, now))) break
        if (owner === null || owner === 'ended') continue
        if (performance.now() > end)
          throw new InUse(`${nameOf(owner)} is at work there; wait for its end, or end it`)
        await sleep(20)
      }
      // Windows deletes no file, and renames no folder, of which something is open.
      await file.close()
      await rm(temporary, { force: true })
      await removeDead(path)
      return new Lock(path, text)
    } catch (error) {
      await file.close().catch(() => {})
      await rm(temporary, { force: true }).catch(() => {})
      throw error
    }
  }

  /** @throws (rejects) InUse when another program has taken it over */
  async check(): Promise<void> {
    if (!(await this.#isOwn()))
      throw new InUse(
        'another program has taken over the lock of this one, which was silent too long',
      )
  }

  async release(): Promise<void> {
    held.delete(this)
    clearInterval(this.#timer)
    await this.#beating
    if (await this.#isOwn()) await rm(this.path, { force: true }).catch(() => {})
  }

  /** Gives the file the time that the file system has now. */
  async #beat(): Promise<void> {
    if (!(await this.#isOwn())) return
    const file = await open(this.path, 'r+')
    await file.write(this.#text, 0).finally(() => file.close())
  }

  /** Whether nobody has taken it over. */
  async #isOwn(): Promise<boolean> {
    return (await readText(this.path, READ).catch(() => '')) === this.#text
  }

  /** Without waiting, when the thread ends. */
  releaseNow(): void {
    try {
      if (readFileSync(this.path, 'utf8') === this.#text) rmSync(this.path, { force: true })
    } catch {
      // It has gone.
    }
  }
}

function releaseAll(): void {
  for (const lock of held) lock.releaseNow()
}

/** Whether somebody else holds a lock. @returns its owner; null: nobody does */
export async function holderOf(path: string): Promise<Owner | null> {
  const owner = await ownerOf(path, Date.now()).catch(() => null)
  return owner === 'ended' ? null : owner
}

/** The names under which programs that were killed wanted the lock. */
async function removeDead(path: string): Promise<void> {
  const begin = `${basename(path)}.`
  for (const name of await readdir(dirname(path)))
    if (name.startsWith(begin) && isDeadName(name.slice(begin.length)))
      await rm(join(dirname(path), name), { force: true })
}

/** Whether the file has this name, too: a server's answer that it has may have been lost. */
async function isSame(path: string, file: FileHandle): Promise<boolean> {
  const found = await stat(path, { bigint: true }).catch(() => null)
  const own = await file.stat({ bigint: true })
  return found !== null && found.ino === own.ino && found.dev === own.dev
}

/** Whether the file has got its name, which nothing had. */
async function attempt(path: string, temporary: string, file: FileHandle): Promise<boolean> {
  try {
    await link(temporary, path)
    return true
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    if (code === 'EEXIST') return isSame(path, file)
    if (!['EPERM', 'ENOTSUP', 'ENOSYS', 'EMLINK', 'EOPNOTSUPP'].includes(code)) throw error
  }
  // A file system without links: the name is reserved first, and the file moved there.
  try {
    await (await open(path, 'wx')).close()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
  await renameOver(temporary, path)
  return true
}

/** @param now as the file system has it @returns null: there is no lock */
async function ownerOf(path: string, now: number): Promise<Owner | 'ended' | null> {
  const info = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  if (info === null) return null
  const text = await readText(path, READ).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  if (text === null) return null
  const silent = now - info.mtimeMs > SILENT_MS
  // Its program ended when it had just been made.
  if (text === '' && silent) return 'ended'
  const owner = parseOwner(text)
  if (owner === null) {
    if (text === '') return newOwner('', 'a beginning')
    throw new Error(`there is a file '${path}' that is no lock of fused-rnn`)
  }
  return (isAlive(owner) ?? !silent) ? owner : 'ended'
}

/** Replaces a lock whose owner has ended. @returns whether it has, and nobody else was faster */
async function takeOver(path: string, temporary: string, now: number): Promise<boolean> {
  const guard = `${path}.takeover`
  try {
    await (await open(guard, 'wx')).close()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    const info = await stat(guard).catch(() => null)
    if (info !== null && now - info.mtimeMs > TAKING_OVER_MS) await rm(guard, { force: true })
    await sleep(10)
    return false
  }
  try {
    // Who was faster has left another one.
    if ((await ownerOf(path, now)) !== 'ended') return false
    await renameOver(temporary, path)
    return true
  } finally {
    await rm(guard, { force: true })
  }
}
