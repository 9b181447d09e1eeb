/** Cells that ONNX has no operator for, as loops (Scan): the same numbers in ONNX Runtime. */
import test from 'ava'
import {
  type data,
  manualSeed,
  models,
  nn,
  noGrad,
  onnx,
  randn,
  type Tensor,
  tensor,
} from 'fused-rnn'
import { onCpu, rejectsWith, testDevice } from './helpers.js'
import { forward, type Layer, namesOf, Padded, stateOf } from './onnx-layers.js'
import { type Named, run, same, session, why } from './onnx-runtime.js'

type Options = Omit<nn.RecurrentOptions, 'zoneout' | 'recurrentDropout' | 'weightDropout'>

const [I, H] = [3, 6]

const LAYERS: Record<string, (options: Options) => Layer> = {
  IndRNN: (options) => new nn.IndRNN(I, H, options),
  'IndRNN with tanh': (options) => new nn.IndRNN(I, H, { ...options, nonlinearity: 'tanh' }),
  SRU: (options) => new nn.SRU(I, H, options),
  'SRU of inputs as wide as it': (options) => new nn.SRU(H, H, options),
  MinGRU: (options) => new nn.MinGRU(I, H, options),
  MinLSTM: (options) => new nn.MinLSTM(I, H, options),
  SLSTM: (options) => new nn.SLSTM(I, H, options),
  'SLSTM of three heads': (options) => new nn.SLSTM(I, H, { ...options, numHeads: 3 }),
  LayerNormLSTM: (options) => new nn.LayerNormLSTM(I, H, options),
  'LayerNormLSTM with a projection': (options) =>
    new nn.LayerNormLSTM(I, H, { ...options, projSize: 2 }),
  'LSTM with a projection': (options) => new nn.LSTM(I, H, { ...options, projSize: 2 }),
  'LSTM with a projection and peepholes': (options) =>
    new nn.LSTM(I, H, { ...options, projSize: 2, peephole: true }),
}

const VARIANTS: Record<string, Options> = {
  plain: {},
  'three layers, bidirectional, batchFirst': {
    numLayers: 3,
    bidirectional: true,
    batchFirst: true,
    dropout: 0.5,
  },
  'two layers without bias': { numLayers: 2, bias: false },
}

const named = (names: string[], tail: string, values: Tensor[]): Named =>
  Object.fromEntries(names.map((name, i) => [`${name}${tail}`, values[i] as Tensor]))

/** Layer norms divide by deviations, which may be small: rounding comes out larger. */
const toleranceOf = (layer: Layer): number => (layer instanceof nn.LayerNormLSTM ? 1e-4 : 2e-5)

for (const [title, make] of Object.entries(LAYERS)) {
  run(`${title}: layers, directions, batchFirst, states${why}`, async (t) => {
    manualSeed(1)
    for (const [variant, options] of Object.entries(VARIANTS)) {
      const layer = make(options)
      // In training mode: what is exported is the evaluation mode.
      const exported = await session(layer)
      layer.eval()
      const names = namesOf(layer)
      for (const [T, N] of [
        [1, 1],
        [7, 4],
        [12, 2],
      ] as const) {
        const { inputSize, batchFirst } = layer
        const input = randn(batchFirst ? [N, T, inputSize] : [T, N, inputSize])
        const before = stateOf(layer, N)
        const [output, after] = forward(layer, input, before)
        const inputs = { input, ...named(names, '0', before) }
        const expected = { output, ...named(names, 'n', after) }
        const what = `${variant}, ${T} steps of ${N}`
        await same(t, exported, inputs, expected, what, toleranceOf(layer))
      }
    }
  })
}

run(`lengths: as packed sequences${why}`, async (t) => {
  manualSeed(2)
  const options = { bidirectional: true, numLayers: 2, batchFirst: true }
  for (const [title, make] of Object.entries(LAYERS)) {
    const rnn = make(options)
    if (rnn.inputSize !== I) continue
    const lengths = Int32Array.of(2, 7, 1, 4)
    const x = randn([4, 7, I])
    const model = new Padded(rnn)
    const [output, ...after] = noGrad(() => model.forward(x, lengths)) as [Tensor, ...Tensor[]]
    const ends = after.map((part, i) => [`end${i}`, part] as const)
    const expected = { output, ...Object.fromEntries(ends) }
    const inputs = { x, lengths: tensor(lengths) }
    await same(t, await session(model), inputs, expected, title, toleranceOf(rnn))
  }
})

type Cell =
  | nn.IndRNNCell
  | nn.SRUCell
  | nn.MinGRUCell
  | nn.MinLSTMCell
  | nn.SLSTMCell
  | nn.LayerNormLSTMCell

/** Two steps of a cell, the second from the first one's state. */
class Steps extends nn.Module {
  readonly cell: Cell

  constructor(cell: Cell) {
    super()
    this.cell = cell
  }

  /** What the second step takes of what the first one gave. */
  #stateOf<T>(result: T | readonly T[]): unknown {
    return this.cell instanceof nn.SRUCell ? (result as readonly T[])[1] : result
  }

  override forward(x: Tensor): Tensor[] {
    const step = (state?: unknown): Tensor | Tensor[] =>
      (this.cell as nn.GRUCell).forward(x, state as Tensor) as Tensor | Tensor[]
    return [step(this.#stateOf(step()))].flat()
  }

  toOnnx(graph: onnx.Graph): void {
    const x = graph.input('x', 'float32', ['batch', this.cell.inputSize])
    const step = (state?: unknown): onnx.Value | onnx.Value[] =>
      graph.call(this.cell as nn.GRUCell, x, state as onnx.Value)
    for (const [i, value] of [step(this.#stateOf(step()))].flat().entries())
      graph.output(`y${i}`, value, 'float32', ['batch', H])
  }
}

run(`the cells${why}`, async (t) => {
  manualSeed(3)
  for (const cell of [
    new nn.IndRNNCell(I, H),
    new nn.IndRNNCell(I, H, { nonlinearity: 'tanh', bias: false }),
    new nn.SRUCell(I, H),
    new nn.SRUCell(H, H, { bias: false }),
    new nn.MinGRUCell(I, H),
    new nn.MinLSTMCell(I, H),
    new nn.SLSTMCell(I, H),
    new nn.SLSTMCell(I, H, { numHeads: 2, bias: false }),
    new nn.LayerNormLSTMCell(I, H),
  ]) {
    const model = new Steps(cell)
    const exported = await session(model)
    for (const N of [1, 4]) {
      const x = randn([N, cell.inputSize])
      const outputs = noGrad(() => model.forward(x)).map((value, i) => [`y${i}`, value] as const)
      await same(t, exported, { x }, Object.fromEntries(outputs), String(cell))
    }
  }
})

const CELLS = ['layerNormLSTM', 'indRNN', 'sru', 'minGRU', 'minLSTM', 'sLSTM'] as const

run(`LanguageModel of every cell${why}`, async (t) => {
  manualSeed(4)
  for (const cell of CELLS) {
    const sizes = { vocabSize: 9, embeddingSize: 5, hiddenSize: 6, numLayers: 2 }
    const model = new models.LanguageModel({ ...sizes, cell, dropout: 0.3 })
    const exported = await session(model)
    model.eval()
    const names = namesOf(model.rnn as Layer)
    const tokens = tensor([1, 2, 3, 4, 5, 6, 7, 8], { shape: [4, 2], dtype: 'int32' })
    const before = stateOf(model.rnn as Layer, 2)
    const given = before.length === 1 ? before[0] : before
    const [logits, after] = noGrad(() => model.forward(tokens, given as Tensor))
    const inputs = { tokens, ...named(names, '0', before) }
    await same(t, exported, inputs, { logits, ...named(names, 'n', [after].flat()) }, cell)
  }
})

const onCpuOnly = onCpu ? run : test.skip
onCpuOnly(`a task's model of every cell, of texts of several lengths${why}`, async (t) => {
  const mails = Array.from({ length: 8 }, (_, i) => ({
    input: i % 3 === 0 ? 'a prize for you' : 'see you at noon',
    label: i % 3 === 0 ? 'spam' : 'ham',
  }))
  for (const cell of CELLS) {
    const options = { cell, hiddenSize: 5, embeddingSize: 4, numLayers: 2, bidirectional: true }
    const model = new models.SequenceClassifier(options)
    await model.fit(mails, { progressBar: false, seed: 1, maxEpochs: 1 })
    const exported = await session(model)
    const { vocabulary } = model as unknown as { vocabulary: data.Vocabulary }
    const [long, short] = ['a prize for', 'you'].map((text) => [
      ...vocabulary.encode(text.split(' ')),
    ]) as [number[], number[]]
    const tokens = Int32Array.of(...long, ...short, 0, 0)
    const said = await model.predict(['a prize for', 'you'])
    const scores = tensor(
      said.flatMap((one) => (model.state?.classes ?? []).map((name) => one.scores[`${name}`] ?? 0)),
      { shape: [2, 2], device: 'cpu' },
    )
    const lengths = tensor(Int32Array.of(3, 1))
    const given = { tokens: tensor(tokens, { shape: [2, 3] }), lengths }
    await same(t, exported, given, { scores }, cell)
  }
})

/** x(t) and what came before it, from a total that is given. */
class Totals extends nn.Module {
  readonly scale = nn.Parameter(tensor([2, 3], { device: testDevice }))
  build: (graph: onnx.Graph, x: onnx.Value, total: onnx.Value) => void = (graph, x, total) => {
    const [[end], [sums]] = graph.scan([total], [x], ([sum], [row]) => {
      const scaled = graph.node('Mul', [row as onnx.Value, graph.weight(this.scale)])
      const next = graph.node('Add', [sum as onnx.Value, scaled])
      return [[next], [next]]
    })
    graph.output('sums', sums as onnx.Value, 'float32', ['steps', 2])
    graph.output('end', end as onnx.Value, 'float32', [2])
  }

  override forward(): void {}

  toOnnx(graph: onnx.Graph): void {
    const x = graph.input('x', 'float32', ['steps', 2])
    this.build(graph, x, graph.input('total', 'float32', [2]))
  }
}

run(`graph.scan: a loop of one's own${why}`, async (t) => {
  const x = tensor([1, 0, 2, 1, 3, 1], { shape: [3, 2] })
  const sums = tensor([3, 1, 7, 4, 13, 7], { shape: [3, 2] })
  const [total, end] = [tensor([1, 1]), tensor([13, 7])]
  await same(t, await session(new Totals()), { x, total }, { sums, end }, 'totals')
})

test('errors: values of a body outside it, states that do not fit, what cannot be exported', async (t) => {
  const model = new Totals()
  const failing = async (message: RegExp, build: Totals['build']): Promise<void> => {
    model.build = build
    await rejectsWith(t, onnx.serialize(model), TypeError, message)
  }
  let inner: onnx.Value
  await failing(/inputs\[0\] of Neg: expected a value from outside the body/, (graph, x, total) => {
    graph.scan([total], [x], (states, [row]) => {
      inner = row as onnx.Value
      return [states, []]
    })
    graph.node('Neg', [inner])
  })
  await failing(/scan\.inputs: expected at least one value/, (graph, _, total) =>
    graph.scan([total], [], (states) => [states, []]),
  )
  await failing(/scan\.body: expected 1 new states/, (graph, x, total) =>
    graph.scan([total], [x], () => [[], []]),
  )
  for (const call of ['input', 'output'] as const)
    await failing(/expected a call outside the body of a scan/, (graph, x, total) => {
      graph.scan([total], [x], (states) => {
        if (call === 'input') graph.input('y', 'float32', null)
        else graph.output('y', x, 'float32', null)
        return [states, []]
      })
    })
  await failing(/state: expected an array of 4, \[h, c, n, m\]/, (graph, x, total) => {
    graph.call(new nn.SLSTM(2, 2), x, [total, total] as never)
  })
  await failing(/state: expected the value c/, (graph, x, total) => {
    graph.call(new nn.SRU(2, 2), x, [total, total] as never)
  })
  const zoned = new nn.SLSTM(2, 2, { zoneout: 0.1 })
  await rejectsWith(t, onnx.serialize(zoned), TypeError, /expected no zoneout.*layer\.zoneout = 0/)
  const Own = nn.recurrent({ name: 'Own', step: (x, h) => x.add(h).tanh() })
  const advice = /got Own, whose step is a function of its own: .* toOnnx\(graph\) .* graph\.scan/
  await rejectsWith(t, onnx.serialize(new Own(2, 2)), TypeError, advice)
})
