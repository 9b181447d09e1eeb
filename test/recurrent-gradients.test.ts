/** Gradients of RNN, GRU and LSTM: finite differences and the tape. */
import test from 'ava'
import { manualSeed, nn, noGrad, ones, type Tensor } from 'fused-rnn'
import { closeTo, gradcheck, randomTensor, throwsWith } from './helpers.js'
import { dataOf, KINDS, make, run, stateOf } from './recurrent-helpers.js'

for (const kind of KINDS) {
  const name = kind.replace('_tanh', '')
  const state = (h: Tensor, c?: Tensor) => stateOf(kind, h, c)

  // ---- Gradients -----------------------------------------------------------------------------------

  test(`${name}: finite differences, two layers both directions`, async (t) => {
    manualSeed(11)
    const layer = make(kind, 3, 4, { numLayers: 2, bidirectional: true })
    const inputs = [
      randomTensor([3, 2, 3], 1, { requiresGrad: true }),
      randomTensor([4, 2, 4], 2, { requiresGrad: true }),
    ]
    if (kind === 'LSTM') inputs.push(randomTensor([4, 2, 4], 3, { requiresGrad: true }))
    await gradcheck(
      t,
      (x, h, c) => run(layer, x as Tensor, h, c).filter((out) => out !== null) as Tensor[],
      inputs,
      { module: layer, stride: 3 },
    )
  })

  test(`${name}: finite differences, packed`, async (t) => {
    manualSeed(12)
    const layer = make(kind, 3, 4, { bidirectional: true, bias: false })
    const inputs = [
      randomTensor([4, 3, 3], 1, { requiresGrad: true }),
      randomTensor([2, 3, 4], 2, { requiresGrad: true }),
    ]
    if (kind === 'LSTM') inputs.push(randomTensor([2, 3, 4], 3, { requiresGrad: true }))
    const f = (x?: Tensor, h?: Tensor, c?: Tensor): Tensor[] => {
      const [y, hn, cn] = run(
        layer,
        nn.utils.rnn.packPaddedSequence(x as Tensor, [2, 4, 1], { enforceSorted: false }),
        h,
        c,
      )
      return [dataOf(y), hn, ...(cn ? [cn] : [])]
    }
    await gradcheck(t, f, inputs, { module: layer, stride: 2 })
  })

  test(`${name}: backward twice is an error, retainGraph gives the same again`, async (t) => {
    const layer = make(kind, 10, 6, { numLayers: 2 })
    const x = randomTensor([4, 3, 10], 1, { requiresGrad: true })
    const [once] = run(layer, x) as [Tensor, ...unknown[]]
    once.backward(ones(once.shape))
    throwsWith(t, () => once.backward(ones(once.shape)), Error, /\[backward\].*already used/)
    const first = (await x.grad?.data()) as Float32Array
    x.grad = null
    const [twice] = run(layer, x) as [Tensor, ...unknown[]]
    twice.backward(ones(twice.shape), { retainGraph: true })
    t.deepEqual(await (x.grad as Tensor | null)?.data(), first)
    twice.backward(ones(twice.shape))
    await closeTo(
      t,
      x.grad,
      first.map((value) => 2 * value),
      1e-6,
      'accumulated',
    )
  })

  test(`${name}: backward in evaluation mode`, async (t) => {
    const layer = make(kind, 10, 6, { numLayers: 2, dropout: 0.5 })
    layer.eval()
    const x = randomTensor([4, 3, 10], 1, { requiresGrad: true })
    const [y] = run(layer, x) as [Tensor, ...unknown[]]
    y.backward(ones(y.shape))
    const gradient = (await x.grad?.data()) as Float32Array
    t.true(gradient.some((value) => value !== 0))
  })

  test(`${name}: only the gradients that are wanted`, async (t) => {
    const layer = make(kind, 10, 6)
    const x = randomTensor([4, 3, 10], 1)
    const [frozen, free] = layer.parameters() as [Tensor, Tensor]
    frozen.requiresGrad = false
    const [y] = run(layer, x) as [Tensor, ...unknown[]]
    y.backward(ones(y.shape))
    t.is(frozen.grad, null)
    t.is(x.grad, null)
    t.not(free.grad, null)
    t.false(noGrad(() => run(layer, x))[1].requiresGrad)
  })

  test(`${name}: gradient from the final state alone, and from one step alone`, async (t) => {
    const layer = make(kind, 10, 6)
    const x = randomTensor([4, 3, 10], 1, { requiresGrad: true })
    run(layer, x)[1].sum().backward()
    const fromState = (await x.grad?.data()) as Float32Array
    x.grad = null
    const [y] = run(layer, x) as [Tensor, ...unknown[]]
    y.slice(0, 3, 4).sum().backward()
    await closeTo(t, x.grad, fromState, 1e-6)
  })

  test(`${name}: the input may be disposed, or used elsewhere, between forward and backward`, async (t) => {
    const layer = make(kind, 10, 6)
    const x = randomTensor([4, 3, 10], 1)
    const h0 = randomTensor([1, 3, 6], 2)
    const [y] = run(layer, x, ...state(h0)) as [Tensor, ...unknown[]]
    y.backward(ones(y.shape))
    const expected = await layer.parameters()[0]?.grad?.data()
    for (const p of layer.parameters()) p.grad = null
    const [again] = run(layer, x, ...state(h0)) as [Tensor, ...unknown[]]
    x[Symbol.dispose]()
    h0[Symbol.dispose]()
    again.backward(ones(again.shape))
    t.deepEqual(await layer.parameters()[0]?.grad?.data(), expected)
  })
}

test('RNN relu and projected LSTM: finite differences', async (t) => {
  manualSeed(13)
  const relu = new nn.RNN(3, 4, { nonlinearity: 'relu', numLayers: 2 })
  await gradcheck(
    t,
    (x) => run(relu, x as Tensor).slice(0, 2) as Tensor[],
    [randomTensor([3, 2, 3], 1, { requiresGrad: true })],
    { module: relu, eps: 1e-3, tol: 5e-3, stride: 2 },
  )
  const lstm = new nn.LSTM(3, 5, { projSize: 2, numLayers: 2, bidirectional: true })
  const inputs = [
    randomTensor([3, 2, 3], 1, { requiresGrad: true }),
    randomTensor([4, 2, 2], 2, { requiresGrad: true }),
    randomTensor([4, 2, 5], 3, { requiresGrad: true }),
  ]
  await gradcheck(t, (x, h, c) => run(lstm, x as Tensor, h, c) as Tensor[], inputs, {
    module: lstm,
    stride: 4,
  })
})

test('LSTM: the gradient of the final cell state alone', async (t) => {
  const lstm = new nn.LSTM(3, 4)
  await gradcheck(t, (x) => lstm.forward(x as Tensor)[1][1], [
    randomTensor([3, 2, 3], 1, { requiresGrad: true }),
  ])
})
