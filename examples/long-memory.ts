/**
 * What a cell can remember: the adding problem and the copying problem (Hochreiter & Schmidhuber 1997, in
 * the form of Arjovsky, Shah & Bengio 2016) over every cell of the library, as a table.
 *
 * Adding: T pairs of a number in [0, 1) and a mark; two numbers are marked, one in each half; what is
 * asked for is their sum. Copying: ten symbols of eight, T blanks, then a sign to write the symbols down.
 */
import { InvalidArgumentError } from 'commander'
import { nn, optim, synchronize, type Tensor, tensor } from 'fused-rnn'
import { choice, count, fail, options, Progress } from './common.js'

/** A layer of any kind. */
type Layer = nn.RecurrentLayer<Tensor | readonly Tensor[]>
type Size = [inputs: number, hidden: number, options: { numLayers: number }]

const cells: Record<string, (...size: Size) => Layer> = {
  RNN: (i, h, o) => new nn.RNN(i, h, o),
  GRU: (i, h, o) => new nn.GRU(i, h, o),
  LSTM: (i, h, o) => new nn.LSTM(i, h, o),
  'LSTM, forgetBias 1': (i, h, o) => new nn.LSTM(i, h, { ...o, forgetBias: 1 }),
  'LSTM, peephole': (i, h, o) => new nn.LSTM(i, h, { ...o, peephole: true }),
  LayerNormLSTM: (i, h, o) => new nn.LayerNormLSTM(i, h, { ...o, forgetBias: 1 }),
  SLSTM: (i, h, o) => new nn.SLSTM(i, h, o),
  IndRNN: (i, h, o) => new nn.IndRNN(i, h, o),
  SRU: (i, h, o) => new nn.SRU(i, h, o),
  MinGRU: (i, h, o) => new nn.MinGRU(i, h, o),
  MinLSTM: (i, h, o) => new nn.MinLSTM(i, h, o),
}

const BLANK = 8
const SIGN = 9
const SYMBOLS = 10

/** A batch: the inputs `(steps, N, inputs)`, and the loss of what the network makes of them. */
interface Batch {
  inputs: Tensor
  loss: (outputs: Tensor) => Tensor
}

interface Problem {
  inputs: number
  outputs: number
  /** The loss of one who knows the rules and remembers nothing. */
  naive: number
  batch: (length: number, size: number) => Batch
}

const below = (n: number): number => Math.floor(random() * n)

const problems: Record<string, Problem> = {
  adding: {
    inputs: 2,
    outputs: 1,
    naive: 1 / 6, // the variance of a sum of two
    batch(length, size) {
      const inputs = Float32Array.from({ length: length * size * 2 }, (_, i) =>
        i % 2 === 0 ? random() : 0,
      )
      const half = length >> 1
      const sums = Array.from({ length: size }, (_, n) => {
        const places = [below(half), half + below(length - half)].map((t) => 2 * (t * size + n))
        for (const at of places) inputs[at + 1] = 1
        return places.reduce((sum, at) => sum + (inputs[at] as number), 0)
      })
      const target = tensor(sums, { shape: [size, 1] })
      return {
        inputs: tensor(inputs, { shape: [length, size, 2] }),
        loss: (outputs) => nn.functional.mseLoss(outputs.select(0, length - 1), target),
      }
    },
  },
  copying: {
    inputs: SIGN + 1,
    outputs: BLANK,
    naive: Math.log(BLANK), // one of eight
    batch(length, size) {
      const steps = length + 2 * SYMBOLS
      const tokens = new Int32Array(steps * size).fill(BLANK)
      const symbols = Int32Array.from({ length: SYMBOLS * size }, () => below(BLANK))
      tokens.set(symbols)
      tokens.fill(SIGN, (steps - SYMBOLS) * size, (steps - SYMBOLS + 1) * size)
      const target = tensor(symbols)
      return {
        inputs: nn.functional.oneHot(tensor(tokens, { shape: [steps, size] }), SIGN + 1),
        loss: (outputs) => {
          const last = outputs.slice(0, steps - SYMBOLS).reshape([-1, BLANK])
          return nn.functional.crossEntropy(last, target)
        },
      }
    },
  },
}

/** What a unit of an IndRNN makes of its old value, within 2^(1/T): more grows beyond all bounds. */
function bound(layer: nn.IndRNN, steps: number): void {
  const most = 2 ** (1 / steps)
  const weights = [...layer.stateDict()].filter(([name]) => name.startsWith('weight_hh'))
  const bounded = weights.map(([name, u]) => [name, u.clamp(-most, most)] as const)
  layer.loadStateDict(new Map(bounded), { strict: false })
}

class Network extends nn.Module {
  readonly decoder: nn.Linear

  constructor(
    readonly rnn: Layer,
    outputs: number,
  ) {
    super()
    this.decoder = new nn.Linear(rnn.hiddenSize, outputs)
  }

  override forward(x: Tensor): Tensor {
    return this.decoder.forward(this.rnn.forward(x)[0])
  }
}

const list = (value: string): string[] => value.split(';').map((name) => name.trim())
function lengths(value: string): number[] {
  const found = value.split(',').map(Number)
  if (!found.every((n) => Number.isInteger(n) && n >= 2))
    throw new InvalidArgumentError('It has to be whole numbers of at least 2: 200,1000')
  return found
}

const given = options<{
  problem: string
  lengths: number[]
  cells: string[]
  hidden: number
  layers: number
  batch: number
}>(
  'What every cell remembers: adding and copying over long sequences. An epoch is one batch.',
  { epochs: 1000 },
  (command) =>
    command
      .addOption(choice('--problem <name>', 'which one', ['both', ...Object.keys(problems)]))
      .option('--lengths <numbers>', 'T, with commas between', lengths, [200])
      .option('--cells <names>', `with semicolons between: ${Object.keys(cells).join('; ')}`, list)
      .option('--hidden <number>', 'units of a layer', count, 128)
      .option('--layers <number>', 'layers', count, 2)
      .option('--batch <number>', 'sequences at once', count, 32),
)
const names = given.cells ?? Object.keys(cells)
const unknown = names.find((name) => cells[name] === undefined)
if (unknown !== undefined) fail(`--cells: no cell '${unknown}'`)
const chosen = given.problem === 'both' ? Object.keys(problems) : [given.problem]

/** Numbers in [0, 1) (mulberry32): every cell sees the same batches. */
let state = 0
function random(): number {
  state = (state + 0x6d2b79f5) | 0
  let x = Math.imul(state ^ (state >>> 15), 1 | state)
  x ^= x + Math.imul(x ^ (x >>> 7), 61 | x)
  return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
}

/** Trains one cell; its row. Ends early when the loss is 5 % of the naive one. */
async function train(name: string, problem: Problem, length: number, progress: Progress) {
  const { hidden, layers: numLayers, batch, epochs } = given
  state = given.seed
  const make = cells[name] as (...size: Size) => Layer
  const network = new Network(make(problem.inputs, hidden, { numLayers }), problem.outputs)
  const optimizer = new optim.Adam(network.parameters(), { lr: 2e-3, maxGradNorm: 1 })
  const shares: number[] = []
  const times: number[] = []
  const mean = (): number => {
    const last = shares.slice(-20)
    return last.reduce((sum, x) => sum + x, 0) / last.length
  }
  while (shares.length < epochs && (shares.length < 20 || mean() > 0.05)) {
    const { inputs, loss } = problem.batch(length, batch)
    await synchronize()
    const begin = performance.now()
    optimizer.zeroGrad()
    const value = loss(network.forward(inputs))
    value.backward()
    await optimizer.step()
    if (network.rnn instanceof nn.IndRNN) bound(network.rnn, inputs.shape[0] as number)
    shares.push((await value.item()) / problem.naive)
    times.push(performance.now() - begin)
    progress.step()
  }
  for (let rest = shares.length; rest < epochs; rest++) progress.step()
  const weights = network.rnn.parameters().reduce((sum, { numel }) => sum + numel, 0)
  const learned = mean() <= 0.05 ? String(shares.length) : '–'
  const share = `${(100 * mean()).toFixed(mean() < 0.1 ? 1 : 0)} %`
  const median = times.sort((a, b) => a - b)[times.length >> 1] as number
  return [weights, median.toFixed(median < 10 ? 1 : 0), share, learned]
}

const progress = new Progress(chosen.length * given.lengths.length * names.length * given.epochs)
for (const title of chosen) {
  for (const length of given.lengths) {
    const rows = ['weights', 'ms a batch', 'loss of the naive one’s', 'learned after']
    progress.print(
      `\n| ${title}, T ${length} | ${rows.join(' | ')} |\n| --- |${' ---: |'.repeat(4)}`,
    )
    for (const name of names) {
      const row = await train(name, problems[title] as Problem, length, progress)
      progress.print(`| ${name} | ${row.join(' | ')} |`)
    }
  }
}
