import { readFileSync } from 'node:fs'
import test from 'ava'
import { optim, tensor } from 'fused-rnn'
import { throwsWith } from './helpers.js'

const { lrScheduler } = optim
type Scheduler = optim.lrScheduler.Scheduler

const expected = JSON.parse(
  readFileSync(new URL('../test/fixtures/schedulers.json', import.meta.url), 'utf8'),
) as {
  metrics: (number | null)[]
  lr: Record<string, number[]>
}
const metrics = expected.metrics.map((metric) => metric ?? Number.NaN)

const cases: Record<string, (optimizer: { lr: number }) => Scheduler> = {
  StepLR: (o) => new lrScheduler.StepLR(o, 3, { gamma: 0.5 }),
  MultiStepLR: (o) => new lrScheduler.MultiStepLR(o, [2, 5, 5, 11], { gamma: 0.3 }),
  ExponentialLR: (o) => new lrScheduler.ExponentialLR(o, 0.9),
  LambdaLR: (o) => new lrScheduler.LambdaLR(o, (epoch) => 1 / (epoch + 2)),
  CosineAnnealingLR: (o) => new lrScheduler.CosineAnnealingLR(o, 7, { etaMin: 0.01 }),
  ReduceLROnPlateau: (o) => new lrScheduler.ReduceLROnPlateau(o, { factor: 0.5, patience: 2 }),
  'ReduceLROnPlateau max abs': (o) =>
    new lrScheduler.ReduceLROnPlateau(o, {
      mode: 'max',
      factor: 0.2,
      patience: 1,
      threshold: 0.5,
      thresholdMode: 'abs',
      cooldown: 2,
      minLr: 0.004,
    }),
}

for (const [name, make] of Object.entries(cases)) {
  test(`${name}: PyTorch's learning rates, also after going on from a state`, (t) => {
    const rates = expected.lr[name] as number[]
    let optimizer = { lr: 0.7 }
    let scheduler = make(optimizer)
    t.is(optimizer.lr, rates[0] as number)
    for (const [i, metric] of metrics.entries()) {
      const state = JSON.parse(JSON.stringify(scheduler.stateDict()))
      const { lr } = optimizer
      optimizer = { lr: 0.7 }
      scheduler = make(optimizer)
      optimizer.lr = lr
      scheduler.loadStateDict(state)
      t.deepEqual(scheduler.getLastLr(), [lr])
      if (scheduler instanceof lrScheduler.LRScheduler) scheduler.step()
      else scheduler.step(metric)
      t.true(
        Math.abs(optimizer.lr - (rates[i + 1] as number)) <= 1e-12,
        `step ${i}: got ${optimizer.lr}, expected ${rates[i + 1]}`,
      )
      t.deepEqual(scheduler.getLastLr(), [optimizer.lr])
    }
  })
}

test('groups keep learning rates of their own', (t) => {
  const parameters = [1, 2].map((value) => tensor([value], { requiresGrad: true }))
  const make = () =>
    new optim.SGD(
      parameters.map((p, i) => ({ params: [p], lr: 10 ** -i })),
      { lr: 1 },
    )
  const rates = (optimizer: optim.SGD) => optimizer.paramGroups.map(({ lr }) => lr)
  const optimizer = make()
  new lrScheduler.ExponentialLR(optimizer, 0.5).step()
  t.deepEqual(rates(optimizer), [0.5, 0.05])
  const lambda = make()
  const scheduler = new lrScheduler.LambdaLR(lambda, [(epoch) => 1 + epoch, () => 3])
  scheduler.step()
  t.deepEqual(scheduler.getLastLr(), [2, 0.1 * 3])
  t.deepEqual(rates(lambda), [2, 0.1 * 3])
  const plateau = make()
  new lrScheduler.ReduceLROnPlateau(plateau, { patience: 0 }).step(Number.NaN)
  t.deepEqual(rates(plateau), [0.1, 0.1 * 0.1])
  throwsWith(
    t,
    () => new lrScheduler.LambdaLR(lambda, [() => 1]),
    RangeError,
    /lrLambda: expected 2 functions, got 1/,
  )
})

test('schedules: wrong arguments', (t) => {
  const o = { lr: 1 }
  throwsWith(
    t,
    () => new lrScheduler.StepLR({} as never, 1),
    TypeError,
    /\[StepLR\] optimizer: expected an optimizer/,
  )
  throwsWith(
    t,
    () => new lrScheduler.StepLR(o, 0),
    RangeError,
    /\[StepLR\] stepSize: .*at least 1, got 0/,
  )
  throwsWith(t, () => new lrScheduler.StepLR(o, 1, { gama: 1 } as never), TypeError, /gama/)
  throwsWith(
    t,
    () => new lrScheduler.ExponentialLR(o, 'x' as never),
    TypeError,
    /\[ExponentialLR\] gamma/,
  )
  throwsWith(
    t,
    () => new lrScheduler.LambdaLR(o, 1 as never),
    TypeError,
    /lrLambda: expected a function or an array of functions, got 1/,
  )
  throwsWith(t, () => new lrScheduler.LambdaLR(o, () => Number.NaN), RangeError, /lrLambda\(0\)/)
  throwsWith(t, () => new lrScheduler.MultiStepLR(o, 3 as never), TypeError, /milestones/)
  throwsWith(t, () => new lrScheduler.CosineAnnealingLR(o, 1.5), RangeError, /tMax/)
  throwsWith(
    t,
    () => new lrScheduler.ReduceLROnPlateau(o, { factor: 1 }),
    RangeError,
    /factor: expected a number below 1, got 1/,
  )
  throwsWith(
    t,
    () => new lrScheduler.ReduceLROnPlateau(o, { mode: 'low' as 'min' }),
    TypeError,
    /mode/,
  )
  throwsWith(
    t,
    () => new lrScheduler.ReduceLROnPlateau(o).step(),
    TypeError,
    /metric: expected a number, got undefined/,
  )
  throwsWith(
    t,
    () => new lrScheduler.StepLR(o, 1).loadStateDict({}),
    TypeError,
    /state.baseLrs: expected 1 learning rate/,
  )
})
