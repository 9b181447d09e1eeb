/** How much data a training takes, when it makes its steps, and when its time is over. */
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  type Callback,
  EarlyStopping,
  LearningRateMonitor,
  ModelCheckpoint,
  manualSeed,
  nn,
  optim,
  type StepContext,
  type Tensor,
  Trainer,
  type TrainerOptions,
  tensor,
} from 'fused-rnn'
import { rejectsWith, throwsWith } from './helpers.js'

/** y = w x, trained to w = 3; notes what it was given. */
class Scale extends nn.Module {
  readonly linear = new nn.Linear(1, 1, { bias: false })
  readonly seen: number[] = []
  readonly validated: number[] = []
  readonly optimizer = new optim.SGD(this.parameters(), { lr: 0.01, momentum: 0.5 })

  override forward(x: Tensor): Tensor {
    return this.linear.forward(x)
  }

  #loss(x: Tensor): Tensor {
    return new nn.MSELoss().forward(this.forward(x), x.mul(3).detach())
  }

  trainingStep(x: Tensor, { batchIdx }: StepContext): Tensor {
    this.seen.push(batchIdx)
    return this.#loss(x)
  }

  validationStep(x: Tensor, { batchIdx }: StepContext): Tensor {
    this.validated.push(batchIdx)
    return this.#loss(x)
  }

  configureOptimizers() {
    return {
      optimizer: this.optimizer,
      lrScheduler: {
        scheduler: new optim.lrScheduler.ExponentialLR(this.optimizer, 0.9),
        interval: 'step' as const,
      },
    }
  }

  weight(): Promise<number> {
    return this.linear.weight.item()
  }
}

const pairs = (count: number) => Array.from({ length: count }, (_, i) => tensor([[i + 1], [-1]]))
/** The same without a length. */
const endless = (count: number) => ({
  *[Symbol.iterator]() {
    yield* pairs(count)
  },
})

function make() {
  manualSeed(1)
  return new Scale()
}

function trainer(options: TrainerOptions = {}) {
  return new Trainer({ progressBar: false, logEveryNSteps: 1, ...options })
}

async function folder(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'fused-rnn-limits-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

test.serial('accumulateGradBatches: steps of the mean of several batches', async (t) => {
  for (const data of [pairs(5), endless(5)]) {
    const model = make()
    const steps: number[] = []
    const t1 = trainer({
      maxEpochs: 2,
      accumulateGradBatches: 2,
      callbacks: [{ onTrainBatchEnd: ({ globalStep }) => void steps.push(globalStep) }],
    })
    const { globalStep, history } = await t1.fit(model, data)
    t.is(globalStep, 6)
    t.deepEqual(steps, [0, 1, 1, 2, 3, 3, 4, 4, 5, 6])

    // By hand; a step of fewer batches is divided by as many all the same, as in Lightning.
    const other = make()
    const { scheduler } = other.configureOptimizers().lrScheduler
    for (let epoch = 0; epoch < 2; epoch++) {
      for (const group of [[0, 1], [2, 3], [4]]) {
        other.optimizer.zeroGrad()
        for (const i of group)
          other
            .trainingStep(pairs(5)[i] as Tensor, {} as StepContext)
            .div(2)
            .backward()
        await other.optimizer.step()
        scheduler.step()
      }
    }
    t.true(Math.abs((await model.weight()) - (await other.weight())) < 1e-6)
    const records = history.series('trainLoss', 'step')
    t.deepEqual(
      records.map(({ step }) => step),
      [1, 2, 3, 4, 5, 6],
    )
  }
})

test.serial('a checkpoint between two batches of a step: the same bits', async (t) => {
  const options = { maxEpochs: 3, accumulateGradBatches: 3 }
  const straight = make()
  const whole = await trainer(options).fit(straight, pairs(7))
  for (const at of [1, 2, 3, 5, 7, 9, 20]) {
    const path = join(await folder(t), 'here')
    const broken = make()
    let batches = 0
    const stop = new AbortController()
    const saving: Callback = {
      onTrainBatchEnd: async (self) => {
        if (++batches !== at) return
        await self.saveCheckpoint(path)
        stop.abort()
      },
    }
    await trainer({ ...options, callbacks: [saving], signal: stop.signal }).fit(broken, pairs(7))
    const model = new Scale()
    const resumed = await trainer(options).fit(model, pairs(7), null, { ckptPath: path })
    t.is(await model.weight(), await straight.weight(), `after batch ${at}`)
    t.is(resumed.globalStep, whole.globalStep)
    t.deepEqual(
      resumed.history.series('trainLoss', 'step'),
      whole.history.series('trainLoss', 'step'),
    )
  }
})

test.serial("nonFinite 'skip' leaves a step out as a whole", async (t) => {
  const bad = [tensor([[1], [2]]), tensor([[NaN], [1]]), tensor([[3], [1]])]
  const model = make()
  const before = await model.weight()
  const t1 = trainer({ maxEpochs: 1, accumulateGradBatches: 3, nonFinite: 'skip' })
  await t1.fit(model, bad)
  t.is(await model.weight(), before)
  t.is(t1.skippedSteps, 1)
  t.is(t1.globalStep, 1)
})

test.serial('limits of training and validation', async (t) => {
  for (const data of [pairs(6), endless(6)]) {
    const model = make()
    const { globalStep, metrics } = await trainer({
      maxEpochs: 2,
      limitTrainBatches: 2,
      limitValBatches: 1,
    }).fit(model, data, data)
    t.deepEqual(model.seen, [0, 1, 0, 1])
    t.deepEqual(model.validated, [0, 0])
    t.is(globalStep, 4)
    t.true((metrics.valLoss as number) >= 0)
  }
  const model = make()
  await trainer({ maxEpochs: 1, limitTrainBatches: 0.5, limitValBatches: 0.34 }).fit(
    model,
    pairs(6),
    pairs(6),
  )
  t.deepEqual(model.seen, [0, 1, 2])
  t.deepEqual(model.validated, [0, 1])
  const none = make()
  const { metrics } = await trainer({ maxEpochs: 1, limitValBatches: 0 }).fit(
    none,
    pairs(2),
    pairs(2),
  )
  t.deepEqual(none.validated, [])
  t.false('valLoss' in metrics)
  const half = trainer({ maxEpochs: 1, limitTrainBatches: 4, valCheckInterval: 0.5 })
  const halves = make()
  await half.fit(halves, pairs(9), pairs(1))
  t.is(halves.validated.length, 2)
  await rejectsWith(
    t,
    trainer({ limitTrainBatches: 0.5 }).fit(make(), endless(3)),
    RangeError,
    /limitTrainBatches: expected a number of batches, when the data have no length, got the part 0.5/,
  )
  await rejectsWith(
    t,
    trainer({ limitTrainBatches: 0.1 }).fit(make(), pairs(3)),
    RangeError,
    /at least a batch of the 3 that there are, got the part 0.1/,
  )
})

test.serial('overfitBatches: the same batches in every epoch', async (t) => {
  const starts: number[] = []
  const data = {
    length: 5,
    *batches(epoch: number, start = 0) {
      for (let i = start; i < 5; i++) {
        starts.push(epoch * 10 + i)
        yield pairs(5)[i] as Tensor
      }
    },
    *[Symbol.iterator]() {},
    state: () => ({}),
    restore: () => {},
  }
  const model = make()
  await trainer({ maxEpochs: 3, overfitBatches: 2 }).fit(model, data, pairs(4))
  t.deepEqual(starts, [0, 1, 0, 1, 0, 1])
  t.deepEqual(model.validated, [0, 1, 0, 1, 0, 1])
})

test.serial('fastDevRun: a batch of everything, and nothing is kept', async (t) => {
  const path = await folder(t)
  const logged: string[] = []
  const model = make()
  const t1 = trainer({
    maxEpochs: 50,
    fastDevRun: true,
    logger: { logMetrics: () => void logged.push('') },
    callbacks: [new ModelCheckpoint({ dirpath: path }), new EarlyStopping({ monitor: 'no' })],
  })
  const { globalStep } = await t1.fit(model, pairs(5), pairs(5))
  t.is(globalStep, 1)
  t.deepEqual([model.seen, model.validated], [[0], [0]])
  t.deepEqual(logged, [])
  t.deepEqual(await readdir(path), [])
  const three = trainer({ fastDevRun: 3 })
  t.is((await three.fit(make(), pairs(5))).globalStep, 3)
  t.is((await three.predict(make(), pairs(5))).length, 3)
})

test.serial('maxTime ends training, the time before a checkpoint included', async (t) => {
  const slow: Callback = { onTrainBatchEnd: () => new Promise((done) => setTimeout(done, 30)) }
  const path = join(await folder(t), 'here')
  const first = trainer({ maxTime: { seconds: 0.1 }, callbacks: [slow] })
  const { stopped, globalStep } = await first.fit(make(), pairs(100))
  t.is(stopped, 'maxTime')
  t.true(globalStep >= 2 && globalStep <= 4)
  await first.saveCheckpoint(path)
  const again = await trainer({ maxTime: { seconds: 0.1 } }).fit(make(), pairs(100), null, {
    ckptPath: path,
  })
  t.is(again.stopped, 'maxTime')
  t.is(again.globalStep, globalStep)
})

test.serial('test and predict', async (t) => {
  class Tested extends Scale {
    testStep(x: Tensor) {
      return { loss: x.sum().detach(), metrics: { batches: 1 } }
    }
    predictStep(x: Tensor, { batchIdx }: StepContext) {
      return [batchIdx, x.shape.length]
    }
  }
  const model = make()
  model.train()
  t.deepEqual(Object.keys(await trainer().test(model, pairs(2))), ['testLoss'])
  const own = await trainer().test(new Tested(), pairs(2))
  t.deepEqual(own, { testLoss: 0.5, testBatches: 1 })
  t.deepEqual(await trainer({ limitTestBatches: 1 }).test(new Tested(), pairs(2)), {
    testLoss: 0,
    testBatches: 1,
  })
  const outputs = await trainer().predict(model, pairs(2))
  const w = await model.weight()
  t.deepEqual(await Promise.all(outputs.map(async (x) => [...(await x.data())])), [
    [w, -w],
    [Math.fround(2 * w), -w],
  ])
  t.false(outputs[0]?.requiresGrad)
  t.true(model.training)
  const predicted = await trainer().predict<Tensor, number[]>(new Tested(), endless(2))
  t.deepEqual(predicted, [
    [0, 2],
    [1, 2],
  ])
  await rejectsWith(
    t,
    trainer().test(5 as never, pairs(1)),
    TypeError,
    /\[test\] model: expected a module/,
  )
  await rejectsWith(t, trainer().predict(model, 5 as never), TypeError, /\[predict\] data/)
  const linear = new nn.Linear(1, 1) as never
  await rejectsWith(t, trainer().test(linear, pairs(1)), TypeError, /\[test\] model.validationStep/)
})

test.serial('LearningRateMonitor logs every group', async (t) => {
  const model = make()
  const other = nn.Parameter(tensor([1]))
  model.optimizer.addParamGroup({ params: other, lr: 1, momentum: 0 })
  const monitor = new LearningRateMonitor({ logMomentum: true })
  const { history } = await trainer({ maxEpochs: 1, logEveryNSteps: 2, callbacks: [monitor] }).fit(
    model,
    pairs(5),
  )
  const records = history.records.filter(({ kind }) => kind === 'callback')
  t.deepEqual(
    records.map(({ step }) => step),
    [1, 3],
  )
  const { metrics } = records[1] as (typeof records)[0]
  const near = (name: string, wanted: number) =>
    t.true(Math.abs((metrics[name] as number) - wanted) < 1e-12, name)
  near('lr-SGD/pg1', 0.01 * 0.9 ** 3)
  near('lr-SGD/pg2', 0.9 ** 3)
  near('lr-SGD/pg1-momentum', 0.5)
  const epochs = new LearningRateMonitor({ loggingInterval: 'epoch' })
  const second = await trainer({ maxEpochs: 3, callbacks: [epochs] }).fit(make(), pairs(2))
  t.deepEqual(
    second.history.records.filter(({ kind }) => kind === 'callback').map(({ step }) => step),
    [0, 2, 4],
  )
})

test.serial('saveTopK keeps the best, and deletes what is worse', async (t) => {
  const dirpath = await folder(t)
  const scores = [5, 3, 4, 2, 6, 1]
  class Told extends Scale {
    override validationStep(_x: Tensor, { epoch }: StepContext) {
      return { loss: tensor([1]), metrics: { score: scores[epoch] as number } } as never
    }
  }
  const make2 = (saveTopK: number, more: object = {}) =>
    new ModelCheckpoint({ dirpath, saveTopK, saveLast: false, ...more })
  const top = make2(2, { monitor: 'valScore' })
  const train = (checkpoint: ModelCheckpoint, options: object = {}) =>
    trainer({ maxEpochs: 6, callbacks: [checkpoint] }).fit(new Told(), pairs(2), pairs(1), options)
  await train(top)
  t.deepEqual((await readdir(dirpath)).sort(), ['epoch=3-step=8', 'epoch=5-step=12'])
  t.is(top.bestModelScore, 1)
  t.is(top.bestModelPath, join(dirpath, 'epoch=5-step=12'))
  t.deepEqual(Object.values(top.bestKModels), [2, 1])
  // The one of epoch 3 knows what was kept then.
  await train(make2(2, { monitor: 'valScore' }), { ckptPath: join(dirpath, 'epoch=3-step=8') })
  t.deepEqual((await readdir(dirpath)).sort(), ['epoch=3-step=8', 'epoch=5-step=12'])
  await rm(dirpath, { recursive: true })
  await train(make2(-1, { everyNTrainSteps: 5, everyNEpochs: 4 }))
  t.deepEqual((await readdir(dirpath)).sort(), [
    'epoch=2-step=5',
    'epoch=3-step=8',
    'epoch=4-step=10',
    'epoch=5-step=12',
  ])
  await rm(dirpath, { recursive: true })
  await train(make2(0, { monitor: 'valScore' }))
  await t.throwsAsync(readdir(dirpath))
  throwsWith(t, () => make2(3), RangeError, /saveTopK: expected -1, 0 or 1 without a monitor/)
  throwsWith(t, () => make2(-2), RangeError, /saveTopK/)
})

test('options: what is refused', (t) => {
  const refuses = (options: object, message: RegExp, error = RangeError) =>
    throwsWith(t, () => trainer(options), error, message)
  refuses({ accumulateGradBatches: 0 }, /\[Trainer\] accumulateGradBatches/)
  refuses({ limitTrainBatches: 0 }, /limitTrainBatches: expected a number above 0, got 0/)
  refuses({ limitTrainBatches: 1.5 }, /limitTrainBatches/)
  refuses({ limitValBatches: -1 }, /limitValBatches/)
  refuses({ overfitBatches: NaN }, /overfitBatches/)
  refuses({ fastDevRun: 1.5 }, /fastDevRun/)
  refuses({ fastDevRun: 'yes' }, /fastDevRun/, TypeError as never)
  refuses({ maxTime: '1:00' }, /maxTime: expected 'DD:HH:MM:SS'/)
  refuses({ maxTime: 60 }, /maxTime/, TypeError as never)
  refuses({ maxTime: { weeks: 1 } }, /weeks/, TypeError as never)
  throwsWith(
    t,
    () => new LearningRateMonitor({ loggingInterval: 'day' as never }),
    TypeError,
    /loggingInterval/,
  )
})
