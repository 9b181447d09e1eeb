/** Arrays of JavaScript, which may be as large as tensors and are filled at the call. */
import { binding } from './binding.js'
import { rangeError } from './errors.js'

/** Below this many bytes nobody is asked. */
const LARGE = 2 ** 26

/** An array of zeros. @throws RangeError that names `fn` when there is no room for it */
export function int32s(fn: string, length: number): Int32Array {
  const bytes = 4 * length
  if (bytes >= LARGE) binding.checkAvailable(fn, bytes)
  try {
    return new Int32Array(length)
  } catch (cause) {
    const error = rangeError(fn, 'sizes', 'room for an array of so many bytes', String(bytes))
    error.cause = cause
    throw error
  }
}
