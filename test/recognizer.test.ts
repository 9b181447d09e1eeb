/** models.SequenceRecognizer: it learns, the same bits when loaded, row by row as at once, errors. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { data, models, nn, Trainer, tensor } from 'fused-rnn'
import { rejectsWith, throwsWith } from './helpers.js'

const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-recognizer-'))
test.after.always(() => rm(folder, { recursive: true, force: true }))

const small = { hiddenSize: 12, dropout: 0 }
const quick = { progressBar: false, seed: 1, valid: 0, batchSize: 8, maxEpochs: 40, lr: 0.03 }

/** What letters look like: two or three rows each, a gap behind. */
const SHAPES: Record<string, number[][]> = {
  a: [
    [1, 0],
    [1, 1],
  ],
  b: [
    [0, 1],
    [0, 2],
    [0, 1],
  ],
  c: [
    [2, 2],
    [1, 0],
  ],
}
const drawn = (text: string): number[][] =>
  [...text].flatMap((letter) => [...(SHAPES[letter] as number[][]), [0, 0]])
const examples = (n: number, from = 0): models.TranscribedSequence[] =>
  Array.from({ length: n }, (_, i) => {
    const target = Array.from(
      { length: 1 + ((i + from) % 4) },
      (_, k) => 'abc'[((i + from) * 5 + k * (1 + (i % 3))) % 3],
    ).join('')
    return { input: drawn(target), target }
  })

async function fitted(
  options: models.SequenceRecognizerOptions = {},
  fit = {},
): Promise<models.SequenceRecognizer> {
  const model = new models.SequenceRecognizer({ ...small, ...options })
  await model.fit(examples(48), { ...quick, ...fit })
  return model
}

test('it learns, decodes with and without a beam, and saves the same bits', async (t) => {
  const model = await fitted({ cell: 'gru', numLayers: 2 })
  t.deepEqual(model.state?.labels, ['a', 'b', 'c'])
  t.deepEqual(await model.evaluate(examples(20, 3)), { accuracy: 1, errorRate: 0 })
  const inputs = [drawn('abccb'), drawn('a'), [Float32Array.of(0, 0)]]
  const said = await model.predict(inputs)
  t.deepEqual(
    said.map(({ labels }) => labels.join('')),
    ['abccb', 'a', ''],
  )
  t.true(said.every(({ score }) => score <= 0))
  const beam = await model.predict(inputs, { beamSize: 6, batchSize: 1 })
  t.deepEqual(beam[0]?.labels, said[0]?.labels)
  t.true((beam[0]?.score as number) >= (said[0]?.score as number) - 1e-6, 'all ways, not one')
  await model.save(join(folder, 'gru'))
  const loaded = await models.SequenceRecognizer.load(join(folder, 'gru'))
  t.deepEqual(await loaded.predict(inputs), said)
  t.deepEqual(await model.clone().predict(inputs), said)
  t.regex(String(loaded), /labels=3, cell='gru'/)
})

test('the loss is that of ctcLoss, whatever is beside a sequence', async (t) => {
  const model = await fitted({}, { maxEpochs: 1 })
  const [one, two] = [
    { input: drawn('ab'), target: [1, 2] },
    { input: drawn('c'), target: [3] },
  ]
  const lossOf = async (...list: data.Example[]): Promise<number> => {
    const options = { shuffle: false, sortWithin: 1, ignoreIndex: 0 }
    const [batch] = [...new data.ExampleBatches(list, options)] as [data.ExampleBatch]
    return model.trainingStep(batch).loss.item()
  }
  const alone = [await lossOf(one), await lossOf(two)] as [number, number]
  t.true(Math.abs((await lossOf(one, two)) - (alone[0] + alone[1]) / 2) < 1e-5)
  const logits = model.forward(tensor([one.input]), [one.input.length])
  const logProbs = logits.logSoftmax(2).transpose(0, 1)
  const loss = nn.functional.ctcLoss(
    logProbs,
    tensor(Int32Array.of(1, 2), { shape: [1, 2] }),
    [one.input.length],
    [2],
  )
  t.true(Math.abs((await loss.item()) - alone[0]) < 1e-6)
})

for (const cell of ['lstm', 'rnn'] as const)
  test(`row by row as at once: ${cell}`, async (t) => {
    const model = await fitted({ cell, bidirectional: false, numLayers: 2, hiddenSize: 24 })
    const input = drawn('cabbac')
    const [{ labels }] = (await model.predict([input])) as [models.Recognition]
    t.true(labels.length >= 4)
    const stream = model.stream()
    const before = await Promise.all(input.slice(0, 7).map((row) => stream.push(row)))
    const bytes = await stream.state()
    await model.save(join(folder, cell))
    const other = (await models.SequenceRecognizer.load(join(folder, cell))).stream(bytes)
    const after = await Promise.all(input.slice(7).map((row) => stream.push(row)))
    const elsewhere = []
    for (const row of input.slice(7)) elsewhere.push(await other.push(row))
    t.deepEqual(elsewhere, after)
    const all = [...before, ...after]
    t.deepEqual(
      all.flatMap(({ label }) => (label === null ? [] : [label])),
      labels,
    )
    t.true(all.every(({ score }) => score > 0 && score <= 1))
    const fresh = model.stream(await model.stream().state())
    t.deepEqual(await fresh.push(input[0] as number[]), all[0])

    throwsWith(t, () => stream.push([1]), RangeError, /\[push\] row: expected 2 numbers, got 1/)
    throwsWith(t, () => stream.push([1, Number.NaN]), RangeError, /row\[1\]: expected a finite/)
    throwsWith(t, () => stream.push('a' as never), TypeError, /\[push\] row/)
    for (const wrong of [
      new Uint8Array(3),
      await (await fitted({ bidirectional: false }, { maxEpochs: 1 }))
        .stream()
        .state()
        .then((b) => b.slice(0, 9)),
    ])
      throwsWith(t, () => model.stream(wrong), RangeError, /\[stream\] from: .* something else/)
    throwsWith(t, () => model.stream('x' as never), TypeError, /\[stream\] from/)
    const wide = await fitted({ cell, bidirectional: false }, { maxEpochs: 1 })
    throwsWith(t, () => wide.stream(bytes), RangeError, /\[stream\] from: .* another one/)
  })

test('in a Trainer of its own, with labels in their order, data to validate with', async (t) => {
  const model = new models.SequenceRecognizer({ ...small, labels: ['c', 'b', 'a'], inputSize: 2 })
  const words = examples(32).map(({ input, target }) => ({ input, target: [...target] }))
  const { history } = await model.fit(words, { ...quick, valid: examples(8, 1), maxEpochs: 3 })
  const losses = history.series('valLoss', 'validation')
  t.is(losses.length, 3)
  t.true(losses.every(({ value }) => Number.isFinite(value)))
  t.deepEqual(model.state?.labels, ['c', 'b', 'a'])
  const trainer = new Trainer({ maxEpochs: 2, progressBar: false })
  await model.fit(words, { trainer, valid: 0 })
  t.is(trainer.currentEpoch, 2)
})

test('errors name the example', async (t) => {
  const learn = (list: unknown, options = {}, fit = {}): Promise<unknown> =>
    new models.SequenceRecognizer({ ...small, ...options }).fit(
      list as models.TranscribedSequence[],
      { ...quick, maxEpochs: 1, ...fit },
    )
  const one = { input: drawn('ab'), target: 'ab' }
  const refused = (
    list: unknown,
    message: RegExp,
    type: ErrorConstructor = RangeError,
    options = {},
    fit = {},
  ): Promise<void> => rejectsWith(t, learn(list, options, fit), type, message)
  await refused([], /examples: expected at least one example/)
  await refused('ab', /examples: expected an array of \{ input, target \}/, TypeError)
  await refused([one, null], /examples\[1\]: expected an object/, TypeError)
  await refused([one, { input: [], target: 'a' }], /examples\[1\].input: expected at least one row/)
  await refused([one, { ...one, target: '' }], /examples\[1\].target: expected at least one label/)
  await refused([one, { ...one, target: [1] }], /examples\[1\].target\[0\]/, TypeError)
  await refused([one, { ...one, target: 7 }], /examples\[1\].target: expected a text/, TypeError)
  await refused([{ ...one, input: 'ab' }], /examples\[0\].input/, TypeError)
  await refused([{ ...one, input: null }], /examples\[0\].input/, TypeError)
  await refused(
    [one, { input: [[1]], target: 'a' }],
    /examples\[1\].input\[0\]: expected 2 numbers/,
  )
  await refused([one], /examples\[0\].input\[0\]: expected 3 numbers, got 2/, RangeError, {
    inputSize: 3,
  })
  await refused(
    [{ input: [[1, Number.NaN]], target: 'a' }],
    /examples\[0\].input\[0\]\[1\]: expected a finite number, got NaN/,
  )
  await refused(
    [one, { input: [[1, 2]], target: 'ab' }],
    /examples\[1\].target: expected at most 1 labels, as the input has 1 row, got 2$/,
  )
  await refused(
    [
      {
        input: [
          [1, 2],
          [1, 2],
        ],
        target: 'aa',
      },
    ],
    /examples\[0\].target: .*got 2 and 1 blanks between equal ones/,
  )
  await refused(
    [one],
    /examples\[0\].target\[1\]: expected one of the 1 labels \(a\), got 'b'/,
    RangeError,
    { labels: ['a'] },
  )
  await refused(
    [one],
    /valid\[0\].target\[0\]: .*'z'/,
    RangeError,
    {},
    { valid: [{ ...one, target: 'z' }] },
  )
  const model = await fitted({}, { maxEpochs: 1 })
  await refused([one], /valid/, RangeError, {}, { valid: 0.9 })
  await rejectsWith(t, model.predict([[]]), RangeError, /inputs\[0\]: expected at least one row/)
  await rejectsWith(t, model.predict([[[1]]]), RangeError, /inputs\[0\]\[0\]: expected 2 numbers/)
  await rejectsWith(t, model.predict('a' as never), TypeError, /inputs: expected an array/)
  await rejectsWith(t, model.predict([], { beamSize: 0 }), RangeError, /beamSize/)
  t.deepEqual(await model.predict([]), [])
  await rejectsWith(t, model.evaluate([{ ...one, target: 'az' }]), RangeError, /\[0\].target\[1\]/)
  throwsWith(t, () => model.stream(), RangeError, /bidirectional: expected false/)
  const fresh = new models.SequenceRecognizer()
  await rejectsWith(t, fresh.predict([[[1]]]), TypeError, /call fit first/)
  await rejectsWith(t, fresh.save(join(folder, 'none')), TypeError, /call fit first/)
  throwsWith(t, () => fresh.stream(), TypeError, /call fit first/)
  const wrong = (options: unknown, message: RegExp, type: ErrorConstructor = RangeError): void =>
    throwsWith(t, () => new models.SequenceRecognizer(options as never), type, message)
  wrong({ labels: [] }, /labels: expected at least one/)
  wrong({ labels: ['a', 'a'] }, /'a' twice/)
  wrong({ labels: 'ab' }, /labels: expected an array/, TypeError)
  wrong({ dropout: 1 }, /dropout/)
  wrong({ classes: 3 }, /classes/, TypeError)
  await model.save(join(folder, 'x'))
  await rejectsWith(
    t,
    models.SequenceTagger.load(join(folder, 'x')),
    Error,
    /but a SequenceRecognizer/,
  )
})
