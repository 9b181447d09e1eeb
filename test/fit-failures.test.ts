/** What fit does when it is saved, ended or failing in the middle of something. */
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import {
  type Callback,
  data,
  ModelCheckpoint,
  manualSeed,
  models,
  nn,
  optim,
  randomState,
  type StepContext,
  type StepResult,
  type Tensor,
  Trainer,
  tensor,
} from 'fused-rnn'
import { rejectsWith } from './helpers.js'

async function temporary(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'fused-rnn-fit-'))
  t.teardown(() => rm(path, { recursive: true }))
  return path
}

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
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const weightOf = (model: Scale): Promise<number> => model.linear.weight.item()

// ---- Saving while training runs ------------------------------------------------------------------

/** A language model whose steps, if asked to, last until a timer comes. */
class Slow extends models.LanguageModel {
  waits = false
  goOn: (() => void) | null = null
  override trainingStep(batch: data.Batch, context: StepContext): StepResult {
    const result = super.trainingStep(batch, context)
    if (!this.waits || !this.training) return result
    return new Promise((resolve) => {
      this.goOn = () => resolve(result)
    }) as never
  }
}

const tokens = Int32Array.from({ length: 300 }, (_, i) => (i * i) % 7)

async function trained(
  act: (trainer: Trainer, model: Slow) => Callback,
  ckptPath?: string,
): Promise<{ trainer: Trainer; weights: number[][] }> {
  manualSeed(3)
  const model = new Slow({ vocabSize: 7, embeddingSize: 4, hiddenSize: 5, dropout: 0.2 })
  const source = new data.SequentialBatches(tokens, { batchSize: 2, sequenceLength: 10 })
  const optimizer = new optim.Adam(model.parameters())
  const callbacks: Callback[] = []
  const trainer = new Trainer({ ...quiet, maxEpochs: 2, logEveryNSteps: 3, callbacks })
  ;(trainer.callbacks as Callback[]).push(act(trainer, model))
  await trainer.fit(model, source, source, { optimizer, ...(ckptPath && { ckptPath }) })
  const weights = model.parameters().map(async (p) => [...(await p.data())])
  return { trainer, weights: await Promise.all(weights) }
}

test.serial('saveCheckpoint from a timer waits for the end of the step', async (t) => {
  const folder = await temporary(t)
  const expected = (await trained(() => ({}))).weights
  const saves: Promise<void>[] = []
  let steps = 0
  const { weights } = await trained((trainer, model) => {
    let timer: NodeJS.Timeout
    model.waits = true
    return {
      onFitStart: () => {
        timer = setInterval(() => {
          const { goOn } = model
          if (goOn === null) return
          model.goOn = null
          // In the middle of a step.
          const path = join(folder, String(saves.length))
          if (++steps % 11 === 5) saves.push(trainer.saveCheckpoint(path))
          goOn()
        }, 1)
      },
      onFitEnd: () => clearInterval(timer),
      onException: () => clearInterval(timer),
    }
  })
  await Promise.all(saves)
  t.is(saves.length, 3)
  t.deepEqual(weights, expected)
  for (const n of saves.keys()) {
    const file = join(folder, String(n), 'trainer.json')
    t.is(JSON.parse(await readFile(file, 'utf8')).globalStep, 5 + 11 * n)
    const rest = await trained(() => ({}), join(folder, String(n)))
    t.deepEqual(rest.weights, expected, `from save ${n}`)
  }
})

test.serial('a signal handler saves while training runs', async (t) => {
  const folder = await temporary(t)
  let saved: Promise<void> | null = null
  await trained((trainer) => ({
    onTrainEpochStart: () => {
      const handler = (): void => {
        saved ??= trainer.saveCheckpoint(join(folder, 'signal'))
      }
      process.once('SIGUSR2', handler)
      process.emit('SIGUSR2', 'SIGUSR2')
    },
  }))
  await saved
  t.true((await stat(join(folder, 'signal', 'trainer.json'))).isFile())
})

test.serial('a step that waits for its own end is refused', async (t) => {
  const folder = await temporary(t)
  class Own extends Scale {
    trainer: Trainer | null = null
    override async trainingStep(x: Tensor): Promise<Tensor> {
      await sleep(1)
      await this.trainer?.saveCheckpoint(join(folder, 'x'))
      return this.forward(x).sum()
    }
  }
  const model = new Own()
  const trainer = new Trainer({ ...quiet, maxEpochs: 1 })
  model.trainer = trainer
  await rejectsWith(
    t,
    trainer.fit(model, batches(2)),
    TypeError,
    /^\[saveCheckpoint\] a step cannot wait for its own end/,
  )
})

// ---- Waiting data, and an abort ------------------------------------------------------------------

test.serial('an abort ends a data source that waits', async (t) => {
  const folder = await temporary(t)
  const source = (count: number, signalled: AbortController) => ({
    async *[Symbol.asyncIterator]() {
      yield* batches(count)
      setTimeout(() => signalled.abort(), 5)
      await new Promise(() => {})
    },
  })
  for (const where of ['training', 'validation', 'validate'] as const) {
    const controller = new AbortController()
    const trainer = new Trainer({
      ...quiet,
      maxEpochs: 3,
      signal: controller.signal,
      callbacks: [new ModelCheckpoint({ dirpath: folder })],
    })
    const model = new Scale()
    if (where === 'validate') {
      await rejectsWith(t, trainer.validate(model, source(1, controller)), Error, /aborted/)
      continue
    }
    const train = where === 'training' ? source(2, controller) : batches(2)
    const { stopped, globalStep } = await trainer.fit(model, train, source(1, controller))
    t.deepEqual([stopped, globalStep], ['aborted', 2])
    const state = JSON.parse(await readFile(join(folder, 'last', 'trainer.json'), 'utf8'))
    t.is(state.globalStep, 2)
  }
})

test.serial("an error of the data's own end does not hide the first", async (t) => {
  const source = {
    *[Symbol.iterator]() {
      try {
        yield* batches(2)
      } finally {
        // biome-ignore lint/correctness/noUnsafeFinally: what a careless source does
        throw new Error('cannot close')
      }
    },
  }
  const model = new Scale()
  model.trainingStep = () => {
    throw new Error('the first')
  }
  await rejectsWith(t, new Trainer(quiet).fit(model, source), Error, /^the first$/)
  await rejectsWith(t, new Trainer(quiet).validate(model, source), Error, /^the first$/)
})

// ---- When something fails ------------------------------------------------------------------------

test.serial(
  'an error in onException has the first as its cause, and the others are told',
  async (t) => {
    const told: unknown[] = []
    const first = new Error('first')
    const failing = (error: unknown): Callback => ({
      onException: () => {
        throw error
      },
    })
    const starting = { onTrainBatchEnd: () => Promise.reject(first) }
    const listening: Callback = { onException: (_, __, error) => void told.push(error) }
    const statuses: string[] = []
    const logger = {
      logMetrics: () => {},
      finalize: (status: string) => void statuses.push(status),
    }
    const run = async (...callbacks: Callback[]): Promise<Error> => {
      const trainer = new Trainer({ ...quiet, maxEpochs: 1, callbacks, logger })
      const error = await t.throwsAsync(trainer.fit(new Scale(), batches(1)))
      return error as Error
    }
    const second = new Error('second')
    const error = await run(starting, failing(second), listening)
    t.is(error, second)
    t.is(error.cause, first)
    t.deepEqual([told, statuses], [[first], ['failed']])
    // One that throws the same error again.
    t.is(await run(starting, failing(first)), first)
    // One with a cause of its own, one that is no error.
    const own = await run(starting, failing(new Error('third', { cause: 'something' })))
    t.regex(own.message, /^\[fit\] onException: third$/)
    t.is(own.cause, first)
    t.is((await run(starting, failing('text'))).cause, first)
    const wrapping = new Error('wrapping', { cause: first })
    t.is(await run(starting, failing(wrapping)), wrapping)
  },
)

test.serial('what was trained is not lost when a callback, the data or a step fail', async (t) => {
  const boom = (): never => {
    throw new Error('boom')
  }
  const hooks: [Callback, number][] = [
    [{ onTrainBatchEnd: ({ globalStep }) => (globalStep === 5 ? boom() : undefined) }, 5],
    [{ onTrainEpochEnd: boom }, 3],
    [{ onValidationEnd: boom }, 3],
    [{ onFitEnd: boom }, 6],
    [{ onException: boom, onFitEnd: boom }, 6],
  ]
  for (const [callback, step] of hooks) {
    const dirpath = await temporary(t)
    // Without checkpoints at the end of epochs.
    const saving = new ModelCheckpoint({ dirpath, everyNEpochs: 100 })
    const model = new Scale()
    const trainer = new Trainer({ ...quiet, maxEpochs: 2, callbacks: [callback, saving] })
    await rejectsWith(t, trainer.fit(model, batches(3), batches(1)), Error, /boom/)
    t.is(saving.lastModelPath, join(dirpath, 'last'))
    const state = JSON.parse(await readFile(join(dirpath, 'last', 'trainer.json'), 'utf8'))
    t.is(state.globalStep, step)
    const rest = new Trainer({ ...quiet, maxEpochs: 2 })
    const ckptPath = join(dirpath, 'last')
    t.is((await rest.fit(model, batches(3), batches(1), { ckptPath })).globalStep, 6)
  }
  const dirpath = await temporary(t)
  const failing = {
    *[Symbol.iterator]() {
      yield* batches(2)
      boom()
    },
  }
  const saving = new ModelCheckpoint({ dirpath })
  const trainer = new Trainer({ ...quiet, maxEpochs: 2, callbacks: [saving] })
  await rejectsWith(t, trainer.fit(new Scale(), failing), Error, /boom/)
  t.is(saving.lastModelPath, join(dirpath, 'last'))

  // A loss that is not finite leaves the checkpoint before.
  const other = await temporary(t)
  const before = new ModelCheckpoint({ dirpath: other, everyNTrainSteps: 2 })
  const bad = [...batches(3), tensor([[Number.NaN]])]
  const nan = new Trainer({ ...quiet, maxEpochs: 1, callbacks: [before] })
  await rejectsWith(t, nan.fit(new Scale(), bad), RangeError, /at step 4/)
  const state = JSON.parse(await readFile(join(other, 'last', 'trainer.json'), 'utf8'))
  t.is(state.globalStep, 2)
})

test.serial('a resume that fails changes nothing', async (t) => {
  const dirpath = await temporary(t)
  const make = async () => {
    const model = new Scale()
    const optimizer = new optim.Adam(model.parameters(), { lr: 0.01 })
    const scheduler = new optim.lrScheduler.StepLR(optimizer, 1, { gamma: 0.5 })
    return { model, optimizer, scheduler, interval: 'step' as const }
  }
  const again = (
    { model, optimizer, scheduler, interval }: Awaited<ReturnType<typeof make>>,
    options: object = {},
    callbacks: Callback[] = [],
    maxEpochs = 2,
  ) =>
    new Trainer({ ...quiet, maxEpochs, callbacks }).fit(model, batches(3), null, {
      optimizer,
      scheduler: { scheduler, interval },
      ...options,
    })
  await again(await make(), {}, [new ModelCheckpoint({ dirpath })])
  const ckptPath = join(dirpath, 'last')

  const other = await make()
  await again(other, {}, [], 1)
  const stateOf = async () => {
    const { paramGroups, state } = other.optimizer.stateDict()
    const moments = Object.values(state).flatMap((own) =>
      Object.values(own).map(async (x) => (typeof x === 'object' ? [...(await x.data())] : x)),
    )
    return {
      weight: await weightOf(other.model),
      paramGroups,
      moments: await Promise.all(moments),
      lr: other.optimizer.lr,
      scheduler: other.scheduler.stateDict(),
      random: randomState(),
    }
  }
  const before = await stateOf()
  const state = JSON.parse(await readFile(join(ckptPath, 'trainer.json'), 'utf8'))
  const seen: object[] = []
  const remembering: Callback & { value: number } = {
    value: 7,
    stateKey: 'mine',
    stateDict() {
      return { value: this.value }
    },
    loadStateDict(own: object) {
      seen.push(own)
      this.value = (own as { value: number }).value
      if (this.value === 1) throw new RangeError('not this one')
    },
  }
  const damages: [string, (damaged: typeof state) => void, RegExp][] = [
    ['a callback', (d) => Object.assign(d.callbacks, { mine: { value: 1 } }), /not this one/],
    ['the schedule', (d) => Object.assign(d, { scheduler: { nothing: 1 } }), /./],
    ['the optimiser', (d) => Object.assign(d, { optimizer: {} }), /./],
    ['the history', (d) => Object.assign(d, { history: [{}] }), /./],
  ]
  for (const [what, damage, message] of damages) {
    const damaged = structuredClone(state)
    damage(damaged)
    delete damaged.files // an older checkpoint, without hashes
    await writeFile(join(ckptPath, 'trainer.json'), JSON.stringify(damaged))
    await rejectsWith(t, again(other, { ckptPath }, [remembering]), Error, message)
    t.deepEqual(await stateOf(), before, what)
    t.is(remembering.value, 7)
  }
  t.true(seen.length > 0)
})
