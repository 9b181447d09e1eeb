/**
 * Learning online: `node dist-bench/tasks/online.js [SEEDS]`. 20 clients with 8 sensors each send rows in
 * turns: waves whose phases, speeds and heights wander, with noise. Each row is predicted from those
 * before, then learnt from. The mean absolute error of the second half beside that of persistence (the
 * next row is as this one), and the processor time of a row, predicting and learning. online.py is the
 * same in PyTorch.
 */
import { manualSeed, nn, OnlineLearner, optim, setNumThreads, type Tensor } from 'fused-rnn'

const [seeds = '3'] = process.argv.slice(2)
setNumThreads(1)
const [CLIENTS, SENSORS, ROWS] = [20, 8, 300]

/** The generator of Numerical Recipes, as in online.py. */
class Source {
  constructor(private state: number) {}
  uniform(): number {
    this.state = (Math.imul(this.state, 1664525) + 1013904223) >>> 0
    return this.state / 2 ** 32
  }
  /** About normal: the sum of twelve. */
  normal(): number {
    let sum = -6
    for (let i = 0; i < 12; i++) sum += this.uniform()
    return sum
  }
}

class Next extends nn.Module {
  rnn = new nn.GRU(SENSORS, 64)
  head = new nn.Linear(64, SENSORS)
  override forward(input: Tensor, state?: never): [Tensor, unknown] {
    const [output, next] = this.rnn.forward(input, state)
    return [this.head.forward(output), next]
  }
}

const sums = [0, 0, 0]
for (let seed = 1; seed <= Number(seeds); seed++) {
  const source = new Source(seed)
  const rows = Array.from({ length: CLIENTS }, () => {
    const sensors = Array.from({ length: SENSORS }, () => ({
      phase: 6.28 * source.uniform(),
      speed: 0.3 + 0.9 * source.uniform(),
      height: 1 + source.uniform(),
    }))
    return Array.from({ length: ROWS }, () =>
      sensors.map((one) => {
        one.speed += 0.004 * source.normal()
        one.height += 0.01 * source.normal()
        one.phase += one.speed
        return one.height * Math.sin(one.phase) + 0.5 * source.normal()
      }),
    )
  })
  manualSeed(seed)
  const model = new Next()
  const optimizer = new optim.Adam(model.parameters(), { lr: 0.003 })
  const learner = new OnlineLearner(model, { optimizer, window: 16, snapshotEvery: 20 })
  let [error, persistence, count] = [0, 0, 0]
  const before = process.cpuUsage()
  for (let t = 0; t + 1 < ROWS; t++)
    for (const [client, own] of rows.entries()) {
      const [row, after] = [own[t], own[t + 1]] as [number[], number[]]
      const said = await learner.predict(client, row)
      await learner.update(client, row)
      if (t < ROWS / 2) continue
      after.forEach((x, k) => {
        error += Math.abs((said[k] as number) - x)
        persistence += Math.abs((row[k] as number) - x)
        count++
      })
    }
  const { user, system } = process.cpuUsage(before)
  const each = (user + system) / 1e3 / CLIENTS / (ROWS - 1)
  const [own, naive] = [error / count, persistence / count]
  ;[own, naive, each].forEach((x, k) => {
    sums[k] = (sums[k] as number) + x / Number(seeds)
  })
  console.log(
    `seed ${seed}: error ${own.toFixed(3)}, persistence ${naive.toFixed(3)}, ${each.toFixed(3)} ms a row`,
  )
}
const [own, naive, each] = sums as [number, number, number]
console.log(
  `mean: error ${own.toFixed(3)}, ${(own / naive).toFixed(3)} of persistence (bar .9), ${each.toFixed(3)} ms a row (bar 1)`,
)
