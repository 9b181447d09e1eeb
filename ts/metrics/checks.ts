/** What the metrics share: their inputs as plain arrays, checked. */
import { checkIterable, describe, rangeError, typeError } from '../errors.js'

/** Anything with numbers in a row. */
export type Numbers = ArrayLike<number>

/** What stands for a class. */
export type Label = string | number | boolean

/** An array whose elements can be read: no hole is made up, no length believed. */
export function listOf<T>(fn: string, name: string, value: unknown, expected: string): T[] {
  if (!Array.isArray(value) && !(ArrayBuffer.isView(value) && !(value instanceof DataView)))
    throw typeError(fn, name, expected, value)
  checkIterable(fn, name, value, expected)
  return Array.isArray(value) ? (value as T[]) : (Array.from(value as never) as T[])
}

/** Finite numbers. @throws TypeError, RangeError that names the element */
export function numbersOf(fn: string, name: string, value: unknown): Float64Array {
  const list = listOf<unknown>(fn, name, value, 'an array of numbers')
  const out = new Float64Array(list.length)
  for (let i = 0; i < out.length; i++) {
    const item = list[i]
    if (typeof item !== 'number') throw typeError(fn, `${name}[${i}]`, 'a number', item)
    if (!Number.isFinite(item))
      throw rangeError(
        fn,
        `${name}[${i}]`,
        'a finite number (leave out what is missing)',
        String(item),
      )
    out[i] = item
  }
  return out
}

/** Labels of classes. @throws TypeError that names the element */
export function labelsOf(fn: string, name: string, value: unknown): Label[] {
  const list = listOf<unknown>(fn, name, value, 'an array of labels')
  for (let i = 0; i < list.length; i++) {
    const item = list[i]
    const fits = typeof item === 'string' || typeof item === 'boolean' || typeof item === 'number'
    if (!fits) throw typeError(fn, `${name}[${i}]`, 'a label (text, number or boolean)', item)
    if (Number.isNaN(item)) throw rangeError(fn, `${name}[${i}]`, 'a label', 'NaN')
  }
  return list as Label[]
}

/** @throws RangeError unless both have as many elements, and at least one */
export function checkPairs(
  fn: string,
  predicted: ArrayLike<unknown>,
  target: ArrayLike<unknown>,
): void {
  if (predicted.length !== target.length)
    throw rangeError(
      fn,
      'target',
      `${predicted.length} elements, as predicted has`,
      String(target.length),
    )
  if (target.length === 0) throw rangeError(fn, 'target', 'at least one element', 'none')
}

/** Classes in order: numbers by size, texts by code units, so that the same labels give the same order. */
export function sortedClasses(labels: Iterable<Label>): Label[] {
  const rank = (label: Label): number => ['boolean', 'number', 'string'].indexOf(typeof label)
  return [...new Set(labels)].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : a > b ? 1 : 0))
}

/** @throws RangeError for a label that is none of the classes */
export function indexIn(fn: string, classes: readonly Label[]): (label: Label) => number {
  const index = new Map(classes.map((label, i) => [label, i]))
  return (label) => {
    const found = index.get(label)
    if (found === undefined)
      throw rangeError(fn, 'classes', `every label (${classes.length} classes)`, describe(label))
    return found
  }
}
