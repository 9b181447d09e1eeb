/** utils.checkpoint: the same numbers, less memory. */
import test from 'ava'
import {
  autograd,
  manualSeed,
  nn,
  noGrad,
  optim,
  randn,
  type Tensor,
  tensor,
  utils,
} from 'fused-rnn'
import {
  closeTo,
  gradcheck,
  gradgradcheck,
  onCpu,
  randomTensor,
  runScript,
  throwsWith,
} from './helpers.js'

const { checkpoint, checkpointSequential, checkpointSteps } = utils.checkpoint

const net = (): nn.Sequential =>
  new nn.Sequential(new nn.Linear(3, 4), new nn.Dropout(0.5), new nn.Linear(4, 2))

/** Values of a result, and the gradients of its sum by x and by the parameters. */
async function run(
  f: (x: Tensor) => Tensor,
  model: nn.Module,
): Promise<(Float32Array | number[])[]> {
  model.zeroGrad()
  manualSeed(11)
  const x = randomTensor([5, 3], 2, { requiresGrad: true })
  const y = f(x)
  y.mul(y).sum().backward()
  const all = [y, x.grad, ...model.parameters().map((p) => p.grad)]
  return Promise.all(all.map(async (one) => (await one?.data()) as Float32Array))
}

test('checkpoint: the same values, gradients and masks', async (t) => {
  const model = net()
  const plain = await run((x) => model.forward(x), model)
  const again = await run((x) => checkpoint((a: Tensor) => model.forward(a), x), model)
  const parts = await run((x) => checkpointSequential(model, 2, x), model)
  for (const [i, values] of plain.entries()) {
    await closeTo(t, again[i] as Float32Array, values, 1e-6, `${i}`)
    await closeTo(t, parts[i] as Float32Array, values, 1e-6, `in parts ${i}`)
  }
})

test('checkpoint: random numbers go on as without it', async (t) => {
  // Drawn without a pause, in which other tests would draw.
  const x = randomTensor([3], 1, { requiresGrad: true })
  manualSeed(5)
  nn.functional.dropout(x)
  const [second, third] = [randn([2]), randn([2])]
  manualSeed(5)
  const y = checkpoint((a: Tensor) => nn.functional.dropout(a), x)
  const drawn = [randn([2])]
  y.sum().backward()
  drawn.push(randn([2]))
  await closeTo(t, drawn[0], second, 0)
  await closeTo(t, drawn[1], third, 0)
})

test('checkpoint: inside of checkpoints, arrays, hooks, what is not used, no gradients', async (t) => {
  const layer = new nn.LSTM(3, 4)
  const x = randomTensor([6, 2, 3], 1, { requiresGrad: true })
  const state = [
    randomTensor([1, 2, 4], 2, { requiresGrad: true }),
    randomTensor([1, 2, 4], 3),
  ] as const
  let calls = 0
  const weight = layer.parameters()[0] as Tensor
  const handle = weight.registerHook(() => {
    calls++
  })
  const outer = (a: Tensor, s: typeof state): [Tensor, [Tensor, Tensor]] =>
    checkpoint((b: Tensor) => layer.forward(b.mul(2), s), a.add(1))
  const [y, [h, c]] = checkpoint(outer, x, state)
  y.sum().add(h.mul(h).sum()).add(c.sum()).backward()
  t.is(calls, 1)
  handle.remove()
  const before = [x.grad, state[0].grad, weight.grad]
  x.grad = state[0].grad = null
  layer.zeroGrad()
  const [y2, [h2, c2]] = layer.forward(x.add(1).mul(2), state)
  y2.sum().add(h2.mul(h2).sum()).add(c2.sum()).backward()
  for (const [i, leaf] of [x, state[0], weight].entries()) {
    const { grad } = leaf as Tensor
    await closeTo(t, before[i], grad as Tensor, 1e-5, `gradient ${i}`)
  }
  t.false(checkpoint((a: Tensor) => a.mul(2), tensor([1])).requiresGrad)
  t.false(noGrad(() => checkpoint((a: Tensor) => a.mul(2), x)).requiresGrad)
  // The argument itself as the result.
  const a = tensor([1, 2], { requiresGrad: true })
  checkpoint((b: Tensor) => b, a)
    .sum()
    .backward()
  await closeTo(t, a.grad, [1, 1], 0)
})

test('checkpoint: autograd.grad, gradients of gradients', async (t) => {
  const w = randomTensor([3], 4, { requiresGrad: true })
  const x = randomTensor([2, 3], 5, { requiresGrad: true })
  const f = (a: Tensor, b: Tensor): Tensor => checkpoint((p: Tensor) => p.mul(b).tanh(), a)
  await gradcheck(t, f as never, [x, w])
  await gradgradcheck(t, f as never, [x, w], { tol: 3e-3 })
  const y = f(x, w).sum()
  t.is(autograd.grad(y, [w]).length, 1)
  t.is(x.grad === null, false) // of gradcheck
})

test('checkpoint: what it refuses', async (t) => {
  const layer = new nn.Linear(2, 2)
  const x = tensor([[1, 2]], { requiresGrad: true })
  throwsWith(t, () => checkpoint(1 as never), TypeError, /^\[checkpoint\] fn: expected a function/)
  throwsWith(
    t,
    () => checkpoint(async () => x),
    TypeError,
    /^\[checkpoint\] fn: .* not asynchronous/,
  )
  let grows = 0
  const other = checkpoint((a: Tensor) => a.slice(1, 0, ++grows), x)
  throwsWith(
    t,
    () => other.sum().backward(),
    Error,
    /^\[checkpoint\] fn: expected the results of the first time again/,
  )
  const y = checkpoint((a: Tensor) => layer.forward(a), x)
  const optimizer = new optim.SGD(layer.parameters(), { lr: 0.1 })
  layer.forward(x).sum().backward()
  await optimizer.step()
  throwsWith(t, () => y.sum().backward(), Error, /'checkpoint' needs the values .* SGD\.step/)
  const sent = new Uint8Array(4)
  structuredClone(sent, { transfer: [sent.buffer] })
  throwsWith(
    t,
    () => checkpointSequential(sent as unknown as [], 1, x),
    TypeError,
    /functions: expected an nn.Sequential/,
  )
  throwsWith(
    t,
    () => checkpointSequential([], 1, x),
    RangeError,
    /functions: expected at least one/,
  )
  throwsWith(
    t,
    () => checkpointSequential(net(), 9, x),
    RangeError,
    /^\[checkpointSequential\] segments/,
  )
  throwsWith(
    t,
    () => checkpointSequential([1] as never, 1, x),
    TypeError,
    /functions\[0\]: expected a module/,
  )
  throwsWith(
    t,
    () => checkpointSequential(1 as never, 1, x),
    TypeError,
    /functions: expected an nn\.Sequential/,
  )
  throwsWith(
    t,
    () => checkpointSequential(net(), 1, 1 as never),
    TypeError,
    /input: expected a tensor/,
  )
  const both = new nn.GRU(2, 2, { bidirectional: true })
  throwsWith(
    t,
    () => checkpointSteps(both, 2, randn([3, 1, 2])),
    RangeError,
    /one that reads in one direction/,
  )
  throwsWith(
    t,
    () => checkpointSteps(new nn.GRU(2, 2), 4, randn([3, 1, 2])),
    RangeError,
    /^\[checkpointSteps\] chunks/,
  )
  throwsWith(
    t,
    () => checkpointSteps(layer as never, 1, x),
    TypeError,
    /layer: expected a recurrent layer/,
  )
  throwsWith(
    t,
    () => checkpointSteps(new nn.GRU(2, 2), 1, 1 as never),
    TypeError,
    /input: expected a tensor/,
  )
})

for (const batchFirst of [false, true]) {
  test(`checkpointSteps: as one call, batchFirst ${batchFirst}`, async (t) => {
    for (const Kind of [nn.GRU, nn.LSTM]) {
      // The layers differ in their states only.
      const layer = new Kind(3, 4, { numLayers: 2, batchFirst }) as unknown as nn.GRU
      const x = randomTensor(batchFirst ? [2, 7, 3] : [7, 2, 3], 1, { requiresGrad: true })
      const results = async (f: () => [Tensor, Tensor]): Promise<(Tensor | null)[]> => {
        layer.zeroGrad()
        x.grad = null
        const [y, state] = f()
        y.mul(y).sum().backward()
        const states = Array.isArray(state) ? (state as Tensor[]) : [state]
        return [y, ...states, x.grad, ...layer.parameters().map((p) => p.grad)]
      }
      const plain = await results(() => layer.forward(x))
      const chunks = await results(() => checkpointSteps(layer, 3, x))
      t.is(plain.length, chunks.length)
      for (const [i, one] of plain.entries())
        await closeTo(t, chunks[i], one as Tensor, 1e-5, `${i}`)
    }
  })
}

;(onCpu ? test : test.skip)('checkpointSteps: half the memory at T = 1000', async (t) => {
  const peak = async (f: string): Promise<number> => {
    const { code, stdout, stderr } = await runScript(`
      import { memoryStats, nn, randn, synchronize, utils } from 'fused-rnn'
      const layer = new nn.LSTM(16, 64)
      const x = randn([1000, 8, 16])
      const [y] = ${f}
      y.slice(0, 999, 1000).mean().backward()
      await synchronize()
      console.log(memoryStats().peak)`)
    t.is(code, 0, stderr)
    return Number(stdout)
  }
  const plain = await peak('layer.forward(x)')
  const chunks = await peak('utils.checkpoint.checkpointSteps(layer, 8, x)')
  t.true(chunks < 0.5 * plain, `${chunks} of ${plain} bytes`)
})
