/** nn.RNNCell, GRUCell and LSTMCell against PyTorch (fixtures/make_recurrent.py) and the layers. */
import test from 'ava'
import { manualSeed, nn, ones, stack, type Tensor, tensor, zeros } from 'fused-rnn'
import { closeTo, fixture, gradcheck, projected, randomTensor, throwsWith } from './helpers.js'

const file = fixture('recurrent')

interface CellCase {
  name: string
  kind: string
  bias: boolean
  batched: boolean
  steps: number
  weights: string
  suffix: string
}

type Cell = nn.RNNCell | nn.GRUCell | nn.LSTMCell

function make(kind: string, input: number, hidden: number, options: object = {}): Cell {
  if (kind === 'LSTM') return new nn.LSTMCell(input, hidden, options)
  if (kind === 'GRU') return new nn.GRUCell(input, hidden, options)
  return new nn.RNNCell(
    input,
    hidden,
    kind === 'RNN_relu' ? { nonlinearity: 'relu', ...options } : options,
  )
}

/** One step: [h, c or undefined]. */
function step(cell: Cell, x: Tensor, h?: Tensor, c?: Tensor): [Tensor, Tensor | undefined] {
  if (cell instanceof nn.LSTMCell) {
    return cell.forward(x, h === undefined ? undefined : [h, c as Tensor])
  }
  return [cell.forward(x, h), undefined]
}

for (const c of file.info.cells as CellCase[]) {
  test(`as PyTorch: ${c.name}`, async (t) => {
    const cell = make(c.kind, 10, 6, { bias: c.bias })
    cell.loadStateDict(file.tensors(c.weights))
    const x = file.tensor(`cx${c.suffix}`, { requiresGrad: true })
    const h0 = file.tensor(`ch0${c.suffix}`, { requiresGrad: true })
    const c0 = file.tensor(`cc0${c.suffix}`, { requiresGrad: true })
    let h = h0
    let cState: Tensor | undefined = c.kind === 'LSTM' ? c0 : undefined
    const outputs: Tensor[] = []
    for (let i = 0; i < c.steps; i++) {
      const xi = x.slice(0, i, i + 1).reshape(x.shape.slice(1))
      ;[h, cState] = step(cell, xi, h, cState)
      outputs.push(h)
    }
    const y = stack(outputs, 0)
    await closeTo(t, y, file.array(`${c.name}.y`), 2e-5, 'outputs')
    const results = [y]
    const vectors = [file.tensor(`cdy${c.suffix}`)]
    if (cState !== undefined) {
      await closeTo(t, cState, file.array(`${c.name}.cn`), 2e-5, 'c')
      results.push(cState)
      vectors.push(file.tensor(`cdc${c.suffix}`))
    }
    projected(results, vectors).backward()
    await closeTo(t, x.grad, file.array(`${c.name}.dx`), 1e-4, 'gradient of input')
    await closeTo(t, h0.grad, file.array(`${c.name}.dh0`), 1e-4, 'gradient of h')
    if (cState !== undefined) {
      await closeTo(t, c0.grad, file.array(`${c.name}.dc0`), 1e-4, 'gradient of c')
    }
    for (const [name, parameter] of cell.namedParameters()) {
      const expected = file.array(`${c.name}.d.${name}`)
      await closeTo(t, parameter.grad, expected, 1e-4, `gradient of ${name}`)
    }
  })
}

test('construction: parameters, their shapes and order, printing', (t) => {
  const shapes = (cell: Cell) => cell.namedParameters().map(([name, p]) => [name, [...p.shape]])
  t.deepEqual(shapes(new nn.LSTMCell(10, 6)), [
    ['weight_ih', [24, 10]],
    ['weight_hh', [24, 6]],
    ['bias_ih', [24]],
    ['bias_hh', [24]],
  ])
  t.deepEqual(shapes(new nn.GRUCell(10, 6, { bias: false })), [
    ['weight_ih', [18, 10]],
    ['weight_hh', [18, 6]],
  ])
  t.deepEqual(
    [...new nn.RNNCell(10, 6).stateDict().keys()],
    ['weight_ih', 'weight_hh', 'bias_ih', 'bias_hh'],
  )
  t.is(String(new nn.LSTMCell(10, 6)), 'LSTMCell(10, 6)')
  t.is(String(new nn.RNNCell(10, 6, { nonlinearity: 'tanh' })), 'RNNCell(10, 6)')
  t.is(String(new nn.GRUCell(10, 6, { bias: false })), 'GRUCell(10, 6, bias=false)')
  t.regex(String(new nn.RNNCell(10, 6, { nonlinearity: 'relu' })), /relu/)
})

test('parameters start uniform in ±1/√H', async (t) => {
  manualSeed(3)
  for (const [name, p] of new nn.LSTMCell(30, 16).namedParameters()) {
    const values = (await p.data()) as Float32Array
    t.true(
      values.every((value) => Math.abs(value) <= 0.25),
      name,
    )
    t.true(
      values.some((value) => Math.abs(value) > 0.2),
      name,
    )
  }
})

test('construction: refuses nonsense', (t) => {
  for (const kind of ['RNNCell', 'GRUCell', 'LSTMCell'] as const) {
    const Kind = nn[kind] as new (input: number, hidden: number, options?: object) => Cell
    throwsWith(t, () => new Kind(0, 5), RangeError, new RegExp(`\\[${kind}\\] inputSize`))
    throwsWith(t, () => new Kind(3, 1.5), RangeError, new RegExp(`\\[${kind}\\] hiddenSize`))
    throwsWith(t, () => new Kind('3' as never, 5), TypeError, /inputSize/)
    throwsWith(t, () => new Kind(3, 5, { bias: 1 }), TypeError, new RegExp(`\\[${kind}\\] bias`))
    throwsWith(t, () => new Kind(3, 5, { numLayers: 1 }), TypeError, /numLayers/)
    throwsWith(t, () => new Kind(3, 5, 7 as never), TypeError, /options: expected an object/)
  }
  const bad = { nonlinearity: 'gelu' } as never
  throwsWith(
    t,
    () => new nn.RNNCell(3, 5, bad),
    TypeError,
    /nonlinearity: expected one of 'tanh', 'relu', got 'gelu'/,
  )
})

for (const kind of ['RNN_tanh', 'RNN_relu', 'GRU', 'LSTM']) {
  const name = `${kind.replace(/_.*/, '')}Cell`

  test(`${kind} cell: arguments never broadcast`, (t) => {
    const cell = make(kind, 10, 6)
    const h = kind === 'LSTM' ? /state\[0\]|hidden\[0\]/ : /state|hidden/
    const call = (x: unknown, state?: Tensor, c?: Tensor) => () =>
      step(cell, x as Tensor, state, c ?? state)
    const prefix = new RegExp(`^\\[${name}\\.forward\\] input`)
    throwsWith(t, call(zeros([3, 9])), RangeError, /input: expected .*10.*got .*\(3, 9\)/)
    throwsWith(t, call(zeros([9])), RangeError, prefix)
    throwsWith(t, call(zeros([])), RangeError, prefix)
    throwsWith(t, call(zeros([1, 3, 10])), RangeError, /1 or 2 dimensions.*\(1, 3, 10\)/)
    throwsWith(t, call([1]), TypeError, prefix)
    throwsWith(t, call(zeros([3, 10], { dtype: 'int32' })), TypeError, /float32.*int32/)
    for (const shape of [[1, 6], [4, 6], [3, 5], [3, 1], [6], [1, 3, 6]]) {
      const message = new RegExp(`expected shape \\(3, 6\\), got \\(${shape.join(', ')},?\\)`)
      throwsWith(t, call(zeros([3, 10]), zeros(shape)), RangeError, message)
      throwsWith(t, call(zeros([3, 10]), zeros(shape)), RangeError, h)
    }
    throwsWith(
      t,
      call(zeros([10]), zeros([1, 6])),
      RangeError,
      /expected shape \(6,\), got \(1, 6\)/,
    )
    throwsWith(t, call(zeros([3, 10]), ones([3, 6], { dtype: 'int32' })), TypeError, h)
    t.throws(() => cell.forward(zeros([3, 10]), 5 as never), { instanceOf: TypeError })
    if (kind === 'LSTM') {
      const x = zeros([3, 10])
      throwsWith(
        t,
        call(x, zeros([3, 6]), zeros([3, 5])),
        RangeError,
        /\[1\].*\(3, 6\), got \(3, 5\)/,
      )
      throwsWith(t, () => cell.forward(x, zeros([3, 6]) as never), TypeError, /pair/)
      throwsWith(t, () => cell.forward(x, [zeros([3, 6]), null] as never), TypeError, /\[1\]/)
    }
  })

  test(`${kind} cell: shapes, missing state, empty batch`, async (t) => {
    const cell = make(kind, 10, 6)
    const x = randomTensor([3, 10], 1)
    const [h, c] = step(cell, x)
    const [h2, c2] = step(cell, x, zeros([3, 6]), zeros([3, 6]))
    t.deepEqual([...h.shape], [3, 6])
    t.deepEqual(await h.data(), await h2.data())
    t.deepEqual(await c?.data(), await c2?.data())
    const [one] = step(cell, x.slice(0, 1, 2).reshape([10]))
    t.deepEqual([...one.shape], [6])
    await closeTo(t, one.reshape([1, 6]), h.slice(0, 1, 2), 1e-6)
    const empty = zeros([0, 10], { requiresGrad: true })
    const [none] = step(cell, empty)
    t.deepEqual([...none.shape], [0, 6])
    none.backward(zeros([0, 6]))
    await closeTo(t, cell.parameters()[0]?.grad, zeros(cell.parameters()[0]?.shape ?? []), 0)
  })

  test(`${kind} cell: finite differences over two steps`, async (t) => {
    manualSeed(4)
    const cell = make(kind, 3, 4)
    const inputs = [
      randomTensor([2, 3], 1, { requiresGrad: true }),
      randomTensor([2, 4], 2, { requiresGrad: true }),
    ]
    if (kind === 'LSTM') inputs.push(randomTensor([2, 4], 3, { requiresGrad: true }))
    const f = (x?: Tensor, h?: Tensor, c?: Tensor): Tensor[] => {
      const first = step(cell, x as Tensor, h, c)
      return step(cell, x as Tensor, ...first).filter((out) => out !== undefined)
    }
    const kinks = kind === 'RNN_relu' ? { eps: 1e-3, tol: 5e-3 } : {}
    await gradcheck(t, f, inputs, { module: cell, ...kinks })
  })
}

test('a cell stepped by hand is the layer', async (t) => {
  const layer = new nn.GRU(10, 6)
  const cell = new nn.GRUCell(10, 6)
  cell.loadStateDict(
    new Map([...layer.stateDict()].map(([key, value]) => [key.replace('_l0', ''), value])),
  )
  const x = randomTensor([4, 3, 10], 1)
  const [y] = layer.forward(x)
  let h: Tensor | undefined
  for (let i = 0; i < 4; i++) h = cell.forward(x.slice(0, i, i + 1).reshape([3, 10]), h)
  await closeTo(t, h, y.slice(0, 3, 4).reshape([3, 6]), 1e-6)
})

test('an LSTM cell accepts what it returned, and gradients reach through', async (t) => {
  const cell = new nn.LSTMCell(2, 3)
  const x = tensor([[1, -1]], { requiresGrad: true })
  let state = cell.forward(x)
  for (let i = 0; i < 3; i++) state = cell.forward(zeros([1, 2]), state)
  state[0].sum().backward()
  const gradient = (await x.grad?.data()) as Float32Array
  t.true(gradient.every((value) => value !== 0))
})
