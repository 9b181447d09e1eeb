/** nn.SRU and the other layers without a recurrent matrix over stretches of rows, on one thread and more. */
import test from 'ava'
import { getNumThreads, manualSeed, nn, noGrad, setNumThreads, type Tensor } from 'fused-rnn'
import { closeTo, projected, randomTensor, testDevice } from './helpers.js'

const LAYERS = ['IndRNN', 'SRU', 'MinGRU', 'MinLSTM'] as const

/** What a layer gives for inputs of its own, and all gradients. */
async function results(
  name: (typeof LAYERS)[number],
  [steps, batch, inputs, hidden]: readonly [number, number, number, number],
): Promise<Float32Array[]> {
  manualSeed(7)
  const layer = new nn[name](inputs, hidden)
  const x = randomTensor([steps, batch, inputs], 1, { requiresGrad: true })
  const state = randomTensor([1, batch, hidden], 2, { requiresGrad: true })
  const [y, last] = layer.forward(x, state)
  projected([y, last], [randomTensor(y.shape, 3), randomTensor(last.shape, 4)]).backward()
  const all = [y, last, x.grad, state.grad, ...[...layer.parameters()].map((p) => p.grad)]
  return Promise.all(all.map(async (one) => (await (one as Tensor).data()) as Float32Array))
}

/** Steps, sequences, inputs, units. */
const SHAPES: [string, readonly [number, number, number, number]][] = [
  ['several stretches with a rest', [90, 7, 67, 67]],
  ['inputs of another width', [40, 20, 5, 33]],
  ['one sequence, whose time threads share', [1100, 1, 6, 9]],
  ['more sequences than a stretch has rows', [3, 300, 16, 16]],
  ['too few rows for a packed product', [2, 3, 8, 8]],
]
// The emulated GPU has no threads to choose, and takes long.
if (testDevice === 'cpu') {
  for (const [what, shape] of SHAPES) {
    test.serial(`the same bits on any number of threads: ${what}`, async (t) => {
      const before = getNumThreads()
      try {
        for (const name of LAYERS) {
          setNumThreads(1)
          const one = await results(name, shape)
          setNumThreads(2)
          t.deepEqual(await results(name, shape), one, name)
        }
      } finally {
        setNumThreads(before)
      }
    })
  }
}

test('without gradients a layer gives the same, and keeps nothing for backward', async (t) => {
  for (const name of LAYERS) {
    const layer = new nn[name](12, 12)
    const x = randomTensor([50, 9, 12], 5)
    const [y, last] = layer.forward(x)
    const [y2, last2] = noGrad(() => layer.forward(x))
    await closeTo(t, y2, y, 1e-6, `${name} y`)
    await closeTo(t, last2, last, 1e-6, `${name} last`)
    t.false(y2.requiresGrad)
  }
})

test('a gradient that nobody wants is not computed, the others are the same', async (t) => {
  for (const name of LAYERS) {
    manualSeed(8)
    const layer = new nn[name](10, 10)
    const x = randomTensor([40, 8, 10], 6)
    const dy = randomTensor([40, 8, 10], 7)
    const alone = x.detach()
    alone.requiresGrad = true
    layer.forward(alone)[0].backward(dy)
    const expected = await Promise.all(
      [...layer.parameters()].map((p) => (p.grad as Tensor).data()),
    )
    layer.zeroGrad()
    layer.forward(x)[0].backward(dy)
    for (const [i, p] of [...layer.parameters()].entries())
      await closeTo(t, p.grad, expected[i] as Float32Array, 0, `${name}, parameter ${i}`)
    const dx = alone.grad as unknown as Tensor
    for (const p of layer.parameters()) p.requiresGrad = false
    alone.grad = null
    layer.forward(alone)[0].backward(dy)
    await closeTo(t, alone.grad, dx, 0, `${name}, input`)
  }
})

test('MinGRU and MinLSTM step by step and in chunks of time agree to 1e-5', async (t) => {
  const [T, H] = testDevice === 'cpu' ? [8192, 4] : [520, 2]
  for (const name of ['MinGRU', 'MinLSTM'] as const) {
    const layer = new nn[name](3, H)
    const cell = new nn[`${name}Cell`](3, H)
    cell.loadStateDict(
      new Map([...layer.stateDict()].map(([key, value]) => [key.replace('_l0', ''), value])),
    )
    const x = randomTensor([T, 1, 3], 9)
    const whole = await noGrad(() => layer.forward(x)[0]).data()
    // In stretches of 64 steps, which are below a chunk: without what chunks do to states.
    const parts: number[] = []
    let state: Tensor | null = null
    for (let s = 0; s < T; s += 64) {
      const [y, next] = noGrad(() => layer.forward(x.slice(0, s, Math.min(T, s + 64)), state))
      parts.push(...(await y.data()))
      state = next
    }
    t.true(whole.every((v, i) => Math.abs(v - (parts[i] as number)) <= 1e-5))
    // The last steps by the cell, one at a time.
    let h = randomTensor([1, H], 10).mul(0)
    for (let s = T - 200; s < T; s++) h = noGrad(() => cell.forward(x.select(0, s), h)) as Tensor
    await closeTo(t, h.reshape([H]), whole.slice(-H), 1e-5, 'the cell in a loop')
  }
})
