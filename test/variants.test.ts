/** Variants of LSTM and GRU against PyTorch's operations (fixtures/make_variants.py), and their cells. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import {
  autograd,
  io,
  manualSeed,
  nn,
  noGrad,
  optim,
  quantization,
  stack,
  Tensor,
  tensor,
} from 'fused-rnn'
import {
  closeTo,
  fixture,
  gradcheck,
  gradgradcheck,
  projected,
  randomTensor,
  throwsWith,
} from './helpers.js'

const file = fixture('variants')

type Layer = nn.RecurrentLayer
type Cell = nn.RecurrentCell & { forward(input: Tensor, state?: unknown): unknown }

interface Kind {
  layer(input: number, hidden: number, options?: object): Layer
  cell(input: number, hidden: number, options?: object): Cell
  /** Names of what stays when it is printed. */
  text: string
}

const KINDS: Readonly<Record<string, Kind>> = {
  peephole: {
    layer: (I, H, options) => new nn.LSTM(I, H, { ...options, peephole: true }),
    cell: (I, H, options) => new nn.LSTMCell(I, H, { ...options, peephole: true }),
    text: 'LSTM(3, 4, peephole=true)',
  },
  'reset before': {
    layer: (I, H, options) => new nn.GRU(I, H, { ...options, resetAfter: false }),
    cell: (I, H, options) => new nn.GRUCell(I, H, { ...options, resetAfter: false }),
    text: 'GRU(3, 4, resetAfter=false)',
  },
  slstm: {
    layer: (I, H, options) => new nn.SLSTM(I, H, options),
    cell: (I, H, options) => new nn.SLSTMCell(I, H, options),
    text: 'SLSTM(3, 4)',
  },
  'slstm in heads': {
    layer: (I, H, options) => new nn.SLSTM(I, H, { numHeads: H % 2 === 0 ? 2 : H, ...options }),
    cell: (I, H, options) => new nn.SLSTMCell(I, H, { numHeads: 2, ...options }),
    text: 'SLSTM(3, 4, numHeads=2)',
  },
}

interface Case {
  name: string
  kind: string
  input: number
  hidden: number
  layers: number
  proj: number
  bias: boolean
  bidirectional: boolean
  lengths: number[]
  states: boolean
  /** 0: the kind has none. */
  heads: number
}

/** A state as a list, and back. */
const listOf = (state: unknown): Tensor[] =>
  state instanceof Tensor ? [state] : [...(state as Tensor[])]
const stateOf = (list: readonly Tensor[]): never => (list.length === 1 ? list[0] : list) as never

type Rows = Tensor | nn.utils.rnn.PackedSequence
/** Output and states. */
function call(layer: Layer, x: Rows, state?: readonly Tensor[] | null): [Rows, ...Tensor[]] {
  const given = state == null ? null : stateOf(state)
  const [y, after] = layer.forward(x as Tensor, given)
  return [y as Rows, ...listOf(after)]
}

/** Without an sLSTM's c, n and m, which have a kink where the larger of two exponents changes. */
const smooth = (results: Tensor[]): Tensor[] => (results.length > 3 ? results.slice(0, 2) : results)

const make = (c: Case): Layer => {
  const { input, hidden, layers: numLayers, proj, bias, bidirectional, heads } = c
  const options = {
    ...{ numLayers, bias, bidirectional },
    ...(proj > 0 && { projSize: proj }),
    ...(heads > 0 && { numHeads: heads }),
  }
  const layer = (KINDS[c.kind] as Kind).layer(input, hidden, options)
  layer.loadStateDict(file.tensors(`${c.name}.w`))
  return layer
}

for (const c of file.info.cases as Case[]) {
  for (const packed of new Set([false, true])) {
    if (!packed && new Set(c.lengths).size > 1) continue
    test(`as PyTorch: ${c.name}${packed ? ', packed rows' : ''}`, async (t) => {
      const layer = make(c)
      const has = (key: string): boolean => file.has(`${c.name}.${key}`)
      const leaf = (key: string) => file.tensor(`${c.name}.${key}`, { requiresGrad: true })
      const x = leaf('x')
      const parts = ['h', 'c', 'n', 'm'].filter((part) => has(`${part}n`))
      const states = c.states ? parts.map((part) => leaf(`${part}0`)) : null
      const { packPaddedSequence, padPackedSequence } = nn.utils.rnn
      const fed = packed ? packPaddedSequence(x, c.lengths, { enforceSorted: false }) : x
      const [out, ...finals] = call(layer, fed, states)
      const y = out instanceof Tensor ? out : padPackedSequence(out)[0]
      const results = [y, ...finals]
      for (const [i, name] of ['y', ...parts.map((part) => `${part}n`)].entries())
        await closeTo(t, results[i], file.array(`${c.name}.${name}`), 2e-5, name)
      const vectors = ['dy', ...parts.map((part) => `d${part}n`)]
      projected(
        results,
        vectors.map((key) => file.tensor(`${c.name}.${key}`)),
      ).backward()
      await closeTo(t, x.grad, file.array(`${c.name}.dx`), 1e-4, 'gradient of input')
      for (const [i, part] of parts.entries()) {
        if (states === null) break
        const expected = file.array(`${c.name}.d${part}0`)
        await closeTo(t, states[i]?.grad, expected, 1e-4, `gradient of ${part}_0`)
      }
      for (const [name, p] of layer.namedParameters())
        await closeTo(t, p.grad, file.array(`${c.name}.d.${name}`), 1e-4, `gradient of ${name}`)
    })
  }
}

const detached = (x: Tensor): Tensor => {
  const result = x.detach()
  result.requiresGrad = true
  return result
}
const leaf = (seed: number, ...shape: number[]): Tensor =>
  randomTensor(shape, seed, { requiresGrad: true })
/** States of so many sequences, as leaves. */
function states(layer: Layer, stacks: number, batch: number): Tensor[] {
  const x = randomTensor([1, batch, layer.inputSize], 1)
  const [, ...finals] = noGrad(() => call(layer, x))
  return finals.map((final, i) => {
    const state = leaf(i + 2, stacks, batch, final.shape[2] as number)
    // n of an sLSTM, by which h is divided.
    return i === 2 ? detached(state.abs().add(0.5)) : state
  })
}

for (const [kind, { layer: makeLayer, cell: makeCell, text }] of Object.entries(KINDS)) {
  test(`${kind}: finite differences, two layers both directions`, async (t) => {
    manualSeed(3)
    const layer = makeLayer(3, 5, { numLayers: 2, bidirectional: true })
    const f = (x: unknown, ...state: unknown[]) =>
      smooth(call(layer, x as Tensor, state as Tensor[]) as Tensor[])
    await gradcheck(t, f as never, [leaf(1, 3, 2, 3), ...states(layer, 4, 2)], {
      module: layer,
      stride: 3,
    })
  })

  test(`${kind}: finite differences, with all that options do between steps`, async (t) => {
    const layer = makeLayer(3, 5, { recurrentDropout: 0.3, zoneout: 0.3, bidirectional: true })
    const reset = tensor([0, 0, 1, 0, 0, 1, 0, 0], { shape: [4, 2], dtype: 'int32' })
    const mask = tensor([1, 1, 1, 0, 1, 1, 0, 1], { shape: [4, 2], dtype: 'int32' })
    const f = (x: unknown, ...state: unknown[]) => {
      manualSeed(12)
      const given = stateOf(state as Tensor[])
      const options = { reset, mask }
      const [y, after] = (layer as nn.GRU).forward(x as Tensor, given, options) as [Tensor, unknown]
      return smooth([y, ...listOf(after)])
    }
    await gradcheck(t, f as never, [leaf(1, 4, 2, 3), ...states(layer, 2, 2)], {
      module: layer,
      stride: 2,
    })
  })

  test(`${kind}: gradients to be differentiated are the same, with all that options do`, async (t) => {
    for (const training of [true, false]) {
      manualSeed(4)
      const layer = makeLayer(3, 5, { recurrentDropout: 0.3, zoneout: 0.3, bidirectional: true })
      layer.train(training)
      const x = leaf(1, 4, 3, 3)
      const masks = {
        reset: tensor([0, 0, 1, 0, 1, 0, 0, 1, 0, 1, 0, 0], { shape: [4, 3], dtype: 'int32' }),
        mask: tensor([1, 1, 1, 1, 0, 1, 1, 1, 0, 1, 0, 1], { shape: [4, 3], dtype: 'int32' }),
      }
      const given = states(layer, 2, 3)
      const inputs = [x, ...given, ...layer.parameters()]
      for (const packed of [false, true]) {
        const gradients = (createGraph: boolean): Tensor[] => {
          manualSeed(12)
          const { packPaddedSequence } = nn.utils.rnn
          const fed = packed ? packPaddedSequence(x, [2, 4, 3], { enforceSorted: false }) : x
          const [y, after] = layer.forward(fed as Tensor, stateOf(given), masks) as [Rows, unknown]
          const results = [y instanceof Tensor ? y : y.data, ...listOf(after)]
          const sum = projected(
            results,
            results.map((one, i) => randomTensor(one.shape, 30 + i)),
          )
          return autograd.grad(sum, inputs, { createGraph }) as Tensor[]
        }
        const [plain, again] = [gradients(false), gradients(true)]
        for (const [i, one] of plain.entries()) {
          const scale = Math.max(...((await one.data()) as Float32Array).map(Math.abs), 1)
          await closeTo(t, again[i], one, 2e-5 * scale, `${training} ${packed} gradient ${i}`)
        }
      }
    }
  })

  test(`${kind}: finite differences, packed, without biases`, async (t) => {
    manualSeed(4)
    const layer = makeLayer(3, 4, { bidirectional: true, bias: false })
    const f = (x: unknown) => {
      const { packPaddedSequence } = nn.utils.rnn
      const fed = packPaddedSequence(x as Tensor, [2, 4, 1], { enforceSorted: false })
      const [y, ...finals] = call(layer, fed)
      return [(y as nn.utils.rnn.PackedSequence).data, ...finals]
    }
    await gradcheck(t, f as never, [leaf(1, 4, 3, 3)], { module: layer, stride: 2 })
  })

  test(`${kind}: gradients of gradients`, async (t) => {
    manualSeed(5)
    const layer = makeLayer(2, 3)
    const start = states(layer, 1, 2)
    const parameters = layer.namedParameters()
    const f = (x: unknown, ...rest: unknown[]) => {
      for (const [i, [name]] of parameters.entries())
        Reflect.set(layer, name, rest[start.length + i])
      return call(layer, x as Tensor, rest.slice(0, start.length) as Tensor[]) as Tensor[]
    }
    const weights = parameters.map(([, p], i) => leaf(i + 5, ...p.shape))
    const inputs = [leaf(1, 3, 2, 2), ...start, ...weights]
    await gradgradcheck(t, f as never, inputs, { tol: 5e-3 })
  })

  test(`${kind}: a wide layer on shared threads, step by step and at once`, async (t) => {
    // Large enough that the units of a step are divided among threads.
    manualSeed(6)
    const layer = makeLayer(40, 260)
    const x = randomTensor([6, 9, 40], 5)
    const [y, ...finals] = call(layer, x) as Tensor[]
    const outputs: Tensor[] = []
    let state: Tensor[] | null = null
    for (let step = 0; step < 6; step++) {
      const [row, ...after] = call(layer, x.slice(0, step, step + 1), state) as Tensor[]
      outputs.push((row as Tensor).reshape([9, 260]))
      state = after
    }
    const stepped = stack(outputs, 0)
    await closeTo(t, y, (await stepped.data()) as Float32Array, 2e-5)
    for (const [i, final] of finals.entries())
      await closeTo(t, final, (await state?.[i]?.data()) as Float32Array, 2e-5)
    ;(y as Tensor).square().sum().backward()
    const once = layer.parameters().map((p) => p.grad as Tensor)
    for (const p of layer.parameters()) p.grad = null
    stepped.square().sum().backward()
    for (const [i, [name, p]] of layer.namedParameters().entries()) {
      const values = (await p.grad?.data()) as Float32Array
      const scale = Math.max(...values.map(Math.abs))
      await closeTo(t, once[i], values, 1e-5 * Math.max(scale, 1), name)
    }
  })

  test(`${kind}: many short rows, whose gradients are added up in slices`, async (t) => {
    manualSeed(7)
    const layer = makeLayer(4, 6)
    const x = randomTensor([5, 150, 4], 5)
    ;(call(layer, x)[0] as Tensor).square().sum().backward()
    const once = layer.parameters().map((p) => p.grad as Tensor)
    for (const p of layer.parameters()) p.grad = null
    for (let n = 0; n < 150; n += 10)
      (call(layer, x.slice(1, n, n + 10))[0] as Tensor).square().sum().backward()
    for (const [i, [name, p]] of layer.namedParameters().entries())
      await closeTo(t, once[i], (await p.grad?.data()) as Float32Array, 1e-3, name)
  })

  test(`${kind}: the cell is one step of the layer`, async (t) => {
    const layer = makeLayer(5, 6)
    const cell = makeCell(5, 6)
    const parameters = [...layer.stateDict()].map(([name, p]): [string, Tensor] => [
      name === 'bias_l0' ? 'bias_ih' : name.replace('_l0', ''),
      p,
    ])
    t.deepEqual(
      [...cell.stateDict().keys()],
      parameters.map(([name]) => name),
    )
    cell.loadStateDict(new Map(parameters))
    const x = randomTensor([3, 2, 5], 6, { requiresGrad: true })
    const [y, ...finals] = call(layer, x) as Tensor[]
    let state: unknown
    const outputs: Tensor[] = []
    for (let t = 0; t < 3; t++) {
      state = cell.forward(x.slice(0, t, t + 1).reshape([2, 5]), state)
      outputs.push(listOf(state)[0] as Tensor)
    }
    const stepped = stack(outputs, 0)
    await closeTo(t, stepped, (await y?.data()) as Float32Array, 1e-6)
    for (const [i, final] of finals.entries())
      await closeTo(t, listOf(state)[i], (await final.data()) as Float32Array, 1e-6)
    y?.sum().backward()
    stepped.sum().backward()
    for (const [name, p] of cell.namedParameters()) {
      const parameter = layer[`${name}_l0` as 'weight_ih_l0'] ?? layer.bias_l0
      const whole = await parameter?.grad?.data()
      await closeTo(t, p.grad, whole as Float32Array, 1e-4, name)
    }
    t.true(cell instanceof nn.RecurrentCell)
  })

  test(`${kind}: printed, copied, saved, loaded and trained`, async (t) => {
    t.is(String(makeLayer(3, 4)), text)
    manualSeed(8)
    const layer = makeLayer(3, 8, { numLayers: 2, dropout: 0.2, batchFirst: true })
    const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-variants-'))
    t.teardown(() => rm(folder, { recursive: true }))
    const path = join(folder, 'layer.safetensors')
    await io.safetensors.save(path, layer.stateDict())
    const again = makeLayer(3, 8, { numLayers: 2, batchFirst: true })
    again.loadStateDict(await io.safetensors.load(path))
    const x = randomTensor([4, 5, 3], 7)
    layer.eval()
    const copy = layer.clone()
    t.is(String(copy), String(layer))
    const before = (await (call(layer, x)[0] as Tensor).data()) as Float32Array
    await closeTo(t, call(again, x)[0] as Tensor, before, 0)
    await closeTo(t, call(copy, x)[0] as Tensor, before, 0)
    const one = (await (call(layer, x.select(0, 2))[0] as Tensor).data()) as Float32Array
    await closeTo(t, (call(layer, x)[0] as Tensor).select(0, 2), one, 1e-6, 'without a batch')
    layer.train()
    const optimizer = new optim.Adam(layer.parameters(), { lr: 0.02 })
    const target = randomTensor([4, 5, 8], 8)
    const losses: number[] = []
    for (let i = 0; i < 60; i++) {
      optimizer.zeroGrad()
      const loss = new nn.MSELoss().forward(call(layer, x)[0] as Tensor, target)
      loss.backward()
      losses.push(await loss.item())
      await optimizer.step()
    }
    t.true((losses.at(-1) as number) < 0.8 * (losses[0] as number), String(losses.at(-1)))
  })
}

test('names and first values of peepholes', async (t) => {
  const layer = new nn.LSTM(3, 4, { peephole: true, bidirectional: true, projSize: 2 })
  const all = ['weight_ih', 'weight_hh', 'bias_ih', 'bias_hh', 'weight_hr', 'weight_ci']
    .concat('weight_cf', 'weight_co')
    .map((name) => `${name}_l0`)
  t.deepEqual([...layer.stateDict().keys()], [...all, ...all.map((name) => `${name}_reverse`)])
  for (const name of ['weight_ci_l0', 'weight_cf_l0_reverse', 'weight_co_l0'] as const) {
    t.deepEqual(layer[name]?.shape, [4])
    const values = (await layer[name]?.data()) as Float32Array
    t.true(values.every((value) => Math.abs(value) <= 0.5) && new Set(values).size === 4, name)
  }
  t.deepEqual(new nn.LSTMCell(3, 4, { peephole: true }).weight_co.shape, [4])
  t.false(new nn.LSTM(3, 4).stateDict().has('weight_ci_l0'))
})

test('peepholes: errors', (t) => {
  const x = randomTensor([2, 2, 3], 9)
  const peephole = { peephole: true } as object
  const owners = /'peephole', which nn\.LSTM and nn\.LSTMCell have/
  for (const Kind of [nn.GRU, nn.RNN, nn.LayerNormLSTM, nn.GRUCell, nn.RNNCell] as never[])
    throwsWith(t, () => new (Kind as typeof nn.GRU)(3, 4, peephole), TypeError, owners)
  const one = { peephole: 1 } as object
  throwsWith(t, () => new nn.LSTM(3, 4, one), TypeError, /\[LSTM\] peephole: expected a boolean/)
  throwsWith(t, () => new nn.LSTMCell(3, 4, one), TypeError, /\[LSTMCell\] peephole: expected/)
  const layer = new nn.LSTM(3, 4, { peephole: true })
  layer.weight_ci_l0 = randomTensor([3], 1)
  throwsWith(
    t,
    () => layer.forward(x),
    RangeError,
    /weight_ci_l0: expected shape \(4,\), got \(3,\)/,
  )
  const again = new nn.LSTM(3, 4, { peephole: true })
  throwsWith(t, () => again.loadStateDict(new nn.LSTM(3, 4).stateDict()), Error, /weight_ci_l0/)
})

test('the reset gate before the product: errors', (t) => {
  const before = { resetAfter: false } as object
  const owners = /'resetAfter', which nn\.GRU and nn\.GRUCell have/
  for (const Kind of [nn.LSTM, nn.RNN, nn.LayerNormLSTM, nn.LSTMCell, nn.RNNCell] as never[])
    throwsWith(t, () => new (Kind as typeof nn.GRU)(3, 4, before), TypeError, owners)
  const one = { resetAfter: 0 } as object
  throwsWith(t, () => new nn.GRU(3, 4, one), TypeError, /\[GRU\] resetAfter: expected a boolean/)
  throwsWith(t, () => new nn.GRUCell(3, 4, one), TypeError, /\[GRUCell\] resetAfter: expected/)
})

test('sLSTM: pre-activations of any size give finite numbers', async (t) => {
  const layer = new nn.SLSTM(1, 4, { bias: false })
  // Each unit has another gate large.
  const weights = new Float32Array(16)
  for (let gate = 0; gate < 4; gate++) weights[gate * 4 + gate] = 1
  layer.weight_ih_l0 = tensor(weights, { shape: [16, 1], requiresGrad: true })
  for (const size of [1e4, -1e4, 3e38, -3e38, 90, -90, 0]) {
    const x = tensor([size, -size, size, size, 0], { shape: [5, 1, 1], requiresGrad: true })
    const [y, state] = layer.forward(x)
    y.sum().backward()
    for (const one of [y, ...state, x.grad, layer.weight_hh_l0?.grad]) {
      const values = (await one?.data()) as Float32Array
      t.true(values.every(Number.isFinite), `${size}: ${values}`)
    }
  }
})

test('sLSTM: where nothing is let in, h and its gradients are 0', async (t) => {
  manualSeed(3)
  const layer = new nn.SLSTM(2, 3)
  // The input gate is shut, so n stays 0.
  layer.bias_l0 = tensor([-500, -500, -500, ...new Array<number>(9).fill(0)], {
    requiresGrad: true,
  })
  const x = leaf(1, 3, 2, 2)
  for (const createGraph of [false, true]) {
    const [y] = layer.forward(x)
    t.deepEqual(new Set(await y.data()), new Set([0]))
    const inputs = [x, ...layer.parameters()]
    for (const gradient of autograd.grad(y.sum(), inputs, { createGraph }) as Tensor[])
      t.true(((await gradient.data()) as Float32Array).every((value) => value === 0))
  }
})

test('sLSTM: names, shapes and errors', (t) => {
  const layer = new nn.SLSTM(3, 6, { numHeads: 2, bidirectional: true })
  const shapes = layer.namedParameters().map(([name, p]) => [name, [...p.shape]])
  const one = (suffix: string) => [
    [`weight_ih_l0${suffix}`, [24, 3]],
    [`weight_hh_l0${suffix}`, [4, 2, 3, 3]],
    [`bias_l0${suffix}`, [24]],
  ]
  t.deepEqual(shapes, [...one(''), ...one('_reverse')])
  t.is(String(layer), 'SLSTM(3, 6, bidirectional=true, numHeads=2)')
  const heads = (numHeads: unknown) => () => new nn.SLSTM(3, 6, { numHeads } as object)
  throwsWith(
    t,
    heads(4),
    RangeError,
    /\[SLSTM\] numHeads: expected a divisor of hiddenSize, 6, got 4/,
  )
  throwsWith(t, heads(0), RangeError, /\[SLSTM\] numHeads: expected/)
  throwsWith(t, heads('2'), TypeError, /\[SLSTM\] numHeads: expected/)
  throwsWith(t, () => new nn.LSTM(3, 6, { numHeads: 2 } as object), TypeError, /nn\.SLSTM and/)
  throwsWith(t, () => new nn.SLSTM(3, 6, { projSize: 2 } as object), TypeError, /'projSize', which/)
  const x = randomTensor([2, 2, 3], 1)
  const part = randomTensor([2, 2, 6], 2)
  const call = (state: unknown) => () => layer.forward(x, state as never)
  throwsWith(
    t,
    call([part, part]),
    TypeError,
    /\[SLSTM\.forward\] hidden: expected an array of four/,
  )
  throwsWith(t, call(part), TypeError, /\[SLSTM\.forward\] hidden: expected an array of four/)
  const short = [part, part, part, randomTensor([2, 2, 5], 3)]
  throwsWith(t, call(short), RangeError, /hidden\[3\]: expected shape \(2, 2, 6\), as of h, got/)
  const wide = [0, 1, 2, 3].map(() => randomTensor([2, 3, 6], 4))
  throwsWith(t, call(wide), RangeError, /hidden\[0\]: expected shape \(2, 2, 6\)/)
})

test('int8 weights are refused', (t) => {
  const device = 'cpu'
  const layers = {
    'peephole: true': [nn.LSTM, nn.LSTMCell].map((L) => new L(3, 4, { peephole: true, device })),
    'resetAfter: false': [nn.GRU, nn.GRUCell].map(
      (L) => new L(3, 4, { resetAfter: false, device }),
    ),
  }
  for (const [option, kinds] of Object.entries(layers))
    for (const layer of kinds)
      throwsWith(t, () => quantization.quantizeDynamic(layer), TypeError, new RegExp(option))
})
