/** Exceptions in a user's own code: they come out as they are, and the library goes on. */
import test from 'ava'
import {
  type Callback,
  isGradEnabled,
  manualSeed,
  nn,
  noGrad,
  optim,
  randn,
  type StepContext,
  Tensor,
  Trainer,
  zeros,
} from 'fused-rnn'
import { onCpu, rejectsWith, runScript } from './helpers.js'

// One after the other: the tests of a file share one generator of random numbers.

const mine = (): never => {
  throw new Error('mine')
}

/** Throws in the call of this number. */
class Faulty extends nn.Module {
  readonly layer = new nn.LSTM(4, 8)
  calls = 0
  readonly #at: number
  readonly #where: string

  constructor(where: string, at: number) {
    super()
    this.#where = where
    this.#at = at
  }

  override forward(x: Tensor): Tensor {
    const [y] = this.layer.forward(x)
    if (this.#where === 'forward' && ++this.calls === this.#at) mine()
    return y
  }

  trainingStep(x: Tensor, context: StepContext): Tensor | Promise<Tensor> {
    const y = this.forward(x)
    context.carried = y.detach()
    if (this.#where === 'trainingStep' && ++this.calls === this.#at) mine()
    if (this.#where === 'rejected' && ++this.calls === this.#at)
      return Promise.reject(new Error('mine'))
    return y.mul(y).mean()
  }

  validationStep(x: Tensor): Tensor {
    if (this.#where === 'validationStep' && ++this.calls === this.#at) mine()
    return noGrad(() => this.forward(x).mean())
  }
}

const data = () => {
  manualSeed(5)
  return Array.from({ length: 4 }, () => randn([3, 2, 4]))
}

/** What a fresh model is trained to, in one fixed way. */
async function trained(): Promise<number[][]> {
  const batches = data()
  const model = new Faulty('nowhere', 0)
  const optimizer = new optim.Adam(model.parameters(), { lr: 0.01 })
  const trainer = new Trainer({ maxEpochs: 1, progressBar: false, gradientClipVal: 1 })
  await trainer.fit(model, batches, batches, { optimizer })
  return Promise.all(model.parameters().map(async (p) => [...(await p.data())]))
}

const HOOKS = [
  'onFitStart',
  'onTrainEpochStart',
  'onTrainBatchEnd',
  'onValidationStart',
  'onValidationEnd',
  'onTrainEpochEnd',
  'onFitEnd',
] as const

test.serial(
  'an exception anywhere in the Trainer leaves the next training as it was',
  async (t) => {
    const expected = await trained()
    const cases: { model: Faulty; callbacks: Callback[]; iterable?: Iterable<Tensor> }[] = [
      ...['forward', 'trainingStep', 'rejected', 'validationStep'].flatMap((where) =>
        [1, 3].map((at) => ({ model: new Faulty(where, at), callbacks: [] })),
      ),
      ...HOOKS.flatMap((hook) =>
        [mine, async () => mine()].map((f) => ({
          model: new Faulty('nowhere', 0),
          callbacks: [{ [hook]: f }],
        })),
      ),
      {
        model: new Faulty('nowhere', 0),
        callbacks: [],
        iterable: {
          *[Symbol.iterator]() {
            yield* data().slice(0, 2)
            mine()
          },
        },
      },
    ]
    for (const { model, callbacks, iterable } of cases) {
      const batches = data()
      const optimizer = new optim.Adam(model.parameters(), { lr: 0.01 })
      const trainer = new Trainer({ maxEpochs: 1, progressBar: false, callbacks })
      const fit = trainer.fit(model, iterable ?? batches, batches, { optimizer })
      await rejectsWith(t, fit, Error, /^mine$/)
      t.true(isGradEnabled() && model.layer.training)
      t.deepEqual(await trained(), expected)
      // The same trainer can be used again.
      t.is(
        (
          await new Trainer({ maxSteps: 2, progressBar: false }).fit(model, batches, null, {
            optimizer,
          })
        ).globalStep,
        2,
      )
    }
  },
)

test.serial('exceptions in noGrad and in a module do not stay', async (t) => {
  t.throws(() => noGrad(mine), { message: 'mine' })
  await t.throwsAsync(
    noGrad(async () => mine()),
    { message: 'mine' },
  )
  t.true(isGradEnabled())
  const model = new Faulty('forward', 1)
  t.throws(() => model.forward(zeros([3, 2, 4])), { message: 'mine' })
  const y = model.forward(zeros([3, 2, 4]))
  y.sum().backward()
  t.true(model.parameters().every((p) => p.grad instanceof Tensor))
})

// In a process of its own: other tests run beside this one. A GPU's memory is counted elsewhere.
const counted = onCpu ? test : test.skip

counted('300 steps that throw on their way leave no memory behind', async (t) => {
  const { code, stderr } = await runScript(
    `import { memoryStats, nn, randn, synchronize } from 'fused-rnn'
    const layer = new nn.LSTM(8, 64)
    const x = randn([40, 16, 8])
    async function step() {
      const [y] = layer.forward(x)
      y.mul(y).sum()
      await synchronize()
      throw new Error('mine')
    }
    /** As soon as there is less, or after many tries. */
    async function collect(bytes) {
      for (let i = 0; i < 3 || (i < 200 && memoryStats().allocated >= bytes); i++) {
        gc()
        await new Promise((resolve) => setTimeout(resolve, 20))
        await synchronize()
      }
    }
    await collect(Infinity)
    const before = memoryStats().allocated
    for (let i = 0; i < 300; i++) await step().catch((error) => { if (error.message !== 'mine') throw error })
    await collect(before + 5e6)
    // A step is more than 1 MB.
    const after = memoryStats().allocated
    if (after >= before + 5e6) throw new Error('from ' + before + ' to ' + after + ' bytes')`,
    { flags: ['--expose-gc'] },
  )
  t.is(code, 0, stderr)
})
