/**
 * Times of training steps in neighbouring rounds: numbers.js denormals|finite ROUNDS. Prints a line
 * of JSON at the end with the ratios.
 */
import { nn, optim, randn, synchronize, type Tensor, Trainer } from 'fused-rnn'
import { build } from '#bench/peers/models.js'
import { workloads } from '#bench/workloads.js'

const [what = '', count = '5'] = process.argv.slice(2)
const rounds = Number(count)

async function seconds(f: () => Promise<unknown>): Promise<number> {
  const before = performance.now()
  await f()
  await synchronize()
  return (performance.now() - before) / 1000
}

/** Time of `a` over that of `b`, one after the other, after a round that does not count. */
async function ratios(a: () => Promise<unknown>, b: () => Promise<unknown>): Promise<number[]> {
  const result: number[] = []
  for (let i = 0; i <= rounds; i++) {
    const ratio = (await seconds(a)) / (await seconds(b))
    if (i > 0) result.push(ratio)
  }
  return result
}

/** Steps with numbers of about this size: products, states, squares of gradients. */
function layer(size: number): () => Promise<void> {
  const lstm = new nn.LSTM(128, 128)
  for (const parameter of lstm.parameters()) nn.init.uniform(parameter, -size, size)
  const x = randn([30, 32, 128]).mul(size).detach()
  const optimizer = new optim.Adam(lstm.parameters(), { lr: size / 1e6 })
  return async () => {
    for (let i = 0; i < 40; i++) {
      optimizer.zeroGrad()
      const [y] = lstm.forward(x)
      y.mul(size).sum().backward()
      await optimizer.step()
    }
  }
}

/** The same in this language, which does not flush them: that the processor minds. */
function script(size: number): () => Promise<void> {
  const values = new Float64Array(4096).fill(size)
  return async () => {
    for (let i = 0; i < 3000; i++) {
      for (let j = 0; j < values.length; j++) values[j] = (values[j] as number) * 0.75 + size
    }
  }
}

/** The Trainer, with what it checks before each update: all gradients, or the loss alone. */
function training(name: string, checks: 'all' | 'loss'): () => Promise<unknown> {
  const workload = workloads.find((one) => one.name === name)
  if (workload === undefined) throw new Error(`no workload ${name}`)
  const { model, forward } = build(workload)
  class Trained extends nn.Module {
    readonly model = model
    forward(): void {}
    override namedParameters(): [string, Tensor][] {
      return checks === 'all' ? super.namedParameters() : []
    }
    trainingStep(): Tensor {
      const y = forward()
      return y.mul(y).mean()
    }
  }
  const trained = new Trained()
  const optimizer = new optim.SGD(model.parameters(), { lr: 0.01, maxGradNorm: 1 })
  const batches = Array.from({ length: 50 }, (_, i) => i)
  const maxEpochs = name === 'dinos-rnn' ? 40 : 1
  return () =>
    new Trainer({ maxEpochs, progressBar: false }).fit(trained, batches, null, { optimizer })
}

const result: Record<string, number[]> = {}
if (what === 'denormals') {
  result.layer = await ratios(layer(1e-20), layer(0.1))
  result.script = await ratios(script(1e-310), script(0.1))
} else {
  for (const name of ['lyrics-lstm', 'ptb-rnnlm', 'dinos-rnn'])
    result[name] = await ratios(training(name, 'all'), training(name, 'loss'))
}
console.log(JSON.stringify(result))
