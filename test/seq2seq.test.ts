/** models.Seq2Seq: it learns, beam search finds what is likeliest, the same bits when loaded, errors. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { data, manualSeed, models, type nn, type Tensor, tensor } from 'fused-rnn'
import { closeTo, fixture, rejectsWith, throwsWith } from './helpers.js'

const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-seq2seq-'))
test.after.always(() => rm(folder, { recursive: true, force: true }))

const small = { hiddenSize: 16, embeddingSize: 8, dropout: 0 }
const quick = { progressBar: false, seed: 1, valid: 0, batchSize: 16 }

/** Every letter becomes the next one, in capitals. */
const pairs = (n: number): models.SequencePair[] =>
  Array.from({ length: n }, (_, i) => {
    const input = Array.from({ length: 2 + (i % 3) }, (_, k) => 'abcd'[(i * 7 + k * (i % 5)) % 4])
    return { input: input.join(''), target: input.map((c) => String(c).toUpperCase()) }
  })

async function fitted(options: models.Seq2SeqOptions = {}, epochs = 2): Promise<models.Seq2Seq> {
  const model = new models.Seq2Seq({ ...small, ...options })
  await model.fit(pairs(64), { ...quick, maxEpochs: epochs, lr: 0.02 })
  return model
}

test('it learns, saves the same bits, and says where it looked', async (t) => {
  const model = await fitted({}, 25)
  const { accuracy, errorRate } = await model.evaluate(pairs(20))
  t.is(accuracy, 1, String(errorRate))
  const found = await model.generate('abd', { nBest: 3 })
  t.is(found.length, 3)
  const [best, second] = found as [models.GeneratedSequence, models.GeneratedSequence]
  t.deepEqual(best.tokens, ['A', 'B', 'D'])
  t.true(best.score >= second.score)
  t.is(best.attention?.length, 3)
  for (const row of best.attention ?? []) {
    t.is(row.length, 3)
    t.true(Math.abs(row.reduce((a, b) => a + b) - 1) < 1e-5)
  }
  await model.save(join(folder, 'm'))
  const loaded = await models.Seq2Seq.load(join(folder, 'm'))
  t.deepEqual(await loaded.generate('abd', { nBest: 3 }), found)
  t.deepEqual(await model.clone().generate('abd', { nBest: 3 }), found)
})

const numbers = fixture('seq2seq')
for (const [name, options] of Object.entries(numbers.info.cases) as [
  string,
  models.Seq2SeqOptions,
][])
  test(`logits, loss and gradients are PyTorch's: ${name}`, async (t) => {
    const { E, H, lengths, targetLengths } = numbers.info
    const tokens = (text: string, specialTokens: string[]): data.Vocabulary =>
      data.Vocabulary.fromTokens([...text], { specialTokens })
    const model = new models.Seq2Seq({
      ...options,
      embeddingSize: E,
      hiddenSize: H,
      dropout: 0,
      source: tokens('abcde', ['<pad>']),
      target: tokens('ABCDE', ['<pad>', '<s>', '</s>']),
    })
    model.loadStateDict(numbers.tensors(`${name}.weights`))
    const input = numbers.tensor('source')
    const logits = model.forward(input, lengths, numbers.tensor('before'))
    await closeTo(t, logits, numbers.array(`${name}.logits`), 2e-5, 'logits')
    const { loss } = await model.trainingStep({
      input,
      lengths,
      target: numbers.tensor('target'),
      targetLengths,
      examples: [0, 1, 2],
      count: 3,
    })
    await closeTo(t, loss, numbers.array(`${name}.loss`), 2e-5, 'loss')
    loss.backward()
    const gradients = numbers.tensors(`${name}.grads`)
    t.is(model.namedParameters().length, gradients.size)
    for (const [key, { grad }] of model.namedParameters())
      await closeTo(t, grad as Tensor, numbers.array(`${name}.grads.${key}`), 1e-4, key)
  })

test('outputs are no longer than training lets expect', async (t) => {
  const model = await fitted({}, 1)
  // As bad as a network can be: it never says the end.
  const { output, target } = model as { output: nn.Linear; target: data.Vocabulary }
  const bias = [...(await (output.bias as Tensor).data())]
  bias[target.indexOf('</s>')] = -1e4
  output.loadStateDict(
    new Map([
      ['weight', output.weight],
      ['bias', tensor(bias)],
    ]),
  )
  const lengthOf = async (input: string, options = {}): Promise<number | undefined> =>
    (await model.generate(input, options))[0]?.tokens.length
  // Targets are as long as their inputs, 2 to 4.
  t.is(await lengthOf('ab'), 4)
  t.is(await lengthOf('a'), 4)
  t.is(await lengthOf('abc'), 5)
  t.is(await lengthOf('abcd'), 6)
  t.is(await lengthOf('abcdabcd'), 11)
  t.is(await lengthOf('ab', { maxLength: 20 }), 20)
  t.is(await lengthOf('a'.repeat(400)), 100)
  await model.save(join(folder, 'long'))
  const loaded = await models.Seq2Seq.load(join(folder, 'long'))
  t.is((await loaded.generate('ab'))[0]?.tokens.length, 4)
  t.is((await model.clone().generate('ab'))[0]?.tokens.length, 4)
})

for (const options of [
  { attention: 'dot', cell: 'lstm', numLayers: 2 },
  { attention: 'additive', teacherForcing: 0.5, labelSmoothing: 0.1 },
  { attention: null, cell: 'rnn' },
] as const)
  test(`a beam of one is the likeliest token each time: ${options.attention}`, async (t) => {
    const model = await fitted(options)
    const { tokens, score } = (
      await model.generate('acb', { beamSize: 1, maxLength: 6 })
    )[0] as models.GeneratedSequence
    // The same by forward alone.
    const { source, target } = model as { source: data.Vocabulary; target: data.Vocabulary }
    const input = tensor(source.encode(['a', 'c', 'b']), { shape: [1, 3] })
    const said = [target.indexOf('<s>')]
    let logProb = 0
    for (let i = 0; i < 6; i++) {
      const logits = model.forward(
        input,
        [3],
        tensor(Int32Array.from(said), { shape: [1, said.length] }),
      )
      const last = [
        ...(await logits
          .logSoftmax(2)
          .select(1, said.length - 1)
          .data()),
      ]
      for (const token of ['<s>', '<pad>']) last[target.indexOf(token)] = -Infinity
      const best = last.indexOf(Math.max(...last))
      logProb += last[best] as number
      said.push(best)
      if (best === target.indexOf('</s>')) break
    }
    const ended = said.at(-1) === target.indexOf('</s>')
    t.deepEqual(
      tokens,
      said.slice(1, ended ? -1 : undefined).map((i) => target.token(i)),
    )
    t.true(Math.abs(score - logProb / (said.length - 1)) < 1e-4)
  })

test('a beam finds what is likelier than the greedy answer', async (t) => {
  const model = await fitted()
  for (const { input } of pairs(6)) {
    const [greedy] = await model.generate(input, { beamSize: 1, lengthPenalty: 0, maxLength: 5 })
    const [beam] = await model.generate(input, { beamSize: 8, lengthPenalty: 0, maxLength: 5 })
    t.true((beam?.score as number) >= (greedy?.score as number) - 1e-5)
  }
})

test('padding changes nothing, and the loss is that of the tokens', async (t) => {
  manualSeed(1)
  const model = await fitted()
  const of = async (
    input: number[][],
    lengths: number[],
    target: number[][],
  ): Promise<number[]> => [
    ...(await model
      .forward(tensor(input, { dtype: 'int32' }), lengths, tensor(target, { dtype: 'int32' }))
      .data()),
  ]
  const alone = await of([[2, 3]], [2], [[2, 4]])
  const together = await of(
    [
      [2, 3, 4, 5],
      [2, 3, 0, 0],
    ],
    [4, 2],
    [
      [2, 5],
      [2, 4],
    ],
  )
  together.slice(alone.length).forEach((x, i) => {
    t.true(Math.abs(x - (alone[i] as number)) < 1e-5)
  })
})

test('errors', async (t) => {
  const learn = (examples: unknown[]): Promise<unknown> =>
    new models.Seq2Seq(small).fit(examples as models.SequencePair[], { ...quick, maxEpochs: 1 })
  await rejectsWith(t, learn([]), RangeError, /at least one example/)
  await rejectsWith(t, learn([{ input: '', target: 'a' }]), RangeError, /examples\[0\].input/)
  await rejectsWith(t, learn([{ input: 'a', target: [1] }]), TypeError, /examples\[0\].target\[0\]/)
  await rejectsWith(
    t,
    learn([{ input: 'a', target: ['X', '</s>'] }]),
    RangeError,
    /examples\[0\].target\[1\]: expected another token than <pad>, <s> and <\/s>, which .* got '<\/s>'/,
  )
  const model = await fitted()
  await rejectsWith(t, model.generate('xyz'), RangeError, /only unknown ones, such as 'x'/)
  await rejectsWith(t, model.generate('a', { beamSize: 2, nBest: 3 }), RangeError, /nBest/)
  await rejectsWith(t, new models.Seq2Seq().generate('a'), TypeError, /call fit first/)
  const vocabulary = data.Vocabulary.fromTokens(['a'])
  throwsWith(t, () => new models.Seq2Seq({ target: vocabulary }), RangeError, /<s> and <\/s>/)
  throwsWith(t, () => new models.Seq2Seq({ attention: 'x' as never }), TypeError, /attention/)
})
