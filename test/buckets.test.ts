import test from 'ava'
import {
  data,
  manualSeed,
  models,
  nn,
  noGrad,
  optim,
  type Tensor,
  Trainer,
  tensor,
} from 'fused-rnn'
import { rejectsWith, throwsWith } from './helpers.js'

/** A sentence of a length, whose tokens say which sentence it is. */
const sentence = (length: number, first: number): Int32Array =>
  Int32Array.from({ length }, (_, i) => first + i)

/** Lengths 2 to 9, three of each, and one without a target. */
const sentences = Array.from({ length: 24 }, (_, i) => sentence(2 + (i % 8), 1 + 10 * i)).concat(
  sentence(1, 500),
)

async function columns(
  batches: Iterable<data.Batch>,
): Promise<{ steps: number; input: number[]; target: number[] }[]> {
  const all = []
  for (const { input, target, tokens, reset, ignoreIndex } of batches) {
    const [steps, width] = input.shape as [number, number]
    const [x, y] = [await input.data(), await target.data()]
    const column = (values: ArrayLike<number>, b: number): number[] =>
      Array.from({ length: steps }, (_, t) => values[t * width + b] ?? NaN)
    for (let b = 0; b < width; b++) all.push({ steps, input: column(x, b), target: column(y, b) })
    const counted = y.filter((token) => token !== ignoreIndex).length
    if (!reset || tokens !== counted) throw new Error('wrong batch')
  }
  return all
}

test('every sentence once, in the shortest bucket that holds it, with shifted targets', async (t) => {
  const batches = new data.BucketBatches(sentences, { batchSize: 4, buckets: [3, 6, 8], seed: 1 })
  t.is(batches.discarded, 1 + 3)
  t.is(batches.length, Math.ceil(6 / 4) + Math.ceil(9 / 4) + Math.ceil(6 / 4))
  t.is(
    batches.largestToken,
    sentences.slice(0, 24).reduce((a, s) => (s.length > 8 ? a : Math.max(a, s.at(-1) ?? 0)), 0),
  )
  const all = await columns(batches)
  const expected = sentences.filter(({ length }) => length > 1 && length < 9)
  t.is(all.length, expected.length)
  for (const tokens of expected) {
    const found = all.find(({ input }) => input[0] === tokens[0])
    const steps = [3, 6, 8].find((length) => tokens.length <= length) as number
    const padded = (values: ArrayLike<number>, padding: number): number[] =>
      Array.from({ length: steps }, (_, i) => values[i] ?? padding)
    t.deepEqual(found, {
      steps,
      input: padded(tokens, 0),
      target: padded(tokens.slice(1), -100),
    })
  }
  const whole = new data.BucketBatches(sentences, {
    batchSize: 4,
    buckets: [3, 6, 8],
    dropLast: true,
  })
  t.is(whole.length, 1 + 2 + 1)
})

test('the default buckets: lengths that fill a batch', (t) => {
  const of = (...lengths: number[]) => lengths.map((length) => sentence(length, 1))
  const { buckets } = new data.BucketBatches(of(5, 3, 3, 5, 7, 3, 1, 1, 1), { batchSize: 2 })
  t.deepEqual(buckets, [3, 5])
})

test('orders, and going on where a state was taken', async (t) => {
  const make = (seed?: number) =>
    new data.BucketBatches(sentences, {
      batchSize: 2,
      buckets: [4, 9],
      ...(seed === undefined ? {} : { seed }),
    })
  const batches = make(3)
  const [first, second] = [await columns(batches), await columns(batches)]
  t.notDeepEqual(first, second)
  t.deepEqual(await columns(make(3)), first)
  t.notDeepEqual(await columns(make(4)), first)
  manualSeed(5)
  const drawn = await columns(make())
  manualSeed(5)
  t.deepEqual(await columns(make()), drawn)

  const other = make(9)
  other.restore({ ...other.state(), seed: 3, epoch: 1, position: 2 })
  t.deepEqual(await columns(other), await columns(make(3).batches(1, 2)))
  throwsWith(
    t,
    () =>
      new data.BucketBatches(sentences, { batchSize: 2, buckets: [5, 9] }).restore(other.state()),
    RangeError,
    /\[restore\] buckets: expected '5 9', .* got '4 9'/,
  )
})

/** What a language model makes of real tokens alone: a sentence at a time, without padding. */
async function plainPerplexity(
  model: models.LanguageModel,
  sentences: readonly Int32Array[],
): Promise<number> {
  let [sum, count] = [0, 0]
  for (const tokens of sentences) {
    const targets = tokens.length - 1
    const input = tensor(tokens.slice(0, -1), { shape: [targets, 1] })
    const target = tensor(tokens.slice(1))
    const loss = noGrad(() => nn.functional.crossEntropy(model.forward(input)[0], target))
    sum += targets * (await loss.item())
    count += targets
  }
  return Math.exp(sum / count)
}

const small = sentences.slice(0, 24).map((tokens) => tokens.map((token) => token % 7))

for (const options of [{}, { paddingIdx: 3 }, { paddingIdx: 3, ignoreIndex: -1 }]) {
  test.serial(
    `perplexity is that of real tokens: ${JSON.stringify(options)}, validation and training`,
    async (t) => {
      manualSeed(1)
      const sizes = { vocabSize: 7, embeddingSize: 4, hiddenSize: 5, dropout: 0 }
      const model = new models.LanguageModel(sizes)
      // A model that expects token 0 everywhere, as padding would teach it.
      const state = new Map(model.stateDict())
      model.loadStateDict(state.set('decoder.bias', tensor([4, 0, 0, 0, 0, 0, 0])))
      const batches = () =>
        new data.BucketBatches(small, { batchSize: 5, buckets: [5, 12], ...options })
      const expected = await plainPerplexity(model.eval(), small)
      const trainer = new Trainer({ maxEpochs: 1, progressBar: false })
      const { valPerplexity } = await trainer.validate(model, batches())
      t.true(Math.abs((valPerplexity as number) / expected - 1) < 1e-5)

      const optimizer = new optim.SGD(model.parameters(), { lr: 0 })
      const { metrics } = await trainer.fit(model, batches(), batches(), { optimizer })
      t.true(Math.abs((metrics.trainPerplexity as number) / expected - 1) < 1e-5)
      t.true(Math.abs((metrics.valPerplexity as number) / expected - 1) < 1e-5)

      // The gradient of a batch is the mean over its real tokens.
      const [batch] = batches().batches(0) as Iterable<data.Batch>
      if (batch === undefined) throw new Error('no batch')
      const context = { epoch: 0, batchIdx: 0, globalStep: 0, carried: null }
      const { loss, count } = model.trainingStep(batch, context)
      t.is(count, batch.tokens)
      t.true(batch.tokens < batch.target.numel)
      model.zeroGrad()
      loss.backward()
      const grad = [...(await ((model.decoder.bias as Tensor).grad as Tensor).data())]
      t.true(Math.abs(grad.reduce((sum, value) => sum + value, 0)) < 1e-5)
      const [x, y] = [await batch.input.data(), await batch.target.data()]
      const probabilities = await nn.functional.softmax(model.forward(batch.input)[0], -1).data()
      const expectedGrad = new Array(7).fill(0)
      y.forEach((token, row) => {
        if (token === batch.ignoreIndex) return
        for (let v = 0; v < 7; v++) {
          const own = (probabilities[row * 7 + v] as number) - Number(v === token)
          expectedGrad[v] += own / batch.tokens
        }
      })
      t.is(x.length, y.length)
      grad.forEach((value, v) => void t.true(Math.abs(value - expectedGrad[v]) < 1e-5))
    },
  )
}

test('a padded token has to be one that the model knows', async (t) => {
  const model = new models.LanguageModel({ vocabSize: 7, embeddingSize: 4, hiddenSize: 4 })
  const batches = new data.BucketBatches(small, { batchSize: 2, buckets: [9], paddingIdx: 7 })
  const fit = new Trainer({ maxEpochs: 1, progressBar: false }).fit(model, batches)
  await rejectsWith(t, fit, RangeError, /tokens below the model's vocabSize 7, got 7/)
})

test('what does not fit together', async (t) => {
  const make =
    (options: object, of: unknown = sentences) =>
    () =>
      new data.BucketBatches(of as Int32Array[], { batchSize: 2, ...options })
  throwsWith(t, make({}, 'text'), TypeError, /\[BucketBatches\] sentences: expected an array/)
  throwsWith(t, make({}, [[1, 2]]), TypeError, /sentences\[0\]: expected an Int32Array/)
  throwsWith(t, make({ buckets: [5, 5] }), RangeError, /buckets\[1\]: .*6/)
  throwsWith(t, make({ buckets: [] }), TypeError, /buckets/)
  throwsWith(t, make({ batchSize: 0 }), RangeError, /batchSize/)
  throwsWith(t, make({ bucket: [5] }), TypeError, /bucket/)
  throwsWith(t, make({ ignoreIndex: 0.5 }), RangeError, /ignoreIndex/)
  throwsWith(t, make({}, []), RangeError, /sentences: expected a sentence .* got 0 of 0 that fit/)
  throwsWith(t, make({ dropLast: true, batchSize: 50, buckets: [9] }), RangeError, /at least 50/)
  const model = new models.LanguageModel({ vocabSize: 10, embeddingSize: 4, hiddenSize: 4 })
  await rejectsWith(
    t,
    new Trainer({ maxEpochs: 1, progressBar: false }).fit(model, make({ buckets: [9] })()),
    RangeError,
    /tokens below the model's vocabSize 10/,
  )
})
