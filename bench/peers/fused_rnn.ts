/** Our side of the benchmark; bench/peers/protocol.md says what a peer is. */
import { createInterface } from 'node:readline'
import { type DType, getNumThreads, nn, optim, setNumThreads, type Tensor, tensor } from 'fused-rnn'
import type { Workload } from '../workloads.js'

const LEARNING_RATE = 0.1
const MAX_NORM = 1

/** Deterministic whole numbers below n. */
function indices(count: number, n: number): Int32Array {
  let state = 1
  return Int32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return (state >>> 8) % n
  })
}

/** Any of the layers, where only the output is wanted. */
type Recurrent = nn.Module & { forward(x: Tensor): [output: Tensor, state: unknown] }

function recurrent(w: Workload, inputs: number): Recurrent {
  const Layer = { rnn: nn.RNN, gru: nn.GRU, lstm: nn.LSTM }[w.cell]
  return new Layer(inputs, w.hidden, {
    numLayers: w.layers,
    bidirectional: w.bidirectional,
    dropout: w.layers > 1 ? w.dropout : 0,
  })
}

class LanguageModel extends nn.Module {
  readonly embedding: nn.Embedding | null
  readonly rnn: Recurrent
  readonly dropout: nn.Dropout
  readonly decoder: nn.Linear

  constructor(readonly w: Workload) {
    super()
    this.embedding = w.embedding > 0 ? new nn.Embedding(w.vocabulary, w.embedding) : null
    this.rnn = recurrent(w, w.embedding > 0 ? w.embedding : w.vocabulary)
    this.dropout = new nn.Dropout(w.dropout)
    this.decoder = new nn.Linear(w.hidden * (w.bidirectional ? 2 : 1), w.vocabulary)
    if (w.tied && this.embedding) this.decoder.weight = this.embedding.weight
  }

  forward(tokens: Tensor): Tensor {
    const { w } = this
    let x = this.embedding
      ? this.embedding.forward(tokens)
      : nn.functional.oneHot(tokens, w.vocabulary)
    if (w.dropout > 0) x = this.dropout.forward(x)
    let [y] = this.rnn.forward(x)
    if (w.dropout > 0) y = this.dropout.forward(y)
    return this.decoder.forward(y.reshape([w.steps * w.batch, y.shape[2] as number]))
  }
}

class Tagger extends nn.Module {
  readonly rnn: Recurrent
  readonly decoder: nn.Linear

  constructor(readonly w: Workload) {
    super()
    this.rnn = recurrent(w, w.vocabulary)
    this.decoder = new nn.Linear(w.hidden, 1)
  }

  forward(x: Tensor): Tensor {
    return this.decoder.forward(this.rnn.forward(x)[0])
  }
}

class Seq2Seq extends nn.Module {
  readonly encoder: nn.RNN
  readonly decoder: nn.RNN
  readonly out: nn.Linear

  constructor(readonly w: Workload) {
    super()
    this.encoder = new nn.RNN(w.vocabulary, w.hidden)
    this.decoder = new nn.RNN(w.vocabulary, w.hidden)
    this.out = new nn.Linear(w.hidden, w.vocabulary)
  }

  forward(source: Tensor, target: Tensor): Tensor {
    const { w } = this
    const [, state] = this.encoder.forward(nn.functional.oneHot(source, w.vocabulary))
    const [y] = this.decoder.forward(nn.functional.oneHot(target, w.vocabulary), state)
    return this.out.forward(y.reshape([w.steps * w.batch, w.hidden]))
  }
}

/** One training step's loss. */
function build(w: Workload): { model: nn.Module; loss: () => Tensor } {
  const count = w.steps * w.batch
  const int = { dtype: 'int32' as DType }
  if (w.kind === 'tagger') {
    const model = new Tagger(w)
    const shape = [w.steps, w.batch, w.vocabulary]
    const x = tensor(Float32Array.from(indices(count * w.vocabulary, 2)), { shape })
    const t = tensor(Float32Array.from(indices(count, 2)), { shape: [w.steps, w.batch, 1] })
    const criterion = new nn.BCEWithLogitsLoss()
    return { model, loss: () => criterion.forward(model.forward(x), t) }
  }
  const tokens = tensor(indices(count, w.vocabulary), { shape: [w.steps, w.batch], ...int })
  const targets = tensor(indices(count, w.vocabulary), int)
  const criterion = new nn.CrossEntropyLoss()
  if (w.kind === 'seq2seq') {
    const model = new Seq2Seq(w)
    return { model, loss: () => criterion.forward(model.forward(tokens, tokens), targets) }
  }
  const model = new LanguageModel(w)
  return { model, loss: () => criterion.forward(model.forward(tokens), targets) }
}

const w = JSON.parse(process.argv[2] as string) as Workload
setNumThreads(Number(process.argv[3]))
const { model, loss } = build(w)
const optimizer = new optim.SGD(model.parameters(), { lr: LEARNING_RATE, maxGradNorm: MAX_NORM })

async function run(steps: number): Promise<{ seconds: number; loss: number }> {
  const begin = process.hrtime.bigint()
  let last: Tensor | null = null
  for (let i = 0; i < steps; i++) {
    optimizer.zeroGrad()
    last = loss()
    last.backward()
    await optimizer.step()
  }
  const value = last ? await last.item() : Number.NaN
  return { seconds: Number(process.hrtime.bigint() - begin) / 1e9, loss: value }
}

console.log(JSON.stringify({ ready: 'fused-rnn', threads: getNumThreads() }))
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await run(Number(line))))
}
