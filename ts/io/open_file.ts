/**
 * Reading files that somebody else has put there: only regular files, never more bytes than are
 * wanted, and a pipe or a device in their place is an error at once instead of a wait without end.
 */
import { createHash } from 'node:crypto'
import { constants, type Stats } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { binding } from '../binding.js'

/** How many bytes are read, or handed on, at a time: what is in between leaves the event loop free. */
export const PIECE = 2 ** 19

/** O_NONBLOCK: a pipe that nobody writes to opens at once. Windows has neither. */
const READ = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0) | (constants.O_NOCTTY ?? 0)

/** What a file system has under a name, in words. */
export function kindOf(info: Stats): string {
  if (info.isFile()) return 'a regular file'
  if (info.isDirectory()) return 'a folder'
  if (info.isFIFO()) return 'a named pipe'
  if (info.isSocket()) return 'a socket'
  return info.isBlockDevice() || info.isCharacterDevice() ? 'a device' : 'something else'
}

function checkRegular(info: Stats): void {
  if (!info.isFile()) throw new Error(`it is ${kindOf(info)}, not a regular file`)
}

/** @throws (rejects) Error of the file system, or with a reason, without the path */
export async function openRegular(path: string): Promise<{ file: FileHandle; info: Stats }> {
  // Also before it is opened, which may set a device going.
  checkRegular(await stat(path))
  const file = await open(path, READ)
  try {
    const info = await file.stat()
    checkRegular(info)
    return { file, info }
  } catch (error) {
    await file.close()
    throw error
  }
}

/** How much may be read, and how reading is ended. */
export interface ReadOptions {
  /** In bytes. */
  limit: number
  signal?: AbortSignal | undefined
}

/**
 * The bytes of a file in pieces, up to its end.
 * @throws (rejects) as {@link openRegular}; Error when there are more bytes than allowed, or there is
 *   no room for them
 */
export async function* piecesOf(
  path: string,
  { limit, signal }: ReadOptions,
): AsyncGenerator<Uint8Array, void> {
  signal?.throwIfAborted()
  const { file, info } = await openRegular(path)
  try {
    if (info.size > limit) throw new Error(`it has ${info.size} bytes, more than ${limit}`)
    binding.checkRoom(info.size)
    for (let at = 0; ; ) {
      const piece = Buffer.allocUnsafeSlow(Math.min(PIECE, Math.max(info.size - at, 4096)))
      const { bytesRead } = await file.read(piece, 0, piece.length, at)
      signal?.throwIfAborted()
      if (bytesRead === 0) return
      at += bytesRead
      // It may have grown, and some systems' files do not say how long they are.
      if (at > limit) throw new Error(`it has more than ${limit} bytes`)
      yield piece.subarray(0, bytesRead)
    }
  } finally {
    await file.close()
  }
}

/** All bytes. @throws (rejects) as {@link piecesOf} */
export async function readBytes(path: string, options: ReadOptions): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  for await (const piece of piecesOf(path, options)) pieces.push(piece)
  return Buffer.concat(pieces)
}

/** A text of UTF-8. @throws (rejects) as {@link piecesOf}; TypeError when it is not UTF-8 */
export async function readText(path: string, options: ReadOptions): Promise<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  const texts: string[] = []
  try {
    for await (const piece of piecesOf(path, options))
      texts.push(decoder.decode(piece, { stream: true }))
    texts.push(decoder.decode())
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_ENCODING_INVALID_ENCODED_DATA')
      throw new TypeError('it is not valid UTF-8')
    throw error
  }
  return texts.join('')
}

/**
 * What JSON describes. V8's own errors show what they were given, which may be another file's content.
 * @throws Error that says where it is wrong, and nothing of the text
 */
export function parsePlainJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    const at = /at position (\d+)/.exec((error as Error).message)?.[1]
    throw new Error(`it is not JSON${at === undefined ? '' : ` (at character ${at})`}`)
  }
}

/** @throws (rejects) as {@link readText} and {@link parsePlainJson} */
export async function readJson(path: string, options: ReadOptions): Promise<unknown> {
  return parsePlainJson(await readText(path, options))
}

/** Exactly `length` bytes from `position`. @throws (rejects) Error when the file has become shorter */
export async function readAt(
  file: FileHandle,
  position: number,
  length: number,
): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafeSlow(length)
  for (let done = 0; done < length; ) {
    const { bytesRead } = await file.read(bytes, done, length - done, position + done)
    if (bytesRead === 0) throw new Error('the file became shorter while it was read')
    done += bytesRead
  }
  return bytes
}

/** The SHA-256 of a regular file. @throws (rejects) as {@link openRegular}; the signal's reason */
export async function digestOf(path: string, signal?: AbortSignal): Promise<string> {
  const { file } = await openRegular(path)
  try {
    return await digestOfFile(file, signal)
  } finally {
    await file.close()
  }
}

/** The same of one that is open. */
export async function digestOfFile(file: FileHandle, signal?: AbortSignal): Promise<string> {
  const hash = createHash('sha256')
  const piece = Buffer.allocUnsafeSlow(PIECE)
  for (let at = 0; ; ) {
    signal?.throwIfAborted()
    const { bytesRead } = await file.read(piece, 0, PIECE, at)
    if (bytesRead === 0) return hash.digest('hex')
    hash.update(piece.subarray(0, bytesRead))
    at += bytesRead
  }
}
