/** A tensor's values as text, for console.log: no more of them than one wants to read. */
import type { DType } from './dtype.js'
import { numelOf, type Shape } from './shape.js'

/** Arrays of so many elements are shown whole; of others the first and last along each dimension. */
export const MOST_SHOWN = 1000
const WIDTH = 80

/** A place along a dimension; null stands for those left out. */
type Places = readonly (number | null)[]

/**
 * Values in nested brackets, or null when they are not to be had.
 * @param read the elements with these numbers, counted row by row
 */
export function preview(
  shape: Shape,
  dtype: DType,
  read: (numbers: readonly number[]) => ArrayLike<number> | null,
): string | null {
  const places = placesOf(shape)
  const numbers = numbersOf(shape, places)
  const values = numbers.length === 0 ? [] : read(numbers)
  if (values === null) return null
  const words = wordsOf(Array.from(values), dtype)
  let next = 0
  const text = (depth: number): string => {
    const along = places[depth]
    if (along === undefined) return words[next++] as string
    const parts = along.map((place) => (place === null ? '…' : text(depth + 1)))
    return `[${depth === shape.length - 1 ? lines(parts, depth) : stacked(parts, depth, shape)}]`
  }
  return text(0)
}

function placesOf(shape: Shape): Places[] {
  const whole = numelOf(shape) <= MOST_SHOWN
  for (let edge = 3; ; edge--) {
    const places = shape.map((size): Places => {
      const all = Array.from({ length: Math.min(size, 2 * edge) }, (_, i) => i)
      if (whole) return Array.from({ length: size }, (_, i) => i)
      if (size <= 2 * edge) return all
      return [...all.slice(0, edge), null, ...all.slice(0, edge).map((i) => size - edge + i)]
    })
    const count = places.reduce((n, { length }) => n * length, 1)
    if (whole || edge === 1 || count <= MOST_SHOWN) return places
  }
}

function numbersOf(shape: Shape, places: readonly Places[]): number[] {
  return places.reduce<number[]>(
    (before, along, d) =>
      before.flatMap((first) =>
        along.flatMap((place) => (place === null ? [] : [first * (shape[d] as number) + place])),
      ),
    [0],
  )
}

/** All of one width. */
function wordsOf(values: number[], dtype: DType): string[] {
  const words = values.map(formOf(values, dtype))
  const width = Math.max(0, ...words.map(({ length }) => length))
  return words.map((word) => word.padStart(width))
}

function formOf(values: number[], dtype: DType): (value: number) => string {
  if (dtype === 'bool') return (value) => String(value !== 0)
  const sizes = values.filter((value) => Number.isFinite(value) && value !== 0).map(Math.abs)
  const [least, most] = [Math.min(...sizes), Math.max(...sizes)]
  if (dtype === 'int32' || (values.every((v) => !(v % 1)) && (sizes.length === 0 || most < 1e8)))
    return String
  const apart = most / least > 1000 || most > 1e8 || least < 1e-4
  return (value) => {
    if (!Number.isFinite(value)) return String(value)
    return apart ? value.toExponential(4) : value.toFixed(4)
  }
}

/** The numbers of a row, on as many lines as they need. */
function lines(parts: readonly string[], depth: number): string {
  const width = Math.max(1, ...parts.map(({ length }) => length)) + 2
  const each = Math.max(1, Math.floor((WIDTH - depth - 1) / width))
  const rows: string[] = []
  for (let i = 0; i < parts.length; i += each) rows.push(parts.slice(i, i + each).join(', '))
  return rows.join(`,\n${' '.repeat(depth + 1)}`)
}

/** Rows under each other, and an empty line between matrices. */
function stacked(parts: readonly string[], depth: number, shape: Shape): string {
  const between = '\n'.repeat(shape.length - 1 - depth)
  return parts.join(`,${between}${' '.repeat(depth + 1)}`)
}
