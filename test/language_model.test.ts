import { mkdtemp, readdir, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { data, manualSeed, models, nn, randomState, Trainer, tensor, zeros } from 'fused-rnn'
import { closeTo, fixture, rejectsWith, throwsWith } from './helpers.js'

// One after the other: the tests of a file share one generator of random numbers.

const small = { vocabSize: 9, embeddingSize: 4, hiddenSize: 5, numLayers: 1, dropout: 0 } as const

const int = (values: number[], shape: number[]) => tensor(Int32Array.from(values), { shape })
const shapeOf = (x: { shape: readonly number[] }): number[] => [...x.shape]

async function folder(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'fused-rnn-model-'))
  t.teardown(() => rm(path, { recursive: true }))
  return path
}

async function take(generator: AsyncIterable<number>, count: number): Promise<number[]> {
  const tokens: number[] = []
  for await (const token of generator) {
    tokens.push(token)
    if (tokens.length === count) break
  }
  return tokens
}

const numbers = fixture('language_model')
for (const [name, config] of Object.entries(numbers.info.cases) as [string, object][]) {
  test.serial(`logits, state, loss and gradients as PyTorch's: ${name}`, async (t) => {
    const model = new models.LanguageModel({
      vocabSize: numbers.info.vocabSize,
      dropout: 0,
      ...config,
    })
    const weights = numbers.tensors(`${name}.weights`)
    t.deepEqual([...model.stateDict().keys()].sort(), [...weights.keys()].sort())
    model.loadStateDict(weights)
    const [, state] = model.forward(numbers.tensor(`${name}.first`))
    const [logits, after] = model.forward(numbers.tensor(`${name}.second`), state)
    await closeTo(t, logits, numbers.array(`${name}.logits`), 2e-5, 'logits')
    await closeTo(
      t,
      Array.isArray(after) ? after[0] : after,
      numbers.array(`${name}.h`),
      2e-5,
      'state',
    )
    const loss = nn.functional.crossEntropy(logits, numbers.tensor(`${name}.target`).reshape([-1]))
    await closeTo(t, loss, numbers.array(`${name}.loss`), 2e-5, 'loss')
    loss.backward()
    const gradients = numbers.tensors(`${name}.grads`)
    t.deepEqual(
      model
        .namedParameters()
        .map(([key]) => key)
        .sort(),
      [...gradients.keys()].sort(),
    )
    for (const [key, parameter] of model.namedParameters()) {
      await closeTo(
        t,
        parameter.grad,
        numbers.array(`${name}.grads.${key}`),
        1e-4,
        `gradient of ${key}`,
      )
    }
  })
}

test.serial('shapes, initial state, start values', async (t) => {
  const model = new models.LanguageModel({ ...small, numLayers: 2, dropout: 0.5 })
  const [logits, state] = model.forward(int([1, 2, 3, 4, 5, 6], [3, 2]))
  t.deepEqual(shapeOf(logits), [6, 9])
  t.true(Array.isArray(state))
  const [h, c] = model.initialState(2) as [typeof logits, typeof logits]
  t.deepEqual(
    [shapeOf(h), shapeOf(c)],
    [
      [2, 2, 5],
      [2, 2, 5],
    ],
  )
  t.deepEqual(
    shapeOf(new models.LanguageModel({ ...small, cell: 'gru' }).initialState(3) as typeof h),
    [1, 3, 5],
  )
  const weights = model.stateDict()
  t.true((await weights.get('decoder.weight')?.data())?.every((x) => Math.abs(x) <= 0.1))
  t.true((await weights.get('encoder.weight')?.data())?.every((x) => Math.abs(x) <= 0.1))
  t.true((await weights.get('decoder.bias')?.data())?.every((x) => x === 0))
})

test.serial('one-hot input is an embedding with the identity matrix', async (t) => {
  const oneHot = new models.LanguageModel({ ...small, embeddingSize: 0 })
  const embedded = new models.LanguageModel({ ...small, embeddingSize: 9 })
  const identity = Float32Array.from({ length: 81 }, (_, i) => (i % 10 === 0 ? 1 : 0))
  embedded.loadStateDict(
    new Map([...oneHot.stateDict(), ['encoder.weight', tensor(identity, { shape: [9, 9] })]]),
  )
  const tokens = int([0, 8, 3, 1, 2, 5], [3, 2])
  await closeTo(t, oneHot.forward(tokens)[0], await embedded.forward(tokens)[0].data(), 1e-6)
})

test.serial('tied weights are one parameter', async (t) => {
  const model = new models.LanguageModel({ ...small, embeddingSize: 5, tieWeights: true })
  t.is(model.encoder?.weight, model.decoder.weight)
  const { length } = new models.LanguageModel({ ...small, embeddingSize: 5 }).parameters()
  t.is(model.parameters().length, length - 1)
  const path = await folder(t)
  await model.save(path)
  const loaded = await models.LanguageModel.load(path)
  t.is(loaded.encoder?.weight, loaded.decoder.weight)
  t.deepEqual(await loaded.decoder.weight.data(), await model.decoder.weight.data())
})

test.serial('generation: seeds, temperature, topK', async (t) => {
  const vocabulary = data.Vocabulary.fromText('abcdefgh')
  const model = new models.LanguageModel({ ...small, vocabulary, dropout: 0.9 })
  const one = await take(model.generate('abc', { seed: 5 }), 20)
  t.is(one.length, 20)
  t.true(one.every((token) => Number.isInteger(token) && token >= 0 && token < 9))
  t.deepEqual(await take(model.generate('abc', { seed: 5, length: 20 }), 99), one)
  t.deepEqual(
    await take(model.generate(vocabulary.encode('abc'), { seed: 5, length: 20 }), 99),
    one,
  )
  t.notDeepEqual(await take(model.generate('abc', { seed: 6 }), 20), one)
  t.true(new Set(one).size > 3)
  const greedy = await take(model.generate('abc', { temperature: 0, length: 10 }), 99)
  t.deepEqual(await take(model.generate('abc', { topK: 1, length: 10, seed: 8 }), 99), greedy)

  // Greedy tokens are the largest logits of the whole text so far, but for that of <unk>.
  model.eval()
  const tokens = [...vocabulary.encode('abc')]
  for (const token of greedy) {
    const logits = await model.forward(int(tokens, [tokens.length, 1]))[0].data()
    const last = logits.slice(-9).fill(-Infinity, 0, 1)
    t.is(token, last.indexOf(Math.max(...last)))
    tokens.push(token)
  }
})

const distinct = (tokens: number[]): number[] => [...new Set(tokens)].sort((a, b) => a - b)

test.serial('generation: forbidden tokens, the unknown one by default', async (t) => {
  const vocabulary = data.Vocabulary.fromText('ab', { specialTokens: ['c'] }) // <unk>, c, a, b
  const model = new models.LanguageModel({ ...small, vocabSize: vocabulary.size, vocabulary })
  // The unknown token is by far the likeliest, then c.
  const state = model.stateDict()
  state.set('decoder.bias', tensor([50, 40, 0, 0]))
  model.loadStateDict(state)
  const all = async (options: models.GenerateOptions): Promise<number[]> =>
    distinct(await take(model.generate('ab', { length: 30, seed: 2, ...options }), 30))
  t.deepEqual(await all({}), [1])
  t.deepEqual(await all({ forbidden: [] }), [0])
  t.deepEqual(await all({ forbidden: ['<unk>', 1] }), [2, 3])
  t.deepEqual(await all({ forbidden: [0, 1, 3], temperature: 0 }), [2])
  const wrong = (options: object, message: RegExp, type = RangeError): void =>
    throwsWith(t, () => model.generate('ab', options), type, message)
  wrong({ forbidden: [4] }, /forbidden: expected token numbers between 0 and 3, got 4/)
  wrong({ forbidden: ['d'] }, /forbidden: expected tokens of the vocabulary, got 'd'/)
  wrong({ forbidden: [0, 1, 2, 3] }, /at least one token that is allowed/)
  wrong({ forbidden: [null] }, /forbidden: expected texts or token numbers, got null/, TypeError)
})

test.serial('generation: topP takes the likeliest that add up to it', async (t) => {
  const model = new models.LanguageModel({ ...small, vocabSize: 4 })
  const state = model.stateDict()
  for (const value of state.values()) nn.init.zeros(value)
  // Probabilities 0.5, 0.3, 0.15, 0.05, whatever the text.
  state.set('decoder.bias', tensor([0.5, 0.3, 0.15, 0.05].map(Math.log)))
  model.loadStateDict(state)
  const drawn = async (topP: number, temperature = 1): Promise<number[]> =>
    distinct(await take(model.generate([1], { length: 120, seed: 2, topP, temperature }), 120))
  t.deepEqual(await drawn(0.4), [0])
  t.deepEqual(await drawn(0.6), [0, 1])
  t.deepEqual(await drawn(0.9), [0, 1, 2])
  t.deepEqual(await drawn(1), [0, 1, 2, 3])
  t.deepEqual(await drawn(0.3, 100), [0, 1]) // nearly equal at this temperature
  throwsWith(t, () => model.generate([1], { topP: 0 }), RangeError, /topP: .*above 0/)
  throwsWith(t, () => model.generate([1], { topP: 1.1 }), RangeError, /topP/)
})

test.serial('generation: repetitionPenalty weakens tokens that the text has', async (t) => {
  const model = new models.LanguageModel({ ...small, vocabSize: 4 })
  const state = model.stateDict()
  for (const value of state.values()) nn.init.zeros(value)
  state.set('decoder.bias', tensor([4, 3, -1, -2]))
  model.loadStateDict(state)
  const greedy = (repetitionPenalty: number): Promise<number[]> =>
    take(model.generate([3], { length: 3, temperature: 0, repetitionPenalty }), 3)
  t.deepEqual(await greedy(1), [0, 0, 0])
  t.deepEqual(await greedy(1.3), [0, 0, 0]) // 4 / 1.3 is still the largest
  t.deepEqual(await greedy(2), [0, 1, 0]) // then 3, then 2 against 1.5
  t.deepEqual(await greedy(0.5), [0, 0, 0])
  throwsWith(t, () => model.generate([1], { repetitionPenalty: 0 }), RangeError, /above 0/)
})

test.serial('generation: stop ends the text, with the token that completes it', async (t) => {
  const vocabulary = data.Vocabulary.fromText('abcdefgh')
  const model = new models.LanguageModel({ ...small, vocabSize: vocabulary.size, vocabulary })
  const all = await take(model.generate('abc', { seed: 5, length: 40 }), 40)
  const stopped = (stop: models.GenerateOptions['stop']): Promise<number[]> =>
    take(model.generate('abc', { seed: 5, length: 40, ...(stop !== undefined && { stop }) }), 40)
  const third = all[2] as number
  t.deepEqual(await stopped(third), all.slice(0, all.indexOf(third) + 1))
  const text = vocabulary.decode(all)
  const two = text.slice(4, 6)
  t.is(vocabulary.decode(await stopped(two)), text.slice(0, text.indexOf(two) + 2))
  t.deepEqual(await stopped(['zz', two]), await stopped(two))
  t.deepEqual(await stopped('abcabcabc'), all) // the prefix does not count
  t.deepEqual(await stopped([]), all)
  throwsWith(t, () => model.generate('abc', { stop: '' }), RangeError, /stop/)
  throwsWith(t, () => model.generate('abc', { stop: 99 }), RangeError, /stop/)
  const numbers = new models.LanguageModel(small)
  throwsWith(t, () => numbers.generate([1], { stop: 'a' }), TypeError, /has no vocabulary/)

  const words = data.Vocabulary.fromText('to be or not', { tokenizer: { level: 'word' } })
  const writer = new models.LanguageModel({ ...small, vocabSize: words.size, vocabulary: words })
  const spoken = words.decode(
    await take(writer.generate('to', { seed: 1, length: 200, stop: 'be or' }), 200),
  )
  t.regex(spoken, /^(?!.*be or .).*be or$/)
})

test.serial(
  'generation leaves mode and random numbers as they are, and can be interrupted',
  async (t) => {
    const model = new models.LanguageModel(small)
    manualSeed(4)
    const before = randomState()
    const first = model.generate([1], { seed: 3 })
    const second = model.generate([1], { seed: 3 })
    const tokens: number[][] = [[], []]
    for (let i = 0; i < 8; i++) {
      tokens[0]?.push((await first.next()).value as number)
      t.true(model.training)
      tokens[1]?.push((await second.next()).value as number)
    }
    t.deepEqual(tokens[0], tokens[1])
    t.deepEqual(randomState(), before)
    await first.return()
    t.true((await first.next()).done)
  },
)

test.serial('generation: wrong arguments', (t) => {
  const model = new models.LanguageModel(small)
  throwsWith(
    t,
    () => model.generate('abc'),
    TypeError,
    /\[generate\] prefix: expected token numbers, as the model has no vocabulary, got 'abc'/,
  )
  throwsWith(t, () => model.generate([]), RangeError, /at least one token/)
  throwsWith(t, () => model.generate([9]), RangeError, /prefix\[0\]: .*between 0 and 8, got 9/)
  throwsWith(t, () => model.generate(null as never), TypeError, /prefix/)
  throwsWith(t, () => model.generate([1], { temperature: -1 }), RangeError, /temperature/)
  throwsWith(t, () => model.generate([1], { topK: 0 }), RangeError, /topK/)
  throwsWith(t, () => model.generate([1], { len: 5 } as object), TypeError, /len/)
})

test.serial('save and load', async (t) => {
  const path = join(await folder(t), 'new', 'model')
  const vocabulary = data.Vocabulary.fromText('the cat sat\n', { tokenizer: { level: 'word' } })
  const { vocabSize: _, ...rest } = small
  const model = new models.LanguageModel({ ...rest, vocabulary, cell: 'rnn', nonlinearity: 'relu' })
  await model.save(path)
  t.deepEqual((await readdir(path)).sort(), ['config.json', 'model.safetensors', 'vocabulary.json'])
  const loaded = await models.LanguageModel.load(path)
  t.deepEqual(loaded.config, model.config)
  t.deepEqual(loaded.vocabulary?.toJSON(), vocabulary.toJSON())
  t.false(loaded.training)
  const tokens = int([0, 1, 2, 3], [2, 2])
  t.deepEqual(await loaded.forward(tokens)[0].data(), await model.forward(tokens)[0].data())
  await new models.LanguageModel(small).save(path)
  t.is((await models.LanguageModel.load(path)).vocabulary, null, 'the old vocabulary has gone')
})

test.serial('generation and validation give every module its mode back', async (t) => {
  const model = new models.LanguageModel(small)
  model.rnn.eval()
  for await (const _ of model.generate([1], { length: 1 }));
  const tokens = Int32Array.from({ length: 20 }, (_, i) => i % 5)
  const batches = new data.SequentialBatches(tokens, { batchSize: 2, sequenceLength: 4 })
  await new Trainer({ progressBar: false }).validate(model, batches)
  t.deepEqual([model.training, model.drop.training, model.rnn.training], [true, true, false])
})

test.serial('loading what is no model', async (t) => {
  const path = await folder(t)
  const load = () => models.LanguageModel.load(path)
  const file = (name: string) => join(path, name)
  await rejectsWith(
    t,
    models.LanguageModel.load(file('none')),
    Error,
    /^\[LanguageModel.load\] '.*none' does not hold a model: there is no such folder$/,
  )
  await rejectsWith(t, load(), Error, /config.json is missing/)
  const model = new models.LanguageModel({
    ...small,
    vocabulary: data.Vocabulary.fromText('abcdefgh'),
  })
  await model.save(path)
  await writeFile(file('config.json'), '{')
  await rejectsWith(t, load(), Error, /config.json: /)
  await writeFile(file('config.json'), '{"model": 1}')
  await rejectsWith(t, load(), Error, /config.json does not describe a LanguageModel/)
  await new models.LanguageModel({ ...small, hiddenSize: 6 }).save(join(path, 'other'))
  await model.save(path)
  const { copyFile } = await import('node:fs/promises')
  await copyFile(join(path, 'other', 'config.json'), file('config.json'))
  await rejectsWith(t, load(), Error, /does not hold a model: .*expected shape/)
  await model.save(path)
  await writeFile(file('vocabulary.json'), JSON.stringify(data.Vocabulary.fromText('ab')))
  await rejectsWith(t, load(), Error, /vocabulary: expected 9 tokens \(vocabSize\), got 3/)
  await model.save(path)
  await truncate(file('model.safetensors'), 100)
  await rejectsWith(t, load(), Error, /model.safetensors: /)
  await rm(file('model.safetensors'))
  await rejectsWith(t, load(), Error, /model.safetensors is missing/)
  await writeFile(file('plain'), '')
  await rejectsWith(t, model.save(file('plain')), Error, /\[LanguageModel.save\] cannot write/)
})

test.serial('wrong options and inputs', (t) => {
  const make = (options: object) => () => new models.LanguageModel({ ...small, ...options })
  throwsWith(
    t,
    make({ tieWeights: true }),
    RangeError,
    /tieWeights: expected embeddingSize equal to hiddenSize, got 4 and 5/,
  )
  throwsWith(
    t,
    make({ cell: 'LSTM' }),
    TypeError,
    /cell: expected one of 'rnn', 'gru', .*, got 'LSTM'/,
  )
  throwsWith(t, make({ nonlinearity: 'relu' }), TypeError, /nonlinearity/)
  throwsWith(t, make({ bidirectional: true }), TypeError, /bidirectional/)
  throwsWith(t, make({ dropout: 2 }), RangeError, /dropout/)
  throwsWith(t, make({ vocabSize: undefined }), TypeError, /vocabSize/)
  throwsWith(
    t,
    make({ vocabulary: data.Vocabulary.fromText('ab') }),
    RangeError,
    /vocabulary: expected 9 tokens \(vocabSize\), got 3/,
  )
  throwsWith(t, make({ vocabulary: ['a'] }), TypeError, /vocabulary/)
  const model = new models.LanguageModel(small)
  throwsWith(t, () => model.forward(zeros([2, 2])), TypeError, /tokens: expected an int32 tensor/)
  throwsWith(
    t,
    () => model.forward(int([1], [1])),
    RangeError,
    /tokens: expected shape \(T, B\), got \(1,\)/,
  )
  throwsWith(
    t,
    () => model.forward(int([1], [1, 1]), zeros([1, 1, 5])),
    TypeError,
    /state: expected the pair \[h, c\], for cell 'lstm'/,
  )
  throwsWith(
    t,
    () => model.forward(int([1], [1, 1]), [zeros([1, 2, 5]), zeros([1, 2, 5])]),
    RangeError,
    /hidden\[0\].*\(1, 1, 5\).*\(1, 2, 5\)/,
  )
})
