/** Inference with few rows in bfloat16: weights are rounded once and kept until they change. */
import test from 'ava'
import {
  backends,
  manualSeed,
  nn,
  noGrad,
  optim,
  randn,
  type Tensor,
  tensor,
  utils,
} from 'fused-rnn'
import { onCpu } from './helpers.js'

const cpuTest = onCpu ? test.serial : test.skip

function use(precision: 'ieee' | 'bf16'): void {
  backends.cpu.matmul.fp32Precision = precision
  backends.cpu.rnn.fp32Precision = precision
}

/** In bfloat16, without gradients. */
async function infer(f: () => Tensor): Promise<number[]> {
  use('bf16')
  const y = noGrad(f)
  use('ieee')
  return Array.from(await y.data())
}

// Large enough to be kept: fewer than 2^17 weights stay float32.
const make: Record<string, () => [nn.Module, (module: nn.Module, x: Tensor) => Tensor, number]> = {
  linear: () => [new nn.Linear(333, 401), (m, x) => (m as nn.Linear).forward(x), 333],
  lstm: () => [
    new nn.LSTM(331, 190, { numLayers: 2 }),
    (m, x) => (m as nn.LSTM).forward(x.reshape([1, ...x.shape]))[0],
    331,
  ],
  gru: () => [
    new nn.GRU(331, 211, { bidirectional: true }),
    (m, x) => (m as nn.GRU).forward(x.reshape([1, ...x.shape]))[0],
    331,
  ],
  projected: () => [
    new nn.LSTM(331, 390, { projSize: 117 }),
    (m, x) => (m as nn.LSTM).forward(x.reshape([1, ...x.shape]))[0],
    331,
  ],
}

for (const [name, build] of Object.entries(make)) {
  cpuTest(`${name}: rounded, and near float32, for 1 to 8 rows`, async (t) => {
    manualSeed(1)
    const [module, forward, inputs] = build()
    for (const rows of [1, 2, 3, 8]) {
      const x = randn([rows, inputs])
      const exact = Array.from(await noGrad(() => forward(module, x)).data())
      const rounded = await infer(() => forward(module, x))
      t.notDeepEqual(rounded, exact)
      t.true(Math.max(...rounded.map((v, i) => Math.abs(v - (exact[i] as number)))) < 0.01)
      t.deepEqual(await infer(() => forward(module, x)), rounded)
      // Where a gradient is wanted nothing is kept.
      use('bf16')
      const y = forward(module, x)
      use('ieee')
      t.deepEqual(Array.from(await y.data()), exact)
    }
  })
}

cpuTest('a linear layer is the product of rounded values', async (t) => {
  manualSeed(2)
  const layer = new nn.Linear(515, 300, { bias: false })
  const x = randn([1, 515])
  const bf16 = (v: number): number => {
    const bits = new Uint32Array(Float32Array.of(v).buffer)[0] as number
    const nearest = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000
    return new Float32Array(Uint32Array.of(nearest).buffer)[0] as number
  }
  const [a, w] = [(await x.data()).map(bf16), (await layer.weight.data()).map(bf16)]
  const y = await infer(() => layer.forward(x))
  for (let o = 0; o < 300; o++) {
    let sum = 0
    for (let i = 0; i < 515; i++) sum += (a[i] as number) * (w[o * 515 + i] as number)
    t.true(Math.abs((y[o] as number) - sum) < 1e-4)
  }
})

type Change = (layer: nn.LSTM) => unknown
const changes: Record<string, Change> = {
  loadStateDict: (layer) => layer.loadStateDict(new nn.LSTM(200, 200).stateDict()),
  'nn.init': (layer) => {
    for (const p of layer.parameters()) nn.init.uniform(p, -0.1, 0.1)
  },
  'one element': (layer) =>
    nn.init.constant((layer.parameters()[0] as Tensor).detach().slice(0, 3, 4), 2),
  SGD: (layer) => step(layer, new optim.SGD(layer.parameters(), { lr: 0.5 })),
  Adam: (layer) => step(layer, new optim.Adam(layer.parameters(), { lr: 0.1 })),
  'another owner': async (layer) => {
    const capsule = await utils.dlpack.toDlpack((layer.parameters()[0] as Tensor).detach())
    const shared = utils.dlpack.fromDlpack(capsule)
    nn.init.constant(shared, 0.01)
  },
}

async function step(layer: nn.LSTM, optimizer: optim.Optimizer): Promise<void> {
  layer
    .forward(randn([3, 2, 200]))[0]
    .sum()
    .backward()
  await optimizer.step()
}

for (const [name, change] of Object.entries(changes)) {
  cpuTest(`weights changed by ${name} are rounded anew`, async (t) => {
    manualSeed(5)
    const layer = new nn.LSTM(200, 200)
    const x = randn([1, 1, 200])
    const before = await infer(() => layer.forward(x)[0])
    t.deepEqual(await infer(() => layer.forward(x)[0]), before)
    await change(layer)
    const after = await infer(() => layer.forward(x)[0])
    t.notDeepEqual(after, before)
    const fresh = new nn.LSTM(200, 200)
    const state = new Map<string, Tensor>()
    for (const [key, p] of layer.stateDict())
      state.set(key, tensor((await p.data()).slice(), { shape: p.shape }))
    fresh.loadStateDict(state)
    if (name !== 'another owner') t.deepEqual(await infer(() => fresh.forward(x)[0]), after)
    // The other owner may write at any time: such weights are not kept, and stay float32.
    else t.deepEqual(Array.from(await noGrad(() => fresh.forward(x)[0]).data()), after)
  })
}
