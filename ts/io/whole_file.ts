/**
 * Writing a file as a whole. One rule for all: a new file, or a regular one, is there as a whole or as
 * it was before, with the permissions that it had; a link is followed and stays one; a pipe or a
 * terminal is written to; anything else is refused.
 */
import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import {
  access,
  type FileHandle,
  lstat,
  open,
  readlink,
  realpath,
  rm,
  stat,
} from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { syncFolder } from './folders.js'
import { kindOf } from './open_file.js'
import { renameOver } from './rename.js'

/** As many links as Linux follows. */
const MOST_LINKS = 40
/** A pipe that nobody reads is an error at once. */
const STREAM = fs.constants.O_WRONLY | (fs.constants.O_NONBLOCK ?? 0) | (fs.constants.O_NOCTTY ?? 0)

/** Where the bytes go. */
interface Target {
  /** Without links. */
  path: string
  /** What is there; null: nothing. */
  info: fs.Stats | null
  /** Whether it is to be written to as it is: a pipe, a terminal, what a process has open. */
  stream: boolean
}

/**
 * The name behind all links, whether there is something or not.
 * @throws (rejects) Error of the file system
 */
export async function behindLinks(path: string): Promise<{ path: string; opened: boolean }> {
  let at = resolve(path)
  // A device of Windows, such as \\.\NUL, is in no folder.
  if (process.platform === 'win32' && at.startsWith('\\\\.\\')) return { path: at, opened: true }
  for (let links = 0; links <= MOST_LINKS; links++) {
    const info = await lstat(at).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null
      throw error
    })
    const folder = await realParent(dirname(at))
    // Linux's names of what a process has open (/dev/stdout): no links that can be followed by name.
    if (/^\/proc\/.*\/fd$/.test(folder)) return { path: join(folder, basename(at)), opened: true }
    if (!info?.isSymbolicLink()) return { path: join(folder, basename(at)), opened: false }
    at = resolve(folder, await readlink(at))
  }
  throw Object.assign(new Error('too many links, one behind the other'), { code: 'ELOOP' })
}

/** A folder's path without links, also where its last parts are still to be made. */
async function realParent(path: string): Promise<string> {
  const up = dirname(path)
  return realpath(path).catch(async () =>
    up === path ? path : join(await realParent(up), basename(path)),
  )
}

async function targetOf(given: string): Promise<Target> {
  if (/[/\\]$/.test(given)) throw new Error('is the name of a folder')
  const { path, opened } = await behindLinks(given)
  if (opened) return { path, info: null, stream: true }
  const info = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  if (info === null || info.isFile()) return { path, info, stream: false }
  if (info.isFIFO() || info.isCharacterDevice()) return { path, info, stream: true }
  throw refused(info)
}

const refused = (info: fs.Stats): Error =>
  new Error(`is ${kindOf(info)}, which is not written to as a file`)

/** @throws (rejects) Error of the file system or with a reason, without the path */
export async function writeWhole(
  path: string,
  parts: Iterable<Uint8Array> | string,
): Promise<void> {
  const pieces = typeof parts === 'string' ? [Buffer.from(parts)] : parts
  const target = await targetOf(path)
  if (target.stream) return writeStream(target.path, pieces)
  const { info } = target
  // What others may not write to is not replaced either.
  if (info !== null) await access(target.path, fs.constants.W_OK)
  const name = `.${basename(target.path).slice(0, 60)}.${randomBytes(6).toString('hex')}.tmp`
  const beside = join(dirname(target.path), name)
  let file: FileHandle | null = null
  try {
    file = await open(beside, 'wx')
    for (const piece of pieces) await writeAll(file, piece)
    if (info !== null) {
      await file.chown(info.uid, info.gid).catch(() => {}) // only root may give files away
      await file.chmod(info.mode & 0o7777)
    }
    await file.sync()
    await file.close()
    file = null
    await renameOver(beside, target.path)
  } catch (error) {
    await file?.close().catch(() => {})
    await rm(beside, { force: true }).catch(() => {})
    throw error
  }
  await syncFolder(dirname(target.path))
}

/** Adds to the end of a file; as {@link writeWhole} for everything that is no regular file. */
export async function appendTo(path: string, bytes: Uint8Array | string): Promise<void> {
  const piece = typeof bytes === 'string' ? Buffer.from(bytes) : bytes
  const flags = STREAM | fs.constants.O_APPEND | fs.constants.O_CREAT
  const file = await openStream(path, flags)
  try {
    const info = await file.stat()
    if (!info.isFile() && !info.isFIFO() && !info.isCharacterDevice()) throw refused(info)
    await writeAll(file, piece)
  } finally {
    await file.close()
  }
}

async function writeStream(path: string, pieces: Iterable<Uint8Array>): Promise<void> {
  const own = new RegExp(`^/proc/(?:self|${process.pid})/fd/(\\d+)$`).exec(path)
  if (own !== null) {
    // Where this process itself goes on writing, such as its output.
    const write = promisify(fs.write)
    const to = { write: (b: Uint8Array, at: number, n: number) => write(Number(own[1]), b, at, n) }
    for (const piece of pieces) await writeAll(to, piece)
    return
  }
  const file = await openStream(path, STREAM | fs.constants.O_APPEND)
  try {
    for (const piece of pieces) await writeAll(file, piece)
  } finally {
    await file.close()
  }
}

async function openStream(path: string, flags: number): Promise<FileHandle> {
  try {
    return await open(path, flags, 0o666)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENXIO') throw error
    throw new Error('is a named pipe or a socket that nobody reads', { cause: error })
  }
}

interface Writable {
  write(bytes: Uint8Array, at: number, length: number): Promise<{ bytesWritten: number }>
}

async function writeAll(file: Writable, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.byteLength; ) {
    try {
      const length = Math.min(bytes.byteLength - at, 2 ** 30)
      at += (await file.write(bytes, at, length)).bytesWritten
    } catch (error) {
      // A full pipe.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error
      await sleep(5)
    }
  }
}

/** The memory of an array. */
export function bytesOf(array: NodeJS.TypedArray): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
}

/** An error in words, without the system's jargon where there is a plain word for it. */
export function reason(error: unknown): string {
  const code = (error as NodeJS.ErrnoException)?.code
  if (code === 'ENOENT') return 'no such file or folder'
  if (code === 'EISDIR') return 'is a folder'
  if (code === 'EACCES' || code === 'EPERM') return 'permission denied'
  return error instanceof Error ? error.message : String(error)
}
