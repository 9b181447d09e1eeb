/** nn.recurrent: cells that are composed of tensor operations. */
import test from 'ava'
import { autograd, manualSeed, nn, noGrad, type Tensor, utils } from 'fused-rnn'
import {
  closeTo,
  gradcheck,
  gradgradcheck,
  projected,
  randomTensor,
  throwsWith,
} from './helpers.js'
import { steps } from './recurrent-runs.js'

const { linear } = nn.functional
const { packPaddedSequence, padPackedSequence } = nn.utils.rnn

type Four = [Tensor, Tensor, Tensor, Tensor]
const ComposedLSTM = nn.recurrent({
  name: 'ComposedLSTM',
  gates: 4,
  state: ['h', 'c'],
  step(x, [h, c], { weight_hh, bias_hh }) {
    const [i, f, g, o] = x.add(linear(h, weight_hh, bias_hh)).chunk(4, 1) as Four
    const next = f.sigmoid().mul(c).add(i.sigmoid().mul(g.tanh()))
    return [o.sigmoid().mul(next.tanh()), next]
  },
})
const ComposedGRU = nn.recurrent({
  name: 'ComposedGRU',
  gates: 3,
  step(x, h, { weight_hh, bias_hh }) {
    const [xr, xz, xn] = x.chunk(3, 1) as Four
    const [hr, hz, hn] = linear(h, weight_hh, bias_hh).chunk(3, 1) as Four
    const z = xz.add(hz).sigmoid()
    const n = xn.add(xr.add(hr).sigmoid().mul(hn)).tanh()
    return n.add(z.mul(h.sub(n)))
  },
})
const PAIRS = {
  LSTM: [ComposedLSTM, nn.LSTM],
  GRU: [ComposedGRU, nn.GRU],
} as const

const all = {
  numLayers: 2,
  bidirectional: true,
  dropout: 0.3,
  inputDropout: 0.2,
  outputDropout: 0.2,
  weightDropout: 0.4,
}
for (const [kind, [Composed, Fused]] of Object.entries(PAIRS)) {
  for (const options of [{}, { bias: false }, { numLayers: 2, bidirectional: true }, all]) {
    for (const packed of [false, true]) {
      test(`${kind} ${JSON.stringify(options)}${packed ? ' packed' : ''}: as the fused one`, async (t) => {
        manualSeed(1)
        const fused = new Fused(3, 5, options) as nn.RecurrentLayer
        const composed = new Composed(3, 5, options) as nn.RecurrentLayer
        t.deepEqual([...composed.stateDict().keys()], [...fused.stateDict().keys()])
        composed.loadStateDict(fused.stateDict())
        const stacks = fused.numLayers * (fused.bidirectional ? 2 : 1)
        const leaf = (shape: number[], seed: number) =>
          randomTensor(shape, seed, { requiresGrad: true })
        const x = leaf([6, 3, 3], 1)
        const state = [leaf([stacks, 3, 5], 2), leaf([stacks, 3, 5], 3)]
        const given = (kind === 'LSTM' ? state : state[0]) as never
        const results: { values: Tensor[]; gradients: (Tensor | null)[] }[] = []
        for (const layer of [fused, composed]) {
          const leaves = [x, ...state, ...layer.parameters()]
          for (const one of leaves) one.grad = null
          manualSeed(2)
          const fed = packed ? packPaddedSequence(x, [2, 6, 3], { enforceSorted: false }) : x
          const [y, final] = layer.forward(fed as Tensor, given)
          const rows = y instanceof nn.utils.rnn.PackedSequence ? padPackedSequence(y)[0] : y
          const values = [rows, ...(Array.isArray(final) ? final : [final])] as Tensor[]
          projected(
            values,
            values.map(({ shape }, k) => randomTensor(shape, 20 + k)),
          ).backward()
          results.push({ values, gradients: leaves.map((one) => one.grad) })
        }
        const [a, b] = results as [(typeof results)[0], (typeof results)[0]]
        for (const [k, one] of b.values.entries())
          await closeTo(t, one, a.values[k] as Tensor, 2e-5, `result ${k}`)
        for (const [k, one] of a.gradients.entries())
          if (one !== null) await closeTo(t, b.gradients[k], one, 1e-4, `gradient ${k}`)
      })
    }
  }
  for (const packed of [false, true])
    test(`${kind}: resets, their state and masks, as the fused one${packed ? ', packed' : ''}`, async (t) => {
      manualSeed(3)
      const options = { numLayers: 2, bidirectional: true }
      const fused = new Fused(3, 5, options) as nn.RecurrentLayer
      const composed = new Composed(3, 5, options) as nn.RecurrentLayer
      composed.loadStateDict(fused.stateDict())
      const x = randomTensor([6, 3, 3], 1, { requiresGrad: true })
      const [h, c] = [2, 3].map((seed) => randomTensor([4, 3, 5], seed, { requiresGrad: true }))
      const to = (kind === 'LSTM' ? [h, c] : h) as never
      const reset = steps([6, 3], 4, 0)
      const mask = steps([6, 3], 5, 1)
      for (const between of [{ reset }, { mask }, { reset, mask, resetState: to }]) {
        const run = (layer: nn.RecurrentLayer): (Tensor | null)[] => {
          for (const one of [x, h, c]) (one as Tensor).grad = null
          const fed = packed ? packPaddedSequence(x, [2, 6, 3], { enforceSorted: false }) : x
          const [y, final] = layer.forward(fed as Tensor, null, between)
          const rows = y instanceof nn.utils.rnn.PackedSequence ? y.data : y
          const values = [rows, ...(Array.isArray(final) ? final : [final])] as Tensor[]
          const vectors = values.map(({ shape }, k) => randomTensor(shape, 20 + k))
          projected(values, vectors).backward()
          return [...values, x.grad, h?.grad ?? null, c?.grad ?? null]
        }
        const expected = run(fused)
        for (const [k, one] of run(composed).entries())
          if (expected[k]) await closeTo(t, one, expected[k] as Tensor, 1e-4, `${k}`)
          else t.is(one, null)
      }
    })

  test(`${kind}: batchFirst, unbatched, states left out, as the fused one`, async (t) => {
    const options = { batchFirst: true, numLayers: 2 }
    const fused = new Fused(3, 5, options) as nn.RecurrentLayer
    const composed = new Composed(3, 5, options) as nn.RecurrentLayer
    composed.loadStateDict(fused.stateDict())
    for (const x of [
      randomTensor([2, 4, 3], 1),
      randomTensor([4, 3], 2),
      randomTensor([1, 3], 3),
    ]) {
      const [expected, expectedEnd] = fused.forward(x)
      const [y, end] = composed.forward(x)
      await closeTo(t, y, expected, 2e-5)
      const parts = (one: unknown) => (Array.isArray(one) ? one : [one]) as Tensor[]
      for (const [k, one] of parts(end).entries())
        await closeTo(t, one, parts(expectedEnd)[k] as Tensor, 2e-5)
    }
  })
}

/** Three states, own parameters, one of them in place of weight_hh. */
const Odd = nn.recurrent({
  name: 'Odd',
  gates: 2,
  state: ['h', 'm', 'n'],
  parameters: ({ hiddenSize }) => ({
    weight_hh: [hiddenSize],
    bias_hh: null,
    gain_m: [hiddenSize],
    rate: [],
  }),
  step(x, [h, m, n], { weight_hh, gain_m, rate }) {
    const [a, b] = x.chunk(2, 1) as Four
    const kept = m.mul(gain_m).mul(a.sigmoid())
    const next = kept.add(b.tanh())
    return [next.add(h.mul(weight_hh)).tanh(), next, n.add(rate.mul(next))]
  },
})

test('own parameters and three states: names, shapes, beginnings', async (t) => {
  const layer = new Odd(3, 4, { numLayers: 2, bidirectional: true, bias: true })
  const names = layer.namedParameters().map(([name, p]) => `${name} ${p.shape}`)
  t.deepEqual(
    names.filter((name) => name.includes('_l1_reverse')),
    [
      'weight_ih_l1_reverse 8,8',
      'weight_hh_l1_reverse 4',
      'bias_ih_l1_reverse 8',
      'gain_m_l1_reverse 4',
      'rate_l1_reverse ',
    ],
  )
  const gain = layer.stateDict().get('gain_m_l0') as Tensor
  t.deepEqual([...(await gain.data())], [1, 1, 1, 1])
  const [y, final] = layer.forward(randomTensor([5, 2, 3], 1))
  t.deepEqual(y.shape, [5, 2, 8])
  t.deepEqual(
    final.map((one: Tensor) => [...one.shape]),
    [
      [4, 2, 4],
      [4, 2, 4],
      [4, 2, 4],
    ],
  )
  t.is(String(layer), 'Odd(3, 4, numLayers=2, bidirectional=true)')
})

test('three states: a sequence in two calls, and as single ones', async (t) => {
  const layer = new Odd(3, 4, { numLayers: 2 })
  const x = randomTensor([6, 2, 3], 1)
  const [whole, end] = layer.forward(x)
  const [first, between] = layer.forward(x.slice(0, 0, 2))
  const [second, last] = layer.forward(x.slice(0, 2), between)
  await closeTo(t, first, whole.slice(0, 0, 2), 1e-6)
  await closeTo(t, second, whole.slice(0, 2), 1e-6)
  for (const k of [0, 1, 2] as const) await closeTo(t, last[k], end[k], 1e-6)
  const [y, [h]] = layer.forward(x.select(1, 0))
  await closeTo(t, y, whole.select(1, 0), 1e-5)
  t.deepEqual(h.shape, [2, 4])
})

test('finite differences, once and twice', async (t) => {
  manualSeed(3)
  const layer = new Odd(2, 3, { numLayers: 2, bidirectional: true })
  const run = (x?: Tensor, h?: Tensor, m?: Tensor, n?: Tensor): Tensor[] => {
    const fed = packPaddedSequence(x as Tensor, [2, 4], { enforceSorted: false })
    const [y, final] = layer.forward(fed, [h as Tensor, m as Tensor, n as Tensor])
    return [y.data, ...final]
  }
  const inputs = [
    randomTensor([4, 2, 2], 1, { requiresGrad: true }),
    ...[2, 3, 4].map((seed) => randomTensor([4, 2, 3], seed, { requiresGrad: true })),
  ]
  await gradcheck(t, run, inputs, { module: layer, stride: 3 })
  const small = new ComposedLSTM(2, 2)
  await gradgradcheck(t, (x) => small.forward(x as Tensor)[0], [
    randomTensor([3, 1, 2], 1, { requiresGrad: true }),
  ])
})

test('gates 0: the input as it is, all parameters the cell’s own', async (t) => {
  const Leaky = nn.recurrent({
    gates: 0,
    parameters: ({ inputSize, hiddenSize }) => ({
      weight_in: [hiddenSize, inputSize],
      weight_rate: [hiddenSize],
    }),
    step: (x, h, { weight_in, weight_rate }) =>
      h.add(linear(x, weight_in).sub(h).mul(weight_rate.sigmoid())),
  })
  const layer = new Leaky(3, 4)
  t.deepEqual([...layer.stateDict().keys()], ['weight_in_l0', 'weight_rate_l0'])
  const x = randomTensor([2, 1, 3], 1)
  const [y] = layer.forward(x)
  const weights = layer.stateDict()
  const rate = (weights.get('weight_rate_l0') as Tensor).sigmoid()
  const product = linear(x, weights.get('weight_in_l0') as Tensor)
  const h1 = product.select(0, 0).mul(rate)
  const h2 = h1.add(product.select(0, 1).sub(h1).mul(rate))
  await closeTo(t, y.select(0, 1), h2, 1e-6)
  t.is(String(layer), 'Recurrent(3, 4)')
  throwsWith(
    t,
    () => new Leaky(3, 4, { weightDropout: 0.5 }).forward(x),
    TypeError,
    /weightDropout: expected 0, as this layer has no recurrent matrix weight_hh, got/,
  )
})

test('clones, subclasses, trained in a model, checkpointSteps', async (t) => {
  class Named extends ComposedGRU {}
  const layer = new Named(3, 4, { dropout: 0.5, numLayers: 2 })
  const copy = layer.clone()
  t.true(copy instanceof Named)
  t.deepEqual([...copy.stateDict().keys()], [...layer.stateDict().keys()])
  const x = randomTensor([8, 2, 3], 1)
  layer.eval()
  copy.eval()
  t.deepEqual(await copy.forward(x)[0].data(), await layer.forward(x)[0].data())
  const model = new nn.ModuleList([layer, new nn.Linear(4, 1)])
  t.true(model.namedParameters().some(([name]) => name === '0.weight_hh_l1'))
  const whole = noGrad(() => layer.forward(x)[0])
  const [pieces] = utils.checkpoint.checkpointSteps(layer, 3, x)
  await closeTo(t, pieces, whole, 1e-6)
  const [gradient] = autograd.grad(pieces.sum(), [layer.weight_ih_l0 as Tensor])
  const [expected] = autograd.grad(layer.forward(x)[0].sum(), [layer.weight_ih_l0 as Tensor])
  await closeTo(t, gradient, expected as Tensor, 1e-5)
})

test('refuses steps that return something else, and says what', (t) => {
  const any = (value: unknown): never => value as never
  const x = randomTensor([2, 3, 3], 1)
  const of = (step: unknown, state: string[]) =>
    new (nn.recurrent({ name: 'Wrong', gates: 1, state, step: any(step) }))(3, 4)
  const cases: [unknown, string[], new (...args: never[]) => Error, RegExp][] = [
    [(_: Tensor, [h]: Tensor[]) => h, ['h', 'c'], TypeError, /step: expected an array \[h, c\]/],
    [(_: Tensor, [h]: Tensor[]) => [h], ['h', 'c'], TypeError, /step: expected an array \[h, c\]/],
    [() => undefined, ['h'], TypeError, /step: h: expected a tensor, got undefined/],
    [async (_: Tensor, h: Tensor) => h, ['h'], TypeError, /step: h: expected a tensor/],
    [(_: Tensor, h: Tensor) => h.sum(), ['h'], RangeError, /step: h: .*\(3, 4\), got \(\)/],
    [(_: Tensor, h: Tensor) => h.slice(1, 1), ['h'], RangeError, /h: .*\(3, 4\), got \(3, 3\)/],
    [(_: Tensor, h: Tensor) => h.gt(0), ['h'], TypeError, /step: h: expected a float32 tensor/],
    [(_: Tensor, [h, c]: Tensor[]) => [h, c?.slice(0, 1)], ['h', 'c'], RangeError, /step: c: /],
  ]
  for (const [step, state, type, message] of cases)
    throwsWith(t, () => of(step, state).forward(x), type, message)
  const step = (_: Tensor, h: Tensor): Tensor => h
  const bad = (definition: object, type: typeof TypeError, message: RegExp): void =>
    throwsWith(t, () => nn.recurrent(any(definition)), type, message)
  bad({}, TypeError, /^\[recurrent\] step: expected a function, got undefined/)
  bad({ step, gates: 1.5 }, RangeError, /^\[recurrent\] gates: expected a whole number/)
  bad({ step, gates: -1 }, RangeError, /^\[recurrent\] gates/)
  bad({ step, state: 'h' }, TypeError, /^\[recurrent\] state: expected an array of names/)
  bad({ step, state: [] }, RangeError, /^\[recurrent\] state: expected at least one name/)
  bad({ step, name: 'two words' }, RangeError, /^\[recurrent\] name/)
  bad({ step, parameters: {} }, TypeError, /^\[recurrent\] parameters: expected a function/)
  bad({ step, gate: 2 }, TypeError, /^\[recurrent\] options: .*'gate'/)
  const own = (parameters: () => unknown) =>
    new (nn.recurrent({ name: 'Own', step: any(step), parameters: any(parameters) }))(3, 4)
  throwsWith(
    t,
    () => own(() => 3),
    TypeError,
    /^\[Own\] parameters: expected a function that gives/,
  )
  throwsWith(
    t,
    () => own(() => ({ a: 3 })),
    TypeError,
    /^\[Own\] parameters\(\).a: expected a shape/,
  )
  throwsWith(t, () => own(() => ({ a: [-1] })), RangeError, /^\[Own\]/)
  throwsWith(t, () => own(() => ({ 'a.b': [1] })), RangeError, /^\[Own\] parameters\(\).a.b/)
  throwsWith(t, () => own(() => ({ weight_ih: [1] })), RangeError, /weight_ih: expected another/)
  const layer = new Odd(3, 4)
  const reset = steps([x.shape[0] as number, x.shape[1] as number], 1, 0)
  const resetTo = (state: unknown) => () =>
    layer.forward(x, null, any({ reset, resetState: state }))
  throwsWith(t, resetTo(randomTensor([1, 3, 4], 1)), TypeError, /resetState: .*\[h, m, n\]/)
  throwsWith(t, resetTo([x, x, 3]), TypeError, /resetState\[2\]: expected a tensor/)
  throwsWith(t, () => layer.forward(x, null, any({ resets: 1 })), TypeError, /reset, mask/)
  const more = layer.forward.bind(layer) as (...all: unknown[]) => unknown
  throwsWith(t, () => more(x, null, {}, 1), TypeError, /at most 3 \(input, state, masks\)/)
  layer.zoneout = 0.5
  throwsWith(t, () => layer.forward(x), TypeError, /zoneout: expected 0, as a cell of your own/)
  layer.zoneout = 0
  throwsWith(t, () => layer.forward(x, any(randomTensor([1, 3, 4], 1))), TypeError, /\[h, m, n\]/)
  const h = randomTensor([1, 3, 4], 1)
  throwsWith(t, () => layer.forward(x, any([h, h])), TypeError, /\[h, m, n\]/)
  throwsWith(t, () => layer.forward(x, any([h, h, 3])), TypeError, /hidden\[2\]: expected a tensor/)
  throwsWith(
    t,
    () => layer.forward(x, [h, h, h.slice(2, 1)]),
    RangeError,
    /hidden\[2\]: .*\(1, 3, 4\)/,
  )
  throwsWith(t, () => new Odd(3, 4, any({ projSize: 2 })), TypeError, /projSize/)
  throwsWith(t, () => new Odd(0, 4), RangeError, /^\[Odd\] inputSize/)
  throwsWith(t, () => layer.forward(randomTensor([2, 3, 2], 1)), RangeError, /\(inputSize\)/)
})
