/** The encodings of texts: their names, the marks at the beginning of a file, and where a text breaks off. */
import { checkString, describe } from '../errors.js'

/** Of one byte each: the first 256 characters of Unicode, or what Windows has in place of controls. */
export type ByteEncoding = 'iso-8859-1' | 'windows-1252'

/** Names that TextDecoder reads differently or not at all: as Node's Buffer and Python have them. */
const NAMES: Record<string, string> = {
  latin1: 'iso-8859-1',
  'latin-1': 'iso-8859-1',
  binary: 'iso-8859-1',
  'iso-8859-1': 'iso-8859-1',
  cp1252: 'windows-1252',
  'windows-1252': 'windows-1252',
  utf16le: 'utf-16le',
  ucs2: 'utf-16le',
  'ucs-2': 'utf-16le',
  utf16be: 'utf-16be',
  utf16: 'utf-16',
  'utf-16': 'utf-16',
  // Each text in ASCII is one in UTF-8; TextDecoder would take any byte.
  ascii: 'utf-8',
  'us-ascii': 'utf-8',
}

/**
 * The one name of an encoding; 'utf-16' is the one whose mark says which.
 * @throws TypeError for what is no name of an encoding
 */
export function checkEncoding(fn: string, value: unknown): string {
  const name = checkString(fn, 'encoding', value).trim().toLowerCase()
  const own = Object.hasOwn(NAMES, name) ? NAMES[name] : undefined
  if (own !== undefined) return own
  try {
    return new TextDecoder(name).encoding
  } catch (cause) {
    throw new TypeError(
      `[${fn}] encoding: expected the name of an encoding ('utf-8', 'latin1', 'windows-1252', 'utf-16le', 'utf-16be', 'shift_jis', …), got ${describe(value)}`,
      { cause },
    )
  }
}

export function isByteEncoding(encoding: string): encoding is ByteEncoding {
  return encoding === 'iso-8859-1' || encoding === 'windows-1252'
}

/** What Windows has at 0x80 to 0x9F. */
const HIGH = '€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ'

/** Not TextDecoder: in some versions of Node it reads windows-1252 as Latin-1. */
export function decodeBytes(encoding: ByteEncoding, bytes: Uint8Array): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
  if (encoding === 'iso-8859-1') return text
  return text.replace(/[\x80-\x9f]/g, (control) => HIGH[control.charCodeAt(0) - 0x80] as string)
}

/** The mark with which a text begins (a "BOM"), or null. @param head at least four bytes, if there are */
export function markOf(head: Uint8Array): 'utf-8' | 'utf-16le' | 'utf-16be' | 'utf-32' | null {
  const [a, b, c, d] = head
  if (a === 0xff && b === 0xfe) return c === 0 && d === 0 ? 'utf-32' : 'utf-16le'
  if (a === 0 && b === 0 && c === 0xfe && d === 0xff) return 'utf-32'
  if (a === 0xfe && b === 0xff) return 'utf-16be'
  return a === 0xef && b === 0xbb && c === 0xbf ? 'utf-8' : null
}

/**
 * The encoding that bytes look like which are not UTF-8, or null: UTF-16 has a zero in every other
 * byte, as most characters are below 256.
 */
export function guess(bytes: Uint8Array): string | null {
  const seen = bytes.subarray(0, 4096)
  const zeros = [0, 0]
  seen.forEach((byte, i) => {
    if (byte === 0) zeros[i % 2] = (zeros[i % 2] as number) + 1
  })
  const [even, odd] = zeros as [number, number]
  if (even + odd === 0) {
    const windows = bytes.some((byte) => byte >= 0x80 && byte < 0xa0)
    return windows ? 'windows-1252' : 'latin1'
  }
  const half = seen.length / 2
  if (odd > half / 4 && even < odd / 8) return 'utf-16le'
  if (even > half / 4 && odd < even / 8) return 'utf-16be'
  return null
}

/** How many bytes at the end begin a character that is not complete. */
function incomplete(encoding: string, bytes: Uint8Array): number {
  if (encoding !== 'utf-8') return 0
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes.at(-back) as number
    if ((byte & 0xc0) === 0x80) continue
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1
    return length > back ? back : 0
  }
  return 0
}

/**
 * Where bytes stop being a text.
 * @param before the last few bytes of what came before, which was a text
 * @returns how many bytes of `bytes` come before the wrong ones (below 0: in `before`), and their text
 */
export function whereWrong(
  encoding: string,
  before: Uint8Array,
  bytes: Uint8Array,
): { offset: number; text: string } {
  const started = incomplete(encoding, before)
  const all = Buffer.concat([before.subarray(before.length - started), bytes])
  const decode = (length: number, fatal: boolean): string =>
    new TextDecoder(encoding, { fatal, ignoreBOM: true }).decode(all.subarray(0, length), {
      stream: true,
    })
  let [good, bad] = [0, all.length + 1]
  while (bad - good > 1) {
    const middle = (good + bad) >> 1
    try {
      decode(middle, true)
      good = middle
    } catch {
      bad = middle
    }
  }
  const text = decode(good, false)
  const complete =
    encoding === 'utf-8'
      ? Buffer.byteLength(text)
      : encoding.startsWith('utf-16')
        ? 2 * text.length
        : good
  return { offset: complete - started, text }
}
