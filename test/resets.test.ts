/** Resets, resets to a given state, and masks of steps: beside packing, new calls and finite differences. */
import test from 'ava'
import { cat, manualSeed, nn, type Tensor, tensor, where, zeros } from 'fused-rnn'
import {
  closeTo,
  gradcheck,
  gradgradcheck,
  randomTensor,
  testDevice,
  throwsWith,
} from './helpers.js'
import { hasC, type Input, KINDS, make, run, steps } from './recurrent-runs.js'

for (const kind of KINDS)
  test(`${kind}: a mask does what packing does, and a reset what a new call does`, async (t) => {
    manualSeed(7)
    const layer = make(kind, 3, 6, { numLayers: 2 })
    const x = randomTensor([6, 3, 3], 1)
    const lengths = [6, 4, 2]
    const mask = tensor(
      Array.from({ length: 6 }, (_, s) => lengths.map((length) => s < length)),
      { dtype: 'bool' },
    )
    const { packPaddedSequence, padPackedSequence } = nn.utils.rnn
    const [padded, ...final] = run(layer, packPaddedSequence(x, lengths))
    const [y, ...masked] = run(layer, x, null, { mask })
    for (const [i, one] of masked.entries()) await closeTo(t, one, final[i] as Tensor, 2e-6)
    const all = padPackedSequence(padded as nn.utils.rnn.PackedSequence)[0]
    const own = where(mask.unsqueeze(2), y as Tensor, zeros([1], { device: testDevice }))
    await closeTo(t, own, all, 2e-6)
    // The output of a step that is skipped is the one before.
    const third = (y as Tensor).select(1, 2)
    await closeTo(t, third.select(0, 5), third.select(0, 1), 0)

    const reset = tensor(
      [0, 0, 1, 0, 0, 0].map((r) => [r, r, r]),
      { dtype: 'int32' },
    )
    const [whole, ...last] = run(layer, x, null, { reset })
    const [head] = run(layer, x.slice(0, 0, 2))
    const [tail, ...ends] = run(layer, x.slice(0, 2, 6))
    await closeTo(t, whole as Tensor, cat([head as Tensor, tail as Tensor]), 2e-6)
    for (const [i, one] of last.entries()) await closeTo(t, one, ends[i] as Tensor, 2e-6)
  })

test('masks by batch first and of unbatched input; a state before a reset gets no gradient', async (t) => {
  manualSeed(8)
  const layer = make('LSTM', 3, 5, { batchFirst: true, bidirectional: true }) as nn.LSTM
  const x = randomTensor([2, 4, 3], 1)
  const [reset, mask] = [steps([2, 4], 2, 0), steps([2, 4], 3, 1)]
  const [y] = layer.forward(x, null, { reset, mask })
  for (const n of [0, 1]) {
    const one = { reset: reset.select(0, n), mask: mask.select(0, n) }
    const [alone] = layer.forward(x.select(0, n), null, one)
    await closeTo(t, alone, y.select(0, n), 2e-6)
  }
  const h0 = randomTensor([2, 2, 5], 4, { requiresGrad: true })
  const c0 = randomTensor([2, 2, 5], 5, { requiresGrad: true })
  const always = tensor(
    [
      [1, 0, 0, 1],
      [0, 0, 0, 0],
    ],
    { dtype: 'int32' },
  )
  layer.forward(x, [h0, c0], { reset: always })[0].sum().backward()
  for (const grad of [h0.grad, c0.grad]) {
    const values = (await (grad as Tensor).data()) as Float32Array
    for (const [i, value] of values.entries())
      t.is(value === 0, Math.floor(i / 5) % 2 === 0, `${i}`)
  }
})

for (const kind of [...KINDS, 'SLSTM'])
  test(`${kind}: a reset to a given state is a new call with it`, async (t) => {
    manualSeed(8)
    const layer = make(kind, 3, 4, { numLayers: 2 })
    const x = randomTensor([5, 2, 3], 1)
    const widths = [4, ...(hasC(kind) ? [kind === 'SLSTM' ? 12 : 4] : [])]
    const given = (seed: number): Tensor[] =>
      widths.map((width, i) =>
        randomTensor([2, 2, width], seed + i)
          .abs()
          .add(0.5)
          .detach(),
      )
    const [h0, to] = [given(2), given(4)]
    for (const one of to) one.requiresGrad = true
    const reset = tensor(
      [0, 0, 1, 0, 0].map((r) => [r, r]),
      { dtype: 'int32' },
    )
    const grads = (y: Tensor): Promise<Float32Array[]> => {
      y.square().sum().backward()
      const all = [...to, ...layer.parameters()].map(async (one) => {
        const values = (await one.grad?.data()) as Float32Array
        one.grad = null
        return values
      })
      return Promise.all(all)
    }
    const [y, ...final] = run(layer, x, h0, { reset }, to)
    const got = await grads(y as Tensor)
    const [head] = run(layer, x.slice(0, 0, 2), h0)
    const [tail, ...ends] = run(layer, x.slice(0, 2, 5), to)
    const whole = cat([head as Tensor, tail as Tensor])
    await closeTo(t, y as Tensor, whole, 2e-6)
    for (const [i, one] of final.entries()) await closeTo(t, one, ends[i] as Tensor, 2e-6)
    for (const [i, values] of (await grads(whole)).entries())
      await closeTo(t, got[i] as Float32Array, values, 2e-5, `gradient ${i}`)
  })

for (const kind of KINDS)
  test(`${kind}: finite differences of the state at resets, with all that options do`, async (t) => {
    const widths = hasC(kind) ? [4, 4] : [4]
    const states = (seed: number): Tensor[] =>
      widths.map((width, i) => randomTensor([2, 2, width], seed + i, { requiresGrad: true }))
    const masks = { reset: steps([4, 2], 11, 0), mask: steps([4, 2], 12, 1) }
    const options = { recurrentDropout: 0.3, zoneout: 0.3, outputDropout: 0.2, bidirectional: true }
    manualSeed(6)
    const layer = make(kind, 3, 4, options)
    for (const [key, p] of layer.namedParameters())
      if (key.startsWith('gain')) nn.init.constant(p, 0.4)
    const f = (x: Tensor, ...rest: Tensor[]) => {
      manualSeed(17)
      const [h0, to] = [rest.slice(0, widths.length), rest.slice(widths.length)]
      const [y, ...final] = run(layer, x, h0, masks, to)
      return [y as Tensor, ...final]
    }
    const inputs = [randomTensor([4, 2, 3], 1, { requiresGrad: true }), ...states(2), ...states(5)]
    await gradcheck(t, f, inputs, { stride: 2, tol: 2e-3 })
    await gradgradcheck(t, f, inputs, { stride: 3, tol: 4e-3 })
  })

test('the state of resets: of packed and unbatched input, layer by layer, and what is refused', async (t) => {
  manualSeed(8)
  const { packPaddedSequence, padPackedSequence } = nn.utils.rnn
  const options = { numLayers: 2, bidirectional: true, projSize: 3 }
  const layer = make('LSTM', 3, 5, options) as nn.LSTM
  const x = randomTensor([4, 3, 3], 1)
  const [h, c] = [randomTensor([4, 3, 3], 2), randomTensor([4, 3, 5], 3)]
  const reset = steps([4, 3], 4, 0)
  const masks = { reset, resetState: [h, c] as const }
  const lengths = [2, 4, 3]
  const packed = packPaddedSequence(x, lengths, { enforceSorted: false })
  const [rows, [hn]] = layer.forward(packed, null, masks)
  const [all] = padPackedSequence(rows)
  for (const [n, length] of lengths.entries()) {
    const own = (whole: Tensor): Tensor => whole.select(1, n).slice(0, 0, length)
    const of = (state: Tensor): Tensor => state.select(1, n)
    const alone = { reset: own(reset), resetState: [of(h), of(c)] as const }
    const [y, [last]] = layer.forward(own(x), null, alone)
    await closeTo(t, own(all), y, 2e-6, `sequence ${n}`)
    await closeTo(t, of(hn), last, 2e-6, `state ${n}`)
  }
  // A dropout whose masks are between the layers runs them one by one.
  const apart = make('LSTM', 3, 5, { ...options, outputDropout: 1e-7 }) as nn.LSTM
  apart.loadStateDict(layer.stateDict())
  await closeTo(t, apart.forward(x, null, masks)[0], layer.forward(x, null, masks)[0], 2e-6)

  const call =
    (given: object, input: Input = x) =>
    () =>
      layer.forward(input as Tensor, null, given as never)
  throwsWith(t, call({ resetState: [h, c] }), TypeError, /resetState: expected reset beside it/)
  throwsWith(t, call({ reset, resetState: h }), TypeError, /resetState: expected a pair/)
  throwsWith(
    t,
    call({ reset, resetState: [h, 1] }),
    TypeError,
    /resetState\[1\]: expected a tensor/,
  )
  throwsWith(
    t,
    call({ reset, resetState: [h, h] }),
    RangeError,
    /\[LSTM.forward\] resetState\[1\]: expected shape \(4, 3, 5\), got \(4, 3, 3\)/,
  )
  throwsWith(
    t,
    call({ reset, resetState: [h.ne(0), c] }),
    TypeError,
    /resetState\[0\]: expected a float32 tensor, got 'bool'/,
  )
  const gru = make('GRU', 3, 4) as nn.GRU
  const wrong = { reset, resetState: [h, c] } as never
  throwsWith(
    t,
    () => gru.forward(x, null, wrong),
    TypeError,
    /\[GRU.forward\] resetState: expected a tensor/,
  )
  const slstm = make('SLSTM', 3, 4) as nn.SLSTM
  throwsWith(
    t,
    () => slstm.forward(x, null, wrong),
    TypeError,
    /resetState: expected an array of four/,
  )
})

test('masks of packed sequences: padded, by batch first, packed, of either type', async (t) => {
  manualSeed(8)
  const { packPaddedSequence } = nn.utils.rnn
  const options = { numLayers: 2, bidirectional: true }
  const layer = make('GRU', 3, 5, options) as nn.GRU
  const byBatch = make('GRU', 3, 5, { ...options, batchFirst: true }) as nn.GRU
  byBatch.loadStateDict(layer.stateDict())
  const x = randomTensor([5, 4, 3], 1)
  const lengths = [3, 5, 1, 3]
  const pack = (one: Tensor, batchFirst = false) =>
    packPaddedSequence(one, lengths, { enforceSorted: false, batchFirst })
  const packed = pack(x)
  const [reset, mask] = [steps([5, 4], 2, 0), steps([5, 4], 3, 1)]
  const [y, hn] = layer.forward(packed, null, { reset, mask })
  const swap = (one: Tensor): Tensor => one.transpose(0, 1)
  const ways: [nn.GRU, nn.StepMasks][] = [
    [layer, { reset: reset.ne(0), mask: mask.ne(0) }],
    [layer, { reset: pack(reset), mask: pack(mask.ne(0)) }],
    [layer, { reset: packed.withData(pack(reset).data), mask }],
    [byBatch, { reset: swap(reset), mask: swap(mask).ne(0) }],
    [byBatch, { reset: pack(swap(reset), true), mask: swap(mask) }],
  ]
  for (const [i, [one, masks]] of ways.entries()) {
    const [again, final] = one.forward(packed, null, masks)
    await closeTo(t, again.data, y.data, 0, `${i}`)
    await closeTo(t, final, hn, 0, `${i}`)
  }
  // Every sequence by itself.
  const [all] = nn.utils.rnn.padPackedSequence(y)
  for (const [n, length] of lengths.entries()) {
    const own = (whole: Tensor): Tensor => whole.select(1, n).slice(0, 0, length)
    const [alone, state] = layer.forward(own(x), null, { reset: own(reset), mask: own(mask) })
    await closeTo(t, own(all), alone, 2e-6, `sequence ${n}`)
    await closeTo(t, hn.select(1, n), state, 2e-6, `state ${n}`)
  }
})
