/** Modules, optimisers, files and training on a GPU, and what goes from one device to another. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import {
  data,
  io,
  models,
  nn,
  ones,
  optim,
  setDefaultDevice,
  type Tensor,
  Trainer,
  tensor,
} from 'fused-rnn'
import { closeTo, onCpu, randomTensor, rejectsWith, testDevice, throwsWith } from './helpers.js'

/** What needs a GPU beside the CPU. */
const gpuTest = onCpu ? test.serial.skip : test.serial
const gpu = testDevice

// ---- Modules, optimisers, files --------------------------------------------------------------------

/** Some training steps; what the parameters are afterwards. */
async function trained(on: string, moveAfter: string | null): Promise<Tensor[]> {
  const layer = new nn.GRU(3, 4, { device: 'cpu' })
  let seed = 1
  for (const p of layer.parameters()) {
    const values = await randomTensor(p.shape, seed++).data()
    layer.loadStateDict(
      new Map([
        [
          layer.namedParameters().find(([, q]) => q === p)?.[0] as string,
          tensor(values, { shape: p.shape }),
        ],
      ]),
      { strict: false },
    )
  }
  const optimizer = new optim.Adam(layer.parameters(), { lr: 0.01, maxGradNorm: 1 })
  layer.to(on)
  for (let i = 0; i < 4; i++) {
    if (i === 2 && moveAfter !== null) layer.to(moveAfter)
    optimizer.zeroGrad()
    const where = layer.parameters()[0]?.device as string
    layer
      .forward(randomTensor([5, 2, 3], 77).to(where))[0]
      .sum()
      .backward()
    await optimizer.step()
  }
  return layer.parameters()
}

gpuTest(
  'Module.to: parameters stay themselves, training goes on with the same numbers',
  async (t) => {
    const layer = new nn.LSTM(3, 4, { device: 'cpu' })
    const before = layer.parameters()
    const values = await Promise.all(before.map((p) => p.data()))
    layer
      .forward(ones([2, 1, 3], { device: 'cpu' }))[0]
      .sum()
      .backward()
    t.is(layer.to(gpu), layer)
    t.deepEqual(layer.parameters(), before)
    for (const [i, p] of layer.parameters().entries()) {
      t.is(p.device, gpu)
      t.is(p.grad?.device, gpu)
      t.true(p.requiresGrad)
      t.deepEqual(await p.data(), values[i])
    }
    const expected = await trained('cpu', null)
    for (const other of [
      await trained(gpu, null),
      await trained('cpu', gpu),
      await trained(gpu, 'cpu'),
    ])
      for (const [i, p] of other.entries()) await closeTo(t, p, expected[i] as Tensor, 1e-5)
  },
)

gpuTest('Module.to: tied weights stay tied, weights of a loss move along', (t) => {
  const model = new models.LanguageModel({
    vocabSize: 5,
    hiddenSize: 4,
    embeddingSize: 4,
    tieWeights: true,
    device: 'cpu',
  })
  model.to(gpu)
  t.is(model.encoder?.weight, model.decoder.weight)
  t.is(model.decoder.weight.device, gpu)
  const weight = ones([2], { device: 'cpu' })
  const loss = new nn.BCEWithLogitsLoss({ weight })
  loss.to(gpu)
  t.is(loss.weight?.device, gpu)
  t.is(weight.device, 'cpu')
})

gpuTest('state dicts are loaded across devices, also an optimiser’s', async (t) => {
  const a = new nn.Linear(2, 2, { device: 'cpu' })
  const b = new nn.Linear(2, 2, { device: gpu })
  b.loadStateDict(a.stateDict())
  t.is(b.weight.device, gpu)
  t.deepEqual(await b.weight.data(), await a.weight.data())
  const first = new optim.Adam(a.parameters())
  a.forward(ones([1, 2], { device: 'cpu' }))
    .sum()
    .backward()
  await first.step()
  const second = new optim.Adam(b.parameters())
  second.loadStateDict(first.stateDict())
  b.forward(ones([1, 2], { device: gpu }))
    .sum()
    .backward()
  await second.step()
  const { expAvg } = second.stateDict().state[0] as optim.ParamState
  t.is((expAvg as Tensor).device, gpu)
})

gpuTest('one optimiser for parameters on two devices', async (t) => {
  const a = tensor([1], { device: 'cpu', requiresGrad: true })
  const b = tensor([2], { device: gpu, requiresGrad: true })
  const optimizer = new optim.SGD([a, b], { lr: 1, momentum: 0.5 })
  a.mul(3).sum().backward()
  b.mul(4).sum().backward()
  await optimizer.step()
  t.deepEqual([await a.item(), await b.item()], [-2, -2])
  optimizer.maxGradNorm = 1
  throwsWith(
    t,
    () => optimizer.step(),
    RangeError,
    /\[SGD\] maxGradNorm.*on cpu, got one on cuda:0/,
  )
  throwsWith(t, () => nn.utils.clipGradNorm([a, b], 1), RangeError, /\[clipGradNorm\] gradients/)
})

test('safetensors: where the tensors go', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-device-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const path = join(folder, 'a.safetensors')
  await io.safetensors.save(path, new Map([['a', tensor([1, 2])]]))
  t.is((await io.safetensors.load(path)).get('a')?.device, 'cpu')
  const there = (await io.safetensors.load(path, { device: testDevice })).get('a') as Tensor
  t.is(there.device, testDevice)
  t.deepEqual(await there.data(), Float32Array.of(1, 2))
  await rejectsWith(
    t,
    io.safetensors.load(path, { device: 'cuda:99' }),
    RangeError,
    /\[safetensors\.load\] device/,
  )
})

// ---- Training --------------------------------------------------------------------------------------

gpuTest('the Trainer brings batches to the model, whatever holds their tensors', async (t) => {
  class Model extends nn.Module {
    readonly linear = new nn.Linear(2, 1, { device: gpu })
    readonly seen: string[] = []
    override forward(x: Tensor): Tensor {
      this.seen.push(x.device)
      return this.linear.forward(x)
    }
    trainingStep(batch: unknown): Tensor {
      const { parts } = batch as { parts: [Tensor, Map<string, Tensor>] }
      return this.forward(parts[0])
        .sub(parts[1].get('y') as Tensor)
        .sum()
    }
    configureOptimizers(): optim.SGD {
      return new optim.SGD(this.parameters(), { lr: 0.01 })
    }
  }
  const model = new Model()
  const x = ones([3, 2], { device: 'cpu' })
  const batch = { parts: [x, new Map([['y', ones([3, 1], { device: 'cpu' })]])], name: 'one' }
  await new Trainer({ maxEpochs: 1, progressBar: false }).fit(model, [batch, batch])
  t.deepEqual(model.seen, [gpu, gpu])
  t.deepEqual(await x.data(), new Float32Array(6).fill(1), 'the batch is the user’s')
})

gpuTest('a language model trains, is saved, loaded and generates on either device', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-device-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const text = 'the quick brown fox jumps over the lazy dog. '.repeat(8)
  const vocabulary = data.Vocabulary.fromText(text)
  const sizes = { vocabulary, embeddingSize: 4, hiddenSize: 8, numLayers: 2, dropout: 0 }
  const model = new models.LanguageModel({ ...sizes, device: gpu })
  const batches = new data.SequentialBatches(vocabulary.encode(text), {
    batchSize: 4,
    sequenceLength: 12,
  })
  setDefaultDevice('cpu') // the batches are made there
  try {
    const trainer = new Trainer({ maxEpochs: 2, progressBar: false })
    const { metrics } = await trainer.fit(model, batches, batches)
    t.true(Number.isFinite(metrics.valLoss))
    await model.save(folder)
    const onHost = await models.LanguageModel.load(folder, { device: 'cpu' })
    const here: number[] = []
    const there: number[] = []
    const options = { length: 10, temperature: 0 }
    for await (const token of onHost.generate('the', options)) here.push(token)
    for await (const token of model.eval().generate('the', options)) there.push(token)
    t.deepEqual(there, here)
  } finally {
    setDefaultDevice(gpu)
  }
})
