/** Rows as an AnomalyDetector reads them, and what their scores say. */
import type { Series } from '../data/series.js'
import { interpolated, type Scale } from '../data/window_features.js'
import { rangeError, typeError } from '../errors.js'
import { listOf } from '../metrics/checks.js'
import type { AnomalyDetectorState } from './anomaly_config.js'

export const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0)

/** @throws RangeError for an unknown column, or one without a value */
export function scalesOf(fn: string, all: readonly Series[], columns: readonly string[]): Scale[] {
  return columns.map((name) => {
    const there = all.flatMap((series) => {
      if (!series.columns.includes(name))
        throw rangeError(fn, 'normal', `a column '${name}'`, `columns ${series.columns.join(', ')}`)
      return [...series.column(name)].filter((x) => !Number.isNaN(x))
    })
    if (there.length === 0) throw rangeError(fn, `column '${name}'`, 'a value', 'none')
    const center = sum(there) / there.length
    const scale = Math.sqrt(there.reduce((s, x) => s + (x - center) ** 2, 0) / there.length)
    // A column that never changes: any change is strange, by its own size.
    return { center, scale: scale || Math.abs(center) || 1 }
  })
}

/** Rows as the network reads them. @throws RangeError for an unknown column */
export function scaled(
  fn: string,
  series: Series,
  { columns, scales }: AnomalyDetectorState,
): Float32Array[] {
  const numbers = columns.map((name) => {
    const column =
      series.columns.length === 1 && columns.length === 1 ? (series.columns[0] as string) : name
    if (!series.columns.includes(column))
      throw rangeError(fn, 'series', `a column '${name}'`, `columns ${series.columns.join(', ')}`)
    const filled = interpolated(series.column(column))
    if (filled.length > 0 && Number.isNaN(filled[0]))
      throw rangeError(fn, `series, column '${name}'`, 'a value', 'missing ones only')
    return filled
  })
  return Array.from({ length: series.length }, (_, row) =>
    Float32Array.from(
      scales,
      ({ center, scale }, k) => ((numbers[k]?.[row] ?? 0) - center) / scale,
    ),
  )
}

/** Rows next to each other, with the highest score of each range. */
export function rangesOf(
  rows: readonly number[],
  score: readonly number[],
): { start: number; end: number; score: number }[] {
  const ranges: { start: number; end: number; score: number }[] = []
  for (const row of rows) {
    const last = ranges.at(-1)
    const own = score[row] as number
    if (last !== undefined && last.end === row) {
      last.end = row + 1
      last.score = Math.max(last.score, own)
    } else ranges.push({ start: row, end: row + 1, score: own })
  }
  return ranges
}

/**
 * The threshold at which labelled rows have the highest F1.
 * @throws TypeError, RangeError for another number of labels, or labels of one kind only
 */
export function bestThreshold(
  fn: string,
  score: readonly number[],
  anomaly: ArrayLike<boolean | number>,
): { threshold: number; f1: number } {
  const truth = listOf<unknown>(fn, 'anomaly', anomaly, 'an array of booleans')
  if (truth.length !== score.length)
    throw rangeError(fn, 'anomaly', `${score.length} labels, one for each row`, `${truth.length}`)
  truth.forEach((label, i) => {
    if (label !== true && label !== false && label !== 0 && label !== 1)
      throw typeError(fn, `anomaly[${i}]`, 'true or false', label)
  })
  const total = truth.filter(Boolean).length
  if (total === 0 || total === truth.length)
    throw rangeError(
      fn,
      'anomaly',
      'rows of both kinds',
      total === 0 ? 'no anomaly' : 'anomalies only',
    )
  const order = score.map((x, i) => [x, Boolean(truth[i])] as const).sort(([a], [b]) => b - a)
  let [right, best, threshold] = [0, -1, 0]
  order.forEach(([x, is], i) => {
    if (is) right++
    const below = order[i + 1]?.[0] ?? 0
    if (below === x) return
    const f1 = (2 * right) / (i + 1 + total)
    if (f1 > best) [best, threshold] = [f1, (x + below) / 2]
  })
  return { threshold, f1: best }
}
