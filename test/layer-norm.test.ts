/** nn.LayerNormLSTM and its cell against PyTorch's operations (fixtures/make_layer_norm.py). */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { io, manualSeed, nn, noGrad, onnx, optim, stack, type Tensor, tensor } from 'fused-rnn'
import {
  closeTo,
  fixture,
  gradcheck,
  projected,
  randomTensor,
  rejectsWith,
  throwsWith,
} from './helpers.js'

const file = fixture('layer_norm')

interface Case {
  name: string
  input: number
  hidden: number
  layers: number
  proj: number
  bias: boolean
  bidirectional: boolean
  lengths: number[]
  states: boolean
}

const make = (c: Case): nn.LayerNormLSTM => {
  const { input, hidden, layers: numLayers, proj: projSize, bias, bidirectional } = c
  const layer = new nn.LayerNormLSTM(input, hidden, { numLayers, projSize, bias, bidirectional })
  layer.loadStateDict(file.tensors(`${c.name}.w`))
  return layer
}

for (const c of file.info.cases as Case[]) {
  for (const packed of new Set([false, true])) {
    if (!packed && new Set(c.lengths).size > 1) continue
    test(`as PyTorch: ${c.name}${packed ? ', packed' : ''}`, async (t) => {
      const layer = make(c)
      const leaf = (key: string) => file.tensor(`${c.name}.${key}`, { requiresGrad: true })
      const x = leaf('x')
      const states = c.states ? ([leaf('h0'), leaf('c0')] as const) : null
      const { packPaddedSequence, padPackedSequence } = nn.utils.rnn
      let results: Tensor[]
      if (packed) {
        const fed = packPaddedSequence(x, c.lengths, { enforceSorted: false })
        const [y, final] = layer.forward(fed, states)
        results = [padPackedSequence(y)[0], ...final]
      } else {
        const [y, final] = layer.forward(x, states)
        results = [y, ...final]
      }
      for (const [i, name] of ['y', 'hn', 'cn'].entries()) {
        await closeTo(t, results[i], file.array(`${c.name}.${name}`), 2e-5, name)
      }
      const vectors = ['dy', 'dhn', 'dcn'].map((key) => file.tensor(`${c.name}.${key}`))
      projected(results, vectors).backward()
      await closeTo(t, x.grad, file.array(`${c.name}.dx`), 1e-4, 'gradient of input')
      if (states !== null) {
        await closeTo(t, states[0].grad, file.array(`${c.name}.dh0`), 1e-4, 'gradient of h_0')
        await closeTo(t, states[1].grad, file.array(`${c.name}.dc0`), 1e-4, 'gradient of c_0')
      }
      for (const [name, p] of layer.namedParameters()) {
        await closeTo(t, p.grad, file.array(`${c.name}.d.${name}`), 1e-4, `gradient of ${name}`)
      }
    })
  }
}

test('finite differences, two layers both directions, projected', async (t) => {
  manualSeed(3)
  const layer = new nn.LayerNormLSTM(3, 8, { numLayers: 2, bidirectional: true, projSize: 4 })
  // Gains of 1 amplify what float32 rounds, and with it the differences.
  for (const [name, p] of layer.namedParameters()) {
    if (name.startsWith('gain')) nn.init.constant(p, 0.4)
  }
  await gradcheck(
    t,
    (x, h, c) => {
      const [y, state] = layer.forward(x as Tensor, [h as Tensor, c as Tensor])
      return [y, ...state]
    },
    [
      randomTensor([3, 2, 3], 1, { requiresGrad: true }),
      randomTensor([4, 2, 4], 2, { requiresGrad: true }),
      randomTensor([4, 2, 8], 3, { requiresGrad: true }),
    ],
    { module: layer, stride: 3 },
  )
})

test('finite differences, packed, without biases', async (t) => {
  manualSeed(4)
  const layer = new nn.LayerNormLSTM(3, 4, { bidirectional: true, bias: false })
  await gradcheck(
    t,
    (x) => {
      const lengths = [2, 4, 1]
      const fed = nn.utils.rnn.packPaddedSequence(x as Tensor, lengths, { enforceSorted: false })
      const [y, state] = layer.forward(fed)
      return [y.data, ...state]
    },
    [randomTensor([4, 3, 3], 1, { requiresGrad: true })],
    { module: layer, stride: 2 },
  )
})

test('names, shapes and first values of the parameters', async (t) => {
  const layer = new nn.LayerNormLSTM(3, 4, { bidirectional: true })
  const names = ['weight_ih', 'weight_hh', 'bias_ih', 'bias_hh']
  const all = [...names, 'gain_ih', 'gain_hh', 'gain_c', 'bias_c'].map((kind) => `${kind}_l0`)
  t.deepEqual([...layer.stateDict().keys()], [...all, ...all.map((name) => `${name}_reverse`)])
  const shape = (name: string) => layer[name as 'weight_ih_l0']?.shape
  t.deepEqual(all.map(shape), [[16, 3], [16, 4], [16], [16], [16], [16], [4], [4]])
  for (const [name, parameter] of layer.namedParameters()) {
    const values = await parameter.data()
    if (name.startsWith('gain'))
      t.true(
        values.every((value) => value === 1),
        name,
      )
    else if (name.startsWith('bias'))
      t.true(
        values.every((value) => value === 0),
        name,
      )
    else t.true(values.every((value) => Math.abs(value) <= 0.5) && new Set(values).size > 4, name)
  }
  const plain = new nn.LayerNormLSTM(3, 4, { bias: false })
  t.deepEqual(
    [...plain.stateDict().keys()],
    ['weight_ih', 'weight_hh', 'gain_ih', 'gain_hh', 'gain_c'].map((kind) => `${kind}_l0`),
  )
  t.is(String(layer), 'LayerNormLSTM(3, 4, bidirectional=true)')
})

test('one-hot rows, whose product is a lookup, as written out', async (t) => {
  const layer = new nn.LayerNormLSTM(9, 6)
  const index = tensor(
    Int32Array.from({ length: 60 }, (_, i) => (i * 7) % 9),
    { shape: [20, 3] },
  )
  const looked = layer.forward(nn.functional.oneHot(index, 9))[0]
  looked.sum().backward()
  const gradients = layer.parameters().map((p) => p.grad as Tensor)
  for (const p of layer.parameters()) p.grad = null
  const written = nn.functional.oneHot(index, 9)
  const y = layer.forward(tensor(await written.data(), { shape: [20, 3, 9] }))[0]
  await closeTo(t, looked, (await y.data()) as Float32Array, 1e-6)
  y.sum().backward()
  for (const [i, p] of layer.parameters().entries()) {
    await closeTo(t, gradients[i], (await p.grad?.data()) as Float32Array, 1e-5)
  }
})

test('a wide layer on shared threads, step by step and at once', async (t) => {
  // Large enough that the units of a step are divided among threads.
  const layer = new nn.LayerNormLSTM(40, 520)
  const x = randomTensor([6, 9, 40], 5)
  await noGrad(async () => {
    const [y, [hn, cn]] = layer.forward(x)
    const outputs: Tensor[] = []
    let state: readonly [Tensor, Tensor] | null = null
    for (let step = 0; step < 6; step++) {
      const row = layer.forward(x.slice(0, step, step + 1), state) as [Tensor, [Tensor, Tensor]]
      outputs.push(row[0].reshape([9, 520]))
      state = row[1]
    }
    const [h, c] = state as unknown as [Tensor, Tensor]
    await closeTo(t, y, (await stack(outputs, 0).data()) as Float32Array, 2e-5)
    await closeTo(t, hn, (await h.data()) as Float32Array, 2e-5)
    await closeTo(t, cn, (await c.data()) as Float32Array, 2e-5)
  })
})

test('the cell is one step of the layer', async (t) => {
  const layer = new nn.LayerNormLSTM(5, 6)
  const cell = new nn.LayerNormLSTMCell(5, 6)
  const parameters = [...layer.stateDict()].map(([name, p]): [string, Tensor] => [
    name.replace('_l0', ''),
    p,
  ])
  t.deepEqual(
    [...cell.stateDict().keys()],
    parameters.map(([name]) => name),
  )
  cell.loadStateDict(new Map(parameters))
  const x = randomTensor([3, 2, 5], 6, { requiresGrad: true })
  const [y, [, cn]] = layer.forward(x)
  let state: [Tensor, Tensor] | undefined
  const outputs: Tensor[] = []
  for (let t = 0; t < 3; t++) {
    state = cell.forward(x.slice(0, t, t + 1).reshape([2, 5]), state)
    outputs.push(state[0])
  }
  const stepped = stack(outputs, 0)
  await closeTo(t, stepped, (await y.data()) as Float32Array, 1e-6)
  await closeTo(t, state?.[1], (await cn.reshape([2, 6]).data()) as Float32Array, 1e-6)
  y.sum().backward()
  stepped.sum().backward()
  for (const [name, p] of cell.namedParameters()) {
    const whole = await layer[`${name}_l0` as 'weight_ih_l0']?.grad?.data()
    await closeTo(t, p.grad, whole as Float32Array, 1e-4, name)
  }
  t.is(String(cell), 'LayerNormLSTMCell(5, 6)')
})

test('saved, loaded and trained', async (t) => {
  manualSeed(5)
  const layer = new nn.LayerNormLSTM(3, 8, { numLayers: 2, dropout: 0.2 })
  const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-layer-norm-'))
  t.teardown(() => rm(folder, { recursive: true }))
  const path = join(folder, 'layer.safetensors')
  await io.safetensors.save(path, layer.stateDict())
  const again = new nn.LayerNormLSTM(3, 8, { numLayers: 2 })
  again.loadStateDict(await io.safetensors.load(path))
  const x = randomTensor([5, 4, 3], 7)
  layer.eval()
  const before = (await layer.forward(x)[0].data()) as Float32Array
  await closeTo(t, again.forward(x)[0], before, 0)
  layer.train()
  const optimizer = new optim.Adam(layer.parameters(), { lr: 0.02 })
  const target = randomTensor([5, 4, 8], 8)
  const losses: number[] = []
  for (let i = 0; i < 60; i++) {
    optimizer.zeroGrad()
    const loss = new nn.MSELoss().forward(layer.forward(x)[0], target)
    loss.backward()
    losses.push(await loss.item())
    await optimizer.step()
  }
  t.true((losses.at(-1) as number) < 0.8 * (losses[0] as number), String(losses.at(-1)))
})

test('errors', async (t) => {
  const layer = new nn.LayerNormLSTM(3, 4)
  const x = randomTensor([2, 2, 3], 9)
  throwsWith(
    t,
    () => layer.forward(randomTensor([2, 2, 4], 1)),
    RangeError,
    /\[LayerNormLSTM\.forward\] input/,
  )
  throwsWith(t, () => layer.forward(x, x as never), TypeError, /\[LayerNormLSTM\.forward\] hidden/)
  const nonlinearity = { nonlinearity: 'relu' } as object
  throwsWith(t, () => new nn.LayerNormLSTM(3, 4, nonlinearity), TypeError, /\[LayerNormLSTM\]/)
  layer.gain_c_l0 = randomTensor([3], 1)
  throwsWith(t, () => layer.forward(x), RangeError, /gain_c_l0: expected shape \(4,\), got \(3,\)/)
  const zoned = onnx.serialize(new nn.LayerNormLSTM(3, 4, { zoneout: 0.1 }))
  await rejectsWith(t, zoned, TypeError, /zoneout/)
})
