/** Layers in arrays, plain objects, Maps and Sets are found like those in fields; what cannot be is refused. */
import { runInNewContext } from 'node:vm'
import test from 'ava'
import { nn, ones, optim, type Tensor, zeros } from 'fused-rnn'
import { testDevice, throwsWith } from './helpers.js'

class Holder extends nn.Module {
  constructor(fields: object) {
    super()
    Object.assign(this, fields)
  }
  override forward(x: Tensor): Tensor {
    return x
  }
}
const linear = (): nn.Linear => new nn.Linear(1, 1)
const names = (module: nn.Module): string[] => module.namedParameters().map(([name]) => name)

/** How each container holds a layer, and the name that it gets. */
const containers: Record<string, [put: (layer: nn.Module) => unknown, name: string]> = {
  object: [(layer) => ({ gate: layer }), 'in.gate'],
  'object without a prototype': [
    (layer) => Object.assign(Object.create(null), { gate: layer }),
    'in.gate',
  ],
  'object of another realm': [
    (layer) => Object.assign(runInNewContext('({})'), { gate: layer }),
    'in.gate',
  ],
  frozen: [(layer) => Object.freeze({ gate: layer }), 'in.gate'],
  array: [(layer) => [null, layer], 'in.1'],
  'array of another realm': [(layer) => runInNewContext('[]').concat([layer]), 'in.0'],
  Map: [(layer) => new Map([['gate', layer]]), 'in.gate'],
  'Map by number': [(layer) => new Map([[7, layer]]), 'in.7'],
  Set: [(layer) => new Set([layer]), 'in.0'],
  'all in each other': [
    (layer) => ({ a: [new Map([['b', new Set([[{ c: layer }]])]])] }),
    'in.a.0.b.0.0.c',
  ],
  'a deep one': [
    (layer) => Array.from({ length: 30 }).reduce((inner) => ({ x: inner }), layer),
    `in${'.x'.repeat(30)}`,
  ],
  'a ModuleList in an object': [(layer) => ({ list: new nn.ModuleList([layer]) }), 'in.list.0'],
}

for (const [kind, [put, name]] of Object.entries(containers)) {
  test(`${kind}: found by everything that looks for modules`, async (t) => {
    const layer = linear()
    const model = new Holder({ in: put(layer) })
    t.deepEqual(names(model), [`${name}.weight`, `${name}.bias`])
    t.deepEqual([...model.stateDict().keys()], names(model))
    t.true(model.modules().includes(layer))
    t.true(model.namedModules().some(([own]) => own === name))
    t.false(model.eval() && layer.training)
    t.true(model.train() && layer.training)
    model.to(testDevice).requiresGrad(false)
    t.false(layer.weight.requiresGrad)
    model.requiresGrad()
    let applied = 0
    model.apply((inner) => {
      if (inner === layer) applied++
    })
    t.is(applied, 1)
    t.regex(String(model), /Linear/)

    const before = await layer.weight.item()
    layer
      .forward(ones([1, 1], { device: testDevice }))
      .sum()
      .backward()
    await new optim.SGD(model.parameters(), { lr: 1 }).step()
    t.not(await layer.weight.item(), before)
    model.zeroGrad()
    t.is(layer.weight.grad, null)

    const other = new Holder({ in: put(linear()) })
    other.loadStateDict(model.stateDict())
    t.deepEqual(
      await Promise.all(other.parameters().map((p) => p.item())),
      await Promise.all(model.parameters().map((p) => p.item())),
    )
    const clone = model.clone()
    t.deepEqual(names(clone), names(model))
    t.false(clone.modules().includes(layer))
  })
}

test('parameters in containers, frozen ones too', (t) => {
  const model = new Holder({
    a: { w: nn.Parameter(ones([1]), false), plain: zeros([1]) },
    b: new Map([['w', ones([1], { requiresGrad: true })]]),
    c: new Set([nn.Parameter(ones([1]))]),
  })
  t.deepEqual(names(model), ['a.w', 'b.w', 'c.0'])
})

test('what is held twice counts once, and circles end', (t) => {
  const shared = linear()
  const model = new Holder({ a: { x: shared }, b: [shared] })
  t.deepEqual(names(model), ['a.x.weight', 'a.x.bias'])
  t.deepEqual([...model.stateDict().keys()], ['a.x.weight', 'a.x.bias', 'b.0.weight', 'b.0.bias'])

  const inner = new Holder({ layer: linear() })
  const outer = new Holder({ inner })
  Object.assign(inner, { links: { parent: outer } })
  t.deepEqual(names(outer), ['inner.layer.weight', 'inner.layer.bias'])
  t.deepEqual([...outer.stateDict().keys()], names(outer))

  const self: Record<string, unknown> = { layer: linear() }
  self.self = self
  const list: unknown[] = [self]
  list.push(list)
  t.deepEqual(names(new Holder({ list })), ['list.0.layer.weight', 'list.0.layer.bias'])
})

test('fields and entries that come after construction', (t) => {
  const model = new Holder({ parts: {} }) as Holder & { parts: Record<string, nn.Module> }
  t.deepEqual(names(model), [])
  model.parts.late = linear()
  Object.assign(model, { later: linear() })
  t.deepEqual(names(model), ['parts.late.weight', 'parts.late.bias', 'later.weight', 'later.bias'])
})

test('what has no name is refused where the module is used', (t) => {
  class Block {
    layer = linear()
  }
  class Any {
    constructor(readonly inner: unknown) {}
  }
  const layer = linear()
  let chain: unknown = linear()
  for (let i = 0; i < 200; i++) chain = i % 2 === 0 ? new Any(chain) : [chain]
  const round: unknown[] = []
  round.push(round, new Any(new Any({ round, last: nn.Parameter(ones([1])) })))
  const registry = Object.assign(new Map([['a', 1]]), { inside: linear() })
  const deepest = [
    [new Block()],
    new Map([['a', new Block()]]),
    new Set([new Any(new Any(linear()))]),
    { first: layer, second: [new Block()] },
    registry,
    chain,
    round,
  ]
  const deep = (n: number): object => (n === 0 ? { layer: linear() } : [deep(n - 1)])
  const wrong: [fields: object, says: RegExp][] = [
    [
      { x: { 'a.b': linear() } },
      /field 'x\.a\.b' cannot be in a state dict: the key 'a\.b' has a dot/,
    ],
    [{ 'a.b': linear() }, /'a\.b' has a dot/],
    [{ x: { '': linear() } }, /its key is an empty text/],
    [{ x: new Map([[{}, linear()]]) }, /its key is of type object, not a text/],
    [{ x: new Map([[Symbol('s'), linear()]]) }, /its key is of type symbol/],
    [
      {
        x: new Map<unknown, nn.Module>([
          [1, linear()],
          ['1', linear()],
        ]),
      },
      /'x\.1' is there twice/,
    ],
    [{ [Symbol('s')]: linear() }, /its name is a symbol/],
    [{ x: deep(70) }, /more than 64 containers/],
    [
      { x: new Block() },
      /field 'x' is a Block that holds a module \(Linear\), which would be neither trained/,
    ],
    [{ x: [new Block()] }, /field 'x\.0' is a Block/],
    ...deepest.map((inner): [object, RegExp] => [
      { layer, x: new Any(inner) },
      /field 'x' is a Any that holds a (module \(Linear\)|parameter), which/,
    ]),
    [
      {
        x: {
          inner: {
            w: new (class W {
              p = nn.Parameter(ones([1]))
            })(),
          },
        },
      },
      /is a W that holds a parameter/,
    ],
    [{ x: { ...linear() } }, /field 'x' holds the fields of a module, which object spread/],
    [{ x: { ...nn.Parameter(ones([1])) } }, /field 'x' holds the fields of a tensor/],
  ]
  for (const [fields, says] of wrong) {
    const model = new nn.Sequential(new Holder(fields))
    for (const use of ['parameters', 'stateDict', 'eval', 'train', 'zeroGrad', 'clone'] as const) {
      throwsWith(t, () => model[use](), TypeError, says)
      throwsWith(t, () => model[use](), TypeError, /^\[Holder\] /)
    }
  }
})

test('what only refers to the model is none of its containers', (t) => {
  class Owner {
    optimizer: unknown
    constructor(readonly model: nn.Module) {}
  }
  const model = new Holder({ layer: linear(), table: new Map([[{}, 1]]), 'a.b': 5 })
  const optimizer = new optim.SGD(model.parameters())
  Object.assign(model, { owner: new Owner(model), optimizer })
  t.deepEqual(names(model), ['layer.weight', 'layer.bias'])
  const others = new optim.SGD([...model.parameters(), nn.Parameter(ones([1]))])
  const rows = Array.from({ length: 50_000 }, (_, i) => ({ row: [i] }))
  class Run {
    parts = [{ others, schedule: new optim.lrScheduler.StepLR(others, 1) }]
    rows = rows
  }
  Object.assign(model, { others, run: new Run() })
  t.deepEqual(names(model), ['layer.weight', 'layer.bias'])
})
