/** Models as ONNX files: the same numbers in ONNX Runtime, for every length and batch size. */
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { manualSeed, models, nn, noGrad, onnx, randn, type Tensor, tensor } from 'fused-rnn'
import { rejectsWith } from './helpers.js'
import { run, same, session, why } from './onnx-runtime.js'

const VARIANTS: Record<string, nn.RNNOptions> = {
  plain: {},
  'two layers': { numLayers: 2 },
  bidirectional: { bidirectional: true },
  'three layers, bidirectional, batchFirst': {
    numLayers: 3,
    bidirectional: true,
    batchFirst: true,
    dropout: 0.5,
  },
  'without bias': { numLayers: 2, bias: false, batchFirst: true },
}

const LAYERS = {
  LSTM: (options: nn.RecurrentOptions) => new nn.LSTM(3, 5, options),
  GRU: (options: nn.RecurrentOptions) => new nn.GRU(3, 5, options),
  'LSTM with peepholes': (options: nn.RecurrentOptions) =>
    new nn.LSTM(3, 5, { ...options, peephole: true }),
  'GRU with the reset before': (options: nn.RecurrentOptions) =>
    new nn.GRU(3, 5, { ...options, resetAfter: false }),
  RNN: (options: nn.RecurrentOptions) => new nn.RNN(3, 5, options),
  'RNN with relu': (options: nn.RecurrentOptions) =>
    new nn.RNN(3, 5, { ...options, nonlinearity: 'relu' }),
}

for (const [name, make] of Object.entries(LAYERS)) {
  run(`${name}: layers, directions, batchFirst, states${why}`, async (t) => {
    manualSeed(1)
    for (const [variant, options] of Object.entries(VARIANTS)) {
      const layer = make(options)
      // In training mode: what is exported is the evaluation mode.
      const exported = await session(layer)
      layer.eval()
      for (const [T, N] of [
        [1, 1],
        [7, 4],
        [12, 2],
      ] as const) {
        const input = randn(layer.batchFirst ? [N, T, 3] : [T, N, 3])
        const state = [layer.numLayers * (layer.bidirectional ? 2 : 1), N, 5]
        const [h0, c0] = [randn(state), randn(state)]
        const what = `${variant}, ${T} steps of ${N}`
        if (layer instanceof nn.LSTM) {
          const [output, [hn, cn]] = noGrad(() => layer.forward(input, [h0, c0]))
          await same(t, exported, { input, h0, c0 }, { output, hn, cn }, what)
        } else {
          const [output, hn] = noGrad(() => layer.forward(input, h0))
          await same(t, exported, { input, h0 }, { output, hn }, what)
        }
      }
    }
  })
}

run(`Embedding, Linear, Sequential of both, for input of any rank${why}`, async (t) => {
  manualSeed(2)
  const embedding = new nn.Embedding(11, 4)
  const linear = new nn.Linear(4, 6)
  const stacked = new nn.Sequential(embedding, new nn.Dropout(0.5), linear, new nn.Linear(6, 2))
  const bare = new nn.Linear(4, 3, { bias: false })
  const indices = (...shape: number[]) =>
    tensor(
      Int32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => (i * 7) % 11),
      { shape },
    )
  for (const input of [indices(5), indices(2, 3), indices(2, 3, 2)]) {
    const rank = `rank ${input.shape.length}`
    await same(t, await session(embedding), { input }, { output: embedding.forward(input) }, rank)
    stacked.train()
    const exported = await session(stacked)
    stacked.eval()
    await same(t, exported, { input }, { output: stacked.forward(input) }, rank)
  }
  for (const input of [randn([4]), randn([3, 4]), randn([2, 3, 4])]) {
    for (const layer of [linear, bare])
      await same(t, await session(layer), { input }, { output: layer.forward(input) }, 'linear')
  }
})

const tokens = (T: number, N: number): Tensor =>
  tensor(
    Int32Array.from({ length: T * N }, (_, i) => (i * 5) % 9),
    { shape: [T, N] },
  )

for (const cell of ['lstm', 'gru', 'rnn'] as const) {
  run(`LanguageModel as a whole, ${cell}: embedding, tied weights, one-hot${why}`, async (t) => {
    manualSeed(3)
    const sizes = { vocabSize: 9, embeddingSize: 6, hiddenSize: 6, cell }
    for (const options of [{}, { tieWeights: true, numLayers: 1 }, { embeddingSize: 0 }]) {
      const model = new models.LanguageModel({ ...sizes, ...options, dropout: 0.3 })
      const exported = await session(model)
      model.eval()
      for (const [T, N] of [
        [1, 1],
        [6, 3],
      ] as const) {
        const state = [model.config.numLayers, N, 6]
        const [h0, c0] = [randn(state), randn(state)]
        const given = cell === 'lstm' ? ([h0, c0] as [Tensor, Tensor]) : h0
        const input = { tokens: tokens(T, N), h0, ...(cell === 'lstm' && { c0 }) }
        const [logits, after] = noGrad(() => model.forward(input.tokens, given))
        const [hn, cn] = [after].flat() as [Tensor, Tensor]
        const expected = { logits, hn, ...(cell === 'lstm' && { cn }) }
        await same(t, exported, input, expected, JSON.stringify(options))
      }
    }
  })
}

run(
  `a file: the weights as they are at the call, one for what is tied, nothing left beside${why}`,
  async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-onnx-'))
    t.teardown(() => rm(folder, { recursive: true }))
    const path = join(folder, 'model.onnx')
    manualSeed(4)
    const sizes = { vocabSize: 500, embeddingSize: 40, hiddenSize: 40, numLayers: 1, cell: 'gru' }
    const model = new models.LanguageModel({ ...sizes, cell: 'gru', tieWeights: true }).eval()
    const h0 = randn([1, 2, 40])
    const [logits, hn] = noGrad(() => model.forward(tokens(3, 2), h0)) as [Tensor, Tensor]
    const written = onnx.export(model, path)
    for (const parameter of model.parameters()) nn.init.zeros(parameter)
    await written
    await same(t, await session(path), { tokens: tokens(3, 2), h0 }, { logits, hn }, 'file')
    t.deepEqual(await readdir(folder), ['model.onnx'])
    const bytes = (await onnx.serialize(model)).length
    const numbers = model.parameters().reduce((sum, { numel }) => sum + numel, 0)
    t.true(bytes > 4 * numbers && bytes < 4 * numbers + 2000, `${bytes} bytes, ${numbers} numbers`)
  },
)

/** Which of three kinds is a sequence of tokens? */
class Classifier extends nn.Module {
  readonly embedding = new nn.Embedding(9, 4)
  readonly rnn = new nn.GRU(4, 5, { bidirectional: true })
  readonly scores = new nn.Linear(10, 3)

  override forward(tokens: Tensor): Tensor {
    const [output] = this.rnn.forward(this.embedding.forward(tokens))
    return this.scores.forward(output.mean(0)).softmax(-1)
  }

  toOnnx(graph: onnx.Graph): void {
    const tokens = graph.input('tokens', 'int32', ['length', 'batch'])
    const [output] = graph.call(this.rnn, graph.call(this.embedding, tokens))
    const mean = graph.node('ReduceMean', [output], { axes: [0], keepdims: 0 })
    const chances = graph.node('Softmax', [graph.call(this.scores, mean)], { axis: -1 })
    graph.output('chances', chances, 'float32', ['batch', 3])
  }
}

run(`a model of one's own says what it is made of; without a state, zeros${why}`, async (t) => {
  manualSeed(5)
  const model = new Classifier()
  const exported = await session(model)
  for (const input of [tokens(2, 1), tokens(8, 5)])
    await same(t, exported, { tokens: input }, { chances: model.forward(input) }, 'chances')
  const text = Buffer.from(await onnx.serialize(model)).toString('latin1')
  for (const name of ['embedding.weight', 'scores.bias', 'rnn.W_l0', 'rnn.R_l0', 'rnn.B_l0'])
    t.true(text.includes(name), name)
})

/** Sequences of several lengths, padded. */
class Padded extends nn.Module {
  readonly rnn: nn.LSTM | nn.GRU

  constructor(rnn: nn.LSTM | nn.GRU) {
    super()
    this.rnn = rnn
  }

  override forward(): void {}

  toOnnx(graph: onnx.Graph): void {
    const x = graph.input('x', 'float32', ['batch', 'sequence', 3])
    const lengths = graph.input('lengths', 'int32', ['batch'])
    const { rnn } = this
    const [output, state] =
      rnn instanceof nn.LSTM ? graph.call(rnn, x, null, lengths) : graph.call(rnn, x, null, lengths)
    graph.output('output', output, 'float32', null)
    for (const [i, part] of [state].flat().entries()) graph.output(`end${i}`, part, 'float32', null)
  }
}

run(`lengths: as packed sequences${why}`, async (t) => {
  manualSeed(6)
  const { packPaddedSequence, padPackedSequence } = nn.utils.rnn
  const options = { bidirectional: true, numLayers: 2, batchFirst: true }
  for (const rnn of [new nn.LSTM(3, 5, options), new nn.GRU(3, 5, options)]) {
    const lengths = Int32Array.of(2, 7, 1, 4)
    const x = randn([4, 7, 3])
    const packed = packPaddedSequence(x, lengths, { batchFirst: true, enforceSorted: false })
    const [y, state] = rnn instanceof nn.LSTM ? rnn.forward(packed) : rnn.forward(packed)
    const [output] = padPackedSequence(y, { batchFirst: true })
    const ends = [state].flat().map((part, i) => [`end${i}`, part] as const)
    const inputs = { x, lengths: tensor(lengths) }
    const expected = { output, ...Object.fromEntries(ends) }
    await same(t, await session(new Padded(rnn)), inputs, expected, rnn.constructor.name)
  }
})

/** Two steps of a cell, the second from the first one's state. */
class Steps extends nn.Module {
  readonly cell: nn.LSTMCell | nn.GRUCell | nn.RNNCell

  constructor(cell: nn.LSTMCell | nn.GRUCell | nn.RNNCell) {
    super()
    this.cell = cell
  }

  override forward(x: Tensor): Tensor {
    const { cell } = this
    if (cell instanceof nn.LSTMCell) return cell.forward(x, cell.forward(x))[0]
    return cell.forward(x, cell.forward(x))
  }

  toOnnx(graph: onnx.Graph): void {
    const x = graph.input('x', 'float32', ['batch', 3])
    const { cell } = this
    const h =
      cell instanceof nn.LSTMCell
        ? graph.call(cell, x, graph.call(cell, x))[0]
        : graph.call(cell, x, graph.call(cell, x))
    graph.output('h', h, 'float32', ['batch', 5])
  }
}

run(`the cells${why}`, async (t) => {
  manualSeed(7)
  const cells = [
    new nn.LSTMCell(3, 5),
    new nn.GRUCell(3, 5),
    new nn.LSTMCell(3, 5, { peephole: true }),
    new nn.GRUCell(3, 5, { resetAfter: false }),
    new nn.RNNCell(3, 5, { bias: false }),
    new nn.RNNCell(3, 5, { nonlinearity: 'relu' }),
  ]
  const large = new Steps(new nn.GRUCell(3, 100))
  const numbers = large.parameters().reduce((sum, { numel }) => sum + numel, 0)
  t.true((await onnx.serialize(large)).length < 4.5 * numbers, 'the weights are there once')
  for (const cell of cells) {
    const model = new Steps(cell)
    const exported = await session(model)
    for (const x of [randn([1, 3]), randn([4, 3])])
      await same(t, exported, { x }, { h: model.forward(x) }, String(cell))
  }
})

test.serial('errors: what ONNX does not have, what is no model, what is no value', async (t) => {
  const zoned = new nn.LSTM(3, 5, { zoneout: 0.1 })
  await rejectsWith(
    t,
    onnx.serialize(zoned),
    TypeError,
    /^\[onnx\.serialize\] layer: expected no zoneout, got 0\.1: .* set layer\.zoneout = 0/,
  )
  class Wrapped extends nn.Module {
    readonly inner = zoned
    build: (graph: onnx.Graph) => void = (graph) =>
      graph.call(this.inner, graph.input('x', 'float32', null))
    override forward(): void {}
    toOnnx(graph: onnx.Graph): void {
      this.build(graph)
    }
  }
  const model = new Wrapped()
  const failing = async (kind: ErrorConstructor, message: RegExp, build?: typeof model.build) => {
    if (build !== undefined) model.build = build
    await rejectsWith(t, onnx.export(model, 'never.onnx'), kind, message)
  }
  await failing(TypeError, /^\[onnx\.export\] layer: expected no zoneout/)
  const layers =
    /expected one of the recurrent cells, a recurrent layer, Embedding, Linear, Dropout, a Sequential of/
  await failing(TypeError, layers, (graph) => {
    graph.call(new nn.ModuleList() as never, graph.input('x', 'float32', null))
  })
  await failing(TypeError, /Sequential: expected layers with one output, got an/, (graph) => {
    const inside = new nn.Sequential(new nn.GRU(2, 2))
    graph.call(inside, graph.input('x', 'float32', null))
  })
  await failing(
    TypeError,
    /inputs\[0\] of Relu: expected a value of this graph, got und/,
    (graph) => graph.node('Relu', [undefined as never]),
  )
  await failing(TypeError, /state: expected a pair \[h, c\], got/, (graph) => {
    const x = graph.input('x', 'float32', null)
    graph.call(new nn.LSTM(2, 2), x, x as never)
  })
  await failing(RangeError, /name: expected one that the graph does not have, got 'x'/, (graph) => {
    graph.input('x', 'float32', null)
    graph.input('x', 'float32', null)
  })
  await failing(TypeError, /dtype: expected one of 'float32', 'int32', 'int64'/, (graph) =>
    graph.input('x', 'float64' as never, null),
  )
  for (const [shape, message] of [
    [[1, -1], /shape\[1\]: expected a whole number of at least 0, got -1/],
    [[null], /shape\[0\]: expected a size or the name of one, got null/],
    [3, /shape: expected an array of sizes, or null, got 3/],
  ] as const)
    await failing(Error, message, (graph) => graph.input('x', 'float32', shape as never))
  await failing(RangeError, /ints\[1\]: expected a whole number, got 0\.5/, (graph) =>
    graph.ints(1, 0.5),
  )
  await failing(RangeError, /Softmax\.axis: expected a whole number, got 0\.5/, (graph) =>
    graph.node('Softmax', [graph.input('x', 'float32', null)], { axis: 0.5 }),
  )
  await failing(RangeError, /model\.toOnnx: expected at least one output, declared at/, () => {})
  await failing(TypeError, /weight: expected a tensor, got 1/, (graph) => graph.weight(1 as never))
  await rejectsWith(t, onnx.serialize(new nn.LSTMCell(2, 2)), TypeError, /or a module with toOnnx/)
  await rejectsWith(t, onnx.serialize({} as never), TypeError, /model: expected a module/)
  await rejectsWith(t, onnx.export(new nn.Linear(1, 1), ''), TypeError, /path: expected the path/)
  await rejectsWith(
    t,
    onnx.export(new nn.Linear(1, 1), join(tmpdir(), 'fused-rnn-no-such-folder', 'model.onnx')),
    Error,
    /^\[onnx\.export\] .*model\.onnx: no such file or folder$/,
  )
})
