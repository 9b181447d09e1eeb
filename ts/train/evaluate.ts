/** One pass over data without learning. */

import type { Batch } from '../data/batches.js'
import { DistributedBatches } from '../data/distributed.js'
import { typeError } from '../errors.js'
import { noGrad } from '../grad_mode.js'
import { evalMode } from '../nn/module.js'
import { Tensor } from '../tensor.js'
import { batchOn, deviceOf } from './batch.js'
import { handOver, tensorsOf } from './carried.js'
import { addTo, emptyTotals, meansOf, readAll, type Totals } from './meter.js'
import { disposeBatch, iterate } from './source.js'
import type { Carried, DataSource, StepContext, StepResult, TrainingModule } from './types.js'

/** What a step gave back, in one form. @throws TypeError, RangeError when it is something else */
export function checkResult(fn: string, result: Tensor | StepResult): Required<StepResult> {
  const loss = result instanceof Tensor ? result : result?.loss
  if (!(loss instanceof Tensor))
    throw typeError(fn, 'result', 'a loss tensor or { loss, count }', result)
  if (loss.numel !== 1) throw typeError(fn, 'loss', 'a tensor with one element', loss)
  return result instanceof Tensor
    ? { loss, count: 1, metrics: {} }
    : { loss, count: result.count ?? 1, metrics: result.metrics ?? {} }
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
 */
export async function evaluate<B>(
  model: TrainingModule<B>,
  data: DataSource<B>,
  position: { epoch: number; globalStep: number },
  stopped: () => boolean,
  total: (own: Totals) => Promise<Totals> = async (own) => own,
): Promise<Record<string, number> | null> {
  const step = model.validationStep?.bind(model)
  if (step === undefined)
    throw typeError('validate', 'model.validationStep', 'a function', undefined)
  const own = emptyTotals()
  const restoreModes = evalMode(model)
  try {
    const complete = await noGrad(() => pass(step, data, deviceOf(model), position, stopped, own))
    if (!complete) return null
  } finally {
    restoreModes()
  }
  const totals = await total(own)
  if (totals.count === 0)
    throw new RangeError('[validate] data: expected at least one batch, got none')
  const means = meansOf(totals)
  return { ...means, ...model.deriveMetrics?.(means) }
}

async function pass<B>(
  step: (batch: B, context: StepContext) => Tensor | StepResult | Promise<Tensor | StepResult>,
  data: DataSource<B>,
  device: string | null,
  { epoch, globalStep }: { epoch: number; globalStep: number },
  stopped: () => boolean,
  totals: Totals,
): Promise<boolean> {
  let carried: Carried = null
  let batchIdx = 0
  // One batch is read while the next is being computed.
  let pending: Promise<void> | null = null
  const iterator = iterate(data, 0, 0)
  try {
    for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
      const context: StepContext = { epoch, batchIdx, globalStep, carried }
      const batch = batchOn(next.value, device)
      const result = checkResult('validationStep', await step(batch, context))
      const { loss, metrics } = result
      const count = countOf(data, next.value, result)
      carried = handOver(carried, context.carried)
      batchIdx++
      disposeBatch(data, next.value, batch)
      const reading = readAll({ ...metrics, loss }).then((values) => addTo(totals, values, count))
      reading.catch(() => {}) // reported below, where it is awaited
      await pending
      pending = reading
      if (stopped()) break
    }
    await pending
  } finally {
    await iterator.return?.()
    for (const tensor of tensorsOf(carried)) tensor[Symbol.dispose]()
  }
  return !stopped()
}
