/** autograd.grad, hooks of tensors and of modules, operations of one's own. Numbers are PyTorch's. */
import test from 'ava'
import { autograd, nn, ones, optim, randn, stack, Tensor, tensor } from 'fused-rnn'
import { closeTo, gradcheck, randomTensor, throwsWith } from './helpers.js'

const leaf = (values: number[]): Tensor => tensor(values, { requiresGrad: true })

// ---- grad ------------------------------------------------------------------------------------------

test('grad: of leaves and of results, without touching .grad', async (t) => {
  const a = leaf([1, 2])
  const b = leaf([3, 4])
  const inner = a.mul(b)
  const loss = inner.mul(inner).sum()
  const [da, dInner] = autograd.grad(loss, [a, inner], { retainGraph: true })
  await closeTo(t, da, [18, 64], 1e-6)
  await closeTo(t, dInner, [6, 16], 1e-6)
  t.is(a.grad, null)
  t.is(b.grad, null)
  const [db] = autograd.grad(loss, b)
  await closeTo(t, db, [6, 32], 1e-6)
  throwsWith(t, () => autograd.grad(loss, b), Error, /graph of '\w+' was already used/)
})

test('grad: several outputs add up, with gradients of their own', async (t) => {
  const a = leaf([1, 2])
  const [y, z] = [a.mul(2), a.mul(a).sum()]
  const [da] = autograd.grad([y, z], a, { gradOutputs: [tensor([1, 10]), null] })
  await closeTo(t, da, [4, 24], 0)
  // An output that is an input.
  const [own] = autograd.grad(a, [a], { gradOutputs: tensor([5, 6]) })
  await closeTo(t, own, [5, 6], 0)
  const twice = a.mul(3)
  const [dTwice, dA] = autograd.grad([twice, twice], [twice, a], {
    gradOutputs: [ones([2]), ones([2])],
  })
  await closeTo(t, dTwice, [2, 2], 0)
  await closeTo(t, dA, [6, 6], 0)
})

test('grad: only what leads to the inputs is computed and freed', async (t) => {
  const layer = new nn.LSTM(3, 4)
  const x = randn([5, 2, 3], { requiresGrad: true })
  const [y] = layer.forward(x)
  const [dx] = autograd.grad(y.sum(), x)
  t.deepEqual([...(dx as Tensor).shape], [5, 2, 3])
  for (const parameter of layer.parameters()) t.is(parameter.grad, null)
})

test('grad: unused inputs and other mistakes', (t) => {
  const [a, b] = [leaf([1]), leaf([2])]
  const y = a.mul(2).sum()
  throwsWith(
    t,
    () => autograd.grad(y, [a, b], { retainGraph: true }),
    RangeError,
    /^\[grad\] inputs\[1\]: expected a tensor on which the outputs depend/,
  )
  const [da, db] = autograd.grad(y, [a, b], { allowUnused: true })
  t.true(da instanceof Tensor)
  t.is(db, null)
  throwsWith(t, () => autograd.grad(y, []), RangeError, /^\[grad\] inputs: expected at least one/)
  throwsWith(
    t,
    () => autograd.grad(tensor([1]), a),
    TypeError,
    /^\[grad\] outputs: .* requires a gradient/,
  )
  throwsWith(t, () => autograd.grad(leaf([1, 2]).mul(1), a), RangeError, /^\[grad\] gradOutputs:/)
  throwsWith(
    t,
    () => autograd.grad(a.mul(1), a, { gradOutputs: [] }),
    RangeError,
    /gradOutputs: expected 1, /,
  )
  throwsWith(
    t,
    () => autograd.grad(a.mul(1), a, { gradOutputs: ones([2]) }),
    RangeError,
    /gradOutputs\[0\]: expected the tensor's shape/,
  )
  throwsWith(t, () => autograd.grad(y, a, { graph: true } as never), TypeError, /^\[grad\] options/)
})

test('backward with inputs adds to theirs alone', async (t) => {
  const [a, b] = [leaf([1]), leaf([2])]
  const y = a.mul(b).sum()
  y.backward(undefined, { inputs: [a], retainGraph: true })
  await closeTo(t, a.grad, [2], 0)
  t.is(b.grad, null)
  y.backward(undefined, { inputs: b })
  await closeTo(t, b.grad, [1], 0)
  throwsWith(
    t,
    () => y.backward(undefined, { inputs: [y] }),
    TypeError,
    /inputs\[0\]: expected a leaf/,
  )
  throwsWith(
    t,
    () => y.backward(undefined, { inputs: [] }),
    RangeError,
    /inputs: expected at least one/,
  )
})

// ---- Hooks of tensors ------------------------------------------------------------------------------

test('registerHook: sees the whole gradient once, and replaces it', async (t) => {
  const a = leaf([1, 2])
  const seen: Tensor[] = []
  const inner = a.mul(3)
  const handle = inner.registerHook((g) => {
    seen.push(g)
  })
  inner.registerHook((g) => g.mul(10))
  a.registerHook((g) => {
    seen.push(g)
    return g.add(1)
  })
  const run = (): void => inner.add(inner).sum().backward(undefined, { retainGraph: true })
  run()
  t.is(seen.length, 2)
  await closeTo(t, seen[0], [2, 2], 0)
  await closeTo(t, seen[1], [60, 60], 0)
  await closeTo(t, a.grad, [61, 61], 0)
  handle.remove()
  handle.remove()
  run()
  t.is(seen.length, 3)
  await closeTo(t, a.grad, [122, 122], 0)
})

test('registerHook: what a hook keeps is not freed, and backward without it goes on', async (t) => {
  const layer = new nn.Linear(3, 2)
  let kept: Tensor | undefined
  const h = layer.forward(randomTensor([4, 3], 1))
  h.registerHook((g) => {
    kept = g
  })
  h.mul(2).sum().backward()
  await closeTo(t, kept, new Array(8).fill(2), 0)
  t.not(layer.weight.grad, null)
})

test('registerHook: leaves with several gradients, retainGrad, mistakes', async (t) => {
  const a = leaf([1, 2])
  let calls = 0
  a.registerHook(() => {
    calls++
  })
  const b = a.mul(2)
  b.retainGrad()
  t.true(b.retainsGrad)
  t.false(a.retainsGrad)
  b.registerHook((g) => g.mul(2))
  b.add(a).add(a.mul(a)).sum().backward()
  t.is(calls, 1)
  await closeTo(t, a.grad, [7, 9], 0)
  await closeTo(t, b.grad, [2, 2], 0) // after the hook, as in PyTorch
  b.grad = null
  throwsWith(
    t,
    () => tensor([1]).registerHook(() => {}),
    TypeError,
    /^\[registerHook\] tensor: expected one that requires a gradient/,
  )
  throwsWith(
    t,
    () => a.registerHook(1 as never),
    TypeError,
    /^\[registerHook\] hook: expected a function/,
  )
  throwsWith(t, () => tensor([1]).retainGrad(), TypeError, /^\[retainGrad\]/)
  const c = a.mul(1)
  c.registerHook(() => ones([3]))
  throwsWith(
    t,
    () => c.sum().backward(),
    RangeError,
    /^\[registerHook\] result of the hook: expected the gradient's shape/,
  )
  const d = a.mul(1)
  d.registerHook(() => 5 as never)
  throwsWith(t, () => d.sum().backward(), TypeError, /result of the hook: expected a tensor/)
})

// ---- Hooks of modules ------------------------------------------------------------------------------

test('hooks of modules run wherever forward is called', async (t) => {
  const first = new nn.Linear(3, 4)
  const model = new nn.Sequential(first, new nn.Dropout(0))
  const calls: string[] = []
  let own = true
  const before = first.registerForwardPreHook((module, args) => {
    t.true(module === first || !own)
    calls.push(`before ${args.length}`)
  })
  const after = first.registerForwardHook((_module, [x], output) => {
    calls.push(`after ${x.shape} ${output.shape}`)
  })
  const x = ones([2, 3])
  model.forward(x)
  first.forward(x)
  t.deepEqual(calls, ['before 1', 'after 2,3 2,4', 'before 1', 'after 2,3 2,4'])
  t.deepEqual(
    model.namedParameters().map(([name]) => name),
    ['0.weight', '0.bias'],
  )
  // A copy has the hooks, too.
  const copy = model.clone()
  own = false
  copy.forward(x)
  t.is(calls.length, 6)
  before.remove()
  after.remove()
  t.false(Object.hasOwn(first, 'forward'))
  model.forward(x)
  t.is(calls.length, 6)
  copy.forward(x)
  t.is(calls.length, 8)
})

test('hooks of modules replace arguments and results', async (t) => {
  const layer = new nn.Linear(2, 2, { bias: false })
  nn.init.ones(layer.weight)
  layer.registerForwardPreHook((_module, [x]) => x.mul(2))
  layer.registerForwardPreHook((_module, [x]) => [x.add(1)])
  layer.registerForwardHook((_module, _args, y) => y.mul(10))
  await closeTo(t, layer.forward(ones([1, 2])), [60, 60], 0)
  throwsWith(
    t,
    () => layer.registerForwardHook(null as never),
    TypeError,
    /^\[registerForwardHook\] hook: expected a function/,
  )
})

test('full backward hooks see and replace gradients', async (t) => {
  const layer = new nn.Linear(2, 2, { bias: false })
  nn.init.ones(layer.weight)
  const seen: (Tensor | null)[][] = []
  const handle = layer.registerFullBackwardHook((module, gradInput, gradOutput) => {
    t.is(module, layer)
    seen.push([...gradInput, ...gradOutput])
    return [(gradInput[0] as Tensor).mul(10)]
  })
  const x = tensor([[1, 2]], { requiresGrad: true })
  layer.forward(x.mul(1)).mul(3).sum().backward()
  await closeTo(t, seen[0]?.[0], [6, 6], 0)
  await closeTo(t, seen[0]?.[1], [3, 3], 0)
  await closeTo(t, x.grad, [60, 60], 0)
  await closeTo(t, layer.weight.grad, [3, 6, 3, 6], 0)
  handle.remove()
  layer.forward(x).sum().backward()
  t.is(seen.length, 1)
  layer.registerFullBackwardHook(() => [])
  throwsWith(
    t,
    () => layer.forward(x).sum().backward(),
    TypeError,
    /result of the hook: expected an array of 1 gradients/,
  )
})

test('hooks of recurrent layers, and of those in models of one’s own', async (t) => {
  class Net extends nn.Module {
    rnn = new nn.LSTM(3, 4)
    head = new nn.Linear(4, 1)
    forward(x: Tensor): Tensor {
      return this.head.forward(this.rnn.forward(x)[0])
    }
  }
  const net = new Net()
  const shapes: string[] = []
  net.rnn.registerForwardHook((_module, _args, [y, [h]]) => {
    shapes.push(`${y.shape} ${h.shape}`)
  })
  net.rnn.registerFullBackwardHook((_module, [dx], [dy]) => {
    shapes.push(`${dx?.shape} ${dy?.shape}`)
  })
  const x = randn([5, 2, 3], { requiresGrad: true })
  net.forward(x).sum().backward()
  t.deepEqual(shapes, ['5,2,4 1,2,4', '5,2,3 5,2,4'])
  const optimizer = new optim.SGD(net.parameters(), { lr: 0.1 })
  await optimizer.step()
})

// ---- Operations of one's own -----------------------------------------------------------------------

class Exp extends autograd.Function {
  static override forward(ctx: autograd.FunctionContext, x: Tensor): Tensor {
    const y = x.exp()
    ctx.saveForBackward(y)
    return y
  }
  static override backward(ctx: autograd.FunctionContext, dy: Tensor): Tensor {
    const [y] = ctx.savedTensors as [Tensor]
    return dy.mul(y)
  }
}

class Scale extends autograd.Function {
  static override forward(ctx: autograd.FunctionContext, x: Tensor, w: Tensor, factor: number) {
    ctx.saveForBackward(x, w)
    ctx.factor = factor
    const position = x.argmax()
    ctx.markNonDifferentiable(position)
    return [x.mul(w).mul(factor), x, position] as const
  }
  static override backward(ctx: autograd.FunctionContext, dy: Tensor, dx: Tensor) {
    const [x, w] = ctx.savedTensors as [Tensor, Tensor]
    return [
      dy.mul(w).mul(ctx.factor).add(dx),
      ctx.needsInputGrad[1] ? dy.mul(x).mul(ctx.factor) : null,
      null,
    ]
  }
}

test('Function: values, gradients, several arguments and results', async (t) => {
  const x = randomTensor([3], 1, { requiresGrad: true })
  const w = randomTensor([3], 2, { requiresGrad: true })
  await gradcheck(t, (a) => Exp.apply(a), [x])
  await gradcheck(t, (a, b) => Scale.apply(a as Tensor, b as Tensor, 3).slice(0, 2) as Tensor[], [
    x,
    w,
  ])
  const [y, same, position] = Scale.apply(x, tensor([1, 2, 3]), 2)
  t.not(same, x)
  t.false(position.requiresGrad)
  x.grad = null
  y.sum().backward()
  await closeTo(t, x.grad, [2, 4, 6], 0)
  // Without gradients it is forward alone.
  t.false(Exp.apply(tensor([1])).requiresGrad)
})

test('Function: in layers, with saved tensors that change, and what it refuses', async (t) => {
  const x = leaf([1, 2])
  const y = Exp.apply(x.mul(1))
  nn.init.zeros(y)
  throwsWith(
    t,
    () => y.sum().backward(),
    Error,
    /'Exp' needs the values of a tensor of shape \(2,\)/,
  )
  const wrong = (result: unknown): (() => void) => {
    class Wrong extends autograd.Function {
      static override forward(_ctx: autograd.FunctionContext, a: Tensor, _k: number): Tensor {
        return a.mul(2)
      }
      static override backward(): unknown {
        return result
      }
    }
    return () => Wrong.apply(x, 1).sum().backward()
  }
  throwsWith(t, wrong(ones([2])), RangeError, /^\[Wrong\.backward\] result: expected 2 gradients/)
  throwsWith(
    t,
    wrong([ones([3]), null]),
    RangeError,
    /result\[0\]: expected the argument's shape \(2,\)/,
  )
  throwsWith(t, wrong([1, null]), TypeError, /result\[0\]: expected a tensor or null/)
  throwsWith(t, wrong([null, ones([1])]), TypeError, /result\[1\]: expected null/)
  wrong([null, null])()
  class Nested extends autograd.Function {
    static override forward(_ctx: autograd.FunctionContext, a: Tensor) {
      return { a }
    }
  }
  throwsWith(
    t,
    () => Nested.apply(x),
    TypeError,
    /^\[Nested\.forward\] result: expected a tensor or an array with tensors/,
  )
  throwsWith(t, () => autograd.Function.apply(), TypeError, /forward: expected one in the class/)
  let context: autograd.FunctionContext | undefined
  class Keeps extends autograd.Function {
    static override forward(ctx: autograd.FunctionContext, a: Tensor): Tensor {
      context = ctx
      t.throws(() => ctx.saveForBackward(1 as never), { instanceOf: TypeError })
      return a.mul(1)
    }
  }
  Keeps.apply(x)
  throwsWith(
    t,
    () => context?.savedTensors,
    TypeError,
    /^\[savedTensors\] expected to be read in backward/,
  )
})

test('Function: gradients that did not come are zeros, or null when that is wanted', async (t) => {
  const got: (Tensor | null)[] = []
  const make = (materialize: boolean) =>
    class Two extends autograd.Function {
      static override forward(ctx: autograd.FunctionContext, a: Tensor) {
        ctx.setMaterializeGrads(materialize)
        return [a.mul(1), a.mul(2)] as const
      }
      static override backward(_ctx: autograd.FunctionContext, first: Tensor, second: Tensor) {
        got.push(second)
        return first
      }
    }
  const x = leaf([1, 2])
  for (const materialize of [true, false]) make(materialize).apply(x)[0].sum().backward()
  await closeTo(t, got[0], [0, 0], 0)
  t.is(got[1], null)
  await closeTo(t, x.grad, [2, 2], 0)
  await closeTo(t, stack([x]).detach(), [1, 2], 0)
})
