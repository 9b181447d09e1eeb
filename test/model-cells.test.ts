/** The option `cell` of models: every recurrent layer by name, trained, saved and loaded. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { data, manualSeed, models, Trainer, tensor } from 'fused-rnn'
import { throwsWith } from './helpers.js'

const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-cells-'))
test.after.always(() => rm(folder, { recursive: true, force: true }))

const quick = { progressBar: false, seed: 1, maxEpochs: 2 }
/** Besides rnn, gru and lstm, which the models' own tests have. */
const CELLS = ['layerNormLSTM', 'indRNN', 'sru', 'minGRU', 'minLSTM', 'sLSTM'] as const

const wave = Array.from({ length: 80 }, (_, i) => 10 + 3 * Math.sin((i * Math.PI) / 3))
const mails = Array.from({ length: 24 }, (_, i) => ({
  input: i % 3 === 0 ? 'a prize for you' : 'see you at noon',
  label: i % 3 === 0 ? 'spam' : 'ham',
}))
const tagged = Array.from({ length: 12 }, (_, i) => ({
  input: i % 2 === 0 ? ['anna', 'sleeps'] : ['the', 'cat', 'sleeps'],
  tags: i % 2 === 0 ? ['name', 'verb'] : ['article', 'noun', 'verb'],
}))

for (const cell of CELLS) {
  test(`LanguageModel of ${cell}: a state from call to call, loaded the same`, async (t) => {
    manualSeed(1)
    const text = 'to be or not to be, that is the question. '.repeat(20)
    const vocabulary = data.Vocabulary.fromText(text)
    const sizes = { cell, embeddingSize: 8, hiddenSize: 12, numLayers: 2 }
    const model = new models.LanguageModel({ vocabulary, ...sizes })
    const batches = new data.SequentialBatches(vocabulary.encode(text), {
      batchSize: 4,
      sequenceLength: 10,
    })
    await new Trainer({ progressBar: false, maxEpochs: 2 }).fit(model, batches)
    model.eval()
    const tokens = tensor([...vocabulary.encode(text)].slice(0, 12), { dtype: 'int32' })
    const whole = tokens.reshape([12, 1])
    const [logits] = model.forward(whole)
    const [first, state] = model.forward(whole.slice(0, 0, 5), model.initialState(1))
    const [second] = model.forward(whole.slice(0, 5, 12), model.detachState(state))
    const expected = await logits.data()
    const parts = [...(await first.data()), ...(await second.data())]
    t.true(expected.every((value, i) => Math.abs(value - (parts[i] as number)) < 1e-5))
    const path = join(folder, `language-${cell}`)
    await model.save(path)
    const loaded = await models.LanguageModel.load(path)
    t.is(loaded.config.cell, cell)
    t.deepEqual(await loaded.eval().forward(whole)[0].data(), expected)
    const options = { length: 10, temperature: 0 }
    const spoken = async (from: models.LanguageModel): Promise<unknown[]> => {
      const tokens: unknown[] = []
      for await (const token of from.generate('to', options)) tokens.push(token)
      return tokens
    }
    t.deepEqual(await spoken(loaded), await spoken(model))
  })

  test(`the tasks' models of ${cell}: fitted, loaded the same`, async (t) => {
    const small = { cell, hiddenSize: 8, numLayers: 2 }
    const forecaster = new models.Forecaster({ ...small, horizon: 3 })
    await forecaster.fit(wave, quick)
    await forecaster.save(join(folder, `forecaster-${cell}`))
    const again = await models.Forecaster.load(join(folder, `forecaster-${cell}`))
    t.deepEqual((await again.predict(wave)).median, (await forecaster.predict(wave)).median)

    const classifier = new models.SequenceClassifier({ ...small, embeddingSize: 8 })
    await classifier.fit(mails, quick)
    await classifier.save(join(folder, `classifier-${cell}`))
    const copy = await models.SequenceClassifier.load(join(folder, `classifier-${cell}`))
    t.deepEqual(await copy.predict(['a prize']), await classifier.predict(['a prize']))

    const tagger = new models.SequenceTagger({ cell, hiddenSize: 8, embeddingSize: 8 })
    await tagger.fit(tagged, quick)
    await tagger.save(join(folder, `tagger-${cell}`))
    const same = await models.SequenceTagger.load(join(folder, `tagger-${cell}`))
    t.deepEqual(await same.predict([['anna']]), await tagger.predict([['anna']]))

    const detector = new models.AnomalyDetector({ cell, hiddenSize: 8 })
    await detector.fit(
      wave.map((x) => [x]),
      quick,
    )
    await detector.save(join(folder, `detector-${cell}`))
    const twin = await models.AnomalyDetector.load(join(folder, `detector-${cell}`))
    t.is(twin.config.cell, cell)
  })

  test(`Seq2Seq of ${cell}: fitted, loaded the same, with beams`, async (t) => {
    const sizes = { cell, hiddenSize: 8, embeddingSize: 6, numLayers: 2, dropout: 0 }
    const model = new models.Seq2Seq(sizes)
    const pairs = ['ab', 'ba', 'abb', 'bab'].map((input) => ({ input, target: [...input] }))
    const { history } = await model.fit(pairs, { ...quick, valid: 0, maxEpochs: 8, lr: 0.02 })
    const losses = history.series('trainLoss', 'epoch').map(({ value }) => value)
    t.true((losses.at(-1) as number) < (losses[0] as number), losses.join(' '))
    await model.save(join(folder, `seq2seq-${cell}`))
    const loaded = await models.Seq2Seq.load(join(folder, `seq2seq-${cell}`))
    const found = await model.generate('abb', { nBest: 2 })
    t.deepEqual(await loaded.generate('abb', { nBest: 2 }), found)
    t.deepEqual(await model.clone().generate('abb', { nBest: 2 }), found)
  })
}

test('SequenceRecognizer of sLSTM: row by row as at once, also from a stored state', async (t) => {
  const rows = Array.from({ length: 6 }, (_, i) => [Math.sin(i), i % 2])
  const sizes = { cell: 'sLSTM', hiddenSize: 6, bidirectional: false, dropout: 0 } as const
  const model = new models.SequenceRecognizer({ ...sizes, numLayers: 2, labels: ['a', 'b'] })
  await model.fit([{ input: rows, target: ['a', 'b'] }], { ...quick, valid: 0 })
  const stream = model.stream()
  const whole = await Promise.all(rows.map((row) => stream.push(row)))
  const first = model.stream()
  const before = await Promise.all(rows.slice(0, 3).map((row) => first.push(row)))
  const second = model.stream(await first.state())
  const after = await Promise.all(rows.slice(3).map((row) => second.push(row)))
  t.deepEqual([...before, ...after], whole)
  const wrong = new models.SequenceRecognizer({ ...sizes, cell: 'gru', labels: ['a', 'b'] })
  await wrong.fit([{ input: rows, target: ['a', 'b'] }], { ...quick, valid: 0, maxEpochs: 1 })
  const bytes = await first.state()
  throwsWith(t, () => wrong.stream(bytes), RangeError, /\[stream\] from: .* another one/)
})

test('LanguageModel names the tensors of a state that does not fit', (t) => {
  for (const [cell, message] of [
    ['sru', /expected the tensor c, for cell 'sru'/],
    ['lstm', /expected the pair \[h, c\], for cell 'lstm'/],
    ['sLSTM', /expected the 4 tensors \[h, c, n, m\], for cell 'sLSTM'/],
  ] as const) {
    const model = new models.LanguageModel({ vocabSize: 5, cell, hiddenSize: 4 })
    const state = [model.initialState(1)].flat().slice(0, 1)
    throwsWith(
      t,
      () => model.detachState([...state, ...state, ...state] as never),
      TypeError,
      message,
    )
  }
})

test('a file of other sizes than its configuration says is refused', async (t) => {
  const model = new models.LanguageModel({ vocabSize: 5, cell: 'sru', hiddenSize: 4 })
  const weights = model.stateDict()
  t.true(weights.has('rnn.weight_c_l0'))
  const other = new models.LanguageModel({ vocabSize: 5, cell: 'minGRU', hiddenSize: 4 })
  throwsWith(t, () => other.loadStateDict(weights), Error, /rnn\.weight_c_l0/)
})

test('an unknown cell names those there are', (t) => {
  const expected = /layerNormLSTM.*indRNN.*sru.*minGRU.*minLSTM.*sLSTM/
  for (const make of [
    () => new models.LanguageModel({ vocabSize: 5, cell: 'LSTM' as 'lstm' }),
    () => new models.Forecaster({ horizon: 2, cell: 'slstm' as 'lstm' }),
    () => new models.Seq2Seq({ cell: 'SRU' as 'sru' }),
  ])
    throwsWith(t, make, Error, expected)
})
