/** Names and values of metrics: those a callback or a schedule watches. */
import { rangeError } from '../errors.js'
import type { TrainerHandle } from './types.js'

/**
 * The value of a metric; null when the pass that has ended gave it none, as one of skipped batches, but
 * an earlier one did.
 * @throws RangeError that lists what there is
 */
export function monitored(
  fn: string,
  monitor: string,
  { callbackMetrics, history }: Pick<TrainerHandle, 'callbackMetrics' | 'history'>,
): number | null {
  const value = callbackMetrics[monitor]
  if (value !== undefined) return value
  if (history.records.some(({ metrics }) => Object.hasOwn(metrics, monitor))) return null
  const names = Object.keys(callbackMetrics).join(', ')
  throw rangeError(fn, 'monitor', `one of ${names}`, `'${monitor}'`)
}

/** Whether a score improves on the best by more than minDelta. */
export function isBetter(
  score: number,
  best: number | null,
  mode: 'min' | 'max',
  minDelta = 0,
): boolean {
  if (best === null) return !Number.isNaN(score)
  return mode === 'min' ? score < best - minDelta : score > best + minDelta
}

/** trainLoss from loss. */
export function prefixed(
  prefix: string,
  values: Readonly<Record<string, number>>,
): Record<string, number> {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [
      `${prefix}${name.charAt(0).toUpperCase()}${name.slice(1)}`,
      value,
    ]),
  )
}

/**
 * The metrics of an epoch's record as loggers get them: trainLossEpoch from trainLoss, whose name the
 * steps have; without those of validations, which have records of their own.
 */
export function ofEpoch(metrics: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(metrics)
      .filter(([name]) => !name.startsWith('val'))
      .map(([name, value]) => [name.startsWith('train') ? `${name}Epoch` : name, value]),
  )
}

/**
 * The stateKey of a callback of ours: its class with what makes its state another's.
 * @param name of our class, which a bundler may have shortened; subclasses have their own
 */
export function stateKeyOf(callback: object, name: string, what: object): string {
  const made = callback.constructor
  const own = Object.getPrototypeOf(made) === Function.prototype ? name : made.name
  return `${own}${JSON.stringify(what)}`
}
