/** How often predicted classes are the right ones. */
import { checkOneOf, checkOptions, describe, rangeError } from '../errors.js'
import { checkPairs, indexIn, type Label, labelsOf, sortedClasses } from './checks.js'

/** How the F1 of several classes becomes one number; scikit-learn's names. */
export type Average = 'macro' | 'micro' | 'weighted'

/** What {@link f1} takes. */
export interface F1Options {
  /** The class whose F1 is wanted. Default: true or 1 where all labels are booleans, or 0 and 1. */
  positive?: Label
  /** Without a positive class: the mean over classes ('macro', default), and so on. */
  average?: Average
}

/** What {@link confusionMatrix} takes. */
export interface ConfusionMatrixOptions {
  /** In the order of rows and columns. Default: all labels that occur, sorted. */
  classes?: readonly Label[]
}

function pairs(fn: string, predicted: unknown, target: unknown): [Label[], Label[]] {
  const p = labelsOf(fn, 'predicted', predicted)
  const t = labelsOf(fn, 'target', target)
  checkPairs(fn, p, t)
  return [p, t]
}

/**
 * The share of predicted labels that are the target.
 * @param predicted labels: texts, numbers or booleans
 * @throws TypeError, RangeError for arrays of unlike or no length
 */
export function accuracy(predicted: ArrayLike<Label>, target: ArrayLike<Label>): number {
  const [p, t] = pairs('accuracy', predicted, target)
  return t.filter((label, i) => label === p[i]).length / t.length
}

/**
 * Counts: row i, column j has how often class i was predicted as class j.
 * @throws as {@link accuracy}; RangeError for a label that `classes` do not have
 */
export function confusionMatrix(
  predicted: ArrayLike<Label>,
  target: ArrayLike<Label>,
  options: ConfusionMatrixOptions = {},
): number[][] {
  const fn = 'confusionMatrix'
  const [p, t] = pairs(fn, predicted, target)
  checkOptions(fn, options, ['classes'])
  const classes =
    options.classes === undefined
      ? sortedClasses([...t, ...p])
      : [...new Set(labelsOf(fn, 'classes', options.classes))]
  return countPairs(fn, classes, p, t)
}

export function countPairs(
  fn: string,
  classes: readonly Label[],
  predicted: readonly Label[],
  target: readonly Label[],
): number[][] {
  const indexOf = indexIn(fn, classes)
  const counts = classes.map(() => classes.map(() => 0))
  target.forEach((label, i) => {
    const row = counts[indexOf(label)] as number[]
    const column = indexOf(predicted[i] as Label)
    row[column] = (row[column] as number) + 1
  })
  return counts
}

/**
 * F1, the harmonic mean of precision and recall: of the positive class, or averaged over all classes
 * that occur. A class that is neither predicted nor there counts 0.
 * @throws as {@link accuracy}; RangeError for a positive class that does not occur
 */
export function f1(
  predicted: ArrayLike<Label>,
  target: ArrayLike<Label>,
  options: F1Options = {},
): number {
  const fn = 'f1'
  const [p, t] = pairs(fn, predicted, target)
  checkOptions(fn, options, ['positive', 'average'])
  const average =
    options.average === undefined
      ? undefined
      : checkOneOf(fn, 'average', options.average, ['macro', 'micro', 'weighted'])
  const classes = sortedClasses([...t, ...p])
  const binary = classes.every((label) => typeof label === 'boolean' || label === 0 || label === 1)
  const usual = binary && average === undefined ? classes.find((c) => c === true || c === 1) : null
  const positive = options.positive ?? usual ?? null
  // Labels 0 and 1 with only the 0 among them: no positive was predicted, and none was there.
  if (positive === null && binary && average === undefined) return 0
  const counts = countPairs(fn, classes, p, t)
  if (positive === null) return averageF1(counts, average ?? 'macro')
  const at = classes.indexOf(positive)
  if (at < 0) throw rangeError(fn, 'positive', 'a label that occurs', describe(positive))
  return f1OfClass(counts, at)
}

/** The F1 of one class of a confusion matrix. */
export function f1OfClass(counts: readonly (readonly number[])[], at: number): number {
  const right = counts[at]?.[at] as number
  const there = (counts[at] as number[]).reduce((a, b) => a + b, 0)
  const said = counts.reduce((sum, row) => sum + (row[at] as number), 0)
  return there + said === 0 ? 0 : (2 * right) / (there + said)
}

/** F1 over the classes of a confusion matrix, those alone that are there or were predicted. */
export function averageF1(counts: readonly (readonly number[])[], average: Average): number {
  const total = counts.flat().reduce((a, b) => a + b, 0)
  if (total === 0) return 0
  if (average === 'micro') return counts.reduce((s, row, i) => s + (row[i] as number), 0) / total
  const support = counts.map((row) => row.reduce((a, b) => a + b, 0))
  const said = counts.map((_, i) => counts.reduce((sum, row) => sum + (row[i] as number), 0))
  const seen = counts.map((_, i) => i).filter((i) => (support[i] as number) + (said[i] as number))
  const weight = (i: number): number =>
    average === 'macro' ? 1 / seen.length : (support[i] as number) / total
  return seen.reduce((sum, i) => sum + weight(i) * f1OfClass(counts, i), 0)
}

/**
 * A confusion matrix as text: rows are what is there, columns what was predicted, aligned for a
 * terminal.
 * @internal
 */
export function confusionText(
  classes: readonly Label[],
  counts: readonly (readonly number[])[],
): string {
  const names = classes.map(String)
  const head = ['', ...names]
  const rows = counts.map((row, i) => [names[i] as string, ...row.map(String)])
  const widths = head.map((_, j) => Math.max(...[head, ...rows].map((r) => (r[j] ?? '').length)))
  const line = (cells: string[]): string =>
    cells
      .map((cell, j) => (j === 0 ? cell.padEnd(widths[j] ?? 0) : cell.padStart(widths[j] ?? 0)))
      .join('  ')
      .trimEnd()
  return [line(head), ...rows.map(line)].join('\n')
}
