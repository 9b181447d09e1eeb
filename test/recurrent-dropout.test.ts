/** Dropout between the layers of RNN, GRU and LSTM. */
import test from 'ava'
import { manualSeed, nn, ones, type Tensor, tensor, zeros } from 'fused-rnn'
import { closeTo, gradcheck, randomTensor, throwsWith } from './helpers.js'
import { dataOf, type Layer, make, run } from './recurrent-helpers.js'

/**
 * A relu RNN of two layers without memory whose second layer passes on what it gets: the output
 * shows the mask itself, scaled.
 */
function showingMask(H: number, dropout: number): nn.RNN {
  const layer = new nn.RNN(1, H, { numLayers: 2, nonlinearity: 'relu', bias: false, dropout })
  const identity = new Float32Array(H * H)
  for (let i = 0; i < H; i++) identity[i * H + i] = 1
  layer.loadStateDict(
    new Map([
      ['weight_ih_l0', ones([H, 1])],
      ['weight_hh_l0', zeros([H, H])],
      ['weight_ih_l1', tensor(identity, { shape: [H, H] })],
      ['weight_hh_l1', zeros([H, H])],
    ]),
  )
  return layer
}

test('elements are dropped independently with probability p and the rest scaled', async (t) => {
  for (const p of [0.1, 0.5, 0.8]) {
    manualSeed(1)
    const [y, hn] = showingMask(50, p).forward(ones([20, 10, 1]))
    const values = (await y.data()) as Float32Array
    const kept = 1 / (1 - p)
    t.true(values.every((value) => value === 0 || Math.abs(value - kept) < 1e-5))
    const fraction = values.filter((value) => value !== 0).length / values.length
    t.true(
      Math.abs(fraction - (1 - p)) < 5 * Math.sqrt((p * (1 - p)) / values.length),
      `${fraction}`,
    )
    // The first layer's own final state is not masked.
    await closeTo(t, hn.slice(0, 0, 1), ones([1, 10, 50]), 1e-6)
    // Neighbours in time, batch and width are not related.
    for (const stride of [1, 50, 500]) {
      let both = 0
      for (let i = stride; i < values.length; i++) {
        if (values[i] !== 0 && values[i - stride] !== 0) both++
      }
      const share = both / (values.length - stride)
      t.true(Math.abs(share - (1 - p) ** 2) < 0.04, `stride ${stride}: ${share}`)
    }
  }
})

test('a fresh mask per call; the same after the same seed', async (t) => {
  const layer = showingMask(40, 0.5)
  const x = ones([5, 4, 1])
  manualSeed(7)
  const first = await layer.forward(x)[0].data()
  const second = await layer.forward(x)[0].data()
  t.notDeepEqual(first, second)
  manualSeed(7)
  t.deepEqual(await layer.forward(x)[0].data(), first)
  manualSeed(8)
  t.notDeepEqual(await layer.forward(x)[0].data(), first)
})

test('an all-ones net gives exactly the analytic value', async (t) => {
  const H = 200
  for (const p of [0, 0.276, 0.731, 1]) {
    for (const training of [true, false]) {
      const rnn = new nn.RNN(10, H, { numLayers: 2, bias: false, dropout: p, nonlinearity: 'relu' })
      rnn.loadStateDict(new Map([...rnn.stateDict()].map(([key, w]) => [key, ones(w.shape)])))
      rnn.train(training)
      const [y, hn] = rnn.forward(ones([1, 1, 10]), zeros([2, 1, H]))
      const values = (await y.data()) as Float32Array
      const value = values[0] as number
      t.true(values.every((other) => other === value))
      if (p === 0 || !training) t.is(value, 10 * H)
      else if (p === 1) t.is(value, 0)
      else {
        // (1 − p) · value is ten times the number of kept units.
        const kept = (value * (1 - p)) / 10
        t.true(Math.abs(kept - Math.round(kept)) < 1e-2, `${kept}`)
        t.true(Math.abs(kept / H - (1 - p)) < 0.2, `${kept}`)
      }
      const states = (await hn.data()) as Float32Array
      t.true(states.slice(0, H).every((state) => state === 10))
      t.true(states.slice(H).every((state) => state === value))
    }
  }
})

test('never after the last layer, and never with one layer', async (t) => {
  for (const kind of ['RNN_tanh', 'GRU', 'LSTM']) {
    const one = make(kind, 3, 4)
    const x = randomTensor([5, 2, 3], 1)
    const plain = await dataOf(run(one, x)[0]).data()
    one.dropout = 0.9
    t.deepEqual(await dataOf(run(one, x)[0]).data(), plain, kind)
    const two = make(kind, 3, 64, { numLayers: 2, dropout: 0.9 })
    const values = (await dataOf(run(two, x)[0]).data()) as Float32Array
    t.true(
      values.every((value) => value !== 0),
      `${kind}: no zeros in the output`,
    )
  }
})

for (const kind of ['RNN_tanh', 'GRU', 'LSTM']) {
  const build = (options: object): Layer => {
    manualSeed(20)
    return make(kind, 3, 6, { numLayers: 3, ...options })
  }
  const x = randomTensor([5, 2, 3], 1)
  const outputOf = async (layer: Layer) => dataOf(run(layer, x)[0]).data()

  test(`${kind}: dropout 0 and evaluation are plain`, async (t) => {
    const plain = await outputOf(build({}))
    t.deepEqual(await outputOf(build({ dropout: 0 })), plain)
    const layer = build({ dropout: 0.7 })
    t.notDeepEqual(await outputOf(layer), plain)
    layer.eval()
    t.deepEqual(await outputOf(layer), plain)
    layer.train()
    t.notDeepEqual(await outputOf(layer), plain)
  })

  test(`${kind}: dropout may be changed at run time`, async (t) => {
    const layer = build({})
    const plain = await outputOf(layer)
    layer.dropout = 0.5
    t.notDeepEqual(await outputOf(layer), plain)
    layer.dropout = 0
    t.deepEqual(await outputOf(layer), plain)
    layer.dropout = 1.5
    throwsWith(t, () => run(layer, x), RangeError, /dropout: expected .*between 0 and 1, got 1.5/)
    layer.dropout = true as never
    throwsWith(t, () => run(layer, x), TypeError, /dropout/)
  })

  test(`${kind}: dropout 1 cuts the layers apart`, async (t) => {
    const layer = build({ dropout: 1 })
    const input = randomTensor([5, 2, 3], 1, { requiresGrad: true })
    const [y] = run(layer, input) as [Tensor, ...unknown[]]
    y.backward(ones(y.shape))
    await closeTo(t, input.grad, zeros([5, 2, 3]), 0)
    for (const [name, p] of layer.namedParameters()) {
      const values = (await p.grad?.data()) as Float32Array
      t.true(values.every(Number.isFinite), name)
      t.is(
        values.some((value) => value !== 0),
        name.endsWith('l2') && name !== 'weight_ih_l2',
        name,
      )
    }
  })

  test(`${kind}: gradients use the mask of the forward pass`, async (t) => {
    const layer = build({ dropout: 0.4, bidirectional: true })
    const input = randomTensor([3, 2, 3], 2, { requiresGrad: true })
    const f = (given?: Tensor): Tensor => {
      manualSeed(33)
      return run(layer, given as Tensor)[0] as Tensor
    }
    await gradcheck(t, f, [input], { module: layer, stride: 7 })
  })

  test(`${kind}: packed input has dropout too`, async (t) => {
    const layer = build({ dropout: 0.4 })
    const input = randomTensor([3, 2, 3], 2, { requiresGrad: true })
    const f = (given?: Tensor): Tensor => {
      manualSeed(34)
      const packed = nn.utils.rnn.packPaddedSequence(given as Tensor, [3, 2])
      return dataOf(run(layer, packed)[0])
    }
    const dropped = await f(input).data()
    await gradcheck(t, f, [input])
    layer.eval()
    t.notDeepEqual(await f(input).data(), dropped)
  })
}
