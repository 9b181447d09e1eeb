/** Reading texts and dividing them. */
import { checkNumber, checkOptions, checkSignal, rangeError, typeError } from '../errors.js'
import { piecesOf } from '../io/open_file.js'
import { checkPath } from '../io/path.js'

/** Longest string that V8 makes, about; a longer file cannot become one text. */
const MAX_BYTES = 512 * 2 ** 20 - 64

/** What {@link loadText} takes. */
export interface LoadTextOptions {
  /** Ends reading: the promise rejects with the signal's reason. */
  signal?: AbortSignal
}

/**
 * Reads a UTF-8 text file, in pieces.
 * @throws (rejects) Error with a one-line message when the file is missing, unreadable, a folder, a
 *   pipe or a device, empty, too large for one string or for the memory there is, or not a text
 */
export async function loadText(path: string | URL, options: LoadTextOptions = {}): Promise<string> {
  const fn = 'loadText'
  const file = checkPath(fn, 'path', path, 'the path of a file')
  checkOptions(fn, options, ['signal'])
  const signal = checkSignal(fn, options.signal)
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let text = ''
  const decode = (bytes?: Uint8Array): void => {
    try {
      text += decoder.decode(bytes, { stream: bytes !== undefined })
    } catch (error) {
      throw new TypeError(`[${fn}] '${file}' is not a text file: it is not valid UTF-8`, {
        cause: error,
      })
    }
  }
  let empty = true
  const pieces = piecesOf(file, { limit: MAX_BYTES, signal })
  try {
    for (;;) {
      const next = await pieces.next().catch((error) => {
        signal?.throwIfAborted()
        const message = `[${fn}] cannot read '${file}': ${readableReason(error)}`
        throw new Error(message, { cause: error })
      })
      if (next.done) break
      empty = false
      if (next.value.includes(0))
        throw new TypeError(`[${fn}] '${file}' is not a text file: it has bytes of value 0`)
      decode(next.value)
    }
    decode()
  } finally {
    await pieces.return()
  }
  if (empty) throw new RangeError(`[${fn}] '${file}' is empty`)
  return text
}

function readableReason(error: unknown): string {
  switch ((error as NodeJS.ErrnoException).code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return 'there is no such file'
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
