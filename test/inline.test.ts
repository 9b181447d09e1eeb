/** Small operations, which the script's thread runs itself when the worker has nothing to do. */
import test from 'ava'
import { nn, ones, optim, setNumThreads, synchronize, Tensor, tensor, zeros } from 'fused-rnn'
import { emulated, limit, randomTensor, rejectsWith, throwsWith } from './helpers.js'

const large = ones([2_000_000])

/** Gives the worker some milliseconds of work, so that what comes next is queued behind it. */
const occupy = (): void => {
  for (let i = 0; i < 3; i++) large.add(1)[Symbol.dispose]()
}

const failing = (): Tensor => new nn.Embedding(5, 2).forward(tensor(Int32Array.of(1, 7)))

test.serial('small and large operations run in order', async (t) => {
  let x = zeros([4])
  for (let i = 0; i < 20; i++) {
    const sum = large.add(x.slice(0, 0, 1)).sum()
    x = x.mul(0).add(sum.mul(1 / 2_000_000))
    if (i % 3 === 0) await synchronize()
  }
  t.deepEqual(await x.data(), new Float32Array(4).fill(20))
})

test.serial('an operation has the same bits wherever it runs', async (t) => {
  setNumThreads(4)
  const layers = [
    new nn.RNN(29, 128),
    new nn.RNN(27, 50),
    new nn.GRU(24, 32, { numLayers: 2, bidirectional: true }),
    new nn.LSTM(16, 40, { projSize: 8 }),
    new nn.LayerNormLSTM(16, 40, { numLayers: 2, bidirectional: true }),
  ]
  const linear = new nn.Linear(256, 200)
  const results = (): Tensor[] => {
    const list: Tensor[] = []
    for (const layer of layers) {
      const x = randomTensor([6, 3, layer.inputSize], 1, { requiresGrad: true })
      const [y] = (layer as nn.RNN).forward(x)
      y.mul(y).sum().backward()
      list.push(y, x.grad as Tensor, ...layer.parameters().map((p) => p.grad as Tensor))
      for (const parameter of layer.parameters()) parameter.grad = null
    }
    const x = randomTensor([10, 256], 2)
    const y = linear.forward(x)
    const flat = y.reshape([y.numel])
    list.push(y, y.softmax(1), y.logSoftmax(0), y.sum(0), flat.sum(), flat.tanh(), x.matmul(x.t()))
    list.push(nn.functional.crossEntropy(y, tensor(new Int32Array(10))))
    list.push(nn.utils.clipGradNorm(linear.parameters(), 1))
    return list
  }
  await synchronize()
  const here = await Promise.all(results().map((result) => result.data()))
  occupy()
  const queued = await Promise.all(results().map((result) => result.data()))
  t.deepEqual(queued, here)
})

// ---- Failures --------------------------------------------------------------------------------------

for (const [where, prepare] of [
  ['here', synchronize],
  ['behind others', occupy],
] as const) {
  test.serial(`a small operation that fails ${where} rejects the next promise`, async (t) => {
    await prepare()
    const failed = failing()
    const dependent = failed.add(1).sum()
    await rejectsWith(t, tensor(1).item(), Error, /^\[nn\.Embedding\(\d+, \d+\)\].*7/)
    t.is(await tensor(2).item(), 2, 'it is told once')
    await rejectsWith(t, dependent.data(), Error, /^\[nn\.Embedding\(\d+, \d+\)\]/)
    await rejectsWith(t, failed.data(), Error, /^\[nn\.Embedding\(\d+, \d+\)\]/)
    t.is(await tensor(3).add(1).item(), 4)
  })

  test.serial(`a step after a failure ${where} leaves parameters as they are`, async (t) => {
    const parameter = tensor([1, 2], { requiresGrad: true })
    const optimizer = new optim.SGD([parameter], { lr: 1, maxGradNorm: 1 })
    await prepare()
    parameter.mul(failing()).sum().backward()
    await rejectsWith(
      t,
      optimizer.step().then(() => synchronize()),
      Error,
      /^\[nn\.Embedding\(\d+, \d+\)\]/,
    )
    t.deepEqual(await parameter.data(), Float32Array.of(1, 2))
  })
}

// ---- Denormal numbers ------------------------------------------------------------------------------

test.serial('kernels flush denormals, JavaScript keeps its own', async (t) => {
  const tiny = 2 ** -1060
  const keeps = (after: string): void => {
    t.is((tiny / 2) * 2, tiny, after)
  }
  const x = tensor([2e-38])
  keeps('upload')
  await synchronize()
  const here = x.mul(0.25)
  keeps('a small operation')
  failing()
  keeps('one that fails')
  await t.throwsAsync(synchronize())
  occupy()
  const queued = x.mul(0.25)
  keeps('one that is queued')
  t.deepEqual([...(await here.data()), ...(await queued.data())], [0, 0])
  keeps('reading back')
})

// ---- The event loop --------------------------------------------------------------------------------

test.serial('every optimizer.step() lets the event loop turn', async (t) => {
  const parameter = tensor([1, 2], { requiresGrad: true })
  const optimizer = new optim.SGD([parameter], { lr: 1e-3 })
  for (let i = 0; i < 20; i++) {
    let turned = false
    setImmediate(() => {
      turned = true
    })
    parameter.mul(parameter).sum().backward()
    await optimizer.step()
    t.true(turned)
  }
})

test.serial('a loop that reads results all the time lets timers run', async (t) => {
  let turns = 0
  const timer = setInterval(() => turns++, 1)
  const start = performance.now()
  let x = zeros([8])
  // Ten turns of a millisecond: soon, or, if timers are held up, never.
  while (turns < 10 && performance.now() - start < limit(10)) {
    x = x.add(1)
    await x.data()
    await x.sum().item()
    await synchronize()
  }
  clearInterval(timer)
  t.true(turns >= 10, `${turns} turns`)
})

test.serial('promises settle in order, whichever thread computed the values', async (t) => {
  const order: number[] = []
  const all: Promise<unknown>[] = []
  for (let i = 0; i < 200; i++) {
    if (i % 50 === 10) occupy()
    if (i % 50 === 40) await synchronize()
    if (i % 50 === 45) for (const start = performance.now(); performance.now() - start < 4; );
    const value = i % 2 === 0 ? tensor(i).add(0).item() : large.mul(0).sum().add(i).item()
    all.push(value.then((number) => order.push(number)))
  }
  await Promise.all(all)
  t.deepEqual(
    order,
    Array.from({ length: 200 }, (_, i) => i),
  )
})

// ---- Shared memory and handles that are used again -------------------------------------------------

test.serial('disposing gives memory to new tensors, never to old ones', async (t) => {
  const kept: [Tensor, number][] = []
  for (let i = 0; i < 4000; i++) {
    const x = tensor([i, i, i, i])
    const all = [x, x.reshape([2, 2]), x.slice(0, 1, 3), x.mul(1)]
    for (const [k, one] of all.entries()) {
      if (k !== i % 4) one[Symbol.dispose]()
      else if (i % 5 === 0) kept.push([one, i])
    }
  }
  for (const [one, i] of kept) t.true((await one.data()).every((value) => value === i))
})

test.serial('backward has what it needs when everything else was disposed meanwhile', async (t) => {
  const layer = new nn.LSTM(3, 4)
  const run = (dispose: boolean): Tensor => {
    const x = randomTensor([5, 2, 3], 1)
    const [y, [h, c]] = layer.forward(x)
    const squares = y.mul(y)
    const loss = squares.sum()
    if (dispose) {
      for (const done of [x, y, h, c, squares]) done[Symbol.dispose]()
      for (let i = 0; i < 50; i++) ones([40]) // takes the memory and the handles, if they are free
    }
    return loss
  }
  run(false).backward()
  const expected = await Promise.all(layer.parameters().map((p) => (p.grad as Tensor).data()))
  for (const parameter of layer.parameters()) parameter.grad = null
  run(true).backward()
  t.deepEqual(await Promise.all(layer.parameters().map((p) => (p.grad as Tensor).data())), expected)
})

test.serial('a weight that is disposed before backward is an error, not another tensor', (t) => {
  const layer = new nn.GRU(3, 4)
  const loss = layer.forward(randomTensor([5, 2, 3], 1))[0].sum()
  layer.weight_hh_l0?.[Symbol.dispose]()
  for (let i = 0; i < 10; i++) zeros([12, 4])
  throwsWith(t, () => loss.backward(), TypeError, /shape \(12, 4\) has been disposed/)
})

// ---- Checks that are left out while nothing changes ------------------------------------------------

test.serial("an optimiser's options are checked when they have changed", async (t) => {
  const parameter = tensor([1, 2], { requiresGrad: true })
  const sgd = new optim.SGD([parameter], { lr: 0.1 })
  const adam = new optim.Adam([parameter])
  await sgd.step()
  await adam.step()
  const group = sgd.paramGroups[0] as (typeof sgd.paramGroups)[0]
  group.lr = Number.NaN
  throwsWith(t, () => sgd.step(), RangeError, /\[SGD\] lr/)
  group.lr = 0.2
  Object.assign(group, { momentun: 0.9 })
  throwsWith(t, () => sgd.step(), TypeError, /momentun/)
  ;(adam.paramGroups[0] as unknown as { betas: [number, number] }).betas[0] = 2
  throwsWith(t, () => adam.step(), RangeError, /betas\[0\]/)
})

test.serial("a layer's weights are checked when they have changed", (t) => {
  const layer = new nn.RNN(3, 4)
  const x = zeros([2, 1, 3])
  layer.forward(x)
  layer.weight_ih_l0 = zeros([4, 2], { requiresGrad: true })
  throwsWith(t, () => layer.forward(x), RangeError, /weight_ih_l0: expected shape \(4, 3\)/)
  layer.weight_ih_l0 = zeros([4, 3], { requiresGrad: true })
  t.true(layer.forward(x)[0] instanceof Tensor)
})

test.serial('an optimiser takes as many parameters as there are', async (t) => {
  const count = emulated ? 1250 : 20_000
  const parameters = Array.from({ length: count }, (_, i) => tensor([i], { requiresGrad: true }))
  for (const parameter of parameters) parameter.grad = tensor([2])
  const norm = nn.utils.clipGradNorm(parameters, 1e9)
  t.is(await norm.item(), Math.fround(Math.sqrt(4 * count)))
  await new optim.SGD(parameters, { lr: 1, maxGradNorm: Math.sqrt(count) }).step()
  await new optim.Adam(parameters, { amsgrad: true }).step()
  const last = await (parameters.at(-1) as Tensor).item()
  t.true(Math.abs(last - (count - 2)) < 0.01, `${last}`)
})
