/** Resets and masks of nn.IndRNN, nn.SRU, nn.MinGRU and nn.MinLSTM: beside loops of their cells. */
import test from 'ava'
import {
  cat,
  getNumThreads,
  manualSeed,
  nn,
  noGrad,
  setNumThreads,
  stack,
  type Tensor,
  tensor,
  where,
  zeros,
} from 'fused-rnn'
import { awayFromKinks, type Cell, cellOf, className, KINDS, make } from './elementwise-kinds.js'
import {
  closeTo,
  emulated,
  gradcheck,
  gradgradcheck,
  projected,
  randomTensor,
  testDevice,
  throwsWith,
} from './helpers.js'
import { type Input, steps } from './recurrent-runs.js'

const { packPaddedSequence, padPackedSequence } = nn.utils.rnn

type Masks = { reset: Tensor; mask: Tensor }

/**
 * A loop of the cell.
 * @param masks `(T, N)`
 * @param begin what a reset makes of the state
 */
function loop(
  cell: Cell,
  x: Tensor,
  start: Tensor,
  { reset, mask }: Masks,
  backwards: boolean,
  begin: Tensor | number = 0,
): [y: Tensor, state: Tensor] {
  const T = x.shape[0] as number
  const order = [...Array(T).keys()]
  if (backwards) order.reverse()
  const outputs: Tensor[] = []
  const sru = cell instanceof nn.SRUCell
  let state = start
  let before = start.mul(0)
  for (const t of order) {
    const cut = reset.select(0, t).ne(0).unsqueeze(1)
    const on = mask.select(0, t).ne(0).unsqueeze(1)
    state = where(cut, begin, state)
    before = sru ? where(cut, 0, before) : state
    const result: Tensor | [Tensor, Tensor] = cell.forward(x.select(0, t), state)
    const [h, next] = Array.isArray(result) ? result : [result, result]
    before = outputs[t] = where(on, h, before)
    state = where(on, next, state)
  }
  return [stack(outputs), state]
}

for (const kind of KINDS) {
  // SRU reads an input that is as wide as its output in a way of its own.
  for (const alike of kind === 'SRU' ? [true, false] : [false])
    test(`${kind}${alike ? ', inputs as outputs' : ''}: resets and masks are those of a loop of cells`, async (t) => {
      manualSeed(3)
      const [T, N, H] = emulated ? [4, 3, 5] : [7, 3, 67]
      const I = alike ? H : 5
      const layer = make(kind, I, H, { bidirectional: true })
      const x = randomTensor([T, N, I], 1, { requiresGrad: true })
      const h0 = randomTensor([2, N, H], 2, { requiresGrad: true })
      const masks = { reset: steps([T, N], 3, 0), mask: steps([T, N], 4, 1) }
      const vectors = [randomTensor([T, N, 2 * H], 5), randomTensor([2, N, H], 6)]
      const [y, hn] = layer.forward(x, h0, masks)
      projected([y, hn], vectors).backward()
      const got = [x.grad, h0.grad] as Tensor[]
      x.grad = h0.grad = null
      const cells = ['_l0', '_l0_reverse'].map((suffix) => cellOf(kind, layer, suffix))
      const ways = cells.map((cell, d) => loop(cell, x, h0.select(0, d), masks, d === 1))
      const expected = [
        cat(
          ways.map(([h]) => h),
          2,
        ),
        stack(ways.map(([, s]) => s)),
      ]
      await closeTo(t, y, expected[0] as Tensor, 2e-5, 'y')
      await closeTo(t, hn, expected[1] as Tensor, 2e-5, 'hn')
      projected(expected, vectors).backward()
      await closeTo(t, got[0] as Tensor, x.grad as unknown as Tensor, 1e-4, 'dx')
      await closeTo(t, got[1] as Tensor, h0.grad as unknown as Tensor, 1e-4, 'dh0')
      const ofCells = cells.flatMap((cell) => cell.parameters())
      for (const [i, [name, p]] of layer.namedParameters().entries())
        await closeTo(t, p.grad, ofCells[i]?.grad as Tensor, 1e-4, `d ${name}`)
      // Without a history.
      await closeTo(
        t,
        noGrad(() => layer.forward(x, h0, masks)[0]),
        y,
        2e-6,
      )
      // One of them alone.
      const ones = masks.mask.mul(0).add(1)
      const none = masks.reset.mul(0)
      for (const one of [{ reset: masks.reset }, { mask: masks.mask }]) {
        const [half] = layer.forward(x, h0, one)
        const [all] = layer.forward(x, h0, { reset: none, mask: ones, ...one })
        await closeTo(t, half, all, 2e-6)
      }
      const [plain] = layer.forward(x, h0, { reset: none, mask: ones })
      await closeTo(t, plain, layer.forward(x, h0)[0], 2e-6)
    })

  test(`${kind}: a mask does what packing does, and a reset what a new call does`, async (t) => {
    manualSeed(7)
    const layer = make(kind, 3, 6, { numLayers: 2, bidirectional: true })
    const x = randomTensor([6, 3, 3], 1)
    const lengths = [6, 4, 2]
    const mask = tensor(Array.from({ length: 6 }, (_, s) => lengths.map((length) => s < length)))
    const [p, final] = layer.forward(packPaddedSequence(x, lengths))
    const [y, masked] = layer.forward(x, null, { mask })
    await closeTo(t, masked, final, 2e-6)
    const own = where(mask.unsqueeze(2), y, zeros([1]))
    await closeTo(t, own, padPackedSequence(p)[0], 2e-6)

    const single = make(kind, 3, 6, { numLayers: 2 })
    const reset = tensor(
      [0, 0, 1, 0, 0, 0].map((r) => [r, r, r]),
      { dtype: 'int32' },
    )
    const [whole, last] = single.forward(x, null, { reset })
    const [head] = single.forward(x.slice(0, 0, 2))
    const [tail, end] = single.forward(x.slice(0, 2, 6))
    await closeTo(t, whole, cat([head, tail]), 2e-6)
    await closeTo(t, last, end, 2e-6)
  })

  test(`${kind}: masks of packed sequences, by batch first and of one sequence`, async (t) => {
    manualSeed(8)
    const options = { numLayers: 2, bidirectional: true }
    const layer = make(kind, 3, 5, options)
    const byBatch = make(kind, 3, 5, { ...options, batchFirst: true })
    byBatch.loadStateDict(layer.stateDict())
    const lengths = [3, 5, 1, 3]
    const x = randomTensor([5, 4, 3], 1)
    const h0 = randomTensor([4, 4, 5], 9)
    const masks = { reset: steps([5, 4], 2, 0), mask: steps([5, 4], 3, 1) }
    const packed = packPaddedSequence(x, lengths, { enforceSorted: false })
    const [p, hn] = layer.forward(packed, h0, masks)
    const [y] = padPackedSequence(p)
    const swapped = Object.fromEntries(
      Object.entries(masks).map(([name, one]) => [name, one.transpose(0, 1).ne(0)]),
    )
    const [again] = byBatch.forward(packed, h0, swapped)
    await closeTo(t, again.data, p.data, 0)
    const [whole] = byBatch.forward(x.transpose(0, 1), h0, swapped)
    await closeTo(t, whole.transpose(0, 1), layer.forward(x, h0, masks)[0], 0)
    for (const [n, length] of lengths.entries()) {
      const own = (all: Tensor): Tensor => all.select(1, n).slice(0, 0, length)
      const alone = { reset: own(masks.reset), mask: own(masks.mask) }
      const [one, last] = layer.forward(own(x), h0.select(1, n), alone)
      await closeTo(t, own(y), one, 2e-6, `sequence ${n}`)
      await closeTo(t, hn.select(1, n), last, 2e-6, `state ${n}`)
    }
  })

  for (const N of [1, 3])
    test(`${kind}: few resets and long gaps in many steps of ${N}, at once and in stretches`, async (t) => {
      manualSeed(4)
      const [T, I, H, stretch] = emulated ? [200, 2, 5, 40] : [1300, 3, 9, 100]
      const layer = make(kind, I, H, { bidirectional: false })
      if (kind === 'IndRNN_relu') nn.init.uniform(layer.weight_hh_l0 as Tensor, 0, 0.98)
      const cuts = [0.1, 0.35, 0.36, 0.9].map((part) => Math.floor(part * T))
      const gap = [Math.floor(0.4 * T), Math.floor(0.68 * T)] as const
      const noise = (await randomTensor([T, N], 5).data()) as Float32Array
      const table = (f: (t: number, n: number) => boolean): Tensor =>
        tensor(Array.from({ length: T }, (_, s) => Array.from({ length: N }, (_, n) => f(s, n))))
      const masks = {
        reset: table((s, n) => n < 2 && cuts.includes(s + 7 * n)),
        // A new call does not know the last output of an SRU.
        mask: table(
          (s, n) =>
            s % stretch === 0 ||
            !((n === 0 && s >= gap[0] && s < gap[1]) || (noise[s * N + n] as number) > 0.7),
        ),
      }
      const x = randomTensor([T, N, I], 6, { requiresGrad: true })
      const h0 = randomTensor([1, N, H], 7, { requiresGrad: true })
      const vectors = [randomTensor([T, N, H], 8), randomTensor([1, N, H], 9)]
      const whole = (): Tensor[] => {
        x.grad = h0.grad = null
        const [y, hn] = layer.forward(x, h0, masks)
        projected([y, hn], vectors).backward()
        return [y, hn, x.grad, h0.grad] as unknown as Tensor[]
      }
      const got = whole()
      x.grad = h0.grad = null
      let state = h0
      const outputs: Tensor[] = []
      for (let s = 0; s < T; s += stretch) {
        const own = (all: Tensor): Tensor => all.slice(0, s, Math.min(T, s + stretch))
        const part = { reset: own(masks.reset), mask: own(masks.mask) }
        const [y, next] = layer.forward(own(x), state, part)
        outputs.push(y)
        state = next
      }
      projected([cat(outputs), state], vectors).backward()
      const expected = [cat(outputs), state, x.grad, h0.grad] as Tensor[]
      for (const [i, name] of ['y', 'hn', 'dx', 'dh0'].entries())
        await closeTo(t, got[i] as Tensor, expected[i] as Tensor, i < 2 ? 1e-5 : 1e-4, name)
      if (testDevice !== 'cpu') return
      const threads = getNumThreads()
      try {
        const bits = async (count: number): Promise<unknown[]> => {
          setNumThreads(count)
          return Promise.all(whole().map((one) => one.data()))
        }
        t.deepEqual(await bits(2), await bits(1))
      } finally {
        setNumThreads(threads)
      }
    })

  test(`${kind}: a NaN ends at a reset, and one of a skipped step is not seen`, async (t) => {
    manualSeed(5)
    const [T, at] = emulated ? [90, 70] : [600, 300]
    const layer = make(kind, 2, 3)
    const values = (await randomTensor([T, 2, 2], 1).data()) as Float32Array
    const broken = values.slice()
    broken[5 * 4] = broken[(at + 9) * 4] = Number.NaN // of sequence 0
    const table = (where: number, usual: number): Tensor =>
      tensor(
        Array.from({ length: T }, (_, s) => (s === where ? [1 - usual, usual] : [usual, usual])),
        { dtype: 'int32' },
      )
    const masks = { reset: table(at, 0), mask: table(at + 9, 1) }
    const results = async (data: Float32Array): Promise<[Float32Array, Float32Array]> => {
      const x = tensor(data, { shape: [T, 2, 2], requiresGrad: true })
      const [y] = layer.forward(x, null, masks)
      y.sum().backward()
      return [(await y.data()) as Float32Array, (await x.grad?.data()) as Float32Array]
    }
    const [[y, dx], [cleanY, cleanDx]] = [await results(broken), await results(values)]
    t.true(y.slice((at - 1) * 6, (at - 1) * 6 + 3).every(Number.isNaN))
    await closeTo(t, y.slice(at * 6), cleanY.slice(at * 6), 0, 'y')
    await closeTo(t, dx.slice(at * 4), cleanDx.slice(at * 4), 0, 'dx')
  })

  test(`${kind}: finite differences with resets and masks`, async (t) => {
    manualSeed(6)
    const layer = make(kind, 3, 4, { bidirectional: true })
    awayFromKinks(layer, kind)
    const masks = { reset: steps([4, 2], 11, 0), mask: steps([4, 2], 12, 1) }
    const inputs = [
      randomTensor([4, 2, 3], 5, { requiresGrad: true }),
      randomTensor([2, 2, 4], 6, { requiresGrad: true }),
    ]
    await gradcheck(t, (x, h0) => layer.forward(x, h0, masks), inputs, { module: layer })
    const name = kind === 'IndRNN_relu' ? 'weight_hh_l0' : 'weight_ih_l0'
    const weight = layer[name] as Tensor
    const f = (x: Tensor, h0: Tensor, w: Tensor): Tensor[] => {
      layer[name] = w
      return layer.forward(x, h0, masks)
    }
    const value = (await weight.data()) as Float32Array
    const w = tensor(value, { shape: weight.shape, requiresGrad: true })
    await gradgradcheck(t, f, [...inputs, w], { tol: 4e-3, stride: 3 })
  })

  test(`${kind}: the state of resets`, async (t) => {
    manualSeed(9)
    const [T, N, I, H] = [5, 3, 4, 4]
    const layer = make(kind, I, H, { bidirectional: true })
    const x = randomTensor([T, N, I], 1, { requiresGrad: true })
    const [h0, to] = [2, 3].map((seed) =>
      randomTensor([2, N, H], seed, { requiresGrad: true }),
    ) as [Tensor, Tensor]
    const masks = { reset: steps([T, N], 3, 0), mask: steps([T, N], 4, 1) }
    const vectors = [randomTensor([T, N, 2 * H], 5), randomTensor([2, N, H], 6)]
    const inputs = [x, h0, to]
    const grads = (results: Tensor[]): Tensor[] => {
      for (const one of inputs) one.grad = null
      projected(results, vectors).backward()
      return inputs.map((one) => one.grad as Tensor)
    }
    const got = layer.forward(x, h0, { ...masks, resetState: to })
    const gotGrads = grads(got)
    const ways = ['_l0', '_l0_reverse'].map((suffix, d) =>
      loop(cellOf(kind, layer, suffix), x, h0.select(0, d), masks, d === 1, to.select(0, d)),
    )
    const expected = [
      cat(
        ways.map(([h]) => h),
        2,
      ),
      stack(ways.map(([, s]) => s)),
    ]
    for (const [i, one] of expected.entries()) await closeTo(t, got[i] as Tensor, one, 2e-5)
    for (const [i, one] of grads(expected).entries())
      await closeTo(t, gotGrads[i] as Tensor, one, 1e-4, `gradient ${i}`)
    const lengths = [2, 5, 3]
    const packed = packPaddedSequence(x, lengths, { enforceSorted: false })
    const [p] = layer.forward(packed, null, { ...masks, resetState: to })
    const [y] = padPackedSequence(p)
    for (const [n, length] of lengths.entries()) {
      const own = (all: Tensor): Tensor => all.select(1, n).slice(0, 0, length)
      const alone = { reset: own(masks.reset), mask: own(masks.mask), resetState: to.select(1, n) }
      await closeTo(t, own(y), layer.forward(own(x), null, alone)[0], 2e-6, `sequence ${n}`)
    }
  })

  test(`${kind}: what is refused`, (t) => {
    const layer = make(kind, 3, 4)
    const x = zeros([5, 2, 3])
    const fn = `\\[${className(kind)}.forward\\]`
    const call =
      (masks: object, input: Input = x) =>
      () =>
        layer.forward(input as Tensor, null, masks as never)
    for (const name of ['reset', 'mask']) {
      const shape = new RegExp(
        `${fn} ${name}: expected shape \\(5, 2\\) \\(T, N\\), got \\(2, 5\\)`,
      )
      throwsWith(t, call({ [name]: zeros([2, 5], { dtype: 'int32' }) }), RangeError, shape)
      throwsWith(
        t,
        call({ [name]: zeros([5, 2]) }),
        TypeError,
        new RegExp(`${fn} ${name}: expected an int32 or bool tensor, got 'float32'`),
      )
      throwsWith(t, call({ [name]: [[1, 0]] }), TypeError, /a tensor/)
      const other = testDevice === 'cpu' ? null : zeros([5, 2], { dtype: 'int32', device: 'cpu' })
      if (other) throwsWith(t, call({ [name]: other }), RangeError, new RegExp(`${fn} ${name}`))
    }
    throwsWith(t, call({ resets: x }), TypeError, /reset, mask/)
    throwsWith(t, call({ resetState: zeros([1, 2, 4]) }), TypeError, /expected reset beside it/)
    const reset = zeros([5, 2], { dtype: 'int32' })
    throwsWith(
      t,
      call({ reset, resetState: zeros([2, 4]) }),
      RangeError,
      new RegExp(`${fn} resetState: expected 3 dimensions`),
    )
    layer.zoneout = 0.5
    throwsWith(t, call({ reset }), TypeError, /zoneout: expected 0/)
    throwsWith(t, () => layer.forward(x), TypeError, /zoneout: expected 0/)
    layer.zoneout = 0
    layer.weightDropout = 0.5
    throwsWith(
      t,
      () => layer.forward(x),
      TypeError,
      /weightDropout: expected 0, .* no recurrent matrix/,
    )
  })
}
