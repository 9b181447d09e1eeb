/** One pass over data without learning. */
import { noGrad } from '../autograd.js'
import type { Batch } from '../data/batches.js'
import { DistributedBatches } from '../data/distributed.js'
import { checkIterable, typeError } from '../errors.js'
import { evalMode } from '../nn/module.js'
import { Tensor } from '../tensor.js'
import { batchOn, deviceOf } from './batch.js'
import { addTo, emptyTotals, meansOf, readAll } from './meter.js'
import type { Team } from './strategies/ddp.js'
import type {
  Carried,
  DataSource,
  SeekableSource,
  StepContext,
  StepResult,
  TrainingModule,
} from './types.js'

export function isSeekable<B>(data: DataSource<B>): data is SeekableSource<B> {
  return (
    typeof (data as Partial<SeekableSource<B>>).batches === 'function' &&
    typeof (data as Partial<SeekableSource<B>>).state === 'function'
  )
}

/** Number of batches in an epoch, where the data tell. */
export function lengthOf(data: DataSource<unknown>): number | null {
  const { length } = data as { length?: unknown }
  return typeof length === 'number' ? length : null
}

/** @throws TypeError when `data` cannot be iterated */
export function checkSource(fn: string, name: string, data: unknown): void {
  const expected = 'batches: an array, SequentialBatches, RandomWindows or another iterable'
  if (typeof data !== 'object' || data === null) throw typeError(fn, name, expected, data)
  if (!(Symbol.asyncIterator in data)) checkIterable(fn, name, data, expected)
}

/** The batches of an epoch from number `start` on. */
export function iterate<B>(
  data: DataSource<B>,
  epoch: number,
  start: number,
): AsyncIterator<B> | Iterator<B> {
  if (isSeekable(data)) return data.batches(epoch, start)[Symbol.iterator]()
  return skipped(data, start)
}

async function* skipped<B>(data: Iterable<B> | AsyncIterable<B>, start: number): AsyncGenerator<B> {
  let i = 0
  for await (const batch of data) if (i++ >= start) yield batch
}

/**
 * Frees the tensors of a batch that a seekable source has made for us, and of what batchOn has made
 * of it.
 */
export function disposeBatch(data: DataSource<unknown>, ...batches: unknown[]): void {
  if (!isSeekable(data)) return
  for (const batch of batches) {
    if (typeof batch !== 'object' || batch === null) continue
    for (const value of Object.values(batch)) if (value instanceof Tensor) value[Symbol.dispose]()
  }
}

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
 * @param team over whose parts of the data the means are
 */
export async function evaluate<B>(
  model: TrainingModule<B>,
  data: DataSource<B>,
  position: { epoch: number; globalStep: number },
  stopped: () => boolean,
  team: Team | null = null,
): Promise<Record<string, number> | null> {
  const step = model.validationStep?.bind(model)
  if (step === undefined)
    throw typeError('validate', 'model.validationStep', 'a function', undefined)
  let totals = emptyTotals()
  const restoreModes = evalMode(model)
  try {
    const complete = await noGrad(() =>
      pass(step, data, deviceOf(model), position, stopped, totals),
    )
    if (!complete) return null
  } finally {
    restoreModes()
  }
  if (team !== null) totals = await team.total(totals)
  if (totals.count === 0)
    throw new RangeError('[validate] data: expected at least one batch, got none')
  const means = meansOf(totals)
  return { ...means, ...model.deriveMetrics?.(means) }
}

/** What a step leaves for the next, without its graph; frees what it found, unless that goes on. */
export function handOver(before: Carried, after: Carried): Carried {
  const detached = (tensor: Tensor): Tensor => (tensor.requiresGrad ? tensor.detach() : tensor)
  const kept =
    after === null || after instanceof Tensor ? after && detached(after) : after.map(detached)
  const goesOn = new Set([...tensorsOf(kept), ...tensorsOf(after)])
  for (const tensor of tensorsOf(before)) if (!goesOn.has(tensor)) tensor[Symbol.dispose]()
  return kept
}

/** The tensors of a carried state. */
export function tensorsOf(carried: Carried): readonly Tensor[] {
  if (carried === null) return []
  return carried instanceof Tensor ? [carried] : carried
}

async function pass<B>(
  step: (batch: B, context: StepContext) => Tensor | StepResult | Promise<Tensor | StepResult>,
  data: DataSource<B>,
  device: string | null,
  { epoch, globalStep }: { epoch: number; globalStep: number },
  stopped: () => boolean,
  totals: { count: number; sums: Record<string, number> },
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
