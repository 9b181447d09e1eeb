/**
 * Trains until it ends in the way and after the milliseconds that its arguments say:
 * exit.js WAY loop|trainer DELAY. Prints "ready" when training is under way.
 */
import { nn, Trainer, tensor } from 'fused-rnn'
import { Handwritten, LARGE, languageModel } from './steps.js'

const [way = '', by = 'loop', delay = '0'] = process.argv.slice(2)
const abort = new AbortController()
let step = 0
let last = Infinity

/** Ends the process, or asks for it. */
function end(): void {
  if (way === 'exit') process.exit(7)
  if (way === 'uncaught') throw new Error('on purpose')
  if (way === 'rejected') void Promise.reject(new Error('on purpose'))
  if (way === 'failing') void new nn.Embedding(5, 2).forward(tensor(Int32Array.of(9))).data()
}

if (way === 'handled') process.on('SIGINT', () => process.exit(130))
if (way === 'abort') process.on('SIGINT', () => abort.abort())

/** After the first steps, which set things up. */
function begun(): void {
  if (++step !== 3) return
  console.log('ready')
  // Between two steps; and in the middle of one, with all its work queued.
  if (way === 'in-step') last = step + 1 + Math.floor(Number(delay) / 50)
  else setTimeout(end, Number(delay))
}

if (by === 'trainer') {
  const { model, batches } = languageModel(256)
  const inStep = {
    onTrainBatchEnd: () => {
      begun()
      if (step >= last) process.exit(7)
    },
  }
  const options = { progressBar: false, signal: abort.signal, callbacks: [inStep] }
  const { stopped } = await new Trainer(options).fit(model, batches)
  console.log(stopped)
} else {
  const training = new Handwritten(LARGE)
  while (!abort.signal.aborted) {
    const done = training.step()
    begun()
    if (step >= last) process.exit(7)
    await done
  }
  console.log('aborted')
}
