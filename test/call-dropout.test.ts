/** Dropout with masks for a whole call, and the initial forget bias. */
import test from 'ava'
import {
  cat,
  manualSeed,
  nn,
  ones,
  onnx,
  quantization,
  randomState,
  setRandomState,
  type Tensor,
  tensor,
  utils,
  zeros,
} from 'fused-rnn'
import {
  closeTo,
  gradcheck,
  gradgradcheck,
  onCpu,
  projected,
  randomTensor,
  throwsWith,
} from './helpers.js'

type Layer = nn.RNN | nn.GRU | nn.LSTM | nn.LayerNormLSTM
type Input = Tensor | nn.utils.rnn.PackedSequence
const { packPaddedSequence, padPackedSequence } = nn.utils.rnn
const { dropout } = nn.functional

function make(kind: string, inputs: number, hidden: number, options: object = {}): Layer {
  const Kind = (nn as unknown as Record<string, typeof nn.LSTM>)[kind] as typeof nn.LSTM
  return new Kind(inputs, hidden, options)
}

/** [output rows, hn, cn?] */
function run(layer: Layer, x: Input, state: readonly Tensor[] | null = null): [Input, Tensor[]] {
  const given = state && (state.length === 2 ? state : state[0])
  const [y, final] = (layer as nn.RecurrentLayer).forward(x as Tensor, given as never)
  return [y, (Array.isArray(final) ? final : [final]) as Tensor[]]
}

/** A relu RNN without memory that passes on what it gets, so that its output shows the masks. */
function identity(width: number, options: object): nn.RNN {
  const rnn = new nn.RNN(width, width, { nonlinearity: 'relu', bias: false, ...options })
  const eye = new Float32Array(width * width)
  for (let i = 0; i < width; i++) eye[i * width + i] = 1
  for (const [name, p] of rnn.namedParameters()) {
    const values = name.includes('hh')
      ? zeros([width, width])
      : tensor(eye, { shape: [width, width] })
    rnn.loadStateDict(new Map([[name, values]]), { strict: false })
    p.requiresGrad = false
  }
  return rnn
}

for (const name of ['inputDropout', 'outputDropout']) {
  test(`${name}: one mask for all steps of a sequence, another for the next call`, async (t) => {
    const [T, N, H, p] = [9, 40, 50, 0.3]
    const rnn = identity(H, { [name]: p })
    manualSeed(1)
    const [y, [hn]] = run(rnn, ones([T, N, H]))
    const values = (await (y as Tensor).data()) as Float32Array
    const mask = values.slice(0, N * H)
    for (let s = 1; s < T; s++)
      t.deepEqual(values.slice(s * N * H, (s + 1) * N * H), mask, `step ${s}`)
    t.true(mask.every((v) => v === 0 || Math.abs(v - 1 / (1 - p)) < 1e-6))
    const kept = mask.filter((v) => v !== 0).length / mask.length
    t.true(Math.abs(kept - (1 - p)) < 5 * Math.sqrt((p * (1 - p)) / mask.length), `${kept}`)
    // Sequences have masks of their own.
    t.notDeepEqual(mask.slice(0, H), mask.slice(H, 2 * H))
    // The final state is the layer's own, without the mask on its output.
    await closeTo(t, hn, name === 'inputDropout' ? mask : ones([1, N, H]), 1e-6, 'hn')
    t.notDeepEqual(await (run(rnn, ones([T, N, H]))[0] as Tensor).data(), values)
    manualSeed(1)
    t.deepEqual(await (run(rnn, ones([T, N, H]))[0] as Tensor).data(), values)
    t.true((await (run(rnn.eval(), ones([T, N, H]))[0] as Tensor).data()).every((v) => v === 1))
  })
}

/** The same computation out of layers without options, with masks drawn in the same order. */
function composed(
  layer: Layer,
  kind: string,
  x: Input,
  state: readonly Tensor[],
  between: number,
): [Input, Tensor[]] {
  const { numLayers, bidirectional, projSize, hiddenSize } = layer
  const D = bidirectional ? 2 : 1
  const masked = (rows: Input, p: number): Input => {
    if (p === 0) return rows
    const packed = rows instanceof nn.utils.rnn.PackedSequence
    const data = packed ? rows.data : rows
    const width = data.shape.at(-1) as number
    const sizes = packed ? rows.batchSizes : null
    const batch = sizes ? (sizes[0] as number) : (data.shape[1] as number)
    const mask = dropout(ones([batch, width]), { p })
    if (!packed) return data.mul(mask)
    const all = cat(Array.from(sizes as Int32Array, (size) => mask.slice(0, 0, size)))
    return rows.withData(data.mul(all))
  }
  // Weights first, in the order of the parameters.
  const weights = new Map(layer.namedParameters())
  for (const [name, p] of weights)
    if (name.startsWith('weight_hh') && layer.weightDropout > 0)
      weights.set(name, dropout(p, { p: layer.weightDropout }))
  const finals: Tensor[][] = []
  let rows = x
  for (let l = 0; l < numLayers; l++) {
    rows = masked(rows, layer.inputDropout)
    const width = l === 0 ? layer.inputSize : D * (projSize || hiddenSize)
    const options = { bidirectional, ...(projSize > 0 && { projSize }), bias: layer.bias }
    const random = randomState()
    const plain = make(kind, width, hiddenSize, options)
    setRandomState(random)
    for (const [name] of plain.namedParameters()) {
      const own = weights.get(name.replace('_l0', `_l${l}`)) as Tensor
      Reflect.set(plain, name, own)
    }
    const own = state.map((one) => one.slice(0, l * D, (l + 1) * D))
    const [y, final] = run(plain, rows, own)
    finals.push(final)
    rows = masked(y, layer.outputDropout)
    if (between > 0 && l < numLayers - 1)
      rows =
        rows instanceof nn.utils.rnn.PackedSequence
          ? rows.withData(dropout(rows.data, { p: between }))
          : dropout(rows, { p: between })
  }
  return [rows, state.map((_, k) => cat(finals.map((final) => final[k] as Tensor)))]
}

const cases: [what: string, options: { [name: string]: number | boolean }][] = [
  ['one layer', { inputDropout: 0.4, outputDropout: 0.3, weightDropout: 0.5 }],
  ['weights alone, 2 layers', { numLayers: 2, bidirectional: true, weightDropout: 0.5 }],
  [
    'all, 3 layers, both directions',
    {
      numLayers: 3,
      bidirectional: true,
      dropout: 0.2,
      inputDropout: 0.4,
      outputDropout: 0.3,
      weightDropout: 0.5,
    },
  ],
]

for (const kind of ['RNN', 'GRU', 'LSTM', 'LayerNormLSTM']) {
  for (const [what, options] of cases) {
    for (const packed of [false, true]) {
      test(`${kind}, ${what}${packed ? ', packed' : ''}: as layers with masks between them`, async (t) => {
        manualSeed(5)
        const hasC = kind.includes('LSTM')
        const projSize = hasC && options.numLayers !== undefined ? 5 : 0
        const layer = make(kind, 4, 7, { ...options, ...(projSize > 0 && { projSize }) })
        const stacks = layer.numLayers * (layer.bidirectional ? 2 : 1)
        const leaf = (shape: number[], seed: number) =>
          randomTensor(shape, seed, { requiresGrad: true })
        const x = leaf([6, 3, 4], 1)
        const state = [leaf([stacks, 3, projSize || 7], 2), leaf([stacks, 3, 7], 3)].slice(
          0,
          hasC ? 2 : 1,
        )
        const results: Tensor[][] = []
        const gradients: (Tensor | null)[][] = []
        for (const way of ['options', 'composed']) {
          for (const one of [x, ...state, ...layer.parameters()]) one.grad = null
          manualSeed(77)
          const fed = packed ? packPaddedSequence(x, [6, 4, 1]) : x
          const [y, final] =
            way === 'options'
              ? run(layer, fed, state)
              : composed(layer, kind, fed, state, layer.dropout)
          const rows = y instanceof nn.utils.rnn.PackedSequence ? padPackedSequence(y)[0] : y
          const all = [rows, ...final]
          projected(
            all,
            all.map((one, k) => randomTensor(one.shape, 10 + k)),
          ).backward()
          results.push(all)
          gradients.push([x, ...state, ...layer.parameters()].map((one) => one.grad))
        }
        const names = ['x', ...state.map((_, k) => `state ${k}`)]
        names.push(...layer.namedParameters().map(([name]) => name))
        for (const [k, one] of (results[0] as Tensor[]).entries())
          await closeTo(t, one, results[1]?.[k] as Tensor, 2e-5, `result ${k}`)
        for (const [k, name] of names.entries())
          await closeTo(t, gradients[0]?.[k], gradients[1]?.[k] as Tensor, 1e-4, `d ${name}`)
      })
    }
  }
}

test('finite differences through all masks, packed', async (t) => {
  for (const kind of ['RNN', 'GRU', 'LSTM']) {
    manualSeed(4)
    const layer = make(kind, 3, 4, {
      numLayers: 2,
      bidirectional: true,
      inputDropout: 0.3,
      outputDropout: 0.3,
      weightDropout: 0.4,
    })
    await gradcheck(
      t,
      (x) => {
        manualSeed(9)
        const [y, final] = run(
          layer,
          packPaddedSequence(x as Tensor, [2, 4, 1], { enforceSorted: false }),
        )
        return [(y as nn.utils.rnn.PackedSequence).data, ...final]
      },
      [randomTensor([4, 3, 3], 1, { requiresGrad: true })],
      { module: layer, stride: 3 },
    )
  }
})

test('gradients of gradients, three layers', async (t) => {
  manualSeed(4)
  const layer = new nn.LSTM(2, 3, {
    numLayers: 3,
    dropout: 0.2,
    inputDropout: 0.3,
    outputDropout: 0.2,
    weightDropout: 0.4,
  })
  await gradgradcheck(
    t,
    (x) => {
      manualSeed(9)
      return layer.forward(x as Tensor)[0]
    },
    [randomTensor([3, 2, 2], 1, { requiresGrad: true })],
  )
})

test('packed, batchFirst and unbatched sequences get the masks of the plain ones', async (t) => {
  manualSeed(2)
  const options = { inputDropout: 0.4, outputDropout: 0.4, weightDropout: 0.4, numLayers: 2 }
  const gru = new nn.GRU(3, 6, options)
  const x = randomTensor([5, 4, 3], 1)
  const seeded = (f: () => Tensor): Tensor => {
    manualSeed(3)
    return f()
  }
  const plain = seeded(() => gru.forward(x)[0])
  const packed = seeded(
    () => padPackedSequence(gru.forward(packPaddedSequence(x, [5, 5, 5, 5]))[0])[0],
  )
  await closeTo(t, packed, plain, 1e-6)
  const first = new nn.GRU(3, 6, { ...options, batchFirst: true })
  first.loadStateDict(gru.stateDict())
  const turned = seeded(() => first.forward(x.transpose(0, 1))[0])
  await closeTo(t, turned.transpose(0, 1), plain, 1e-6)
  const alone = x.slice(1, 0, 1)
  const single = seeded(() => gru.forward(alone)[0])
  await closeTo(
    t,
    seeded(() => gru.forward(alone.reshape([5, 3]))[0]),
    single.reshape([5, 6]),
    1e-6,
  )
})

test('weightDropout leaves the parameters as they are, and checkpoint draws the same masks', async (t) => {
  manualSeed(6)
  const lstm = new nn.LSTM(3, 5, { weightDropout: 0.5, inputDropout: 0.2 })
  const weight = lstm.weight_hh_l0 as Tensor
  const before = await weight.data()
  const x = randomTensor([4, 2, 3], 1, { requiresGrad: true })
  const results: (Float32Array | null)[][] = []
  for (const way of ['plain', 'checkpoint']) {
    lstm.zeroGrad()
    x.grad = null
    manualSeed(8)
    const f = (input: Tensor): Tensor => lstm.forward(input)[0]
    const y = way === 'plain' ? f(x) : utils.checkpoint.checkpoint(f, x)
    y.sum().backward()
    const data = async (one: Tensor | null) => ((await one?.data()) as Float32Array) ?? null
    results.push([await data(y), await data(x.grad), await data(weight.grad)])
  }
  t.deepEqual(results[0], results[1])
  t.deepEqual(await weight.data(), before)
  // Of the gradient of W_hh, what was dropped is 0.
  const dropped = results[0]?.[2]?.filter((v) => v === 0).length ?? 0
  const zero = dropped / before.length
  t.true(zero > 0.25 && zero < 0.75, `${zero}`)
})

test('options go along: printing, clones, evaluation, quantised layers, ONNX', async (t) => {
  const options = { inputDropout: 0.25, outputDropout: 0.5, weightDropout: 0.75 }
  for (const kind of ['RNN', 'GRU', 'LSTM', 'LayerNormLSTM']) {
    const layer = make(kind, 3, 4, options)
    const text = 'inputDropout=0.25, outputDropout=0.5, weightDropout=0.75'
    t.is(String(layer), `${kind}(3, 4, ${text})`)
    const copy = layer.clone()
    t.is(String(copy), String(layer))
    const plain = make(kind, 3, 4)
    plain.loadStateDict(layer.stateDict())
    const x = randomTensor([3, 2, 3], 1)
    copy.eval()
    t.deepEqual(await (run(copy, x)[0] as Tensor).data(), await (run(plain, x)[0] as Tensor).data())
    if (kind === 'LayerNormLSTM' || !onCpu) continue
    const small = quantization.quantizeDynamic(layer as nn.LSTM)
    t.regex(String(small), /inputDropout=0.25, outputDropout=0.5, weightDropout=0.75/)
    const same = quantization.quantizeDynamic(plain as nn.LSTM)
    t.deepEqual(await (run(small, x)[0] as Tensor).data(), await (run(same, x)[0] as Tensor).data())
    const files = [layer, plain].map((one) => onnx.serialize(one.eval()))
    t.deepEqual(await files[0], await files[1])
  }
})

test('a chance may be changed between calls, and is checked in each', async (t) => {
  const gru = new nn.GRU(3, 4)
  const x = randomTensor([3, 2, 3], 1)
  const plain = await gru.forward(x)[0].data()
  gru.outputDropout = 0.5
  t.notDeepEqual(await gru.forward(x)[0].data(), plain)
  gru.outputDropout = 1
  throwsWith(
    t,
    () => gru.forward(x),
    RangeError,
    /^\[GRU.forward\] outputDropout: expected a number of at least 0 and below 1, got 1$/,
  )
})

test('refuses what is no probability, and options of others by name', (t) => {
  const any = (value: unknown): never => value as never
  for (const kind of ['RNN', 'GRU', 'LSTM', 'LayerNormLSTM']) {
    for (const name of ['inputDropout', 'outputDropout', 'weightDropout']) {
      const at = new RegExp(`^\\[${kind}\\] ${name}: expected`)
      for (const wrong of [1, -0.1, 1.5, Number.NaN])
        throwsWith(t, () => make(kind, 3, 4, { [name]: wrong }), RangeError, at)
      for (const wrong of ['0.5', true])
        throwsWith(t, () => make(kind, 3, 4, { [name]: wrong }), TypeError, at)
    }
  }
  for (const kind of ['RNN', 'GRU', 'RNNCell', 'GRUCell'])
    throwsWith(
      t,
      () => make(kind, 3, 4, { forgetBias: 1 }),
      TypeError,
      /got 'forgetBias', which nn.LSTM, nn.LayerNormLSTM and their cells have$/,
    )
  const whole = 'have, but not their cells: its mask is for a whole sequence$'
  for (const name of ['inputDropout', 'outputDropout', 'weightDropout']) {
    const layers = name === 'weightDropout' ? 'all layers with a recurrent matrix' : 'all layers'
    throwsWith(
      t,
      () => new nn.LSTMCell(3, 4, any({ [name]: 0.5 })),
      TypeError,
      new RegExp(`^\\[LSTMCell\\] options: .* got '${name}', which ${layers} ${whole}`),
    )
  }
  throwsWith(
    t,
    () => new nn.MinGRU(3, 4, any({ weightDropout: 0.5 })),
    TypeError,
    /^\[MinGRU\] options: .*'weightDropout', which all layers with a recurrent matrix have/,
  )
  throwsWith(
    t,
    () => new nn.SRU(3, 4, any({ zoneout: 0.5 })),
    TypeError,
    /got 'zoneout', which nn\.RNN, .* nn\.SLSTM and their cells have/,
  )
  for (const kind of ['IndRNNCell', 'SRUCell', 'MinGRUCell', 'MinLSTMCell'])
    for (const name of ['zoneout', 'recurrentDropout'])
      throwsWith(
        t,
        () => make(kind, 3, 4, { [name]: 0.5 }),
        TypeError,
        new RegExp(
          `^\\[${kind}\\] options: .* got '${name}', which nn.RNN, .* and their cells have`,
        ),
      )
  throwsWith(
    t,
    () => new nn.GRU(3, 4, any({ projSize: 2 })),
    TypeError,
    /got 'projSize', which nn.LSTM and nn.LayerNormLSTM have$/,
  )
})

test('forgetBias: the sum of the biases of the forget gate, and nothing else', async (t) => {
  for (const kind of ['LSTM', 'LayerNormLSTM', 'LSTMCell', 'LayerNormLSTMCell']) {
    const cell = kind.endsWith('Cell')
    const options = cell ? {} : { numLayers: 2, bidirectional: true }
    manualSeed(3)
    const plain = make(kind, 3, 4, options)
    manualSeed(3)
    const layer = make(kind, 3, 4, { ...options, forgetBias: 1.5 })
    t.regex(String(layer), /forgetBias=1.5\)$/)
    const expected = plain.stateDict()
    const check = async (one: nn.Module): Promise<void> => {
      for (const [name, p] of one.namedParameters()) {
        const values = (await (expected.get(name) as Tensor).data()).slice() as Float32Array
        if (/^bias_(ih|hh)/.test(name)) values.fill(name.startsWith('bias_ih') ? 1.5 : 0, 4, 8)
        t.deepEqual(await p.data(), values, `${kind} ${name}`)
      }
    }
    await check(layer)
    const copy = layer.clone()
    for (const p of copy.parameters()) nn.init.zeros(p)
    manualSeed(3)
    copy.resetParameters()
    await check(copy)
    const at = new RegExp(`^\\[${kind}\\] forgetBias: expected`)
    throwsWith(t, () => make(kind, 3, 4, { forgetBias: 1, bias: false }), RangeError, at)
    throwsWith(t, () => make(kind, 3, 4, { forgetBias: Number.NaN }), RangeError, at)
    throwsWith(t, () => make(kind, 3, 4, { forgetBias: Infinity }), RangeError, at)
    throwsWith(t, () => make(kind, 3, 4, { forgetBias: true }), TypeError, at)
  }
})
