/** What fit does a second time, and with batches that have nothing to learn from. */
import test from 'ava'
import {
  type data,
  models,
  nn,
  optim,
  type StepContext,
  type StepResult,
  type Tensor,
  Trainer,
  tensor,
} from 'fused-rnn'
import { rejectsWith, throwsWith } from './helpers.js'

/** y = w x, trained to w = 3. */
class Scale extends nn.Module {
  readonly linear = new nn.Linear(1, 1, { bias: false })
  override forward(x: Tensor): Tensor {
    return this.linear.forward(x)
  }
  trainingStep(
    x: Tensor,
    _: StepContext,
  ): Tensor | StepResult | null | undefined | Promise<Tensor> {
    return new nn.MSELoss().forward(this.forward(x), x.mul(3).detach())
  }
  validationStep(x: Tensor, context: StepContext) {
    return this.trainingStep(x, context)
  }
  configureOptimizers(): optim.Optimizer {
    return new optim.SGD(this.parameters(), { lr: 0.01, momentum: 0.9 })
  }
}

const batches = (count: number) => Array.from({ length: count }, (_, i) => tensor([[i + 1]]))
const quiet = { progressBar: false }
const weightOf = (model: Scale): Promise<number> => model.linear.weight.item()

// ---- A second fit --------------------------------------------------------------------------------

test.serial(
  'a second fit runs nothing when all epochs have been run, as in Lightning',
  async (t) => {
    const model = new Scale()
    const optimizer = model.configureOptimizers()
    const trainer = new Trainer({ ...quiet, maxEpochs: 2, logEveryNSteps: 1 })
    const first = await trainer.fit(model, batches(3), null, { optimizer })
    t.deepEqual([trainer.currentEpoch, trainer.globalStep, trainer.stepsThisFit], [2, 6, 6])
    const weight = await weightOf(model)
    const again = await trainer.fit(model, batches(3), null, { optimizer })
    t.deepEqual(
      [again.stopped, again.epoch, again.globalStep, trainer.stepsThisFit],
      ['maxEpochs', 2, 6, 0],
    )
    t.is(await weightOf(model), weight)
    t.deepEqual(again.metrics, first.metrics)

    trainer.maxEpochs = 3
    const more = await trainer.fit(model, batches(3), null, { optimizer })
    t.deepEqual([more.epoch, more.globalStep, trainer.stepsThisFit], [3, 9, 3])
    t.deepEqual(
      more.history.series('trainLoss', 'step').map(({ step }) => step),
      [1, 2, 3, 4, 5, 6, 7, 8, 9],
    )
    // As one training of three epochs.
    const other = new Scale()
    const state = new Map([['linear.weight', tensor([[await weightOf(new Scale())]])]])
    other.loadStateDict(state)
    t.is(trainer.maxEpochs, 3)
    const set = (limits: object) => () => void Object.assign(trainer, limits)
    throwsWith(t, set({ maxEpochs: 0 }), RangeError, /\[Trainer\] maxEpochs/)
    throwsWith(t, set({ maxSteps: 1.5 }), RangeError, /\[Trainer\] maxSteps/)
    t.is((await trainer.fit(new Scale(), batches(3))).globalStep, 9)
  },
)

test.serial('two fits are one fit in two parts', async (t) => {
  const run = async (parts: number[]): Promise<number> => {
    const model = new Scale()
    model.loadStateDict(new Map([['linear.weight', tensor([[1]])]]))
    const optimizer = model.configureOptimizers()
    const trainer = new Trainer({ ...quiet, maxEpochs: 1 })
    for (const maxEpochs of parts) {
      trainer.maxEpochs = maxEpochs
      await trainer.fit(model, batches(3), batches(1), { optimizer })
    }
    return weightOf(model)
  }
  t.is(await run([2, 3]), await run([3]))
})

test.serial('after maxSteps training goes on; a fit that failed counts for nothing', async (t) => {
  const model = new Scale()
  const trainer = new Trainer({ ...quiet, maxSteps: 4 })
  t.is((await trainer.fit(model, batches(3))).stopped, 'maxSteps')
  t.is((await trainer.fit(model, batches(3))).globalStep, 4)
  trainer.maxSteps = 6
  t.is((await trainer.fit(model, batches(3))).globalStep, 6)

  let fails = true
  const callback = {
    onTrainBatchEnd: () => {
      if (fails) throw new Error('once')
    },
  }
  const other = new Trainer({ ...quiet, maxEpochs: 2, callbacks: [callback] })
  await rejectsWith(t, other.fit(model, batches(3)), Error, /once/)
  fails = false
  t.deepEqual((await other.fit(model, batches(3))).epoch, 2)
  t.is(other.globalStep, 6)
})

// ---- Nothing to learn from -----------------------------------------------------------------------

/** Classes 0 and 1; a batch is its targets. */
class Classes extends nn.Module {
  readonly linear = new nn.Linear(2, 2)
  factor = 1
  count: number | null = null
  override forward(x: Tensor): Tensor {
    return this.linear.forward(x)
  }
  trainingStep(targets: Tensor): Tensor | StepResult {
    const x = tensor(
      Array.from({ length: targets.numel * 2 }, (_, i) => (i % 3) - 1),
      { shape: [targets.numel, 2] },
    )
    const loss = nn.functional.crossEntropy(this.forward(x), targets)
    const scaled = this.factor === 1 ? loss : loss.mul(this.factor)
    return this.count === null ? scaled : { loss: scaled, count: this.count }
  }
  validationStep(targets: Tensor) {
    return this.trainingStep(targets)
  }
  configureOptimizers(): optim.SGD {
    return new optim.SGD(this.parameters(), { lr: 0.1 })
  }
}

const targets = (...values: number[]) => tensor(values, { dtype: 'int32' })

for (const [name, factor] of [
  ['cross entropy', 1],
  ['its half', 0.5],
  ['minus it', -1],
] as const) {
  test.serial(`batches whose targets are all ignored have no weight: ${name}`, async (t) => {
    const run = async (data: Tensor[], nonFinite: 'error' | 'skip') => {
      const model = new Classes()
      model.factor = factor
      const start = new Map([
        [
          'linear.weight',
          tensor([
            [1, 2],
            [3, 4],
          ]),
        ],
        ['linear.bias', tensor([0, 0])],
      ])
      model.loadStateDict(start)
      const trainer = new Trainer({ ...quiet, maxEpochs: 1, nonFinite, logEveryNSteps: 1 })
      const { metrics } = await trainer.fit(model, data, data)
      return { metrics, weight: [...(await model.linear.weight.data())] }
    }
    const real = [targets(0, 1, -100), targets(1, 1, 0)]
    const ignored = targets(-100, -100, -100)
    for (const nonFinite of ['error', 'skip'] as const) {
      const expected = await run(real, nonFinite)
      const { metrics, weight } = await run(
        [ignored, real[0] as Tensor, ignored, real[1] as Tensor, ignored],
        nonFinite,
      )
      t.deepEqual(weight, expected.weight)
      t.is(metrics.trainLoss, expected.metrics.trainLoss)
      t.is(metrics.valLoss, expected.metrics.valLoss)
      t.true(Number.isFinite(metrics.valLoss))
    }
  })
}

test.serial('all of the data ignored', async (t) => {
  const ignored = [targets(-100), targets(-100)]
  const model = new Classes()
  const trainer = new Trainer({ ...quiet, maxEpochs: 1 })
  t.is((await trainer.fit(model, ignored)).globalStep, 2)
  await rejectsWith(
    t,
    trainer.validate(model, ignored),
    RangeError,
    /^\[validate\] data: expected at least one batch, got 2 without anything to average$/,
  )
})

test.serial('a count of 0 is no weight, whatever the loss', async (t) => {
  const model = new Classes()
  const step = model.trainingStep.bind(model)
  model.trainingStep = (x) => {
    if (x.numel > 1) return step(x)
    const loss = model.linear.weight.sum().mul(Number.NaN)
    return { loss, count: 0, metrics: { other: Number.NaN } }
  }
  const trainer = new Trainer({ ...quiet, maxEpochs: 2 })
  const all = [targets(0, 1), targets(0), targets(1, 1)]
  const { metrics } = await trainer.fit(model, all, all)
  t.true(Number.isFinite(metrics.trainLoss) && Number.isFinite(metrics.valLoss))
})

test.serial(
  'a NaN that is a mistake is still one, and the message says what else it may be',
  async (t) => {
    const model = new Classes()
    model.trainingStep = () => model.linear.weight.sum().mul(Number.NaN)
    await rejectsWith(
      t,
      new Trainer({ ...quiet, maxEpochs: 1 }).fit(model, [targets(0)]),
      RangeError,
      /got NaN at step 1; try a lower .*; where a batch has nothing to learn from, return null from trainingStep/,
    )
    const { valLoss } = await new Trainer(quiet)
      .validate(model, [targets(0)])
      .catch(() => ({ valLoss: 0 }))
    t.is(valLoss, Number.NaN)
  },
)

test.serial('a language model leaves out what its batches say is ignored', async (t) => {
  const model = new models.LanguageModel({
    vocabSize: 5,
    embeddingSize: 3,
    hiddenSize: 4,
    dropout: 0,
  })
  const batch = (target: number[], tokens: number): data.Batch => ({
    input: tensor([1, 2, 3], { shape: [3, 1], dtype: 'int32' }),
    target: tensor(target, { shape: [3, 1], dtype: 'int32' }),
    tokens,
    reset: true,
  })
  const real = batch([2, 3, -100], 2)
  const trainer = new Trainer({ ...quiet, maxEpochs: 1 })
  for (const tokens of [0, 3]) {
    const nothing = batch([-100, -100, -100], tokens)
    const expected = await trainer.validate(model, [real])
    t.deepEqual(await trainer.validate(model, [nothing, real, nothing]), expected)
    const fit = new Trainer({ ...quiet, maxEpochs: 1 }).fit(model, [nothing, real, nothing])
    t.true(Number.isFinite((await fit).metrics.trainPerplexity))
  }
})

test.serial('null skips a batch: a step without an update', async (t) => {
  const steps: (number | null)[] = []
  class Picky extends Scale {
    override trainingStep(x: Tensor, context: StepContext) {
      if (context.batchIdx === 1) return null
      if (context.batchIdx === 2) return undefined
      return super.trainingStep(x, context)
    }
  }
  const model = new Picky()
  const optimizer = model.configureOptimizers()
  const step = optimizer.step.bind(optimizer)
  optimizer.step = async () => {
    steps.push(1)
    await step()
  }
  const trainer = new Trainer({ ...quiet, maxEpochs: 1, logEveryNSteps: 1 })
  const { globalStep, metrics } = await trainer.fit(model, batches(4), batches(4), { optimizer })
  t.deepEqual([globalStep, steps.length, trainer.skippedSteps], [4, 2, 0])
  t.true(Number.isFinite(metrics.trainLoss) && Number.isFinite(metrics.valLoss))

  class Silent extends Scale {
    override trainingStep() {
      return null
    }
  }
  const silent = new Silent()
  const result = await new Trainer({ ...quiet, maxSteps: 5 }).fit(silent, batches(2), batches(2))
  t.deepEqual([result.globalStep, result.stopped], [5, 'maxSteps'])
  t.false('valLoss' in result.metrics)
})

test.serial('metrics may be numbers; what else a step gives back is named', async (t) => {
  const model = new Scale()
  const own = model.trainingStep.bind(model)
  const giving = (extra: () => object) => {
    model.trainingStep = (x, context) => ({ loss: own(x, context) as Tensor, ...extra() })
    return new Trainer({ ...quiet, maxEpochs: 1 }).fit(model, batches(2), batches(2))
  }
  const { metrics } = await giving(() => ({
    count: 2,
    metrics: { accuracy: 0.5, other: tensor(3) },
  }))
  t.deepEqual([metrics.trainAccuracy, metrics.valAccuracy, metrics.trainOther], [0.5, 0.5, 3])
  for (const [extra, message] of [
    [{ metrics: { accuracy: '0.5' } }, /metrics\.accuracy: expected a number or a tensor with one/],
    [{ metrics: { accuracy: tensor([1, 2]) } }, /metrics\.accuracy: expected a number or a tensor/],
    [{ metrics: { loss: 1 } }, /metrics: expected names beside loss/],
    [{ metrics: 3 }, /metrics: expected an object/],
    [{ count: 'many' }, /count: expected a number, got/],
    [{ count: Number.NaN }, /count: expected a finite number of at least 0, got NaN/],
    [{ count: -1 }, /count: expected a finite number of at least 0, got -1/],
    [{ accuracy: 0.5 }, /result: expected one of loss, count, metrics, got/],
  ] as const) {
    await rejectsWith(
      t,
      giving(() => extra),
      Error,
      new RegExp(`^\\[trainingStep\\] ${message.source}`),
    )
  }
  model.trainingStep = () => 0.5 as never
  await rejectsWith(
    t,
    new Trainer({ ...quiet, maxEpochs: 1 }).fit(model, batches(1)),
    TypeError,
    /^\[trainingStep\] result: expected a loss tensor, .* or null to skip the batch, got/,
  )
})
