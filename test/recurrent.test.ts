/** RNN, GRU and LSTM against PyTorch (fixtures/make_recurrent.py). */
import test from 'ava'
import { nn, tensor } from 'fused-rnn'
import { closeTo, type FixtureArray, fixture, projected } from './helpers.js'
import { dataOf, make, run } from './recurrent-helpers.js'

const file = fixture('recurrent')

interface LayerCase {
  name: string
  kind: string
  input: number
  hidden: number
  layers: number
  proj: number
  bias: boolean
  bidirectional: boolean
  layout: 'padded' | 'unbatched' | 'packed' | 'unsorted'
  batchFirst: boolean
  states: boolean
  weights: string
  x: string
  h0: string
  c0: string
  dy: string
  dhn: string
  dcn: string
  lengths: number[] | null
}

/** (T, N, …) as (N, T, …). */
function swapped({ data, shape, dtype }: FixtureArray): FixtureArray {
  const [T, N, F] = shape as [number, number, number]
  const out = new Float32Array(data.length)
  for (let t = 0; t < T; t++)
    for (let n = 0; n < N; n++)
      for (let f = 0; f < F; f++) out[(n * T + t) * F + f] = data[(t * N + n) * F + f] as number
  return { data: out, shape: [N, T, F], dtype }
}

for (const c of file.info.layers as LayerCase[]) {
  test(`as PyTorch: ${c.name}`, async (t) => {
    const layer = make(c.kind, c.input, c.hidden, {
      numLayers: c.layers,
      bias: c.bias,
      batchFirst: c.batchFirst,
      bidirectional: c.bidirectional,
      ...(c.proj > 0 ? { projSize: c.proj } : {}),
    })
    layer.loadStateDict(file.tensors(c.weights))
    const array = file.array(c.x)
    const { data, shape } = c.batchFirst && array.shape.length === 3 ? swapped(array) : array
    const x = tensor(data, { shape, requiresGrad: true })
    const h0 = c.states ? file.tensor(c.h0, { requiresGrad: true }) : undefined
    const c0 = c.states ? file.tensor(c.c0, { requiresGrad: true }) : undefined
    const fed =
      c.lengths === null
        ? x
        : nn.utils.rnn.packPaddedSequence(x, c.lengths, {
            batchFirst: c.batchFirst,
            enforceSorted: c.layout === 'packed',
          })
    const [output, hn, cn] = run(layer, fed, h0, c0)
    const y = dataOf(output)
    await closeTo(t, y, file.array(`${c.name}.y`), 2e-5, 'output')
    await closeTo(t, hn, file.array(`${c.name}.hn`), 2e-5, 'h_n')
    const results = [y, hn]
    const vectors = [file.tensor(c.dy), file.tensor(c.dhn)]
    if (cn !== null) {
      await closeTo(t, cn, file.array(`${c.name}.cn`), 2e-5, 'c_n')
      results.push(cn)
      vectors.push(file.tensor(c.dcn))
    }
    projected(results, vectors).backward()
    await closeTo(t, x.grad, file.array(`${c.name}.dx`), 1e-4, 'gradient of input')
    if (c.states) await closeTo(t, h0?.grad, file.array(`${c.name}.dh0`), 1e-4, 'gradient of h_0')
    if (c.states && cn !== null)
      await closeTo(t, c0?.grad, file.array(`${c.name}.dc0`), 1e-4, 'gradient of c_0')
    const names = layer.namedParameters().map(([name]) => name)
    t.deepEqual(
      names,
      [...file.tensors(c.weights).keys()].sort((a, b) => names.indexOf(a) - names.indexOf(b)),
    )
    for (const [name, parameter] of layer.namedParameters()) {
      await closeTo(
        t,
        parameter.grad,
        file.array(`${c.name}.d.${name}`),
        1e-4,
        `gradient of ${name}`,
      )
    }
  })
}
