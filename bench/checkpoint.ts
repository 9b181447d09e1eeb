/**
 * What utils.checkpoint costs and saves: training steps of a layer over a long sequence, as it is and in
 * chunks of time by checkpointSteps, in turns, with the most memory that each takes.
 * Arguments: steps (1000), units (256), sequences (16), chunks (8), threads (2), rounds (7).
 */
import {
  manualSeed,
  memoryStats,
  nn,
  optim,
  randn,
  setNumThreads,
  synchronize,
  type Tensor,
  utils,
} from 'fused-rnn'

const [steps = 1000, units = 256, sequences = 16, chunks = 8, threads = 2, rounds = 7] =
  process.argv.slice(2).map(Number)
setNumThreads(threads)
manualSeed(1)
const layer = new nn.LSTM(units, units)
const optimizer = new optim.SGD(layer.parameters(), { lr: 0.01 })
const input = randn([steps, sequences, units])

// The one of less memory first: a peak is that of all so far.
const ways: Record<string, () => Tensor> = {
  checkpointed: () => utils.checkpoint.checkpointSteps(layer, chunks, input)[0],
  plain: () => layer.forward(input)[0],
}

/** Seconds of one step. */
async function step(forward: () => Tensor): Promise<number> {
  const start = performance.now()
  optimizer.zeroGrad()
  forward().mean().backward()
  await optimizer.step()
  await synchronize()
  return (performance.now() - start) / 1000
}

const times: Record<string, number[]> = {}
const peaks: string[] = []
for (const [name, forward] of Object.entries(ways)) {
  times[name] = []
  await step(forward)
  peaks.push(`${name} ${(memoryStats().peak / 2 ** 20).toFixed(0)}`)
}
for (let round = 0; round < rounds; round++)
  for (const [name, forward] of Object.entries(ways)) times[name]?.push(await step(forward))
const { plain = [], checkpointed = [] } = times
const ratios = checkpointed.map((time, i) => time / (plain[i] as number)).sort((a, b) => a - b)
const least = Object.entries(times).map(([name, all]) => `${name} ${Math.min(...all).toFixed(3)}`)
console.log(`T ${steps}, H ${units}, B ${sequences}, ${chunks} chunks, ${threads} threads`)
console.log(`seconds a step, best of ${rounds}: ${least.join(', ')}`)
console.log(`ratio, median of neighbours: ${ratios[Math.floor(rounds / 2)]?.toFixed(2)}`)
console.log(`MiB at most: ${peaks.join(', ')}`)
