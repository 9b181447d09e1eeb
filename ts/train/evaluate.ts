/** One pass over data without learning. */

import type { Batch } from '../data/batches.js'
import { DistributedBatches } from '../data/distributed.js'
import { rangeError, typeError } from '../errors.js'
import { tensor } from '../factories.js'
import { noGrad } from '../grad_mode.js'
import { evalMode } from '../nn/module.js'
import { Tensor } from '../tensor.js'
import { batchOn, deviceOf } from './batch.js'
import { handOver, tensorsOf } from './carried.js'
import { isObject } from './checks.js'
import { addTo, emptyTotals, meansOf, readAll, type Totals } from './meter.js'
import { disposeBatch, iterate } from './source.js'
import type { Carried, DataSource, StepContext, TrainingModule } from './types.js'
import { type Batches, withBatches } from './waiting.js'

/** A step's result in one form. */
export interface CheckedResult {
  loss: Tensor
  count: number
  metrics: Record<string, Tensor>
}

/**
 * What a step gave back, in one form; null for a batch that it has skipped.
 * @throws TypeError, RangeError when it is something else
 */
export function checkResult(fn: string, result: unknown): CheckedResult | null {
  if (result === null || result === undefined) return null
  const expected = 'a loss tensor, { loss, count, metrics }, or null to skip the batch'
  if (typeof result !== 'object') throw typeError(fn, 'result', expected, result)
  const given: Record<string, unknown> = result instanceof Tensor ? { loss: result } : { ...result }
  const { loss, count = 1, metrics = {}, ...unknown } = given
  if (!(loss instanceof Tensor)) throw typeError(fn, 'result', expected, result)
  if (loss.numel !== 1) throw typeError(fn, 'loss', 'a tensor with one element', loss)
  for (const name of Object.keys(unknown))
    throw typeError(fn, 'result', 'one of loss, count, metrics', name)
  if (typeof count !== 'number') throw typeError(fn, 'count', 'a number', count)
  if (!(count >= 0 && Number.isFinite(count)))
    throw rangeError(fn, 'count', 'a finite number of at least 0', String(count))
  if (!isObject(metrics)) throw typeError(fn, 'metrics', 'an object of metrics', metrics)
  const checked = Object.entries(metrics).map(([name, value]) => {
    if (name === 'loss')
      throw rangeError(fn, 'metrics', 'names beside loss, which is one', "'loss'")
    if (typeof value === 'number') return [name, tensor([value], { device: loss.device })] as const
    if (!(value instanceof Tensor) || value.numel !== 1)
      throw typeError(fn, `metrics.${name}`, 'a number or a tensor with one element', value)
    return [name, value] as const
  })
  return { loss, count, metrics: Object.fromEntries(checked) }
}

/** What is wrong when one of several processes skips a batch; Lightning refuses it, too. */
export function skippedAlone(): TypeError {
  return new TypeError(
    '[fit] trainingStep: expected a loss, got none: with several processes, whose gradients are averaged, no batch can be skipped',
  )
}

/** The weight of a step in averages: none for what only fills up a process's part. */
export function countOf(data: DataSource<unknown>, batch: unknown, result: { count: number }) {
  const padding = data instanceof DistributedBatches && (batch as Batch).tokens === 0
  return padding ? 0 : result.count
}

/**
 * The weighted means of a validation pass, or null when `stopped` said so on the way. The model is
 * in evaluation mode during it, and afterwards every module in the mode it was in.
 * @param total adds up the sums of all processes, each of which has seen its part of the data
 * @param signal ends also the wait for a batch
 * @param options.limit no more than so many batches; testing: with testStep, if there is one
 */
export async function evaluate<B>(
  model: TrainingModule<B>,
  data: DataSource<B>,
  position: { epoch: number; globalStep: number },
  stopped: () => boolean,
  total: (own: Totals) => Promise<Totals> = async (own) => own,
  signal: AbortSignal | null = null,
  { limit = null, testing = false }: { limit?: number | null; testing?: boolean } = {},
): Promise<Record<string, number> | null> {
  const fn = testing ? 'test' : 'validate'
  const step = ((testing ? model.testStep : undefined) ?? model.validationStep)?.bind(model)
  if (step === undefined) throw typeError(fn, 'model.validationStep', 'a function', undefined)
  const own = emptyTotals()
  const seen = { batches: 0, skipped: 0 }
  const restoreModes = evalMode(model)
  try {
    const complete = await noGrad(() =>
      withBatches(iterate(data, 0, 0), signal, (batches) =>
        pass(step, batches, data, deviceOf(model), position, stopped, own, seen, limit ?? Infinity),
      ),
    )
    if (!complete) return null
  } finally {
    restoreModes()
  }
  const totals = await total(own)
  if (totals.count === 0) {
    // A model may validate by itself, and give no numbers.
    if (seen.batches > 0 && seen.skipped === seen.batches) return {}
    const none = seen.batches === 0 ? 'none' : `${seen.batches} without anything to average`
    throw new RangeError(`[${fn}] data: expected at least one batch, got ${none}`)
  }
  const means = meansOf(totals)
  return { ...means, ...model.deriveMetrics?.(means) }
}

async function pass<B>(
  step: NonNullable<TrainingModule<B>['validationStep']>,
  batches: Batches<B>,
  data: DataSource<B>,
  device: string | null,
  { epoch, globalStep }: { epoch: number; globalStep: number },
  stopped: () => boolean,
  totals: Totals,
  seen: { batches: number; skipped: number },
  limit: number,
): Promise<boolean> {
  let carried: Carried = null
  let batchIdx = 0
  // One batch is read while the next is being computed.
  let pending: Promise<void> | null = null
  try {
    while (batchIdx < limit) {
      const next = await batches.next()
      if (next === null) return false
      if (next.done) break
      const context: StepContext = { epoch, batchIdx, globalStep, carried }
      const batch = batchOn(next.value, device)
      const result = checkResult('validationStep', await step(batch, context))
      const count = result === null ? 0 : countOf(data, next.value, result)
      carried = handOver(carried, context.carried)
      batchIdx++
      seen.batches++
      disposeBatch(data, next.value, batch)
      if (result === null) {
        seen.skipped++
        if (stopped()) break
        continue
      }
      const { loss, metrics } = result
      const reading = readAll({ ...metrics, loss }).then((values) => addTo(totals, values, count))
      reading.catch(() => {}) // reported below, where it is awaited
      await pending
      pending = reading
      if (stopped()) break
    }
    await pending
  } finally {
    for (const tensor of tensorsOf(carried)) tensor[Symbol.dispose]()
  }
  return !stopped()
}
