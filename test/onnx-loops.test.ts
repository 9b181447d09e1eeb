/** Loops (Scan) in ONNX files: what onnx.export wrote for a cell, and other projects' files. */
import { mkdtempSync, rmSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { manualSeed, models, nn, noGrad, onnx, optim, randn, type Tensor, tensor } from 'fused-rnn'
import { closeTo, fixture, rejectsWith, testDevice, throwsWith } from './helpers.js'
import { forward, type Layer, Padded, stateOf } from './onnx-layers.js'

const folder = mkdtempSync(join(tmpdir(), 'fused-rnn-onnx-'))
test.after.always(() => rmSync(folder, { recursive: true }))

const [I, H] = [3, 4]
const OPTIONS = { numLayers: 2, bidirectional: true, batchFirst: true }
const LAYERS: Record<string, () => Layer> = {
  IndRNN: () => new nn.IndRNN(I, H, OPTIONS),
  SRU: () => new nn.SRU(I, H, OPTIONS),
  MinGRU: () => new nn.MinGRU(I, H, OPTIONS),
  MinLSTM: () => new nn.MinLSTM(I, H, OPTIONS),
  'SLSTM of two heads': () => new nn.SLSTM(I, H, { ...OPTIONS, numHeads: 2 }),
  LayerNormLSTM: () => new nn.LayerNormLSTM(I, H, OPTIONS),
  'LSTM with a projection and peepholes': () =>
    new nn.LSTM(I, H, { ...OPTIONS, projSize: 2, peephole: true }),
}

let files = 0
async function again(model: nn.Module): Promise<onnx.LoadedModel<Tensor[]>> {
  const path = join(folder, `${++files}.onnx`)
  await onnx.export(model, path)
  return onnx.load<Tensor[]>(path, { device: testDevice })
}

async function compare(
  t: ExecutionContext,
  found: readonly Tensor[],
  expected: readonly Tensor[],
  what: string,
): Promise<void> {
  t.is(found.length, expected.length, what)
  for (const [i, value] of expected.entries()) {
    t.deepEqual(found[i]?.shape, value.shape, `${what}: output ${i}`)
    await closeTo(t, found[i], value, 2e-5, `${what}: output ${i}`)
  }
}

for (const [title, make] of Object.entries(LAYERS))
  test.serial(`${title}: outputs, states and gradients of the layer`, async (t) => {
    manualSeed(1)
    const layer = make()
    const loaded = await again(layer)
    for (const [N, T] of [
      [1, 1],
      [2, 5],
    ] as const) {
      const input = randn([N, T, I], { requiresGrad: true })
      const states = stateOf(layer, N)
      const expected = forward(layer, input, states).flat()
      const found = loaded.forward(input, ...states)
      await compare(t, found, expected, `${T} steps of ${N}`)
      const factors = expected.map((value) => randn(value.shape))
      const gradient = (outputs: readonly Tensor[]): Tensor => {
        input.grad = null
        const parts = outputs.map((value, i) => value.mul(factors[i] as Tensor).sum())
        parts.reduce((a, b) => a.add(b)).backward()
        return input.grad as unknown as Tensor
      }
      await closeTo(t, gradient(found), gradient(expected), 1e-4, 'gradient of the input')
    }
    // Its weights are the layer's, in one form or another, and learn.
    const input = randn([2, 5, I])
    const optimizer = new optim.Adam(loaded.parameters(), { lr: 0.05 })
    const losses: number[] = []
    for (let step = 0; step < 10; step++) {
      optimizer.zeroGrad()
      const [output] = loaded.forward(input, ...stateOf(layer, 2).map((x) => x.mul(0).add(0.5)))
      const loss = (output as Tensor).sub(0.1).square().mean()
      loss.backward()
      await optimizer.step()
      losses.push(await loss.item())
    }
    t.true((losses.at(-1) as number) < 0.9 * (losses[0] as number), losses.join(' '))
  })

test.serial('lengths of sequences: as packed', async (t) => {
  manualSeed(2)
  for (const [title, make] of Object.entries(LAYERS)) {
    const model = new Padded(make())
    const loaded = await again(model)
    const [lengths, x] = [Int32Array.of(2, 5, 1), randn([3, 5, I])]
    const expected = model.forward(x, lengths)
    for (const given of [tensor(lengths), [...lengths]])
      await compare(t, loaded.forward(x, given), expected, title)
  }
})

test.serial('a LanguageModel of each of these cells', async (t) => {
  manualSeed(3)
  for (const cell of ['layerNormLSTM', 'sru', 'minGRU', 'sLSTM'] as const) {
    const sizes = { vocabSize: 7, embeddingSize: 3, hiddenSize: 4 }
    const model = new models.LanguageModel({ ...sizes, cell })
    const loaded = await again(model)
    model.eval()
    const tokens = tensor([1, 2, 3, 4, 5, 6], { shape: [3, 2], dtype: 'int32' })
    const [, after] = noGrad(() => model.forward(tokens))
    const states = [after].flat() as Tensor[]
    const given = states.length === 1 ? states[0] : states
    const [logits, next] = noGrad(() => model.forward(tokens, given as Tensor))
    const found = noGrad(() => loaded.forward(tokens, ...states))
    await compare(t, found, [logits, ...([next].flat() as Tensor[])], cell)
  }
})

test.serial('axes, directions, loops in loops, values from around: as ONNX Runtime', async (t) => {
  const numbers = fixture('onnx_scan')
  const url = new URL('../test/fixtures/onnx_scan.onnx', import.meta.url)
  const loaded = await onnx.load<Tensor[]>(url, { device: testDevice })
  const inputs = ['gate', 'state0', 'x', 'factors', 'carry0', 'lines']
  const outputs = ['end', 'all', 'sum', 'table']
  t.deepEqual(loaded.inputNames, inputs)
  t.deepEqual(loaded.outputNames, outputs)
  const given = inputs.map((name) => numbers.tensor(name))
  const expected = outputs.map((name) => numbers.tensor(name))
  await compare(t, loaded.forward(...given), expected, 'the first')
  // A clone has the same loops over weights of its own.
  const clone = loaded.clone()
  const [weight] = clone.parameters()
  nn.init.zeros(weight as Tensor)
  await compare(t, loaded.forward(...given), expected, 'beside the clone')
  t.not(
    await clone
      .forward(...given)[0]
      ?.sum()
      .item(),
    await expected[0]?.sum().item(),
  )

  const few = given.with(2, (given[2] as Tensor).slice(1, 0, 2))
  throwsWith(t, () => loaded.forward(...few), RangeError, /Scan\): inputs: expected as many steps/)
  const none = given.with(5, (given[5] as Tensor).slice(0, 0, 0))
  throwsWith(t, () => loaded.forward(...none), RangeError, /Scan\): inputs: expected at least one/)
})

test('loops in loops without end are an error', async (t) => {
  /** A field of bytes, of protocol buffers. */
  const field = (number: number, bytes: Uint8Array): Uint8Array => {
    const head = [8 * number + 2]
    let size = bytes.length
    for (; size > 127; size >>= 7) head.push((size & 127) | 128)
    return Buffer.concat([Uint8Array.from([...head, size]), bytes])
  }
  let graph: Uint8Array = new Uint8Array()
  for (let depth = 0; depth < 5000; depth++) graph = field(1, field(5, field(6, graph)))
  const path = join(folder, 'deep.onnx')
  await writeFile(
    path,
    Buffer.concat([Uint8Array.of(8, 8), field(8, Uint8Array.of(16, 17)), field(7, graph)]),
  )
  await rejectsWith(t, onnx.load(path), Error, /it has loops in loops more than 8 deep/)
})

test.serial('errors name the loop, and the operator in it', async (t) => {
  class Sums extends nn.Module {
    constructor(readonly op: string) {
      super()
    }
    override forward(): void {}
    toOnnx(graph: onnx.Graph): void {
      const x = graph.input('x', 'float32', ['steps', 2])
      const [[end]] = graph.scan([graph.input('total', 'float32', [2])], [x], ([sum], [row]) => [
        [graph.node(this.op, [sum as onnx.Value, row as onnx.Value])],
        [],
      ])
      graph.output('end', end as onnx.Value, 'float32', [2])
    }
  }
  await rejectsWith(
    t,
    again(new Sums('Mod')),
    Error,
    /node '.*Mod.*' \(Mod\): this operator is not/,
  )
  const sums = await again(new Sums('Add'))
  const [x, total] = [randn([3, 2]), randn([2])]
  const [end] = [sums.forward(x, total)].flat()
  await closeTo(t, end, total.add(x.sum(0)), 1e-6)
  // Without steps the states are what they were.
  const [same] = [sums.forward(x.slice(0, 0, 0), total)].flat()
  await closeTo(t, same, total, 0)
  const products = await again(new Sums('MatMul'))
  const message = /\[onnx\] node 'Scan_\d+' \(Scan\): node '.*MatMul.*' \(MatMul\): /
  throwsWith(t, () => products.forward(randn([3, 2]), total), Error, message)
})
