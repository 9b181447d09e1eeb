/** Losses and gradients that are not finite: the Trainer stops, or leaves the step out. */
import test from 'ava'
import { manualSeed, nn, optim, type StepContext, type Tensor, Trainer, tensor } from 'fused-rnn'
import { rejectsWith, throwsWith } from './helpers.js'

// One after the other: models are made from one generator of random numbers.

/**
 * The loss is finite for every finite x, but at x = 0 the gradient of `b` is that of a square root
 * at 0, times 0: NaN.
 */
class Rooted extends nn.Module {
  readonly a = new nn.Linear(1, 1)
  readonly b = new nn.Linear(1, 1, { bias: false })

  override forward(x: Tensor): Tensor {
    const root = this.b.forward(x).pow(2).sum().sqrt()
    return this.a.forward(x).pow(2).sum().add(root)
  }

  trainingStep(x: Tensor): Tensor {
    return this.forward(x)
  }
}

const batch = (x: number): Tensor => tensor([[x]])
const GOOD = [1, -2, 0.5]

/** The weights after training with these numbers, and what fit says. */
async function trained(values: readonly number[], options: object = {}, momentum = 0) {
  manualSeed(7)
  const model = new Rooted()
  const optimizer = new optim.SGD(model.parameters(), { lr: 0.01, momentum })
  const trainer = new Trainer({ maxEpochs: 1, progressBar: false, ...options })
  const fit = trainer.fit(model, values.map(batch), null, { optimizer })
  const error = await fit.then(
    () => null,
    (error: Error) => error,
  )
  const weights = await Promise.all(model.parameters().map((p) => p.data()))
  return { weights: weights.map((w) => [...w]), error, trainer }
}

test.serial('a gradient that is not finite is named, and its update is not made', async (t) => {
  for (const options of [{}, { gradientClipVal: 1 }]) {
    const fine = await trained(GOOD, options)
    t.is(fine.error, null)
    const { error, weights } = await trained([...GOOD, 0], options)
    t.true(error instanceof RangeError)
    t.regex(
      String(error?.message),
      /^\[Trainer\] gradient of b\.weight: expected finite numbers, got NaN at step 4; .*'skip'$/,
    )
    t.deepEqual(weights, fine.weights)
  }
})

test.serial('an infinite loss is named', async (t) => {
  const { error } = await trained([1, 1e30])
  t.regex(String(error?.message), /^\[Trainer\] loss: expected a finite number, got infinity at st/)
})

test.serial('onException gets the same error, and the next fit works', async (t) => {
  manualSeed(7)
  const model = new Rooted()
  const optimizer = new optim.Adam(model.parameters())
  const seen: unknown[] = []
  const callback = { onException: (...[, , error]: unknown[]) => void seen.push(error) }
  const options = { maxEpochs: 1, progressBar: false, callbacks: [callback] }
  const trainer = new Trainer(options)
  const fit = trainer.fit(model, [1, 0].map(batch), null, { optimizer })
  await rejectsWith(t, fit, RangeError, /gradient of b\.weight.*at step 2/)
  t.regex(String(seen[0]), /gradient of b\.weight/)
  t.is((await trainer.fit(model, GOOD.map(batch), null, { optimizer })).globalStep, 3)
})

test.serial("'skip' leaves such steps out", async (t) => {
  for (const momentum of [0, 0.9]) {
    const fine = await trained(GOOD, {}, momentum)
    const [x, y, z] = GOOD as [number, number, number]
    const values = [0, x, 1e30, y, 0, Number.NaN, z, 0]
    const { error, weights, trainer } = await trained(values, { nonFinite: 'skip' }, momentum)
    t.is(error, null)
    t.deepEqual(weights, fine.weights)
    t.is(trainer.skippedSteps, 5)
    t.is(trainer.globalStep, 8)
    const { trainLoss } = trainer.callbackMetrics
    t.is(trainLoss, fine.trainer.callbackMetrics.trainLoss)
  }
})

test.serial("'skip' does not carry on a state that is not finite", async (t) => {
  class Sum extends nn.Module {
    readonly w = new nn.Linear(1, 1, { bias: false })

    override forward(x: Tensor, before: Tensor | null): Tensor {
      const h = this.w.forward(x)
      return before === null ? h : h.add(before)
    }

    trainingStep(x: Tensor, context: StepContext): Tensor {
      const h = this.forward(x, context.carried as Tensor | null)
      context.carried = h.detach()
      return h.pow(2).sum()
    }
  }
  const model = new Sum()
  const optimizer = new optim.SGD(model.parameters(), { lr: 0.01 })
  const trainer = new Trainer({ maxEpochs: 1, progressBar: false, nonFinite: 'skip' })
  await trainer.fit(model, [1, Number.POSITIVE_INFINITY, 1, 2].map(batch), null, { optimizer })
  t.is(trainer.skippedSteps, 1)
  throwsWith(t, () => new Trainer({ nonFinite: 'stop' as 'skip' }), TypeError, /nonFinite/)
})
