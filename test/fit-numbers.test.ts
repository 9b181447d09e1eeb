/** What a fit says of itself where batches differ: averages, epochs of skipped batches, checkpoints. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  type Callback,
  EarlyStopping,
  ModelCheckpoint,
  nn,
  optim,
  type StepContext,
  type Tensor,
  Trainer,
  tensor,
} from 'fused-rnn'
import { rejectsWith, throwsWith } from './helpers.js'

interface Step {
  loss: Tensor
  count?: number
  metrics?: Record<string, number>
}

/** Its loss is w · x; the rest is the test's. */
class Model extends nn.Module {
  readonly weight = nn.Parameter(tensor([1]))
  readonly optimizer = new optim.SGD([this.weight], { lr: 0.1 })
  train_: (loss: Tensor, context: StepContext) => Step | null = (loss) => ({ loss })
  validate_: (loss: Tensor, context: StepContext) => Step | null = (loss) => ({ loss })

  override forward(x: Tensor): Tensor {
    return x.mul(this.weight).sum()
  }
  trainingStep(x: Tensor, context: StepContext): Step | null {
    return this.train_(this.forward(x), context)
  }
  validationStep(x: Tensor, context: StepContext): Step | null {
    return this.validate_(this.forward(x), context)
  }
  configureOptimizers(): optim.SGD {
    return this.optimizer
  }
}

const batches = (n: number): Tensor[] => Array.from({ length: n }, () => tensor([1]))
const quiet = { progressBar: false, logEveryNSteps: 1 } as const

async function folder(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'fused-rnn-numbers-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

test.serial('a metric of some batches is the mean over those', async (t) => {
  const model = new Model()
  const some = (loss: Tensor, { batchIdx }: StepContext): Step => ({
    loss,
    count: 2 + batchIdx,
    metrics: batchIdx % 2 === 0 ? { accuracy: 0.25 * batchIdx, always: 1 } : { always: 1 },
  })
  model.train_ = some
  model.validate_ = some
  const trainer = new Trainer({ ...quiet, maxEpochs: 1 })
  const { metrics, history } = await trainer.fit(model, batches(4), batches(4))
  const expected = (0 * 2 + 0.5 * 4) / 6
  t.is(metrics.trainAccuracy, expected)
  t.is(metrics.valAccuracy, expected)
  t.is(metrics.trainAlways, 1)
  t.is(metrics.valAlways, 1)
  // A record of a step has no number that the step did not have.
  const steps = history.records.filter(({ kind }) => kind === 'step')
  t.deepEqual(
    steps.map((record) => record.metrics.trainAccuracy),
    [0, undefined, 0.5, undefined],
  )
})

test.serial('an epoch of skipped batches has no numbers of another', async (t) => {
  const model = new Model()
  model.train_ = (loss, { epoch }) => (epoch === 1 ? null : { loss })
  model.validate_ = (loss, { epoch }) => (epoch === 1 ? null : { loss })
  const stopping = new EarlyStopping({ patience: 1 })
  const falling = new EarlyStopping({ monitor: 'trainLoss', patience: 1, mode: 'max' })
  const checkpoint = new ModelCheckpoint({ dirpath: await folder(t), monitor: 'valLoss' })
  const seen: (number | undefined)[] = []
  const plateau = new optim.lrScheduler.ReduceLROnPlateau(model.optimizer)
  const note: Callback = {
    onTrainEpochEnd: ({ callbackMetrics }) => {
      seen.push(callbackMetrics.trainLoss, callbackMetrics.valLoss)
    },
  }
  const trainer = new Trainer({
    ...quiet,
    maxEpochs: 3,
    callbacks: [stopping, checkpoint, note],
  })
  const { history, stopped } = await trainer.fit(model, batches(2), batches(2), {
    optimizer: model.optimizer,
    scheduler: { scheduler: plateau, monitor: 'valLoss' },
  })
  t.is(stopped, 'maxEpochs')
  t.deepEqual(
    seen.map((value) => value === undefined),
    [false, false, true, true, false, false],
  )
  const epochs = history.records.filter(({ kind }) => kind === 'epoch')
  t.deepEqual(
    epochs.map(({ metrics }) => 'trainLoss' in metrics),
    [true, false, true],
  )
  t.is(checkpoint.bestModelScore, history.series('valLoss', 'validation').at(-1)?.value as number)
  // A name that never was is still an error.
  const wrong = new Trainer({
    ...quiet,
    maxEpochs: 1,
    callbacks: [new EarlyStopping({ monitor: 'valF1' })],
  })
  await rejectsWith(
    t,
    wrong.fit(new Model(), batches(1), batches(1)),
    RangeError,
    /monitor: expected one of trainLoss, .*got 'valF1'/,
  )
  t.is(falling.bestScore, null)
})

test.serial('a checkpoint has what all callbacks have made of the same hook', async (t) => {
  const path = await folder(t)
  class Count implements Callback {
    validations = 0
    epochs = 0
    onValidationEnd(): void {
      this.validations++
    }
    onTrainEpochEnd(): void {
      this.epochs++
    }
    stateDict(): object {
      return { validations: this.validations, epochs: this.epochs }
    }
    loadStateDict(state: { validations: number; epochs: number }): void {
      Object.assign(this, state)
    }
  }
  const make = (own: string) => {
    const count = new Count()
    const first = new ModelCheckpoint({ dirpath: join(path, own, 'a'), monitor: 'valLoss' })
    const many = new ModelCheckpoint({
      dirpath: join(path, own, 'b'),
      monitor: 'trainLoss',
      saveTopK: 2,
    })
    return { first, many, count, callbacks: [first, many, count, new EarlyStopping()] }
  }
  const { first, many, callbacks } = make('one')
  const trainer = new Trainer({ ...quiet, maxEpochs: 3, callbacks })
  await trainer.fit(new Model(), batches(2), batches(2))
  t.is(first.bestModelPath, join(path, 'one', 'a', 'best'))
  for (const [from, validations, epochs] of [
    [first.bestModelPath as string, 3, 2],
    [first.lastModelPath as string, 3, 3],
    [many.bestModelPath as string, 3, 3],
  ] as const) {
    const again = make('two')
    const resumed = new Trainer({ ...quiet, maxEpochs: 3, callbacks: again.callbacks })
    await resumed.fit(new Model(), batches(2), batches(2), { ckptPath: from })
    // What a resumed fit adds itself: from 'best', the end of the third epoch.
    t.is(again.count.validations, validations, from)
    t.is(again.count.epochs, 3, `${from}: ${epochs}`)
  }
})

test.serial('a hook that fails after a checkpoint was decided on takes that back', async (t) => {
  const checkpoint = new ModelCheckpoint({ dirpath: await folder(t), monitor: 'valLoss' })
  const trainer = new Trainer({
    ...quiet,
    maxEpochs: 1,
    callbacks: [
      checkpoint,
      {
        onValidationEnd: () => {
          throw new Error('no')
        },
      },
    ],
  })
  await t.throwsAsync(trainer.fit(new Model(), batches(1), batches(1)), { message: /no/ })
  t.is(checkpoint.bestModelPath, null)
  t.is(checkpoint.bestModelScore, null)
  // What has been trained is kept.
  t.regex(String(checkpoint.lastModelPath), /last$/)
})

test('options of an optimiser are set in its groups', async (t) => {
  const { SGD, Adam, AdamW, RMSprop, Adagrad, Adadelta, Adamax, NAdam, RAdam, ASGD, Rprop } = optim
  const all = [SGD, Adam, AdamW, RMSprop, Adagrad, Adadelta, Adamax, NAdam, RAdam, ASGD, Rprop]
  for (const Kind of all) {
    const optimizer = new Kind([nn.Parameter(tensor([1]))], { lr: 0.1 }) as optim.Optimizer
    const [group] = optimizer.paramGroups as unknown as Record<string, unknown>[]
    const keys = Object.keys(group ?? {}).filter((key) => key !== 'params' && key !== 'lr')
    t.true(keys.length > 0, Kind.name)
    for (const key of keys)
      throwsWith(
        t,
        () => Reflect.set(optimizer, key, group?.[key]),
        TypeError,
        new RegExp(`^\\[${Kind.name}\\] ${key}: .*group\\.${key} = …$`),
      )
    optimizer.lr = 0.2
    t.is(group?.lr, 0.2)
  }
})
