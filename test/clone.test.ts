/** module.clone(): weights of its own, all else the same. */
import test from 'ava'
import { data, models, nn, noGrad, ones, optim, randomState, type Tensor, zeros } from 'fused-rnn'
import { testDevice, throwsWith } from './helpers.js'

const values = async (module: nn.Module): Promise<number[][]> =>
  Promise.all(module.parameters().map(async (p) => [...(await p.data())]))

/** Every layer, and what it is given. */
const layers: Record<string, [make: () => nn.Module, input: () => unknown[]]> = {
  LSTM: [
    () => new nn.LSTM(3, 4, { numLayers: 2, bidirectional: true, projSize: 2, dropout: 0.5 }),
    () => [ones([2, 2, 3])],
  ],
  GRU: [() => new nn.GRU(3, 4, { batchFirst: true, bias: false }), () => [ones([2, 2, 3])]],
  RNN: [() => new nn.RNN(3, 4, { nonlinearity: 'relu' }), () => [ones([2, 3])]],
  SLSTM: [() => new nn.SLSTM(3, 4, { numHeads: 2 }), () => [ones([2, 2, 3])]],
  SLSTMCell: [() => new nn.SLSTMCell(3, 4, { numHeads: 2 }), () => [ones([2, 3])]],
  LayerNormLSTM: [() => new nn.LayerNormLSTM(3, 4), () => [ones([2, 2, 3])]],
  LSTMCell: [() => new nn.LSTMCell(3, 4), () => [ones([2, 3])]],
  GRUCell: [() => new nn.GRUCell(3, 4, { bias: false }), () => [ones([2, 3])]],
  RNNCell: [() => new nn.RNNCell(3, 4, { nonlinearity: 'relu' }), () => [ones([2, 3])]],
  LayerNormLSTMCell: [() => new nn.LayerNormLSTMCell(3, 4), () => [ones([2, 3])]],
  Linear: [() => new nn.Linear(3, 2), () => [ones([2, 3])]],
  Embedding: [
    () => new nn.Embedding(5, 3, { paddingIdx: 0 }),
    () => [zeros([2], { dtype: 'int32' })],
  ],
  Dropout: [() => new nn.Dropout(0.3), () => [ones([2])]],
  Sequential: [
    () => new nn.Sequential(new nn.Linear(3, 2), new nn.Dropout(0.5)),
    () => [ones([2, 3])],
  ],
  BCEWithLogitsLoss: [
    () => new nn.BCEWithLogitsLoss({ posWeight: ones([3]) }),
    () => [ones([2, 3]), ones([2, 3])],
  ],
  CrossEntropyLoss: [
    () => new nn.CrossEntropyLoss({ labelSmoothing: 0.1 }),
    () => [ones([2, 3]), zeros([2], { dtype: 'int32' })],
  ],
  LanguageModel: [
    () =>
      new models.LanguageModel({
        vocabulary: data.Vocabulary.fromText('to be or not to be'),
        embeddingSize: 4,
        hiddenSize: 4,
        numLayers: 2,
        dropout: 0.5,
        cell: 'rnn',
        nonlinearity: 'relu',
        tieWeights: true,
      }),
    () => [zeros([3, 2], { dtype: 'int32' })],
  ],
}

async function outputs(module: nn.Module, input: unknown[]): Promise<number[][]> {
  const result: unknown = noGrad(() => (module.forward as (...x: unknown[]) => unknown)(...input))
  const tensors = [result].flat(3) as Tensor[]
  return Promise.all(tensors.map(async (tensor) => [...(await tensor.data())]))
}

for (const [name, [make, input]] of Object.entries(layers)) {
  test(`${name}: the same numbers, weights of its own`, async (t) => {
    const module = make().to(testDevice).eval()
    const before = randomState()
    const copy = module.clone()
    t.deepEqual(randomState(), before)
    t.not(copy, module)
    t.is(copy.constructor, module.constructor)
    t.is(String(copy), String(module))
    t.deepEqual(Object.keys(copy).sort(), Object.keys(module).sort())
    t.false(copy.training)
    t.true(copy.modules().every((inner) => !module.modules().includes(inner)))
    t.deepEqual([...copy.stateDict().keys()], [...module.stateDict().keys()])
    t.true(copy.parameters().every((p) => p.requiresGrad && !module.parameters().includes(p)))
    t.deepEqual(await outputs(copy, input()), await outputs(module, input()))

    const old = await values(module)
    for (const p of copy.parameters()) nn.init.constant(p, 7)
    t.deepEqual(await values(module), old)
    if (old.length > 0) t.notDeepEqual(await values(copy), old)
    t.deepEqual(await values(copy.clone()), await values(copy))
  })
}

class Net extends nn.Module {
  readonly layer: nn.Linear
  readonly tied: nn.Linear
  readonly sizes = { hidden: 3, list: [1, [2]], when: new Date(5), map: new Map([['a', { b: 1 }]]) }
  readonly bytes = Float64Array.of(1, 2)
  readonly buffer = ones([2])
  readonly activation = nn.functional.relu
  frozen = nn.Parameter(ones([1]), false)
  parent: { of: nn.Module } = { of: this }
  constructor(readonly size: number) {
    super()
    if (size === undefined) throw new Error('the constructor is not called again')
    this.layer = new nn.Linear(size, size)
    this.tied = new nn.Linear(size, size)
    this.tied.weight = this.layer.weight
  }
  override forward(x: Tensor): Tensor {
    return this.activation(this.layer.forward(x))
  }
  helper(): this {
    return this
  }
}

test('a class of a user: fields, ties, modes, what is frozen', async (t) => {
  const net = new Net(2)
  net.layer.eval()
  net.layer
    .forward(ones([2]))
    .sum()
    .backward()
  const copy = net.clone()
  t.true(copy instanceof Net)
  t.is(copy.helper(), copy)
  t.is(copy.size, 2)
  t.is(copy.tied.weight, copy.layer.weight)
  t.is(copy.parent.of, copy)
  t.deepEqual([copy.training, copy.layer.training, copy.tied.training], [true, false, true])
  t.deepEqual(copy.sizes, net.sizes)
  t.not(copy.sizes.map.get('a'), net.sizes.map.get('a'))
  t.not(copy.sizes.list[1], net.sizes.list[1])
  t.deepEqual(copy.bytes, net.bytes)
  t.not(copy.bytes, net.bytes)
  t.not(copy.buffer, net.buffer)
  t.false(copy.buffer.requiresGrad)
  t.false(copy.frozen.requiresGrad)
  t.is(copy.namedParameters().length, net.namedParameters().length)
  t.is(copy.layer.weight.grad, null)
  t.truthy(net.layer.weight.grad)
  await new optim.SGD(copy.parameters(), { lr: 1 }).step()
  t.deepEqual([...(await copy.layer.weight.data())], [...(await net.layer.weight.data())])
})

test('of a layer’s own subclass, the layer’s part is made anew', async (t) => {
  class Residual extends nn.GRU {
    extra = new nn.Linear(3, 3)
    constructor(size: number) {
      super(size, size)
    }
  }
  const layer = new Residual(3)
  const copy = layer.clone()
  t.true(copy instanceof Residual)
  t.deepEqual(await outputs(copy, [ones([2, 3])]), await outputs(layer, [ones([2, 3])]))
  t.deepEqual(
    copy.namedParameters().map(([name]) => name),
    layer.namedParameters().map(([name]) => name),
  )
})

class Private extends nn.Module {
  readonly layer = new nn.Linear(1, 1)
  readonly #size: number
  /** The bound function of the new one. */
  run = (x: Tensor): Tensor => this.layer.forward(x)
  constructor(size: number) {
    super()
    this.#size = size
  }
  override forward(x: Tensor): Tensor {
    return this.layer.forward(x).mul(this.#size)
  }
}
class Own extends Private {
  protected override newInstance(): this {
    return new Own(3) as this
  }
}

test('private members: refused, unless the class says how it is made', async (t) => {
  throwsWith(
    t,
    () => new Private(3).clone(),
    TypeError,
    /^\[clone\] Private has private members.*newInstance/,
  )
  const own = new Own(3)
  const copy = own.clone()
  t.deepEqual(await outputs(copy, [ones([1])]), await outputs(own, [ones([1])]))
  nn.init.constant(copy.layer.weight, 100)
  const [y, z] = [copy.run(ones([1])), own.run(ones([1]))]
  t.not(await y.item(), await z.item())
})

test('what cannot be copied is refused by name', (t) => {
  class Any extends nn.Module {
    constructor(fields: object) {
      super()
      Object.assign(this, fields)
    }
    override forward(x: Tensor): Tensor {
      return x
    }
    handler = (): this => this
  }
  const plain = (fields: object): Any => {
    const made = new Any(fields)
    Reflect.deleteProperty(made, 'handler')
    return made
  }
  throwsWith(
    t,
    () => new Any({}).clone(),
    TypeError,
    /^\[clone\] field 'handler' of Any is a function that is bound/,
  )
  const bound = plain({ f: Any.prototype.forward.bind(plain({})) })
  throwsWith(t, () => bound.clone(), TypeError, /field 'f' of Any is a function that is bound/)
  const computed = plain({ state: { h: ones([1], { requiresGrad: true }).mul(2) } })
  throwsWith(
    t,
    () => computed.clone(),
    TypeError,
    /field 'state\.h' of Any was computed by 'mul'; detach\(\)/,
  )
  const gone = plain({ w: ones([1]) }) as Any & { w: Tensor }
  gone.w[Symbol.dispose]()
  throwsWith(t, () => gone.clone(), TypeError, /disposed/)
  class Wrong extends nn.Module {
    override forward(): void {}
    protected override newInstance(): this {
      return this
    }
  }
  throwsWith(
    t,
    () => new Wrong().clone(),
    TypeError,
    /^\[clone\] newInstance\(\): expected a new Wrong/,
  )
})
