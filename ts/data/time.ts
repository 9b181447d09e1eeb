/** Time stamps, and how far apart those of a series are. */

/** How far apart the rows of a series are: months, or milliseconds. */
export interface Frequency {
  unit: 'month' | 'ms'
  step: number
}

const DAY = 86_400_000
const ISO =
  /^(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:\.(\d{1,9}))?)?)?(Z|[+-]\d{2}:?\d{2})?$/
const SLASHES = /^(\d{4})[/.](\d{1,2})[/.](\d{1,2})(.*)$/

/** Milliseconds since 1970 (UTC) of an ISO 8601 date or time, or a year; NaN for anything else. */
export function timeOf(text: string): number {
  const trimmed = text.trim().replace(SLASHES, '$1-$2-$3$4')
  const match = ISO.exec(trimmed)
  if (match === null) {
    // Seconds or milliseconds since 1970.
    if (/^\d{9,10}$/.test(trimmed)) return Number(trimmed) * 1000
    return /^\d{12,13}$/.test(trimmed) ? Number(trimmed) : Number.NaN
  }
  const [, y, mo = '1', d = '1', h = '0', mi = '0', s = '0', fraction = '', zone] = match
  const [year, month, day, hour, minute, second] = [y, mo, d, h, mi, s].map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ]
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  if (date.getUTCMonth() !== month - 1 || hour > 24 || minute > 59 || second > 60) return Number.NaN
  const within = hour * 3_600_000 + minute * 60_000 + second * 1000
  const offset =
    zone === undefined || zone === 'Z'
      ? 0
      : (zone.startsWith('-') ? -1 : 1) * (Number(zone.slice(1, 3)) * 60 + Number(zone.slice(-2)))
  return date.getTime() + within + Math.floor(Number(`0.${fraction || 0}`) * 1000) - offset * 60_000
}

/** A time as ISO 8601, as short as it may be. */
export function timeText(time: number): string {
  const text = new Date(time).toISOString()
  if (text.endsWith('T00:00:00.000Z')) return text.slice(0, -14)
  return text.endsWith('.000Z') ? `${text.slice(0, -5)}Z` : text
}

const monthsOf = (time: number): number => {
  const date = new Date(time)
  return date.getUTCFullYear() * 12 + date.getUTCMonth()
}
const lastDay = (time: number): boolean => new Date(time + DAY).getUTCDate() === 1

/** The same place of another month: its last day stays the last one. */
function addMonths(time: number, months: number, atEnd: boolean): number {
  const date = new Date(time)
  const day = date.getUTCDate()
  const to = new Date(time)
  to.setUTCDate(1)
  to.setUTCMonth(to.getUTCMonth() + months)
  const last = new Date(Date.UTC(2000, 0, 1))
  last.setUTCFullYear(to.getUTCFullYear(), to.getUTCMonth() + 1, 0)
  to.setUTCDate(atEnd ? last.getUTCDate() : Math.min(day, last.getUTCDate()))
  return to.getTime()
}

/** The time `steps` after one of a series with this frequency. */
export function stepTime(time: number, { unit, step }: Frequency, steps: number): number {
  return unit === 'ms'
    ? time + step * steps
    : addMonths(time, step * steps, lastDay(time) && new Date(time).getUTCDate() > 27)
}

/** How far apart rising times are, as most of them are; null where no step fits. */
export function frequencyOf(times: Float64Array): Frequency | null {
  if (times.length < 2) return null
  const first = times[0] as number
  const day = (time: number): number => new Date(time).getUTCDate()
  const sameDay = times.every((time) => day(time) === day(first) && time % DAY === first % DAY)
  const monthEnds = times.every((time) => lastDay(time) && time % DAY === first % DAY)
  if (sameDay || monthEnds) {
    const months = Array.from(times, monthsOf)
    const step = mostCommon(months.slice(1).map((month, i) => month - (months[i] as number)))
    const fits = months.every((month) => (month - (months[0] as number)) % step === 0)
    if (step > 0 && fits) return { unit: 'month', step }
  }
  const step = mostCommon(Array.from(times.subarray(1), (time, i) => time - (times[i] as number)))
  return step > 0 && times.every((time) => (time - first) % step === 0)
    ? { unit: 'ms', step }
    : null
}

/** The most frequent number, the smallest of equally frequent ones. */
function mostCommon(values: readonly number[]): number {
  const counts = new Map<number, number>()
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1)
  return [...counts].sort(([a, m], [b, n]) => n - m || a - b)[0]?.[0] ?? 0
}

/** Which row of a regular grid each time is, from 0. */
export function gridRows(times: Float64Array, { unit, step }: Frequency): number[] {
  const place = (time: number): number => (unit === 'month' ? monthsOf(time) : time) / step
  const first = place(times[0] as number)
  return Array.from(times, (time) => Math.round(place(time) - first))
}

/** How many steps of this frequency make a season: a day of hours, a week of days, a year of months. */
export function usualSeason(frequency: Frequency | null): number | null {
  if (frequency === null) return null
  const { unit, step } = frequency
  if (unit === 'month') return step < 12 && 12 % step === 0 ? 12 / step : null
  if (step < DAY) return DAY % step === 0 ? DAY / step : null
  if (step === DAY) return 7
  return step === 7 * DAY ? 52 : null
}

/** What of the calendar may matter at this frequency. */
export type CalendarInput = 'hour' | 'weekday' | 'month'

/**
 * The cycles that a series of this frequency goes through, those alone that it has seen twice.
 * @param span from its first to its last time, in ms
 */
export function calendarInputs(frequency: Frequency | null, span: number): CalendarInput[] {
  if (frequency === null) return []
  const inputs: CalendarInput[] = []
  const { unit, step } = frequency
  if (unit === 'ms' && step < DAY && span >= 2 * DAY) inputs.push('hour')
  if (unit === 'ms' && step <= DAY && span >= 14 * DAY) inputs.push('weekday')
  if ((unit === 'ms' ? step <= 31 * DAY : step < 12) && span >= 730 * DAY) inputs.push('month')
  return inputs
}

/** Sine and cosine of where in each cycle a time is: two numbers for each input. */
export function calendarValues(time: number, inputs: readonly CalendarInput[]): number[] {
  return inputs.flatMap((input) => {
    const date = new Date(time)
    const ofDay = (((time % DAY) + DAY) % DAY) / DAY
    const yearDay = (time - Date.UTC(date.getUTCFullYear(), 0, 1)) / DAY
    const share =
      input === 'hour'
        ? ofDay
        : input === 'weekday'
          ? (date.getUTCDay() + ofDay) / 7
          : yearDay / 365.25
    return [Math.sin(2 * Math.PI * share), Math.cos(2 * Math.PI * share)]
  })
}
