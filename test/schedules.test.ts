/** Schedules over 50 steps, with momenta, chained and one after the other, as PyTorch has them. */
import { readFileSync } from 'node:fs'
import test from 'ava'
import { optim, tensor } from 'fused-rnn'
import { throwsWith } from './helpers.js'

const { lrScheduler: s } = optim
type Optimizer = optim.SGD | optim.Adam

const { cases: expected, jumps } = JSON.parse(
  readFileSync(new URL('../test/fixtures/schedules.json', import.meta.url), 'utf8'),
) as {
  cases: Record<string, { optimizer: 'sgd' | 'adam'; lr: number[][]; momentum: number[][] }>
  jumps: [epoch: number | null, lr: number][]
}

const cases: Record<string, (o: Optimizer) => optim.lrScheduler.Scheduler> = {
  OneCycleLR: (o) => new s.OneCycleLR(o, 0.5, { totalSteps: 50 }),
  'OneCycleLR three phases, linear': (o) =>
    new s.OneCycleLR(o, [0.5, 0.1], {
      epochs: 5,
      stepsPerEpoch: 10,
      pctStart: 0.25,
      annealStrategy: 'linear',
      divFactor: 10,
      finalDivFactor: 100,
      threePhase: true,
      baseMomentum: 0.7,
      maxMomentum: [0.9, 0.99],
    }),
  'OneCycleLR without momentum': (o) =>
    new s.OneCycleLR(o, 0.5, { totalSteps: 50, pctStart: 0, cycleMomentum: false }),
  CyclicLR: (o) => new s.CyclicLR(o, 0.01, 0.1, { stepSizeUp: 7 }),
  'CyclicLR triangular2': (o) =>
    new s.CyclicLR(o, [0.01, 0.02], [0.1, 0.3], {
      stepSizeUp: 4,
      stepSizeDown: 9,
      mode: 'triangular2',
      baseMomentum: 0.5,
      maxMomentum: 0.95,
    }),
  'CyclicLR exp_range': (o) =>
    new s.CyclicLR(o, 0.01, 0.1, {
      stepSizeUp: 5,
      stepSizeDown: 3,
      mode: 'expRange',
      gamma: 0.97,
      cycleMomentum: false,
    }),
  'CyclicLR scale_fn': (o) =>
    new s.CyclicLR(o, 0.01, 0.1, {
      stepSizeUp: 5,
      scaleFn: (x) => 1 / (1 + x),
      scaleMode: 'iterations',
    }),
  CosineAnnealingWarmRestarts: (o) => new s.CosineAnnealingWarmRestarts(o, 7),
  'CosineAnnealingWarmRestarts times 2': (o) =>
    new s.CosineAnnealingWarmRestarts(o, 3, { tMult: 2, etaMin: 0.01 }),
  LinearLR: (o) => new s.LinearLR(o),
  'LinearLR down': (o) => new s.LinearLR(o, { startFactor: 0.9, endFactor: 0.1, totalIters: 20 }),
  ConstantLR: (o) => new s.ConstantLR(o),
  'ConstantLR of one': (o) => new s.ConstantLR(o, { factor: 0.25, totalIters: 1 }),
  PolynomialLR: (o) => new s.PolynomialLR(o),
  'PolynomialLR squared': (o) => new s.PolynomialLR(o, { totalIters: 40, power: 2.5 }),
  MultiplicativeLR: (o) => new s.MultiplicativeLR(o, [() => 0.95, (epoch) => 1 - 1 / (epoch + 2)]),
  'MultiStepLR from 0': (o) => new s.MultiStepLR(o, [0, 3, 3, 20], { gamma: 0.5 }),
  'SequentialLR warm-up': (o) =>
    new s.SequentialLR(
      o,
      [
        new s.LinearLR(o, { startFactor: 0.1, totalIters: 5 }),
        new s.CosineAnnealingLR(o, 30, { etaMin: 0.01 }),
      ],
      [5],
    ),
  'SequentialLR of many': (o) =>
    new s.SequentialLR(
      o,
      [
        new s.ConstantLR(o, { factor: 0.1, totalIters: 20 }),
        new s.ExponentialLR(o, 0.9),
        new s.StepLR(o, 3, { gamma: 0.5 }),
        new s.PolynomialLR(o, { totalIters: 6 }),
        new s.LambdaLR(o, (epoch) => 1 / (epoch + 3)),
        new s.CosineAnnealingWarmRestarts(o, 4, { tMult: 2 }),
      ],
      [4, 9, 17, 25, 33],
    ),
  'SequentialLR of oddities': (o) =>
    new s.SequentialLR(
      o,
      [
        new s.MultiplicativeLR(o, () => 0.9),
        new s.MultiplicativeLR(o, () => 0.8),
        new s.MultiStepLR(o, [0, 2], { gamma: 0.5 }),
        new s.ConstantLR(o, { factor: 0.5, totalIters: 0 }),
        new s.LinearLR(o, { totalIters: 3 }),
      ],
      [6, 12, 20, 28],
    ),
  'SequentialLR at once': (o) =>
    new s.SequentialLR(o, [new s.StepLR(o, 2), new s.ExponentialLR(o, 0.9)], [0]),
  'SequentialLR nested': (o) =>
    new s.SequentialLR(
      o,
      [
        new s.SequentialLR(
          o,
          [new s.ConstantLR(o, { totalIters: 4 }), new s.ExponentialLR(o, 0.9)],
          [6],
        ),
        new s.StepLR(o, 4),
      ],
      [15],
    ),
  'SequentialLR with a chain': (o) =>
    new s.SequentialLR(
      o,
      [
        new s.ChainedScheduler([
          new s.LinearLR(o, { totalIters: 4 }),
          new s.ExponentialLR(o, 0.9),
          new s.CosineAnnealingLR(o, 9),
        ]),
        new s.StepLR(o, 4),
      ],
      [15],
    ),
  'SequentialLR to OneCycleLR': (o) =>
    new s.SequentialLR(
      o,
      [
        new s.ConstantLR(o, { factor: 0.5, totalIters: 9 }),
        new s.OneCycleLR(o, 0.3, { totalSteps: 45 }),
      ],
      [9],
    ),
  ChainedScheduler: (o) =>
    new s.ChainedScheduler([
      new s.ConstantLR(o, { factor: 0.1, totalIters: 6 }),
      new s.ExponentialLR(o, 0.95),
      new s.LinearLR(o, { totalIters: 12 }),
    ]),
  'ChainedScheduler of cosines': (o) =>
    new s.ChainedScheduler([
      new s.CosineAnnealingLR(o, 10),
      new s.MultiStepLR(o, [5, 20], { gamma: 0.5 }),
      new s.PolynomialLR(o, { totalIters: 45 }),
    ]),
  SWALR: (o) => new optim.swaUtils.SWALR(o, 0.05),
  'SWALR in a line': (o) =>
    new optim.swaUtils.SWALR(o, [0.9, 0.01], { annealEpochs: 5, annealStrategy: 'linear' }),
  'SWALR at once': (o) => new optim.swaUtils.SWALR(o, 0.3, { annealEpochs: 0 }),
  'one after another': (o) => {
    new s.ExponentialLR(o, 0.9)
    return new s.LambdaLR(o, (epoch) => 1 - epoch / 100)
  },
}

const momentumOf = (group: { momentum?: number; betas?: readonly number[] }): number =>
  group.betas?.[0] ?? (group.momentum as number)

function makeOptimizer(kind: 'sgd' | 'adam'): Optimizer {
  const [a, b] = [0, 1].map((value) => tensor([value], { requiresGrad: true }))
  const groups = [{ params: [a] }, { params: [b], lr: 0.05 }] as never
  return kind === 'adam'
    ? new optim.Adam(groups, { lr: 0.7 })
    : new optim.SGD(groups, { lr: 0.7, momentum: 0.6 })
}

test('the cases are those of the fixture', (t) => {
  t.deepEqual(Object.keys(cases), Object.keys(expected))
})

for (const [name, { optimizer: kind, lr, momentum }] of Object.entries(expected)) {
  test(`${name}: 50 steps as PyTorch, going on from a state after every seventh`, (t) => {
    const make = cases[name] as (typeof cases)['']
    let optimizer = makeOptimizer(kind)
    let scheduler = (make as (o: Optimizer) => optim.lrScheduler.Scheduler)(optimizer)
    const near = (actual: number, wanted: number, what: string) =>
      t.true(Math.abs(actual - wanted) <= 1e-9, `${what}: got ${actual}, expected ${wanted}`)
    for (const [step, rates] of lr.entries()) {
      for (const [g, group] of optimizer.paramGroups.entries()) {
        near(group.lr, rates[g] as number, `step ${step}, group ${g}`)
        const m = (momentum[step] ?? momentum[0]) as number[]
        near(momentumOf(group as object), m[g] as number, `momentum, step ${step}, group ${g}`)
      }
      t.deepEqual(
        scheduler.getLastLr(),
        optimizer.paramGroups.map((group) => group.lr),
      )
      if (step + 1 === lr.length) break
      if (step % 7 === 6) {
        const states = JSON.parse(JSON.stringify([scheduler.stateDict(), optimizer.stateDict()]))
        optimizer = makeOptimizer(kind)
        scheduler = (make as (o: Optimizer) => optim.lrScheduler.Scheduler)(optimizer)
        optimizer.loadStateDict(states[1])
        scheduler.loadStateDict(states[0])
        t.deepEqual(scheduler.stateDict(), states[0])
      }
      scheduler.step()
    }
  })
}

test('CosineAnnealingWarmRestarts goes to any epoch, fractions too', (t) => {
  const optimizer = new optim.SGD([tensor([1], { requiresGrad: true })], { lr: 0.7 })
  const scheduler = new s.CosineAnnealingWarmRestarts(optimizer, 3, { tMult: 2, etaMin: 0.01 })
  for (const [epoch, lr] of jumps) {
    scheduler.step(epoch ?? undefined)
    t.true(Math.abs(optimizer.lr - lr) < 1e-9, `${epoch}: ${optimizer.lr}, expected ${lr}`)
  }
  throwsWith(t, () => scheduler.step(-1), RangeError, /epoch: .*at least 0, got -1/)
})

test('OneCycleLR ends with its steps', (t) => {
  const o = makeOptimizer('sgd')
  const scheduler = new s.OneCycleLR(o, 1, { totalSteps: 10, pctStart: 0.5 })
  for (let step = 0; step < 10; step++) scheduler.step()
  const before = scheduler.stateDict()
  throwsWith(
    t,
    () => scheduler.step(),
    RangeError,
    /totalSteps: expected a call for each of the 10 steps at most, got call 11/,
  )
  t.deepEqual(scheduler.stateDict(), before)
})

test('schedules: what they refuse', (t) => {
  const o = makeOptimizer('sgd')
  const plain = { lr: 1 }
  const refuses = (make: () => unknown, message: RegExp, error = RangeError) =>
    throwsWith(t, make, error, message)
  refuses(() => new s.OneCycleLR(o, 1), /totalSteps: expected it, or epochs and stepsPerEpoch/)
  refuses(() => new s.OneCycleLR(o, 1, { epochs: 3 }), /totalSteps/)
  refuses(() => new s.OneCycleLR(o, 1, { totalSteps: 0 }), /totalSteps/)
  refuses(() => new s.OneCycleLR(o, [1], { totalSteps: 9 }), /maxLr: expected 2 number\(s\)/)
  refuses(() => new s.OneCycleLR(o, 1, { totalSteps: 10, pctStart: 0.1 }), /pctStart: .*0.1 of 10/)
  refuses(() => new s.OneCycleLR(o, 1, { totalSteps: 10, pctStart: 2 }), /pctStart/)
  refuses(() => new s.OneCycleLR(o, 1, { totalSteps: 10, divFactor: 0 }), /divFactor/)
  refuses(
    () => new s.OneCycleLR(plain, 1, { totalSteps: 10 }),
    /cycleMomentum: expected an optimizer with momentum/,
  )
  t.notThrows(() => new s.OneCycleLR(plain, 1, { totalSteps: 10, cycleMomentum: false }))
  refuses(() => new s.OneCycleLR(o, 1, { total: 10 } as never), /total/, TypeError as never)
  refuses(() => new s.CyclicLR(o, 0.1, 1, { stepSizeUp: 0 }), /stepSizeUp/)
  refuses(() => new s.CyclicLR(o, 0.1, 1, { mode: 'x' as never }), /mode/, TypeError as never)
  refuses(() => new s.CyclicLR(o, 0.1, 1, { scaleFn: 1 as never }), /scaleFn/, TypeError as never)
  refuses(() => new s.CyclicLR(o, -0.1, 1), /baseLr/)
  refuses(() => new s.CosineAnnealingWarmRestarts(o, 0), /t0/)
  refuses(() => new s.CosineAnnealingWarmRestarts(o, 2, { tMult: 0.5 }), /tMult/)
  refuses(() => new s.LinearLR(o, { startFactor: 0 }), /startFactor: .*above 0/)
  refuses(() => new s.LinearLR(o, { endFactor: 1.5 }), /endFactor/)
  refuses(() => new s.ConstantLR(o, { factor: 0 }), /factor/)
  refuses(() => new s.PolynomialLR(o, { totalIters: -1 }), /totalIters/)
  refuses(() => new s.MultiplicativeLR(o, [() => 1]), /lrLambda: expected 2 functions, got 1/)
  refuses(() => new s.ChainedScheduler([]), /schedulers: expected at least one/)
  const other = new s.StepLR(makeOptimizer('sgd'), 1)
  refuses(
    () => new s.ChainedScheduler([new s.StepLR(o, 1), other]),
    /schedulers\[1\]: expected a scheduler of the same optimizer/,
  )
  const plateau = new s.ReduceLROnPlateau(o) as never
  refuses(() => new s.ChainedScheduler([plateau]), /schedulers\[0\]/, TypeError as never)
  refuses(() => new s.SequentialLR(o, [new s.StepLR(o, 1)], [1]), /milestones: expected 0/)
  const two = [new s.StepLR(o, 1), new s.ChainedScheduler([new s.StepLR(o, 1)])]
  refuses(() => new s.SequentialLR(o, two, [3]), /schedulers\[1\]: expected a plain scheduler/)
  const sequence = new s.SequentialLR(o, [new s.StepLR(o, 1), new s.StepLR(o, 2)], [3])
  refuses(
    () => sequence.loadStateDict({}),
    /state.schedulers: expected 2 state dicts/,
    TypeError as never,
  )
})
