/** Matrix products at and around the sizes of the kernels' tiles, against sums in double precision. */
import test from 'ava'
import { manualSeed, nn, randn, type Tensor, tensor } from 'fused-rnn'
import { closeTo } from './helpers.js'

type Values = Float32Array | Int32Array

/** a [m, k] · b [k, n] */
function product(a: Values, b: Values, m: number, k: number, n: number): Float32Array {
  const out = new Float64Array(m * n)
  for (let i = 0; i < m; i++) {
    for (let l = 0; l < k; l++) {
      const factor = a[i * k + l] as number
      for (let j = 0; j < n; j++)
        out[i * n + j] = (out[i * n + j] as number) + factor * (b[l * n + j] as number)
    }
  }
  return Float32Array.from(out)
}

function transposed(a: Values, rows: number, columns: number): Float32Array {
  return Float32Array.from({ length: rows * columns }, (_, i) => {
    return a[(i % rows) * columns + Math.floor(i / rows)] as number
  })
}

const SIZES: [m: number, k: number, n: number][] = [
  [1, 1, 1],
  [1, 70, 3],
  [2, 5, 25],
  [3, 8, 16],
  [7, 33, 24],
  [8, 9, 49],
  [9, 17, 65],
  [13, 100, 47],
  [25, 3, 130],
  [50, 513, 31],
  [97, 1100, 23],
  [130, 64, 200],
]

for (const [m, k, n] of SIZES) {
  test(`${m} × ${k} × ${n}: product, linear layer and its gradients`, async (t) => {
    manualSeed(m + k + n)
    const a = randn([m, k])
    const b = randn([k, n])
    const dy = randn([m, n])
    const [av, bv, dyv] = await Promise.all([a.data(), b.data(), dy.data()])
    const expected = product(av, bv, m, k, n)
    const scale = Math.sqrt(k)
    await closeTo(t, a.matmul(b), expected, 4e-6 * scale, 'matmul')

    const layer = new nn.Linear(k, n, { bias: false })
    layer.loadStateDict(new Map([['weight', tensor(transposed(bv, k, n), { shape: [n, k] })]]))
    a.requiresGrad = true
    const y = layer.forward(a)
    await closeTo(t, y, expected, 4e-6 * scale, 'linear')
    y.backward(dy)
    const dx = product(dyv, transposed(bv, k, n), m, n, k)
    await closeTo(t, a.grad as Tensor, dx, 4e-6 * Math.sqrt(n), 'gradient of the input')
    const dw = product(transposed(dyv, m, n), av, n, m, k)
    await closeTo(t, layer.weight.grad as Tensor, dw, 4e-6 * Math.sqrt(m), 'gradient of the weight')
  })
}
