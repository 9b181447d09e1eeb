/** RNN, GRU and LSTM against themselves: batches, directions, windows, packing, tying, threads. */
import test from 'ava'
import { cat, nn, ones, setNumThreads, Tensor, tensor, zeros } from 'fused-rnn'
import { closeTo, onCpu, projected, randomTensor } from './helpers.js'
import { dataOf, KINDS, type Layer, make, run, stateOf } from './recurrent-helpers.js'

for (const kind of KINDS) {
  const name = kind.replace('_tanh', '')
  const state = (h: Tensor, c?: Tensor) => stateOf(kind, h, c)

  // ---- Equivalences --------------------------------------------------------------------------------

  test(`${name}: unbatched is a batch of one`, async (t) => {
    const layer = make(kind, 10, 6, { numLayers: 2, bidirectional: true, batchFirst: true })
    const x = randomTensor([5, 10], 3)
    const [y, hn, cn] = run(layer, x, ...state(randomTensor([4, 6], 4)))
    const [y1, hn1, cn1] = run(layer, x.reshape([1, 5, 10]), ...state(randomTensor([4, 1, 6], 4)))
    t.deepEqual([...(y as Tensor).shape], [5, 12])
    t.deepEqual([...hn.shape], [4, 6])
    t.deepEqual(await dataOf(y).data(), await dataOf(y1).data())
    t.deepEqual(await hn.data(), await hn1.data())
    t.deepEqual(await cn?.data(), await cn1?.data())
  })

  test(`${name}: the reverse half is the forward layer on the reversed sequence`, async (t) => {
    const both = make(kind, 10, 6, { bidirectional: true })
    const parts = ['', '_reverse'].map((suffix) => {
      const one = make(kind, 10, 6)
      one.loadStateDict(
        new Map(
          ['weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0'].map((key) => [
            key,
            both.stateDict().get(key + suffix) as Tensor,
          ]),
        ),
      )
      return one
    }) as [Layer, Layer]
    const T = 5
    const x = randomTensor([T, 3, 10], 1)
    const steps = Array.from({ length: T }, (_, i) => x.slice(0, i, i + 1))
    const [y, hn, cn] = run(both, x)
    const [forward, hnF, cnF] = run(parts[0], x)
    const [backward, hnB, cnB] = run(parts[1], cat(steps.toReversed(), 0))
    const flipped = cat(
      Array.from({ length: T }, (_, i) => dataOf(backward).slice(0, T - 1 - i, T - i)),
      0,
    )
    await closeTo(t, y as Tensor, cat([forward as Tensor, flipped], 2), 1e-6)
    await closeTo(t, hn, cat([hnF, hnB], 0), 1e-6)
    if (cn) await closeTo(t, cn, cat([cnF as Tensor, cnB as Tensor], 0), 1e-6)
  })

  test(`${name}: two windows that carry the state are one sequence, gradients too`, async (t) => {
    const layer = make(kind, 10, 6, { numLayers: 2 })
    const x = randomTensor([7, 3, 10], 1, { requiresGrad: true })
    const [y, hn] = run(layer, x)
    const weight = randomTensor([7, 3, 6], 2)
    projected([y as Tensor, hn], [weight, ones([2, 3, 6])]).backward()
    const expected = new Map(
      await Promise.all(
        layer.namedParameters().map(async ([key, p]) => [key, await p.grad?.data()] as const),
      ),
    )
    const dx = await x.grad?.data()
    for (const tensor of [x, ...layer.parameters()]) tensor.grad = null
    const [y1, h1, c1] = run(layer, x.slice(0, 0, 3))
    const [y2, h2] = run(layer, x.slice(0, 3, 7), h1, c1 ?? undefined)
    await closeTo(t, cat([y1 as Tensor, y2 as Tensor], 0), y as Tensor, 1e-6)
    await closeTo(t, h2, hn, 1e-6)
    projected(
      [y1 as Tensor, y2 as Tensor, h2],
      [weight.slice(0, 0, 3), weight.slice(0, 3, 7), ones([2, 3, 6])],
    ).backward()
    await closeTo(t, x.grad, dx as Float32Array, 1e-5)
    for (const [key, p] of layer.namedParameters())
      await closeTo(t, p.grad, expected.get(key) as Float32Array, 1e-5, key)
  })

  test(`${name}: packed is padded`, async (t) => {
    const { packPaddedSequence, padPackedSequence } = nn.utils.rnn
    const layer = make(kind, 10, 6, { numLayers: 2, bidirectional: true })
    const lengths = [4, 7, 1, 5]
    const x = randomTensor([7, 4, 10], 1)
    const h0 = randomTensor([4, 4, 6], 2)
    const [y, hn, cn] = run(
      layer,
      packPaddedSequence(x, lengths, { enforceSorted: false }),
      ...state(h0),
    )
    const [padded, back] = padPackedSequence(y as nn.utils.rnn.PackedSequence)
    t.deepEqual(
      [
        ...((back as unknown) instanceof Tensor
          ? await (back as unknown as Tensor).data()
          : (back as Iterable<number>)),
      ],
      lengths,
    )
    for (const [n, length] of lengths.entries()) {
      const [y1, hn1, cn1] = run(
        layer,
        x.slice(1, n, n + 1).slice(0, 0, length),
        ...state(h0.slice(1, n, n + 1)),
      )
      await closeTo(t, padded.slice(1, n, n + 1).slice(0, 0, length), y1 as Tensor, 1e-6)
      await closeTo(t, padded.slice(1, n, n + 1).slice(0, length, 7), zeros([7 - length, 1, 12]), 0)
      await closeTo(t, hn.slice(1, n, n + 1), hn1, 1e-6)
      if (cn) await closeTo(t, cn.slice(1, n, n + 1), cn1 as Tensor, 1e-6)
    }
  })

  test(`${name}: packed with one length is exactly padded, with its gradients`, async (t) => {
    const layer = make(kind, 10, 6, { numLayers: 2, bidirectional: true })
    const x = randomTensor([5, 3, 10], 1, { requiresGrad: true })
    const [y] = run(layer, x)
    ;(y as Tensor).backward(randomTensor([5, 3, 12], 2))
    const before = await Promise.all([x, ...layer.parameters()].map((p) => p.grad?.data()))
    for (const p of [x, ...layer.parameters()]) p.grad = null
    const [packed] = run(layer, nn.utils.rnn.packPaddedSequence(x, [5, 5, 5]))
    t.deepEqual(await dataOf(packed).data(), await (y as Tensor).data())
    dataOf(packed).backward(randomTensor([15, 12], 2))
    t.deepEqual(await Promise.all([x, ...layer.parameters()].map((p) => p.grad?.data())), before)
  })

  // Small layers add their gradients up in another place where a thread has many sequences.
  test(`${name}: a wide batch is its parts, gradients too`, async (t) => {
    const { packPaddedSequence, padPackedSequence } = nn.utils.rnn
    const layer = make(kind, 10, 20, { numLayers: 2 })
    const [T, N, part] = [6, 416, 8]
    const x = randomTensor([T, N, 10], 1, { requiresGrad: true })
    const h0 = randomTensor([2, N, 20], 2, { requiresGrad: true })
    const weight = randomTensor([T, N, 20], 3)
    const lengths = Array.from({ length: N }, (_, n) => 1 + ((n * 7) % T))
    const leaves = [x, h0, ...layer.parameters()]
    const gradients = async (packed: boolean, size: number) => {
      for (const tensor of leaves) tensor.grad = null
      const outputs: Tensor[] = []
      for (let n = 0; n < N; n += size) {
        const input = x.slice(1, n, n + size)
        const options = { enforceSorted: false }
        const [y, hn, cn] = run(
          layer,
          packed ? packPaddedSequence(input, lengths.slice(n, n + size), options) : input,
          ...state(h0.slice(1, n, n + size)),
        )
        const padded = y instanceof Tensor ? y : padPackedSequence(y, { totalLength: T })[0]
        outputs.push(padded)
        const ends = cn ? [hn, cn] : [hn]
        projected(
          [padded, ...ends],
          [weight.slice(1, n, n + size), ...ends.map((end) => ones(end.shape))],
        ).backward()
      }
      return [cat(outputs, 1), ...leaves.map((leaf) => leaf.grad as Tensor)]
    }
    for (const packed of [false, true]) {
      const expected = await gradients(packed, part)
      for (const [k, tensor] of (await gradients(packed, N)).entries()) {
        const values = (await (expected[k] as Tensor).data()) as Float32Array
        const largest = values.reduce((most, value) => Math.max(most, Math.abs(value)), 1)
        await closeTo(t, tensor, values, 1e-5 * largest, `packed ${packed}, result ${k}`)
      }
    }
  })

  // There is a term for each row of each step, and all of one sign.
  const manyRows = onCpu ? test : test.skip
  manyRows(`${name}: gradients of many equal sequences are exact`, async (t) => {
    const layer = make(kind, 1, 4)
    const T = 300
    const gradients = async (N: number): Promise<number[]> => {
      for (const parameter of layer.parameters()) parameter.grad = null
      const [y] = run(layer, ones([T, N, 1]))
      ;(y as Tensor).sum().backward()
      const all = await Promise.all(layer.parameters().map((p) => p.grad?.data()))
      return all.flatMap((values) => [...(values as Float32Array)])
    }
    const one = await gradients(1)
    const largest = Math.max(...one.map(Math.abs))
    for (const [i, value] of (await gradients(1024)).entries()) {
      const off = Math.abs(value / 1024 - (one[i] as number)) / largest
      t.true(off < 5e-6, `gradient ${i} is off by ${off}`)
    }
  })

  // ---- Tying, determinism --------------------------------------------------------------------------

  test(`${name}: tied parameters collect one gradient and stay tied`, async (t) => {
    const tied = make(kind, 6, 6, { numLayers: 2 }) as Layer & Record<string, Tensor>
    const apart = make(kind, 6, 6, { numLayers: 2 })
    tied.weight_hh_l1 = tied.weight_hh_l0 as Tensor
    apart.loadStateDict(tied.stateDict())
    t.is(tied.namedParameters().length, 7)
    t.true(tied.stateDict().has('weight_hh_l1'))
    const x = randomTensor([4, 3, 6], 1)
    const [y] = run(tied, x) as [Tensor, ...unknown[]]
    const [y2] = run(apart, x) as [Tensor, ...unknown[]]
    t.deepEqual(await y.data(), await y2.data())
    y.backward(ones(y.shape))
    y2.backward(ones(y.shape))
    const gradients = new Map(apart.namedParameters().map(([key, p]) => [key, p.grad as Tensor]))
    const sum = (gradients.get('weight_hh_l0') as Tensor).add(
      gradients.get('weight_hh_l1') as Tensor,
    )
    await closeTo(t, (tied.weight_hh_l0 as Tensor).grad, sum, 1e-5)
    await closeTo(
      t,
      (tied.weight_ih_l1 as Tensor).grad,
      gradients.get('weight_ih_l1') as Tensor,
      1e-5,
    )
  })

  test.serial(
    `${name}: one and two threads agree; the same count gives the same bits`,
    async (t) => {
      const layer = make(kind, 48, 64, { numLayers: 2, bidirectional: true })
      const x = randomTensor([12, 17, 48], 1, { requiresGrad: true })
      const results: (Float32Array | Int32Array)[][] = []
      for (const threads of [1, 2, 2, 1]) {
        setNumThreads(threads)
        for (const p of [x, ...layer.parameters()]) p.grad = null
        const [y, hn] = run(layer, x) as [Tensor, Tensor, ...unknown[]]
        y.backward(randomTensor(y.shape, 2))
        results.push(
          await Promise.all(
            [y, hn, ...[x, ...layer.parameters()].map((p) => p.grad as Tensor)].map((r) =>
              r.data(),
            ),
          ),
        )
      }
      setNumThreads(2)
      const [one, two, twoAgain, oneAgain] = results as [
        Float32Array[],
        Float32Array[],
        Float32Array[],
        Float32Array[],
      ]
      t.deepEqual(one, oneAgain)
      t.deepEqual(two, twoAgain)
      for (const [k, values] of one.entries())
        await closeTo(t, two[k] as Float32Array, values, 1e-4, `result ${k}`)
    },
  )
}

test('a long sequence: gradients stay finite and saturated gates do not overflow', async (t) => {
  for (const kind of ['RNN_tanh', 'GRU', 'LSTM']) {
    const layer = make(kind, 4, 5)
    const x = randomTensor([500, 2, 4], 1).mul(1000)
    const leaf = x.detach()
    leaf.requiresGrad = true
    const [y] = run(layer, leaf) as [Tensor, ...unknown[]]
    y.backward(ones(y.shape))
    for (const result of [
      y,
      leaf.grad as Tensor,
      ...layer.parameters().map((p) => p.grad as Tensor),
    ]) {
      t.true(((await result.data()) as Float32Array).every(Number.isFinite), kind)
    }
  }
})

test('NaN in the input shows in the output and stays in its own sequence', async (t) => {
  for (const kind of ['RNN_tanh', 'RNN_relu', 'GRU', 'LSTM']) {
    const layer = make(kind, 3, 4)
    const values = new Float32Array(2 * 2 * 3).fill(0.5)
    values[0] = Number.NaN
    const y = (await (
      run(layer, tensor(values, { shape: [2, 2, 3] }))[0] as Tensor
    ).data()) as Float32Array
    t.deepEqual(
      [...y].map(Number.isNaN),
      [1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0].map(Boolean),
      kind,
    )
  }
})
