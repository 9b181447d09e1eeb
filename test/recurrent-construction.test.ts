/** Making RNN, GRU and LSTM: options, parameters, printing. */
import test from 'ava'
import { manualSeed, nn } from 'fused-rnn'
import { throwsWith } from './helpers.js'
import { type Layer, make } from './recurrent-helpers.js'

// ---- Construction ----------------------------------------------------------------------------------

test('construction: refuses nonsense and says what', (t) => {
  const any = (value: unknown): never => value as never
  for (const kind of ['RNN', 'GRU', 'LSTM'] as const) {
    const Kind = nn[kind] as new (input: number, hidden: number, options?: object) => Layer
    const at = (name: string): RegExp => new RegExp(`^\\[${kind}\\] ${name}: expected`)
    throwsWith(t, () => new Kind(0, 5), RangeError, at('inputSize'))
    throwsWith(t, () => new Kind(3, 0), RangeError, at('hiddenSize'))
    throwsWith(t, () => new Kind(2.5, 5), RangeError, at('inputSize'))
    throwsWith(t, () => new Kind(any('3'), 5), TypeError, at('inputSize'))
    throwsWith(t, () => new Kind(3, any(undefined)), TypeError, at('hiddenSize'))
    throwsWith(t, () => new Kind(3, 5, { numLayers: 0 }), RangeError, at('numLayers'))
    throwsWith(t, () => new Kind(3, 5, { dropout: 1.1 }), RangeError, at('dropout'))
    throwsWith(t, () => new Kind(3, 5, { dropout: -0.1 }), RangeError, at('dropout'))
    throwsWith(t, () => new Kind(3, 5, { dropout: Number.NaN }), RangeError, at('dropout'))
    throwsWith(t, () => new Kind(3, 5, { dropout: true }), TypeError, at('dropout'))
    throwsWith(t, () => new Kind(3, 5, { bias: 1 }), TypeError, at('bias'))
    throwsWith(t, () => new Kind(3, 5, { batchFirst: 'yes' }), TypeError, at('batchFirst'))
    throwsWith(t, () => new Kind(3, 5, { bidirectional: 0 }), TypeError, at('bidirectional'))
    throwsWith(t, () => new Kind(3, 5, { num_layers: 2 }), TypeError, /num_layers/)
    throwsWith(t, () => new Kind(3, 5, any(2)), TypeError, /options: expected an object/)
  }
  throwsWith(
    t,
    () => new nn.LSTM(3, 5, { projSize: 5 }),
    RangeError,
    /\[LSTM\] projSize: expected .*5/,
  )
  throwsWith(t, () => new nn.LSTM(3, 5, { projSize: -1 }), RangeError, /\[LSTM\] projSize/)
  throwsWith(t, () => new nn.GRU(3, 5, any({ projSize: 2 })), TypeError, /projSize/)
  throwsWith(t, () => new nn.RNN(3, 5, any({ projSize: 2 })), TypeError, /projSize/)
  throwsWith(
    t,
    () => new nn.RNN(3, 5, any({ nonlinearity: 'sigmoid' })),
    TypeError,
    /\[RNN\] nonlinearity: expected one of 'tanh', 'relu', got 'sigmoid'/,
  )
  throwsWith(t, () => new nn.LSTM(3, 5, any({ nonlinearity: 'tanh' })), TypeError, /nonlinearity/)
})

test.serial('construction: dropout with one layer only warns', async (t) => {
  const warnings: string[] = []
  const listen = (warning: Error): void => void warnings.push(warning.message)
  process.on('warning', listen)
  new nn.GRU(3, 5, { dropout: 0.5 })
  new nn.GRU(3, 5, { dropout: 0.5, numLayers: 2 })
  new nn.LSTM(3, 5, { dropout: 1, numLayers: 2 })
  await new Promise((resolve) => setTimeout(resolve, 20))
  process.off('warning', listen)
  t.is(warnings.length, 1)
  t.regex(warnings[0] ?? '', /dropout.*numLayers/s)
})

test('parameters: names, order and shapes', (t) => {
  const shapes = (layer: Layer): [string, number[]][] =>
    layer.namedParameters().map(([name, p]) => [name, [...p.shape]])
  t.deepEqual(shapes(new nn.LSTM(10, 6, { numLayers: 2, bidirectional: true, projSize: 3 })), [
    ['weight_ih_l0', [24, 10]],
    ['weight_hh_l0', [24, 3]],
    ['bias_ih_l0', [24]],
    ['bias_hh_l0', [24]],
    ['weight_hr_l0', [3, 6]],
    ['weight_ih_l0_reverse', [24, 10]],
    ['weight_hh_l0_reverse', [24, 3]],
    ['bias_ih_l0_reverse', [24]],
    ['bias_hh_l0_reverse', [24]],
    ['weight_hr_l0_reverse', [3, 6]],
    ['weight_ih_l1', [24, 6]],
    ['weight_hh_l1', [24, 3]],
    ['bias_ih_l1', [24]],
    ['bias_hh_l1', [24]],
    ['weight_hr_l1', [3, 6]],
    ['weight_ih_l1_reverse', [24, 6]],
    ['weight_hh_l1_reverse', [24, 3]],
    ['bias_ih_l1_reverse', [24]],
    ['bias_hh_l1_reverse', [24]],
    ['weight_hr_l1_reverse', [3, 6]],
  ])
  t.deepEqual(shapes(new nn.GRU(10, 6, { numLayers: 2, bias: false })), [
    ['weight_ih_l0', [18, 10]],
    ['weight_hh_l0', [18, 6]],
    ['weight_ih_l1', [18, 6]],
    ['weight_hh_l1', [18, 6]],
  ])
  t.deepEqual(shapes(new nn.RNN(10, 6)), [
    ['weight_ih_l0', [6, 10]],
    ['weight_hh_l0', [6, 6]],
    ['bias_ih_l0', [6]],
    ['bias_hh_l0', [6]],
  ])
  t.deepEqual(
    [...new nn.RNN(10, 6).stateDict().keys()],
    ['weight_ih_l0', 'weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0'],
  )
})

test('parameters: every one starts uniform in ±1/√H, the same for the same seed', async (t) => {
  const H = 64
  for (const kind of ['RNN', 'GRU', 'LSTM']) {
    manualSeed(5)
    const layer = make(kind, 40, H, { numLayers: 2, ...(kind === 'LSTM' ? { projSize: 16 } : {}) })
    manualSeed(5)
    const again = make(kind, 40, H, {
      numLayers: 2,
      ...(kind === 'LSTM' ? { projSize: 16 } : {}),
    }).stateDict()
    for (const [name, parameter] of layer.namedParameters()) {
      const values = (await parameter.data()) as Float32Array
      const bound = 1 / Math.sqrt(H)
      t.true(
        values.every((value) => Math.abs(value) <= bound),
        `${name} in range`,
      )
      const mean = values.reduce((a, b) => a + b, 0) / values.length
      const variance = values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length
      const sigma = bound / Math.sqrt(3)
      t.true(Math.abs(mean) < (5 * sigma) / Math.sqrt(values.length), `${name}: mean ${mean}`)
      t.true(
        Math.abs(variance / sigma ** 2 - 1) < 6 / Math.sqrt(values.length),
        `${name}: variance ${variance}`,
      )
      t.deepEqual(await again.get(name)?.data(), values, `${name}: same seed`)
    }
  }
})

test('toString shows the sizes and only what is not default', (t) => {
  t.is(String(new nn.GRU(10, 6)), 'GRU(10, 6)')
  t.is(
    String(new nn.RNN(10, 6, { nonlinearity: 'tanh', bias: true, dropout: 0, numLayers: 1 })),
    'RNN(10, 6)',
  )
  const text = String(new nn.LSTM(10, 6, { numLayers: 2, dropout: 0.5, projSize: 3 }))
  for (const part of ['LSTM(10, 6', 'numLayers=2', 'dropout=0.5', 'projSize=3'])
    t.true(text.includes(part), text)
  for (const part of ['bias', 'batchFirst', 'bidirectional']) t.false(text.includes(part), text)
  t.regex(
    String(new nn.RNN(10, 6, { nonlinearity: 'relu', bias: false })),
    /relu.*bias=false|bias=false.*relu/,
  )
})
