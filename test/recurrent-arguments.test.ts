/** What forward of RNN, GRU and LSTM refuses, and the special sizes it takes. */
import test from 'ava'
import { nn, type Tensor, zeros } from 'fused-rnn'
import { closeTo, randomTensor, throwsWith } from './helpers.js'
import { dataOf, make, run, stateOf } from './recurrent-helpers.js'

for (const kind of ['RNN_tanh', 'GRU', 'LSTM']) {
  const name = kind.replace('_tanh', '')
  const at = (rest: string): RegExp => new RegExp(`^\\[${name}\\.forward\\] ${rest}`)
  const state = (h: Tensor, c?: Tensor) => stateOf(kind, h, c)

  test(`${name}: every wrong argument is an error that names both sides`, (t) => {
    const layer = make(kind, 10, 6, { numLayers: 2 })
    const x = zeros([7, 3, 10])
    const call = (input: unknown, h?: unknown, c?: unknown) => (): unknown =>
      run(layer, input as Tensor, h as Tensor, (c ?? h) as Tensor)
    throwsWith(
      t,
      call(zeros([10])),
      RangeError,
      at('input: expected 2 or 3 dimensions, got 1 .*\\(10,\\)'),
    )
    throwsWith(t, call(zeros([1, 7, 3, 10])), RangeError, at('input: .*\\(1, 7, 3, 10\\)'))
    throwsWith(t, call(zeros([7, 3, 9])), RangeError, at('input: expected .*10.* got .*9'))
    throwsWith(t, call(zeros([7, 9])), RangeError, at('input: expected .*10.* got .*9'))
    throwsWith(
      t,
      call(zeros([0, 3, 10])),
      RangeError,
      at('input: expected .*(step|time|sequence|length)'),
    )
    throwsWith(
      t,
      call(zeros([0, 10])),
      RangeError,
      at('input: expected .*(step|time|sequence|length)'),
    )
    throwsWith(
      t,
      call(zeros([7, 3, 10], { dtype: 'int32' })),
      TypeError,
      at('input: expected .*float32.*int32'),
    )
    throwsWith(t, call([1, 2]), TypeError, at('input: expected a tensor'))
    throwsWith(t, call(undefined), TypeError, at('input: expected a tensor'))
    const hidden = kind === 'LSTM' ? 'hidden\\[0\\]' : 'hidden'
    throwsWith(
      t,
      call(x, zeros([2, 4, 6])),
      RangeError,
      at(`${hidden}: expected .*\\(2, 3, 6\\), got .*\\(2, 4, 6\\)`),
    )
    throwsWith(
      t,
      call(x, zeros([1, 3, 6])),
      RangeError,
      at(`${hidden}: expected .*\\(2, 3, 6\\), got .*\\(1, 3, 6\\)`),
    )
    throwsWith(
      t,
      call(x, zeros([2, 3, 5])),
      RangeError,
      at(`${hidden}: expected .*\\(2, 3, 6\\), got .*\\(2, 3, 5\\)`),
    )
    throwsWith(
      t,
      call(x, zeros([2, 6])),
      RangeError,
      at(`${hidden}: expected 3 dimensions for batched input, got 2 .*\\(2, 6\\)`),
    )
    throwsWith(
      t,
      call(zeros([7, 10]), zeros([2, 3, 6])),
      RangeError,
      at(`${hidden}: expected 2 dimensions for unbatched input, got 3 .*\\(2, 3, 6\\)`),
    )
    throwsWith(
      t,
      call(x, zeros([2, 3, 6], { dtype: 'int32' })),
      TypeError,
      at(`${hidden}: expected .*float32.*int32`),
    )
    throwsWith(t, () => (layer as nn.GRU).forward(x, 5 as never), TypeError, at('hidden'))
  })

  test(`${name}: batchFirst does not touch the states`, (t) => {
    const layer = make(kind, 10, 6, { batchFirst: true, bidirectional: true })
    const [y, hn] = run(layer, zeros([3, 7, 10]), ...state(zeros([2, 3, 6])))
    t.deepEqual([...(y as Tensor).shape], [3, 7, 12])
    t.deepEqual([...hn.shape], [2, 3, 6])
    throwsWith(
      t,
      () => run(layer, zeros([3, 7, 10]), ...state(zeros([3, 2, 6]))),
      RangeError,
      at('hidden'),
    )
  })

  test(`${name}: missing states are zeros`, async (t) => {
    const layer = make(kind, 10, 6, { numLayers: 2, bidirectional: true })
    const x = randomTensor([4, 3, 10], 1)
    const [y, hn] = run(layer, x)
    const [y2, hn2] = run(layer, x, ...state(zeros([4, 3, 6])))
    t.deepEqual(await dataOf(y).data(), await dataOf(y2).data())
    t.deepEqual(await hn.data(), await hn2.data())
  })

  test(`${name}: an empty batch works, backward too`, async (t) => {
    const layer = make(kind, 10, 6, { numLayers: 2, bidirectional: true })
    const x = zeros([4, 0, 10], { requiresGrad: true })
    const [y, hn, cn] = run(layer, x, ...state(zeros([4, 0, 6])))
    t.deepEqual([...(y as Tensor).shape], [4, 0, 12])
    t.deepEqual([...hn.shape], [4, 0, 6])
    if (cn) t.deepEqual([...cn.shape], [4, 0, 6])
    ;(y as Tensor).backward(zeros([4, 0, 12]))
    t.deepEqual([...(x.grad as Tensor).shape], [4, 0, 10])
    for (const [key, parameter] of layer.namedParameters())
      await closeTo(t, parameter.grad, zeros(parameter.shape), 0, key)
  })

  test(`${name}: packed input: arguments`, (t) => {
    const layer = make(kind, 10, 6, { numLayers: 2 })
    const { packPaddedSequence } = nn.utils.rnn
    const packed = packPaddedSequence(zeros([7, 3, 10]), [7, 2, 1])
    const hidden = kind === 'LSTM' ? 'hidden\\[0\\]' : 'hidden'
    throwsWith(
      t,
      () => run(layer, packPaddedSequence(zeros([7, 3, 9]), [7, 2, 1])),
      RangeError,
      at('input: expected .*10.* got .*9'),
    )
    throwsWith(
      t,
      () => run(layer, packed, ...state(zeros([2, 4, 6]))),
      RangeError,
      at(`${hidden}: expected .*\\(2, 3, 6\\), got .*\\(2, 4, 6\\)`),
    )
    throwsWith(t, () => run(layer, packed, ...state(zeros([2, 6]))), RangeError, at(hidden))
    if (kind === 'LSTM') {
      throwsWith(
        t,
        () => run(layer, packed, zeros([2, 3, 6]), zeros([2, 3, 5])),
        RangeError,
        at('hidden\\[1\\]: expected .*\\(2, 3, 6\\), got .*\\(2, 3, 5\\)'),
      )
    }
  })
}

test('LSTM: the state is a pair, each of its own shape', (t) => {
  const lstm = new nn.LSTM(10, 6, { projSize: 3 })
  const x = zeros([4, 2, 10])
  const good: [Tensor, Tensor] = [zeros([1, 2, 3]), zeros([1, 2, 6])]
  t.notThrows(() => lstm.forward(x, good))
  throwsWith(
    t,
    () => lstm.forward(x, [good[1], good[1]]),
    RangeError,
    /^\[LSTM\.forward\] hidden\[0\]: expected .*\(1, 2, 3\), got .*\(1, 2, 6\)/,
  )
  throwsWith(
    t,
    () => lstm.forward(x, [good[0], good[0]]),
    RangeError,
    /^\[LSTM\.forward\] hidden\[1\]: expected .*\(1, 2, 6\), got .*\(1, 2, 3\)/,
  )
  throwsWith(
    t,
    () => lstm.forward(x, good[0] as never),
    TypeError,
    /^\[LSTM\.forward\] hidden: expected a pair/,
  )
  throwsWith(
    t,
    () => lstm.forward(x, [good[0]] as never),
    TypeError,
    /^\[LSTM\.forward\] hidden: expected a pair/,
  )
  throwsWith(
    t,
    () => lstm.forward(x, [good[0], null] as never),
    TypeError,
    /^\[LSTM\.forward\] hidden\[1\]/,
  )
})

test('a parameter that was replaced by something unfit is an error that names it', (t) => {
  const x = zeros([4, 2, 10])
  const put = (value: unknown) => () => {
    const layer = new nn.GRU(10, 6)
    const cell = new nn.GRUCell(10, 6)
    Object.assign(layer, { weight_ih_l0: value })
    Object.assign(cell, { weight_ih: value })
    t.throws(() => cell.forward(x.slice(0, 0, 1).reshape([2, 10])), {
      message: /^\[GRUCell\.forward\] weight_ih: expected/,
    })
    layer.forward(x)
  }
  const at = /^\[GRU\.forward\] weight_ih_l0: expected/
  throwsWith(t, put(zeros([18, 9])), RangeError, at)
  throwsWith(t, put(zeros([18, 10], { dtype: 'int32' })), TypeError, at)
  throwsWith(t, put(undefined), TypeError, at)
})

test('packed data of more than two dimensions is an error', (t) => {
  const packed = nn.utils.rnn.packPaddedSequence(zeros([4, 2, 10, 3]), [4, 2])
  throwsWith(
    t,
    () => new nn.LSTM(10, 6).forward(packed),
    RangeError,
    /^\[LSTM\.forward\] input: expected packed data of 2 dimensions, got \(6, 10, 3\)/,
  )
})
