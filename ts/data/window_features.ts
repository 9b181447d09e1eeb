/** How the rows of a window become the numbers that a network reads. */
import { rangeError } from '../errors.js'
import type { Series } from './series.js'
import { type CalendarInput, calendarValues } from './time.js'

/** What brings the numbers of a window to about −2 … 2. */
export type Scaler = 'window' | 'standard' | 'robust' | 'none'

/** What becomes of missing values: a second input says so, a line is drawn through, or an error. */
export type Missing = 'mask' | 'interpolate' | 'error'

/** Center and spread of a column: its values are (x − center) / scale. */
export interface Scale {
  center: number
  scale: number
}

/** What windows are made of. */
export interface WindowSpec {
  inputSize: number
  horizon: number
  targets: readonly string[]
  histExog: readonly string[]
  futrExog: readonly string[]
  calendar: readonly CalendarInput[]
  scaler: Scaler
  missing: Missing
  /** Of every column, over all that was learnt from. */
  scales: Readonly<Record<string, Scale>>
}

/** A series with what is needed for any of its windows. */
export interface PreparedSeries {
  series: Series
  /** Targets, then histExog, then futrExog: NaN is missing. */
  columns: Float64Array[]
  /** The targets as they were measured, where those above have been filled in. */
  measured: Float64Array[]
  /** (rows, 2 · inputs) */
  calendar: Float32Array
}

/** Numbers of a window's step in the input. */
export function inputFeatures(spec: WindowSpec): number {
  const columns = columnNames(spec).length
  return columns * (spec.missing === 'mask' ? 2 : 1) + 2 * spec.calendar.length
}

export const columnNames = (spec: WindowSpec): string[] => [
  ...spec.targets,
  ...spec.histExog,
  ...spec.futrExog,
]

/** Mean and standard deviation, or median and quartiles, of what is there. */
export function scaleOf(columns: readonly Float64Array[], scaler: Scaler): Scale {
  const there = columns.flatMap((column) => [...column].filter((x) => !Number.isNaN(x)))
  if (there.length === 0) return { center: 0, scale: 1 }
  if (scaler === 'robust') {
    const sorted = there.sort((a, b) => a - b)
    const [low, center, high] = [0.25, 0.5, 0.75].map((q) => quantileOf(sorted, q)) as [
      number,
      number,
      number,
    ]
    if (high > low) return { center, scale: (high - low) / 1.349 }
  }
  const center = there.reduce((a, b) => a + b, 0) / there.length
  const variance = there.reduce((sum, x) => sum + (x - center) ** 2, 0) / there.length
  return { center, scale: Math.sqrt(variance) || 1 }
}

/** The q-quantile of rising numbers, between two of them where it falls there; as NumPy's. */
export function quantileOf(sorted: ArrayLike<number>, q: number): number {
  const at = q * (sorted.length - 1)
  const below = sorted[Math.floor(at)] as number
  const above = sorted[Math.ceil(at)] as number
  return below + (above - below) * (at - Math.floor(at))
}

/** @throws RangeError for a column that is not there, or a missing value where that is an error */
export function prepareSeries(fn: string, series: Series, spec: WindowSpec): PreparedSeries {
  const columns = columnNames(spec).map((name) => {
    if (!series.columns.includes(name))
      throw rangeError(fn, 'series', `a column '${name}'`, `columns ${series.columns.join(', ')}`)
    const column = series.column(name)
    if (spec.missing === 'error') {
      const row = column.findIndex(Number.isNaN)
      if (row >= 0)
        throw rangeError(
          fn,
          `${series.rowName(row)}, column '${name}'`,
          "a number, as missing is 'error'",
          'a missing value',
        )
    }
    return spec.missing === 'interpolate' ? interpolated(column) : column
  })
  const width = 2 * spec.calendar.length
  const calendar = new Float32Array(series.length * width)
  if (width > 0) {
    if (series.time === null)
      throw rangeError(
        fn,
        'series',
        'times, of which the calendar inputs are made (or calendar: false)',
        'a series without',
      )
    for (let row = 0; row < series.length; row++)
      calendar.set(calendarValues(series.time[row] as number, spec.calendar), row * width)
  }
  const measured = spec.targets.map((name) => series.column(name))
  return { series, columns, measured, calendar }
}

/** With a straight line through what is missing; before the first and after the last, that one. */
export function interpolated(column: Float64Array): Float64Array {
  const out = column.slice()
  let last = -1
  for (let i = 0; i < out.length; i++) {
    if (Number.isNaN(out[i])) continue
    for (let j = last + 1; j < i; j++) {
      const share = last < 0 ? 1 : (j - last) / (i - last)
      out[j] = (last < 0 ? 0 : (column[last] as number)) * (1 - share) + (out[i] as number) * share
    }
    last = i
  }
  if (last >= 0) out.fill(column[last] as number, last + 1)
  return out
}

/** Center and scale of a target in the window of rows [start, start + length). */
export function windowScale(
  spec: WindowSpec,
  name: string,
  column: Float64Array,
  start: number,
): Scale {
  const whole = spec.scales[name] ?? { center: 0, scale: 1 }
  if (spec.scaler === 'none') return { center: 0, scale: 1 }
  if (spec.scaler !== 'window') return whole
  let [count, sum] = [0, 0]
  const end = start + spec.inputSize
  for (let i = start; i < end; i++) {
    const x = column[i] as number
    if (Number.isNaN(x)) continue
    count++
    sum += x
  }
  if (count === 0) return whole
  const center = sum / count
  let squares = 0
  for (let i = start; i < end; i++) {
    const x = column[i] as number
    if (!Number.isNaN(x)) squares += (x - center) ** 2
  }
  // A window in which nothing happens must not blow up what comes after it.
  return { center, scale: Math.max(Math.sqrt(squares / count), 0.01 * whole.scale) }
}

/**
 * Writes the input of the window that begins at row `start`.
 * @param out (inputSize, features), from `offset` on
 * @returns center and scale of each target
 */
export function writeWindow(
  spec: WindowSpec,
  prepared: PreparedSeries,
  start: number,
  out: Float32Array,
  offset: number,
): Scale[] {
  const names = columnNames(spec)
  const targets = spec.targets.length
  const features = inputFeatures(spec)
  const masked = spec.missing === 'mask'
  const width = 2 * spec.calendar.length
  const scales = names.map((name, k) =>
    k < targets
      ? windowScale(spec, name, prepared.columns[k] as Float64Array, start)
      : exogScale(spec, name),
  )
  for (let t = 0; t < spec.inputSize; t++) {
    let at = offset + t * features
    for (const [k, column] of prepared.columns.entries()) {
      const x = column[start + t] as number
      const { center, scale } = scales[k] as Scale
      out[at++] = Number.isNaN(x) ? 0 : (x - center) / scale
    }
    if (masked)
      for (const column of prepared.columns) out[at++] = Number.isNaN(column[start + t]) ? 0 : 1
    const row = (start + t) * width
    for (let k = 0; k < width; k++) out[at++] = prepared.calendar[row + k] as number
  }
  return scales.slice(0, targets)
}

/** Of a column that is not predicted: that of all data, so that its level is seen. */
export function exogScale(spec: WindowSpec, name: string): Scale {
  if (spec.scaler === 'none') return { center: 0, scale: 1 }
  return spec.scales[name] ?? { center: 0, scale: 1 }
}

/** How many of a window's inputs of the first target are there. */
export function presentIn(column: Float64Array, start: number, length: number): number {
  let count = 0
  for (let i = start; i < start + length; i++) if (!Number.isNaN(column[i])) count++
  return count
}
