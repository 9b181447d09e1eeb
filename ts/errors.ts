/**
 * One wording for every argument error: "[function] name: expected …, got …".
 */

/** Whether a value that looks like a tensor is one of this copy of the package; see ts/tensor.ts. */
let isOwn: (value: object) => boolean = () => true

/** Called by ts/tensor.ts, which builds on this file. */
export function setTensorTest(test: (value: object) => boolean): void {
  isOwn = test
}

/** A short picture of any value, for error messages. */
export function describe(value: unknown): string {
  if (value === null) return 'null'
  if (value === undefined) return 'undefined'
  if (typeof value === 'string') return `'${value}'`
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (typeof value === 'function') return value.name ? `function ${value.name}` : 'a function'
  if (Array.isArray(value))
    return value.length <= 8 ? `[${value.map(describe).join(', ')}]` : `an array of ${value.length}`
  if (typeof value === 'object') {
    const shape = (value as { shape?: unknown }).shape
    const foreign = isOwn(value) ? '' : ' that another library or another copy of fused-rnn made'
    if (Array.isArray(shape)) return `a tensor of shape ${formatShape(shape)}${foreign}`
    return `an object of type ${value.constructor?.name ?? 'Object'}`
  }
  return typeof value
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

/** Checks an options object and that it has no unknown keys (a misspelt option is an error). */
export function checkOptions(fn: string, options: unknown, known: readonly string[]): void {
  if (options === null || typeof options !== 'object' || Array.isArray(options)) {
    throw typeError(fn, 'options', 'an object', options)
  }
  for (const key of Object.keys(options)) {
    if (!known.includes(key)) throw typeError(fn, 'options', `one of ${known.join(', ')}`, key)
  }
}
