import test from 'ava'
import { io, nn, ones, optim, type Tensor, tensor, zeros } from 'fused-rnn'
import {
  closeTo,
  fixture,
  gradcheck,
  gradgradcheck,
  randomTensor,
  testDevice,
  throwsWith,
} from './helpers.js'

const numbers = fixture('layers')
const F = nn.functional
type Options = Record<string, unknown>
const camel = (options: Options): Options =>
  Object.fromEntries(
    Object.entries(options).map(([key, value]) => [
      key.replace(/_(.)/g, (_, letter) => letter.toUpperCase()),
      value,
    ]),
  )

/** The gradient that the fixture's script gives every output: even from -1 to 1. */
function seed(y: Tensor): Tensor {
  const n = y.numel
  const values = Float32Array.from({ length: n }, (_, i) => (n === 1 ? -1 : (2 * i) / (n - 1) - 1))
  return tensor(values, { shape: y.shape })
}

type Forward = (...inputs: Tensor[]) => Tensor | [Tensor, Tensor | null]

/** Loads a layer's weights, runs it, and compares output and gradients. */
async function asPyTorch(
  t: Parameters<typeof closeTo>[0],
  name: string,
  module: nn.Module,
  forward: Forward = module.forward as Forward,
): Promise<void> {
  module.loadStateDict(numbers.tensors(`${name}.state`))
  const inputs: Tensor[] = []
  while (numbers.has(`${name}.x${inputs.length}`))
    inputs.push(numbers.tensor(`${name}.x${inputs.length}`, { requiresGrad: true }))
  const result = forward.apply(module, inputs)
  const [y, weights] = Array.isArray(result) ? result : [result, null]
  y.backward(seed(y))
  await closeTo(t, y, numbers.array(`${name}.y`), 5e-6, `${name} y`)
  if (numbers.has(`${name}.weights`))
    await closeTo(t, weights, numbers.array(`${name}.weights`), 5e-6, `${name} weights`)
  for (const [i, x] of inputs.entries())
    await closeTo(t, x.grad, numbers.array(`${name}.dx${i}`), 2e-5, `${name} dx${i}`)
  for (const [key, parameter] of module.namedParameters())
    await closeTo(t, parameter.grad, numbers.array(`${name}.d.${key}`), 2e-5, `${name} ${key}`)
}

test('LayerNorm as PyTorch', async (t) => {
  for (const { name, size, options } of numbers.info.norm)
    await asPyTorch(t, name, new nn.LayerNorm(size, camel(options)))
  t.deepEqual([...new nn.LayerNorm(3).stateDict().keys()], ['weight', 'bias'])
  const x = randomTensor([3, 4], 1, { requiresGrad: true })
  const bias = randomTensor([4], 2, { requiresGrad: true })
  await gradcheck(t, (a, b) => F.layerNorm(a, [4], { bias: b }), [x, bias])
  const weight = randomTensor([4], 3, { requiresGrad: true })
  const normed = (a: Tensor, w: Tensor) => F.layerNorm(a, [4], { weight: w, eps: 0.1 })
  await gradgradcheck(t, normed as never, [x, weight], { tol: 3e-3 })
  t.deepEqual([...F.layerNorm(zeros([0, 4]), 4).shape], [0, 4])
})

test('BatchNorm1d as PyTorch, in training and evaluation', async (t) => {
  for (const [i, options] of (numbers.info.batch as Options[]).entries()) {
    const module = new nn.BatchNorm1d(3, camel(options))
    module.loadStateDict(numbers.tensors(`batch${i}.p`), { strict: false })
    for (let step = 0; step < 3; step++) {
      if (step === 2) module.eval()
      module.zeroGrad()
      const x = numbers.tensor(`batch${i}.${step}.x`, { requiresGrad: true })
      const y = module.forward(x)
      y.backward(seed(y))
      await closeTo(t, y, numbers.array(`batch${i}.${step}.y`), 1e-5, `y ${i} ${step}`)
      await closeTo(t, x.grad, numbers.array(`batch${i}.${step}.dx`), 5e-5, `dx ${i} ${step}`)
      for (const [key, parameter] of module.namedParameters())
        await closeTo(t, parameter.grad, numbers.array(`batch${i}.${step}.d.${key}`), 5e-5, key)
    }
    const state = module.stateDict()
    const expected = numbers.tensors(`batch${i}.state`)
    t.deepEqual([...state.keys()].sort(), [...expected.keys()].sort())
    for (const [key, value] of expected)
      await closeTo(t, state.get(key), await value.data(), 1e-5, `${key} ${i}`)
  }
})

test('Conv1d as PyTorch', async (t) => {
  for (const { name, sizes, options } of numbers.info.conv) {
    const [inputs, outputs, kernel] = sizes
    await asPyTorch(t, name, new nn.Conv1d(inputs, outputs, kernel, camel(options)))
  }
  const x = randomTensor([2, 4, 7], 1, { requiresGrad: true })
  const module = new nn.Conv1d(4, 2, 3, { groups: 2, stride: 2, padding: 3 })
  await gradcheck(t, (a) => module.forward(a), [x], { module })
  t.deepEqual([...module.forward(zeros([0, 4, 7])).shape], [0, 2, 6])
})

test('MaxPool1d, AvgPool1d, AdaptiveAvgPool1d as PyTorch', async (t) => {
  for (const { name, kind, size, options } of numbers.info.pool) {
    const Kind = Reflect.get(nn, kind)
    const given = kind === 'AdaptiveAvgPool1d' ? [] : [camel(options)]
    await asPyTorch(t, name, new Kind(size, ...given))
  }
})

const masks = (call: Options): Options =>
  Object.fromEntries(
    Object.entries(camel(call)).map(([key, value]) => {
      if (typeof value === 'boolean') return [key, value]
      const { m } = value as { m: string }
      const mask = numbers.tensor(m)
      return [key, m === 'added' ? mask : bool(mask)]
    }),
  )
const bool = (mask: Tensor): Tensor => {
  const { data } = numbers.array(mask.shape[0] === 3 ? 'padding' : 'hidden')
  return tensor(Uint8Array.from(data), { shape: mask.shape, dtype: 'bool' })
}

test('MultiheadAttention as PyTorch', async (t) => {
  for (const { name, sizes, call, self } of numbers.info.attention) {
    const module = new nn.MultiheadAttention(6, 2, camel(sizes))
    const options = masks(call)
    await asPyTorch(t, name, module, (q, k, v) =>
      self
        ? module.forward(q as Tensor, q as Tensor, q as Tensor, options)
        : module.forward(q as Tensor, k as Tensor, v as Tensor, options),
    )
  }
  const module = new nn.MultiheadAttention(6, 2)
  const x = randomTensor([4, 6], 2)
  const [y, weights] = module.forward(x, x, x, { isCausal: true })
  t.deepEqual(
    [[...y.shape], [...(weights?.shape ?? [])]],
    [
      [4, 6],
      [4, 4],
    ],
  )
  t.is(((await weights?.data()) ?? [])[1], 0)
  await gradcheck(t, (a) => module.forward(a, a, a)[0], [randomTensor([3, 2, 6], 4)], { module })
})

test('scaledDotProductAttention as PyTorch', async (t) => {
  const hidden = numbers.array('hidden').data
  const seen = tensor(
    Uint8Array.from(hidden, (x) => 1 - x),
    { shape: [4, 5], dtype: 'bool' },
  )
  const all = [
    {},
    { attnMask: seen },
    { attnMask: numbers.tensor('added').slice(0, 0, 1).reshape([4, 5]), scale: 0.3 },
    { isCausal: true },
  ]
  for (const [i, options] of all.entries())
    await asPyTorch(t, `dot${i}`, new nn.Identity(), (q, k, v) =>
      F.scaledDotProductAttention(q as Tensor, k as Tensor, v as Tensor, options),
    )
})

test('AdaptiveLogSoftmaxWithLoss as PyTorch', async (t) => {
  const module = new nn.AdaptiveLogSoftmaxWithLoss(12, 20, [3, 9], { divValue: 2, headBias: true })
  const y = numbers.tensor('adaptive.target')
  await asPyTorch(t, 'adaptive', module, (x) => [
    module.forward(x as Tensor, y).loss,
    module.logProb(x as Tensor),
  ])
  const x = numbers.tensor('adaptive.x0')
  await closeTo(t, module.forward(x, y).output, numbers.array('adaptive.output'), 5e-6)
  t.deepEqual(await module.predict(x).data(), numbers.array('adaptive.best').data)
  t.deepEqual([...module.clone().stateDict().keys()], [...module.stateDict().keys()])
  throwsWith(
    t,
    () => new nn.AdaptiveLogSoftmaxWithLoss(4, 6, [3, 3]),
    RangeError,
    /cutoffs\[1\]: expected a whole number between 4 and 5/,
  )
})

test('Embedding: maxNorm, normType, scaleGradByFreq as PyTorch', async (t) => {
  const table = [1, 2, 3, 4, 0.1, 0.2, -5, 1]
  const cases: [number, number[]][] = [
    [2, [0.8944271, 1.7888542, 1.2, 1.6, 0.1, 0.2, -5, 1]],
    [1, [0.6666666, 1.3333333, 0.857142806, 1.14285707, 0.1, 0.2, -5, 1]],
    [Infinity, [1, 2, 1.5, 2, 0.1, 0.2, -5, 1]],
  ]
  const index = tensor([0, 1, 1, 2], { dtype: 'int32' }).reshape([2, 2])
  for (const [normType, expected] of cases) {
    const options = { maxNorm: 2, normType, scaleGradByFreq: true }
    const weight = tensor(table).reshape([4, 2]).clone()
    const layer = nn.Embedding.fromPretrained(weight, { ...options, freeze: false })
    const y = layer.forward(index)
    y.backward(tensor([0, 1, 2, 3, 4, 5, 6, 7]).reshape([2, 2, 2]))
    await closeTo(t, layer.weight, expected, 1e-6, `table ${normType}`)
    await closeTo(
      t,
      y,
      [0, 1, 2, 3, 2, 3, 4, 5].map((i) => expected[i] as number),
      1e-6,
    )
    await closeTo(t, layer.weight.grad, [0, 1, 3, 4, 6, 7, 0, 0], 1e-6, 'gradient')
  }
  throwsWith(t, () => new nn.Embedding(3, 2, { normType: 0 }), RangeError, /normType: .*above 0/)
  throwsWith(t, () => new nn.Embedding(3, 2, { maxNorm: -1 }), RangeError, /\[Embedding\] maxNorm/)
})

test('first values of layers', async (t) => {
  const conv = new nn.Conv1d(4, 50, 4, { groups: 2 })
  const bound = 1 / Math.sqrt(8)
  for (const weight of [conv.weight, conv.bias as Tensor]) {
    const values = Array.from(await weight.data())
    const most = Math.max(...values.map(Math.abs))
    t.true(most <= bound && most > 0.85 * bound)
  }
  const attention = new nn.MultiheadAttention(16, 2)
  const most = Math.max(...Array.from(await (attention.in_proj_weight as Tensor).data(), Math.abs))
  t.true(most <= Math.sqrt(6 / 64) && most > 0.95 * Math.sqrt(6 / 64))
  const keys = ['in_proj_weight', 'in_proj_bias', 'out_proj.weight', 'out_proj.bias']
  t.deepEqual([...attention.stateDict().keys()], keys)
  t.true(Array.from(await (attention.out_proj.bias as Tensor).data()).every((x) => x === 0))
})

test('buffers: state dicts, devices, copies, files', async (t) => {
  class Net extends nn.Module {
    inner = new nn.BatchNorm1d(2)
    declare scale: Tensor
    declare cache: Tensor | null
    constructor() {
      super()
      this.registerBuffer('scale', tensor([2, 3]))
      this.registerBuffer('cache', null, { persistent: false })
    }
    override forward(x: Tensor): Tensor {
      return this.inner.forward(x).mul(this.scale)
    }
  }
  const net = new Net()
  net.cache = tensor([1])
  const keys = ['scale', 'inner.weight', 'inner.bias', 'inner.running_mean', 'inner.running_var']
  t.deepEqual([...net.stateDict().keys()], [...keys, 'inner.num_batches_tracked'])
  t.deepEqual(
    net.namedBuffers().map(([name]) => name),
    ['scale', 'cache', ...keys.slice(3), 'inner.num_batches_tracked'],
  )
  t.is(net.buffers().length, 5)
  t.is(net.parameters().length, 2)
  net.forward(randomTensor([4, 2], 1))
  const copy = net.clone()
  net.forward(randomTensor([4, 2], 2))
  t.is(await copy.inner.num_batches_tracked?.item(), 1)
  t.is(await net.inner.num_batches_tracked?.item(), 2)
  t.deepEqual([...(await copy.scale.data())], [2, 3])
  t.not(copy.scale, net.scale)
  const loaded = new Net()
  loaded.loadStateDict(
    (await io.safetensors.parse(await io.safetensors.serialize(net.stateDict()))).tensors,
  )
  t.is(await loaded.inner.num_batches_tracked?.item(), 2)
  t.is(net.to(testDevice).scale.device, testDevice)
  t.deepEqual(new optim.SGD(net.parameters(), { lr: 0.1 }).paramGroups[0]?.params.length, 2)
  const fails = (f: () => unknown, message: RegExp) => throwsWith(t, f, TypeError, message)
  fails(() => net.registerBuffer('inner', null), /'inner' is another field of Net/)
  fails(() => net.registerBuffer('a.b', null), /name: expected a name without a dot/)
  fails(() => net.registerBuffer('x', 1 as never), /tensor: expected a tensor or null/)
  fails(() => net.registerBuffer('x', zeros([1], { requiresGrad: true })), /requires no gradient/)
  fails(() => net.registerBuffer('x', null, { persist: true } as never), /persist/)
})

test('Identity, Flatten, ModuleDict, ParameterList, activations', async (t) => {
  const x = randomTensor([2, 3, 4], 1)
  t.is(new nn.Identity().forward(x), x)
  t.deepEqual([...new nn.Flatten().forward(x).shape], [2, 12])
  t.deepEqual([...new nn.Flatten(0, 1).forward(x).shape], [6, 4])
  throwsWith(t, () => new nn.Flatten(3).forward(x), RangeError, /dimensions 3 to -1/)
  const dict = new nn.ModuleDict<nn.Module>({ a: new nn.Linear(2, 3), act: new nn.ReLU() })
  t.deepEqual([...dict.stateDict().keys()], ['a.weight', 'a.bias'])
  t.deepEqual(dict.keys(), ['a', 'act'])
  t.true(dict.has('a') && !dict.has('forward') && dict.get('b') === undefined)
  t.deepEqual(dict.clone().keys(), ['a', 'act'])
  throwsWith(t, () => dict.set('forward', new nn.ReLU()), TypeError, /a name of ModuleDict itself/)
  throwsWith(t, () => dict.set('a.b', new nn.ReLU()), TypeError, /a text without a dot/)
  throwsWith(t, () => dict.forward(), TypeError, /through its modules/)
  const list = new nn.ParameterList([zeros([2]), zeros([3])])
  t.deepEqual([...list.stateDict().keys()], ['0', '1'])
  t.is(list.append(zeros([1])).length, 3)
  t.deepEqual(
    [...list].map((parameter) => parameter.requiresGrad),
    [true, true, true],
  )
  const named = new nn.ParameterDict({ left: zeros([2]) }).update({ right: ones([3]) })
  t.deepEqual([...named.stateDict().keys()], ['left', 'right'])
  t.deepEqual([...named.parameters()], named.values())
  t.true(named.get('left')?.requiresGrad)
  t.true(named.has('right') && !named.has('forward') && named.get('keys') === undefined)
  t.deepEqual(
    named
      .clone()
      .entries()
      .map(([key, { numel }]) => [key, numel]),
    [
      ['left', 2],
      ['right', 3],
    ],
  )
  class Gate extends nn.Module {
    weights = new nn.ParameterDict({ scale: ones([2]) })
    override forward(input: Tensor): Tensor {
      return input.mul(this.weights.get('scale') as Tensor)
    }
  }
  t.deepEqual([...new Gate().stateDict().keys()], ['weights.scale'])
  throwsWith(t, () => named.set('keys', ones([1])), TypeError, /a name of ParameterDict itself/)
  throwsWith(t, () => named.set('a', 1 as never), TypeError, /parameter: expected a tensor/)
  throwsWith(t, () => named.forward(), TypeError, /computes nothing itself/)
  const net = new nn.Sequential(new nn.Tanh(), new nn.Softmax(1), new nn.LogSoftmax(-1))
  const expected = x.tanh().softmax(1).logSoftmax(-1)
  await closeTo(t, net.forward(x), await expected.data(), 0)
  await closeTo(t, new nn.Sigmoid().forward(x), await x.sigmoid().data(), 0)
  // The functions are compared with PyTorch's in elementwise.test.ts.
  const pairs: [nn.Module, Tensor, string][] = [
    [new nn.GELU(), F.gelu(x), "GELU(approximate='none')"],
    [
      new nn.GELU({ approximate: 'tanh' }),
      F.gelu(x, { approximate: 'tanh' }),
      "GELU(approximate='tanh')",
    ],
    [new nn.SiLU(), F.silu(x), 'SiLU()'],
    [new nn.ELU({ alpha: 0.5 }), F.elu(x, { alpha: 0.5 }), 'ELU(alpha=0.5)'],
    [new nn.LeakyReLU(), F.leakyRelu(x), 'LeakyReLU(negativeSlope=0.01)'],
    [new nn.Softplus({ beta: 2 }), F.softplus(x, { beta: 2 }), 'Softplus(beta=2, threshold=20)'],
    [new nn.LogSigmoid(), F.logSigmoid(x), 'LogSigmoid()'],
  ]
  for (const [layer, of, name] of pairs) {
    t.is(`${layer}`, name)
    await closeTo(t, layer.forward(x as never) as Tensor, await of.data(), 0)
  }
  throwsWith(t, () => new nn.Softplus({ beta: 0 }), RangeError, /\[Softplus\] beta/)
})

test('layers: wrong arguments', (t) => {
  const x = zeros([2, 3, 4])
  const fails = (f: () => unknown, message: RegExp) => throwsWith(t, f, RangeError, message)
  fails(() => new nn.LayerNorm([]), /normalizedShape/)
  fails(
    () => new nn.LayerNorm(3).forward(x),
    /\[layerNorm\] input: expected last dimensions \(3,\)/,
  )
  fails(() => new nn.BatchNorm1d(4).forward(x), /shape \(N, 4\) or \(N, 4, L\)/)
  fails(() => new nn.BatchNorm1d(4).forward(zeros([1, 4])), /more than one value of each feature/)
  fails(() => new nn.BatchNorm1d(2, { momentum: 2 }), /momentum/)
  fails(() => new nn.Conv1d(3, 4, 2, { groups: 2 }), /groups: expected a divisor of 3 and 4/)
  fails(() => new nn.Conv1d(3, 4, 2, { padding: 'same', stride: 2 }), /'same' is for stride 1/)
  fails(() => new nn.Conv1d(3, 4, 7).forward(x), /a length of at least 7 for a kernel of 7/)
  fails(() => new nn.Conv1d(4, 4, 2).forward(x), /shape \(N, 4, L\) or \(4, L\)/)
  fails(() => F.conv1d(x, zeros([4, 3])), /weight: expected shape \(O, C \/ groups, K\)/)
  fails(() => F.maxPool1d(x, 2, { padding: 2 }), /padding: .*between 0 and 1/)
  fails(() => F.avgPool1d(x, 5), /a length of at least 5/)
  fails(() => F.adaptiveAvgPool1d(zeros([2, 0]), 1), /input/)
  fails(() => new nn.MultiheadAttention(6, 4), /numHeads: expected a divisor of embedDim 6/)
  const attention = new nn.MultiheadAttention(4, 2)
  fails(() => attention.forward(x, zeros([2, 2, 4]), x), /key: expected shape \(2, 3, 4\)/)
  const mask = zeros([2, 3])
  fails(() => attention.forward(x, x, x, { keyPaddingMask: mask }), /keyPaddingMask: .*\(3, 2\)/)
  fails(() => F.scaledDotProductAttention(x, zeros([2, 3, 5]), x), /key: .*last dimension of 4/)
  throwsWith(
    t,
    () => attention.forward(x, x, x, { attnMask: zeros([2, 2], { dtype: 'int32' }) }),
    TypeError,
    /attnMask: expected a bool or float32 tensor/,
  )
})
