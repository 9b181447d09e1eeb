/** Paths as users give them: texts, `file:` URLs as texts, and URL objects. */
import { fileURLToPath } from 'node:url'
import { typeError } from '../errors.js'

/** `file:…`, `https://…`; a drive's single letter is no scheme. */
const SCHEME = /^([a-z][a-z0-9+.-]+):(?=\/\/)|^(file):/i

/**
 * The path that an argument names. Every function that takes a path asks here.
 * @param fn the function that was called
 * @param name of the argument
 * @param expected what the path is of: 'the path of a file'
 * @throws TypeError for anything but a path or a `file:` URL
 */
export function checkPath(fn: string, name: string, value: unknown, expected: string): string {
  const wanted = `${expected}, or a file: URL`
  if (isUrl(value)) return pathOf(fn, name, value, wanted)
  if (typeof value !== 'string' || value === '') throw typeError(fn, name, wanted, value)
  if (value.includes('\0')) throw typeError(fn, name, `${wanted}, without a character 0`, value)
  const scheme = SCHEME.exec(value)
  return scheme === null ? value : pathOf(fn, name, value, wanted)
}

/** Also a URL of another realm, which is no instance of this one's class. */
function isUrl(value: unknown): value is URL {
  if (value instanceof URL) return true
  const { href, protocol } = Object(value) as Partial<URL>
  return typeof href === 'string' && typeof protocol === 'string'
}

function pathOf(fn: string, name: string, url: URL | string, wanted: string): string {
  const text = String(typeof url === 'string' ? url : url.href)
  // 'file:x' and 'file:./x' would silently be read as '/x'.
  if (!/^file:\//i.test(text)) throw typeError(fn, name, wanted, text)
  try {
    return fileURLToPath(text)
  } catch (cause) {
    const error = typeError(fn, name, wanted, text)
    error.cause = cause
    throw error
  }
}
