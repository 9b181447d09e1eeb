/** Files that are there as a whole or not at all. */
import { randomBytes } from 'node:crypto'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/**
 * Writes a file beside its place and, when all of it is on the disk, moves it there; an older one
 * stays until then.
 */
export async function writeWhole(path: string, parts: Iterable<Uint8Array>): Promise<void> {
  const beside = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`)
  let file: FileHandle | null = null
  try {
    file = await open(beside, 'wx')
    for (const part of parts) await writeAll(file, part)
    await file.sync()
    await file.close()
    file = null
    await rename(beside, path)
  } catch (error) {
    await file?.close().catch(() => {})
    await rm(beside, { force: true }).catch(() => {})
    throw error
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.byteLength; ) {
    const { bytesWritten } = await file.write(bytes, at, Math.min(bytes.byteLength - at, 2 ** 30))
    at += bytesWritten
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
