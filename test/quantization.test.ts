/** Layers with int8 weights compute what their rule says: `quantization`. */
import { readFileSync } from 'node:fs'
import test from 'ava'
import {
  cat,
  getNumThreads,
  manualSeed,
  nn,
  quantization,
  randn,
  setNumThreads,
  type Tensor,
  tensor,
} from 'fused-rnn'
import { closeTo, onCpu, runScript } from './helpers.js'
import { array, plain, product, quantizedWeight, type Row, rowsOf } from './quantization-rule.js'

const cpuTest = onCpu ? test.serial : test.skip
const { quantizeDynamic } = quantization

cpuTest('a linear layer computes what the rule says, to the bit', async (t) => {
  manualSeed(1)
  const sizes = [
    [1, 1, 1],
    [1, 3, 2],
    [2, 4, 15],
    [3, 5, 16],
    [5, 63, 17],
    [7, 64, 33],
    [13, 129, 70],
    [40, 300, 150],
    [3, 1100, 64],
  ] as const
  for (const [m, inputs, outputs] of sizes) {
    for (const bias of [true, false]) {
      const layer = new nn.Linear(inputs, outputs, { bias })
      const int8 = quantizeDynamic(layer)
      const x = randn([m, inputs])
      const w = rowsOf(await layer.weight.data(), inputs)
      const expected = product(
        rowsOf(await x.data(), inputs),
        w,
        layer.bias && (await layer.bias.data()),
      )
      const name = `${m} x ${inputs} x ${outputs}, bias ${bias}`
      t.deepEqual(plain(await array(int8.forward(x))), plain(expected.flat()), name)
    }
  }
})

cpuTest('rows of zeros, of tiny and huge numbers, of NaN and infinity', async (t) => {
  const layer = new nn.Linear(4, 3, { bias: false })
  const w = [
    [0, 0, 0, 0],
    [1e-40, 0, 0, 0],
    [3, -2.5, 1, 0.25],
  ]
  layer.weight = nn.Parameter(tensor(w))
  const int8 = quantizeDynamic(layer)
  const x = [
    [0, 0, 0, 0],
    [-1, -2, -3, -0.5],
    [1e-44, 0, 0, 0],
    [3e38, -3e38, 1, 2],
    [1, Number.NaN, 2, 3],
    [1, 2, Number.NEGATIVE_INFINITY, 3],
    [2, 2, 2, 2],
  ]
  const got = rowsOf(await int8.forward(tensor(x)).data(), 3)
  const expected = product(x, [w[0] as number[], [0, 0, 0, 0], w[2] as number[]], null)
  for (const [r, row] of got.entries()) t.deepEqual(plain(row), plain(expected[r] as number[]))
  t.true(got[4]?.every(Number.isNaN))
  t.true(got[5]?.every(Number.isNaN))
  const broken = new nn.Linear(2, 2, { bias: false })
  broken.weight = nn.Parameter(
    tensor([
      [1, Number.NaN],
      [1, 2],
    ]),
  )
  const [nan, fine] = await array(quantizeDynamic(broken).forward(tensor([[1, 1]])))
  t.true(Number.isNaN(nan))
  t.true(Math.abs((fine as number) - 3) < 0.02)
})

cpuTest('the words of a state dict are what the page says', async (t) => {
  manualSeed(2)
  const layer = new nn.Linear(6, 18)
  const int8 = quantizeDynamic(layer) as quantization.DynamicQuantizedLinear
  const state = int8.stateDict()
  t.deepEqual([...state.keys()].sort(), ['bias', 'weight', 'weight_scale'])
  const weight = state.get('weight') as Tensor
  t.is(weight.dtype, 'int32')
  t.deepEqual(weight.shape, [2, 3, 16])
  const words = await weight.data()
  const bytes = new Int8Array((words as Int32Array).buffer)
  const expected = rowsOf(await layer.weight.data(), 6).map(quantizedWeight)
  for (let o = 0; o < 18; o++) {
    const [panel, lane] = [Math.floor(o / 16), o % 16]
    const row = expected[o] as Row
    t.is(
      words[panel * 48 + lane],
      row.q.reduce((a, b) => a + b, 0),
    )
    for (let i = 0; i < 6; i++)
      t.is(bytes[(panel * 48 + (1 + Math.floor(i / 4)) * 16 + lane) * 4 + (i % 4)], row.q[i])
  }
  t.deepEqual(
    await array(int8.weight_scale),
    expected.map((row) => row.scale),
  )
})

// ---- Recurrent layers ------------------------------------------------------------------------------

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x))

/** One step of one row of each cell, from pre-activations: the input's and h's, each with its bias. */
const STEPS = {
  LSTM(a: number[], b: number[], _h: number[], c: number[], n: number): [number[], number[]] {
    const gate = (g: number, j: number): number =>
      (a[g * n + j] as number) + (b[g * n + j] as number)
    const next = c.map(
      (old, j) => sigmoid(gate(1, j)) * old + sigmoid(gate(0, j)) * Math.tanh(gate(2, j)),
    )
    return [next.map((value, j) => sigmoid(gate(3, j)) * Math.tanh(value)), next]
  },
  GRU(a: number[], b: number[], h: number[], _c: number[], n: number): [number[], number[]] {
    const at = (values: number[], g: number, j: number): number => values[g * n + j] as number
    const next = h.map((old, j) => {
      const r = sigmoid(at(a, 0, j) + at(b, 0, j))
      const z = sigmoid(at(a, 1, j) + at(b, 1, j))
      return (1 - z) * Math.tanh(at(a, 2, j) + r * at(b, 2, j)) + z * old
    })
    return [next, []]
  },
  RNN(a: number[], b: number[], _h: number[], _c: number[], n: number): [number[], number[]] {
    return [Array.from({ length: n }, (_, j) => Math.tanh((a[j] as number) + (b[j] as number))), []]
  },
} as const

cpuTest('recurrent layers compute what the rule says, step by step', async (t) => {
  manualSeed(3)
  const [steps, batch, inputs, hidden] = [4, 3, 21, 37]
  for (const kind of ['LSTM', 'GRU', 'RNN'] as const) {
    const layer = new nn[kind](inputs, hidden)
    const int8 = quantizeDynamic(layer) as nn.RecurrentLayer
    const x = randn([steps, batch, inputs])
    const [w, u, b, d] = (await Promise.all(
      ['weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0'].map((name) =>
        (layer as nn.RecurrentLayer)[name as 'weight_ih_l0']?.data(),
      ),
    )) as [Float32Array, Float32Array, Float32Array, Float32Array]
    let state: unknown
    let [h, c] = [
      rowsOf(new Float32Array(batch * hidden), hidden),
      rowsOf(new Float32Array(batch * hidden), hidden),
    ]
    for (let s = 0; s < steps; s++) {
      const now = x.slice(0, s, s + 1)
      const [y, next] = int8.forward(now, state as never)
      const fromX = product(rowsOf(await now.data(), inputs), rowsOf(w, inputs), b)
      const fromH = product(h, rowsOf(u, hidden), d)
      const expected = h.map((row, r) =>
        STEPS[kind](fromX[r] as number[], fromH[r] as number[], row, c[r] as number[], hidden),
      )
      await closeTo(
        t,
        y,
        expected.flatMap(([value]) => value),
        2e-6,
        `${kind}, step ${s}`,
      )
      // The next step begins with the layer's own values: a rounding that goes the other way is not
      // carried along.
      h = rowsOf(await y.data(), hidden)
      if (Array.isArray(next)) {
        await closeTo(
          t,
          next[1],
          expected.flatMap(([, value]) => value),
          2e-6,
          'c',
        )
        c = rowsOf(await (next[1] as Tensor).data(), hidden)
      }
      state = next
    }
  }
})

/** The copy of a layer of one layer and direction that has one part of another's weights. */
function part(
  from: nn.RecurrentLayer,
  kind: 'LSTM' | 'GRU' | 'RNN',
  suffix: string,
): nn.RecurrentLayer {
  const inputs = (from[`weight_ih_${suffix}` as 'weight_ih_l0'] as Tensor).shape[1] as number
  const layer = new nn[kind](inputs, from.hiddenSize, {
    ...(from.projSize > 0 && { projSize: from.projSize }),
  } as never) as nn.RecurrentLayer
  for (const [name] of layer.namedParameters()) {
    const key = name.replace('l0', suffix) as 'weight_ih_l0'
    layer[name as 'weight_ih_l0'] = from[key] as Tensor
  }
  return quantizeDynamic(layer)
}

cpuTest('layers, directions and batchFirst are made of one layer', async (t) => {
  manualSeed(4)
  for (const kind of ['LSTM', 'GRU', 'RNN'] as const) {
    const options = { numLayers: 2, bidirectional: true }
    const layer = new nn[kind](11, 19, options) as nn.RecurrentLayer
    const x = randn([6, 4, 11])
    const [y] = quantizeDynamic(layer).forward(x)
    let value = x
    for (const l of [0, 1]) {
      const [there] = part(layer, kind, `l${l}`).forward(value)
      const [back] = part(layer, kind, `l${l}_reverse`).forward(value.flip([0]))
      value = cat([there, back.flip([0])], 2)
    }
    t.deepEqual(await array(y), await array(value), kind)
    const first = new nn[kind](11, 19, { ...options, batchFirst: true }) as nn.RecurrentLayer
    first.loadStateDict(layer.stateDict())
    const [z] = quantizeDynamic(first).forward(x.transpose(0, 1))
    t.deepEqual(await array(z.transpose(0, 1)), await array(y), kind)
  }
})

cpuTest('a cell is a step of its layer', async (t) => {
  manualSeed(15)
  for (const kind of ['LSTM', 'GRU', 'RNN'] as const) {
    for (const bias of [true, false]) {
      const layer = new nn[kind](17, 23, { bias })
      const cell = new nn[`${kind}Cell`](17, 23, { bias })
      const state = [...layer.stateDict()].map(([name, w]) => [name.slice(0, -3), w] as const)
      cell.loadStateDict(new Map(state))
      const [a, b] = [quantizeDynamic(layer as nn.RecurrentLayer), quantizeDynamic<nn.Module>(cell)]
      t.is(b.constructor.name, `DynamicQuantized${kind}Cell`)
      const x = randn([3, 5, 17])
      const [y] = a.forward(x)
      let next: unknown = null
      const outputs: number[] = []
      for (let s = 0; s < 3; s++) {
        const forward = b.forward as (x: Tensor, state: unknown) => unknown
        next = forward.call(b, x.select(0, s), next)
        outputs.push(...(await array((Array.isArray(next) ? next[0] : next) as Tensor)))
      }
      t.deepEqual(outputs, await array(y), kind)
      const copy = b.clone()
      t.deepEqual([...copy.stateDict().keys()], [...b.stateDict().keys()])
      t.throws(() => b.train().forward(...([x.select(0, 0)] as never[])), { message: /call eval/ })
    }
  }
})

cpuTest('rows do not depend on others, nor steps on how many come at once', async (t) => {
  manualSeed(5)
  for (const [kind, options] of [
    ['LSTM', { bidirectional: false, numLayers: 2 }],
    ['LSTM', { projSize: 13 }],
    ['GRU', { bias: false }],
    ['RNN', { nonlinearity: 'relu' }],
  ] as const) {
    const layer = quantizeDynamic(new nn[kind](24, 70, options as never)) as nn.RecurrentLayer
    const x = randn([9, 12, 24])
    const [y, last] = layer.forward(x)
    const alone = await array(layer.forward(x.slice(1, 7, 8))[0])
    t.deepEqual(alone, await array(y.slice(1, 7, 8)), 'a row alone')
    let state: unknown = null
    const outputs: number[] = []
    for (let s = 0; s < 9; s++) {
      const [out, next] = layer.forward(x.slice(0, s, s + 1), state as never)
      outputs.push(...(await array(out)))
      state = next
    }
    t.deepEqual(outputs, await array(y), 'step by step')
    const ends = (value: unknown): Tensor[] => (Array.isArray(value) ? value : [value]) as Tensor[]
    for (const [i, end] of ends(state).entries())
      t.deepEqual(await array(end), await array(ends(last)[i] as Tensor), 'the last state')
    const lengths = [9, 9, 8, 7, 7, 5, 4, 3, 3, 2, 1, 1]
    const packed = nn.utils.rnn.packPaddedSequence(x, lengths)
    const [padded] = nn.utils.rnn.padPackedSequence(layer.forward(packed)[0])
    for (const [r, length] of lengths.entries())
      t.deepEqual(
        await array(padded.slice(1, r, r + 1).slice(0, 0, length)),
        await array(layer.forward(x.slice(1, r, r + 1).slice(0, 0, length))[0]),
        'packed',
      )
  }
})

cpuTest('threads do not change the bits', async (t) => {
  manualSeed(6)
  const before = getNumThreads()
  const model = quantizeDynamic(
    new nn.LSTM(96, 200, { numLayers: 2, bidirectional: true, projSize: 50 }),
  )
  const head = quantizeDynamic(new nn.Linear(200, 333))
  const [x, z] = [randn([20, 3, 96]), randn([70, 200])]
  const results: string[] = []
  try {
    for (const threads of [1, 2, 5]) {
      setNumThreads(threads)
      results.push(JSON.stringify([await array(model.forward(x)[0]), await array(head.forward(z))]))
    }
  } finally {
    setNumThreads(before)
  }
  t.is(results[1], results[0])
  t.is(results[2], results[0])
})

// Random numbers and initial weights are rounded in each instruction set's own way.
const script = `
  import { createHash } from 'node:crypto'
  import { nn, quantization, tensor } from 'fused-rnn'
  const bits = async (x) => createHash('sha256').update(new Uint8Array((await x.data()).buffer)).digest('hex')
  let seed = 0
  const values = (...shape) => {
    seed++
    const count = shape.reduce((a, b) => a * b, 1)
    return tensor(Float32Array.from({ length: count }, (_, i) => Math.sin((i + 1) * 12.9898 + seed) * (1 + (i % 7))), { shape })
  }
  const filled = (layer) => {
    layer.loadStateDict(new Map([...layer.stateDict()].map(([name, p]) => [name, values(...p.shape).div(9)])))
    return quantization.quantizeDynamic(layer)
  }
  const exact = [], close = []
  for (const [m, i, o] of [[1, 1, 1], [1, 37, 70], [2, 64, 16], [5, 130, 65], [33, 515, 130]]) {
    const layer = filled(new nn.Linear(i, o))
    exact.push(await bits(layer.forward(values(m, i))), await bits(layer.weight), await bits(layer.weight_scale))
  }
  for (const [kind, options] of [['LSTM', {}], ['GRU', { bidirectional: true }], ['RNN', {}]]) {
    const layer = filled(new nn[kind](21, 77, options))
    for (const [, buffer] of layer.namedBuffers()) exact.push(await bits(buffer))
    close.push(Array.from(await layer.forward(values(1, 3, 21).div(9))[0].data()))
  }
  console.log(JSON.stringify({ exact, close }))
`

cpuTest('every instruction set gives the same whole numbers, and so the same bits', async (t) => {
  const results = new Map<string, { exact: string[]; close: number[][] }>()
  for (const isa of ['base', 'avx2', 'avx512', 'avx512vnni', 'avx512bf16']) {
    const { code, stdout, stderr } = await runScript(script, { env: { FUSED_RNN_ISA: isa } })
    if (code === 0) results.set(isa, JSON.parse(stdout))
    else if (/this processor does not have it|expected one of/.test(stderr))
      t.log(`${isa}: not here`)
    else throw new Error(stderr)
  }
  const base = results.get('base') as { exact: string[]; close: number[][] }
  for (const [isa, { exact, close }] of results) {
    t.deepEqual(exact, base.exact, isa)
    // The cells' functions are float32, each instruction set's own.
    for (const [i, values] of close.entries())
      await closeTo(t, values, base.close[i] as number[], 1e-6, isa)
  }
})

// ---- Beside PyTorch --------------------------------------------------------------------------------

interface Case {
  step: number
  expected: number[]
  bound: number
}
const cases: Record<string, Case> = JSON.parse(
  readFileSync(new URL('../test/fixtures/quantization.json', import.meta.url), 'utf8'),
)
const [T, N, I, H, O] = [12, 5, 48, 64, 50]

/** As in make_quantization.py. */
function values(shape: readonly number[], seed: number, scale: number): Tensor {
  const count = shape.reduce((a, b) => a * b, 1)
  const numbers = Float32Array.from({ length: count }, (_, i) => {
    const large = Math.sin((i + 1) * 12.9898 + seed) * 43758.5453
    return (large - Math.floor(large)) * 2 * scale - scale
  })
  return tensor(numbers, { shape })
}

cpuTest("errors are no larger than those of PyTorch's quantize_dynamic", async (t) => {
  for (const [kind, { step, expected, bound }] of Object.entries(cases)) {
    const bidirectional = kind.endsWith('both')
    const layer: nn.Module = kind.startsWith('linear')
      ? new nn.Linear(I, O)
      : new nn[kind.startsWith('lstm') ? 'LSTM' : 'GRU'](I, H, { numLayers: 2, bidirectional })
    const named = layer.namedParameters()
    layer.loadStateDict(new Map(named.map(([name, p], i) => [name, values(p.shape, i + 2, 0.25)])))
    let x = kind.startsWith('linear') ? values([T * N, I], 1, 1) : values([T, N, I], 1, 1)
    if (kind === 'linear relu') x = x.relu()
    const out = (quantizeDynamic(layer).forward as (x: Tensor) => Tensor | [Tensor])(x)
    const y = await array(Array.isArray(out) ? out[0] : out)
    let [error, size] = [0, 0]
    for (const [i, value] of expected.entries()) {
      error += ((y[i * step] as number) - value) ** 2
      size += value ** 2
    }
    const relative = Math.sqrt(error / size)
    t.log(`${kind}: ${relative.toExponential(2)}, PyTorch ${bound.toExponential(2)}`)
    t.true(relative <= bound, `${kind}: ${relative} > ${bound}`)
    t.true(relative > bound / 50, `${kind}: ${relative} is not int8's`)
  }
})
