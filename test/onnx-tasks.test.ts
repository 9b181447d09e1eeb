/** The models of tasks as ONNX files: what predict says, in ONNX Runtime. */
import test, { type ExecutionContext } from 'ava'
import { data, manualSeed, models, nn, noGrad, type Tensor, tensor } from 'fused-rnn'
import { closeTo, onCpu } from './helpers.js'
import { run as runIfThere, session } from './onnx-runtime.js'
import type { Values } from './onnx-runtime-child.js'

const run = onCpu ? runIfThere : test.skip

const quick = { maxEpochs: 2, progressBar: false, seed: 1, lr: 0.02 }

/** What the exported model gives for inputs. */
async function outputs(
  model: nn.Module,
  inputs: Record<string, [values: Float32Array | Int32Array, shape: readonly number[]]>,
): Promise<Record<string, Values>> {
  const feeds = Object.entries(inputs).map(([name, [values, dims]]) => {
    const type = values instanceof Int32Array ? 'int32' : 'float32'
    return [name, { type, data: values, dims }] as const
  })
  return (await session(model)).run(Object.fromEntries(feeds))
}

const valuesOf = ({ data: values }: Values): Float32Array => values as Float32Array

/** Sequences side by side. */
function padded(
  inputs: readonly ArrayLike<number>[][],
  width: number,
): [values: Float32Array, shape: number[]] {
  const longest = Math.max(...inputs.map(({ length }) => length))
  const values = new Float32Array(inputs.length * longest * width)
  inputs.forEach((rows, b) => {
    rows.forEach((row, t) => {
      values.set(row, (b * longest + t) * width)
    })
  })
  return [values, [inputs.length, longest, width]]
}

const lengthsOf = (inputs: readonly { length: number }[]): [Int32Array, number[]] => [
  Int32Array.from(inputs, ({ length }) => length),
  [inputs.length],
]

const wave = (n: number, from = 0): number[] =>
  Array.from({ length: n }, (_, i) => 5 + 2 * Math.sin((i + from) / 2) + ((i + from) % 3))

for (const [title, options, future] of [
  ['with a season', { inputSize: 13, seasonLength: 4 }, false],
  ['two layers of GRU, rows to come', { inputSize: 6, cell: 'gru', numLayers: 2 }, true],
] as const)
  run(`Forecaster ${title}`, async (t) => {
    const columns = { x: wave(80), known: wave(80, 5) }
    const model = new models.Forecaster({
      horizon: 3,
      hiddenSize: 6,
      targets: ['x'],
      ...(future && { futrExog: ['known'] }),
      ...options,
    })
    await model.fit(new data.Series(future ? columns : { x: columns.x }), quick)
    const series = new data.Series(future ? columns : { x: columns.x })
    const batches = model.windows(series, { batchSize: 5, seed: 1 })
    const [batch] = [...batches.batches(0)] as [data.WindowBatch]
    const of = async (x: Tensor): Promise<[Float32Array, readonly number[]]> => [
      (await x.data()) as Float32Array,
      x.shape,
    ]
    const given = {
      input: await of(batch.input),
      ...(batch.future !== undefined && { future: await of(batch.future) }),
    }
    model.eval()
    const expected = noGrad(() => model.forward(batch.input, batch.future))
    const { quantiles } = await outputs(model, given)
    t.deepEqual([...(quantiles as Values).dims], [...expected.shape])
    await closeTo(t, valuesOf(quantiles as Values), expected, 1e-5)
  })

async function sameScores(
  t: ExecutionContext,
  model: models.SequenceClassifier,
  found: Values,
  inputs: models.SequenceInput[],
): Promise<void> {
  const said = await model.predict(inputs)
  const expected = said.flatMap(({ scores }) => Object.values(scores))
  await closeTo(t, valuesOf(found), Float32Array.from(expected), 1e-5)
}

for (const pooling of ['concat', 'last', 'max', 'mean'] as const)
  run(`SequenceClassifier of rows, pooling ${pooling}`, async (t) => {
    const rows = (n: number, up: number): number[][] =>
      Array.from({ length: n }, (_, i) => [10 + i * up, 100 - i])
    const examples = Array.from({ length: 24 }, (_, i) => ({
      input: rows(3 + (i % 4), i % 2 === 0 ? 1 : -1),
      label: ['up', 'down', 'up', 'still'][i % 4] as string,
    }))
    const model = new models.SequenceClassifier({
      hiddenSize: 5,
      pooling,
      cell: pooling === 'max' ? 'lstm' : 'gru',
      bidirectional: pooling !== 'mean',
      numLayers: pooling === 'last' ? 2 : 1,
    })
    await model.fit(examples, quick)
    const inputs = [rows(4, 1), rows(7, -1), rows(1, 2)]
    const { scores } = await outputs(model, { rows: padded(inputs, 2), lengths: lengthsOf(inputs) })
    t.deepEqual([...(scores as Values).dims], [3, 3])
    await sameScores(t, model, scores as Values, inputs)
  })

run('SequenceClassifier of texts', async (t) => {
  const mails = Array.from({ length: 20 }, (_, i) => ({
    input: i % 2 === 0 ? 'win a prize now' : 'see you at noon then',
    label: i % 2 === 0,
  }))
  const model = new models.SequenceClassifier({ hiddenSize: 5, embeddingSize: 4 })
  await model.fit(mails, quick)
  const inputs = ['see a prize', 'noon']
  const vocabulary = model.vocabulary as data.Vocabulary
  const read = inputs.map((text) => [...vocabulary.encode(text.split(' '))])
  const tokens = Int32Array.of(...(read[0] as number[]), ...(read[1] as number[]), 0, 0)
  const { scores } = await outputs(model, { tokens: [tokens, [2, 3]], lengths: lengthsOf(read) })
  await sameScores(t, model, scores as Values, inputs)
})

for (const crf of [true, false])
  run(`SequenceTagger, its emissions: crf ${crf}`, async (t) => {
    const sentences = [
      { input: ['see', 'Ada', 'Bob', 'there'], tags: ['O', 'B-PER', 'I-PER', 'O'] },
      { input: ['now', 'Eve'], tags: ['O', 'B-PER'] },
    ]
    const features = crf ? (['suffix3', 'shape'] as const) : []
    const model = new models.SequenceTagger({ hiddenSize: 5, embeddingSize: 6, crf, features })
    await model.fit(sentences, { ...quick, valid: 0 })
    const width = 1 + features.length
    const values = Int32Array.from({ length: 2 * 4 * width }, (_, i) => i % 3)
    const expected = noGrad(() =>
      model.eval().forward(tensor(values, { shape: [2, 4, width] }), [4, 2]),
    )
    const { emissions } = await outputs(model, {
      input: [values, [2, 4, width]],
      lengths: [Int32Array.of(4, 2), [2]],
    })
    t.deepEqual([...(emissions as Values).dims], [...expected.shape])
    await closeTo(t, valuesOf(emissions as Values), expected, 1e-5)
  })

run('SequenceRecognizer', async (t) => {
  manualSeed(1)
  const rows = (n: number): number[][] => Array.from({ length: n }, (_, i) => [20 + (i % 3), i])
  const model = new models.SequenceRecognizer({ hiddenSize: 5 })
  const examples = Array.from({ length: 8 }, (_, i) => ({ input: rows(5 + i), target: 'ab' }))
  await model.fit(examples, quick)
  const inputs = [rows(9), rows(4)]
  const lengths = lengthsOf(inputs)
  const { logProbs } = await outputs(model, { rows: padded(inputs, 2), lengths })
  const found = logProbs as Values
  t.deepEqual([...found.dims], [2, 9, 3])
  const shaped = tensor(valuesOf(found), { shape: [2, 9, 3] }).transpose(0, 1)
  const decoded = await nn.functional.ctcDecode(shaped, lengths[0], { beamSize: 4 })
  const said = await model.predict(inputs, { beamSize: 4 })
  decoded.forEach(({ score, tokens }, i) => {
    t.deepEqual(
      tokens.map((k) => 'ab'[k - 1] as string),
      said[i]?.labels as string[],
    )
    t.true(Math.abs(score - (said[i]?.score as number)) < 1e-4)
  })
})

for (const method of ['autoencoder', 'forecast'] as const)
  run(`AnomalyDetector, ${method}`, async (t) => {
    const rows = (n: number): number[][] => wave(n).map((x, i) => [x, 100 - 3 * x, i % 2])
    const columns = (n: number): Record<string, number[]> =>
      Object.fromEntries(
        ['a', 'b', 'c'].map((name, k) => [name, rows(n).map((row) => row[k] as number)]),
      )
    const model = new models.AnomalyDetector({ method, windowSize: 4, hiddenSize: 5 })
    await model.fit(new data.Series(columns(60)), quick)
    const { score, byColumn } = await model.score(new data.Series(columns(9)))
    const windows = Array.from({ length: 6 }, (_, i) => rows(9).slice(i, i + 4))
    const found = await outputs(model, { windows: padded(windows, 3) })
    await closeTo(t, valuesOf(found.score as Values), Float32Array.from(score.slice(3)), 1e-4)
    const shares = score
      .slice(3)
      .flatMap((_, i) => ['a', 'b', 'c'].map((c) => byColumn[c]?.[i + 3]))
    await closeTo(
      t,
      valuesOf(found.byColumn as Values),
      Float32Array.from(shares as number[]),
      1e-4,
    )
  })
