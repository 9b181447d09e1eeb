/**
 * One wording for every argument error: "[function] name: expected …, got …".
 */
import { copiedFields, isPlainObject } from './copies.js'

/** Whether a value that looks like a tensor is one of this copy of the package; see ts/tensor.ts. */
let isOwn: (value: object) => boolean = () => true

/** Called by ts/tensor.ts, which builds on this file. */
export function setTensorTest(test: (value: object) => boolean): void {
  isOwn = test
}

/** Longer texts are cut. */
const MOST_CHARACTERS = 80

/** A short picture of any value, for error messages; never throws, whatever the value does. */
export function describe(value: unknown): string {
  try {
    return pictured(value, 0)
  } catch {
    return 'an object that nothing can be read from'
  }
}

function pictured(value: unknown, depth: number): string {
  if (value === null) return 'null'
  if (value === undefined) return 'undefined'
  if (typeof value === 'string') return `'${cut(value)}'`
  if (typeof value === 'bigint') return `${cut(String(value))}n`
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (typeof value === 'function') {
    const { name } = value
    return typeof name === 'string' && name !== '' ? `function ${cut(name)}` : 'a function'
  }
  if (Array.isArray(value)) {
    const { length } = value
    if (length > 8 || depth > 1) return `an array of ${length}`
    return `[${Array.from(value, (item) => pictured(item, depth + 1)).join(', ')}]`
  }
  if (typeof value === 'object') {
    if (!isOwn(value) && copiedFields(value) === 'a tensor')
      return 'the fields of a tensor without its values, which object spread and Object.assign do not copy (use clone())'
    const { shape } = value as { shape?: unknown }
    if (Array.isArray(shape) && shape.length <= 8 && shape.every((n) => typeof n === 'number')) {
      const foreign = isOwn(value) ? '' : ' that another library or another copy of fused-rnn made'
      return `a tensor of shape ${formatShape(shape)}${foreign}`
    }
    const name: unknown = value.constructor?.name
    if (ArrayBuffer.isView(value) && isDetached(value)) return `a ${name} that has lost its memory`
    return `an object of type ${typeof name === 'string' ? cut(name) : 'Object'}`
  }
  return typeof value
}

function cut(text: string): string {
  return text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS)}…` : text
}

/** `(2, 3)`, `(4,)`, `()`, as PyTorch and NumPy print shapes. */
export function formatShape(shape: readonly (number | string)[]): string {
  return shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`
}

/** The argument has the wrong type. */
export function typeError(fn: string, name: string, expected: string, got: unknown): TypeError {
  return new TypeError(`[${fn}] ${name}: expected ${expected}, got ${describe(got)}`)
}

/** The argument has the right type and a value out of range; `got` is text. */
export function rangeError(fn: string, name: string, expected: string, got: string): RangeError {
  return new RangeError(`[${fn}] ${name}: expected ${expected}, got ${got}`)
}

/** Checks a whole number in [min, max]. */
export function checkInteger(
  fn: string,
  name: string,
  value: unknown,
  min: number,
  max = Number.MAX_SAFE_INTEGER,
): number {
  if (typeof value !== 'number') throw typeError(fn, name, 'a whole number', value)
  if (!Number.isInteger(value)) throw rangeError(fn, name, 'a whole number', String(value))
  if (value < min || value > max) {
    const open = max === Number.MAX_SAFE_INTEGER && value < min
    const range = open ? `of at least ${min}` : `between ${min} and ${max}`
    throw rangeError(fn, name, `a whole number ${range}`, String(value))
  }
  return value
}

/** Checks a number in [min, max]; NaN is none, infinity is one where the range has it. */
export function checkNumber(
  fn: string,
  name: string,
  value: unknown,
  min = -Infinity,
  max = Infinity,
): number {
  if (typeof value !== 'number') throw typeError(fn, name, 'a number', value)
  if (Number.isNaN(value) || value < min || value > max) {
    const range =
      min === -Infinity && max === Infinity
        ? 'a number'
        : max === Infinity
          ? `a number of at least ${min}`
          : min === -Infinity
            ? `a number of at most ${max}`
            : `a number between ${min} and ${max}`
    throw rangeError(fn, name, range, String(value))
  }
  return value
}

export function checkBoolean(fn: string, name: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw typeError(fn, name, 'a boolean', value)
  return value
}

/** Whether an array has lost its memory: by a transfer, or because that has become too short for it. */
export function isDetached(view: ArrayBufferView): boolean {
  try {
    if (view.byteLength === 0 && !(view instanceof DataView)) (view as Uint8Array).values()
    return false
  } catch {
    return true
  }
}

/** Checks what is to be iterated over. */
export function checkIterable(fn: string, name: string, value: unknown, expected: string): void {
  const iterates =
    typeof (value as Partial<Iterable<unknown>> | null | undefined)?.[Symbol.iterator] ===
    'function'
  // A tensor has an iterator, which throws.
  const tensor =
    typeof value === 'object' && value !== null && 'requiresGrad' in value && 'dtype' in value
  if (!iterates || tensor || (ArrayBuffer.isView(value) && isDetached(value)))
    throw typeError(fn, name, expected, value)
}

export function checkString(fn: string, name: string, value: unknown): string {
  if (typeof value !== 'string') throw typeError(fn, name, 'a string', value)
  return value
}

export function checkOneOf<T extends string>(
  fn: string,
  name: string,
  value: unknown,
  allowed: readonly T[],
): T {
  if (!allowed.includes(value as T))
    throw typeError(fn, name, `one of ${allowed.map((a) => `'${a}'`).join(', ')}`, value)
  return value as T
}

/** Checks what may end something early. */
export function checkSignal(fn: string, value: unknown): AbortSignal | undefined {
  if (value !== undefined && !(value instanceof AbortSignal))
    throw typeError(fn, 'signal', 'an AbortSignal', value)
  return value
}

/** Not a tensor, and not what JavaScript itself makes: a promise that was not awaited, a Map, a date. */
function holdsOptions(value: object): boolean {
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return false
  const { shape } = value as { shape?: unknown }
  if (Array.isArray(shape) && !isPlainObject(value) && isOwn(value)) return false
  if (typeof (value as { then?: unknown }).then === 'function') return false
  const kind = Object.prototype.toString.call(value).slice(8, -1)
  return !['Map', 'Set', 'WeakMap', 'WeakSet', 'Date', 'RegExp', 'Error'].includes(kind)
}

/** Checks an options object and that it has no unknown keys (a misspelt option is an error). */
export function checkOptions(fn: string, options: unknown, known: readonly string[]): void {
  if (options === null || typeof options !== 'object' || !holdsOptions(options)) {
    throw typeError(fn, 'options', 'an object of options', options)
  }
  for (const key of Object.keys(options)) {
    if (!known.includes(key)) throw typeError(fn, 'options', `one of ${known.join(', ')}`, key)
  }
}
