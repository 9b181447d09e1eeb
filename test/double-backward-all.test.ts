/** Gradients of gradients of every operation: none is left out, and each agrees with finite differences. */
import test from 'ava'
import * as library from 'fused-rnn'
import { autograd, nn, ones, Tensor, tensor } from 'fused-rnn'
import { FUNCTIONS, FUNCTIONS_WITHOUT, OTHERS } from './double-backward/functions.js'
import { int, leaf, x } from './double-backward/inputs.js'
import { METHODS, METHODS_WITHOUT } from './double-backward/methods.js'
import { closeTo, fixture, gradgradcheck } from './helpers.js'

const F = nn.functional

for (const [kind, cases] of Object.entries({ method: METHODS, function: FUNCTIONS, other: OTHERS }))
  for (const [name, [f, inputs]] of Object.entries(cases))
    test(`gradients of gradients, ${kind}: ${name}`, (t) =>
      gradgradcheck(t, f, inputs(), { tol: 4e-3 }))

test('no operation is left out', (t) => {
  const names = new Set<string>()
  for (let p = Tensor.prototype; p !== Object.prototype; p = Object.getPrototypeOf(p))
    for (const name of Object.getOwnPropertyNames(p))
      if (typeof Object.getOwnPropertyDescriptor(p, name)?.value === 'function') names.add(name)
  const left = [...names].filter((name) => !(name in METHODS) && !METHODS_WITHOUT.has(name))
  t.deepEqual(left, [], 'methods')
  const functions = Object.keys(library.nn.functional)
  t.deepEqual(
    functions.filter((name) => !(name in FUNCTIONS) && !FUNCTIONS_WITHOUT.has(name)),
    [],
    'functions',
  )
})

const numbers = fixture('double_backward')

/** What test/fixtures/make_double_backward.py has under the same names. */
const POINTS: Record<string, (...inputs: Tensor[]) => Tensor> = {
  prod: (a) => a.prod(),
  prod_dim: (a) => a.prod(1),
  cumprod: (a) => a.cumprod(1),
  pow_tensor: (a, b) => a.pow(b),
  atan2: (a, b) => a.atan2(b),
  fmod: (a, b) => a.fmod(b).square(),
  mish: (a) => F.mish(a),
  gelu_tanh: (a) => F.gelu(a, { approximate: 'tanh' }),
  softplus: (a) => F.softplus(a),
  bce: (a, b) => F.binaryCrossEntropyWithLogits(a, b, { posWeight: tensor([1, 2, 3]) }),
  l1: (a, b) => F.l1Loss(a, b).square(),
  norm: (a) => a.add(3).norm({ p: 3 }).add(a.norm()),
  max_pool: (a) => F.maxPool1d(a, 2, { stride: 1, padding: 1 }).pow(3),
  avg_pool: (a) =>
    F.avgPool1d(a, 3, { stride: 2, padding: 1, ceilMode: true, countIncludePad: false }).pow(3),
}

for (const [name, f] of Object.entries(POINTS))
  test(`gradients of gradients as PyTorch where formulas are delicate: ${name}`, async (t) => {
    const inputs = [0, 1]
      .filter((i) => numbers.has(`points.${name}.${i}`))
      .map((i) => numbers.tensor(`points.${name}.${i}`, { requiresGrad: true }))
    const y = f(...inputs)
    const first = autograd.grad(y, inputs, { gradOutputs: ones(y.shape), createGraph: true })
    const total = first
      .map((g) => {
        const weights = Array.from({ length: g.numel }, (_, i) => 0.5 + i / (g.numel - 1))
        return g.mul(tensor(weights).reshape(g.shape)).sum()
      })
      .reduce((a, b) => a.add(b))
    const second = autograd.grad(total, inputs)
    for (const i of inputs.keys()) {
      await closeTo(t, first[i], numbers.array(`points.${name}.first.${i}`), 2e-5, `first ${i}`)
      await closeTo(t, second[i], numbers.array(`points.${name}.second.${i}`), 1e-4, `second ${i}`)
    }
  })

test('a gradient penalty through Conv1d as PyTorch', async (t) => {
  const layer = new nn.Conv1d(4, 6, 3, { stride: 2, padding: 1, groups: 2 })
  layer.loadStateDict(numbers.tensors('conv1d.state'))
  const input = numbers.tensor('conv1d.x', { requiresGrad: true })
  const y = layer.forward(input)
  const gradOutputs = ones(y.shape)
  const [dx] = autograd.grad(y, input, { gradOutputs, createGraph: true }) as [Tensor]
  await closeTo(t, dx, numbers.array('conv1d.dx'), 1e-4, 'dx')
  const norm = dx.pow(2).sum(-1).add(1e-3).sqrt()
  const loss = y.mean().add(norm.sub(1).pow(2).mean())
  loss.backward()
  await closeTo(t, input.grad, numbers.array('conv1d.grad'), 1e-4, 'x.grad')
  for (const [key, parameter] of layer.namedParameters())
    await closeTo(t, parameter.grad, numbers.array(`conv1d.grads.${key}`), 1e-4, key)
})

test('second derivatives of powers at 0', async (t) => {
  const base = tensor([0, 0, 2, -2], { requiresGrad: true })
  const exponent = tensor([2, 1, 0, 3], { requiresGrad: true })
  const y = base.pow(exponent)
  const [first] = autograd.grad(y.sum(), base, { createGraph: true }) as [Tensor]
  await closeTo(t, first, [0, 1, 0, 12], 1e-6)
  const [second, mixed] = autograd.grad(first.sum(), [base, exponent])
  await closeTo(t, second, [2, 0, 0, -12], 1e-6)
  // Of x^y by x and y: x^(y - 1) (1 + y log x).
  t.true(Math.abs(((await mixed?.data())?.[2] as number) - 0.5) < 1e-6)
  t.is((await mixed?.data())?.[0], 0)
})

test('CTC without an alignment: 0 with zeroInfinity, as the gradient itself without', async (t) => {
  const logits = x(2, 2, 3)
  const loss = (zeroInfinity: boolean): Tensor =>
    F.ctcLoss(
      logits.logSoftmax(2),
      int([
        [1, 1],
        [2, 1],
      ]),
      [2, 2],
      [2, 2],
      {
        reduction: 'sum',
        zeroInfinity,
      },
    )
  for (const zeroInfinity of [true, false]) {
    const [plain] = autograd.grad(loss(zeroInfinity), logits)
    const [again] = autograd.grad(loss(zeroInfinity), logits, { createGraph: true })
    await closeTo(t, again, (await plain?.data()) as Float32Array, 1e-5)
  }
  const [dx] = autograd.grad(loss(true), logits, { createGraph: true }) as [Tensor]
  const [second] = autograd.grad(dx.square().sum(), logits) as [Tensor]
  const values = (await second.data()) as Float32Array
  t.true(values.every((value, i) => Number.isFinite(value) && (value === 0) === i % 6 < 3))
})

test('CTC and CRF with createGraph on lengths of 0 and scores of -Infinity', async (t) => {
  const logits = x(3, 2, 3)
  const given = [
    int([
      [1, 2],
      [2, 1],
    ]),
    [3, 0],
    [2, 0],
  ] as const
  const [plain] = autograd.grad(F.ctcLoss(logits.logSoftmax(2), ...given), logits)
  const [again] = autograd.grad(F.ctcLoss(logits.logSoftmax(2), ...given), logits, {
    createGraph: true,
  })
  await closeTo(t, again, (await plain?.data()) as Float32Array, 1e-5)
  const p = logits.logSoftmax(2).detach()
  const off = leaf(p.maskedFill(tensor([false, false, true]), -Infinity))
  const labels = int([
    [1, 1],
    [1, 0],
  ])
  const sure = (): Tensor => F.ctcLoss(off, labels, [3, 3], [2, 1], { reduction: 'sum' })
  const [one] = autograd.grad(sure(), off)
  const [two] = autograd.grad(sure(), off, { createGraph: true })
  await closeTo(t, two, (await one?.data()) as Float32Array, 1e-5)
})
