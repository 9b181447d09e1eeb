/** Classes, their labels and weights. */
import { describe, rangeError, typeError } from '../errors.js'
import { type Label, labelsOf, sortedClasses } from '../metrics/checks.js'

/** How much the examples of each class count: all classes alike ('balanced'), or by label. */
export type ClassWeight = 'balanced' | Readonly<Record<string, number>>

/** Given classes, checked. @throws TypeError, RangeError */
export function checkClasses(fn: string, given: unknown): Label[] {
  const classes = labelsOf(fn, 'classes', given)
  const list = [...classes]
  if (list.length < 2) throw rangeError(fn, 'classes', 'at least two', String(list.length))
  const twice = list.find((label, i) => list.indexOf(label) < i)
  if (twice !== undefined)
    throw rangeError(fn, 'classes', 'distinct labels', `${describe(twice)} twice`)
  return list
}

/** The classes that labels are of. @throws RangeError for fewer than two, or one without an example */
export function classesOf(
  fn: string,
  labels: readonly Label[],
  given: readonly Label[] | null,
): Label[] {
  if (given === null) {
    const found = sortedClasses(labels)
    if (found.length < 2)
      throw rangeError(fn, 'examples', 'at least two classes', `only ${describe(found[0])}`)
    return found
  }
  for (const [i, label] of labels.entries())
    if (!given.includes(label))
      throw rangeError(
        fn,
        `examples[${i}].label`,
        `one of ${given.map(describe).join(', ')}`,
        describe(label),
      )
  const none = given.find((label) => !labels.includes(label))
  if (none !== undefined)
    throw rangeError(fn, 'examples', 'an example of every class', `none of ${describe(none)}`)
  return [...given]
}

/** @throws TypeError, RangeError */
export function checkClassWeight(fn: string, given: unknown): ClassWeight | null {
  if (given === undefined || given === null) return null
  if (given === 'balanced') return given
  if (typeof given !== 'object' || Array.isArray(given))
    throw typeError(fn, 'classWeight', "'balanced' or numbers by label", given)
  for (const [label, weight] of Object.entries(given))
    if (typeof weight !== 'number' || !(weight > 0 && weight < Infinity))
      throw rangeError(fn, `classWeight.${label}`, 'a number above 0', describe(weight))
  return { ...(given as Record<string, number>) }
}

/** The weight of each class; null: all alike. @throws RangeError for a label that is no class */
export function weightsOf(
  fn: string,
  classes: readonly Label[],
  labels: readonly Label[],
  weight: ClassWeight | null,
): number[] | null {
  if (weight === null) return null
  if (weight !== 'balanced') {
    const strange = Object.keys(weight).find((name) => !classes.map(String).includes(name))
    if (strange !== undefined)
      throw rangeError(fn, 'classWeight', `labels ${classes.join(', ')}`, describe(strange))
    return classes.map((label) => weight[String(label)] ?? 1)
  }
  return classes.map(
    (label) => labels.length / (classes.length * labels.filter((one) => one === label).length),
  )
}

/**
 * Numbers of examples to validate with, about the same share of every class, and the rest. They are
 * spread over the data, as those may be sorted.
 */
export function stratified(
  labels: readonly Label[],
  share: number,
): { train: number[]; valid: number[] } {
  const seen = new Map<Label, number>()
  const [train, valid]: [number[], number[]] = [[], []]
  labels.forEach((label, i) => {
    const count = seen.get(label) ?? 0
    seen.set(label, count + 1)
    // Every class's k-th where k · share reaches the next whole number.
    const chosen = Math.floor((count + 1) * share) > Math.floor(count * share)
    ;(chosen ? valid : train).push(i)
  })
  return { train, valid }
}
