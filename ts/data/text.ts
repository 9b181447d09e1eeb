/** Reading texts and dividing them. */
import { types } from 'node:util'
import { checkNumber, checkOptions, checkSignal, rangeError, typeError } from '../errors.js'
import { piecesOf } from '../io/open_file.js'
import { checkPath } from '../io/path.js'
import { Decoding, type TextOrigin } from './decoding.js'

/** Longest string that V8 makes, about; more bytes may not become one text. */
const MAX_BYTES = 512 * 2 ** 20 - 64

/** What {@link loadText} takes. */
export interface LoadTextOptions {
  /**
   * What the bytes of the file mean: 'utf-8', 'latin1' (ISO 8859-1), 'windows-1252', 'utf-16le',
   * 'utf-16be', or any other name that TextDecoder knows. Default: UTF-8, or UTF-16 where the file
   * begins with its mark (BOM). A mark is no part of the text.
   */
  encoding?: string
  /** Ends reading: the promise rejects with the signal's reason. */
  signal?: AbortSignal
}

/**
 * Reads a text file, in pieces.
 * @throws (rejects) Error with a one-line message when the file is missing, unreadable, a folder, a
 *   pipe or a device, empty, too large for one string or for the memory there is; TypeError for
 *   what is no text in this encoding, with the line and the byte
 */
export async function loadText(path: string | URL, options: LoadTextOptions = {}): Promise<string> {
  const fn = 'loadText'
  const file = checkPath(fn, 'path', path, 'the path of a file')
  checkOptions(fn, options, ['encoding', 'signal'])
  const signal = checkSignal(fn, options.signal)
  const advice = (encoding: string): string => `read it with { encoding: '${encoding}' }`
  return wholeText({ fn, name: `'${file}'`, advice }, file, { ...options, signal })
}

/** A file's text; `origin` says how an encoding is named. @throws (rejects) as {@link loadText} */
export async function wholeText(
  origin: TextOrigin,
  file: string,
  { encoding, signal }: { encoding?: string | undefined; signal?: AbortSignal | undefined },
): Promise<string> {
  const decoding = new Decoding(origin, encoding)
  let text = ''
  const pieces = piecesOf(file, { limit: MAX_BYTES, signal })
  for await (const piece of textOf(origin, decoding, pieces, signal)) text += piece
  if (text === '') throw new RangeError(`[${origin.fn}] ${origin.name} is empty`)
  return text
}

/** The texts of pieces of bytes. @throws (rejects) as {@link loadText} */
export async function* textOf(
  { fn, name }: TextOrigin,
  decoding: Decoding,
  pieces: AsyncGenerator<Uint8Array, void>,
  signal?: AbortSignal,
): AsyncGenerator<string, void> {
  try {
    for (;;) {
      const next = await pieces.next().catch((error) => {
        signal?.throwIfAborted()
        throw new Error(`[${fn}] cannot read ${name}: ${readableReason(error)}`, { cause: error })
      })
      if (next.done) break
      yield decoding.push(next.value)
    }
    yield decoding.end()
  } finally {
    await pieces.return()
  }
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
  if (!types.isInt32Array(tokens)) throw typeError('split', 'tokens', 'an Int32Array', tokens)
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
