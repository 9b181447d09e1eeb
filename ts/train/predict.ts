/** What a model gives for data. */
import { noGrad } from '../grad_mode.js'
import { evalMode } from '../nn/module.js'
import { batchOn, deviceOf } from './batch.js'
import { handOver, tensorsOf } from './carried.js'
import { iterate } from './source.js'
import type { Carried, DataSource, StepContext, TrainingModule } from './types.js'
import { type Batches, withBatches } from './waiting.js'

/**
 * The outputs for all batches, in order. The model is in evaluation mode during it, and afterwards
 * every module in the mode it was in.
 * @param limit no more than so many batches
 */
export async function predict<B>(
  model: TrainingModule<B>,
  data: DataSource<B>,
  position: { epoch: number; globalStep: number },
  signal: AbortSignal | null,
  limit: number | null,
): Promise<unknown[]> {
  const restoreModes = evalMode(model)
  try {
    return await noGrad(() =>
      withBatches(iterate(data, 0, 0), signal, (batches) =>
        outputs(model, batches, position, signal, limit ?? Infinity),
      ),
    )
  } finally {
    restoreModes()
  }
}

async function outputs<B>(
  model: TrainingModule<B>,
  batches: Batches<B>,
  { epoch, globalStep }: { epoch: number; globalStep: number },
  signal: AbortSignal | null,
  limit: number,
): Promise<unknown[]> {
  const device = deviceOf(model)
  const all: unknown[] = []
  let carried: Carried = null
  try {
    while (all.length < limit && !signal?.aborted) {
      const next = await batches.next()
      if (next === null || next.done) break
      const context: StepContext = { epoch, batchIdx: all.length, globalStep, carried }
      const batch = batchOn(next.value, device)
      all.push(
        model.predictStep === undefined
          ? model.forward(batch as never)
          : await model.predictStep(batch, context),
      )
      carried = handOver(carried, context.carried)
    }
  } finally {
    for (const tensor of tensorsOf(carried)) tensor[Symbol.dispose]()
  }
  return all
}
