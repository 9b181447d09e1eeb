/** A worker thread that trains, and ends in one of several ways; see workers.ts. */
import { parentPort, workerData } from 'node:worker_threads'
import { setNumThreads } from 'fused-rnn'
import { Handwritten, LARGE, SMALL } from './steps.js'

const { kind, threads } = workerData as { kind: string; threads: number }
setNumThreads(threads)
const training = new Handwritten(kind === 'small' ? SMALL : LARGE)
await training.step()
parentPort?.postMessage('busy')
const { layer, x } = training

if (kind === 'full' || kind === 'ends' || kind === 'exits') {
  // Until the queue's bound holds the loop back; 'full' never comes back by itself.
  for (let i = 0; kind === 'full' || i < 40; i++) {
    const [y, state] = layer.forward(x)
    for (const result of [y, ...state]) result[Symbol.dispose]()
  }
  if (kind === 'exits') process.exit(3)
} else {
  for (let i = 0; ; i++) {
    await training.step()
    if (kind === 'throws' && i === 2) throw new Error('on purpose')
  }
}
