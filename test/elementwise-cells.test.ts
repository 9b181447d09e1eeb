/** nn.IndRNN, nn.SRU, nn.MinGRU, nn.MinLSTM and their step-wise cells. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { cat, io, manualSeed, nn, Tensor, tensor, zeros } from 'fused-rnn'
import {
  awayFromKinks,
  type Cell,
  cellOf,
  KINDS,
  type Layer,
  make,
  makeCell,
} from './elementwise-kinds.js'
import {
  closeTo,
  emulated,
  fixture,
  gradcheck,
  gradgradcheck,
  projected,
  randomTensor,
  testDevice,
  throwsWith,
} from './helpers.js'

type Input = Tensor | nn.utils.rnn.PackedSequence
const { packPaddedSequence, padPackedSequence } = nn.utils.rnn
const file = fixture('elementwise_cells')

function run(layer: Layer, x: Input, h0?: Tensor | null): [output: Tensor, hn: Tensor] {
  const [y, hn] = layer.forward(x as Tensor, h0)
  return [y instanceof Tensor ? y : (y as nn.utils.rnn.PackedSequence).data, hn]
}

/** One step as [h, state]. */
function step(cell: Cell, x: Tensor, state: Tensor | null): [h: Tensor, state: Tensor] {
  const result = cell.forward(x, state)
  return result instanceof Tensor ? [result, result] : result
}

/** Longer memories than those of new weights; of relu shorter ones, or it would grow. */
function remember(layer: Layer, kind: string): void {
  const hidden = layer.hiddenSize
  for (const [name, parameter] of layer.namedParameters()) {
    if (kind === 'IndRNN_relu' && name.startsWith('weight_hh')) nn.init.uniform(parameter, 0, 0.98)
    if (kind !== 'MinGRU' || !name.startsWith('bias')) continue
    const values = Float32Array.from({ length: 2 * hidden }, (_, u) => (u < hidden ? -u / 12 : 0))
    layer.loadStateDict(new Map([[name, tensor(values)]]), { strict: false })
  }
}

for (const { name, cell, input, hidden, layers, bias, bidirectional, lengths, states } of file.info
  .cases) {
  test(`as composed in PyTorch: ${name}`, async (t) => {
    const layer = make(cell, input, hidden, { numLayers: layers, bias, bidirectional })
    layer.loadStateDict(file.tensors(`${name}.w`))
    const x = file.tensor(`${name}.x`, { requiresGrad: true })
    const h0 = states ? file.tensor(`${name}.h0`, { requiresGrad: true }) : null
    const equal = lengths.every((length: number) => length === lengths[0])
    const packed = packPaddedSequence(x, lengths, { enforceSorted: false })
    const [y, hn] = equal
      ? layer.forward(x, h0)
      : (([p, h]) => [padPackedSequence(p)[0], h] as [Tensor, Tensor])(layer.forward(packed, h0))
    await closeTo(t, y, file.array(`${name}.y`), 2e-5, 'y')
    await closeTo(t, hn, file.array(`${name}.hn`), 2e-5, 'hn')
    projected([y, hn], [file.tensor(`${name}.dy`), file.tensor(`${name}.dhn`)]).backward()
    await closeTo(t, x.grad, file.array(`${name}.dx`), 1e-4, 'dx')
    if (h0) await closeTo(t, h0.grad, file.array(`${name}.dh0`), 1e-4, 'dh0')
    for (const [key, parameter] of layer.namedParameters())
      await closeTo(t, parameter.grad, file.array(`${name}.d.${key}`), 1e-4, `d ${key}`)
  })
}

for (const kind of KINDS) {
  test(`${kind}: gradients agree with finite differences`, async (t) => {
    manualSeed(3)
    const layer = make(kind, 3, 4, { bidirectional: true })
    awayFromKinks(layer, kind)
    const x = randomTensor([4, 2, 3], 5, { requiresGrad: true })
    const h0 = randomTensor([2, 2, 4], 6, { requiresGrad: true })
    await gradcheck(t, (a, b) => run(layer, a, b), [x, h0], { module: layer })
  })

  test(`${kind}: gradients of gradients agree with finite differences`, async (t) => {
    manualSeed(4)
    const layer = make(kind, 3, 3, { bidirectional: true })
    awayFromKinks(layer, kind)
    // The gradient of a relu by its inputs does not depend on them, only that by u.
    const name = kind === 'IndRNN_relu' ? 'weight_hh_l0' : 'weight_ih_l0'
    const weight = layer[name] as Tensor
    const f = (x: Tensor, h0: Tensor, w: Tensor): Tensor[] => {
      layer[name] = w
      return run(layer, packPaddedSequence(x, [4, 2]), h0)
    }
    const inputs = [
      randomTensor([4, 2, 3], 7, { requiresGrad: true }),
      randomTensor([2, 2, 3], 8, { requiresGrad: true }),
      tensor((await weight.data()) as Float32Array, { shape: weight.shape, requiresGrad: true }),
    ]
    await gradgradcheck(t, f, inputs, { tol: 4e-3, stride: 3 })
  })

  test(`${kind}: a cell in a loop is the layer`, async (t) => {
    const [T, N, I, H] = [6, 3, 5, 7]
    const layer = make(kind, I, H)
    const cell = cellOf(kind, layer)
    const x = randomTensor([T, N, I], 11, { requiresGrad: true })
    const start = randomTensor([N, H], 12, { requiresGrad: true })
    const [y, hn] = run(layer, x, start.reshape([1, N, H]))
    const vectors = [randomTensor([T, N, H], 13), randomTensor([1, N, H], 14)]
    projected([y, hn], vectors).backward()
    const expected = [x.grad, start.grad, layer.weight_ih_l0?.grad] as Tensor[]
    x.grad = start.grad = null
    let last = start
    const outputs = Array.from({ length: T }, (_, s) => {
      const [h, next] = step(cell, x.select(0, s), last)
      last = next
      return h.reshape([1, N, H])
    })
    await closeTo(t, cat(outputs), y, 1e-5, 'y')
    await closeTo(t, last.reshape([1, N, H]), hn, 1e-5, 'hn')
    projected([cat(outputs), last.reshape([1, N, H])], vectors).backward()
    for (const [i, got] of [x.grad, start.grad, cell.weight_ih.grad].entries())
      await closeTo(t, got, expected[i] as Tensor, 1e-4, `gradient ${i}`)
    // One sequence without a batch dimension.
    const [h, next] = step(cell, x.select(0, 0).select(0, 1), start.select(0, 1))
    await closeTo(t, h, y.select(0, 0).select(0, 1), 1e-5, 'unbatched')
    t.deepEqual([...next.shape], [H])
  })

  test(`${kind}: packed sequences are the sequences one by one`, async (t) => {
    const [I, H, lengths] = [4, 5, [3, 6, 1, 6]]
    const layer = make(kind, I, H, { numLayers: 2, bidirectional: true, batchFirst: true })
    const x = randomTensor([4, 6, I], 21)
    const h0 = randomTensor([4, 4, H], 22)
    const packed = packPaddedSequence(x, lengths, { batchFirst: true, enforceSorted: false })
    const [p, hn] = layer.forward(packed, h0)
    const [y] = padPackedSequence(p, { batchFirst: true })
    for (const [n, length] of lengths.entries()) {
      const [one, last] = run(layer, x.select(0, n).slice(0, 0, length), h0.select(1, n))
      await closeTo(t, y.select(0, n).slice(0, 0, length), one, 1e-5, `sequence ${n}`)
      await closeTo(t, hn.select(1, n), last, 1e-5, `state ${n}`)
    }
    // Padded with batchFirst, which transposes.
    const [whole] = run(layer, x, h0)
    await closeTo(t, whole.select(0, 1), run(layer, x.select(0, 1), h0.select(1, 1))[0], 1e-5)
  })

  test(`${kind}: many steps at once and in short stretches`, async (t) => {
    const [T, N, I, H] = [emulated ? 300 : 1300, 2, 3, 67]
    const layer = make(kind, I, H)
    remember(layer, kind)
    const x = randomTensor([T, N, I], 31, { requiresGrad: true })
    const h0 = randomTensor([1, N, H], 32, { requiresGrad: true })
    const [y, hn] = run(layer, x, h0)
    const vectors = [randomTensor([T, N, H], 33), randomTensor([1, N, H], 34)]
    projected([y, hn], vectors).backward()
    const expected = [x.grad, h0.grad] as Tensor[]
    x.grad = h0.grad = null
    let state = h0
    const outputs: Tensor[] = []
    for (let s = 0; s < T; s += 100) {
      const [part, next] = run(layer, x.slice(0, s, Math.min(T, s + 100)), state)
      outputs.push(part)
      state = next
    }
    await closeTo(t, y, cat(outputs), 1e-5, 'y')
    await closeTo(t, hn, state, 1e-5, 'hn')
    if (kind !== 'SRU') await closeTo(t, hn, y.slice(0, T - 1), 0, 'the last output')
    projected([cat(outputs), state], vectors).backward()
    await closeTo(t, x.grad, expected[0] as Tensor, 1e-4, 'dx')
    await closeTo(t, h0.grad, expected[1] as Tensor, 1e-4, 'dh0')
  })

  test(`${kind}: long packed sequences in both directions`, async (t) => {
    const [I, H, lengths] = [3, 5, emulated ? [90, 40] : [900, 511, 30]]
    const layer = make(kind, I, H, { bidirectional: true })
    remember(layer, kind)
    const [T, N] = [lengths[0] as number, lengths.length]
    const x = randomTensor([T, N, I], 35, { requiresGrad: true })
    const h0 = randomTensor([2, N, H], 36)
    const [p, hn] = layer.forward(packPaddedSequence(x, lengths), h0)
    const [y] = padPackedSequence(p)
    const vectors = [randomTensor(y.shape, 37), randomTensor(hn.shape, 38)] as [Tensor, Tensor]
    projected([y, hn], vectors).backward()
    const expected = x.grad as Tensor
    for (const [n, length] of lengths.entries()) {
      x.grad = null
      const own = (whole: Tensor): Tensor => whole.select(1, n).slice(0, 0, length)
      const [one, last] = run(layer, own(x), h0.select(1, n))
      await closeTo(t, own(y), one, 1e-5, `sequence ${n}`)
      await closeTo(t, hn.select(1, n), last, 1e-5, `state ${n}`)
      projected([one, last], [own(vectors[0]), vectors[1].select(1, n)]).backward()
      await closeTo(t, own(x.grad as unknown as Tensor), own(expected), 1e-4, `gradient ${n}`)
    }
  })

  test(`${kind}: state dict, clone, safetensors, eval`, async (t) => {
    const layer = make(kind, 3, 4, { numLayers: 2, bidirectional: true, batchFirst: true })
    const x = randomTensor([2, 5, 3], 41)
    const [y] = run(layer, x)
    const copy = layer.clone()
    t.deepEqual(copy.toString(), layer.toString())
    t.deepEqual([...copy.stateDict().keys()], [...layer.stateDict().keys()])
    await closeTo(t, run(copy, x)[0], y, 0, 'clone')
    const folder = mkdtempSync(join(tmpdir(), 'elementwise-'))
    try {
      const path = join(folder, 'layer.safetensors')
      await io.safetensors.save(path, layer.stateDict())
      const other = make(kind, 3, 4, { numLayers: 2, bidirectional: true, batchFirst: true })
      other.loadStateDict(await io.safetensors.load(path, { device: testDevice }))
      await closeTo(t, run(other.eval(), x)[0], y, 0, 'loaded')
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  test(`${kind}: NaN stays in its sequence and its units; huge inputs do not make any`, async (t) => {
    const layer = make(kind, 2, 3)
    const values = (await randomTensor([5, 2, 2], 51).data()) as Float32Array
    const clean = run(layer, tensor(values, { shape: [5, 2, 2] }))[0]
    const broken = values.slice()
    broken[2 * 4] = Number.NaN // step 2 of sequence 0
    const y = run(layer, tensor(broken, { shape: [5, 2, 2] }))[0]
    await closeTo(t, y.select(1, 1), clean.select(1, 1), 0, 'the other sequence')
    await closeTo(t, y.slice(0, 0, 2), clean.slice(0, 0, 2), 0, 'the steps before')
    const after = await y.select(1, 0).slice(0, 2).data()
    t.true(after.every((v) => Number.isNaN(v)))
    const huge = run(
      layer,
      tensor(
        values.map((v) => (v > 0 ? 1e20 : -1e20)),
        { shape: [5, 2, 2] },
      ),
    )
    for (const one of huge) t.false((await one.data()).some((v) => Number.isNaN(v)))
  })
}

// Whichever chunk of time is computed first. So few units that a block of CUDA has them all, so that
// several chunks are under way, and memories that are longer than these.
for (const [kind, gates] of [
  ['MinGRU', [-4]],
  ['MinLSTM', [4, -4]],
] as [string, number[]][])
  test(`${kind}: the same bits each time`, async (t) => {
    const [T, H] = [640, 32]
    const layer = make(kind, 2, H)
    const bias = tensor(Float32Array.from([...gates, 0].flatMap((b) => Array(H).fill(b))))
    layer.loadStateDict(new Map([['bias_ih_l0', bias]]), { strict: false })
    const x = randomTensor([T, 1, 2], 39, { requiresGrad: true })
    const vectors = [randomTensor([T, 1, H], 40), randomTensor([1, 1, H], 41)]
    const bits = async (): Promise<unknown[]> => {
      x.grad = null
      const results = run(layer, x)
      projected(results, vectors).backward()
      return Promise.all([...results, x.grad as unknown as Tensor].map((r) => r.data()))
    }
    const first = await bits()
    for (let i = 0; i < 5; ++i) t.deepEqual(await bits(), first)
  })

test('gates that are all but closed leave shares of an LSTM that add up', async (t) => {
  const layer = new nn.MinLSTM(1, 1, { bias: false })
  const weight = (f: number, i: number, h: number): Map<string, Tensor> =>
    new Map([['weight_ih_l0', tensor([[f], [i], [h]])]])
  // f / (f + i) of sigmoids that are 0 as float32: e^-200 / (e^-200 + e^-203).
  layer.loadStateDict(weight(-200, -203, 2))
  const share = 1 / (1 + Math.exp(-3))
  const [y] = layer.forward(tensor([[1]]), tensor([[10]]))
  await closeTo(t, y, [share * 10 + (1 - share) * 2.5], 2e-5)
})

test('the parameters and what they begin as', async (t) => {
  const shapes = (layer: nn.Module): Record<string, number[]> =>
    Object.fromEntries([...layer.namedParameters()].map(([name, p]) => [name, [...p.shape]]))
  t.deepEqual(shapes(new nn.IndRNN(3, 4)), {
    weight_ih_l0: [4, 3],
    weight_hh_l0: [4],
    bias_l0: [4],
  })
  t.deepEqual(shapes(new nn.SRU(4, 4, { bidirectional: true, numLayers: 2 })), {
    weight_ih_l0: [12, 4],
    weight_c_l0: [8],
    bias_l0: [8],
    weight_ih_l0_reverse: [12, 4],
    weight_c_l0_reverse: [8],
    bias_l0_reverse: [8],
    weight_ih_l1: [16, 8],
    weight_c_l1: [8],
    bias_l1: [8],
    weight_ih_l1_reverse: [16, 8],
    weight_c_l1_reverse: [8],
    bias_l1_reverse: [8],
  })
  t.deepEqual(shapes(new nn.SRU(3, 4)).weight_ih_l0, [16, 3])
  t.deepEqual(shapes(new nn.MinGRU(3, 4)), { weight_ih_l0: [8, 3], bias_ih_l0: [8] })
  t.deepEqual(shapes(new nn.MinLSTM(3, 4, { bias: false })), { weight_ih_l0: [12, 3] })
  t.deepEqual(shapes(new nn.SRUCell(3, 4)), { weight_ih: [16, 3], weight_c: [8], bias_ih: [8] })
  const range = async (p: Tensor): Promise<[number, number]> => {
    const values = await p.data()
    return [Math.min(...values), Math.max(...values)]
  }
  const within = (
    c: ExecutionContext,
    [least, most]: [number, number],
    low: number,
    high: number,
  ): void => {
    c.true(least >= low && most <= high && least < low * 0.5 + high * 0.5 && most > high * 0.8)
  }
  const ind = new nn.IndRNN(5, 100)
  within(t, await range(ind.weight_hh_l0 as Tensor), 0, 1)
  within(
    t,
    await range(new nn.IndRNN(5, 100, { nonlinearity: 'tanh' }).weight_hh_l0 as Tensor),
    -1,
    1,
  )
  const sru = new nn.SRU(27, 100)
  within(t, await range(sru.weight_ih_l0 as Tensor), -1 / 3, 1 / 3)
  within(t, await range(sru.weight_c_l0 as Tensor), -0.1, 0.1)
  t.deepEqual(await range(sru.bias_l0 as Tensor), [0, 0])
  sru.resetParameters()
  t.deepEqual(await range(sru.bias_l0 as Tensor), [0, 0])
  within(t, await range(new nn.MinGRU(5, 100).weight_ih_l0 as Tensor), -0.1, 0.1)
})

test('dropout between layers and the locked ones', async (t) => {
  const layer = new nn.MinGRU(4, 30, {
    numLayers: 2,
    dropout: 0.5,
    inputDropout: 0.2,
    outputDropout: 0.3,
  })
  const x = randomTensor([6, 3, 4], 61)
  manualSeed(1)
  const first = await run(layer, x)[0].data()
  t.notDeepEqual(await run(layer, x)[0].data(), first)
  manualSeed(1)
  t.deepEqual(await run(layer, x)[0].data(), first)
  const zero = (s: number): number[] =>
    [...first.keys()]
      .filter((i) => i >= s * 90 && i < (s + 1) * 90 && first[i] === 0)
      .map((i) => i - s * 90)
  t.deepEqual(zero(0), zero(5))
  t.true(zero(0).length > 5)
  layer.eval()
  t.deepEqual(await run(layer, x)[0].data(), await run(layer, x)[0].data())
})

test('what does not fit is refused at the call', (t) => {
  throwsWith(t, () => new nn.MinGRU(0, 4), RangeError, /MinGRU.*inputSize/)
  throwsWith(t, () => new nn.SRU(3, 4, { projSize: 2 } as object), TypeError, /SRU.*projSize/)
  throwsWith(
    t,
    () => new nn.MinLSTM(3, 4, { weightDropout: 0.5 } as object),
    TypeError,
    /weightDropout/,
  )
  throwsWith(
    t,
    () => new nn.IndRNN(3, 4, { nonlinearity: 'gelu' as 'relu' }),
    TypeError,
    /nonlinearity/,
  )
  for (const kind of KINDS) {
    const layer = make(kind, 3, 4, { numLayers: 2 })
    const name = kind.split('_')[0] as string
    throwsWith(
      t,
      () => layer.forward(zeros([5, 2, 4])),
      RangeError,
      new RegExp(`${name}.forward.*inputSize`),
    )
    throwsWith(t, () => layer.forward(zeros([0, 2, 3])), RangeError, /at least one time step/)
    throwsWith(
      t,
      () => layer.forward(zeros([5, 2, 3]), zeros([1, 2, 4])),
      RangeError,
      /\(2, 2, 4\)/,
    )
    throwsWith(t, () => layer.forward(zeros([5, 3]), zeros([2, 2, 4])), RangeError, /unbatched/)
    throwsWith(t, () => layer.forward([1] as never), TypeError, /input/)
    const cell = makeCell(kind, 3, 4)
    throwsWith(t, () => cell.forward(zeros([2, 2])), RangeError, /inputSize/)
    throwsWith(t, () => cell.forward(zeros([2, 3]), zeros([3, 4])), RangeError, /state/)
    Reflect.set(layer, 'weight_ih_l1', new nn.Parameter(zeros([3, 3])))
    throwsWith(t, () => layer.forward(zeros([5, 2, 3])), RangeError, /weight_ih_l1/)
    // An empty batch.
    const [y, hn] = run(make(kind, 3, 4), zeros([5, 0, 3]))
    t.deepEqual(
      [[...y.shape], [...hn.shape]],
      [
        [5, 0, 4],
        [1, 0, 4],
      ],
    )
  }
})

test('training finds a long dependence', async (t) => {
  if (emulated) return t.pass()
  manualSeed(5)
  const layer = new nn.MinGRU(1, 8)
  const head = new nn.Linear(8, 1)
  const { optim } = await import('fused-rnn')
  const optimizer = new optim.Adam([...layer.parameters(), ...head.parameters()], { lr: 0.03 })
  const loss = new nn.MSELoss()
  let first = 0
  let last = 0
  for (let i = 0; i < 60; i++) {
    const x = randomTensor([40, 16, 1], 100 + i)
    const target = x.select(0, 0)
    const output = head.forward(run(layer, x)[0].select(0, 39))
    const value = loss.forward(output, target)
    optimizer.zeroGrad()
    value.backward()
    await optimizer.step()
    last = await value.item()
    if (i === 0) first = last
  }
  t.true(last < first, `${first} → ${last}`)
})
