import {
  cp,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rename,
  rm,
  truncate,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  type Callback,
  data,
  EarlyStopping,
  type FitResult,
  ModelCheckpoint,
  manualSeed,
  models,
  nn,
  optim,
  Trainer,
} from 'fused-rnn'
import { rejectsWith, throwsWith } from './helpers.js'

// One after the other: the tests of a file share one generator of random numbers.

const text = 'the cat sat on the mat. '.repeat(20)
const vocabulary = data.Vocabulary.fromText(text)
const tokens = vocabulary.encode(text)

async function folder(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'fused-rnn-checkpoint-'))
  t.teardown(() => rm(path, { recursive: true }))
  return path
}

interface Setup {
  sequential?: boolean
  sgd?: boolean
  callbacks?: Callback[]
  trainer?: object
  ckptPath?: string
}

/** A training with everything that has a state: dropout, random order, momenta, schedule, patience. */
async function train({
  sequential = true,
  sgd = false,
  callbacks = [],
  trainer = {},
  ckptPath,
}: Setup = {}) {
  // A resumed process starts from other random numbers and weights.
  manualSeed(ckptPath === undefined ? 1 : 999)
  const model = new models.LanguageModel({
    vocabulary,
    embeddingSize: 6,
    hiddenSize: 10,
    numLayers: 2,
    dropout: 0.3,
    cell: sgd ? 'gru' : 'lstm',
  })
  const options = { batchSize: 3, sequenceLength: 9 }
  const batches = sequential
    ? new data.SequentialBatches(tokens, options)
    : new data.RandomWindows(tokens, options)
  const valid = new data.SequentialBatches(tokens.subarray(0, 100), options)
  const optimizer = sgd
    ? new optim.SGD(model.parameters(), { lr: 0.5, momentum: 0.9 })
    : new optim.Adam(model.parameters(), { lr: 0.01 })
  const scheduler = sgd
    ? new optim.lrScheduler.ReduceLROnPlateau(optimizer, { patience: 0, threshold: 0.05 })
    : new optim.lrScheduler.ExponentialLR(optimizer, 0.9)
  const early = new EarlyStopping({ patience: 4, minDelta: 0.01 })
  const fit = new Trainer({
    maxEpochs: 2,
    gradientClipVal: 0.5,
    logEveryNSteps: 4,
    progressBar: false,
    callbacks: [early, ...callbacks],
    ...trainer,
  })
  const result = await fit.fit(model, batches, valid, {
    optimizer,
    scheduler,
    ...(ckptPath && { ckptPath }),
  })
  return { result, model, optimizer, early, length: batches.length }
}

/** Everything that must be the same, to the bit; speed aside. */
async function outcome({ result, model, optimizer, early }: Awaited<ReturnType<typeof train>>) {
  const weights: [string, number[]][] = []
  for (const [name, value] of model.stateDict()) weights.push([name, [...(await value.data())]])
  const records = result.history.records.map(
    ({ metrics: { tokensPerSecond: _, ...metrics }, ...rest }) => ({ ...rest, metrics }),
  )
  return {
    weights,
    records,
    metrics: result.metrics,
    step: result.globalStep,
    lr: optimizer.lr,
    wait: early.stateDict(),
  }
}

/** Stops at a step of the whole training. */
function abortAt(step: number): { signal: AbortSignal; callback: Callback } {
  const controller = new AbortController()
  return {
    signal: controller.signal,
    callback: {
      onTrainBatchEnd: (trainer) => {
        if (trainer.globalStep === step) controller.abort()
      },
    },
  }
}

for (const sequential of [true, false]) {
  for (const sgd of [false, true]) {
    test.serial(
      `going on is the same as not having stopped: ${sequential ? 'consecutive' : 'random'} windows, ${sgd ? 'SGD' : 'Adam'}`,
      async (t) => {
        const whole = await train({ sequential, sgd })
        const expected = await outcome(whole)
        t.true(whole.length > 10)
        for (const step of [1, 6, whole.length, whole.length + 5]) {
          const dirpath = await folder(t)
          const { signal, callback } = abortAt(step)
          const part = await train({
            sequential,
            sgd,
            callbacks: [callback, new ModelCheckpoint({ dirpath })],
            trainer: { signal },
          })
          t.is(part.result.stopped, 'aborted')
          t.is(part.result.globalStep, step)
          t.is(part.result.checkpoint, join(dirpath, 'last'))
          const rest = await train({ sequential, sgd, ckptPath: join(dirpath, 'last') })
          t.is(rest.result.stopped, 'maxEpochs')
          t.deepEqual(await outcome(rest), expected, `stopped at step ${step}`)
        }
      },
    )
  }
}

test.serial('going on after a stop during a validation in the middle of an epoch', async (t) => {
  const trainer = { valCheckInterval: 5 }
  const expected = await outcome(await train({ trainer }))
  const dirpath = await folder(t)
  const controller = new AbortController()
  let validations = 0
  const callback: Callback = {
    onValidationStart: () => {
      if (++validations === 2) controller.abort()
    },
  }
  const part = await train({
    trainer: { ...trainer, signal: controller.signal },
    callbacks: [callback, new ModelCheckpoint({ dirpath })],
  })
  t.deepEqual([part.result.stopped, part.result.globalStep], ['aborted', 10])
  t.deepEqual(await outcome(await train({ trainer, ckptPath: join(dirpath, 'last') })), expected)
})

test.serial(
  'going on from the best checkpoint, from one by steps and from a finished training',
  async (t) => {
    const dirpath = await folder(t)
    const expected = await outcome(await train({ trainer: { maxEpochs: 3 } }))
    const copies: string[] = []
    const copy: Callback = {
      onTrainBatchEnd: async (trainer) => {
        if (trainer.globalStep !== 8) return
        copies.push(join(dirpath, 'copy'))
        await trainer.saveCheckpoint(join(dirpath, 'copy'))
      },
    }
    const checkpoint = new ModelCheckpoint({ dirpath, monitor: 'valLoss', everyNTrainSteps: 4 })
    const two = await train({ callbacks: [copy, checkpoint] })
    t.deepEqual((await readdir(dirpath)).sort(), ['best', 'copy', 'last'])
    t.is(checkpoint.bestModelPath, join(dirpath, 'best'))
    t.is(
      checkpoint.bestModelScore,
      Math.min(...two.result.history.series('valLoss', 'epoch').map(({ value }) => value)),
    )
    for (const name of ['last', 'best', 'copy']) {
      const three = await train({ trainer: { maxEpochs: 3 }, ckptPath: join(dirpath, name) })
      t.deepEqual(await outcome(three), expected, name)
    }
    const done = await train({ ckptPath: join(dirpath, 'last') })
    t.deepEqual([done.result.stopped, done.result.globalStep], ['maxEpochs', two.result.globalStep])
  },
)

test.serial('a checkpoint is a model folder too', async (t) => {
  const dirpath = await folder(t)
  const { model } = await train({
    callbacks: [new ModelCheckpoint({ dirpath })],
    trainer: { maxEpochs: 1 },
  })
  t.deepEqual((await readdir(join(dirpath, 'last'))).sort(), [
    'config.json',
    'model.safetensors',
    'trainer.json',
    'trainer.safetensors',
    'vocabulary.json',
  ])
  const loaded = await models.LanguageModel.load(join(dirpath, 'last'))
  t.deepEqual(await loaded.decoder.weight.data(), await model.decoder.weight.data())
})

test.serial('a crash while a checkpoint is replaced leaves the one before', async (t) => {
  const dirpath = await folder(t)
  const expected = await outcome(await train())
  await train({ callbacks: [new ModelCheckpoint({ dirpath })], trainer: { maxEpochs: 1 } })
  const last = join(dirpath, 'last')
  // As an earlier version was interrupted: the one before is set aside, its successor is complete.
  await rename(last, `${last}.previous`)
  await rejectsWith(t, train({ ckptPath: last }).then(String), Error, /which has no trainer.json/)
  await cp(`${last}.previous`, `${last}.tmp`, { recursive: true })
  t.deepEqual(await outcome(await train({ ckptPath: last })), expected)
})

test.serial('a checkpoint replaces a checkpoint and nothing else', async (t) => {
  const dirpath = await folder(t)
  const trainer = new Trainer({ maxSteps: 1, progressBar: false })
  const batches = new data.SequentialBatches(tokens, { batchSize: 3, sequenceLength: 9 })
  const model = new models.LanguageModel({ vocabulary, hiddenSize: 4, embeddingSize: 3 })
  await trainer.fit(model, batches)
  const own = join(dirpath, 'own')
  await mkdir(own)
  await trainer.saveCheckpoint(`${own}/`)
  await trainer.saveCheckpoint(`${own}/`)
  t.deepEqual(await readdir(dirpath), ['own'])
  await rm(join(own, 'trainer.json'))
  for (const path of [own, join(own, 'config.json'), dirpath]) {
    await rejectsWith(t, trainer.saveCheckpoint(path), Error, /something of that name/)
  }
  t.deepEqual(await readdir(dirpath), ['own'])
})

test.serial('what is no checkpoint, or one of something else', async (t) => {
  const dirpath = await folder(t)
  const last = join(dirpath, 'last')
  const fresh = () =>
    train({ callbacks: [new ModelCheckpoint({ dirpath })], trainer: { maxSteps: 2 } })
  const resume = (setup: Setup = {}): Promise<FitResult> =>
    train({ ckptPath: last, ...setup }).then(({ result }) => result)
  await rejectsWith(
    t,
    resume(),
    Error,
    /^\[fit\] ckptPath: expected a checkpoint folder, got '.*last', which has no trainer.json$/,
  )
  await fresh()
  await rejectsWith(t, resume({ sgd: true }), Error, /cannot go on from '.*': .*expected shape/)
  const batches = new data.SequentialBatches(tokens, { batchSize: 5, sequenceLength: 9 })
  const { model } = await fresh()
  nn.init.zeros(model.decoder.weight)
  const before = await model.decoder.weight.data()
  await rejectsWith(
    t,
    new Trainer({ progressBar: false }).fit(model, batches, null, { ckptPath: last }),
    RangeError,
    /batchSize: expected 5, as these batches have, got 3 in the saved state/,
  )
  t.deepEqual(await model.decoder.weight.data(), before)
  await truncate(join(last, 'trainer.safetensors'), 40)
  await rejectsWith(t, resume(), Error, /cannot go on from '.*': /)
  await fresh()
  const json = await readFile(join(last, 'trainer.json'), 'utf8')
  await writeFile(join(last, 'trainer.json'), json.slice(0, 100))
  await rejectsWith(t, resume(), Error, /cannot go on from '.*': /)
  await writeFile(join(last, 'trainer.json'), '{"format":"other"}')
  await rejectsWith(t, resume(), Error, /trainer.json is not one of version 1/)
  throwsWith(t, () => new ModelCheckpoint({} as never), TypeError, /\[ModelCheckpoint\] dirpath/)
  throwsWith(t, () => new ModelCheckpoint({ dirpath, everyNEpochs: 0 }), RangeError, /everyNEpochs/)
  throwsWith(t, () => new ModelCheckpoint({ dirpath, folder: 'x' } as never), TypeError, /folder/)
  await writeFile(join(dirpath, 'file'), '')
  await rejectsWith(
    t,
    train({
      callbacks: [new ModelCheckpoint({ dirpath: join(dirpath, 'file', 'x') })],
      trainer: { maxSteps: 1 },
    }).then(({ result }) => result),
    Error,
    /\[saveCheckpoint\] cannot write/,
  )
})
