/** models.SequenceTagger: it learns, its CRF is that of the definition, the same bits when loaded, errors. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { data, models } from 'fused-rnn'
import { rejectsWith, throwsWith } from './helpers.js'

const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-tagger-'))
test.after.always(() => rm(folder, { recursive: true, force: true }))

const small = { hiddenSize: 8, embeddingSize: 8, dropout: 0 }
const quick = { progressBar: false, seed: 1, valid: 0, batchSize: 8 }

/** Names of two words after 'see'. */
const sentences = (n: number): models.TaggedSequence[] =>
  Array.from({ length: n }, (_, i) => {
    const names = ['Ada', 'Bob', 'Eve', 'Ian']
    const before = Array.from(
      { length: i % 3 },
      (_, k) => ['we', 'can', 'now'][(i + k) % 3] as string,
    )
    const name = [names[i % 4] as string, names[(i + 1) % 4] as string]
    return {
      input: [...before, 'see', ...name, 'there'],
      tags: [...before.map(() => 'O'), 'O', 'B-PER', 'I-PER', 'O'],
    }
  })

async function fitted(
  options: models.SequenceTaggerOptions = {},
  epochs = 15,
): Promise<models.SequenceTagger> {
  const model = new models.SequenceTagger({ ...small, ...options })
  await model.fit(sentences(48), { ...quick, maxEpochs: epochs, lr: 0.02 })
  return model
}

for (const crf of [true, false])
  test(`it learns and saves the same bits: crf ${crf}`, async (t) => {
    const model = await fitted({ crf })
    t.deepEqual(await model.evaluate(sentences(20)), { accuracy: 1, spanF1: 1 })
    const inputs = [
      ['see', 'Bob', 'Eve', 'now'],
      ['we', 'can'],
    ]
    const said = await model.predict(inputs)
    t.deepEqual(said[0]?.tags, ['O', 'B-PER', 'I-PER', 'O'])
    t.deepEqual(said[0]?.spans, [{ type: 'PER', start: 1, end: 3 }])
    t.true(said[0]?.scores.every((x) => x > 0 && x <= 1))
    await model.save(join(folder, String(crf)))
    const loaded = await models.SequenceTagger.load(join(folder, String(crf)))
    t.deepEqual(await loaded.predict(inputs), said)
    t.deepEqual(await model.clone().predict(inputs), said)
  })

test('the loss of the CRF is that of all ways added up', async (t) => {
  const model = await fitted({}, 1)
  const batches = new data.ExampleBatches(
    [
      {
        input: [
          [1, 1, 1],
          [2, 2, 2],
          [3, 3, 3],
        ],
        target: [0, 1, 2],
      },
      {
        input: [
          [3, 1, 2],
          [2, 1, 1],
        ],
        target: [2, 0],
      },
    ],
    { shuffle: false, sortWithin: 1, ignoreIndex: -1 },
  )
  const [batch] = [...batches] as [data.ExampleBatch]
  const emissions = await model.forward(batch.input, batch.lengths).data()
  const crf = model.crf as NonNullable<typeof model.crf>
  const [start, end, between] = (await Promise.all(
    [crf.start_transitions, crf.end_transitions, crf.transitions].map((x) => x.data()),
  )) as [Float32Array, Float32Array, Float32Array]
  const score = (b: number, tags: number[]): number =>
    tags.reduce(
      (sum, k, i) =>
        sum +
        (emissions[(b * 3 + i) * 3 + k] as number) +
        (i === 0 ? (start[k] as number) : (between[(tags[i - 1] as number) * 3 + k] as number)),
      end[tags.at(-1) as number] as number,
    )
  const ways = (n: number): number[][] =>
    n === 0 ? [[]] : ways(n - 1).flatMap((way) => [0, 1, 2].map((k) => [...way, k]))
  const nll = (b: number, tags: number[]): number =>
    Math.log(ways(tags.length).reduce((sum, way) => sum + Math.exp(score(b, way)), 0)) -
    score(b, tags)
  const loss = await model.trainingStep(batch).loss.item()
  t.true(Math.abs(loss - (nll(0, [0, 1, 2]) + nll(1, [2, 0])) / 5) < 1e-4)
})

test('other tags, features, a vocabulary', async (t) => {
  const vocabulary = data.Vocabulary.fromTokens(['the', 'cat', 'sat'])
  const model = new models.SequenceTagger({
    ...small,
    vocabulary,
    features: [],
    tags: ['N', 'D', 'V'],
  })
  const examples = [{ input: ['the', 'cat', 'sat'], tags: ['D', 'N', 'V'] }]
  await model.fit(examples, { ...quick, maxEpochs: 20, lr: 0.05 })
  const [said] = await model.predict([['the', 'cat', 'sat']])
  t.deepEqual(said?.tags, ['D', 'N', 'V'])
  t.is(said?.spans, undefined)
  t.deepEqual(await model.evaluate(examples), { accuracy: 1, spanF1: null })
})

test('errors name the example', async (t) => {
  const learn = (examples: unknown[], options = {}): Promise<unknown> =>
    new models.SequenceTagger({ ...small, ...options }).fit(
      examples as models.TaggedSequence[],
      quick,
    )
  const one = { input: ['a', 'b'], tags: ['X', 'Y'] }
  await rejectsWith(t, learn([]), RangeError, /at least one example/)
  await rejectsWith(t, learn([one, { input: [], tags: [] }]), RangeError, /examples\[1\].input/)
  await rejectsWith(
    t,
    learn([one, { input: ['a'], tags: ['X', 'Y'] }]),
    RangeError,
    /examples\[1\].tags: expected 1 tags/,
  )
  await rejectsWith(t, learn([one], { tags: ['X', 'Z'] }), RangeError, /examples\[0\].tags\[1\]/)
  await rejectsWith(t, learn([{ input: ['a'], tags: ['X'] }]), RangeError, /at least two tags/)
  const model = await fitted({}, 1)
  await rejectsWith(t, model.predict([[]]), RangeError, /sentences\[0\]/)
  await rejectsWith(t, new models.SequenceTagger().predict([['a']]), TypeError, /call fit first/)
  throwsWith(t, () => new models.SequenceTagger({ tags: ['a'] }), RangeError, /two distinct/)
  throwsWith(
    t,
    () => new models.SequenceTagger({ features: ['x' as never] }),
    TypeError,
    /features\[0\]/,
  )
})
