/**
 * ONNX's LSTM, GRU and RNN with all their attributes: layers of nn where these compute the same, else
 * step by step. The numbers of other projects are in conformance.test.ts.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { manualSeed, nn, ones, onnx, optim, randn, type Tensor, zeros } from 'fused-rnn'
import { closeTo, gradcheck, rejectsWith, testDevice, throwsWith } from './helpers.js'

const folder = mkdtempSync(join(tmpdir(), 'fused-rnn-onnx-'))
test.after.always(() => rmSync(folder, { recursive: true }))

type Op = 'LSTM' | 'GRU' | 'RNN'
type Attributes = Record<string, onnx.Attribute>
const GATES = { LSTM: 4, GRU: 3, RNN: 1 }
const [I, H, T, N] = [3, 4, 5, 2]

interface Parts {
  op: Op
  attributes?: Attributes
  directions?: number
  /** Inputs of the graph beside x: weights that are given at the call. */
  given?: boolean
  lengths?: boolean
  states?: boolean
  peepholes?: boolean
}

/** The values of a node: W, R, B, h0, c0, P. */
function valuesOf({ op, directions = 1, attributes }: Parts): Record<string, Tensor> {
  const rows = GATES[op] * H
  const state = attributes?.layout === 1 ? [N, directions, H] : [directions, N, H]
  return {
    W: randn([directions, rows, I]),
    R: randn([directions, rows, H]),
    B: randn([directions, 2 * rows]),
    h0: randn(state),
    c0: randn(state),
    P: randn([directions, 3 * H]),
  }
}

class Node extends nn.Module {
  readonly #write: (graph: onnx.Graph) => void

  constructor(write: (graph: onnx.Graph) => void) {
    super()
    this.#write = write
  }

  override forward(): void {}

  toOnnx(graph: onnx.Graph): void {
    this.#write(graph)
  }
}

let files = 0

/** A file with one node, read. */
async function load(
  parts: Parts,
  values: Record<string, Tensor>,
): Promise<onnx.LoadedModel<Tensor[]>> {
  const { op, attributes = {}, given, lengths, states, peepholes } = parts
  const path = join(folder, `${++files}.onnx`)
  const model = new Node((graph) => {
    const x = graph.input('x', 'float32', null)
    const weight = (name: string): onnx.Value =>
      given
        ? graph.input(name, 'float32', null)
        : graph.weight(values[name] as Tensor, name.toLowerCase())
    const inputs: (onnx.Value | null)[] = [x, weight('W'), weight('R'), weight('B')]
    inputs.push(lengths ? graph.input('lengths', 'int32', null) : null)
    inputs.push(states ? graph.input('h0', 'float32', null) : null)
    if (op === 'LSTM') {
      inputs.push(states ? graph.input('c0', 'float32', null) : null)
      if (peepholes) inputs.push(weight('P'))
    }
    const outputs = graph.nodes(op, inputs, op === 'LSTM' ? 3 : 2, {
      hidden_size: H,
      ...attributes,
    })
    for (const [i, value] of outputs.entries()) graph.output(`y${i}`, value, 'float32', null)
  })
  await onnx.export(model, path)
  return onnx.load<Tensor[]>(path, { device: testDevice })
}

const MIXED: [string, Partial<Parts>][] = [
  ['forward', {}],
  ['reverse', { attributes: { direction: 'reverse' } }],
  ['both directions', { attributes: { direction: 'bidirectional' }, directions: 2 }],
  ['layout 1', { attributes: { layout: 1 } }],
  ['layout 1, reverse', { attributes: { layout: 1, direction: 'reverse' } }],
  ['layout 1, both', { attributes: { layout: 1, direction: 'bidirectional' }, directions: 2 }],
]

for (const op of ['LSTM', 'GRU', 'RNN'] as const)
  test.serial(
    `${op}: step by step as the layer of nn, in all directions and layouts`,
    async (t) => {
      manualSeed(1)
      for (const [what, more] of MIXED)
        for (const rest of [{}, { states: true }, { lengths: true, states: true }]) {
          const attributes: Attributes = {
            ...more.attributes,
            ...(op === 'GRU' && { linear_before_reset: 1 }),
          }
          const parts: Parts = { op, ...more, ...rest, attributes }
          const values = valuesOf(parts)
          const [layer, steps] = [
            await load(parts, values),
            await load({ ...parts, given: true }, values),
          ]
          t.is(layer.layers.keys().length, 1)
          t.is(steps.layers.keys().length, 0)
          const x = randn(attributes.layout === 1 ? [N, T, I] : [T, N, I], { requiresGrad: true })
          const { W, R, B, h0, c0 } = values as Record<'W' | 'R' | 'B' | 'h0' | 'c0', Tensor>
          const tail = [
            ...('lengths' in rest ? [[3, 5]] : []),
            ...('states' in rest ? [h0, ...(op === 'LSTM' ? [c0] : [])] : []),
          ]
          // The inputs of a graph are in the order in which they were declared.
          const a = layer.forward(x, ...tail)
          const b = steps.forward(x, W, R, B, ...tail)
          t.is(a.length, op === 'LSTM' ? 3 : 2)
          for (const [i, y] of a.entries()) {
            t.deepEqual(b[i]?.shape, y.shape, what)
            await closeTo(t, b[i] as Tensor, y, 2e-5, `${what}, output ${i}`)
          }
          const gradients: Tensor[] = []
          for (const found of [a, b]) {
            x.grad = null
            found
              .map((y) => y.square().sum())
              .reduce((sum, y) => sum.add(y))
              .backward()
            gradients.push(x.grad as unknown as Tensor)
          }
          await closeTo(
            t,
            gradients[1] as Tensor,
            gradients[0] as Tensor,
            1e-4,
            `${what}, gradient`,
          )
        }
    },
  )

test.serial('lengths with reverse, and of no step, in a layer as step by step', async (t) => {
  manualSeed(2)
  for (const op of ['LSTM', 'GRU', 'RNN'] as const)
    for (const [direction, lengths] of [
      ['reverse', [2, 5]],
      ['forward', [0, 3]],
    ] as const) {
      const attributes = { direction, ...(op === 'GRU' && { linear_before_reset: 1 }) }
      const parts: Parts = { op, attributes, lengths: true }
      const values = valuesOf(parts)
      const { W, R, B } = values as Record<'W' | 'R' | 'B', Tensor>
      const x = randn([T, N, I])
      const layer = (await load(parts, values)).forward(x, lengths)
      const steps = (await load({ ...parts, given: true }, values)).forward(x, W, R, B, lengths)
      for (const [i, y] of layer.entries()) await closeTo(t, steps[i] as Tensor, y, 1e-6, op)
      // Each sequence alone, without what lies behind its end.
      const alone = (await load({ op, attributes }, values)).forward(
        x.select(1, 1).unsqueeze(1).slice(0, 0, lengths[1]),
      )
      await closeTo(t, (layer[1] as Tensor).select(1, 1), (alone[1] as Tensor).select(1, 0), 2e-5)
    }
})

test.serial('gradients of what no layer has are those of finite differences', async (t) => {
  manualSeed(3)
  const cases: Parts[] = [
    { op: 'GRU' },
    { op: 'LSTM', peepholes: true },
    { op: 'LSTM', attributes: { input_forget: 1 } },
    { op: 'LSTM', attributes: { activations: ['Sigmoid', 'Softsign', 'ScaledTanh'] } },
    { op: 'RNN', attributes: { activations: ['Softplus'] } },
    { op: 'LSTM', attributes: { clip: { float: 2.5 } } },
  ]
  for (const parts of cases) {
    const { W, R, B, P } = valuesOf(parts) as Record<'W' | 'R' | 'B' | 'P', Tensor>
    const leaf = (x: Tensor): Tensor => {
      const made = x.mul(0.3).detach()
      made.requiresGrad = true
      return made
    }
    const own = [randn([2, 1, I]), W, R, B, ...(parts.peepholes ? [P] : [])].map(leaf)
    const model = await load({ ...parts, given: true }, {})
    await gradcheck(t, (...inputs) => model.forward(...inputs), own, { stride: 5 })
  }
})

test.serial('what is computed step by step is trained, cloned and saved as the rest', async (t) => {
  manualSeed(4)
  const parts: Parts = {
    op: 'GRU',
    attributes: { direction: 'bidirectional', clip: { float: 9 } },
    directions: 2,
  }
  const model = await load(parts, valuesOf(parts))
  t.deepEqual(model.weights.keys().sort(), ['b', 'r', 'w'])
  const x = randn([T, N, I])
  const loss = (one: onnx.LoadedModel<Tensor[]>): Tensor =>
    (one.forward(x)[0] as Tensor).sub(0.5).square().mean()
  const before = await loss(model).item()
  const copy = model.clone()
  const optimizer = new optim.Adam(model.parameters(), { lr: 0.05 })
  for (let step = 0; step < 30; step++) {
    optimizer.zeroGrad()
    loss(model).backward()
    await optimizer.step()
  }
  t.true((await loss(model).item()) < before / 2)
  t.is(await loss(copy).item(), before)
  copy.loadStateDict(model.stateDict())
  t.is(await loss(copy).item(), await loss(model).item())
})

test.serial('clip and activations by hand', async (t) => {
  const values = { W: ones([1, H, I]), R: zeros([1, H, H]), B: zeros([1, 2 * H]) }
  const x = ones([1, 1, I]) // so the activation gets 3
  const of = async (attributes: Attributes): Promise<number> =>
    ((await ((await load({ op: 'RNN', attributes }, values)).forward(x)[0] as Tensor).data())[0] ??
      NaN) as number
  const near = async (attributes: Attributes, expected: number): Promise<void> => {
    const found = await of(attributes)
    t.true(Math.abs(found - expected) < 1e-6, `${JSON.stringify(attributes)}: ${found}`)
  }
  await near({}, Math.tanh(3))
  await near({ clip: { float: 0.5 } }, Math.tanh(0.5))
  await near({ clip: { float: 0 } }, Math.tanh(3))
  await near({ activations: ['Affine'] }, 3)
  await near({ activations: ['relu'], clip: { float: 2 } }, 2)
  await near({ activations: ['HardSigmoid'], clip: { float: 1 } }, 0.7)
  await near({ activations: ['ThresholdedRelu'] }, 3)
  await near({ activations: ['LeakyRelu'] }, 3)
  await near({ activations: ['Elu'] }, 3)
  await near({ activations: ['ScaledTanh'] }, Math.tanh(3))
  await near({ activations: ['Softsign'] }, 0.75)
  await near({ activations: ['Softplus'] }, Math.log1p(Math.exp(3)))
})

test.serial('refusals name the node, its operator and what is known', async (t) => {
  const refused = async (parts: Parts, message: RegExp): Promise<void> => {
    await rejectsWith(t, load(parts, valuesOf(parts)), Error, message)
  }
  await refused(
    { op: 'LSTM', attributes: { activations: ['Sigmoid', 'Tanh', 'Swish'] } },
    /^\[onnx\.load\] .*node 'LSTM_1' \(LSTM\): attribute 'activations': 'Swish' is not known; known: Relu, Tanh, /,
  )
  await refused(
    { op: 'GRU', attributes: { activations: ['Sigmoid'] } },
    /node 'GRU_1' \(GRU\): attribute 'activations': expected 2 in each direction, as Sigmoid, Tanh, got \['Sigmoid'\]/,
  )
  await refused(
    { op: 'RNN', attributes: { clip: { float: -1 } } },
    /\(RNN\): attribute 'clip': expected a number from 0, got -1/,
  )
  await refused(
    { op: 'RNN', attributes: { linear_before_reset: 1 } },
    /\(RNN\): attribute 'linear_before_reset' is not known; known: /,
  )
  await refused(
    { op: 'LSTM', attributes: { direction: 'up' } },
    /'direction': expected forward, reverse or bidirectional, got 'up'/,
  )
  await refused({ op: 'LSTM', attributes: { hidden_size: 7 } }, /does not fit hidden_size 7/)
})

test.serial('errors at forward: shapes of weights that are given, lengths', async (t) => {
  const parts: Parts = { op: 'GRU', given: true, lengths: true, states: true }
  const { W, R, B, h0 } = valuesOf(parts) as Record<'W' | 'R' | 'B' | 'h0', Tensor>
  const model = await load(parts, {})
  const x = randn([T, N, I])
  t.notThrows(() => model.forward(x, W, R, B, [1, 5], h0))
  const fails = (message: RegExp, ...inputs: onnx.OnnxInput[]): void => {
    throwsWith(t, () => model.forward(...inputs), RangeError, message)
  }
  fails(
    /^\[onnx\] node 'GRU_1' \(GRU\): W: expected the shape \(1, 12, 3\), got \(1, 12, 4\)$/,
    x,
    R,
    R,
    B,
    [1, 5],
    h0,
  )
  fails(/R: expected the shape \(1, 12, 4\), got/, x, W, W.slice(1, 0, 8), B, [1, 5], h0)
  fails(/B: expected the shape \(1, 24\)/, x, W, R, B.slice(1, 0, 3), [1, 5], h0)
  fails(/sequence_lens: expected 2 lengths, one of each sequence, got 1/, x, W, R, B, [5], h0)
  fails(/sequence_lens: expected lengths from 0 to 5, got 6/, x, W, R, B, [1, 6], h0)
  fails(/sequence_lens: expected lengths from 0 to 5, got -1/, x, W, R, B, [1, -1], h0)
  fails(/initial_h: expected/, x, W, R, B, [1, 5], h0.slice(2, 0, 2))
  fails(/X: expected three dimensions/, x.select(0, 0), W, R, B, [1, 5], h0)
})
