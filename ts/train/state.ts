/** What a training loop is made of, beside the model's weights; checked when it comes from a file. */
import type { SchedulerState } from '../optim/lr_scheduler.js'
import type { RandomState } from '../random.js'
import { Tensor } from '../tensor.js'
import { isCount, isNumbers, isObject } from './checks.js'
import { type HistoryRecord, isRecord } from './history.js'
import type { Totals } from './meter.js'
import { PRECISIONS, type TrainerPrecision } from './precision.js'
import type { Carried } from './types.js'
import type { OpenStep } from './updates.js'

export interface LoopState extends Record<string, unknown> {
  epoch: number
  batch: number
  globalStep: number
  validatedAt: number
  carried: Carried
  epochTotals: Totals
  windowTotals: Totals
  callbackMetrics: Record<string, number>
  random: RandomState
  optimizer: unknown
  scheduler: SchedulerState | null
  trainData: object | null
  callbacks: Record<string, object>
  history: HistoryRecord[]
  /** Absent in older checkpoints. */
  precision?: TrainerPrecision
  /** What has been added up for the next optimiser step, if anything. */
  openStep: OpenStep | null
  /** How long training has taken, in seconds. */
  elapsed: number
}

/** What checkpoints of earlier versions do not have. */
const LATER: Partial<LoopState> = { openStep: null, elapsed: 0 }

function isOpenStep(value: unknown): value is OpenStep {
  if (!isObject(value) || !isCount(value.batches, 1)) return false
  const { learned, spoiled, gradients, rows = new Map() } = value
  if (typeof learned !== 'boolean' || typeof spoiled !== 'boolean') return false
  return [gradients, rows].every(
    (map) => map instanceof Map && [...map.values()].every((one) => one instanceof Tensor),
  )
}

function isTotals(value: unknown): value is Totals {
  if (!isObject(value) || typeof value.count !== 'number' || !isNumbers(value.sums)) return false
  return value.counts === undefined || isNumbers(value.counts)
}

function isCarried(value: unknown): value is Carried {
  if (value === null || value instanceof Tensor) return true
  return Array.isArray(value) && value.every((item) => item instanceof Tensor)
}

/** What each entry has to be; the optimiser, the schedule and the data check their own further. */
const CHECKS: { [K in keyof Required<LoopState>]: (value: unknown) => boolean } = {
  epoch: isCount,
  batch: isCount,
  globalStep: isCount,
  validatedAt: (value) => isCount(value, -1),
  carried: isCarried,
  epochTotals: isTotals,
  windowTotals: isTotals,
  callbackMetrics: isNumbers,
  random: (value) => isObject(value) && isCount(value.seed) && isCount(value.counter),
  optimizer: () => true,
  scheduler: (value) => typeof value === 'object',
  trainData: (value) => typeof value === 'object',
  callbacks: (value) =>
    isObject(value) && Object.values(value).every((state) => Object(state) === state),
  history: (value) => Array.isArray(value) && value.every(isRecord),
  precision: (value) => value === undefined || PRECISIONS.some((name) => name === value),
  openStep: (value) => value === null || isOpenStep(value),
  elapsed: (value) => typeof value === 'number' && value >= 0,
}

/** @param name of the file, for messages @throws Error that names the entry that is wrong */
export function checkState(given: unknown, name: string): LoopState {
  const value = isObject(given) ? { ...LATER, ...given } : given
  for (const [key, check] of Object.entries(CHECKS)) {
    const missing = key !== 'precision' && isObject(value) && !Object.hasOwn(value, key)
    if (!isObject(value) || missing) throw new Error(`${name} has no '${key}'`)
    if (!check(value[key])) throw new Error(`${name}: '${key}' is not what it should be`)
  }
  const state = value as LoopState
  const { epochTotals, windowTotals } = state
  return {
    ...state,
    epochTotals: { ...epochTotals, counts: { ...epochTotals.counts } },
    windowTotals: { ...windowTotals, counts: { ...windowTotals.counts } },
  }
}
