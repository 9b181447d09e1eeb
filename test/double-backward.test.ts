/** Gradients of gradients (`createGraph`): beside PyTorch's numbers and finite differences. */
import test from 'ava'
import { autograd, cat, manualSeed, nn, ones, optim, stack, type Tensor, tensor } from 'fused-rnn'
import { closeTo, fixture, gradgradcheck, randomTensor, throwsWith } from './helpers.js'

const numbers = fixture('double_backward')

interface Case {
  name: string
  kind: 'RNN' | 'GRU' | 'LSTM'
  options: object
  lengths?: number[]
}

for (const { name, kind, options, lengths } of numbers.info as Case[]) {
  test(`a gradient penalty through ${name} ${JSON.stringify(options)}`, async (t) => {
    // The layers differ in their states only.
    const layer = new nn[kind](3, 4, options) as nn.GRU
    layer.loadStateDict(numbers.tensors(`${name}.state`))
    const x = numbers.tensor(`${name}.x`, { requiresGrad: true })
    const { packPaddedSequence, padPackedSequence } = nn.utils.rnn
    const y =
      lengths === undefined
        ? layer.forward(x)[0]
        : padPackedSequence(
            layer.forward(packPaddedSequence(x, lengths, { enforceSorted: false }))[0],
          )[0]
    const [dx] = autograd.grad(y, x, { gradOutputs: ones(y.shape), createGraph: true }) as [Tensor]
    await closeTo(t, dx, numbers.array(`${name}.dx`), 1e-4, 'dx')
    const norm = dx.pow(2).sum(-1).add(1e-3).sqrt()
    const loss = y.mean().add(norm.sub(1).pow(2).mean())
    await closeTo(t, loss, numbers.array(`${name}.loss`), 2e-5, 'loss')
    loss.backward()
    await closeTo(t, x.grad, numbers.array(`${name}.grad`), 1e-4, 'x.grad')
    for (const [key, parameter] of layer.namedParameters())
      await closeTo(t, parameter.grad, numbers.array(`${name}.grads.${key}`), 1e-4, key)
  })
}

const x = (...shape: number[]): Tensor => randomTensor(shape, 3, { requiresGrad: true })
const w = (...shape: number[]): Tensor => randomTensor(shape, 4, { requiresGrad: true })
const positive = (...shape: number[]): Tensor => {
  const values = randomTensor(shape, 5).abs().add(0.5).detach()
  values.requiresGrad = true
  return values
}
const far = (values: number[]): Tensor => tensor(values, { requiresGrad: true })

/** Functions that are not linear themselves, or with a square around those that are. */
const square = (y: Tensor): Tensor => y.mul(y)

const CASES: Record<
  string,
  [f: (...inputs: Tensor[]) => Tensor | Tensor[], inputs: () => Tensor[]]
> = {
  'add, sub, neg': [
    (a, b) =>
      square(
        (a as Tensor)
          .add(b as Tensor)
          .sub(2)
          .neg(),
      ),
    () => [x(2, 3), w(3)],
  ],
  sub: [(a, b) => square((a as Tensor).sub(b as Tensor)), () => [x(2, 1), w(3)]],
  mul: [(a, b) => (a as Tensor).mul(b as Tensor), () => [x(2, 3), w(2, 1)]],
  'mul by itself': [(a) => (a as Tensor).mul(a as Tensor).mul(3), () => [x(3)]],
  div: [(a, b) => (a as Tensor).div(b as Tensor).div(2), () => [x(2, 3), positive(3)]],
  exp: [(a) => (a as Tensor).exp(), () => [x(3)]],
  log: [(a) => (a as Tensor).log(), () => [positive(3)]],
  sqrt: [(a) => (a as Tensor).sqrt(), () => [positive(3)]],
  pow: [(a) => (a as Tensor).pow(3), () => [positive(3)]],
  tanh: [(a) => (a as Tensor).tanh(), () => [x(3)]],
  sigmoid: [(a) => (a as Tensor).sigmoid(), () => [x(3)]],
  'abs, relu, clamp': [
    (a) =>
      square(
        (a as Tensor)
          .abs()
          .add((a as Tensor).relu())
          .add((a as Tensor).clamp(-2, 2)),
      ),
    () => [far([-3, -1, 1, 3])],
  ],
  'sum and mean': [
    (a) => [
      square((a as Tensor).sum(1)),
      square((a as Tensor).mean([0, 2], { keepdim: true })),
      square((a as Tensor).mean()),
    ],
    () => [x(2, 3, 2)],
  ],
  max: [
    (a) => [square((a as Tensor).max(1)[0]), square((a as Tensor).max())],
    () => [
      tensor(
        [
          [1, 5, 2],
          [7, 3, 4],
        ],
        { requiresGrad: true },
      ),
    ],
  ],
  softmax: [(a) => (a as Tensor).softmax(1), () => [x(2, 3, 2)]],
  logSoftmax: [(a) => square((a as Tensor).logSoftmax(-1)), () => [x(2, 3)]],
  matmul: [(a, b) => (a as Tensor).matmul(b as Tensor), () => [x(2, 3), w(3, 2)]],
  'matmul of batches': [
    (a, b) => (a as Tensor).matmul(b as Tensor),
    () => [x(2, 2, 3), w(1, 3, 2)],
  ],
  'matmul of a batch and a matrix': [
    (a, b) => (a as Tensor).matmul(b as Tensor),
    () => [x(2, 2, 3), w(3, 2)],
  ],
  'matmul of vectors': [
    (a, b) => [
      (a as Tensor).matmul(b as Tensor),
      (b as Tensor).t().matmul(a as Tensor),
      (a as Tensor).matmul(a as Tensor),
    ],
    () => [x(3), w(3, 2)],
  ],
  linear: [
    (a, b, c) => square(nn.functional.linear(a as Tensor, b as Tensor, c as Tensor)),
    () => [x(2, 2, 3), w(2, 3), x(2)],
  ],
  'reshape, permute, transpose, flip, expand': [
    (a) =>
      square(
        (a as Tensor)
          .reshape([3, 2])
          .permute([1, 0])
          .flip(0)
          .unsqueeze(0)
          .expand([2, 2, 3])
          .transpose(0, 1),
      ),
    () => [x(6)],
  ],
  'slice, select, cat, stack': [
    (a, b) => {
      const [p, q] = [a as Tensor, b as Tensor]
      return square(
        stack([cat([p, q], 0).select(1, 1), cat([p, q], 1).slice(1, 1, 5, 3).reshape([4])], 1),
      )
    },
    () => [x(2, 3), w(2, 3)],
  ],
  'indexSelect, embedding': [
    (a) => {
      const index = tensor([1, 1, 0], { dtype: 'int32' })
      const rows = nn.functional.embedding(index, a as Tensor, { paddingIdx: 0 })
      return [square((a as Tensor).indexSelect(1, index)), square(rows)]
    },
    () => [x(2, 3)],
  ],
  'crossEntropy and nllLoss': [
    (a) => {
      const { crossEntropy, nllLoss } = nn.functional
      const target = tensor([1, 0, 2], { dtype: 'int32' })
      const logits = a as Tensor
      return [
        crossEntropy(logits, target),
        crossEntropy(logits, target, { reduction: 'none', labelSmoothing: 0.2 }),
        square(crossEntropy(logits, target, { reduction: 'sum', ignoreIndex: 0 })),
        square(nllLoss(logits, target, { ignoreIndex: 2 })),
        square(nllLoss(logits, target, { reduction: 'none' })),
      ]
    },
    () => [x(3, 3)],
  ],
  mseLoss: [
    (a, b) => [
      square(nn.functional.mseLoss(a as Tensor, b as Tensor)),
      square(nn.functional.mseLoss(a as Tensor, b as Tensor, { reduction: 'none' })),
    ],
    () => [x(2, 3), w(2, 3)],
  ],
  binaryCrossEntropyWithLogits: [
    (a, b) => {
      const loss = nn.functional.binaryCrossEntropyWithLogits
      const [p, q] = [a as Tensor, b as Tensor]
      const weight = tensor([1, 2, 3])
      return [
        loss(p, q),
        loss(p, q, { reduction: 'none', weight }),
        square(loss(p, q, { reduction: 'sum', posWeight: weight })),
      ]
    },
    () => [x(2, 3), positive(2, 3)],
  ],
  'clone, dropout': [
    (a) => {
      manualSeed(7)
      return square(nn.functional.dropout((a as Tensor).clone(), { p: 0.4 }))
    },
    () => [x(6)],
  ],
}

for (const [name, [f, inputs]] of Object.entries(CASES)) {
  test(`gradients of gradients: ${name}`, (t) => gradgradcheck(t, f, inputs(), { tol: 3e-3 }))
}

test('gradients of gradients: LayerNormLSTM, and dropout between two layers', async (t) => {
  const norm = new nn.LayerNormLSTM(2, 3)
  await gradgradcheck(t, (a) => norm.forward(a as Tensor)[0], [x(3, 2, 2)], { tol: 5e-3 })
  const gru = new nn.GRU(2, 3, { numLayers: 2, dropout: 0.5 })
  const f = (a: Tensor, h: Tensor): Tensor[] => {
    manualSeed(3)
    return gru.forward(a, h)
  }
  await gradgradcheck(t, f as never, [x(3, 2, 2), w(2, 2, 3)], { tol: 3e-3 })
})

test('a third derivative, and .grad with a history', async (t) => {
  const a = tensor([2, 3], { requiresGrad: true })
  const [first] = autograd.grad(a.pow(4).sum(), a, { createGraph: true }) as [Tensor]
  const [second] = autograd.grad(first.sum(), a, { createGraph: true }) as [Tensor]
  const [third] = autograd.grad(second.sum(), a)
  await closeTo(t, third, [48, 72], 1e-5)
  a.pow(3).sum().backward(undefined, { createGraph: true })
  const { grad } = a
  t.true(grad?.requiresGrad)
  await closeTo(t, grad, [12, 27], 1e-5)
  a.grad = null
  grad?.sum().backward()
  await closeTo(t, a.grad, [12, 18], 1e-5)
  // A gradient with a history is not changed in place.
  a.grad = null
  a.pow(3).sum().backward(undefined, { createGraph: true })
  const before = a.grad as unknown as Tensor
  a.mul(1).sum().backward()
  await closeTo(t, before, [12, 27], 1e-5)
  await closeTo(t, a.grad, [13, 28], 1e-5)
})

test('what is constant in the gradient, and hooks, with createGraph', async (t) => {
  const a = tensor([2, 3], { requiresGrad: true })
  const b = tensor([5, 7], { requiresGrad: true })
  const y = a.mul(b)
  y.registerHook((g) => g.mul(a))
  const [da] = autograd.grad(y.sum(), a, { createGraph: true }) as [Tensor]
  await closeTo(t, da, [10, 21], 0)
  const [daa, dab] = autograd.grad(da.sum(), [a, b])
  await closeTo(t, daa, [5, 7], 0)
  await closeTo(t, dab, [2, 3], 0)
})

test('a cubic Function, and one that has no gradient of its gradient', async (t) => {
  class Cube extends autograd.Function {
    static override forward(ctx: autograd.FunctionContext, a: Tensor): Tensor {
      ctx.saveForBackward(a)
      return a.pow(3)
    }
    static override backward(ctx: autograd.FunctionContext, dy: Tensor): Tensor {
      const [a] = ctx.savedTensors as [Tensor]
      return dy.mul(a.pow(2).mul(3))
    }
  }
  await gradgradcheck(t, (a) => Cube.apply(a as Tensor), [positive(3)], { tol: 3e-3 })
  const deep = new nn.GRU(2, 2, { numLayers: 3, dropout: 0.5 })
  const [y] = deep.forward(x(2, 1, 2))
  throwsWith(
    t,
    () => y.sum().backward(undefined, { createGraph: true }),
    TypeError,
    /^\[backward\] createGraph: expected at most 2 layers with dropout between them, got 3/,
  )
})

test('training with a gradient penalty goes down', async (t) => {
  manualSeed(1)
  const layer = new nn.LSTM(2, 4)
  const optimizer = new optim.Adam(layer.parameters(), { lr: 0.02 })
  const input = randomTensor([4, 3, 2], 9, { requiresGrad: true })
  const losses: number[] = []
  for (let step = 0; step < 15; step++) {
    optimizer.zeroGrad()
    const [y] = layer.forward(input)
    const [dx] = autograd.grad(y.sum(), input, { createGraph: true }) as [Tensor]
    const loss = dx.mul(dx).sum().sub(1).pow(2)
    losses.push(await loss.item())
    loss.backward()
    await optimizer.step()
  }
  t.true((losses.at(-1) as number) < (losses[0] as number), String(losses))
})
