/**
 * Recurrent dropout, zoneout, resets and masks: against PyTorch (fixtures/make_recurrent_options.py)
 * where nothing is drawn, and with the masks drawn again against the same equations out of operations.
 */
import test from 'ava'
import {
  cat,
  getNumThreads,
  manualSeed,
  nn,
  ones,
  onnx,
  quantization,
  rand,
  setNumThreads,
  stack,
  Tensor,
  tensor,
  where,
  zeros,
} from 'fused-rnn'
import {
  closeTo,
  emulated,
  fixture,
  gradcheck,
  gradgradcheck,
  onCpu,
  projected,
  randomTensor,
  rejectsWith,
  testDevice,
  throwsWith,
} from './helpers.js'
import { dataOf, hasC, type Input, KINDS, type Layer, make, run, steps } from './recurrent-runs.js'

// ---- PyTorch ---------------------------------------------------------------------------------------

interface Case {
  name: string
  kind: string
  input: number
  hidden: number
  lengths: number[]
  layers: number
  bidirectional: boolean
  proj: number
  reset: boolean
  mask: boolean
  reset_state: boolean
  zoneout: number | [number, number]
}

const file = fixture('recurrent_options')
for (const c of file.info.cases as Case[]) {
  test(`as PyTorch: ${c.name}`, async (t) => {
    const options = { numLayers: c.layers, bidirectional: c.bidirectional, zoneout: c.zoneout }
    const projection = c.proj > 0 ? { projSize: c.proj } : {}
    const layer = make(c.kind, c.input, c.hidden, { ...options, ...projection })
    layer.loadStateDict(file.tensors(`${c.name}.w`))
    layer.eval()
    const leaf = (key: string) => file.tensor(`${c.name}.${key}`, { requiresGrad: true })
    const x = leaf('x')
    const states = hasC(c.kind) ? [leaf('h0'), leaf('c0')] : [leaf('h0')]
    const masks = {
      ...(c.reset && { reset: file.tensor(`${c.name}.reset`) }),
      ...(c.mask && { mask: file.tensor(`${c.name}.mask`).ne(0) }),
    }
    const resets = !c.reset_state
      ? []
      : hasC(c.kind)
        ? [leaf('h_reset'), leaf('c_reset')]
        : [leaf('h_reset')]
    const { packPaddedSequence, padPackedSequence } = nn.utils.rnn
    const packed = new Set(c.lengths).size > 1
    const fed = packed ? packPaddedSequence(x, c.lengths, { enforceSorted: false }) : x
    const [y, ...final] = run(layer, fed, states, masks, resets)
    const results = [y instanceof Tensor ? y : padPackedSequence(y)[0], ...final]
    const names = hasC(c.kind) ? ['y', 'hn', 'cn'] : ['y', 'hn']
    for (const [i, name] of names.entries())
      await closeTo(t, results[i], file.array(`${c.name}.${name}`), 2e-5, name)
    const vectors = names.map((name) => file.tensor(`${c.name}.d${name}`))
    projected(results, vectors).backward()
    await closeTo(t, x.grad, file.array(`${c.name}.dx`), 1e-4, 'gradient of input')
    for (const [i, state] of states.entries()) {
      const name = i === 0 ? 'dh0' : 'dc0'
      await closeTo(t, state.grad, file.array(`${c.name}.${name}`), 1e-4, name)
    }
    for (const [i, state] of resets.entries()) {
      const name = i === 0 ? 'dh_reset' : 'dc_reset'
      await closeTo(t, state.grad, file.array(`${c.name}.${name}`), 1e-4, name)
    }
    for (const [name, p] of layer.namedParameters())
      await closeTo(t, p.grad, file.array(`${c.name}.d.${name}`), 1e-4, `gradient of ${name}`)
  })
}

// ---- With masks that are drawn ---------------------------------------------------------------------

interface Drawn {
  hFactor: Tensor | null
  keepH: Tensor | null
  keepC: Tensor | null
}

/** The masks that a call after the same manualSeed draws. */
function draw(layer: Layer, rows: number, batch: number): Drawn {
  const stacks = layer.numLayers * (layer.bidirectional ? 2 : 1)
  const out = layer.projSize || layer.hiddenSize
  const { recurrentDropout: p, zoneout } = layer
  const [pc, ph] = typeof zoneout === 'number' ? [zoneout, zoneout] : zoneout
  const device = testDevice
  return {
    hFactor: p ? nn.functional.dropout(ones([stacks, batch, out], { device }), { p }) : null,
    keepH: ph ? rand([stacks, rows, out], { device }).lt(ph) : null,
    keepC:
      pc && hasC(layer.constructor.name)
        ? rand([stacks, rows, layer.hiddenSize], { device }).lt(pc)
        : null,
  }
}

type Weights = Record<string, Tensor>

function cellStep(kind: string, a: Tensor, q: Tensor, h: Tensor, c: Tensor | null, w: Weights) {
  const size = w.size as unknown as number
  const part = (x: Tensor, k: number): Tensor => x.slice(1, k * size, (k + 1) * size)
  if (kind === 'RNN') return [a.add(q).tanh(), null] as const
  if (kind === 'GRU') {
    const r = part(a, 0).add(part(q, 0)).sigmoid()
    const z = part(a, 1).add(part(q, 1)).sigmoid()
    const n = part(a, 2)
      .add(r.mul(part(q, 2)))
      .tanh()
    return [n.add(z.mul(h.sub(n))), null] as const
  }
  const s = a.add(q)
  const f = part(s, 1).sigmoid()
  const next = f.mul(c as Tensor).add(part(s, 0).sigmoid().mul(part(s, 2).tanh()))
  const seen = w.gain_c ? normed(next, w.gain_c, w.bias_c) : next
  return [part(s, 3).sigmoid().mul(seen.tanh()), next] as const
}

const normed = (x: Tensor, weight?: Tensor, bias?: Tensor): Tensor =>
  nn.functional.layerNorm(x, [x.shape[1] as number], { weight, bias } as never)

/** The layer's equations out of operations. x: `[rows, I]`; sizes: the active sequences of each step. */
function composed(
  layer: Layer,
  x: Tensor,
  sizes: readonly number[],
  state: readonly Tensor[],
  drawn: Drawn,
  reset: Tensor | null,
  mask: Tensor | null,
): Tensor[] {
  const kind = layer.constructor.name
  const D = layer.bidirectional ? 2 : 1
  const all = new Map(layer.namedParameters())
  const starts = sizes.map((_, t) => sizes.slice(0, t).reduce((a, b) => a + b, 0))
  const finals: Tensor[][] = [[], []]
  let below = x
  for (let l = 0; l < layer.numLayers; l++) {
    const halves: Tensor[] = []
    for (let d = 0; d < D; d++) {
      const k = l * D + d
      const w: Weights = { size: layer.hiddenSize as never }
      for (const [name, p] of all) {
        const [base, suffix] = name.split(/_(?=l\d)/) as [string, string]
        if (suffix === `l${l}${d ? '_reverse' : ''}`) w[base] = p
      }
      const product = (rows: Tensor, which: 'ih' | 'hh'): Tensor => {
        const raw = rows.matmul((w[`weight_${which}`] as Tensor).transpose(0, 1))
        return w.gain_c
          ? normed(raw, w[`gain_${which}`], w[`bias_${which}`])
          : raw.add(w[`bias_${which}`] as Tensor)
      }
      const order = [...sizes.keys()]
      if (d === 1) order.reverse()
      let [h, c] = [state[0]?.select(0, k) as Tensor, state[1]?.select(0, k) ?? null]
      const outputs: Tensor[] = []
      for (const t of order) {
        const [from, n] = [starts[t] as number, sizes[t] as number]
        const rows = (whole: Tensor): Tensor => whole.slice(0, from, from + n)
        const first = (whole: Tensor): Tensor => {
          const part = whole.slice(0, 0, n)
          return reset ? where(rows(reset), 0, part) : part
        }
        const [oldH, oldC] = [first(h), c && first(c)]
        const factor = drawn.hFactor?.select(0, k).slice(0, 0, n)
        const q = product(factor ? oldH.mul(factor) : oldH, 'hh')
        const [raw, nextC] = cellStep(kind, product(rows(below), 'ih'), q, oldH, oldC, w)
        let newH = w.weight_hr ? raw.matmul(w.weight_hr.transpose(0, 1)) : raw
        let newC = nextC
        if (drawn.keepH) newH = where(rows(drawn.keepH.select(0, k)), oldH, newH)
        if (drawn.keepC && newC) newC = where(rows(drawn.keepC.select(0, k)), oldC as Tensor, newC)
        if (mask) newH = where(rows(mask), newH, oldH)
        if (mask && newC) newC = where(rows(mask), newC, oldC as Tensor)
        outputs[t] = newH
        const rest = (now: Tensor, whole: Tensor): Tensor =>
          n === whole.shape[0] ? now : cat([now, whole.slice(0, n, whole.shape[0] as number)])
        h = rest(newH, h)
        c = newC && rest(newC, c as Tensor)
      }
      halves.push(cat(outputs))
      finals[0]?.push(h)
      if (c) finals[1]?.push(c)
    }
    below = cat(halves, 1)
  }
  return [below, ...finals.filter((list) => list.length > 0).map((list) => stack(list))]
}

type Pair = [results: Tensor[], gradients: (Tensor | null)[]]

const OPTIONS: Record<string, object> = {
  'recurrent dropout': { recurrentDropout: 0.4 },
  zoneout: { zoneout: 0.3 },
  both: { recurrentDropout: 0.3, zoneout: 0.4 },
}
const LAYOUTS: Record<string, { numLayers?: number; bidirectional?: boolean; projSize?: number }> =
  {
    plain: {},
    'layers, both directions': { numLayers: 2, bidirectional: true },
    projected: { numLayers: 2, bidirectional: true, projSize: 6 },
  }

for (const kind of KINDS)
  for (const [optionName, options] of Object.entries(OPTIONS))
    for (const [layoutName, layout] of Object.entries(LAYOUTS)) {
      if (layout.projSize !== undefined && !hasC(kind)) continue
      // CUDA on the host is slow: there layers and projections only with both options.
      if (emulated && layoutName !== 'plain' && optionName !== 'both') continue
      for (const packed of [false, true])
        test(`${kind}, ${optionName}, ${layoutName}${packed ? ', packed' : ''}, reset and mask`, async (t) => {
          manualSeed(5)
          const layer = make(kind, 4, 11, { ...layout, ...options })
          const sizes = packed ? [5, 5, 3, 3, 1] : [3, 3, 3, 3, 3]
          const [N, rows] = [sizes[0] as number, sizes.reduce((a, b) => a + b, 0)]
          const stacks = layer.numLayers * (layer.bidirectional ? 2 : 1)
          const x = randomTensor([rows, 4], 1, { requiresGrad: true })
          const state = [layer.projSize || 11, ...(hasC(kind) ? [11] : [])].map((width, i) =>
            randomTensor([stacks, N, width], 2 + i, { requiresGrad: true }),
          )
          const leaves = [x, ...state, ...layer.parameters()]
          const [reset, mask] = [steps([5, N], 7, 0), steps([5, N], 8, 1)]
          const lengths = Array.from(
            { length: N },
            (_, n) => sizes.filter((size) => size > n).length,
          )
          const both = [
            () => {
              const fed = packed
                ? new nn.utils.rnn.PackedSequence(x, Int32Array.from(sizes))
                : x.reshape([5, N, 4])
              const [y, ...final] = run(layer, fed, state, { reset, mask })
              return [dataOf(y).reshape([rows, -1]), ...final]
            },
            () => {
              const drawn = draw(layer, rows, N)
              const by = (m: Tensor): Tensor =>
                nn.utils.rnn.packPaddedSequence(m, lengths).data.ne(0).reshape([rows, 1])
              return composed(layer, x, sizes, state, drawn, by(reset), by(mask))
            },
          ]
          const got: Pair[] = []
          for (const f of both) {
            manualSeed(99)
            for (const leaf of leaves) leaf.grad = null
            const results = f()
            const vectors = results.map((one, i) => randomTensor(one.shape, 20 + i))
            projected(results, vectors).backward()
            got.push([results, leaves.map((leaf) => leaf.grad)])
          }
          const [[results, gradients], [expected, slopes]] = got as [Pair, Pair]
          for (const [i, one] of results.entries())
            await closeTo(t, one, expected[i] as Tensor, 2e-5, `result ${i}`)
          // Norms of rows of zeros, as after a reset, amplify how float32 rounds.
          const slack = kind === 'LayerNormLSTM' ? 5e-4 : 1e-4
          for (const [i, one] of gradients.entries())
            await closeTo(t, one, slopes[i] as Tensor, slack, `gradient ${i}`)
        })
    }

// ---- Finite differences ----------------------------------------------------------------------------

const ALL: Record<string, [options: object, reset: boolean, mask: boolean]> = {
  recurrentDropout: [{ recurrentDropout: 0.4 }, false, false],
  zoneout: [{ zoneout: 0.4 }, false, false],
  reset: [{}, true, false],
  mask: [{}, false, true],
  all: [{ recurrentDropout: 0.3, zoneout: 0.3, bidirectional: true }, true, true],
}
for (const kind of KINDS)
  for (const [name, [options, reset, mask]] of Object.entries(ALL)) {
    // One by one they are compared with PyTorch and with operations.
    if (emulated && name !== 'all') continue
    const given = () => ({
      ...(reset && { reset: steps([4, 2], 11, 0) }),
      ...(mask && { mask: steps([4, 2], 12, 1) }),
    })
    const D = name === 'all' ? 2 : 1
    const inputs = (hidden: number): Tensor[] => [
      randomTensor([4, 2, 3], 1, { requiresGrad: true }),
      ...(hasC(kind) ? [2, 3] : [2]).map((seed) =>
        randomTensor([D, 2, hidden], seed, { requiresGrad: true }),
      ),
    ]
    const calling =
      (layer: Layer) =>
      (x: Tensor, ...state: Tensor[]) => {
        manualSeed(17)
        const [y, ...final] = run(layer, x, state, given())
        return [y as Tensor, ...final]
      }
    test(`finite differences: ${kind}, ${name}`, async (t) => {
      manualSeed(6)
      const layer = make(kind, 3, 8, options)
      for (const [key, p] of layer.namedParameters())
        if (key.startsWith('gain')) nn.init.constant(p, 0.4)
      await gradcheck(t, calling(layer), inputs(8), {
        module: layer,
        stride: 5,
        tol: 2e-3,
      })
    })
    if (name !== 'all') continue
    test(`finite differences of gradients: ${kind}`, async (t) => {
      manualSeed(6)
      const layer = make(kind, 3, 4, options)
      for (const [key, p] of layer.namedParameters())
        if (key.startsWith('gain')) nn.init.constant(p, 0.4)
      await gradgradcheck(t, calling(layer), inputs(4), { stride: 3, tol: 4e-3 })
    })
  }

// ---- What the options mean -------------------------------------------------------------------------

test('zoneout of an sLSTM keeps c, n and m of a unit together', async (t) => {
  manualSeed(9)
  const layer = make('SLSTM', 1, 50, { zoneout: 0.4 }) as nn.SLSTM
  const values = [0, 8, 9, 0.5]
  const old = values.map((value) => ones([1, 20, 50]).mul(value))
  const [, [, ...memory]] = layer.forward(zeros([1, 20, 1]), old as never)
  const kept = await Promise.all(
    memory.map(async (one, k) => [...(await one.data())].map((v) => v === values[k + 1])),
  )
  const count = (kept[0] as boolean[]).filter(Boolean).length
  t.true(count > 300 && count < 500, `${count}`)
  t.deepEqual(kept[1], kept[0])
  t.deepEqual(kept[2], kept[0])
})

test('zoneout and recurrent dropout draw with the chances that were given', async (t) => {
  manualSeed(9)
  const [N, H, p] = [300, 200, 0.3]
  const near = (n: number, count: number, chance: number): void => {
    t.true(Math.abs(n / count - chance) < 5 * Math.sqrt((chance * (1 - chance)) / count), `${n}`)
  }
  // A state of 7 is no value of tanh.
  const h0 = ones([1, N, H]).mul(7)
  const rnn = make('RNN', 1, H, { zoneout: p })
  const [y] = run(rnn, zeros([1, N, 1]), [h0])
  near((await dataOf(y).data()).filter((v) => v === 7).length, N * H, p)
  const lstm = make('LSTM', 1, H, { zoneout: [0.1, 0.6] })
  const [, hn, cn] = run(lstm, zeros([1, N, 1]), [h0, h0])
  near((await (hn as Tensor).data()).filter((v) => v === 7).length, N * H, 0.6)
  near((await (cn as Tensor).data()).filter((v) => v === 7).length, N * H, 0.1)
  // Without weights on the input, and W_hh the identity, relu shows the factors.
  const shown = make('RNN', 1, H, { nonlinearity: 'relu', recurrentDropout: p, bias: false })
  const eye = new Float32Array(H * H)
  for (let i = 0; i < H; i++) eye[i * H + i] = 1
  shown.loadStateDict(
    new Map([
      ['weight_ih_l0', zeros([H, 1])],
      ['weight_hh_l0', tensor(eye, { shape: [H, H] })],
    ]),
  )
  const [twice] = run(shown, zeros([2, N, 1]), [ones([1, N, H])])
  const first = (await dataOf(twice).select(0, 0).data()) as Float32Array
  near(first.filter((v) => v === 0).length, N * H, p)
  t.true(first.every((v) => v === 0 || Math.abs(v - 1 / (1 - p)) < 1e-5))
  // The same mask at the next step.
  const second = (await dataOf(twice).select(0, 1).data()) as Float32Array
  t.true(second.every((v, i) => Math.abs(v - (first[i] as number) ** 2) < 1e-4))
  t.notDeepEqual(first.slice(0, H), first.slice(H, 2 * H))
})

test('in evaluation recurrent dropout is off, and nothing is drawn', async (t) => {
  manualSeed(10)
  const layer = make('GRU', 3, 7, { recurrentDropout: 0.5, zoneout: 0.2 })
  const plain = make('GRU', 3, 7)
  plain.loadStateDict(layer.stateDict())
  layer.eval()
  const x = randomTensor([4, 2, 3], 1)
  const [first] = run(layer, x)
  t.deepEqual(await dataOf(run(layer, x)[0]).data(), await dataOf(first).data())
  layer.zoneout = 0
  t.deepEqual(await dataOf(run(layer, x)[0]).data(), await dataOf(run(plain, x)[0]).data())
})

if (onCpu)
  test.serial('the same bits on any number of threads', async (t) => {
    const threads = getNumThreads()
    t.teardown(() => setNumThreads(threads))
    for (const kind of KINDS) {
      const results: Float32Array[][] = []
      for (const n of [1, 2]) {
        setNumThreads(n)
        manualSeed(11)
        const layer = make(kind, 8, 96, { recurrentDropout: 0.2, zoneout: 0.2 })
        const x = randomTensor([6, 64, 8], 1)
        const [y, ...final] = run(layer, x, null, {
          reset: steps([6, 64], 2, 0),
          mask: steps([6, 64], 3, 1),
        })
        const all = [dataOf(y), ...final].map(async (one) => (await one.data()) as Float32Array)
        results.push(await Promise.all(all))
      }
      const [one, two] = results as [Float32Array[], Float32Array[]]
      for (const [i, values] of one.entries())
        await closeTo(t, values, two[i] as Float32Array, kind === 'LayerNormLSTM' ? 1e-6 : 0, kind)
    }
  })

for (const kind of KINDS)
  test(`${kind}Cell: as one step of the layer`, async (t) => {
    manualSeed(12)
    const options = { recurrentDropout: 0.3, zoneout: hasC(kind) ? [0.3, 0.4] : 0.3 }
    const layer = make(kind, 3, 6, options)
    const Cell = (nn as unknown as Record<string, typeof nn.LSTMCell>)[`${kind}Cell`]
    const cell = new (Cell as typeof nn.LSTMCell)(3, 6, { ...options, device: testDevice } as never)
    cell.loadStateDict(
      new Map([...layer.stateDict()].map(([name, value]) => [name.replace('_l0', ''), value])),
    )
    const x = randomTensor([4, 3], 1)
    const state = (hasC(kind) ? [2, 3] : [2]).map((seed) => randomTensor([4, 6], seed))
    for (const training of [true, false]) {
      layer.train(training)
      cell.train(training)
      manualSeed(13)
      const up = (s: Tensor): Tensor => s.reshape([1, 4, 6])
      const [, ...final] = run(layer, x.reshape([1, 4, 3]), state.map(up))
      manualSeed(13)
      const given = state.length === 2 ? state : state[0]
      const got = cell.forward(x, given as never) as unknown
      const parts = (Array.isArray(got) ? got : [got]) as Tensor[]
      for (const [i, one] of parts.entries())
        await closeTo(t, up(one), final[i] as Tensor, 0, `${training} ${i}`)
    }
    const copy = cell.clone()
    t.is(copy.recurrentDropout, 0.3)
    t.deepEqual(copy.zoneout, options.zoneout)
    t.is(String(copy), String(cell))
  })

test('clones and what is printed have the options; the state dict does not', (t) => {
  const layer = make('LSTM', 3, 4, { recurrentDropout: 0.1, zoneout: [0.5, 0.05] })
  t.is(layer.extraRepr(), '3, 4, recurrentDropout=0.1, zoneout=[0.5, 0.05]')
  const copy = layer.clone()
  t.is(copy.recurrentDropout, 0.1)
  t.deepEqual(copy.zoneout, [0.5, 0.05])
  t.deepEqual([...layer.stateDict().keys()], [...make('LSTM', 3, 4).stateDict().keys()])
  t.is(make('GRU', 3, 4, { zoneout: 0.2 }).extraRepr(), '3, 4, zoneout=0.2')
})

if (onCpu)
  test('int8 layers zone out as their originals; ONNX refuses what it has not', async (t) => {
    manualSeed(14)
    const layer = make('LSTM', 8, 16, { recurrentDropout: 0.5, zoneout: [0.4, 0.2] }).eval()
    const int8 = quantization.quantizeDynamic(new nn.Sequential(layer as never))[0] as never
    const x = randomTensor([5, 3, 8], 1)
    const masks = { reset: steps([5, 3], 2, 0), mask: steps([5, 3], 3, 1) }
    const [y] = run(int8, x, null, masks)
    const state = [randomTensor([1, 3, 16], 4), randomTensor([1, 3, 16], 5)]
    throwsWith(
      t,
      () => run(int8, x, null, masks, state),
      TypeError,
      /resetState: expected none, as/,
    )
    await closeTo(t, dataOf(y), dataOf(run(layer, x, null, masks)[0]), 2e-2)
    const off = make('LSTM', 8, 16)
    off.loadStateDict(layer.stateDict())
    const difference = dataOf(y).sub(dataOf(run(off, x, null, masks)[0]))
    const norm = (await difference.norm().item()) as number
    t.true(norm > 0.2, `${norm}`)
    const refused = /expected no zoneout, got 0\.4,0\.2: ONNX/
    await rejectsWith(t, onnx.serialize(layer), TypeError, refused)
    layer.zoneout = 0
    await t.notThrowsAsync(onnx.serialize(layer))
  })

// ---- Errors ----------------------------------------------------------------------------------------

test('what is refused', (t) => {
  for (const p of [-0.1, 1, 1.5, Number.NaN, '0.5']) {
    for (const name of ['recurrentDropout', 'zoneout']) {
      t.throws(() => make('GRU', 3, 4, { [name]: p }), { message: new RegExp(`\\[GRU\\] ${name}`) })
      t.throws(() => new nn.LSTMCell(3, 4, { [name]: p } as never), {
        message: new RegExp(`\\[LSTMCell\\] ${name}`),
      })
    }
    t.throws(() => make('LSTM', 3, 4, { zoneout: [p, 0.1] }), { message: /\[LSTM\] zoneout\[0\]/ })
  }
  throwsWith(t, () => make('LSTM', 3, 4, { zoneout: [0.1] }), RangeError, /a pair \[pc, ph\]/)
  for (const kind of ['RNN', 'GRU'])
    throwsWith(
      t,
      () => make(kind, 3, 4, { zoneout: [0.1, 0.1] }),
      TypeError,
      /got a pair \[pc, ph\], which is for nn\.LSTM/,
    )
  const layer = make('GRU', 3, 4) as nn.GRU
  const x = zeros([5, 2, 3], { device: testDevice })
  for (const name of ['reset', 'mask']) {
    const call =
      (mask: unknown, input: Input = x) =>
      () =>
        layer.forward(input as Tensor, null, { [name]: mask } as nn.StepMasks)
    const shape = new RegExp(`\\[GRU.forward\\] ${name}: expected shape \\(5, 2\\) \\(T, N\\)`)
    throwsWith(t, call(zeros([2, 5], { dtype: 'int32', device: testDevice })), RangeError, shape)
    throwsWith(t, call(zeros([5, 2, 1], { dtype: 'int32', device: testDevice })), RangeError, shape)
    throwsWith(t, call(zeros([5, 2], { device: testDevice })), TypeError, /an int32 or bool tensor/)
    throwsWith(t, call([[1, 0]]), TypeError, /a tensor/)
    const { packPaddedSequence } = nn.utils.rnn
    const packed = packPaddedSequence(x, [5, 2])
    const fits = zeros([5, 2], { dtype: 'int32', device: testDevice })
    t.notThrows(call(fits, packed))
    const padded = new RegExp(
      `\\[GRU.forward\\] ${name}: expected shape \\(5, 2\\) \\(T, N\\), padded to the longest sequence, got`,
    )
    throwsWith(
      t,
      call(zeros([7], { dtype: 'int32', device: testDevice }), packed),
      RangeError,
      padded,
    )
    throwsWith(t, call(fits.slice(0, 0, 4), packed), RangeError, padded)
    throwsWith(t, call(zeros([5, 2], { device: testDevice }), packed), TypeError, /int32 or bool/)
    throwsWith(t, call([[1, 0]], packed), TypeError, /a tensor or a PackedSequence/)
    throwsWith(t, call(packed, packed), TypeError, /an int32 or bool tensor, got 'float32'/)
    throwsWith(t, call(packPaddedSequence(fits, [5, 2])), TypeError, /as the input is not packed/)
    throwsWith(
      t,
      call(packPaddedSequence(fits, [5, 3]), packed),
      RangeError,
      /expected a PackedSequence of the input's lengths and order, \[5, 2\], got \[5, 3\]/,
    )
    const wide = packPaddedSequence(fits.unsqueeze(2), [5, 2])
    throwsWith(t, call(wide, packed), RangeError, /packed data of 1 dimension/)
  }
  throwsWith(t, () => layer.forward(x, null, { resets: x } as never), TypeError, /reset, mask/)
  throwsWith(t, () => layer.forward(x, null, 3 as never), TypeError, /an object of options/)
  const tensorAlone = /an object of options, got a tensor of shape \(5, 2, 3\)/
  throwsWith(t, () => layer.forward(x, null, x as never), TypeError, tensorAlone)
  layer.zoneout = 2
  throwsWith(t, () => layer.forward(x), RangeError, /\[GRU.forward\] zoneout/)
})
