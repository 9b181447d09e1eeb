/** How much of the data, and how long: the options that cut a training short. */
import { checkInteger, checkNumber, checkOptions, rangeError, typeError } from '../errors.js'
import { lengthOf } from './source.js'
import type { DataSource, TrainerSettings } from './types.js'

/** How long training may take, the time before a checkpoint included. */
export interface MaxTime {
  days?: number
  hours?: number
  minutes?: number
  seconds?: number
}

/** What a limit is about. */
export type LimitName =
  | 'limitTrainBatches'
  | 'limitValBatches'
  | 'limitTestBatches'
  | 'limitPredictBatches'
type Limits = Pick<TrainerSettings, LimitName | 'overfitBatches'>

/** Batches of a run that only shows whether anything fails; 0: it is none. */
export function devBatches(fn: string, value: boolean | number): number {
  if (typeof value === 'boolean') return Number(value)
  return checkInteger(fn, 'fastDevRun', value, 0)
}

/** A number of batches, or a part of them. @throws TypeError, RangeError */
function checkLimit(fn: string, name: string, value: number): number {
  if (checkNumber(fn, name, value, 0) > 1) checkInteger(fn, name, value, 0)
  return value
}

/** @throws TypeError, RangeError */
export function limitsOf(
  fn: string,
  options: Partial<Record<LimitName | 'overfitBatches', number>>,
  fastDevRun: number,
): Limits {
  const given = (name: LimitName): number | null => {
    const value = options[name]
    if (value !== undefined) checkLimit(fn, name, value)
    if (value === 0 && name !== 'limitValBatches')
      throw rangeError(fn, name, 'a number above 0', '0')
    return fastDevRun > 0 ? fastDevRun : (value ?? null)
  }
  const overfit = checkLimit(fn, 'overfitBatches', options.overfitBatches ?? 0)
  const limits = {
    limitTrainBatches: given('limitTrainBatches'),
    limitValBatches: given('limitValBatches'),
    limitTestBatches: given('limitTestBatches'),
    limitPredictBatches: given('limitPredictBatches'),
    overfitBatches: fastDevRun > 0 ? 0 : overfit,
  }
  if (limits.overfitBatches === 0) return limits
  return { ...limits, limitTrainBatches: overfit, limitValBatches: overfit }
}

/**
 * How many batches of data to take, or null for all.
 * @throws RangeError for a part of data without a length, and for one that is less than a batch
 */
export function batchesOf(
  name: LimitName,
  limit: number | null,
  data: DataSource<unknown>,
): number | null {
  if (limit === null || limit >= 1 || limit === 0) return limit
  const length = lengthOf(data)
  if (length === null) {
    const expected = 'a number of batches, when the data have no length'
    throw rangeError('Trainer', name, expected, `the part ${limit}`)
  }
  const batches = Math.floor(length * limit)
  if (batches === 0 && length > 0) {
    const expected = `at least a batch of the ${length} that there are`
    throw rangeError('Trainer', name, expected, `the part ${limit}`)
  }
  return batches
}

/** Batches in an epoch, if known. */
export function limitedLength(length: number | null, limit: number | null): number | null {
  if (length === null || limit === null) return length
  return Math.min(length, limit)
}

/** @throws TypeError, RangeError */
export function secondsOf(fn: string, time: string | MaxTime): number {
  const expected = "'DD:HH:MM:SS' or { days, hours, minutes, seconds }"
  let parts: number[]
  if (typeof time === 'string') {
    if (!/^\d+:\d\d:\d\d:\d\d$/.test(time)) throw rangeError(fn, 'maxTime', expected, `'${time}'`)
    parts = time.split(':').map(Number)
  } else {
    if (typeof time !== 'object' || time === null) throw typeError(fn, 'maxTime', expected, time)
    const names = ['days', 'hours', 'minutes', 'seconds'] as const
    checkOptions(fn, time, [...names])
    parts = names.map((name) => checkNumber(fn, `maxTime.${name}`, time[name] ?? 0, 0))
  }
  const [days = 0, hours = 0, minutes = 0, seconds = 0] = parts
  return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
}
