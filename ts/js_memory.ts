/** Arrays of JavaScript, which may be as large as tensors and are filled at the call. */
import { binding } from './binding.js'
import { rangeError } from './errors.js'

/** Below this many bytes nobody is asked. */
const LARGE = 2 ** 26

/** An array of zeros. @throws RangeError that names `fn` when there is no room for it */
export function int32s(fn: string, length: number): Int32Array {
  return made(fn, 4 * length, () => new Int32Array(length))
}

/** As {@link int32s}. */
export function float32s(fn: string, length: number): Float32Array {
  return made(fn, 4 * length, () => new Float32Array(length))
}

function made<T>(fn: string, bytes: number, make: () => T): T {
  if (bytes >= LARGE) binding.checkAvailable(fn, bytes)
  try {
    return make()
  } catch (cause) {
    const error = rangeError(fn, 'sizes', 'room for an array of so many bytes', String(bytes))
    error.cause = cause
    throw error
  }
}
