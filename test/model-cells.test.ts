/** The option `cell` of models: every recurrent layer by name, trained, saved and loaded. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { data, manualSeed, models, onnx, Trainer, tensor } from 'fused-rnn'
import { rejectsWith, throwsWith } from './helpers.js'

const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-cells-'))
test.after.always(() => rm(folder, { recursive: true, force: true }))

const quick = { progressBar: false, seed: 1, maxEpochs: 2 }
/** Besides rnn, gru and lstm, which the models' own tests have. */
const CELLS = ['layerNormLSTM', 'indRNN', 'sru', 'minGRU', 'minLSTM'] as const

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
}

test('a file of other sizes than its configuration says is refused', async (t) => {
  const model = new models.LanguageModel({ vocabSize: 5, cell: 'sru', hiddenSize: 4 })
  const weights = model.stateDict()
  t.true(weights.has('rnn.weight_c_l0'))
  const other = new models.LanguageModel({ vocabSize: 5, cell: 'minGRU', hiddenSize: 4 })
  throwsWith(t, () => other.loadStateDict(weights), Error, /rnn\.weight_c_l0/)
})

test('an unknown cell names those there are; Seq2Seq has three; ONNX has no such operators', async (t) => {
  const expected = /layerNormLSTM.*indRNN.*sru.*minGRU.*minLSTM/
  for (const make of [
    () => new models.LanguageModel({ vocabSize: 5, cell: 'LSTM' as 'lstm' }),
    () => new models.Forecaster({ horizon: 2, cell: 'slstm' as 'lstm' }),
  ])
    throwsWith(t, make, Error, expected)
  throwsWith(t, () => new models.Seq2Seq({ cell: 'sru' as 'gru' }), Error, /'gru'.*'lstm'.*got/)
  const model = new models.LanguageModel({ vocabSize: 5, cell: 'sru', hiddenSize: 4 })
  await rejectsWith(t, onnx.export(model, join(folder, 'sru.onnx')), Error, /SRU/)
})
