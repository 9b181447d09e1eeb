/**
 * One fit of a small language model, as `process.argv[2]` (JSON) says; alone, or with the others under
 * mpirun. Rank 0 prints its history.
 */
import {
  type Callback,
  data,
  distributed,
  manualSeed,
  models,
  optim,
  type Tensor,
  Trainer,
} from 'fused-rnn'
import { backend } from './backend.js'

interface Scenario {
  batches: 'sequential' | 'windows' | 'buckets'
  batchSize: number
  optimizer?: 'sgd' | 'adam'
  maxEpochs?: number
  maxSteps?: number
  /** A checkpoint to go on from, and one to write in the end. */
  from?: string
  to?: string
  /** A checkpoint after every step. */
  every?: string
  /** The last rank waits so long in front of each of its first steps, in ms. */
  slow?: number
  /** What the last rank does after this many steps. */
  throwAt?: number
  abortAt?: number
  stopAt?: number
  /** Whether the last rank's loss is not finite in the third step. */
  infinite?: boolean
  nonFinite?: 'skip'
  /** Gives every rank another number of batches. */
  uneven?: boolean
  seed?: number
  /** Of distributed.init. */
  timeout?: number
}
const scenario: Scenario = JSON.parse(process.argv[2] as string)
const several = process.env.OMPI_COMM_WORLD_SIZE !== undefined
const { timeout } = scenario
if (several) await distributed.init({ backend, ...(timeout !== undefined && { timeout }) })
const rank = several ? distributed.rank() : 0
const last = !several || rank === distributed.worldSize() - 1

const tokens = Int32Array.from({ length: 700 }, (_, i) => (i * i + (i >> 3)) % 11)
const seed = scenario.seed ?? 5
function batchesOf(): data.TextBatches | data.BucketBatches {
  const { batchSize } = scenario
  const windows = { batchSize, sequenceLength: 9 }
  if (scenario.batches === 'sequential') return new data.SequentialBatches(tokens, windows)
  // Another order where the seed is the process's own: rank 0's counts.
  if (scenario.batches === 'windows')
    return new data.RandomWindows(tokens, { ...windows, seed: seed + rank })
  const sentences = Array.from({ length: 60 }, (_, i) => tokens.slice(10 * i, 10 * i + 4 + (i % 3)))
  return new data.BucketBatches(sentences, { batchSize, buckets: [4, 5, 6], seed: seed + rank })
}

manualSeed(3 + rank)
class Model extends models.LanguageModel {
  override trainingStep(...[batch, context]: Parameters<models.LanguageModel['trainingStep']>) {
    const result = super.trainingStep(batch, context)
    if (!scenario.infinite || !last || context.globalStep !== 2 || !this.training) return result
    return { ...result, loss: result.loss.mul(Number.POSITIVE_INFINITY) }
  }
}
// Dropout is drawn anew in every process.
const sizes = { vocabSize: 11, embeddingSize: 5, hiddenSize: 8, dropout: 0 }
const model = new Model(sizes)
if (!several || rank === 0) {
  manualSeed(7)
  const again = new Model(sizes)
  model.loadStateDict(again.stateDict())
}
const optimizer =
  scenario.optimizer === 'sgd'
    ? new optim.SGD(model.parameters(), { lr: 0.5, momentum: 0.5 })
    : new optim.Adam(model.parameters(), { lr: 0.02 })
const controller = new AbortController()
const actor: Callback = {
  async onTrainBatchEnd(trainer) {
    const { globalStep } = trainer
    if (scenario.every !== undefined) await trainer.saveCheckpoint(scenario.every)
    if (!last) return
    if (globalStep === scenario.throwAt) throw new RangeError('the last one has had enough')
    if (globalStep === scenario.abortAt) controller.abort()
    if (globalStep === scenario.stopAt) trainer.shouldStop = true
    if (scenario.slow !== undefined && globalStep < 8)
      await new Promise((resolve) => setTimeout(resolve, scenario.slow))
  },
}
const trainer = new Trainer({
  ...(scenario.maxEpochs !== undefined && { maxEpochs: scenario.maxEpochs }),
  ...(scenario.maxSteps !== undefined && { maxSteps: scenario.maxSteps }),
  ...(scenario.nonFinite !== undefined && { nonFinite: scenario.nonFinite }),
  gradientClipVal: 0.5,
  logEveryNSteps: 1,
  progressBar: false,
  signal: controller.signal,
  callbacks: [actor],
})
const valid = new data.SequentialBatches(tokens.subarray(0, 200), {
  batchSize: 4,
  sequenceLength: 9,
})
const list = scenario.uneven ? [...batchesOf().batches(0)].slice(0, 4 + rank) : null
const source = list === null ? batchesOf() : scenario.seed === 1 ? generator(list) : list
const result = await trainer.fit(model, source as Iterable<data.Batch>, valid, {
  optimizer,
  ...(scenario.from !== undefined && { ckptPath: scenario.from }),
})
if (scenario.to !== undefined) await trainer.saveCheckpoint(scenario.to)

function generator(batches: data.Batch[]): Iterable<data.Batch> {
  return { [Symbol.iterator]: () => batches[Symbol.iterator]() }
}

/** How far apart the processes' parameters are. */
let apart = 0
if (several) {
  for (const parameter of model.parameters()) {
    const [low, high] = [parameter.detach().clone(), parameter.detach().clone()]
    distributed.allReduce(low, { op: 'min' })
    distributed.allReduce(high, { op: 'max' })
    apart = Math.max(apart, await high.sub(low).abs().max().item())
  }
}
const norm = await (model.decoder.weight as Tensor).detach().pow(2).sum().item()
if (rank === 0) {
  const records = result.history.toJSON().map(({ metrics, ...where }) => {
    const { tokensPerSecond: _, ...rest } = metrics
    return { ...where, metrics: rest }
  })
  const { stopped, globalStep } = result
  const { skippedSteps } = trainer
  console.log(JSON.stringify({ stopped, globalStep, skippedSteps, apart, norm, records }))
}
