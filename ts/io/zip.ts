/** Archives (zip) that are open to be read: what is in them first, then one file after the other. */
import type { FileHandle } from 'node:fs/promises'
import { crc32, inflateRawSync } from 'node:zlib'
import { binding } from '../binding.js'
import { openRegular, PIECE, readAt } from './open_file.js'
import { inPieces } from './pieces.js'

/** As many tensors as a file may have, and what stands beside them. */
const MAX_FILES = 2 ** 17
const MAX_DIRECTORY_BYTES = 2 ** 25
/** The last record and the longest comment. */
const END_BYTES = 22
const MAX_END_BYTES = END_BYTES + 0xffff
const [END, END64, LOCATOR64, CENTRAL, LOCAL] = [
  0x06054b50, 0x06064b50, 0x07064b50, 0x02014b50, 0x04034b50,
]
const [STORED, DEFLATED] = [0, 8]

/** A file in an archive. */
export interface ZipEntry {
  readonly name: string
  /** Whether it is there as it is, not compressed. */
  readonly stored: boolean
  /** Without compression. */
  readonly bytes: number
  readonly packedBytes: number
  /** 0: not computed, or by rare chance. */
  readonly crc: number
  /** Where its header is. */
  readonly at: number
}

const damaged = (what: string): Error => new Error(`it is damaged or cut short: ${what}`)

/** A view of bytes. */
const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

/** A whole number of eight bytes. @throws Error for one that no file reaches */
function size64(data: DataView, at: number): number {
  const value = data.getBigUint64(at, true)
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw damaged(`a size of ${value} bytes`)
  return Number(value)
}

export class ZipFile {
  readonly entries: ReadonlyMap<string, ZipEntry>
  /** How long the archive is. */
  readonly bytes: number
  readonly #file: FileHandle
  readonly #changed: number
  /** Where the directory begins: all files lie before it. */
  readonly #end: number
  readonly #signal: AbortSignal | undefined

  private constructor(
    file: FileHandle,
    info: { size: number; mtimeMs: number },
    directory: { entries: Map<string, ZipEntry>; at: number },
    signal: AbortSignal | undefined,
  ) {
    this.#file = file
    this.bytes = info.size
    this.#changed = info.mtimeMs
    this.entries = directory.entries
    this.#end = directory.at
    this.#signal = signal
  }

  /**
   * Opens an archive and reads its directory.
   * @throws (rejects) Error that says what is wrong; the signal's reason
   */
  static async open(path: string, signal?: AbortSignal): Promise<ZipFile> {
    signal?.throwIfAborted()
    const { file, info } = await openRegular(path)
    try {
      const place = await findDirectory(file, info.size)
      binding.checkRoom(place.bytes)
      const bytes = await readAt(file, place.at, place.bytes)
      const entries = await inPieces(parseDirectory(bytes, place), signal)
      return new ZipFile(file, info, { entries, at: place.at }, signal)
    } catch (error) {
      await file.close()
      throw error
    }
  }

  async close(): Promise<void> {
    await this.#file.close()
  }

  /** Where a file's bytes begin. @throws (rejects) Error unless its header fits the directory */
  async start({ name, at, packedBytes }: ZipEntry): Promise<number> {
    if (at + 30 > this.#end) throw damaged(`'${name}' begins at byte ${at} of ${this.#end}`)
    const header = viewOf(await readAt(this.#file, at, 30))
    if (header.getUint32(0, true) !== LOCAL) throw damaged(`'${name}' has no header`)
    const start = at + 30 + header.getUint16(26, true) + header.getUint16(28, true)
    if (start + packedBytes > this.#end)
      throw damaged(`'${name}' lies at bytes ${start} to ${start + packedBytes} of ${this.#end}`)
    return start
  }

  /** Bytes at a place in the archive. */
  async readAt(position: number, length: number): Promise<Uint8Array> {
    this.#signal?.throwIfAborted()
    return readAt(this.#file, position, length)
  }

  /** @throws (rejects) Error unless the bytes have their checksum */
  async check(entry: ZipEntry): Promise<void> {
    if (entry.crc === 0) return
    const start = await this.start(entry)
    let found = 0
    for (let at = 0; at < entry.bytes; at += PIECE)
      found = crc32(await this.readAt(start + at, Math.min(PIECE, entry.bytes - at)), found)
    if (found !== entry.crc) throw damaged(`'${entry.name}' has another checksum`)
  }

  /**
   * All bytes of a file.
   * @param limit in bytes
   * @throws (rejects) Error for more than that, for damage, and when there is no room
   */
  async read(entry: ZipEntry, limit: number): Promise<Uint8Array> {
    const { name, bytes, packedBytes, stored, crc } = entry
    if (Math.max(bytes, packedBytes) > limit)
      throw new Error(`'${name}' has ${Math.max(bytes, packedBytes)} bytes, more than ${limit}`)
    binding.checkRoom(bytes + packedBytes)
    const packed = await this.readAt(await this.start(entry), packedBytes)
    const out = stored ? packed : inflated(entry, packed)
    if (out.byteLength !== bytes || (crc !== 0 && crc32(out) !== crc))
      throw damaged(`'${name}' has another length or checksum`)
    return out
  }

  /** A program that writes into a file, instead of replacing it, leaves parts of two. */
  async checkUnchanged(): Promise<void> {
    const { size, mtimeMs } = await this.#file.stat()
    if (size !== this.bytes || mtimeMs !== this.#changed)
      throw new Error('the file changed while it was read')
  }
}

/** Never more than the directory says. */
function inflated({ name, bytes }: ZipEntry, packed: Uint8Array): Uint8Array {
  try {
    return inflateRawSync(packed, { maxOutputLength: Math.max(bytes, 1) })
  } catch (cause) {
    throw Object.assign(damaged(`'${name}' cannot be unpacked`), { cause })
  }
}

// ---- The directory ----------------------------------------------------------------------------------

interface Place {
  at: number
  bytes: number
  files: number
}

/** The record at the end says where the directory is. */
async function findDirectory(file: FileHandle, size: number): Promise<Place> {
  const from = Math.max(0, size - MAX_END_BYTES)
  const tail = await readAt(file, from, size - from)
  const data = viewOf(tail)
  for (let at = tail.length - END_BYTES; at >= 0; at--) {
    if (data.getUint32(at, true) !== END) continue
    if (at + END_BYTES + data.getUint16(at + 20, true) !== tail.length) continue
    const place: Place = {
      files: data.getUint16(at + 10, true),
      bytes: data.getUint32(at + 12, true),
      at: data.getUint32(at + 16, true),
    }
    const long = place.files === 0xffff || place.bytes === 0xffffffff || place.at === 0xffffffff
    return checkPlace(long ? await findDirectory64(file, from + at) : place, from + at)
  }
  throw damaged('an archive (zip) has a directory at its end, which is not there')
}

/** @param end where the record of archives of up to 4 GiB is */
async function findDirectory64(file: FileHandle, end: number): Promise<Place> {
  const missing = damaged('the record of a long archive (zip64) is not there')
  if (end < 20 + 56) throw missing
  const locator = viewOf(await readAt(file, end - 20, 20))
  if (locator.getUint32(0, true) !== LOCATOR64) throw missing
  const at = size64(locator, 8)
  if (at + 56 > end - 20) throw missing
  const data = viewOf(await readAt(file, at, 56))
  if (data.getUint32(0, true) !== END64) throw missing
  return { files: size64(data, 32), bytes: size64(data, 40), at: size64(data, 48) }
}

function checkPlace(place: Place, end: number): Place {
  const { at, bytes, files } = place
  if (at + bytes > end) throw damaged(`a directory at bytes ${at} to ${at + bytes} of ${end}`)
  if (files > MAX_FILES) throw new Error(`it has ${files} files, more than ${MAX_FILES}`)
  if (bytes > MAX_DIRECTORY_BYTES)
    throw new Error(`a directory of ${bytes} bytes (at most ${MAX_DIRECTORY_BYTES} are allowed)`)
  return place
}

/** Each step reads one entry. */
function* parseDirectory(bytes: Uint8Array, place: Place): Generator<void, Map<string, ZipEntry>> {
  const data = viewOf(bytes)
  const entries = new Map<string, ZipEntry>()
  let at = 0
  for (let i = 0; i < place.files; i++) {
    if (at + 46 > bytes.length || data.getUint32(at, true) !== CENTRAL)
      throw damaged(`its directory has ${i} of ${place.files} entries`)
    const nameEnd = at + 46 + data.getUint16(at + 28, true)
    const extraEnd = nameEnd + data.getUint16(at + 30, true)
    const next = extraEnd + data.getUint16(at + 32, true)
    if (next > bytes.length) throw damaged(`its directory has ${i} of ${place.files} entries`)
    const name = new TextDecoder().decode(bytes.subarray(at + 46, nameEnd))
    const method = data.getUint16(at + 10, true)
    if ((data.getUint16(at + 8, true) & 1) !== 0) throw new Error(`'${name}' is encrypted`)
    if (method !== STORED && method !== DEFLATED)
      throw new Error(`'${name}' is compressed by a method (${method}) that is not known here`)
    const sizes: Sizes = {
      bytes: data.getUint32(at + 24, true),
      packedBytes: data.getUint32(at + 20, true),
      at: data.getUint32(at + 42, true),
    }
    readLong(name, sizes, viewOf(bytes.subarray(nameEnd, extraEnd)))
    const entry = { name, stored: method === STORED, crc: data.getUint32(at + 16, true), ...sizes }
    if (entry.stored && entry.bytes !== entry.packedBytes)
      throw damaged(`'${name}' has ${entry.packedBytes} of ${entry.bytes} bytes`)
    if (entries.has(name)) throw damaged(`'${name}' is there twice`)
    entries.set(name, entry)
    at = next
    yield
  }
  return entries
}

interface Sizes {
  bytes: number
  packedBytes: number
  at: number
}

/** What does not fit four bytes stands in a field of its own (zip64), in this order. */
function readLong(name: string, sizes: Sizes, extra: DataView): void {
  const long = (['bytes', 'packedBytes', 'at'] as const).filter((key) => sizes[key] === 0xffffffff)
  if (long.length === 0) return
  for (let at = 0; at + 4 <= extra.byteLength; at += 4 + extra.getUint16(at + 2, true)) {
    if (extra.getUint16(at, true) !== 1) continue
    if (
      extra.getUint16(at + 2, true) < 8 * long.length ||
      at + 4 + 8 * long.length > extra.byteLength
    )
      break
    long.forEach((key, i) => {
      sizes[key] = size64(extra, at + 4 + 8 * i)
    })
    return
  }
  throw damaged(`'${name}' has no long sizes (zip64)`)
}
