/**
 * Trains a workload of the benchmark for some seconds while the event loop is watched:
 * event_loop.js WORKLOAD|nothing|spin loop|alone|trainer|tfjs SECONDS. "spin" keeps all cores busy with
 * threads that have nothing to do with this library; "tfjs" trains with TensorFlow.js and lets the
 * event loop turn after every step; in "alone" nothing else happens than training.
 *
 * Meanwhile the process answers HTTP requests, which another thread makes, and reads a file again
 * and again. Prints a line of JSON at the end.
 */
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { cpus } from 'node:os'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { nn, optim, type Tensor, Trainer } from 'fused-rnn'
import { build } from '#bench/peers/models.js'
import { workloads } from '#bench/workloads.js'
import { median } from '../check.js'

const [name = '', by = 'loop', seconds = '5'] = process.argv.slice(2)
let finished = false
let steps = 0
/** Steps, and when a wait for them was over: the first and the last time in the round. */
let watched = false
const waits: { steps: number; at: number }[] = []
function waited(): void {
  if (!watched) return
  if (waits.length === 2) waits.pop()
  waits.push({ steps, at: performance.now() })
}

async function train(): Promise<void> {
  const workload = workloads.find((one) => one.name === name)
  if (workload === undefined) return
  if (by === 'tfjs') {
    const { setUp } = await import('../../peers/tfjs_models.js')
    const requests = await setUp(workload)
    for (; !finished; steps++) {
      await requests.train(1)
      await nextTurn()
      waited()
    }
    return
  }
  const { model, forward, backward } = build(workload)
  const optimizer = new optim.SGD(model.parameters(), { lr: 0.01, maxGradNorm: 1 })
  if (by === 'trainer') {
    class Trained extends nn.Module {
      readonly model = model
      forward(): void {}
      trainingStep(): Tensor {
        const y = forward()
        return y.mul(y).mean()
      }
    }
    const batches = Array.from({ length: 100 }, (_, i) => i)
    const watch = {
      onTrainBatchEnd: (trainer: Trainer) => {
        steps++
        waited()
        trainer.shouldStop = finished
      },
    }
    const options = { progressBar: false, callbacks: [watch] }
    await new Trainer(options).fit(new Trained(), batches, null, { optimizer })
    return
  }
  for (; !finished; steps++) {
    optimizer.zeroGrad()
    backward()
    await optimizer.step()
    waited()
  }
}

const server = createServer((_, response) => response.end('fine'))
server.listen(0, '127.0.0.1')
await once(server, 'listening')
const { port } = server.address() as AddressInfo
const client = new Worker(
  `const { get, Agent } = require('node:http')
  const agent = new Agent({ keepAlive: true })
  const { parentPort } = require('node:worker_threads')
  const times = []
  let stop = false
  parentPort.once('message', () => { stop = true })
  const ask = () => {
    if (stop) { parentPort.postMessage(times); agent.destroy(); return }
    if (${by === 'alone'}) { setTimeout(ask, 100); return }
    const before = performance.now()
    get({ port: ${port}, agent }, (response) => {
      response.resume().on('end', () => { times.push(performance.now() - before); setTimeout(ask, 20) })
    })
  }
  ask()`,
  { eval: true },
)
const spinning =
  name === 'spin' ? cpus().map(() => new Worker('for (;;) Math.random()', { eval: true })) : []

const training = train()
// What sets things up, compiles and fills caches is over.
await sleep(1000)
const reads: number[] = []
const reading = (async () => {
  const path = fileURLToPath(import.meta.url)
  while (!finished && by !== 'alone') {
    const before = performance.now()
    await readFile(path)
    reads.push(performance.now() - before)
    await sleep(10)
  }
})()
const delay = monitorEventLoopDelay({ resolution: 1 })
if (by !== 'alone') delay.enable()
watched = true
await sleep(1000 * Number(seconds))
watched = false
delay.disable()
const [first, last] = waits
const rate = first && last ? (1000 * (last.steps - first.steps)) / (last.at - first.at) : 0
finished = true
client.postMessage('stop')
const [times] = (await once(client, 'message')) as [number[]]
await Promise.all([training, reading, ...spinning.map((worker) => worker.terminate())])
server.close()
const largest = (values: readonly number[]): number => values.reduce((a, b) => Math.max(a, b), 0)
console.log(
  JSON.stringify({
    // In milliseconds. The monitor's numbers contain its own timer's millisecond.
    p50: delay.percentile(50) / 1e6,
    p99: delay.percentile(99) / 1e6,
    max: delay.max / 1e6,
    http: { count: times.length, median: median(times), max: largest(times) },
    fs: { count: reads.length, median: median(reads), max: largest(reads) },
    rate,
  }),
)
