/** What a step carries to the next: whose it is, and that any recurrent layer's state will do. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { data, manualSeed, nn, optim, type StepContext, type Tensor, Trainer } from 'fused-rnn'
import './helpers.js'

const text = 'the cat sat on the mat. '.repeat(40)
const vocabulary = data.Vocabulary.fromText(text)
const batches = () =>
  new data.SequentialBatches(vocabulary.encode(text), { batchSize: 4, sequenceLength: 12 })

/** Carries its state as the layer gives it, and remembers what it found. */
class CharModel extends nn.Module {
  readonly rnn: nn.RecurrentLayer
  readonly dense = new nn.Linear(16, vocabulary.size)
  readonly found: (nn.RecurrentState | null)[] = []
  readonly left: nn.RecurrentState[] = []

  constructor(rnn: nn.RecurrentLayer) {
    super()
    this.rnn = rnn
  }

  override forward(tokens: Tensor, state: nn.RecurrentState | null): [Tensor, nn.RecurrentState] {
    const [output, next] = this.rnn.forward(nn.functional.oneHot(tokens, vocabulary.size), state)
    return [this.dense.forward(output.reshape([-1, 16])), next]
  }

  trainingStep(batch: data.Batch, context: StepContext<nn.RecurrentState>) {
    this.found.push(context.carried)
    const [logits, state] = this.forward(batch.input, context.carried)
    context.carried = state
    this.left.push(state)
    return nn.functional.crossEntropy(logits, batch.target.reshape([-1]))
  }

  validationStep(batch: data.Batch, context: StepContext<nn.RecurrentState>) {
    return this.trainingStep(batch, context)
  }
}

const layers = {
  rnn: () => new nn.RNN(vocabulary.size, 16),
  gru: () => new nn.GRU(vocabulary.size, 16),
  lstm: () => new nn.LSTM(vocabulary.size, 16),
}
const tensorsOf = (state: nn.RecurrentState | null | undefined): readonly Tensor[] =>
  state === null || state === undefined ? [] : Array.isArray(state) ? state : [state as Tensor]

for (const [name, layer] of Object.entries(layers)) {
  test.serial(
    `${name}: the trainer detaches the state, and frees it after the next step`,
    async (t) => {
      manualSeed(1)
      const model = new CharModel(layer())
      const optimizer = new optim.SGD(model.parameters(), { lr: 0.1 })
      const trainer = new Trainer({ maxEpochs: 2, progressBar: false })
      await trainer.fit(model, batches(), batches(), { optimizer })
      const steps = batches().length
      t.is(model.found.length, 4 * steps)
      model.found.forEach((state, i) => {
        t.is(state === null, i % steps === 0)
        for (const tensor of tensorsOf(state)) {
          t.false(tensor.requiresGrad)
          t.throws(() => tensor.add(1), { message: /disposed|freed/ })
        }
      })
    },
  )
}

test.serial('the state is that of the step before, and gradients stop at it', async (t) => {
  manualSeed(1)
  const model = new CharModel(layers.gru())
  const own = model.trainingStep.bind(model)
  const values: Float32Array[] = []
  model.trainingStep = (batch, context) => {
    for (const tensor of tensorsOf(context.carried))
      tensor.data().then((value) => values.push(value as Float32Array))
    return own(batch, context)
  }
  const optimizer = new optim.SGD(model.parameters(), { lr: 0 })
  await new Trainer({ maxEpochs: 1, progressBar: false }).fit(model, batches(), null, { optimizer })
  let state: nn.RecurrentState | null = null
  const expected: Float32Array[] = []
  for (const { input } of batches().batches(0)) {
    const next: nn.RecurrentState = model.forward(input, state)[1]
    expected.push((await tensorsOf(next)[0]?.data()) as Float32Array)
    state = next
  }
  t.deepEqual(values, expected.slice(0, -1))
})

test.serial('a checkpoint holds it', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-carried-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const run = async (maxSteps: number, ckptPath?: string) => {
    manualSeed(1)
    const model = new CharModel(layers.lstm())
    const optimizer = new optim.Adam(model.parameters())
    const trainer = new Trainer({ maxSteps, progressBar: false })
    const resume = ckptPath === undefined ? {} : { ckptPath }
    await trainer.fit(model, batches(), null, { optimizer, ...resume })
    return { trainer, weights: await model.dense.weight.data() }
  }
  const { trainer } = await run(3)
  await trainer.saveCheckpoint(join(folder, 'third'))
  const straight = await run(7)
  const resumed = await run(7, join(folder, 'third'))
  t.deepEqual(resumed.weights, straight.weights)
})
