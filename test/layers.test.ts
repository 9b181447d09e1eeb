import test from 'ava'
import { manualSeed, nn, type Tensor, tensor, zeros } from 'fused-rnn'
import {
  closeTo,
  emulated,
  fixture,
  gradcheck,
  randomTensor,
  rejectsWith,
  throwsWith,
} from './helpers.js'

const numbers = fixture('losses')
const F = nn.functional

function seed(out: Tensor): Tensor {
  const n = out.numel
  const values = Float32Array.from({ length: n }, (_, i) => 0.5 + i / (n - 1))
  return tensor(values, { shape: out.shape })
}

const distinct = (values: Iterable<number>): number[] => [...new Set(values)].sort()

async function statistics(values: Promise<ArrayLike<number>>) {
  const list = Array.from(await values)
  const mean = list.reduce((a, b) => a + b, 0) / list.length
  const variance = list.reduce((a, b) => a + (b - mean) ** 2, 0) / list.length
  return { mean, variance, min: Math.min(...list), max: Math.max(...list) }
}

const int = (values: number[]) => tensor(values, { dtype: 'int32' })

// ---- Linear ----------------------------------------------------------------------------------------

test('Linear as PyTorch', async (t) => {
  const layer = new nn.Linear(6, 4)
  t.deepEqual([...layer.stateDict().keys()], ['weight', 'bias'])
  layer.loadStateDict(
    new Map([
      ['weight', numbers.tensor('linear.weight')],
      ['bias', numbers.tensor('linear.bias')],
    ]),
  )
  const x = numbers.tensor('linear.x', { requiresGrad: true })
  const y = layer.forward(x)
  y.backward(seed(y))
  await closeTo(t, y, numbers.array('linear.y'), 2e-6)
  await closeTo(t, x.grad, numbers.array('linear.dx'), 5e-6)
  await closeTo(t, layer.weight.grad, numbers.array('linear.dweight'), 5e-6)
  await closeTo(t, layer.bias?.grad, numbers.array('linear.dbias'), 5e-6)
  t.is(String(layer), 'Linear(inFeatures=6, outFeatures=4, bias=true)')
})

test('Linear: initial values, without bias, wrong arguments', async (t) => {
  manualSeed(1)
  const layer = new nn.Linear(100, 50)
  const { mean, min, max, variance } = await statistics(layer.weight.data())
  t.true(min >= -0.1 && min < -0.0999 && max <= 0.1 && max > 0.0999, `${min} ${max}`)
  t.true(Math.abs(mean) < 0.003)
  t.true(Math.abs(variance - 0.01 / 3) < 2e-4)
  const before = await layer.weight.data()
  layer.resetParameters()
  t.notDeepEqual(await layer.weight.data(), before)
  manualSeed(1)
  t.deepEqual(await new nn.Linear(100, 50).weight.data(), before)

  const bare = new nn.Linear(3, 2, { bias: false })
  t.is(bare.bias, null)
  t.deepEqual([...bare.stateDict().keys()], ['weight'])
  t.deepEqual([...bare.forward(zeros([3])).shape], [2])
  await gradcheck(t, (x, w, b) => F.linear(x, w, b), [
    randomTensor([2, 3], 1, { requiresGrad: true }),
    randomTensor([4, 3], 2, { requiresGrad: true }),
    randomTensor([4], 3, { requiresGrad: true }),
  ])
  throwsWith(t, () => bare.forward(zeros([2, 4])), RangeError, /\[linear\] x: .*got \(2, 4\)/)
  throwsWith(t, () => new nn.Linear(0, 2), RangeError, /\[Linear\] inFeatures/)
  throwsWith(t, () => new nn.Linear(2, 1.5), RangeError, /outFeatures/)
  throwsWith(t, () => new nn.Linear(2, 2, { bias: 1 as never }), TypeError, /bias/)
  throwsWith(t, () => new nn.Linear(2, 2, { Bias: true } as never), TypeError, /Bias/)
  throwsWith(t, () => new nn.Linear(1e6, 1e9), RangeError, /fits this machine's memory/)
})

// ---- Embedding -------------------------------------------------------------------------------------

test('Embedding as PyTorch, with a padding row', async (t) => {
  for (const paddingIdx of [2, -6]) {
    const layer = new nn.Embedding(8, 3, { paddingIdx })
    t.is(layer.paddingIdx, 2)
    t.deepEqual([...(await layer.weight.data())].slice(6, 9), [0, 0, 0])
    layer.loadStateDict(new Map([['weight', numbers.tensor('embedding.weight')]]))
    const y = layer.forward(numbers.tensor('embedding.indices'))
    t.deepEqual([...y.shape], [2, 4, 3])
    y.backward(seed(y))
    await closeTo(t, y, numbers.array('embedding.y'), 0)
    await closeTo(t, layer.weight.grad, numbers.array('embedding.dweight'), 1e-6)
    t.is(String(layer), 'Embedding(8, 3, paddingIdx=2)')
  }
})

test('Embedding: initial values, shapes, pretrained, wrong arguments', async (t) => {
  manualSeed(2)
  const layer = new nn.Embedding(200, 50)
  const { mean, variance, max } = await statistics(layer.weight.data())
  t.true(Math.abs(mean) < 0.03 && Math.abs(variance - 1) < 0.05 && max > 3 && max < 6)
  t.deepEqual([...layer.forward(tensor(3, { dtype: 'int32' })).shape], [50])
  t.deepEqual([...layer.forward(zeros([0, 2], { dtype: 'int32' })).shape], [0, 2, 50])
  const table = tensor([
    [1, 2],
    [3, 4],
  ])
  const frozen = nn.Embedding.fromPretrained(table)
  t.deepEqual([...(await frozen.forward(int([1, 0])).data())], [3, 4, 1, 2])
  t.false(frozen.weight.requiresGrad)
  t.is(frozen.parameters().length, 1)
  t.true(nn.Embedding.fromPretrained(table, { freeze: false }).weight.requiresGrad)
  await gradcheck(t, (w) => F.embedding(int([1, 1, 0]), w), [
    randomTensor([3, 2], 1, { requiresGrad: true }),
  ])

  throwsWith(
    t,
    () => layer.forward(zeros([2])),
    TypeError,
    /\[embedding\] index: expected an int32/,
  )
  throwsWith(t, () => layer.forward([1] as never), TypeError, /int32/)
  throwsWith(t, () => new nn.Embedding(0, 2), RangeError, /numEmbeddings/)
  throwsWith(t, () => new nn.Embedding(2, -1), RangeError, /embeddingDim/)
  throwsWith(t, () => new nn.Embedding(2, 2, { paddingIdx: 2 }), RangeError, /paddingIdx/)
  throwsWith(t, () => new nn.Embedding(2, 2, { padding_idx: 1 } as never), TypeError, /padding_idx/)
  throwsWith(t, () => F.embedding(int([0]), zeros([2])), RangeError, /shape \(V, E\)/)
  throwsWith(t, () => nn.Embedding.fromPretrained(zeros([2])), RangeError, /shape \(V, E\)/)
})

test.serial('Embedding: an index out of range rejects the next promise', async (t) => {
  const layer = new nn.Embedding(5, 2)
  for (const bad of [5, -1]) {
    await rejectsWith(
      t,
      layer.forward(int([0, bad])).data(),
      Error,
      new RegExp(`\\[nn.Embedding\\(5, 2\\)\\] index\\[1\\]: .*below 5, got ${bad}$`),
    )
  }
})

// ---- Dropout ---------------------------------------------------------------------------------------

test('Dropout: scaled zeros, the same ones backward, seeded', async (t) => {
  manualSeed(5)
  const layer = new nn.Dropout(0.3)
  const n = 100_001
  const x = tensor(new Float32Array(n).fill(2), { requiresGrad: true })
  const y = layer.forward(x)
  y.backward(tensor(new Float32Array(n).fill(1)))
  const values = await y.data()
  const grads = (await x.grad?.data()) as Float32Array
  const kept = values.filter((value) => value !== 0).length
  t.true(Math.abs(kept / n - 0.7) < 0.01, `${kept / n}`)
  const scale = Math.fround(1 / Math.fround(1 - Math.fround(0.3)))
  t.true(values.every((value, i) => value === (grads[i] === 0 ? 0 : Math.fround(2 * scale))))
  t.true(grads.every((grad) => grad === 0 || grad === scale))
  t.notDeepEqual(await layer.forward(x).data(), values)
  manualSeed(5)
  t.deepEqual(await layer.forward(x).data(), values)
})

test('Dropout: p 0 and 1, evaluation, wrong arguments', async (t) => {
  const x = tensor([1, -2, Infinity], { requiresGrad: true })
  const layer = new nn.Dropout(1)
  const y = layer.forward(x)
  y.backward(tensor([1, 1, 1]))
  t.deepEqual([...(await y.data())].map(Math.abs), [0, 0, 0])
  t.deepEqual([...((await x.grad?.data()) ?? [])], [0, 0, 0])
  layer.eval()
  t.is(layer.forward(x), x)
  layer.train()
  layer.p = 0
  t.is(layer.forward(x), x)
  t.is(String(new nn.Dropout()), 'Dropout(p=0.5)')
  t.is(F.dropout(x, { training: false }), x)
  throwsWith(t, () => new nn.Dropout(1.5), RangeError, /\[Dropout\] p: .*between 0 and 1, got 1.5/)
  throwsWith(t, () => new nn.Dropout('1' as never), TypeError, /p: expected a number/)
  throwsWith(t, () => F.dropout(x, { p: -1 }), RangeError, /p/)
  throwsWith(t, () => F.dropout(x, { training: 1 as never }), TypeError, /training/)
  throwsWith(t, () => F.dropout(int([1])), TypeError, /float32/)
})

test('functional: activations', async (t) => {
  const x = tensor([[-1, 0, 2]], { requiresGrad: true })
  await closeTo(t, F.relu(x), [0, 0, 2], 0)
  await closeTo(t, F.tanh(x), [-1, 0, 2].map(Math.tanh), 1e-6)
  const sigmoid = (z: number) => 1 / (1 + Math.exp(-z))
  await closeTo(t, F.sigmoid(x), [-1, 0, 2].map(sigmoid), 1e-6)
  const total = Math.exp(-1) + 1 + Math.exp(2)
  const probabilities = [-1, 0, 2].map((z) => Math.exp(z) / total)
  await closeTo(t, F.softmax(x, 1), probabilities, 1e-6)
  await closeTo(t, F.logSoftmax(x, -1), probabilities.map(Math.log), 1e-6)
  t.true(F.relu(x).requiresGrad)
  for (const name of ['relu', 'tanh', 'sigmoid', 'softmax', 'logSoftmax'] as const) {
    const f = F[name] as (...args: unknown[]) => Tensor
    const dim = name.endsWith('oftmax') ? [0] : []
    throwsWith(
      t,
      () => f(5, ...dim),
      TypeError,
      new RegExp(`\\[${name}\\] .*expected a tensor, got 5`),
    )
  }
})

// ---- functional ------------------------------------------------------------------------------------

test('oneHot', async (t) => {
  const y = F.oneHot(tensor([[0, 2]], { dtype: 'int32' }), 3)
  t.deepEqual([...y.shape], [1, 2, 3])
  t.is(y.dtype, 'float32')
  t.deepEqual([...(await y.data())], [1, 0, 0, 0, 0, 1])
  t.deepEqual([...F.oneHot(tensor(1, { dtype: 'int32' }), 2).shape], [2])
  throwsWith(t, () => F.oneHot(zeros([1]), 3), TypeError, /\[oneHot\] indices: expected an int32/)
  throwsWith(t, () => F.oneHot(int([0]), 0), RangeError, /numClasses/)
  throwsWith(t, () => (F.oneHot as (x: Tensor) => Tensor)(int([0])), TypeError, /numClasses/)
})

test.serial('oneHot: an index out of range rejects the next promise', async (t) => {
  await rejectsWith(
    t,
    F.oneHot(int([1, 3]), 3).data(),
    Error,
    /\[oneHot\] indices\[1\]: .*below 3, got 3/,
  )
})

test('sample: frequencies follow softmax(logits / temperature)', async (t) => {
  manualSeed(11)
  const rows = emulated ? 2000 : 40_000
  const logits = [0, 1, 2, -1]
  const values = Float32Array.from({ length: rows * 4 }, (_, i) => logits[i % 4] as number)
  const x = tensor(values, { shape: [rows, 4] })
  for (const temperature of [1, 0.5, 3]) {
    const y = F.sample(x, { temperature })
    t.is(y.dtype, 'int32')
    t.deepEqual([...y.shape], [rows])
    const counts = [0, 0, 0, 0]
    for (const c of await y.data()) counts[c] = (counts[c] as number) + 1
    const weights = logits.map((logit) => Math.exp(logit / temperature))
    const total = weights.reduce((a, b) => a + b)
    await closeTo(
      t,
      counts.map((count) => count / rows),
      weights.map((weight) => weight / total),
      emulated ? 0.04 : 0.01,
    )
  }
  const top = await F.sample(x, { topK: 2 }).data()
  t.deepEqual(distinct(top), [1, 2])
  t.true((await F.sample(x, { topK: 1 }).data()).every((c) => c === 2))
  t.true((await F.sample(x, { temperature: 0 }).data()).every((c) => c === 2))
  t.true((await F.sample(x, { temperature: 1e-40 }).data()).every((c) => c === 2))
  manualSeed(12)
  const first = await F.sample(x).data()
  t.notDeepEqual(await F.sample(x).data(), first)
  manualSeed(12)
  t.deepEqual(await F.sample(x).data(), first)
})

test('sample: ties, negative logits, one row, minus infinity', async (t) => {
  const same = zeros([2000, 5])
  t.deepEqual(distinct(await F.sample(same, { topK: 3 }).data()), [0, 1, 2])
  t.is(await F.sample(zeros([3]), { temperature: 0 }).item(), 0)
  t.is(
    await F.sample(tensor([-5, -1, -3]))
      .item()
      .then((c) => c >= 0 && c < 3),
    true,
  )
  t.is(await F.sample(tensor([-Infinity, -7, -Infinity])).item(), 1)
  t.deepEqual(
    distinct(
      await F.sample(
        tensor(
          Float32Array.from({ length: 4000 }, (_, i) => [-3, -1, 0, -2][i % 4] as number),
          { shape: [1000, 4] },
        ),
        { topK: 3, temperature: 5 },
      ).data(),
    ),
    [1, 2, 3],
  )
  throwsWith(t, () => F.sample(zeros([1, 2, 3])), RangeError, /\[sample\] logits: .*\(1, 2, 3\)/)
  throwsWith(t, () => F.sample(zeros([2, 0])), RangeError, /at least one class/)
  throwsWith(t, () => F.sample(int([1])), TypeError, /float32/)
  throwsWith(t, () => F.sample(same, { temperature: -1 }), RangeError, /temperature/)
  throwsWith(t, () => F.sample(same, { topK: 0 }), RangeError, /topK/)
  throwsWith(t, () => F.sample(same, { top: 1 } as never), TypeError, /top/)
})

test.serial('sample: NaN and infinity reject the next promise', async (t) => {
  await rejectsWith(t, F.sample(tensor([1, NaN])).item(), Error, /\[sample\] logits: .*NaN/)
  await rejectsWith(t, F.sample(tensor([1, Infinity])).item(), Error, /finite largest logit/)
  await rejectsWith(t, F.sample(tensor([-Infinity])).item(), Error, /finite largest logit/)
})

// ---- init ------------------------------------------------------------------------------------------

test('init: distributions', async (t) => {
  manualSeed(3)
  const x = zeros([60, 100, 2], { requiresGrad: true })
  const check = async (y: Tensor, mean: number, variance: number, bound = Infinity) => {
    t.is(y, x)
    const s = await statistics(x.data())
    const sigma = Math.sqrt(variance)
    t.true(Math.abs(s.mean - mean) < 0.04 * sigma, `mean ${s.mean}, expected ${mean}`)
    t.true(Math.abs(s.variance / variance - 1) < 0.05, `${s.variance}, expected ${variance}`)
    t.true(s.max <= mean + bound && s.min >= mean - bound)
  }
  await check(nn.init.uniform(x), 0.5, 1 / 12, 0.5)
  await check(nn.init.uniform(x, -3, 1), -1, 16 / 12, 2)
  await check(nn.init.normal(x), 0, 1)
  await check(nn.init.normal(x, 2, 0.1), 2, 0.01)
  await check(nn.init.xavierUniform(x), 0, 2 / 320, Math.sqrt(6 / 320))
  await check(nn.init.xavierNormal(x, 2), 0, 8 / 320)
  await check(nn.init.kaimingUniform(x), 0, 2 / 200)
  await check(nn.init.kaimingUniform(x, { a: Math.sqrt(5) }), 0, 2 / 6 / 200)
  await check(nn.init.kaimingNormal(x, { mode: 'fanOut', nonlinearity: 'relu' }), 0, 2 / 120)
  nn.init.constant(x, 3)
  t.true((await x.data()).every((value) => value === 3))
  nn.init.ones(x)
  t.true((await x.data()).every((value) => value === 1))
  nn.init.zeros(x)
  t.true((await x.data()).every((value) => value === 0))
  t.is(nn.init.calculateGain('tanh'), 5 / 3)
  throwsWith(t, () => nn.init.uniform(x, 1, 0), RangeError, /\[uniform\] b/)
  throwsWith(t, () => nn.init.normal(x, 0, -1), RangeError, /std/)
  throwsWith(t, () => nn.init.constant(int([1]), 1), TypeError, /float32/)
  throwsWith(t, () => nn.init.constant(x, '1' as never), TypeError, /value/)
  throwsWith(t, () => nn.init.xavierUniform(zeros([3])), RangeError, /at least two dimensions/)
  throwsWith(t, () => nn.init.kaimingNormal(x, { mode: 'fan' as 'fanIn' }), TypeError, /mode/)
  throwsWith(t, () => nn.init.calculateGain('x' as 'tanh'), TypeError, /nonlinearity/)
})
