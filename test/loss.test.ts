import test from 'ava'
import { nn, type Tensor, tensor, zeros } from 'fused-rnn'
import { closeTo, fixture, gradcheck, randomTensor, rejectsWith, throwsWith } from './helpers.js'

const numbers = fixture('losses')
const F = nn.functional

/** The gradient that the fixture's script gives every loss. */
function seed(loss: Tensor): Tensor {
  const n = loss.numel
  const values = Float32Array.from({ length: n }, (_, i) => (n === 1 ? 0.5 : 0.5 + i / (n - 1)))
  return tensor(values, { shape: loss.shape })
}

const camel: Record<string, string> = {
  ignore_index: 'ignoreIndex',
  label_smoothing: 'labelSmoothing',
  pos_weight: 'posWeight',
}
const renamed = (options: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(options).map(([key, value]) => [camel[key] ?? key, value]))

const target = () => numbers.tensor('class.target')
/** The target of the cases that ignore another class: no -100 in it. */
const clamped = async () => {
  const values = ((await target().data()) as Int32Array).map((x) => Math.max(x, 0))
  return tensor(values)
}

numbers.info.class.forEach((options: Record<string, unknown>, i: number) => {
  test(`crossEntropy as PyTorch: ${JSON.stringify(options)}`, async (t) => {
    for (const compute of [
      F.crossEntropy,
      (x: Tensor, y: Tensor, o: object) => new nn.CrossEntropyLoss(o).forward(x, y),
    ]) {
      const x = numbers.tensor('class.logits', { requiresGrad: true })
      const y = 'ignore_index' in options ? await clamped() : target()
      const loss = compute(x, y, renamed(options))
      loss.backward(seed(loss))
      await closeTo(t, loss, numbers.array(`class.${i}.loss`), 2e-6, 'loss')
      await closeTo(t, x.grad, numbers.array(`class.${i}.grad`), 2e-6, 'gradient')
    }
  })
})

for (const reduction of ['mean', 'sum', 'none'] as const) {
  test(`nllLoss as PyTorch: ${reduction}`, async (t) => {
    const x = numbers.tensor('nll.input', { requiresGrad: true })
    const loss = F.nllLoss(x, target(), { reduction })
    loss.backward(seed(loss))
    await closeTo(t, loss, numbers.array(`nll.${reduction}.loss`), 2e-6)
    await closeTo(t, x.grad, numbers.array(`nll.${reduction}.grad`), 2e-6)
    await closeTo(
      t,
      new nn.NLLLoss({ reduction }).forward(x, target()),
      numbers.array(`nll.${reduction}.loss`),
      2e-6,
    )
  })
}

test('crossEntropy of one row, of nothing, of extremes', async (t) => {
  const { data } = numbers.array('class.logits')
  const x = tensor(data.slice(37, 74), { requiresGrad: true })
  const loss = F.crossEntropy(x, tensor(36, { dtype: 'int32' }))
  t.deepEqual([...loss.shape], [])
  loss.backward(seed(loss))
  await closeTo(t, loss, numbers.array('one.loss'), 2e-6)
  await closeTo(t, x.grad, numbers.array('one.grad'), 2e-6)

  const ignored = zeros([2, 3], { requiresGrad: true })
  const y = tensor([-100, -100], { dtype: 'int32' })
  const nothing = F.crossEntropy(ignored, y)
  nothing.backward()
  t.is(await nothing.item(), NaN)
  t.deepEqual([...((await ignored.grad?.data()) ?? [])], [0, 0, 0, 0, 0, 0])
  t.is(await F.crossEntropy(ignored, y, { reduction: 'sum' }).item(), 0)
  const none = tensor(new Int32Array(0))
  t.is(await F.crossEntropy(zeros([0, 3]), none).item(), NaN)
  t.is(await F.crossEntropy(zeros([0, 3]), none, { reduction: 'sum' }).item(), 0)
  t.deepEqual([...F.crossEntropy(zeros([0, 3]), none, { reduction: 'none' }).shape], [0])

  const far = tensor([
    [1000, -1000, 0],
    [-Infinity, 0, 0],
    [NaN, 0, 0],
  ])
  const classes = tensor([1, 1, 1], { dtype: 'int32' })
  const values = await F.crossEntropy(far, classes, { reduction: 'none' }).data()
  t.is(values[0], 2000)
  t.true(Math.abs((values[1] as number) - Math.LN2) < 1e-6)
  t.is(values[2], NaN)
})

numbers.info.pair.forEach(([name, options]: [string, Record<string, unknown>], i: number): void => {
  test(`${name} as PyTorch: ${JSON.stringify(options)}`, async (t) => {
    const given: nn.functional.BCEWithLogitsOptions = renamed(options)
    if (given.weight) given.weight = numbers.tensor('pair.weight')
    if (given.posWeight) given.posWeight = numbers.tensor('pair.pos')
    const functions =
      name === 'mse'
        ? [F.mseLoss, (x: Tensor, y: Tensor, o: object) => new nn.MSELoss(o).forward(x, y)]
        : [
            F.binaryCrossEntropyWithLogits,
            (x: Tensor, y: Tensor, o: object) => new nn.BCEWithLogitsLoss(o).forward(x, y),
          ]
    for (const compute of functions) {
      const a = numbers.tensor('pair.a', { requiresGrad: true })
      const b = numbers.tensor('pair.b', { requiresGrad: true })
      const loss = compute(a, b, given as object)
      loss.backward(seed(loss))
      await closeTo(t, loss, numbers.array(`pair.${i}.loss`), 2e-6, 'loss')
      await closeTo(t, a.grad, numbers.array(`pair.${i}.dx`), 2e-6, 'dx')
      await closeTo(t, b.grad, numbers.array(`pair.${i}.dt`), 2e-6, 'dt')
    }
  })
})

test('finite differences', async (t) => {
  const x = randomTensor([4, 5], 1, { requiresGrad: true })
  const y = randomTensor([4, 5], 2, { requiresGrad: true })
  const classes = tensor([0, 4, -100, 2], { dtype: 'int32' })
  for (const reduction of ['mean', 'sum', 'none'] as const) {
    await gradcheck(t, (a) => F.crossEntropy(a, classes, { reduction }), [x])
    await gradcheck(t, (a) => F.crossEntropy(a, classes, { reduction, labelSmoothing: 0.3 }), [x])
    await gradcheck(t, (a) => F.nllLoss(a, classes, { reduction }), [x])
    await gradcheck(t, (a, b) => F.mseLoss(a, b, { reduction }), [x, y])
    await gradcheck(t, (a, b) => F.binaryCrossEntropyWithLogits(a, b, { reduction }), [x, y])
  }
})

test('a long sum keeps its digits', async (t) => {
  const n = 1_000_003
  const loss = F.mseLoss(tensor(new Float32Array(n).fill(0.1)), zeros([n]), { reduction: 'sum' })
  await closeTo(t, loss, [n * Math.fround(Math.fround(0.1) ** 2)], 1e-7)
})

test('losses: wrong arguments', (t) => {
  const x = zeros([2, 3])
  const y = tensor([0, 1], { dtype: 'int32' })
  throwsWith(
    t,
    () => F.crossEntropy(x, tensor([0, 1])),
    TypeError,
    /\[crossEntropy\] target: expected int32 classes, or probabilities/,
  )
  throwsWith(t, () => F.crossEntropy(y, y), TypeError, /input: expected a float32 tensor/)
  throwsWith(t, () => F.crossEntropy([1] as never, y), TypeError, /input: expected a tensor/)
  throwsWith(
    t,
    () => F.crossEntropy(x, [0] as never),
    TypeError,
    /target: expected an int32 tensor/,
  )
  throwsWith(
    t,
    () => F.crossEntropy(zeros([3, 3]), y),
    RangeError,
    /target: expected shape \(3,\) for an input of shape \(3, 3\), got \(2,\)/,
  )
  throwsWith(
    t,
    () => F.crossEntropy(zeros([1, 2, 3]), y),
    RangeError,
    /target: expected shape \(1, 3\)/,
  )
  throwsWith(t, () => F.crossEntropy(zeros([2, 0]), y), RangeError, /at least one class/)
  throwsWith(t, () => F.crossEntropy(x, y, { ignoreIndex: 0.5 }), RangeError, /ignoreIndex/)
  throwsWith(t, () => F.crossEntropy(x, y, { labelSmoothing: 2 }), RangeError, /labelSmoothing/)
  throwsWith(
    t,
    () => F.crossEntropy(x, y, { reduction: 'avg' as 'sum' }),
    TypeError,
    /reduction: expected one of 'mean', 'sum', 'none', got 'avg'/,
  )
  throwsWith(t, () => F.crossEntropy(x, y, { ignore_index: 1 } as never), TypeError, /ignore_index/)
  throwsWith(t, () => F.nllLoss(x, zeros([2])), TypeError, /\[nllLoss\] target/)
  throwsWith(
    t,
    () => F.mseLoss(x, zeros([3, 2])),
    RangeError,
    /\[mseLoss\] target: expected the input's shape \(2, 3\), got \(3, 2\)/,
  )
  throwsWith(t, () => F.mseLoss(x, y as Tensor), TypeError, /float32/)
  throwsWith(
    t,
    () => F.binaryCrossEntropyWithLogits(x, x, { posWeight: zeros([2]) }),
    RangeError,
    /posWeight: expected a shape that broadcasts to \(2, 3\), got \(2,\)/,
  )
  throwsWith(
    t,
    () => F.binaryCrossEntropyWithLogits(x, x, { weight: zeros([3], { requiresGrad: true }) }),
    TypeError,
    /weight: .*requires no gradient/,
  )
  throwsWith(t, () => new nn.CrossEntropyLoss({ reduction: 'x' as 'sum' }), TypeError, /reduction/)
  throwsWith(t, () => new nn.CrossEntropyLoss({ size: 1 } as never), TypeError, /size/)
  throwsWith(t, () => new nn.MSELoss({ reduction: 1 as never }), TypeError, /\[MSELoss\]/)
  throwsWith(t, () => new nn.BCEWithLogitsLoss({ pos: 1 } as never), TypeError, /pos/)
})

test.serial('a target out of range rejects the next promise', async (t) => {
  for (const bad of [3, -1, -99]) {
    const loss = F.crossEntropy(zeros([2, 3]), tensor([0, bad], { dtype: 'int32' }))
    await rejectsWith(
      t,
      loss.item(),
      Error,
      new RegExp(`\\[crossEntropy\\] target\\[1\\]: .*at least 0 and below 3, got ${bad}$`),
    )
  }
  const loss = F.nllLoss(zeros([1, 3]), tensor([5], { dtype: 'int32' }))
  await rejectsWith(t, loss.item(), Error, /\[nllLoss\] target\[0\]: .*below 3, got 5/)
})
