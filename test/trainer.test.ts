import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import {
  type Callback,
  data,
  EarlyStopping,
  History,
  manualSeed,
  models,
  nn,
  optim,
  type StepContext,
  type Tensor,
  Trainer,
  tensor,
} from 'fused-rnn'
import { rejectsWith, throwsWith } from './helpers.js'

// One after the other: the tests of a file share one generator of random numbers.

const text = 'the cat sat on the mat. '.repeat(40)
const vocabulary = data.Vocabulary.fromText(text)
const tokens = vocabulary.encode(text)

function makeModel(options: object = {}): models.LanguageModel {
  manualSeed(1)
  return new models.LanguageModel({
    vocabulary,
    embeddingSize: 8,
    hiddenSize: 32,
    numLayers: 1,
    dropout: 0,
    ...options,
  })
}

const batches = () => new data.SequentialBatches(tokens, { batchSize: 4, sequenceLength: 12 })

/** y = w x, trained to w = 3. */
class Scale extends nn.Module {
  readonly linear = new nn.Linear(1, 1, { bias: false })
  readonly seen: StepContext[] = []

  override forward(x: Tensor): Tensor {
    return this.linear.forward(x)
  }

  trainingStep(x: Tensor, context: StepContext): Tensor {
    this.seen.push({ ...context })
    return new nn.MSELoss().forward(this.forward(x), x.mul(3).detach())
  }

  validationStep(x: Tensor, context: StepContext): Tensor {
    return this.trainingStep(x, context)
  }

  configureOptimizers(): { optimizer: optim.SGD; lrScheduler: optim.lrScheduler.StepLR } {
    const optimizer = new optim.SGD(this.parameters(), { lr: 0.1 })
    return { optimizer, lrScheduler: new optim.lrScheduler.StepLR(optimizer, 2, { gamma: 0.5 }) }
  }
}

const pairs = (count = 3) => Array.from({ length: count }, (_, i) => tensor([[i + 1], [-1]]))

test.serial('a language model learns a repetitive text: perplexity falls towards 1', async (t) => {
  for (const cell of ['lstm', 'gru', 'rnn'] as const) {
    const model = makeModel({ cell })
    const [train, valid] = data.split(tokens, 0.2)
    const cut = (part: Int32Array) =>
      new data.SequentialBatches(part, { batchSize: 2, sequenceLength: 12 })
    const trainer = new Trainer({ maxEpochs: 12, gradientClipVal: 1, progressBar: false })
    const optimizer = new optim.Adam(model.parameters(), { lr: 0.01 })
    const result = await trainer.fit(model, cut(train), cut(valid), { optimizer })
    t.is(result.stopped, 'maxEpochs')
    t.is(result.epoch, 12)
    t.is(result.globalStep, 12 * cut(train).length)
    const perplexities = result.history.series('valPerplexity', 'epoch').map(({ value }) => value)
    t.is(perplexities.length, 12)
    t.true((perplexities[0] as number) > 2, `${cell}: ${perplexities}`)
    t.true((perplexities.at(-1) as number) < 1.2, `${cell}: ${perplexities}`)
    t.is(result.metrics.valPerplexity, Math.exp(result.metrics.valLoss as number))
    const again = await new Trainer().validate(model, cut(valid))
    t.is(again.valLoss, result.metrics.valLoss)
    if (cell === 'lstm') {
      let written = ''
      for await (const token of model.generate('the cat', { temperature: 0, length: 17 }))
        written += vocabulary.token(token)
      t.is(written, ' sat on the mat. ')
    }
  }
})

test.serial('losses are means over tokens, and records tell them', async (t) => {
  const model = makeModel()
  const source = batches()
  const trainer = new Trainer({ maxEpochs: 2, logEveryNSteps: 7, progressBar: false })
  const losses: number[] = []
  const counts: number[] = []
  const step = model.trainingStep.bind(model)
  const read: Promise<void>[] = []
  model.trainingStep = (batch, context) => {
    const result = step(batch, context)
    const i = losses.push(0) - 1
    counts.push(batch.target.numel)
    read.push(
      result.loss.item().then((value) => {
        losses[i] = value
      }),
    )
    return result
  }
  const { history, metrics } = await trainer.fit(model, source)
  await Promise.all(read)
  const mean = (from: number, to: number): number => {
    let sum = 0
    let count = 0
    for (let i = from; i < to; i++) {
      sum += (losses[i] as number) * (counts[i] as number)
      count += counts[i] as number
    }
    return sum / count
  }
  const { length } = source
  t.is(losses.length, 2 * length)
  t.not(counts[0], counts[length - 1])
  t.true(Math.abs((metrics.trainLoss as number) - mean(length, 2 * length)) < 1e-9)
  const steps = history.series('trainLoss', 'step')
  t.deepEqual(
    steps.map(({ step }) => step),
    Array.from({ length: Math.floor((2 * length) / 7) }, (_, i) => 7 * (i + 1)),
  )
  for (const { step, value } of steps) t.true(Math.abs(value - mean(step - 7, step)) < 1e-9)
  t.deepEqual(
    history.series('trainLoss', 'epoch').map(({ step }) => step),
    [length, 2 * length],
  )
  t.true(
    history.records.every(
      ({ kind, metrics }) =>
        kind === 'validation' || (metrics.lr === 0.001 && (metrics.tokensPerSecond as number) > 0),
    ),
  )
})

test.serial(
  'any module with trainingStep: schedule, contexts, data that are arrays or asynchronous',
  async (t) => {
    const model = new Scale()
    const { optimizer, lrScheduler } = model.configureOptimizers()
    model.configureOptimizers = () => ({ optimizer, lrScheduler })
    const { metrics } = await new Trainer({ maxEpochs: 5, progressBar: false }).fit(model, pairs())
    t.true((metrics.trainLoss as number) < 0.5)
    t.is(metrics.trainPerplexity, undefined)
    t.is(optimizer.lr, 0.1 * 0.5 * 0.5)
    t.deepEqual(
      model.seen
        .slice(2, 5)
        .map(({ epoch, batchIdx, globalStep }) => [epoch, batchIdx, globalStep]),
      [
        [0, 2, 2],
        [1, 0, 3],
        [1, 1, 4],
      ],
    )
    const later = {
      async *[Symbol.asyncIterator]() {
        for (const pair of pairs()) yield pair
      },
    }
    const { globalStep } = await new Trainer({ maxEpochs: 2, progressBar: false }).fit(
      new Scale(),
      later,
      later,
    )
    t.is(globalStep, 6)
  },
)

test.serial('data are told when a step that threw ends their pass', async (t) => {
  let closed = 0
  const watched = {
    *[Symbol.iterator]() {
      try {
        yield* pairs()
      } finally {
        closed++
      }
    },
  }
  const model = new Scale()
  model.trainingStep = () => {
    throw new Error('no')
  }
  const trainer = new Trainer({ maxEpochs: 1, progressBar: false })
  await rejectsWith(t, trainer.fit(model, watched), Error, /^no$/)
  await rejectsWith(t, trainer.validate(model, watched), Error, /^no$/)
  t.is(closed, 2)
})

test.serial('schedules by step and by metric', async (t) => {
  const model = new Scale()
  const optimizer = new optim.SGD(model.parameters(), { lr: 0.1 })
  const scheduler = new optim.lrScheduler.ExponentialLR(optimizer, 0.5)
  await new Trainer({ maxSteps: 4, progressBar: false }).fit(model, pairs(), null, {
    optimizer,
    scheduler: { scheduler, interval: 'step' },
  })
  t.is(optimizer.lr, 0.1 / 16)
  const plateau = new optim.lrScheduler.ReduceLROnPlateau(optimizer, {
    mode: 'max',
    patience: 0,
    factor: 0.5,
  })
  await new Trainer({ maxEpochs: 3, progressBar: false }).fit(model, pairs(), pairs(1), {
    optimizer,
    scheduler: plateau,
  })
  t.is(optimizer.lr, 0.1 / 64)
  await rejectsWith(
    t,
    new Trainer({ maxEpochs: 3, progressBar: false }).fit(model, pairs(), null, {
      optimizer,
      scheduler: { scheduler: plateau, monitor: 'acc' },
    }),
    RangeError,
    /\[scheduler\] monitor: expected one of trainLoss, got 'acc'/,
  )
})

test.serial('gradientClipVal clips as the optimiser does', async (t) => {
  const run = async (options: object, own: object): Promise<Float32Array | Int32Array> => {
    const model = makeModel()
    const optimizer = new optim.SGD(model.parameters(), { lr: 1, ...own })
    await new Trainer({ maxSteps: 5, progressBar: false, ...options }).fit(model, batches(), null, {
      optimizer,
    })
    return model.decoder.weight.data()
  }
  const free = await run({}, {})
  const norm = await run({ gradientClipVal: 0.1 }, {})
  t.deepEqual(norm, await run({}, { maxGradNorm: 0.1 }))
  const value = await run({ gradientClipVal: 0.01, gradientClipAlgorithm: 'value' }, {})
  t.deepEqual(value, await run({}, { maxGradValue: 0.01 }))
  t.notDeepEqual(norm, free)
  t.notDeepEqual(norm, value)
})

test.serial('callbacks are called in order, and awaited', async (t) => {
  const calls: string[] = []
  const hooks = [
    'onFitStart',
    'onTrainEpochStart',
    'onTrainBatchEnd',
    'onValidationStart',
    'onValidationEnd',
    'onTrainEpochEnd',
    'onFitEnd',
    'onException',
    'onAbort',
  ] as const
  const recorder = Object.fromEntries(
    hooks.map((hook) => [
      hook,
      async (trainer: Trainer) => {
        await new Promise((resolve) => setTimeout(resolve, 1))
        calls.push(`${hook} ${trainer.currentEpoch} ${trainer.globalStep}`)
      },
    ]),
  ) as Callback
  const trainer = new Trainer({
    maxEpochs: 2,
    callbacks: [recorder],
    checkValEveryNEpoch: 2,
    progressBar: false,
  })
  await trainer.fit(new Scale(), pairs(2), pairs(1))
  t.deepEqual(calls, [
    'onFitStart 0 0',
    'onTrainEpochStart 0 0',
    'onTrainBatchEnd 0 1',
    'onTrainBatchEnd 0 2',
    'onTrainEpochEnd 0 2',
    'onTrainEpochStart 1 2',
    'onTrainBatchEnd 1 3',
    'onTrainBatchEnd 1 4',
    'onValidationStart 1 4',
    'onValidationEnd 1 4',
    'onTrainEpochEnd 1 4',
    'onFitEnd 1 4',
  ])
  calls.length = 0
  const broken = {
    onTrainBatchEnd: () => {
      throw new Error('mine')
    },
  }
  await rejectsWith(
    t,
    new Trainer({ maxEpochs: 1, callbacks: [recorder, broken], progressBar: false }).fit(
      new Scale(),
      pairs(1),
    ),
    Error,
    /^mine$/,
  )
  t.is(calls.at(-1), 'onException 0 1')
})

test.serial('validation intervals', async (t) => {
  const at = async (options: object): Promise<number[]> => {
    const { history } = await new Trainer({ maxEpochs: 2, progressBar: false, ...options }).fit(
      new Scale(),
      pairs(4),
      pairs(1),
    )
    return history.records.filter(({ kind }) => kind === 'validation').map(({ step }) => step)
  }
  t.deepEqual(await at({}), [4, 8])
  t.deepEqual(await at({ valCheckInterval: 3 }), [3, 7])
  t.deepEqual(await at({ valCheckInterval: 0.5 }), [2, 4, 6, 8])
  t.deepEqual(await at({ valCheckInterval: 1 }), [4, 8])
  t.deepEqual(await at({ maxSteps: 6 }), [4, 6])
  t.deepEqual(await at({ maxSteps: 4 }), [4])
})

test.serial('maxSteps, shouldStop, early stopping, the signal', async (t) => {
  const train = (options: object) =>
    new Trainer({ progressBar: false, ...options }).fit(new Scale(), pairs(4), pairs(1))
  const steps = await train({ maxSteps: 6 })
  t.deepEqual([steps.stopped, steps.epoch, steps.globalStep], ['maxSteps', 1, 6])
  const stop = await train({
    maxEpochs: 9,
    callbacks: [
      {
        onTrainBatchEnd: (trainer: Trainer) => {
          trainer.shouldStop = trainer.globalStep === 5
        },
      },
    ],
  })
  t.deepEqual([stop.stopped, stop.epoch, stop.globalStep], ['shouldStop', 1, 5])
  const early = new EarlyStopping({ patience: 2, mode: 'max' })
  const stopped = await train({ maxEpochs: 9, callbacks: [early] })
  t.deepEqual([stopped.stopped, stopped.epoch, early.stoppedEpoch], ['shouldStop', 3, 2])
  const controller = new AbortController()
  const aborting = {
    onTrainBatchEnd: (trainer: Trainer) => {
      if (trainer.globalStep === 3) controller.abort()
    },
  }
  const aborted = await train({ maxEpochs: 9, signal: controller.signal, callbacks: [aborting] })
  t.deepEqual(
    [aborted.stopped, aborted.epoch, aborted.globalStep, aborted.checkpoint],
    ['aborted', 0, 3, null],
  )
  t.is((await train({ signal: controller.signal })).globalStep, 0)
  await t.throwsAsync(new Trainer({ signal: controller.signal }).validate(new Scale(), pairs(2)), {
    any: true,
    name: 'AbortError',
  })
  await rejectsWith(
    t,
    train({ maxEpochs: 2, callbacks: [new EarlyStopping({ monitor: 'valAcc' })] }),
    RangeError,
    /\[EarlyStopping\] monitor: expected one of trainLoss, valLoss, got 'valAcc'/,
  )
})

test.serial('a loss that is not finite ends training and names the step', async (t) => {
  const model = new Scale()
  const data = [...pairs(2), tensor([[Number.NaN]]), ...pairs(60)]
  await rejectsWith(
    t,
    new Trainer({ maxEpochs: 1, progressBar: false }).fit(model, data),
    RangeError,
    /loss: expected a finite number, got NaN at step 3;/,
  )
})

test.serial('loggers receive every record', async (t) => {
  const seen: [number, string[]][] = []
  let finished = 0
  const logger = {
    logMetrics: (metrics: object, step: number) => {
      seen.push([step, Object.keys(metrics)])
    },
    finalize: () => {
      finished++
    },
  }
  await new Trainer({ maxEpochs: 1, logEveryNSteps: 2, logger, progressBar: false }).fit(
    new Scale(),
    pairs(3),
    pairs(1),
  )
  t.deepEqual(
    seen.map(([step]) => step),
    [2, 3, 3],
  )
  t.true(seen[0]?.[1].includes('trainLoss') && seen[1]?.[1].includes('valLoss'))
  t.deepEqual(seen[2]?.[1], ['epoch', 'trainLossEpoch', 'lr', 'tokensPerSecond'])
  t.is(finished, 1)
})

test.serial('the history as CSV and as a picture', async (t) => {
  const path = await mkdtemp(join(tmpdir(), 'fused-rnn-history-'))
  t.teardown(() => rm(path, { recursive: true }))
  const { history } = await new Trainer({
    maxEpochs: 3,
    logEveryNSteps: 2,
    progressBar: false,
  }).fit(new Scale(), pairs(3), pairs(1))
  await history.writeCSV(join(path, 'history.csv'))
  const lines = (await readFile(join(path, 'history.csv'), 'utf8')).trimEnd().split('\n')
  t.is(lines[0], 'kind,epoch,step,trainLoss,lr,tokensPerSecond,valLoss')
  t.is(lines.length, 1 + history.records.length)
  t.true(lines.every((line) => line.split(',').length === 7))
  await history.writeSVG(join(path, 'loss.svg'), { title: 'A & B' })
  const svg = await readFile(join(path, 'loss.svg'), 'utf8')
  t.regex(svg, /^<svg [^>]*>[\s\S]*<\/svg>\n$/)
  t.regex(svg, /A &#38; B/)
  t.is(svg.match(/stroke-width="1.6"/g)?.length, 2)
  t.false(/NaN|Infinity/.test(svg))
  t.regex(history.toSVG({ log: true }), /<path d="M[\d.]+,[\d.]+L/)
  t.false(/NaN/.test(new History().toSVG()))
  const one = new History()
  one.add({ kind: 'epoch', epoch: 0, step: 1, metrics: { trainLoss: 2 } })
  t.false(/NaN/.test(one.toSVG()))
  throwsWith(t, () => history.toSVG({ wide: 3 } as object), TypeError, /wide/)
})

test.serial('wrong arguments', async (t) => {
  const make = (options: object) => () => new Trainer(options)
  throwsWith(
    t,
    make({ maxEpoch: 1 }),
    TypeError,
    /\[Trainer\] options: expected one of maxEpochs, .*, got 'maxEpoch'|got maxEpoch/,
  )
  throwsWith(t, make({ maxEpochs: 0 }), RangeError, /maxEpochs/)
  throwsWith(t, make({ gradientClipAlgorithm: 'size' }), TypeError, /gradientClipAlgorithm/)
  throwsWith(t, make({ gradientClipVal: -1 }), RangeError, /gradientClipVal/)
  throwsWith(t, make({ valCheckInterval: 1.5 }), RangeError, /valCheckInterval/)
  throwsWith(t, make({ valCheckInterval: 0 }), RangeError, /valCheckInterval/)
  throwsWith(t, make({ callbacks: {} }), TypeError, /callbacks/)
  throwsWith(t, make({ callbacks: [null] }), TypeError, /callbacks\[0\]/)
  throwsWith(t, make({ logger: {} }), TypeError, /logger/)
  throwsWith(t, make({ signal: {} }), TypeError, /AbortSignal/)
  throwsWith(t, () => new EarlyStopping({ patience: -1 }), RangeError, /patience/)
  const trainer = new Trainer({ maxEpochs: 1, progressBar: false })
  const model = makeModel()
  await rejectsWith(
    t,
    trainer.fit(model, []),
    RangeError,
    /\[fit\] trainData: expected at least one batch, got none/,
  )
  await rejectsWith(
    t,
    trainer.fit(model, batches(), []),
    RangeError,
    /\[validate\] data: expected at least one batch, got none/,
  )
  await rejectsWith(t, trainer.fit(model, 5 as never), TypeError, /trainData/)
  await rejectsWith(t, trainer.fit({} as never, []), TypeError, /model: expected a module/)
  await rejectsWith(
    t,
    trainer.fit(new nn.Linear(1, 1) as never, []),
    TypeError,
    /model.trainingStep: expected a function/,
  )
  await rejectsWith(
    t,
    trainer.fit(model, batches(), null, { optimizer: {} as never }),
    TypeError,
    /options.optimizer: expected an optimizer/,
  )
  await rejectsWith(
    t,
    trainer.fit(model, batches(), null, { scheduler: {} as never }),
    TypeError,
    /scheduler/,
  )
  await rejectsWith(
    t,
    trainer.fit(model, batches(), null, { chkptPath: 'x' } as never),
    TypeError,
    /chkptPath/,
  )
  const other = new data.SequentialBatches(Int32Array.of(1, 2, 99, 1, 2, 3), {
    batchSize: 1,
    sequenceLength: 2,
  })
  await rejectsWith(
    t,
    trainer.fit(model, other),
    RangeError,
    /data: expected tokens below the model's vocabSize \d+, got 99/,
  )
  await rejectsWith(t, trainer.validate(model, other), RangeError, /vocabSize/)
  await rejectsWith(t, trainer.saveCheckpoint(''), TypeError, /path/)
  await rejectsWith(t, new Trainer().saveCheckpoint('x'), TypeError, /fit has not been called/)
  const generator = (function* () {
    yield* pairs(1)
  })()
  await rejectsWith(
    t,
    new Trainer({ maxEpochs: 2, progressBar: false }).fit(new Scale(), generator),
    RangeError,
    /none in epoch 1 \(a generator can be iterated only once/,
  )
  const running = trainer.fit(model, batches())
  await rejectsWith(t, trainer.fit(model, batches()), TypeError, /training already/)
  await running
})

test.serial('a submodule that a callback sets to evaluation mode stays there', async (t) => {
  const modes: boolean[][] = []
  const model = new models.LanguageModel({ vocabSize: 5, embeddingSize: 3, hiddenSize: 4 }).eval()
  const batches = new data.SequentialBatches(
    Int32Array.from({ length: 40 }, (_, i) => i % 5),
    {
      batchSize: 2,
      sequenceLength: 5,
    },
  )
  const freeze: Callback = {
    onFitStart: () => void model.rnn.eval(),
    onTrainEpochStart: () => void modes.push([model.training, model.rnn.training]),
  }
  await new Trainer({ maxEpochs: 2, progressBar: false, callbacks: [freeze] }).fit(
    model,
    batches,
    batches,
  )
  t.deepEqual(modes, [
    [true, false],
    [true, false],
  ])
})
