/** models.SequenceClassifier: texts and rows of numbers, the same bits when loaded, errors. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { data, manualSeed, models, tensor } from 'fused-rnn'
import { rejectsWith, throwsWith } from './helpers.js'

const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-classifier-'))
test.after.always(() => rm(folder, { recursive: true, force: true }))

const small = { hiddenSize: 6, embeddingSize: 6, dropout: 0.1 }
const quick = { progressBar: false, seed: 1, maxEpochs: 12, lr: 0.03, batchSize: 8 }

/** Mails of which one word says what they are. */
const mails = (n: number): models.LabelledSequence[] =>
  Array.from({ length: n }, (_, i) => {
    const words = ['the', 'of', 'and', 'you', 'see', 'it']
    const some = Array.from({ length: (i % 5) + 2 }, (_, k) => words[(i * 3 + k) % 6])
    some.splice(i % 3, 0, i % 3 === 0 ? 'prize' : 'noon')
    return { input: `${some.join(' ')}!`, label: i % 3 === 0 ? 'spam' : 'ham' }
  })

async function fitted(options = {}): Promise<models.SequenceClassifier> {
  const model = new models.SequenceClassifier({ ...small, ...options })
  await model.fit(mails(60), quick)
  return model
}

test('texts: it learns the word that counts, and saves the same bits', async (t) => {
  const model = await fitted({ classWeight: 'balanced' })
  const { accuracy, f1, confusionMatrix, classes, text } = await model.evaluate(mails(30))
  t.is(accuracy, 1, text)
  t.is(f1, 1)
  t.deepEqual(classes, ['ham', 'spam'])
  t.deepEqual(confusionMatrix, [
    [20, 0],
    [0, 10],
  ])
  t.is(text, '      ham  spam\nham    20     0\nspam    0    10')
  const inputs = ['a PRIZE, for you', ['see', 'you', 'noon'], 'noon']
  const expected = await model.predict(inputs)
  t.deepEqual(
    expected.map(({ label }) => label),
    ['spam', 'ham', 'ham'],
  )
  for (const { label, score, scores } of expected) {
    t.is(scores[label as string], score)
    t.true(Math.abs(Object.values(scores).reduce((a, b) => a + b) - 1) < 1e-6)
  }
  const path = join(folder, 'texts')
  await model.save(path)
  const loaded = await models.SequenceClassifier.load(path)
  t.deepEqual(await loaded.predict(inputs), expected)
  t.deepEqual(await model.clone().predict(inputs), expected)
})

for (const pooling of ['last', 'max', 'mean'] as const)
  test(`pooling ${pooling}: padding changes nothing`, async (t) => {
    manualSeed(1)
    const model = new models.SequenceClassifier({ ...small, pooling, cell: 'lstm', inputSize: 2 })
    const rows = (n: number, up: boolean): number[][] =>
      Array.from({ length: n }, (_, i) => [up ? i : -i, 1])
    const examples = Array.from({ length: 24 }, (_, i) => ({
      input: rows(3 + (i % 4), i % 2 === 0),
      label: i % 2,
    }))
    await model.fit(examples, { ...quick, maxEpochs: 8 })
    t.is((await model.evaluate(examples)).accuracy, 1)
    const [long, short] = [tensor([rows(5, true)]), tensor([rows(3, true)])]
    const both = tensor([rows(5, true), [...rows(3, true), [9, 9], [9, 9]]])
    const alone = [
      ...(await model.forward(long, [5]).data()),
      ...(await model.forward(short, [3]).data()),
    ]
    const together = await model.forward(both, [5, 3]).data()
    together.forEach((x, i) => {
      t.true(Math.abs(x - (alone[i] as number)) < 1e-5)
    })
    await model.save(join(folder, pooling))
    const loaded = await models.SequenceClassifier.load(join(folder, pooling))
    t.deepEqual(await loaded.predict([rows(4, false)]), await model.predict([rows(4, false)]))
  })

test('weights of classes are those of the mean', async (t) => {
  const model = await fitted({ classWeight: { ham: 1, spam: 3 } })
  const batches = new data.ExampleBatches([
    { input: [2, 3], target: 0 },
    { input: [4, 5], target: 1 },
  ])
  const [batch] = [...batches] as [data.ExampleBatch]
  model.eval()
  const logits = await model.forward(batch.input, batch.lengths).data()
  const loss = (row: number, label: number): number =>
    Math.log(Math.exp(logits[2 * row] as number) + Math.exp(logits[2 * row + 1] as number)) -
    (logits[2 * row + label] as number)
  const target = (await batch.target?.data()) as Int32Array
  const weights = [...target].map((label) => (label === 1 ? 3 : 1))
  const expected = weights.reduce((sum, w, i) => sum + w * loss(i, target[i] as number), 0) / 4
  t.true(Math.abs((await model.trainingStep(batch).loss.item()) - expected) < 1e-5)
})

test('a vocabulary of the user cuts the texts', async (t) => {
  const vocabulary = data.Vocabulary.fromText('abc prize noon', { tokenizer: { level: 'char' } })
  const model = new models.SequenceClassifier({ ...small, vocabulary, maxLength: 4 })
  await model.fit(
    ['aaa', 'aab', 'bba', 'bbb'].map((input) => ({ input, label: input[0] as string })),
    { ...quick, valid: 0 },
  )
  const [a, b] = await model.predict(['abbbb', 'abbbba'])
  t.deepEqual(a?.scores, b?.scores)
  await model.save(join(folder, 'characters'))
  const loaded = await models.SequenceClassifier.load(join(folder, 'characters'))
  t.deepEqual(await loaded.predict(['ab']), await model.predict(['ab']))
})

test('errors name the example', async (t) => {
  const learn = (examples: unknown[], options = {}): Promise<unknown> =>
    new models.SequenceClassifier({ ...small, ...options }).fit(
      examples as models.LabelledSequence[],
      quick,
    )
  const two = [
    { input: 'a', label: 'x' },
    { input: 'b', label: 'y' },
  ]
  await rejectsWith(t, learn([]), RangeError, /at least one example/)
  await rejectsWith(
    t,
    learn([...two, { input: ' ', label: 'x' }]),
    RangeError,
    /examples\[2\].input: .*at least one word/,
  )
  await rejectsWith(
    t,
    learn([...two, { input: 'c', label: Number.NaN }]),
    RangeError,
    /examples\[2\].label.*NaN/,
  )
  await rejectsWith(
    t,
    learn([...two, { input: 'c', label: '' }]),
    RangeError,
    /examples\[2\].label: expected a label, got ''/,
  )
  await rejectsWith(t, learn([...two, { input: 'c' }]), TypeError, /examples\[2\].label/)
  await rejectsWith(t, learn(two.slice(0, 1)), RangeError, /at least two classes/)
  await rejectsWith(
    t,
    learn(two, { classes: ['x', 'y', 'z'] }),
    RangeError,
    /an example of every class, got none of 'z'/,
  )
  await rejectsWith(
    t,
    learn(two, { classes: ['x', 'w'] }),
    RangeError,
    /examples\[1\].label: expected one of/,
  )
  await rejectsWith(
    t,
    learn([...two, { input: [[1]], label: 'x' }]),
    TypeError,
    /examples\[2\].input/,
  )
  await rejectsWith(
    t,
    learn([
      { input: [[1, 2]], label: 0 },
      { input: [[1]], label: 1 },
    ]),
    RangeError,
    /examples\[1\].input\[0\]: expected 2 numbers/,
  )
  await rejectsWith(
    t,
    learn([
      { input: [[Number.NaN]], label: 0 },
      { input: [[1]], label: 1 },
    ]),
    RangeError,
    /finite/,
  )
  const model = await fitted()
  await rejectsWith(t, model.predict(['']), RangeError, /inputs\[0\]/)
  await rejectsWith(
    t,
    model.predict(['noon', 'xyzzy qwerty']),
    RangeError,
    /inputs\[1\]: .*only unknown ones, such as 'xyzzy'/,
  )
  await rejectsWith(t, model.predict([[[1]]]), TypeError, /inputs\[0\]/)
  await rejectsWith(t, model.predict('noon' as never), TypeError, /an array of sequences/)
  await rejectsWith(t, model.evaluate([{ input: 'noon', label: 'x' }]), RangeError, /label/)
  await rejectsWith(t, new models.SequenceClassifier().predict(['a']), TypeError, /call fit first/)
  throwsWith(t, () => new models.SequenceClassifier({ classes: ['a'] }), RangeError, /at least two/)
  throwsWith(
    t,
    () => new models.SequenceClassifier({ pooling: 'sum' as never }),
    TypeError,
    /pooling/,
  )
  throwsWith(
    t,
    () => new models.SequenceClassifier({ classWeight: { a: 0 } }),
    RangeError,
    /above 0/,
  )
})
