/** Archives (zip) with files that are stored as they are, each at a multiple of 64 bytes. */
import { crc32 } from 'node:zlib'

const ALIGNMENT = 64
const LONG = 0xffffffff
/** 45: with sizes of eight bytes (zip64). */
const [VERSION, VERSION64] = [20, 45]
/** Names are UTF-8. */
const FLAGS = 0x800
/** 1 January 1980: the same values give the same bytes. */
const DATE = 0x21
/** The kind of a field that only takes room, as PyTorch's files have it. */
const PADDING = 0x4246

/** A file that goes into an archive. */
export interface ZipPart {
  name: string
  bytes: Uint8Array
}

/** A number of two, four or eight bytes. */
type Field = readonly [width: 2 | 4 | 8, value: number]

/** Little-endian numbers, one after the other. */
function record(...fields: readonly Field[]): Buffer {
  const out = Buffer.alloc(fields.reduce((sum, [width]) => sum + width, 0))
  let at = 0
  for (const [width, value] of fields) {
    if (width === 8) out.writeBigUInt64LE(BigInt(value), at)
    else out.writeUIntLE(value, at, width)
    at += width
  }
  return out
}

const short = (value: number): number => Math.min(value, LONG)

/** The pieces of an archive, in their order. */
export function* zipped(parts: readonly ZipPart[]): Generator<Uint8Array, void> {
  const directory: Buffer[] = []
  let at = 0
  for (const { name, bytes } of parts) {
    const title = Buffer.from(name)
    const size = bytes.byteLength
    const common = (extra: number): Field[] => [
      [2, size >= LONG ? VERSION64 : VERSION],
      [2, FLAGS],
      [2, 0],
      [2, 0],
      [2, DATE],
      [4, crc32(bytes)],
      [4, short(size)],
      [4, short(size)],
      [2, title.length],
      [2, extra],
    ]
    const long = size >= LONG ? record([2, 1], [2, 16], [8, size], [8, size]) : Buffer.alloc(0)
    const head = at + 30 + title.length + long.length + 4
    const padding = (ALIGNMENT - (head % ALIGNMENT)) % ALIGNMENT
    const filler = Buffer.concat([record([2, PADDING], [2, padding]), Buffer.alloc(padding, 'Z')])
    const header = record([4, 0x04034b50], ...common(long.length + filler.length))
    yield Buffer.concat([header, title, long, filler])
    yield bytes
    const far = [...(size >= LONG ? [size, size] : []), ...(at >= LONG ? [at] : [])]
    const extra =
      far.length === 0
        ? Buffer.alloc(0)
        : record([2, 1], [2, 8 * far.length], ...far.map((value): Field => [8, value]))
    directory.push(
      record(
        [4, 0x02014b50],
        [2, VERSION64],
        ...common(extra.length),
        [2, 0],
        [2, 0],
        [2, 0],
        [4, 0],
        [4, short(at)],
      ),
      title,
      extra,
    )
    at = head + padding + size
  }
  const list = Buffer.concat(directory)
  yield list
  const files = parts.length
  if (files >= 0xffff || at >= LONG || list.length >= LONG)
    yield Buffer.concat([
      record(
        [4, 0x06064b50],
        [8, 44],
        [2, VERSION64],
        [2, VERSION64],
        [4, 0],
        [4, 0],
        [8, files],
        [8, files],
        [8, list.length],
        [8, at],
      ),
      record([4, 0x07064b50], [4, 0], [8, at + list.length], [4, 1]),
    ])
  const count = Math.min(files, 0xffff)
  yield record(
    [4, 0x06054b50],
    [2, 0],
    [2, 0],
    [2, count],
    [2, count],
    [4, list.length],
    [4, short(at)],
    [2, 0],
  )
}
