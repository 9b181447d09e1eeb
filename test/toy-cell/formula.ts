/** The toy cell beside its formula in double precision; test/toy-cell.test.ts builds what it runs on. */
import test from 'ava'
import { nn, type Tensor } from 'fused-rnn'
import { closeTo, randomTensor } from '../helpers.js'

const { MGU } = nn as unknown as { MGU: typeof nn.GRU }

test('MGU: parameters, and the formula of its paper step by step', async (t) => {
  const [T, N, I, H] = [5, 3, 4, 6]
  const layer = new MGU(I, H)
  t.is(String(layer), 'MGU(4, 6)')
  const shapes = layer.namedParameters().map(([name, p]) => `${name} ${p.shape}`)
  t.deepEqual(shapes, [
    `weight_ih_l0 ${[2 * H, I]}`,
    `weight_hh_l0 ${[2 * H, H]}`,
    `bias_ih_l0 ${2 * H}`,
    `bias_hh_l0 ${2 * H}`,
  ])
  const values = (tensor: Tensor) => tensor.data() as Promise<Float32Array>
  const [wIh, wHh, bIh, bHh] = (await Promise.all(layer.parameters().map(values))) as [
    Float32Array,
    Float32Array,
    Float32Array,
    Float32Array,
  ]
  const at = (array: ArrayLike<number>, i: number) => array[i] as number
  const x = randomTensor([T, N, I], 1)
  const h0 = randomTensor([1, N, H], 2)
  const [xs, expected] = [await values(x), [] as number[]]
  let h = Array.from(await values(h0))
  for (let step = 0; step < T; step++) {
    const next: number[] = []
    for (let n = 0; n < N; n++) {
      const products = (row: number): [fromX: number, fromH: number] => {
        let [fromX, fromH] = [at(bIh, row), at(bHh, row)]
        for (let i = 0; i < I; i++) fromX += at(wIh, row * I + i) * at(xs, (step * N + n) * I + i)
        for (let i = 0; i < H; i++) fromH += at(wHh, row * H + i) * at(h, n * H + i)
        return [fromX, fromH]
      }
      for (let unit = 0; unit < H; unit++) {
        const [fx, fh] = products(unit)
        const [nx, nh] = products(H + unit)
        const f = 1 / (1 + Math.exp(-fx - fh))
        next.push((1 - f) * at(h, n * H + unit) + f * Math.tanh(nx + f * nh))
      }
    }
    h = next
    expected.push(...next)
  }
  const [y, hn] = layer.forward(x, h0)
  await closeTo(t, y, expected, 2e-5)
  await closeTo(t, hn, h, 2e-5)
})
