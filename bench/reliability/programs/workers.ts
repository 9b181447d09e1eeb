/**
 * Trains in the main thread and in three worker threads at once, and ends and starts workers at
 * random moments: workers.js ROUNDS SEED. Prints a line of JSON at the end.
 */
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { manualSeed, nn, ones } from 'fused-rnn'
import { Handwritten, random, SMALL } from './steps.js'

const KINDS = ['large', 'small', 'full', 'ends', 'exits', 'throws'] as const
const [rounds = '10', seed = '1'] = process.argv.slice(2)
const draw = random(Number(seed))
const counts: Record<string, number> = {}
let slowest = 0

/** Always the same bits. */
async function fixed(): Promise<string> {
  manualSeed(3)
  const [y] = new nn.GRU(8, 32).forward(ones([10, 4, 8]))
  return Buffer.from((await y.data()).buffer).toString('base64')
}

interface Running {
  kind: string
  worker: Worker
  exited: Promise<number>
}

async function start(): Promise<Running> {
  const kind = KINDS[Math.floor(draw() * KINDS.length)] as string
  const threads = 1 + Math.floor(draw() * 3)
  const worker = new Worker(new URL('./worker.js', import.meta.url), {
    workerData: { kind, threads },
  })
  const exited = new Promise<number>((resolve) => worker.once('exit', resolve))
  worker.on('error', (error) => {
    if (kind !== 'throws' || error.message !== 'on purpose') throw error
  })
  await once(worker, 'message')
  return { kind, worker, exited }
}

/** Ends one at a random moment, or waits for one that ends by itself. */
async function end({ kind, worker, exited }: Running): Promise<void> {
  await sleep(draw() * 120)
  const before = performance.now()
  if (kind === 'large' || kind === 'small' || kind === 'full') await worker.terminate()
  const code = await exited
  slowest = Math.max(slowest, performance.now() - before)
  const expected = { ends: 0, exits: 3 }[kind] ?? 1
  if (code !== expected) throw new Error(`${kind}: expected exit code ${expected}, got ${code}`)
  counts[kind] = (counts[kind] ?? 0) + 1
}

const before = await fixed()
let finished = false
const training = new Handwritten(SMALL)
const main = (async () => {
  let steps = 0
  for (; !finished; steps++) await training.step()
  return steps
})()
const slots = await Promise.all([start(), start(), start()])
for (let round = 0; round < Number(rounds); round++) {
  const slot = Math.floor(draw() * slots.length)
  await end(slots[slot] as Running)
  slots[slot] = await start()
}
// All at once.
await Promise.all(slots.map(end))
finished = true
const steps = await main
console.log(JSON.stringify({ counts, slowest, steps, same: (await fixed()) === before }))
