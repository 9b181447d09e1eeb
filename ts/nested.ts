/** Numbers in nested arrays, whose innermost rows may be typed arrays. */
import { types } from 'node:util'
import { formatShape, isDetached, rangeError, typeError } from './errors.js'
import { MAX_DIMS, numelOf } from './shape.js'

type Row = ArrayLike<unknown>
export type NumberArray = Exclude<NodeJS.TypedArray, BigInt64Array | BigUint64Array>

const EXPECTED = 'a number, nested arrays of numbers or typed arrays of numbers'

/** Checks a typed array. @throws TypeError for what is no array of numbers, or has lost its memory */
export function checkNumbers(fn: string, name: string, value: ArrayBufferView): NumberArray {
  if (types.isDataView(value) || types.isBigInt64Array(value) || types.isBigUint64Array(value)) {
    throw typeError(fn, name, EXPECTED, value)
  }
  if (isDetached(value)) throw typeError(fn, name, 'an array that has its memory', value)
  return value as NumberArray
}

/** Nested arrays as one, with the place of what is wrong in every error: `values[3][5]`. */
export class Nested {
  readonly shape: readonly number[]
  /** Whether all rows are of type Int32Array. */
  readonly integer: boolean
  /** Whether all elements are booleans, and there are any. */
  readonly boolean: boolean
  readonly #fn: string
  readonly #values: unknown

  /** @throws TypeError for rows of different shapes, RangeError for more dimensions than there can be */
  constructor(fn: string, values: unknown) {
    this.#fn = fn
    this.#values = values
    const shape: number[] = []
    let row = values
    while (Array.isArray(row) || ArrayBuffer.isView(row)) {
      if (shape.length >= MAX_DIMS)
        throw rangeError(fn, 'values', `at most ${MAX_DIMS} dimensions`, 'deeper nesting')
      const place = `values${'[0]'.repeat(shape.length)}`
      const numbers = ArrayBuffer.isView(row) ? checkNumbers(fn, place, row) : (row as unknown[])
      shape.push(numbers.length)
      if (ArrayBuffer.isView(numbers) || numbers.length === 0) break
      row = numbers[0]
    }
    this.shape = shape
    let [rows, int32] = [0, 0]
    let booleans = typeof row === 'boolean'
    this.#rows((row) => {
      rows++
      if (types.isInt32Array(row)) int32++
      booleans &&= Array.isArray(row) && row.every((value) => typeof value === 'boolean')
    })
    this.integer = rows > 0 && int32 === rows
    this.boolean = booleans
  }

  get length(): number {
    return numelOf(this.shape)
  }

  /** @throws TypeError, RangeError for an element that does not fit */
  floats(): Float32Array {
    const out = new Float32Array(this.length)
    this.#fill(out, (value) => value)
    return out
  }

  /** @throws TypeError, RangeError for an element that does not fit */
  integers(): Int32Array {
    const out = new Int32Array(this.length)
    this.#fill(out, (value, place) => {
      if ((value | 0) !== value)
        throw rangeError(this.#fn, place(), 'a whole number that fits int32', String(value))
      return value
    })
    return out
  }

  /** Whether each is not 0; NaN is not. @throws TypeError */
  booleans(): Uint8Array {
    const out = new Uint8Array(this.length)
    this.#fill(out, (value) => (value === 0 ? 0 : 1))
    return out
  }

  #fill(
    out: Float32Array | Int32Array | Uint8Array,
    check: (value: number, place: () => string) => number,
  ): void {
    let at = 0
    const put = (value: unknown, place: () => string): void => {
      if (typeof value !== 'number' && typeof value !== 'boolean')
        throw typeError(this.#fn, place(), this.shape.length === 0 ? EXPECTED : 'a number', value)
      out[at++] = check(Number(value), place)
    }
    if (this.shape.length === 0) {
      put(this.#values, () => 'values')
      return
    }
    const width = this.shape.at(-1) as number
    this.#rows((row, path) => {
      for (let i = 0; i < width; i++) put(row[i], () => `${placeOf(path)}[${i}]`)
    })
  }

  /** Calls `visit` with each innermost row. @throws TypeError for one of another shape */
  #rows(visit: (row: Row, path: readonly number[]) => void): void {
    const { shape } = this
    const path: number[] = []
    const walk = (value: unknown, depth: number): void => {
      const typed = ArrayBuffer.isView(value) ? checkNumbers(this.#fn, placeOf(path), value) : null
      const row: Row | null = typed ?? (Array.isArray(value) ? value : null)
      const last = depth === shape.length - 1
      if (row === null || row.length !== shape[depth] || (typed !== null && !last))
        throw this.#ragged(path, depth, value)
      if (last) {
        visit(row, path)
        return
      }
      for (let i = 0; i < row.length; i++) {
        path.push(i)
        walk(row[i], depth + 1)
        path.pop()
      }
    }
    if (shape.length > 0) walk(this.#values, 0)
  }

  #ragged(path: readonly number[], depth: number, value: unknown): TypeError {
    const place = placeOf(path)
    const isRow = Array.isArray(value) || ArrayBuffer.isView(value)
    if (!isRow && typeof value !== 'number' && typeof value !== 'boolean')
      return typeError(this.#fn, place, 'an array of numbers', value)
    const got = isRow ? `shape ${formatShape(shapeOf(value))}` : 'a number'
    const one = formatShape(this.shape.slice(depth))
    return new TypeError(`[${this.#fn}] ${place}: expected rows of one shape ${one}, got ${got}`)
  }
}

function placeOf(path: readonly number[]): string {
  return `values${path.map((i) => `[${i}]`).join('')}`
}

/** As far as the first elements tell. */
function shapeOf(value: unknown): number[] {
  const shape: number[] = []
  for (let row = value; Array.isArray(row) || ArrayBuffer.isView(row); ) {
    if (shape.length > MAX_DIMS) break
    const { length } = row as unknown as Row
    shape.push(length)
    row = (row as unknown as Row)[0]
  }
  return shape
}
