import test from 'ava'
import { nn, noGrad, ones, Tensor, tensor, zeros } from 'fused-rnn'
import { testDevice, throwsWith } from './helpers.js'

class Scale extends nn.Module {
  weight = nn.Parameter(ones([2]))
  shift = zeros([2], { requiresGrad: true })
  /** None of these is a parameter. */
  plain = zeros([2])
  computed = this.weight.add(1)
  nothing = null
  text = 'text'

  override forward(x: Tensor): Tensor {
    return x.add(this.shift)
  }

  override extraRepr(): string {
    return '2'
  }
}

class Net extends nn.Module {
  top = nn.Parameter(zeros([1]))
  first = new Scale()
  list = new nn.ModuleList([new Scale(), new Scale()])
  array = [new Scale(), 5, [new Scale()]]
  tensors = [nn.Parameter(zeros([3])), nn.Parameter(zeros([4]))]

  override forward(x: Tensor): Tensor {
    return this.first.forward(x)
  }
}

const NAMES = [
  'top',
  'tensors.0',
  'tensors.1',
  'first.weight',
  'first.shift',
  'list.0.weight',
  'list.0.shift',
  'list.1.weight',
  'list.1.shift',
  'array.0.weight',
  'array.0.shift',
  'array.2.0.weight',
  'array.2.0.shift',
]

test('parameters are found in fields, arrays and lists, under PyTorch-like names', (t) => {
  const net = new Net()
  t.deepEqual(
    net.namedParameters().map(([name]) => name),
    NAMES,
  )
  t.is(net.parameters().length, NAMES.length)
  t.is(net.parameters()[3], net.first.weight)
  t.deepEqual([...net.stateDict().keys()], NAMES)
  t.deepEqual(
    net.namedChildren().map(([name]) => name),
    ['first', 'list', 'array.0', 'array.2.0'],
  )
  t.deepEqual(
    net.namedModules().map(([name]) => name),
    ['', 'first', 'list', 'list.0', 'list.1', 'array.0', 'array.2.0'],
  )
  t.is(net.modules()[0], net)
  t.is(net.children()[0], net.first)
})

test('a tied tensor and a shared module: parameters once, state dict under every name', (t) => {
  const net = new Net()
  const tied = Object.assign(new Net(), { again: net.first, tied: net.first.weight })
  tied.first = net.first
  const names = tied.namedParameters().map(([name]) => name)
  t.is(names.filter((name) => /weight|tied/.test(name)).length, 5)
  t.true(
    names.includes('tied') && !names.includes('first.weight') && !names.includes('again.shift'),
  )
  const keys = [...tied.stateDict().keys()]
  for (const key of ['tied', 'first.weight', 'first.shift', 'again.weight', 'again.shift']) {
    t.true(keys.includes(key), key)
  }
})

test('modules that refer to each other in a circle', (t) => {
  const net = Object.assign(new Net(), { self: null as nn.Module | null })
  net.self = net
  const loop: unknown[] = []
  loop.push(loop, new Scale())
  Object.assign(net, { loop })
  t.true(net.namedParameters().length > NAMES.length)
  t.true(net.stateDict().size > NAMES.length)
  t.true(String(net).includes('(self): Net(...)'))
  let visits = 0
  net.apply(() => {
    visits++
  })
  t.is(visits, net.modules().length)
})

test('stateDict shares memory; loadStateDict copies into the same tensors', async (t) => {
  const net = new Net()
  const { weight } = net.first
  const state = net.stateDict()
  t.false(state.get('first.weight')?.requiresGrad)
  const values = new Map([...state].map(([key, value], i) => [key, ones(value.shape).add(i)]))
  t.deepEqual(net.loadStateDict(values), { missingKeys: [], unexpectedKeys: [] })
  t.is(net.first.weight, weight)
  t.true(weight.requiresGrad)
  t.deepEqual([...(await weight.data())], [4, 4])
  t.deepEqual([...((await state.get('first.weight')?.data()) ?? [])], [4, 4])
  nn.init.zeros(weight)
  t.deepEqual([...((await values.get('first.weight')?.data()) ?? [])], [4, 4])
  net.loadStateDict(net.stateDict())
  t.deepEqual([...(await weight.data())], [0, 0])
})

test('loadStateDict with a prefix, and the advice to use one', async (t) => {
  const state = new nn.Linear(2, 3).stateDict()
  const prefixed = (prefix: string) => new Map([...state].map(([key, v]) => [prefix + key, v]))
  const linear = new nn.Linear(2, 3)
  const given = prefixed('module.model.').set('criterion.weight', zeros([1]))
  t.deepEqual(linear.loadStateDict(given, { prefix: 'module.model.', strict: false }), {
    missingKeys: [],
    unexpectedKeys: ['criterion.weight'],
  })
  t.deepEqual(await linear.weight.data(), await state.get('weight')?.data())
  const load =
    (map: Map<string, Tensor>, options = {}) =>
    () =>
      linear.loadStateDict(map, options)
  throwsWith(
    t,
    load(given),
    RangeError,
    /missing keys: 'weight', 'bias'; unexpected keys: .*'criterion\.weight'\. The keys would fit with \{ prefix: 'module\.model\.' \}$/,
  )
  throwsWith(t, load(given, { prefix: 'module.' }), RangeError, /prefix: 'module\.model\.'/)
  throwsWith(t, load(state, { prefix: 'a.' }), RangeError, /would fit without the prefix$/)
  throwsWith(t, load(state, { prefix: 5 }), TypeError, /prefix: expected a string/)
  // No advice where it would not help, or where two would.
  const other = new Map([...prefixed('a.'), ...prefixed('b.')])
  throwsWith(t, load(other), RangeError, /'b\.bias'$/)
  throwsWith(t, load(new Map([['a.weight', zeros([1])]])), RangeError, /'a\.weight'$/)
  throwsWith(
    t,
    load(prefixed('a.').set('a.weight', zeros([9])), { prefix: 'a.' }),
    RangeError,
    /'a\.weight': expected shape \(3, 2\), got \(9,\)$/,
  )
  const outer = new nn.ModuleDict({ inner: new nn.Linear(2, 3), rest: new nn.Linear(1, 1) })
  throwsWith(
    t,
    () => outer.loadStateDict(state),
    RangeError,
    /The keys are those of inner: call its loadStateDict$/,
  )
})

test('loadStateDict: everything wrong in one error, nothing changed', async (t) => {
  const net = new Net()
  const state = new Map([...net.stateDict()].map(([key, value]) => [key, ones(value.shape)]))
  state.delete('first.weight')
  state.delete('top')
  state.set('extra', ones([1]))
  const lax = net.loadStateDict(state, { strict: false })
  t.deepEqual(lax, { missingKeys: ['top', 'first.weight'], unexpectedKeys: ['extra'] })
  t.deepEqual([...(await net.first.shift.data())], [1, 1])
  nn.init.zeros(net.first.shift)
  state.set('list.0.weight', ones([3]))
  state.set('list.0.shift', ones([2], { dtype: 'int32' }))
  const message =
    /\[loadStateDict\] state does not fit Net: missing keys: 'top', 'first.weight'; unexpected keys: 'extra'; 'list.0.weight': expected shape \(2,\), got \(3,\); 'list.0.shift': expected dtype float32, got int32$/
  throwsWith(t, () => net.loadStateDict(state), RangeError, message)
  throwsWith(
    t,
    () => net.loadStateDict(state, { strict: false }),
    RangeError,
    /Net: 'list.0.weight': expected shape/,
  )
  t.deepEqual([...(await net.first.shift.data())], [0, 0])
  throwsWith(t, () => net.loadStateDict({} as never), TypeError, /state: expected a Map/)
  throwsWith(
    t,
    () => net.loadStateDict(new Map([['top', 5 as never]]), { strict: false }),
    TypeError,
    /'top': expected a tensor, got 5/,
  )
  throwsWith(t, () => net.loadStateDict(state, { strict: 1 as never }), TypeError, /strict/)
  throwsWith(t, () => net.loadStateDict(state, { Strict: true } as never), TypeError, /Strict/)
  const gone = zeros([1])
  gone[Symbol.dispose]()
  throwsWith(
    t,
    () => net.loadStateDict(new Map([['top', gone]]), { strict: false }),
    TypeError,
    /disposed/,
  )
})

test('train, eval, to, zeroGrad, requiresGrad, apply', (t) => {
  const net = new Net()
  t.true(net.training)
  t.is(net.eval(), net)
  t.true(net.modules().every((module) => !module.training))
  net.train()
  t.true(net.modules().every((module) => module.training))
  net.list.train(false)
  t.deepEqual(
    net.modules().map((module) => module.training),
    [true, true, false, false, false, true, true],
  )
  t.is(net.to(testDevice), net)
  const y = net.forward(zeros([2]))
  y.backward(ones([2]))
  t.true(net.first.shift.grad instanceof Tensor)
  net.zeroGrad()
  t.true(net.parameters().every((parameter) => parameter.grad === null))
  t.is(net.requiresGrad(false), net)
  t.true(net.parameters().every((parameter) => !parameter.requiresGrad))
  t.is(net.parameters().length, NAMES.length)
  net.requiresGrad()
  t.true(net.parameters().every((parameter) => parameter.requiresGrad))
  const order: string[] = []
  t.is(
    net.apply((module) => order.push(module.constructor.name)),
    net,
  )
  t.deepEqual(order, ['Scale', 'Scale', 'Scale', 'ModuleList', 'Scale', 'Scale', 'Net'])
  throwsWith(t, () => net.train(1 as never), TypeError, /\[train\] mode/)
  throwsWith(t, () => net.to('gpu'), TypeError, /'cpu', 'cuda'/)
  throwsWith(t, () => net.requiresGrad('no' as never), TypeError, /flag/)
  throwsWith(t, () => net.apply(5 as never), TypeError, /\[apply\] f/)
})

test('Parameter', (t) => {
  const x = zeros([2])
  t.is(nn.Parameter(x), x)
  t.is(new nn.Parameter(x), x)
  t.true(x.requiresGrad)
  const computed = nn.Parameter(x.add(1))
  t.is(computed.gradFn, null)
  t.true(computed.requiresGrad)
  t.false(nn.Parameter(zeros([1]), false).requiresGrad)
  throwsWith(t, () => nn.Parameter(5 as never), TypeError, /\[Parameter\] data/)
  throwsWith(t, () => nn.Parameter(x, 1 as never), TypeError, /requiresGrad/)
  throwsWith(t, () => nn.Parameter(zeros([1], { dtype: 'int32' })), TypeError, /float32/)
})

test('toString is indented as PyTorch prints modules', (t) => {
  t.is(
    String(new Net()),
    `Net(
  (first): Scale(2)
  (list): ModuleList(
    (0): Scale(2)
    (1): Scale(2)
  )
  (array.0): Scale(2)
  (array.2.0): Scale(2)
)`,
  )
  t.is(String(new nn.ModuleList()), 'ModuleList()')
})

test('Sequential and ModuleList', async (t) => {
  const model = new nn.Sequential(new Scale(), new nn.Dropout(1), new nn.Linear(2, 3))
  t.deepEqual([...model.stateDict().keys()], ['0.weight', '0.shift', '2.weight', '2.bias'])
  t.is(model.length, 3)
  t.true(model[2] instanceof nn.Linear)
  t.is([...model].length, 3)
  model.eval()
  const y = noGrad(() => model.forward(tensor([[1, 2]])))
  t.deepEqual([...y.shape], [1, 3])
  model.train()
  const bias = (model[2] as nn.Linear).bias as Tensor
  t.deepEqual(await model.forward(tensor([[1, 2]])).data(), await bias.data())
  t.is(new nn.Sequential().forward(y), y)

  const list = new nn.ModuleList([new Scale()])
  const one = new Scale()
  list.append(one).extend([one, new Scale()])
  t.is(list.length, 4)
  t.is(list.parameters().length, 6)
  t.is(list.stateDict().size, 8)
  list[0] = one
  t.is(list.parameters().length, 4)
  throwsWith(
    t,
    () => list.append(5 as never),
    TypeError,
    /\[ModuleList\] module: expected a module/,
  )
  throwsWith(t, () => list.extend(5 as never), TypeError, /\[ModuleList\] modules/)
  throwsWith(t, () => list.forward(), TypeError, /ModuleList/)
  throwsWith(t, () => new nn.Sequential([] as never), TypeError, /\[Sequential\] module/)
})
