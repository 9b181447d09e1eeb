/**
 * Trains small models with every cell, optimiser and way of clipping, and prints their losses as JSON.
 * Under mpirun each process has a part of every batch; the mean of their losses is what the whole
 * batch would have.
 */
import { distributed, manualSeed, nn, optim, randn, setNumThreads, Tensor, tensor } from 'fused-rnn'
import { backend } from './backend.js'

const STEPS = 12
const [T, B, I, H, C] = [5, 8, 3, 6, 4]

setNumThreads(1)
const parallel = process.argv[2] === 'parallel'
if (parallel) await distributed.init({ backend })
const rank = parallel ? distributed.rank() : 0
const size = parallel ? distributed.worldSize() : 1

const layers = {
  tanh: () => new nn.RNN(I, H),
  relu: () => new nn.RNN(I, H, { nonlinearity: 'relu' }),
  gru: () => new nn.GRU(I, H, { numLayers: 2 }),
  lstm: () => new nn.LSTM(I, H),
  projected: () => new nn.LSTM(I, H, { projSize: 4 }),
  bidirectional: () => new nn.LSTM(I, H, { bidirectional: true, numLayers: 2 }),
}
const optimisers = {
  sgd: (p: Tensor[], clip: object) => new optim.SGD(p, { lr: 0.5, ...clip }),
  nesterov: (p: Tensor[], clip: object) =>
    new optim.SGD(p, { lr: 0.2, momentum: 0.9, nesterov: true, weightDecay: 0.01, ...clip }),
  adam: (p: Tensor[], clip: object) => new optim.Adam(p, { lr: 0.02, ...clip }),
  amsgrad: (p: Tensor[], clip: object) => new optim.Adam(p, { lr: 0.02, amsgrad: true, ...clip }),
  adamw: (p: Tensor[], clip: object) => new optim.AdamW(p, { lr: 0.02, ...clip }),
}
const clips = {
  none: {},
  norm: { maxGradNorm: 0.1 },
  value: { maxGradValue: 0.01 },
  both: { maxGradNorm: 0.2, maxGradValue: 0.05 },
}

class Model extends nn.Module {
  rnn: nn.RecurrentLayer
  out: nn.Linear
  constructor(rnn: nn.RecurrentLayer) {
    super()
    this.rnn = rnn
    this.out = new nn.Linear((rnn.projSize || H) * (rnn.bidirectional ? 2 : 1), C)
  }
  /** Reads (T, b, I) with the state of the batch before. */
  override forward(x: Tensor, state?: nn.RecurrentState): [Tensor, nn.RecurrentState] {
    const [y, next] = this.rnn.forward(x, state)
    return [this.out.forward(y.reshape([-1, y.shape[2] as number])), next]
  }
}

const detached = (state: nn.RecurrentState): nn.RecurrentState =>
  state instanceof Tensor ? state.detach() : [state[0].detach(), state[1].detach()]

async function losses(
  layer: keyof typeof layers,
  optimiser: keyof typeof optimisers,
  clip: keyof typeof clips,
): Promise<number[]> {
  manualSeed(1)
  const x = randn([T, B, I])
  const targets = Int32Array.from({ length: T * B }, (_, i) => (i * i) % C)
  const whole = tensor(targets, { shape: [T, B] })
  // Other values than those of rank 0, which all processes get.
  if (rank > 0) manualSeed(2)
  const model = new Model(layers[layer]())
  const trained = parallel
    ? new nn.parallel.DistributedDataParallel(model, { bucketCapMb: 0.0005 })
    : model
  const optimizer = optimisers[optimiser](trained.parameters(), clips[clip])
  const [from, to] = [(rank * B) / size, ((rank + 1) * B) / size]
  const part = x.slice(1, from, to)
  const target = whole.slice(1, from, to).reshape([-1])
  const criterion = new nn.CrossEntropyLoss()
  const all: Tensor[] = []
  let state: nn.RecurrentState | undefined
  for (let step = 0; step < STEPS; step++) {
    optimizer.zeroGrad()
    const [logits, next] = trained.forward(part, state)
    state = detached(next)
    const loss = criterion.forward(logits, target)
    loss.backward()
    await optimizer.step()
    const mean = loss.detach().clone()
    if (parallel) distributed.allReduce(mean, { op: 'avg' })
    all.push(mean)
  }
  return Promise.all(all.map((loss) => loss.item()))
}

const result: Record<string, number[]> = {}
const names = <K extends string>(of: Record<K, unknown>): K[] => Object.keys(of) as K[]
for (const layer of names(layers)) result[layer] = await losses(layer, 'adam', 'norm')
for (const optimiser of names(optimisers)) {
  for (const clip of names(clips))
    result[`${optimiser} ${clip}`] = await losses('lstm', optimiser, clip)
}
if (rank === 0) console.log(JSON.stringify(result))
