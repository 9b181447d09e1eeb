/** Our side of the benchmark; bench/peers/protocol.md says what a peer is. */
import {
  getNumThreads,
  manualSeed,
  noGrad,
  optim,
  setNumThreads,
  synchronize,
} from '../../index.js'
import { VERSION } from '../../version.js'
import type { Workload } from '../workloads.js'
import { chooseDevice } from './fused_rnn_device.js'
import { build, type Task } from './models.js'
import { microseconds, seconds, serve } from './serve.js'

const LEARNING_RATE = 0.1
const MAX_NORM = 1

chooseDevice()
const ready = `fused-rnn ${VERSION}`

function trainer(
  { model, backward }: Task,
  w: Workload,
): (steps: number) => Promise<number | undefined> {
  if (w.kind === 'layer') {
    return async (steps) => {
      for (let i = 0; i < steps; i++) {
        model.zeroGrad()
        backward()
        await synchronize()
      }
      return undefined
    }
  }
  const optimizer = new optim.SGD(model.parameters(), { lr: LEARNING_RATE, maxGradNorm: MAX_NORM })
  return async (steps) => {
    let loss = null
    for (let i = 0; i < steps; i++) {
      optimizer.zeroGrad()
      loss = backward()
      await optimizer.step()
    }
    return loss?.item()
  }
}

await serve(ready, (w, threads) => {
  setNumThreads(threads)
  manualSeed(0)
  const task = build(w)
  const train = trainer(task, w)
  const { step } = task
  return {
    threads: getNumThreads(),
    train(steps) {
      task.model.train()
      return seconds(() => train(steps))
    },
    infer(batches) {
      task.model.eval()
      return seconds(async () => {
        for (let i = 0; i < batches; i++) {
          noGrad(task.forward)
          await synchronize()
        }
      })
    },
    ...(step && {
      generate(tokens: number) {
        task.model.eval()
        return microseconds(tokens, () => noGrad(step))
      },
    }),
  }
})
