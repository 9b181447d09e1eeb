/** Gradients of tables that keep the rows that were looked up, and steps on these rows alone. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import {
  autograd,
  type Callback,
  io,
  manualSeed,
  nn,
  optim,
  randn,
  synchronize,
  type Tensor,
  Trainer,
  tensor,
  utils,
  zeros,
} from 'fused-rnn'
import {
  closeTo,
  fixture,
  gradcheck,
  rejectsWith,
  runScript,
  testDevice,
  throwsWith,
} from './helpers.js'

const numbers = fixture('sparse')
const { steps } = numbers.info
const int = (values: number[], shape = [values.length]) =>
  tensor(values, { dtype: 'int32' }).reshape(shape)
const parameter = (value: Tensor): Tensor => {
  const copy = value.clone().detach()
  copy.requiresGrad = true
  return copy
}

const indices = numbers.tensor('indices')
const factors = numbers.tensor('factors')
function loss(weight: Tensor, step: number, sparse: boolean): Tensor {
  const [first, second] = [0, 1].map((k) => indices.at(step, k)) as [Tensor, Tensor]
  const a = nn.functional.embedding(first, weight, { paddingIdx: 1, sparse })
  const b = nn.functional.embedding(second, weight, { sparse })
  return a
    .mul(a)
    .mul(factors.at(step, 0))
    .sum()
    .add(b.mul(factors.at(step, 1)).sum())
}
function backward(weight: Tensor, step: number, sparse = true): void {
  loss(weight, step, sparse).backward()
  if (step % 3 === 2) loss(weight, step - 1, sparse).backward()
}

const classes = { SGD: optim.SGD, Adagrad: optim.Adagrad, SparseAdam: optim.SparseAdam }
type Name = keyof typeof classes
const make = (name: Name, params: object, options: object): optim.Optimizer =>
  Reflect.construct(classes[name], [params, options])

interface Case {
  name: Name
  options: Record<string, unknown>
  clip: number | null
}

numbers.info.cases.forEach(({ name, options, clip }: Case, i: number) => {
  for (const apart of clip === null ? [false] : [false, true]) {
    const how = clip === null ? '' : apart ? ', clipped before the step' : ', clipped in the step'
    test(`steps as PyTorch, resumed after 4: ${name} ${JSON.stringify(options)}${how}`, async (t) => {
      const weight = numbers.tensor('table', { requiresGrad: true })
      const given = { ...options, ...(clip !== null && !apart && { maxGradNorm: clip }) }
      let optimizer = make(name, [weight], given)
      const trace: number[] = []
      const norms: number[] = []
      for (let step = 0; step < steps; step++) {
        optimizer.zeroGrad()
        t.is(weight.grad, null)
        backward(weight, step)
        t.true(weight.grad?.isSparse)
        if (apart) norms.push(await nn.utils.clipGradNorm(weight, clip as number).item())
        await optimizer.step()
        t.true(weight.grad?.isSparse)
        trace.push(...(await weight.data()))
        if (step === 4) {
          const saved = optimizer.stateDict()
          optimizer = make(name, [weight], given)
          optimizer.loadStateDict(saved)
        }
      }
      await closeTo(t, trace, numbers.array(`${i}.table`).data, 5e-6)
      if (apart) await closeTo(t, norms, numbers.array(`${i}.norms`).data, 5e-6)
      const own = optimizer.stateDict().state[0] ?? {}
      for (const [key, value] of numbers.tensors(`${i}.state`))
        await closeTo(t, own[key] as Tensor, value, 5e-6, key)
    })
  }
})

test('a gradient: coalesced it is PyTorch’s, dense the one without sparse', async (t) => {
  for (let step = 0; step < steps; step++) {
    // The first case's table, as its steps have moved it.
    const table = step === 0 ? numbers.tensor('table') : numbers.tensor('0.table').at(step - 1)
    const [weight, plain] = [parameter(table), parameter(table)]
    const expected = numbers.tensor(`grad.${step}`)
    backward(weight, step)
    backward(plain, step, false)
    const grad = weight.grad as Tensor
    t.false(grad.isCoalesced())
    const together = await grad.coalesce()
    t.true(together.isCoalesced())
    t.is(await together.coalesce(), together)
    t.deepEqual(together.shape, weight.shape)
    const rows = await together.indices().data()
    t.deepEqual([...rows], [...numbers.array(`rows.${step}`).data])
    await closeTo(t, together.values(), numbers.tensor(`values.${step}`), 5e-6)
    await closeTo(t, together.toDense(), expected, 5e-6)
    await closeTo(t, grad.toDense(), expected, 5e-6)
    await closeTo(t, plain.grad as Tensor, expected, 5e-6)
    t.false((plain.grad as Tensor).isSparse)
  }
})

test('finite differences', async (t) => {
  const index = int([0, 2, 2, 1], [2, 2])
  await gradcheck(
    t,
    (weight: Tensor) => nn.functional.embedding(index, weight.mul(1), { sparse: true }).pow(2),
    [randn([4, 3], { requiresGrad: true })],
  )
})

test('what comes to a table in two ways adds up', async (t) => {
  const weight = tensor([1, 2, 3, 4, 5, 6], { shape: [3, 2], requiresGrad: true })
  const look = (...at: number[]) => nn.functional.embedding(int(at), weight, { sparse: true }).sum()
  look(0, 0).add(look(2)).backward()
  const grad = weight.grad as Tensor
  t.true(grad.isSparse)
  look(2).backward()
  t.is(weight.grad, grad, 'added to in place')
  await closeTo(t, grad.toDense(), [2, 2, 0, 0, 2, 2], 0)
  // A dense gradient makes it dense, whichever comes first.
  weight.sum().backward()
  t.false(weight.grad?.isSparse)
  look(1).backward()
  await closeTo(t, weight.grad, [3, 3, 2, 2, 3, 3], 0)
  weight.grad = null
  weight.mul(2).sum().add(look(1)).backward()
  await closeTo(t, weight.grad, [2, 2, 3, 3, 2, 2], 0)
})

test('a table that was computed gets an ordinary gradient', async (t) => {
  const base = tensor([1, 2, 3, 4], { shape: [2, 2], requiresGrad: true })
  nn.functional
    .embedding(int([1, 1]), base.mul(3), { sparse: true })
    .sum()
    .backward()
  await closeTo(t, base.grad, [0, 0, 6, 6], 0)
  t.false(base.grad?.isSparse)
})

test('autograd.grad, hooks, createGraph, checkpoint', async (t) => {
  const weight = tensor([1, 2, 3, 4], { shape: [2, 2], requiresGrad: true })
  const run = () =>
    nn.functional
      .embedding(int([1, 0, 1]), weight, { sparse: true })
      .pow(3)
      .sum()
  const expected = [3, 12, 54, 96]
  const [plain] = autograd.grad(run(), weight) as [Tensor]
  t.true(plain.isSparse)
  await closeTo(t, plain.toDense(), expected, 1e-6)

  const seen: Tensor[] = []
  const handle = weight.registerHook((gradient) => void seen.push(gradient))
  run().backward()
  t.true(seen[0]?.isSparse)
  await closeTo(t, (seen[0] as Tensor).toDense(), expected, 1e-6)
  handle.remove()
  const halved = weight.registerHook((gradient) => gradient.toDense().mul(0.5))
  weight.grad = null
  run().backward()
  await closeTo(
    t,
    weight.grad,
    expected.map((x) => x / 2),
    1e-6,
  )
  halved.remove()

  const [graph] = autograd.grad(run(), weight, { createGraph: true }) as [Tensor]
  t.false(graph.isSparse)
  weight.grad = null
  graph.sum().backward()
  await closeTo(t, (weight.grad as unknown as Tensor).toDense(), [6, 12, 36, 48], 1e-6)

  weight.grad = null
  utils.checkpoint
    .checkpoint(
      (x: Tensor) => nn.functional.embedding(x, weight, { sparse: true }).pow(3),
      int([1, 0, 1]),
    )
    .sum()
    .backward()
  t.true((weight.grad as unknown as Tensor).isSparse)
  await closeTo(t, (weight.grad as unknown as Tensor).toDense(), expected, 1e-6)
})

test('later changes of indices and of a given gradient do not reach it', async (t) => {
  const weight = zeros([3, 2], { requiresGrad: true })
  const index = int([0, 2])
  const given = tensor([1, 2, 3, 4], { shape: [2, 2], requiresGrad: true })
  nn.functional.embedding(index, weight, { sparse: true }).backward(given.detach())
  given.grad = tensor([9, 9, 9, 9], { shape: [2, 2] })
  await new optim.SGD([given], { lr: 1 }).step()
  await closeTo(t, (weight.grad as Tensor).toDense(), [1, 2, 0, 0, 3, 4], 0)
  nn.utils.clipGradValue(weight, 1.5)
  await closeTo(t, (weight.grad as Tensor).toDense(), [1, 1.5, 0, 0, 1.5, 1.5], 0)
  await closeTo(t, given, [-8, -7, -6, -5], 0)
})

test('clone, detach, to, dispose, print, zeroGrad', async (t) => {
  const weight = zeros([3, 2], { requiresGrad: true })
  nn.functional
    .embedding(int([2, 2]), weight, { sparse: true })
    .sum()
    .backward()
  const grad = weight.grad as Tensor
  for (const copy of [grad.clone(), grad.detach(), grad.clone().to('cpu')]) {
    t.true(copy.isSparse)
    await closeTo(t, copy.toDense().to(testDevice), [0, 0, 0, 0, 2, 2], 0)
    copy[Symbol.dispose]()
    throwsWith(t, () => copy.isCoalesced(), TypeError, /isCoalesced/)
  }
  t.regex(String(grad), /^Tensor\(shape=\(3, 2\), dtype=float32.*, sparse, up to 2 rows\)$/)
  await closeTo(t, grad.toDense(), [0, 0, 0, 0, 2, 2], 0)
  const module = new nn.Embedding(3, 2, { sparse: true })
  module
    .forward(int([1]))
    .sum()
    .backward()
  module.to('cpu')
  await closeTo(t, (module.weight.grad as Tensor).toDense(), [0, 0, 1, 1, 0, 0], 0)
  new optim.SGD(module.parameters()).zeroGrad({ setToNone: false })
  const empty = module.weight.grad as Tensor
  t.true(empty.isSparse)
  t.deepEqual(empty.indices().shape, [1, 0])
  t.deepEqual(empty.values().shape, [0, 2])
  await closeTo(t, empty.toDense(), [0, 0, 0, 0, 0, 0], 0)
  const before = await module.weight.data()
  await new optim.SGD(module.parameters(), { maxGradNorm: 1 }).step()
  t.deepEqual(await module.weight.data(), before)
})

test('what refuses a sparse gradient, and what to do', async (t) => {
  const table = new nn.Embedding(3, 2, { sparse: true })
  const rest = [optim.Adam, optim.AdamW, optim.Adamax, optim.NAdam, optim.RAdam, optim.RMSprop, optim.Adadelta, optim.ASGD, optim.Rprop] // biome-ignore format: a list
  table
    .forward(int([1, 1]))
    .sum()
    .backward()
  const before = await table.weight.data()
  for (const Class of rest) {
    const optimizer = new Class(table.parameters())
    throwsWith(
      t,
      () => optimizer.step(),
      TypeError,
      new RegExp(
        `^\\[${Class.name}.step\\] ${Class.name} does not support sparse gradients.*SparseAdam`,
      ),
    )
  }
  for (const Class of [optim.SGD, optim.Adagrad]) {
    const optimizer = new Class(table.parameters(), { weightDecay: 0.1 })
    throwsWith(t, () => optimizer.step(), TypeError, /with weightDecay does not support sparse/)
  }
  t.deepEqual(await table.weight.data(), before)
  const plain = new nn.Embedding(3, 2)
  plain
    .forward(int([1]))
    .sum()
    .backward()
  const adam = new optim.SparseAdam([...table.parameters(), ...plain.parameters()])
  throwsWith(t, () => adam.step(), TypeError, /SparseAdam does not support dense gradients.*Adam/)
  t.deepEqual(await table.weight.data(), before)

  const grad = table.weight.grad as Tensor
  throwsWith(t, () => grad.mul(2), TypeError, /sparse.*toDense\(\)/)
  await rejectsWith(t, grad.data(), TypeError, /sparse.*toDense\(\)/)
  throwsWith(t, () => grad.reshape([6]), TypeError, /sparse.*toDense\(\)/)
  throwsWith(t, () => grad.indices(), TypeError, /^\[indices\].*coalesce\(\)/)
  throwsWith(t, () => grad.values(), TypeError, /^\[values\].*coalesce\(\)/)
  throwsWith(t, () => zeros([2]).isCoalesced(), TypeError, /^\[isCoalesced\].*sparse/)
  await rejectsWith(t, zeros([2]).coalesce(), TypeError, /^\[coalesce\].*sparse/)
  throwsWith(
    t,
    () => new nn.Embedding(3, 2, { sparse: true, scaleGradByFreq: true }),
    RangeError,
    /scaleGradByFreq/,
  )
  throwsWith(t, () => new nn.Embedding(3, 2, { sparse: 1 as never }), TypeError, /sparse/)
  throwsWith(t, () => new optim.SparseAdam(table.parameters(), { eps: 0 }), RangeError, /eps/)
  throwsWith(
    t,
    () => new optim.SparseAdam(table.parameters(), { betas: [0.9, 1] }),
    RangeError,
    /betas/,
  )
  await rejectsWith(t, io.save(new Map([['g', grad]]), 'nowhere'), TypeError, /sparse/)
})

// Alone: the first promise of all gets the error.
test.serial('an index that is not there changes nothing', async (t) => {
  const table = new nn.Embedding(3, 2, { sparse: true })
  const before = await table.weight.data()
  const optimizer = new optim.SparseAdam(table.parameters(), { maxGradNorm: 1 })
  for (const bad of [3, -1, 2 ** 30]) {
    optimizer.zeroGrad()
    table
      .forward(int([1, bad, 1]))
      .sum()
      .backward()
    await rejectsWith(
      t,
      (async () => {
        await optimizer.step()
        await synchronize()
      })(),
      Error,
      new RegExp(`nn\\.Embedding\\(3, 2\\)\\] index\\[1\\].*got ${bad}`),
    )
  }
  const after = await table.weight.data()
  for (const row of [0, 2])
    t.deepEqual(after.slice(2 * row, 2 * row + 2), before.slice(2 * row, 2 * row + 2))
})

test('dense and sparse parameters in one group, clipped together', async (t) => {
  manualSeed(1)
  const [table, other] = [randn([5, 4]), randn([4, 3])]
  const index = int([1, 4, 1])
  const results = [true, false].map(async (sparse) => {
    const [w, m] = [parameter(table), parameter(other)]
    const optimizer = new optim.Adagrad([w, m], { lr: 0.1, maxGradNorm: 0.5, maxGradValue: 0.2 })
    for (let step = 0; step < 3; step++) {
      optimizer.zeroGrad()
      nn.functional.embedding(index, w, { sparse }).matmul(m).pow(2).sum().backward()
      await optimizer.step()
    }
    return [...(await w.data()), ...(await m.data())]
  })
  const [rows, whole] = await Promise.all(results)
  await closeTo(t, rows, whole as number[], 2e-6)
})

test('maxNorm scales the rows that are looked up, and no others, each once', async (t) => {
  const layer = new nn.Embedding(4, 2, { maxNorm: 1, sparse: true })
  layer.weight = nn.Parameter(tensor([3, 4, 0.3, 0.4, 30, 40, 6, 8], { shape: [4, 2] }))
  const out = layer.forward(int([0, 1, 0, 3]))
  await closeTo(t, out, [0.6, 0.8, 0.3, 0.4, 0.6, 0.8, 0.6, 0.8], 1e-6)
  await closeTo(t, layer.weight, [0.6, 0.8, 0.3, 0.4, 30, 40, 0.6, 0.8], 1e-6)
})

test('a step on a large table makes nothing of its size', async (t) => {
  const { code, stderr } = await runScript(`
    import { memoryStats, nn, optim, synchronize, tensor, zeros } from 'fused-rnn'
    const [rows, width] = [1_000_000, 8]
    const index = tensor([5, rows - 1, 7, 5], { dtype: 'int32' })
    for (const Class of [optim.SGD, optim.Adagrad, optim.SparseAdam]) {
      const layer = new nn.Embedding(rows, width, { sparse: true, maxNorm: 1 })
      const optimizer = new Class(layer.parameters(), { lr: 0.1, maxGradNorm: 1 })
      const step = async () => {
        optimizer.zeroGrad()
        layer.forward(index).pow(2).sum().backward()
        layer.forward(index).sum().backward()
        nn.utils.clipGradNorm(layer.parameters(), 2)
        await optimizer.step()
        await synchronize()
      }
      await step() // makes the state
      // What was free at the most so far is filled, so that every new tensor shows in the peak.
      const stats = () => memoryStats('${testDevice}')
      const { peak, allocated } = stats()
      const ballast = zeros([(peak - allocated) / 4 + 1])
      await synchronize()
      const before = stats().peak
      for (let i = 0; i < 3; i++) await step()
      const grown = stats().peak - before
      if (grown > 400_000) throw new Error(Class.name + ' needed ' + grown + ' bytes beside the table')
      ballast[Symbol.dispose]()
      layer.weight[Symbol.dispose]()
    }`)
  t.is(code, 0, stderr)
})

test('a Trainer: accumulation, checks of finite gradients, clipping', async (t) => {
  class Net extends nn.Module {
    readonly table = new nn.Embedding(6, 2, { sparse: true })
    override forward(x: Tensor): Tensor {
      return this.table.forward(x)
    }
    trainingStep([x]: [Tensor]): Tensor {
      return this.forward(x).sub(1).pow(2).mean()
    }
    configureOptimizers(): optim.Optimizer {
      return new optim.SparseAdam(this.parameters(), { lr: 0.1 })
    }
  }
  const model = new Net()
  const batches = [[int([0, 1, 1])], [int([4, 5, 1])]] as [Tensor][]
  const far = async () => Number(await model.table.weight.sub(1).abs().mean().item())
  const before = await far()
  const trainer = new Trainer({
    maxEpochs: 20,
    accumulateGradBatches: 2,
    gradientClipVal: 1,
    progressBar: false,
  })
  await trainer.fit(model, batches)
  t.true((await far()) < before)
})

test('a checkpoint between two batches of a step: the same bits', async (t) => {
  class Net extends nn.Module {
    readonly table = new nn.Embedding(6, 2, { sparse: true })
    override forward(x: Tensor): Tensor {
      return this.table.forward(x)
    }
    trainingStep([x]: [Tensor]): Tensor {
      return this.forward(x).sub(1).pow(2).mean()
    }
    configureOptimizers(): optim.Optimizer {
      return new optim.SparseAdam(this.parameters(), { lr: 0.1 })
    }
  }
  const start = randn([6, 2])
  const make = (): Net => {
    const net = new Net()
    net.table.weight = nn.Parameter(start.clone())
    return net
  }
  const batches = [[0, 1, 1], [4, 5, 1], [2, 2, 3], [0, 1, 5], [3, 3, 3]].map((x) => [int(x)]) as [Tensor][] // biome-ignore format: a list
  const options = {
    maxEpochs: 2,
    accumulateGradBatches: 3,
    gradientClipVal: 0.5,
    progressBar: false,
  }
  const straight = make()
  await new Trainer(options).fit(straight, batches)
  const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-'))
  t.teardown(() => rm(folder, { recursive: true }))
  for (const at of [1, 2, 4]) {
    const path = join(folder, String(at))
    const stop = new AbortController()
    let count = 0
    const saving: Callback = {
      onTrainBatchEnd: async (self) => {
        if (++count !== at) return
        await self.saveCheckpoint(path)
        stop.abort()
      },
    }
    await new Trainer({ ...options, callbacks: [saving], signal: stop.signal }).fit(make(), batches)
    const resumed = new Net()
    await new Trainer(options).fit(resumed, batches, null, { ckptPath: path })
    t.deepEqual(await resumed.table.weight.data(), await straight.table.weight.data(), String(at))
  }
})
