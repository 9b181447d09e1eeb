/**
 * What the shape of a sequence costs besides its steps: `node dist-bench/shapes.js [ROUNDS]` after
 * `npm run build && npm run build:bench`.
 *
 * (1) Forward and backward of a layer at growing lengths, in interleaved rounds: the time of one
 * step, over that at length 100. (2) Lengths that the process has not seen: the first call's time
 * over the second's.
 */
import { nn, randn, synchronize, type Tensor } from 'fused-rnn'
import { median } from './reliability/check.js'

const BATCH = 32
const HIDDEN = 256
const LENGTHS = [25, 50, 100, 200, 400, 800, 1600]
const rounds = Number(process.argv[2] ?? 9)

const rnn = new nn.RNN(HIDDEN, HIDDEN)
const gru = new nn.GRU(HIDDEN, HIDDEN)
const lstm = new nn.LSTM(HIDDEN, HIDDEN)
const layers: Record<string, { layer: nn.Module; output: (x: Tensor) => Tensor }> = {
  RNN: { layer: rnn, output: (x) => rnn.forward(x)[0] },
  GRU: { layer: gru, output: (x) => gru.forward(x)[0] },
  LSTM: { layer: lstm, output: (x) => lstm.forward(x)[0] },
}
type One = (typeof layers)[string]

/** Milliseconds of forward and backward over this many steps. */
async function time({ layer, output }: One, length: number): Promise<number> {
  const x = randn([length, BATCH, HIDDEN])
  await synchronize()
  const begin = performance.now()
  output(x).sum().backward()
  await synchronize()
  const took = performance.now() - begin
  layer.zeroGrad()
  return took
}

const spread = (values: number[]): string =>
  `${median(values).toFixed(2)} (${Math.min(...values).toFixed(2)}–${Math.max(...values).toFixed(2)})`

async function linear(name: string, one: One): Promise<void> {
  for (const length of LENGTHS) await time(one, length)
  const ratios = new Map(LENGTHS.map((length) => [length, [] as number[]]))
  for (let i = 0; i < rounds; i++) {
    const perStep = new Map<number, number>()
    for (const length of LENGTHS) perStep.set(length, (await time(one, length)) / length)
    for (const [length, took] of perStep)
      ratios.get(length)?.push(took / (perStep.get(100) as number))
  }
  for (const [length, all] of ratios) console.log(`| ${name} | ${length} | ${spread(all)} |`)
}

async function unseen(name: string, one: One): Promise<void> {
  const ratios: number[] = []
  for (let i = 0; i < 3 * rounds; i++) {
    const length = 101 + 2 * i
    const first = await time(one, length)
    ratios.push(first / (await time(one, length)))
  }
  console.log(`| ${name} | ${spread(ratios)} |`)
}

const size = `batch ${BATCH}, ${HIDDEN} units, forward and backward`
console.log(`\nTime of a step over that at 100 steps; ${size}, ${rounds} rounds\n`)
console.log('| layer | steps | ratio |\n| --- | --- | --- |')
for (const [name, one] of Object.entries(layers)) await linear(name, one)
console.log(`\nThe first call of a length over the second; ${size}\n`)
console.log('| layer | ratio |\n| --- | --- |')
for (const [name, one] of Object.entries(layers)) await unseen(name, one)
