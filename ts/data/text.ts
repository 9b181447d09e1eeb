/** Reading texts and dividing them. */
import { readFile, stat } from 'node:fs/promises'
import { checkNumber, rangeError, typeError } from '../errors.js'
import { checkPath } from '../io/path.js'

/** Longest string that V8 makes, about; a longer file cannot become one text. */
const MAX_BYTES = 512 * 2 ** 20 - 64

/**
 * Reads a UTF-8 text file.
 * @throws (rejects) Error with a one-line message when the file is missing, unreadable, a folder,
 *   empty, too large for one string or not a text
 */
export async function loadText(path: string | URL): Promise<string> {
  const file = checkPath('loadText', 'path', path, 'the path of a file')
  let bytes: Uint8Array
  try {
    const info = await stat(file)
    if (info.size > MAX_BYTES) throw new Error(`it has ${info.size} bytes, more than ${MAX_BYTES}`)
    bytes = await readFile(file)
  } catch (error) {
    throw new Error(`[loadText] cannot read '${file}': ${readableReason(error)}`, { cause: error })
  }
  if (bytes.length === 0) throw new RangeError(`[loadText] '${file}' is empty`)
  if (bytes.includes(0))
    throw new TypeError(`[loadText] '${file}' is not a text file: it has bytes of value 0`)
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw new TypeError(`[loadText] '${file}' is not a text file: it is not valid UTF-8`, {
      cause: error,
    })
  }
}

function readableReason(error: unknown): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return 'there is no such file'
    case 'EISDIR':
      return 'it is a folder'
    case 'EACCES':
    case 'EPERM':
      return 'no permission'
    default:
      return error instanceof Error ? error.message : String(error)
  }
}

/**
 * Divides a text in two: its first part to train with, its last part to validate with. Both are
 * views of the same memory.
 * @param validFraction share of the last part, between 0 and 1. Default 0.1
 * @returns [train, valid]
 * @throws RangeError when a part would be empty
 */
export function split(tokens: Int32Array, validFraction = 0.1): [Int32Array, Int32Array] {
  if (!(tokens instanceof Int32Array)) throw typeError('split', 'tokens', 'an Int32Array', tokens)
  checkNumber('split', 'validFraction', validFraction, 0, 1)
  const cut = tokens.length - Math.round(tokens.length * validFraction)
  if (cut === 0 || cut === tokens.length) {
    throw rangeError(
      'split',
      'validFraction',
      `a fraction that leaves tokens on both sides of a text of ${tokens.length}`,
      String(validFraction),
    )
  }
  return [tokens.subarray(0, cut), tokens.subarray(cut)]
}
