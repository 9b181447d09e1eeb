/** ONNX files as modules: what onnx.export wrote comes back to the same numbers, and is trained. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  data,
  manualSeed,
  models,
  nn,
  noGrad,
  onnx,
  optim,
  randn,
  randomState,
  type Tensor,
  tensor,
} from 'fused-rnn'
import { closeTo, fixture, rejectsWith, testDevice, throwsWith } from './helpers.js'

const TOLERANCE = 1e-5

async function folderOf(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-onnx-'))
  t.teardown(() => rm(folder, { recursive: true }))
  return folder
}

/** A model, exported and read again. */
async function again(t: ExecutionContext, model: nn.Module): Promise<onnx.LoadedModel<Tensor[]>> {
  const path = join(await folderOf(t), 'model.onnx')
  await onnx.export(model, path)
  return onnx.load<Tensor[]>(path, { device: testDevice })
}

/** Compares every output. */
async function same(
  t: ExecutionContext,
  loaded: onnx.LoadedModel<Tensor[]>,
  inputs: Record<string, onnx.OnnxInput>,
  expected: Record<string, Tensor>,
  what: string,
  tolerance = TOLERANCE,
): Promise<void> {
  t.deepEqual(loaded.inputNames, Object.keys(inputs), what)
  t.deepEqual(loaded.outputNames, Object.keys(expected), what)
  const found = [noGrad(() => loaded.forward(...Object.values(inputs)))].flat()
  for (const [i, [name, value]] of Object.entries(expected).entries()) {
    t.deepEqual(found[i]?.shape, value.shape, `${what}: shape of ${name}`)
    await closeTo(t, found[i] as Tensor, value, tolerance, `${what}: ${name}`)
  }
}

const VARIANTS: Record<string, nn.RNNOptions> = {
  plain: {},
  'two layers': { numLayers: 2 },
  bidirectional: { bidirectional: true },
  'three layers, bidirectional, batchFirst': {
    numLayers: 3,
    bidirectional: true,
    batchFirst: true,
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

for (const [name, make] of Object.entries(LAYERS))
  test.serial(`${name}: layers, directions, batchFirst, states`, async (t) => {
    manualSeed(1)
    for (const [variant, options] of Object.entries(VARIANTS)) {
      const layer = make(options)
      const before = JSON.stringify(randomState())
      const loaded = await again(t, layer)
      t.is(JSON.stringify(randomState()), before, 'reading draws no random numbers')
      for (const [T, N] of [
        [1, 1],
        [7, 4],
      ] as const) {
        const input = randn(layer.batchFirst ? [N, T, 3] : [T, N, 3])
        const state = [layer.numLayers * (layer.bidirectional ? 2 : 1), N, 5]
        const [h0, c0] = [randn(state), randn(state)]
        const what = `${variant}, ${T} steps of ${N}`
        if (layer instanceof nn.LSTM) {
          const [output, [hn, cn]] = layer.forward(input, [h0, c0])
          await same(t, loaded, { input, h0, c0 }, { output, hn, cn }, what)
        } else {
          const [output, hn] = layer.forward(input, h0)
          await same(t, loaded, { input, h0 }, { output, hn }, what)
        }
      }
    }
  })

test.serial(
  'the weights of layers that recur are those of the original, in its order',
  async (t) => {
    for (const make of Object.values(LAYERS)) {
      const layer = make({ bidirectional: true })
      const loaded = await again(t, layer)
      const [inner] = loaded.layers.values() as [nn.LSTM]
      for (const [name, value] of layer.namedParameters())
        await closeTo(t, inner[name as 'weight_ih_l0'], value, 0, name)
    }
  },
)

test.serial('Embedding, Linear, Sequential of both, for input of any rank', async (t) => {
  manualSeed(2)
  const embedding = new nn.Embedding(11, 4)
  const linear = new nn.Linear(4, 6)
  const stacked = new nn.Sequential(embedding, new nn.Dropout(0.5), linear, new nn.Linear(6, 2))
  const indices = (...shape: number[]) =>
    tensor(
      Int32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => (i * 7) % 11),
      { shape },
    )
  const [a, b, c, d] = await Promise.all(
    [embedding, stacked, linear, new nn.Linear(4, 3, { bias: false })].map((one) => again(t, one)),
  )
  for (const input of [indices(5), indices(2, 3), indices(2, 3, 2)]) {
    await same(t, a as never, { input }, { output: embedding.forward(input) }, 'embedding')
    const output = stacked.eval().forward(input)
    await same(t, b as never, { input }, { output }, 'stacked')
    await same(t, (b as nn.Module).train() as never, { input }, { output }, 'dropout is off')
  }
  for (const input of [randn([4]), randn([3, 4]), randn([2, 3, 4])])
    await same(t, c as never, { input }, { output: linear.forward(input) }, 'linear')
  t.is(d?.parameters().length, 1)
})

const tokens = (T: number, N: number): Tensor =>
  tensor(
    Int32Array.from({ length: T * N }, (_, i) => (i * 5) % 9),
    { shape: [T, N] },
  )

for (const cell of ['lstm', 'gru', 'rnn'] as const)
  test.serial(`LanguageModel as a whole, ${cell}: embedding, tied weights, one-hot`, async (t) => {
    manualSeed(3)
    const sizes = { vocabSize: 9, embeddingSize: 6, hiddenSize: 6, cell }
    for (const options of [{}, { tieWeights: true, numLayers: 1 }, { embeddingSize: 0 }]) {
      const model = new models.LanguageModel({ ...sizes, ...options, dropout: 0.3 }).eval()
      const loaded = await again(t, model)
      if ('tieWeights' in options) t.is(loaded.weights.keys().length, 2, 'one for what is tied')
      const state = [model.config.numLayers, 3, 6]
      const [h0, c0] = [randn(state), randn(state)]
      const given = cell === 'lstm' ? ([h0, c0] as [Tensor, Tensor]) : h0
      const input = { tokens: tokens(6, 3), h0, ...(cell === 'lstm' && { c0 }) }
      const [logits, after] = model.forward(input.tokens, given)
      const [hn, cn] = [after].flat() as [Tensor, Tensor]
      const expected = { logits, hn, ...(cell === 'lstm' && { cn }) }
      await same(t, loaded, input, expected, JSON.stringify(options))
    }
  })

/** A model that is what its function says. */
class Written extends nn.Module {
  readonly inner: nn.Module
  readonly #write: (graph: onnx.Graph) => void

  constructor(write: (graph: onnx.Graph) => void, inner: nn.Module = new nn.Sequential()) {
    super()
    this.inner = inner
    this.#write = write
  }

  override forward(): void {}

  toOnnx(graph: onnx.Graph): void {
    this.#write(graph)
  }
}

test.serial('lengths: as packed sequences, as an array or a tensor made of one', async (t) => {
  manualSeed(6)
  const { packPaddedSequence, padPackedSequence } = nn.utils.rnn
  const options = { bidirectional: true, numLayers: 2, batchFirst: true }
  for (const rnn of [new nn.LSTM(3, 5, options), new nn.GRU(3, 5, options)]) {
    const loaded = await again(
      t,
      new Written((graph) => {
        const x = graph.input('x', 'float32', ['batch', 'sequence', 3])
        const lengths = graph.input('lengths', 'int32', ['batch'])
        const [output, state] = graph.call(rnn as nn.LSTM, x, null, lengths)
        graph.output('output', output, 'float32', null)
        for (const [i, part] of [state].flat().entries())
          graph.output(`end${i}`, part, 'float32', null)
      }, rnn),
    )
    const lengths = [2, 6, 1, 4]
    const x = randn([4, 7, 3])
    const packed = packPaddedSequence(x, lengths, { batchFirst: true, enforceSorted: false })
    const [y, state] = (rnn as nn.LSTM).forward(packed)
    const [output] = padPackedSequence(y, { batchFirst: true, totalLength: 7 })
    const ends = [state].flat().map((part, i) => [`end${i}`, part] as const)
    const expected = { output, ...Object.fromEntries(ends) }
    const known = tensor(lengths, { dtype: 'int32' })
    for (const given of [lengths, Int32Array.from(lengths), known])
      await same(t, loaded, { x, lengths: given }, expected, rnn.constructor.name)
    throwsWith(
      t,
      () => loaded.forward(x, known.add(0)),
      TypeError,
      /^\[onnx\] node '(LSTM|GRU)_1' \(\w+\): sequence_lens: expected whole numbers of the file/,
    )
  }
})

test.serial('the cells, whose weights are there once', async (t) => {
  manualSeed(7)
  for (const cell of [
    new nn.LSTMCell(3, 5),
    new nn.GRUCell(3, 5),
    new nn.RNNCell(3, 5, { bias: false }),
    new nn.RNNCell(3, 5, { nonlinearity: 'relu' }),
  ]) {
    const loaded = await again(
      t,
      new Written((graph) => {
        const x = graph.input('x', 'float32', ['batch', 3])
        const h =
          cell instanceof nn.LSTMCell
            ? graph.call(cell, x, graph.call(cell, x))[0]
            : graph.call(cell, x, graph.call(cell, x))
        graph.output('h', h, 'float32', ['batch', 5])
      }, cell),
    )
    t.is(loaded.layers.keys().length, 1)
    const x = randn([4, 3])
    const h =
      cell instanceof nn.LSTMCell
        ? cell.forward(x, cell.forward(x))[0]
        : cell.forward(x, cell.forward(x))
    await same(t, loaded, { x }, { h }, String(cell))
  }
})

for (const way of ['script', 'dynamo'])
  test.serial(`what torch.onnx.export writes (${way}): outputs and gradients`, async (t) => {
    const numbers = fixture('onnx')
    const url = new URL(`../test/fixtures/onnx_${way}.onnx`, import.meta.url)
    const loaded = await onnx.load<Tensor[]>(url, { device: testDevice })
    for (const name of ['given', 'more', ...(way === 'script' ? ['longer'] : [])]) {
      const x = numbers.tensor(`${name}.x`)
      const expected = { scores: numbers.tensor(`${name}.scores`), h: numbers.tensor(`${name}.h`) }
      await same(t, loaded, { x }, expected, name, 2e-5)
      loaded.zeroGrad()
      const [scores] = loaded.forward(x) as [Tensor]
      scores.select(1, 1).sum().backward()
      const [first, second, gru] = loaded.layers.values() as [nn.LSTM, nn.LSTM, nn.GRU]
      const gradients: [string, Tensor | undefined][] = [
        ['embedding', loaded.weights.get('embedding_weight')],
        ['weight_ih_l0', first.weight_ih_l0],
        ['weight_hh_l1_reverse', second.weight_hh_l0_reverse],
        ['gru', gru.weight_hh_l0],
      ]
      for (const [key, weight] of gradients)
        await closeTo(t, weight?.grad, numbers.tensor(`${name}.${key}`), 1e-4, `${name}: ${key}`)
    }
  })

test.serial('the models of tasks: the same numbers as theirs', async (t) => {
  manualSeed(8)
  const quick = { maxEpochs: 1, progressBar: false, seed: 1 }
  const wave = Array.from({ length: 60 }, (_, i) => Math.sin(i / 3) + (i % 4))
  const forecaster = new models.Forecaster({
    ...{ horizon: 3, hiddenSize: 4, targets: ['x'], inputSize: 13, seasonLength: 4 },
  })
  const series = new data.Series({ x: wave })
  await forecaster.fit(series, quick)
  const [batch] = [...forecaster.windows(series, { batchSize: 5, seed: 1 }).batches(0)] as [
    data.WindowBatch,
  ]
  const quantiles = noGrad(() => forecaster.eval().forward(batch.input, batch.future))
  await same(t, await again(t, forecaster), { input: batch.input }, { quantiles }, 'Forecaster')

  const rows = (n: number): number[][] => Array.from({ length: n }, (_, i) => [i % 3, 100 - i])
  const side = (n: number): Tensor => tensor([rows(n), rows(n).reverse()])
  for (const pooling of ['concat', 'last', 'max', 'mean'] as const) {
    const model = new models.SequenceClassifier({ hiddenSize: 4, pooling })
    const examples = Array.from({ length: 12 }, (_, i) => ({
      input: rows(3 + (i % 4)),
      label: ['a', 'b', 'c'][i % 3] as string,
    }))
    await model.fit(examples, quick)
    const given = [rows(6), rows(6).reverse().slice(0, 4)]
    const said = await model.predict(given)
    const scores = tensor(said.map((one) => Object.values(one.scores)))
    const loaded = await again(t, model)
    const input = { rows: side(6), lengths: [6, 4] }
    await same(t, loaded, input, { scores }, `SequenceClassifier, ${pooling}`)
  }

  for (const features of [[], ['suffix3', 'shape']] as const) {
    const model = new models.SequenceTagger({ hiddenSize: 4, embeddingSize: 4, features })
    const sentences = [
      { input: ['see', 'Ada', 'there'], tags: ['O', 'B-PER', 'O'] },
      { input: ['now', 'Eve'], tags: ['O', 'B-PER'] },
    ]
    await model.fit(sentences, { ...quick, valid: 0 })
    const width = 1 + features.length
    const values = Int32Array.from({ length: 2 * 4 * width }, (_, i) => i % 3)
    const input = tensor(values, { shape: [2, 4, width] })
    const emissions = noGrad(() => model.eval().forward(input, [4, 2]))
    await same(t, await again(t, model), { input, lengths: [4, 2] }, { emissions }, 'Tagger')
  }

  const recognizer = new models.SequenceRecognizer({ hiddenSize: 4 })
  const spoken = Array.from({ length: 8 }, (_, i) => ({ input: rows(5 + i), target: 'ab' }))
  await recognizer.fit(spoken, quick)
  const heard = await again(t, recognizer)
  t.deepEqual([heard.inputNames, heard.outputNames], [['rows', 'lengths'], ['logProbs']])
  const [logProbs] = [noGrad(() => heard.forward(side(6), [6, 4]))].flat() as [Tensor]
  t.deepEqual(logProbs.shape, [2, 6, 3])
  const said = await recognizer.predict([rows(6), rows(6).reverse().slice(0, 4)])
  const decoded = await nn.functional.ctcDecode(logProbs.transpose(0, 1), [6, 4])
  decoded.forEach(({ tokens, score }, i) => {
    t.deepEqual(
      tokens.map((k) => 'ab'[k - 1] as string),
      said[i]?.labels as string[],
    )
    t.true(Math.abs(score - (said[i]?.score as number)) < 1e-4)
  })

  for (const method of ['autoencoder', 'forecast'] as const) {
    const table = (n: number): data.Series =>
      new data.Series({ a: wave.slice(0, n), b: wave.slice(0, n).map((x) => 10 - 2 * x) })
    const model = new models.AnomalyDetector({ method, windowSize: 4, hiddenSize: 5 })
    await model.fit(table(60), quick)
    const { score } = await model.score(table(9))
    const at = (i: number): number[] => [wave[i] as number, 10 - 2 * (wave[i] as number)]
    const windows = tensor(
      Array.from({ length: 6 }, (_, i) => [at(i), at(i + 1), at(i + 2), at(i + 3)]),
    )
    const loaded = await again(t, model)
    t.deepEqual(loaded.outputNames, ['score', 'byColumn'])
    const [found] = noGrad(() => loaded.forward(windows)) as [Tensor]
    await closeTo(t, found, Float32Array.from(score.slice(3)), 1e-4, method)
  }
})

test.serial('a loaded model is trained, cloned, saved, moved like any other', async (t) => {
  manualSeed(9)
  const model = new models.LanguageModel({
    ...{ vocabSize: 9, embeddingSize: 4, hiddenSize: 5, numLayers: 1, cell: 'gru' },
  })
  const loaded = await again(t, model)
  const h0 = randn([1, 3, 5])
  const targets = tokens(6, 3).reshape([-1])
  const lossOf = (one: onnx.LoadedModel<Tensor[]>): Tensor =>
    nn.functional.crossEntropy(one.forward(tokens(6, 3), h0)[0] as Tensor, targets)
  lossOf(loaded).backward()
  // Against PyTorch's twin of the layer, whose gradients other tests compare.
  const [logits] = model.eval().forward(tokens(6, 3), h0)
  nn.functional.crossEntropy(logits, targets).backward()
  const gradients = new Map(model.namedParameters().map(([name, { grad }]) => [name, grad]))
  const [gru] = loaded.layers.values() as [nn.GRU]
  for (const name of ['weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0'] as const)
    await closeTo(t, (gru[name] as Tensor).grad, gradients.get(`rnn.${name}`) as Tensor, 1e-5, name)
  const copy = loaded.clone()
  const before = await lossOf(loaded).item()
  const optimizer = new optim.Adam(loaded.parameters(), { lr: 0.05 })
  for (let step = 0; step < 20; step++) {
    optimizer.zeroGrad()
    lossOf(loaded).backward()
    optimizer.step()
  }
  const after = await lossOf(loaded).item()
  t.true(after < before - 0.3, `${before} → ${after}`)
  t.is(await lossOf(copy).item(), before, 'the clone has weights of its own')
  copy.loadStateDict(loaded.stateDict())
  t.is(await lossOf(copy).item(), after)
  t.regex(String(loaded), /LoadedModel\(/)
})

/** Values of a graph of one operator, as they come back. */
async function computed(
  t: ExecutionContext,
  inputs: readonly Tensor[],
  make: (graph: onnx.Graph, values: onnx.Value[]) => onnx.Value,
): Promise<Tensor> {
  const loaded = await again(
    t,
    new Written((graph) => {
      const values = inputs.map((x, i) => graph.input(`x${i}`, x.dtype, null))
      graph.output('y', make(graph, values), 'float32', null)
    }),
  )
  return noGrad(() => loaded.forward(...inputs)) as unknown as Tensor
}

test.serial('operators: as ours', async (t) => {
  manualSeed(10)
  const x = randn([3, 4, 5])
  const [a, b] = [randn([4, 3]), randn([5, 4])]
  const far = 2 ** 53 - 1
  type Case = [string, Tensor[], (g: onnx.Graph, v: onnx.Value[]) => onnx.Value, Tensor]
  const plain =
    (op: string, attributes = {}) =>
    (g: onnx.Graph, v: onnx.Value[]) =>
      g.node(op, v, attributes)
  const cases: Case[] = [
    ['Relu', [x], plain('Relu'), x.relu()],
    ['Tanh', [x], plain('Tanh'), x.tanh()],
    ['Sigmoid', [x], plain('Sigmoid'), x.sigmoid()],
    ['Softmax', [x], plain('Softmax', { axis: 1 }), x.softmax(1)],
    ['LogSoftmax', [x], plain('LogSoftmax'), x.logSoftmax(-1)],
    ['Div', [x, x.exp()], plain('Div'), x.div(x.exp())],
    ['Sub', [x, randn([1])], plain('Sub'), x],
    [
      'Gemm',
      [a, b, randn([5])],
      plain('Gemm', { alpha: { float: 0.5 }, beta: { float: 2 }, transA: 1, transB: 1 }),
      a,
    ],
    ['Transpose', [x], plain('Transpose'), x.permute([2, 1, 0])],
    [
      'Slice',
      [x],
      (g, [v]) =>
        g.node('Slice', [
          v as onnx.Value,
          g.ints(-1, 0),
          g.ints(-far, far),
          g.ints(1, 2),
          g.ints(-2, 3),
        ]),
      x.flip(1).slice(1, 0, Infinity, 2).slice(2, 0, Infinity, 3),
    ],
    [
      'Slice, ends beyond',
      [x],
      (g, [v]) => g.node('Slice', [v as onnx.Value, g.ints(-2), g.ints(99), g.ints(-1)]),
      x.slice(2, 3),
    ],
    [
      'Reshape by Shape',
      [x],
      (g, [v]) => {
        const rows = g.node('Gather', [g.node('Shape', [v as onnx.Value]), g.ints(-3)])
        return g.node('Reshape', [
          v as onnx.Value,
          g.node('Concat', [rows, g.ints(-1)], { axis: 0 }),
        ])
      },
      x.reshape([3, 20]),
    ],
    [
      'Gather of several, from the end',
      [x],
      (g, [v]) => g.node('Gather', [v as onnx.Value, g.ints(-1, 0)], { axis: 1 }),
      x,
    ],
    ['Flatten', [x], plain('Flatten', { axis: 2 }), x.reshape([12, 5])],
    ['ReduceMax', [x], plain('ReduceMax', { axes: [-1], keepdims: 0 }), x.amax(2)],
    ['ReduceMean of all', [x], plain('ReduceMean'), x.mean([0, 1, 2], { keepdim: true })],
    ['Dropout', [x], plain('Dropout'), x],
    ['Pow', [x.exp(), x], plain('Pow'), x.exp().pow(x)],
  ]
  for (const [name, inputs, make, given] of cases) {
    let expected = given
    if (name === 'Sub') expected = x.sub(inputs[1] as Tensor)
    if (name === 'Gemm')
      expected = a
        .t()
        .matmul(b.t())
        .mul(0.5)
        .add((inputs[2] as Tensor).mul(2))
    if (name.startsWith('Gather')) expected = x.indexSelect(1, tensor([3, 0], { dtype: 'int32' }))
    const found = await computed(t, inputs, make)
    t.deepEqual(found.shape, expected.shape, name)
    await closeTo(t, found, expected, 1e-6, name)
  }
})

test.serial('errors at the file: which node, what is wrong, what is known', async (t) => {
  const folder = await folderOf(t)
  const path = join(folder, 'model.onnx')
  const layer = new nn.LSTM(3, 5)
  const refused = async (
    message: RegExp,
    write: (graph: onnx.Graph, x: onnx.Value) => onnx.Value,
  ): Promise<void> => {
    const model = new Written((graph) => {
      graph.output('y', write(graph, graph.input('x', 'float32', null)), 'float32', null)
    }, layer)
    await onnx.export(model, path)
    await rejectsWith(t, onnx.load(path), Error, message)
  }
  await refused(
    /^\[onnx\.load\] .*model\.onnx: node 'Conv_1' \(Conv\): this operator is not known; known: Abs, Add, /,
    (g, x) => g.node('Conv', [x]),
  )
  await refused(
    /node 'Softmax_1' \(Softmax\): attribute 'axes' is not known; known: axis$/,
    (g, x) => g.node('Softmax', [x], { axes: [1] }),
  )
  await refused(/\(Softmax\): attribute 'axis' has the type 3 where 2 belongs/, (g, x) =>
    g.node('Softmax', [x], { axis: 'last' }),
  )
  await refused(/\(Gemm\): expected 2 to 3 inputs, got 1/, (g, x) => g.node('Gemm', [x]))
  await refused(/\(Cast\): attribute 'to': expected float32 \(1\).* got 10/, (g, x) =>
    g.node('Cast', [x], { to: 10 }),
  )
  const w = randn([1, 20, 3])
  await refused(/W of shape .* does not fit|R: expected the shape/, (g, x) =>
    g.node('LSTM', [x, g.weight(w), g.weight(randn([1, 20, 5]))], { direction: 'bidirectional' }),
  )
  await refused(/input X, W or R is left out/, (g, x) => g.node('LSTM', [x, g.weight(w)]))
  await rejectsWith(t, onnx.load(join(folder, 'none.onnx')), Error, /none\.onnx: no such file or/)
  await rejectsWith(t, onnx.load(folder), Error, /a folder, not a regular file/)
  await rejectsWith(t, onnx.load(''), TypeError, /path: expected the path of a file/)
  await rejectsWith(t, onnx.load(path, { devices: 1 } as never), TypeError, /devices/)
  await writeFile(path, '')
  await rejectsWith(t, onnx.load(path), Error, /model\.onnx: it is empty/)
  await writeFile(path, 'PK\x03\x04')
  await rejectsWith(t, onnx.load(path), Error, /compressed with zip|archive/)
  const gone = AbortSignal.abort(new Error('enough'))
  await rejectsWith(t, onnx.load(path, { signal: gone }), Error, /enough/)
})

test.serial('files that are cut short or changed are an error, never more', async (t) => {
  const path = join(await folderOf(t), 'model.onnx')
  const whole = await onnx.serialize(new nn.LSTM(2, 3))
  for (let i = 0; i < 200; i++) {
    const bytes = Uint8Array.from(whole)
    const at = Math.floor((i / 200) * bytes.length)
    if (i % 2 === 0) bytes[at] = (bytes[at] as number) ^ (1 << (i % 8))
    await writeFile(path, i % 2 === 0 ? bytes : bytes.subarray(0, at))
    try {
      await onnx.load(path)
      if (i % 2 === 1) t.fail(`${at} of ${bytes.length} bytes were taken`)
    } catch (error) {
      t.regex((error as Error).message, /^\[onnx\.load\] .*model\.onnx: /)
    }
  }
  t.pass()
})

test.serial('errors at forward: inputs by name, operators by node', async (t) => {
  const loaded = await again(t, new nn.GRU(3, 5))
  const [input, h0] = [randn([2, 1, 3]), randn([1, 1, 5])]
  throwsWith(
    t,
    () => loaded.forward(input),
    TypeError,
    /^\[onnx\] forward: expected 2 inputs \(input, h0\), got 1$/,
  )
  throwsWith(
    t,
    () => loaded.forward(randn([2, 1, 4]), h0),
    TypeError,
    /^\[onnx\] forward: input 'input': expected float32 of shape \(any, any, 3\), got float32 of shape \(2, 1, 4\)$/,
  )
  throwsWith(t, () => loaded.forward('x' as never, h0), TypeError, /input 'input': .* got 'x'$/)
  throwsWith(
    t,
    () => loaded.forward(input, randn([1, 2, 5])),
    RangeError,
    /^\[onnx\] node 'GRU_1' \(GRU\): /,
  )
})
