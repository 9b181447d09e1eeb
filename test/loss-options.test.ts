import test from 'ava'
import { nn, type Tensor, tensor, zeros } from 'fused-rnn'
import {
  closeTo,
  fixture,
  gradcheck,
  gradgradcheck,
  randomTensor,
  rejectsWith,
  throwsWith,
} from './helpers.js'

const numbers = fixture('loss_options')
const F = nn.functional

/** The gradient that the fixture's script gives every loss. */
function seed(loss: Tensor): Tensor {
  const n = loss.numel
  const values = Float32Array.from({ length: n }, (_, i) => (n === 1 ? 0.5 : 0.5 + i / (n - 1)))
  return tensor(values, { shape: loss.shape })
}

interface ClassCase {
  shape: string
  reduction: 'mean' | 'sum' | 'none'
  weighted: number
  smoothing: number
}

for (const shape of ['(C,)', '(N, C)', '(N, C, d)', '(N, C, d, e)']) {
  test(`crossEntropy and nllLoss of ${shape}: weights, smoothing, probabilities`, async (t) => {
    const cases = (numbers.info.classes as ClassCase[]).filter((one) => one.shape === shape)
    for (const { reduction, weighted, smoothing } of cases) {
      const key = `${shape} ${reduction} ${weighted} ${smoothing || 0}`
      const options = { reduction, weight: weighted ? numbers.tensor('weight') : null }
      const smoothed = { ...options, labelSmoothing: smoothing }
      const target = numbers.tensor(`${shape}.target`)
      const probabilities = numbers.tensor(`${shape}.probabilities`)
      const checks: [string, (x: Tensor) => Tensor][] = [
        ['ce', (x) => F.crossEntropy(x, target, smoothed)],
        ['ce', (x) => new nn.CrossEntropyLoss(smoothed).forward(x, target)],
        ['p', (x) => F.crossEntropy(x, probabilities, smoothed)],
        ['nll', (x) => F.nllLoss(x, target, options)],
        ['nll', (x) => new nn.NLLLoss(options).forward(x, target)],
      ]
      for (const [kind, compute] of checks) {
        if (kind === 'nll' && smoothing > 0) continue
        const x = numbers.tensor(`${shape}.input`, { requiresGrad: true })
        const loss = compute(x)
        loss.backward(seed(loss))
        await closeTo(t, loss, numbers.array(`${kind} ${key}.loss`), 2e-6, `${kind} ${key}`)
        await closeTo(t, x.grad, numbers.array(`${kind} ${key}.grad0`), 2e-6, `${kind} ${key} dx`)
      }
    }
  })
}

test('a weighted cross entropy above a linear layer', async (t) => {
  const layer = new nn.Linear(4, 7)
  const x = randomTensor([5, 4], 1, { requiresGrad: true })
  const y = tensor([0, 3, -100, 6, 3], { dtype: 'int32' })
  const weight = numbers.tensor('weight')
  for (const labelSmoothing of [0, 0.3])
    await gradcheck(
      t,
      (a) => F.crossEntropy(layer.forward(a), y, { weight, labelSmoothing }),
      [x],
      { module: layer },
    )
})

interface PairCase {
  key: string
  name: string
  options: Record<string, unknown>
  args: string[]
  fixed?: number
}

const MODULES: Record<string, (options: object) => nn.Module> = {
  l1Loss: (o) => new nn.L1Loss(o),
  smoothL1Loss: (o) => new nn.SmoothL1Loss(o),
  huberLoss: (o) => new nn.HuberLoss(o),
  binaryCrossEntropy: (o) => new nn.BCELoss(o),
  klDiv: (o) => new nn.KLDivLoss(o),
  poissonNllLoss: (o) => new nn.PoissonNLLLoss(o),
  gaussianNllLoss: (o) => new nn.GaussianNLLLoss(o),
}
const camel = (name: string) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase())

for (const name of Object.keys(MODULES)) {
  test(`${name} as PyTorch, as function and module`, async (t) => {
    for (const { key, options, args, fixed } of numbers.info.pairs as PairCase[]) {
      if (!key.startsWith(name)) continue
      const given = Object.fromEntries(Object.entries(options).map(([k, v]) => [camel(k), v]))
      const module = (MODULES[name] as (o: object) => nn.Module)(given)
      const functions = [
        (...x: Tensor[]) => Reflect.get(F, name)(...x, given) as Tensor,
        (...x: Tensor[]) => (module.forward as (...x: unknown[]) => Tensor)(...x),
      ]
      for (const compute of functions) {
        const leaves = args.map((arg, i) =>
          numbers.tensor(arg, { requiresGrad: fixed === undefined || i < fixed }),
        )
        const loss = compute(...leaves)
        loss.backward(seed(loss))
        await closeTo(t, loss, numbers.array(`${key}.loss`), 4e-6, key)
        for (const [i, leaf] of leaves.entries())
          if (leaf.requiresGrad)
            await closeTo(t, leaf.grad, numbers.array(`${key}.grad${i}`), 1e-5, `${key} ${i}`)
      }
    }
  })
}

test('klDiv batchmean, a weighted binary cross entropy, quantiles', async (t) => {
  const checks: [string, (x: Tensor, y: Tensor) => Tensor, string, string][] = [
    ['batchmean', (x, y) => F.klDiv(x, y, { reduction: 'batchmean' }), 'a', 'q'],
    [
      'weighted bce',
      (x, y) => F.binaryCrossEntropy(x, y, { weight: numbers.tensor('row') }),
      'q',
      'p',
    ],
    ['quantile', (x, y) => F.quantileLoss(x, y, [0.1, 0.5, 0.9]), 'a', 't'],
    ['quantile', (x, y) => new nn.QuantileLoss([0.1, 0.5, 0.9]).forward(x, y), 'a', 't'],
  ]
  for (const [key, compute, one, two] of checks) {
    const x = numbers.tensor(one, { requiresGrad: true })
    const y = numbers.tensor(two, { requiresGrad: true })
    const loss = compute(x, y)
    loss.backward(seed(loss))
    await closeTo(t, loss, numbers.array(`${key}.loss`), 4e-6, key)
    await closeTo(t, x.grad, numbers.array(`${key}.grad0`), 1e-5, `${key} dx`)
    await closeTo(t, y.grad, numbers.array(`${key}.grad1`), 1e-5, `${key} dt`)
  }
  const each = F.quantileLoss(zeros([2, 1]), tensor([1, -1]), [0.25], { reduction: 'none' })
  await closeTo(t, each, [0.25, 0.75], 0)
})

test('losses: gradients of gradients', async (t) => {
  const x = randomTensor([3, 4], 1, { requiresGrad: true })
  const y = randomTensor([3, 4], 2, { requiresGrad: true })
  const p = () => tensor([0.2, 0.7, 0.4], { requiresGrad: true })
  const classes = tensor([0, 3, -100], { dtype: 'int32' })
  const weight = tensor([1, 2, 0.5, 3])
  const cases: [string, (a: Tensor, b: Tensor) => Tensor, Tensor[]][] = [
    ['huberLoss', (a, b) => F.huberLoss(a, b, { delta: 3 }), [x, y]],
    ['smoothL1Loss', (a, b) => F.smoothL1Loss(a, b, { beta: 3, reduction: 'none' }), [x, y]],
    ['poissonNllLoss', (a, b) => F.poissonNllLoss(a, b, { reduction: 'sum' }), [x, y]],
    ['klDiv', (a, b) => F.klDiv(a, b), [p(), p()]],
    ['binaryCrossEntropy', (a, b) => F.binaryCrossEntropy(a, b), [p(), p()]],
    ['crossEntropy', (a) => F.crossEntropy(a, classes, { weight, labelSmoothing: 0.2 }), [x]],
  ]
  for (const [, compute, inputs] of cases)
    await gradgradcheck(t, compute as never, inputs, { tol: 5e-3 })
})

test('losses of nothing', async (t) => {
  const none = zeros([0, 3])
  t.is(await F.l1Loss(none, none).item(), NaN)
  t.is(await F.huberLoss(none, none, { reduction: 'sum' }).item(), 0)
  t.deepEqual([...F.binaryCrossEntropy(none, none, { reduction: 'none' }).shape], [0, 3])
  const y = zeros([0, 4], { dtype: 'int32' })
  t.deepEqual([...F.crossEntropy(zeros([0, 3, 4]), y, { reduction: 'none' }).shape], [0, 4])
})

test('losses: wrong options', (t) => {
  const x = zeros([2, 3])
  const y = tensor([0, 1], { dtype: 'int32' })
  const fails = (f: () => unknown, kind: typeof RangeError | typeof TypeError, message: RegExp) =>
    throwsWith(t, f, kind, message)
  fails(
    () => F.crossEntropy(x, y, { weight: zeros([2]) }),
    RangeError,
    /weight: expected shape \(3,\)/,
  )
  fails(() => F.crossEntropy(x, y, { weight: y }), TypeError, /weight: expected a float32/)
  fails(() => new nn.NLLLoss({ weight: zeros([2, 2]) }), RangeError, /\[NLLLoss\] weight: .*\(C,\)/)
  fails(() => F.crossEntropy(x, zeros([2])), TypeError, /int32 classes, or probabilities/)
  fails(() => F.crossEntropy(x, x, { ignoreIndex: 1 }), RangeError, /ignoreIndex: expected none/)
  fails(() => F.nllLoss(x, x), TypeError, /\[nllLoss\] target: expected an int32 tensor/)
  fails(() => F.crossEntropy(zeros([2, 3, 4]), y), RangeError, /target: expected shape \(2, 4\)/)
  fails(() => F.crossEntropy(zeros([]), y), RangeError, /shape \(C,\), \(N, C\)/)
  fails(() => F.l1Loss(x, zeros([3])), RangeError, /\[l1Loss\] target: expected the input's shape/)
  fails(() => F.smoothL1Loss(x, x, { beta: -1 }), RangeError, /\[smoothL1Loss\] beta/)
  fails(() => F.huberLoss(x, x, { delta: 0 }), RangeError, /\[huberLoss\] delta: .*above 0/)
  fails(() => new nn.HuberLoss({ delta: '1' as never }), TypeError, /\[HuberLoss\] delta/)
  fails(() => F.klDiv(x, x, { reduction: 'batch' as 'sum' }), TypeError, /reduction: .*'batchmean'/)
  fails(() => F.gaussianNllLoss(x, x, zeros([3])), RangeError, /variance: expected shape \(2, 3\)/)
  fails(() => F.gaussianNllLoss(x, x, -1), RangeError, /variance/)
  fails(() => F.poissonNllLoss(x, x, { eps: 0 }), RangeError, /eps: .*above 0/)
  fails(() => F.quantileLoss(x, zeros([2]), [0.5]), RangeError, /a last dimension of 1/)
  fails(() => F.quantileLoss(x, zeros([2]), [0.5, 1, 0.1]), RangeError, /quantiles\[1\]: .*below 1/)
  fails(() => new nn.QuantileLoss([]), TypeError, /quantiles: expected an array of numbers/)
})

test.serial('no probabilities reject the next promise', async (t) => {
  for (const bad of [1.5, -0.1, NaN])
    await rejectsWith(
      t,
      F.binaryCrossEntropy(tensor([0.5, bad]), zeros([2])).item(),
      Error,
      /\[binaryCrossEntropy\] input: expected probabilities, in \[0, 1\]/,
    )
})
