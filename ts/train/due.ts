/** What happens at intervals: the steps of a schedule, validations. */
import { rangeError } from '../errors.js'
import { ReduceLROnPlateau } from '../optim/lr_scheduler.js'
import { monitored } from './monitor.js'
import type { SchedulerConfig, TrainerHandle } from './types.js'

/**
 * @param defaultMonitor the metric for a schedule that watches one and does not say which
 * @throws RangeError when there is no such metric
 */
export function stepScheduler(
  { scheduler, monitor }: SchedulerConfig,
  status: Pick<TrainerHandle, 'callbackMetrics' | 'history'>,
  defaultMonitor: string,
): void {
  if (scheduler instanceof ReduceLROnPlateau || monitor !== undefined) {
    const value = monitored('scheduler', monitor ?? defaultMonitor, status)
    if (value !== null) scheduler.step(value)
  } else {
    scheduler.step()
  }
}

/**
 * Whether to validate before a batch of an epoch.
 * @param interval a number of batches (above 1) or a part of an epoch (up to 1)
 * @param length batches in an epoch, if known
 * @throws RangeError for a part of an unknown number
 */
export function validationDue(interval: number, batch: number, length: number | null): boolean {
  if (interval > 1) return batch % interval === 0
  if (length === null) {
    throw rangeError(
      'Trainer',
      'valCheckInterval',
      'a number of batches, when trainData has no length',
      `the fraction ${interval}`,
    )
  }
  return batch % Math.max(1, Math.floor(length * interval)) === 0
}
