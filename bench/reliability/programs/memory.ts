/**
 * Makes STEPS steps of one kind and watches the process's memory: memory.js KIND STEPS. Nothing is
 * disposed of by hand. Prints a line of JSON at the end. Needs --expose-gc.
 */
import { memoryStats, nn, noGrad, setNumThreads, synchronize, Trainer } from 'fused-rnn'
import { Handwritten, languageModel, type Sizes } from './steps.js'

const [kind = '', count = '1000'] = process.argv.slice(2)
const total = Number(count)
const EVERY = Math.max(1, Math.floor(total / 200))
// Steps this small gain little from more, and on a busy machine lose much.
setNumThreads(1)
const SIZES: Sizes = { inputs: 32, hidden: 64, layers: 1, batch: 16, steps: 20 }

/** Resident bytes and those that V8 holds for its heap, at intervals. */
const samples: { step: number; rss: number; heap: number }[] = []
/** Bytes of JavaScript objects in use, after a tenth of the steps and at the end. */
const live: number[] = []
function sample(step: number): void {
  if (step === Math.floor(total / 10) || step === total) live.push(liveHeap())
  if (step % EVERY !== 0) return
  const { rss, heapTotal } = process.memoryUsage()
  samples.push({ step, rss, heap: heapTotal })
}

function liveHeap(): number {
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
}

async function loop(): Promise<void> {
  const training = new Handwritten(SIZES)
  for (let step = 1; step <= total; step++) {
    await training.step()
    sample(step)
  }
}

async function trainer(): Promise<void> {
  const { model, batches } = languageModel(64)
  const watch = { onTrainBatchEnd: (by: Trainer) => sample(by.globalStep) }
  const options = { maxSteps: total, progressBar: false, logEveryNSteps: 1000, callbacks: [watch] }
  await new Trainer(options).fit(model, batches)
}

async function inference(): Promise<void> {
  const { layer, x } = new Handwritten(SIZES)
  const head = new nn.Linear(SIZES.hidden, 10)
  for (let step = 1; step <= total; step++) {
    const scores = noGrad(() => head.forward(layer.forward(x)[0]).softmax(-1))
    await scores.data()
    sample(step)
  }
}

/** A model each, trained for one step and dropped. */
async function models(): Promise<void> {
  for (let step = 1; step <= total; step++) {
    await new Handwritten(SIZES).step()
    sample(step)
  }
}

/** A loop that never awaits anything. */
async function greedy(): Promise<void> {
  const training = new Handwritten({ ...SIZES, batch: 64, steps: 40 })
  for (let step = 1; step <= total; step++) {
    training.step().catch(() => {})
    sample(step)
  }
}

const kinds: Record<string, () => Promise<void>> = { loop, trainer, inference, models, greedy }
const start = performance.now()
let refused: string | null = null
try {
  await kinds[kind]?.()
  await synchronize()
} catch (error) {
  refused = (error as Error).message
}
const seconds = (performance.now() - start) / 1000
console.log(JSON.stringify({ samples, live, seconds, refused, stats: memoryStats() }))
