/**
 * Training in a thread of its own: fit leaves the event loop free anyway, but a training's script
 * (batches, callbacks) then takes nothing from the main thread's either. After each epoch the weights
 * come over, and the main thread writes with them.
 */
import { on } from 'node:events'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { data, manualSeed, models, optim, setDefaultDevice, Trainer, tensor } from 'fused-rnn'
import { type Options, options, read, sonnets } from './common.js'

interface Task {
  given: Options
  text: string
}

/** What comes over: arrays, whose memory changes hands. */
interface News {
  epoch: number
  perplexity: number
  weights: Map<string, Float32Array>
}

const size = { embeddingSize: 32, hiddenSize: 128, numLayers: 1, dropout: 0 }

async function main(): Promise<void> {
  const about = 'Training in a worker thread while the main thread goes on.'
  const given = options(about, { epochs: 5, corpus: 'a text to learn from' })
  const text = given.data === undefined ? sonnets() : await read(given.data)
  const vocabulary = data.Vocabulary.fromText(text)
  const model = new models.LanguageModel({ vocabulary, ...size }).eval()
  const shapes = new Map(model.namedParameters().map(([name, { shape }]) => [name, shape]))

  const pauses = monitorEventLoopDelay({ resolution: 1 })
  pauses.enable()
  const task: Task = { given, text }
  const worker = new Worker(new URL(import.meta.url), { workerData: task })
  for await (const [message] of on(worker, 'message', { close: ['exit'] })) {
    const { epoch, perplexity, weights } = message as News
    const state = [...weights].map(([name, values]) => {
      return [name, tensor(values, { shape: shapes.get(name) ?? [] })] as const
    })
    model.loadStateDict(new Map(state))
    let written = 'Shall I '
    for await (const token of model.generate(written, { length: 60, temperature: 0.7, seed: 1 }))
      written += vocabulary.token(token)
    console.log(`epoch ${epoch}, perplexity ${perplexity.toFixed(2)}: ${JSON.stringify(written)}`)
  }
  const longest = Math.round(pauses.max / 1e6)
  console.log(`the main thread's event loop never waited longer than ${longest} ms`)
}

async function train({ given, text }: Task): Promise<void> {
  setDefaultDevice(given.device)
  manualSeed(given.seed)
  const vocabulary = data.Vocabulary.fromText(text)
  const model = new models.LanguageModel({ vocabulary, ...size })
  const batches = new data.SequentialBatches(vocabulary.encode(text), {
    batchSize: 16,
    sequenceLength: 48,
  })
  const tell = async ({ currentEpoch, callbackMetrics }: Trainer): Promise<void> => {
    const entries = [...model.stateDict()].map(async ([name, weight]) => {
      return [name, (await weight.data()) as Float32Array<ArrayBuffer>] as const
    })
    const weights = new Map(await Promise.all(entries))
    const { trainPerplexity = NaN } = callbackMetrics
    const news: News = { epoch: currentEpoch + 1, perplexity: trainPerplexity, weights }
    parentPort?.postMessage(
      news,
      [...weights.values()].map(({ buffer }) => buffer),
    )
  }
  const trainer = new Trainer({
    maxEpochs: given.epochs,
    gradientClipVal: 1,
    progressBar: false,
    callbacks: [{ onTrainEpochEnd: tell }],
  })
  const optimizer = new optim.Adam(model.parameters(), { lr: 0.004 })
  await trainer.fit(model, batches, null, { optimizer })
}

await (isMainThread ? main() : train(workerData))
