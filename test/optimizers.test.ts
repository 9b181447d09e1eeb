/** The optimisers whose step is one of the native rules, against PyTorch. */
import test from 'ava'
import { manualSeed, nn, optim, randn, type Tensor, tensor, zeros } from 'fused-rnn'
import { closeTo, fixture, throwsWith } from './helpers.js'

const numbers = fixture('optimizers')
const STEPS = 25
const HALVED = 12

const classes = {
  RMSprop: optim.RMSprop,
  Adagrad: optim.Adagrad,
  Adadelta: optim.Adadelta,
  Adamax: optim.Adamax,
  NAdam: optim.NAdam,
  RAdam: optim.RAdam,
  ASGD: optim.ASGD,
  Rprop: optim.Rprop,
}
type Name = keyof typeof classes

interface Case {
  name: Name
  options: Record<string, unknown>
  clip: { norm?: number; value?: number }
  /** Numbers of the first parameter's state in the end. */
  numbers: Record<string, number>
  defaults: Record<string, unknown>
}

const start = () => ({
  w: numbers.tensor('start.w', { requiresGrad: true }),
  b: numbers.tensor('start.b', { requiresGrad: true }),
})
type Parameters = ReturnType<typeof start>

function setGradients(params: Parameters, step: number): void {
  for (const [key, param] of Object.entries(params)) {
    const { data } = numbers.array(`grads.${key}`)
    const values = data.slice(step * param.numel, (step + 1) * param.numel)
    param.grad = key === 'b' && step === 4 ? null : tensor(values, { shape: param.shape })
  }
}

const parameter = (value: Tensor): Tensor => {
  const copy = value.clone().detach()
  copy.requiresGrad = true
  return copy
}

const make = (name: Name, params: Iterable<Tensor>, options: object): optim.Optimizer =>
  Reflect.construct(classes[name], [params, options])

numbers.info.cases.forEach((one: Case, i: number) => {
  const { name, options, clip } = one
  test(`25 steps as PyTorch, resumed after 7: ${name} ${JSON.stringify(options)} ${JSON.stringify(clip)}`, async (t) => {
    const params = start()
    const given = {
      ...options,
      ...(clip.norm && { maxGradNorm: clip.norm }),
      ...(clip.value && { maxGradValue: clip.value }),
    }
    let optimizer = make(name, Object.values(params), given)
    const traces: Record<string, number[]> = { w: [], b: [] }
    for (let step = 0; step < STEPS; step++) {
      setGradients(params, step)
      await optimizer.step()
      if (step === HALVED) optimizer.lr /= 2
      if (step === 7) {
        const saved = optimizer.stateDict()
        const { maxGradNorm, maxGradValue } = optimizer
        optimizer = make(name, Object.values(params), { lr: 0.7, maxGradNorm, maxGradValue })
        optimizer.loadStateDict(saved)
      }
      for (const key of ['w', 'b'] as const)
        (traces[key] as number[]).push(...(await params[key].data()))
    }
    for (const key of ['w', 'b'])
      await closeTo(t, traces[key], numbers.array(`${i}.${key}`).data, 5e-6, key)
    const { state, paramGroups } = optimizer.stateDict()
    const own = state[0] as Record<string, number | Tensor>
    const expected = numbers.tensors(`${i}.state`)
    t.deepEqual(Object.keys(own).sort(), [...expected.keys(), ...Object.keys(one.numbers)].sort())
    for (const [key, value] of expected) await closeTo(t, own[key] as Tensor, value, 5e-6, key)
    for (const [key, value] of Object.entries(one.numbers))
      t.true(Math.abs((own[key] as number) - value) <= 1e-6 * Math.max(1, value), key)
    const { params: _, ...group } = paramGroups[0] as Record<string, unknown>
    t.deepEqual({ ...group, lr: 0 }, { ...one.defaults, lr: 0 } as object)
  })
})

for (const name of Object.keys(classes) as Name[]) {
  test(`${name}: clipping in the pass is clipping before it; groups; parameters of size 0`, async (t) => {
    manualSeed(3)
    // More elements than a block and a number that is not divisible by 4.
    const shapes = [[70, 70], [0], [4099], [3]]
    const values = shapes.map((shape) => randn(shape))
    const grads = shapes.map((shape) => randn(shape))
    const copies = () => values.map((value) => parameter(value))
    const [fused, apart] = [copies(), copies()]
    const groups = (all: Tensor[]) => [
      { params: all.slice(0, 2) },
      { params: all.slice(2), lr: 0.02 },
    ]
    const one = make(name, groups(fused) as never, { maxGradNorm: 1, maxGradValue: 0.02 })
    const two = make(name, groups(apart) as never, {})
    for (let step = 0; step < 3; step++) {
      for (const all of [fused, apart])
        all.forEach((param, k) => {
          param.grad = (grads[k] as Tensor).mul(step + 1)
        })
      nn.utils.clipGradNorm(apart, 1)
      nn.utils.clipGradValue(apart, 0.02)
      await one.step()
      await two.step()
    }
    for (const [k, param] of fused.entries()) {
      await closeTo(t, param, apart[k] as Tensor, 1e-6)
      if (param.numel > 0) t.notDeepEqual(await param.data(), await (values[k] as Tensor).data())
    }
  })

  test(`${name}: maximize goes the other way; NaN stays where it is`, async (t) => {
    const p = zeros([5], { requiresGrad: true })
    const q = zeros([5], { requiresGrad: true })
    for (const [param, maximize] of [
      [p, false],
      [q, true],
    ] as const) {
      const optimizer = make(name, [param], { maximize })
      for (let step = 0; step < 2; step++) {
        param.grad = tensor([1, 2, NaN, -1, 0.5])
        await optimizer.step()
      }
    }
    const [down, up] = [await p.data(), await q.data()]
    for (const i of [0, 1, 3, 4]) t.is(down[i], -(up[i] as number))
    t.true((down[0] as number) < 0 && (down[3] as number) > 0)
    // Rprop looks at signs only, and NaN has none.
    t.is(Number.isNaN(down[2]), name !== 'Rprop')
  })

  test(`${name}: what it refuses`, (t) => {
    const p = zeros([2], { requiresGrad: true })
    const refuses = (options: object, error: ErrorConstructor, message: RegExp) =>
      throwsWith(t, () => make(name, [p], options), error as never, message)
    refuses({ lr: -1 }, RangeError as never, new RegExp(`\\[${name}\\] lr: .*at least 0, got -1`))
    refuses({ maximize: 1 }, TypeError as never, /maximize/)
    refuses({ foreach: true }, TypeError as never, /foreach/)
    refuses({ maxGradNorm: NaN }, RangeError as never, /maxGradNorm/)
    throwsWith(t, () => make(name, [], {}), RangeError, new RegExp(`\\[${name}\\] params`))
    const optimizer = make(name, [p], {})
    p.grad = zeros([2])
    void optimizer.step()
    const saved = optimizer.stateDict()
    const own = saved.state[0] as Record<string, unknown>
    const { step: _, ...rest } = own
    throwsWith(
      t,
      () => optimizer.loadStateDict({ ...saved, state: { 0: rest as never } }),
      TypeError,
      /state\[0\]\.step/,
    )
    ;(optimizer.paramGroups[0] as { lr: number }).lr = NaN
    throwsWith(t, () => optimizer.step(), RangeError, /lr/)
  })
}

test('options that are out of range', (t) => {
  const p = zeros([2], { requiresGrad: true })
  const cases: [Name, object, RegExp][] = [
    ['RMSprop', { alpha: -0.1 }, /\[RMSprop\] alpha/],
    ['RMSprop', { momentum: -1 }, /momentum/],
    ['Adagrad', { lrDecay: -1 }, /lrDecay/],
    ['Adagrad', { initialAccumulatorValue: -1 }, /initialAccumulatorValue/],
    ['Adadelta', { rho: 1.5 }, /rho/],
    ['Adamax', { betas: [0.9, 1] }, /betas\[1\]: expected a number below 1/],
    ['NAdam', { momentumDecay: -1 }, /momentumDecay/],
    ['RAdam', { betas: [-0.1, 0.9] }, /betas\[0\]/],
    ['Rprop', { etas: [0.5, 1] }, /etas\[1\]: expected a number above 1/],
    ['Rprop', { etas: [1, 1.2] }, /etas\[0\]: expected a number between 0 and 1/],
    ['Rprop', { stepSizes: [2, 1] }, /stepSizes\[1\]/],
  ]
  for (const [name, options, message] of cases)
    throwsWith(t, () => make(name, [p], options), RangeError, message)
  throwsWith(t, () => make('Rprop', [p], { etas: 2 }), TypeError, /etas: expected two numbers/)
})

test('momentum and centering that begin later begin from zero', async (t) => {
  const p = zeros([1], { requiresGrad: true })
  const optimizer = new optim.RMSprop([p], { lr: 1, eps: 0, alpha: 0 })
  p.grad = tensor([2])
  await optimizer.step()
  t.is(await p.item(), -1)
  Object.assign(optimizer.paramGroups[0] as object, { momentum: 0.5 })
  await optimizer.step()
  await optimizer.step()
  t.is(await p.item(), -1 - 1 - 1.5)
})
