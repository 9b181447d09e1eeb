/** Products of bfloat16 on the CPU: `backends.cpu`. */
import { readFileSync } from 'node:fs'
import test from 'ava'
import {
  backends,
  getNumThreads,
  manualSeed,
  nn,
  optim,
  randn,
  setNumThreads,
  type Tensor,
  tensor,
} from 'fused-rnn'
import { onCpu, runScript, throwsWith } from './helpers.js'

// A GPU's have tests of their own (persistent.test.ts).
const cpuTest = onCpu ? test.serial : test.skip

function use(precision: 'ieee' | 'bf16'): void {
  backends.cpu.matmul.fp32Precision = precision
  backends.cpu.rnn.fp32Precision = precision
}

test.serial('the settings: names, all at once, and what is wrong', (t) => {
  const before = backends.cuda.rnn.fp32Precision
  t.is(backends.cpu.matmul.fp32Precision, 'ieee')
  t.is(backends.cpu.rnn.fp32Precision, 'ieee')
  backends.fp32Precision = 'bf16'
  t.is(backends.fp32Precision, 'bf16')
  t.is(backends.cpu.rnn.fp32Precision, 'bf16')
  t.is(backends.cuda.matmul.fp32Precision, 'bf16')
  backends.fp32Precision = 'tf32' // the CPU has none
  t.is(backends.cpu.matmul.fp32Precision, 'ieee')
  t.is(backends.cuda.matmul.fp32Precision, 'tf32')
  t.is(String(backends.fp32Precision), 'none')
  backends.fp32Precision = 'ieee'
  t.is(backends.fp32Precision, 'ieee')
  backends.cuda.rnn.fp32Precision = before
  throwsWith(
    t,
    () => {
      backends.cpu.rnn.fp32Precision = 'tf32' as 'bf16'
    },
    TypeError,
    /\[backends\.cpu\.rnn\] fp32Precision: expected one of 'ieee', 'bf16', got 'tf32'/,
  )
  throwsWith(
    t,
    () => {
      backends.fp32Precision = 'half' as 'bf16'
    },
    TypeError,
    /\[backends\] fp32Precision: expected one of 'ieee', 'tf32', 'bf16', got 'half'/,
  )
})

cpuTest('float32 is the same to the bit after bfloat16', async (t) => {
  manualSeed(12)
  const model = new nn.LSTM(40, 72, { numLayers: 2 })
  const head = new nn.Linear(72, 65)
  const step = async (): Promise<number[][]> => {
    const x = values([9, 16, 40], 3, 1)
    for (const p of [...model.parameters(), ...head.parameters()]) p.grad = null
    const logits = head.forward(model.forward(x)[0].reshape([144, 72]))
    logits.mul(logits).sum().backward()
    // A row at a time, whose rounded weights are kept.
    const single = model.eval().forward(x.slice(1, 0, 1).slice(0, 0, 1))[0]
    const grads = [...model.parameters(), ...head.parameters()].map((p) => p.grad as Tensor)
    return Promise.all([logits, single, ...grads].map(async (r) => Array.from(await r.data())))
  }
  const before = await step()
  use('bf16')
  const rounded = await step()
  use('ieee')
  t.deepEqual(await step(), before)
  t.notDeepEqual(rounded[0], before[0])
  t.notDeepEqual(rounded[2], before[2])
})

// ---- As near as PyTorch's autocast -------------------------------------------------------------

interface Case {
  step: number
  expected: number[]
  bound: number
}
const cases: Record<string, Record<string, Case>> = JSON.parse(
  readFileSync(new URL('../test/fixtures/bf16.json', import.meta.url), 'utf8'),
)
const [T, N, I, H, V] = [6, 16, 24, 40, 50]

/** As in make_bf16.py. */
function values(shape: readonly number[], seed: number, scale: number): Tensor {
  const count = shape.reduce((a, b) => a * b, 1)
  const data = Float32Array.from({ length: count }, (_, i) => {
    const large = Math.sin((i + 1) * 12.9898 + seed) * 43758.5453
    return (large - Math.floor(large)) * 2 * scale - scale
  })
  return tensor(data, { shape })
}

function makeLayer(kind: string): nn.Module {
  switch (kind) {
    case 'lstm':
      return new nn.LSTM(I, H, { numLayers: 2 })
    case 'projected':
      return new nn.LSTM(I, H, { numLayers: 2, projSize: 24 })
    case 'gru':
      return new nn.GRU(I, H, { numLayers: 2 })
    case 'relu':
      return new nn.RNN(I, H, { numLayers: 2, nonlinearity: 'relu' })
    default:
      return new nn.Linear(H, V)
  }
}

function resultsOf(kind: string): Map<string, Tensor> {
  const layer = makeLayer(kind)
  const state = layer.stateDict()
  let seed = 2
  for (const [name, p] of state) state.set(name, values(p.shape, seed++, 0.25))
  layer.loadStateDict(state)
  const x = values(kind === 'linear' ? [T * N, H] : [T, N, I], 1, 1)
  x.requiresGrad = true
  let y: Tensor
  if (layer instanceof nn.Linear) {
    y = layer.forward(x)
    const target = Int32Array.from({ length: T * N }, (_, i) => (i * 7) % V)
    new nn.CrossEntropyLoss({ reduction: 'sum' }).forward(y, tensor(target)).backward()
  } else {
    y = (layer as nn.LSTM).forward(x)[0]
    y.mul(y).sum().backward()
  }
  const results = new Map([
    ['y', y],
    ['dx', x.grad as Tensor],
  ])
  for (const [name, p] of layer.namedParameters()) results.set(`d ${name}`, p.grad as Tensor)
  return results
}

/** PyTorch's names. */
const plain = (name: string): string => name.toLowerCase().replaceAll('_', '')

const rms = (x: number[]): number => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / x.length)

for (const [kind, expected] of Object.entries(cases)) {
  cpuTest(
    `${kind}: no further from float64 than PyTorch's autocast, and not float32`,
    async (t) => {
      use('bf16')
      const results = resultsOf(kind)
      use('ieee')
      const found = new Map([...results].map(([name, value]) => [plain(name), value]))
      t.is(found.size, Object.keys(expected).length)
      const errors: number[] = []
      const bounds: number[] = []
      for (const [name, { step, expected: exact, bound }] of Object.entries(expected)) {
        const data = await (found.get(plain(name)) as Tensor).data()
        const sample = Array.from(data).filter((_, i) => i % step === 0)
        t.is(sample.length, exact.length, name)
        const error = rms(sample.map((v, i) => v - (exact[i] as number))) / rms(exact)
        // One result alone may be a little behind by chance.
        t.true(error <= 1.1 * bound, `${name}: ${error}, autocast ${bound}`)
        t.true(error > 2e-5, `${name} has not been rounded: ${error}`)
        errors.push(error)
        bounds.push(bound)
      }
      t.true(rms(errors) <= rms(bounds), `${rms(errors)}, autocast ${rms(bounds)}`)
      t.log(`${(rms(errors) / rms(bounds)).toFixed(2)} of autocast's error`)
    },
  )
}

// ---- Training ----------------------------------------------------------------------------------

async function tenLosses(precision: 'ieee' | 'bf16'): Promise<number[]> {
  use(precision)
  manualSeed(4)
  const rnn = new nn.LSTM(40, 72, { numLayers: 2 })
  const decoder = new nn.Linear(72, 40)
  const optimizer = new optim.SGD([...rnn.parameters(), ...decoder.parameters()], { lr: 1 })
  const x = randn([12, 20, 40])
  const target = tensor(Int32Array.from({ length: 240 }, (_, i) => (i * 11) % 40))
  const losses: number[] = []
  for (let step = 0; step < 10; step++) {
    optimizer.zeroGrad()
    const [y] = rnn.forward(x)
    const loss = nn.functional.crossEntropy(decoder.forward(y.reshape([240, 72])), target)
    loss.backward()
    await optimizer.step()
    losses.push(await loss.item())
  }
  use('ieee')
  return losses
}

cpuTest(
  'the losses of ten steps are those of float32 within 1 %, and the same each time',
  async (t) => {
    const [exact, rounded, again] = [
      await tenLosses('ieee'),
      await tenLosses('bf16'),
      await tenLosses('bf16'),
    ]
    t.deepEqual(rounded, again)
    t.notDeepEqual(rounded, exact)
    for (const [i, loss] of exact.entries())
      t.true(Math.abs((rounded[i] as number) / loss - 1) < 0.01)
    t.true((exact[9] as number) < (exact[0] as number))
  },
)

cpuTest('a layer gives the same bits for any number of threads', async (t) => {
  const threads = getNumThreads()
  const all: number[][] = []
  for (const count of [1, 2, 3]) {
    setNumThreads(count)
    use('bf16')
    manualSeed(6)
    const layer = new nn.GRU(50, 131, { bidirectional: true })
    const x = randn([7, 22, 50])
    x.requiresGrad = true
    const [y] = layer.forward(x)
    y.mul(y).sum().backward()
    use('ieee')
    const results = [y, x.grad as Tensor, ...layer.parameters().map((p) => p.grad as Tensor)]
    all.push((await Promise.all(results.map(async (r) => Array.from(await r.data())))).flat())
  }
  setNumThreads(threads)
  t.deepEqual(all[1], all[0])
  t.deepEqual(all[2], all[0])
})

cpuTest('what cannot gain stays float32: few sequences, few rows', async (t) => {
  const results: number[][] = []
  for (const precision of ['ieee', 'bf16'] as const) {
    use(precision)
    manualSeed(3)
    const [y] = new nn.LSTM(30, 40).forward(randn([5, 8, 30]))
    const z = new nn.Linear(40, 30).forward(randn([8, 40]))
    results.push([...(await y.data()), ...(await z.data())])
  }
  use('ieee')
  t.deepEqual(results[1], results[0])
})

// ---- Instruction sets ----------------------------------------------------------------------------

const script = `
  import { backends, manualSeed, nn, randn, setNumThreads } from 'fused-rnn'
  backends.fp32Precision = 'bf16'
  setNumThreads(2)
  const products = [], layers = []
  const keep = async (list, x) => list.push(Buffer.from(new Uint8Array((await x.data()).buffer)).toString('base64'))
  manualSeed(1)
  for (const [m, k, n] of [[9, 9, 9], [17, 33, 65], [64, 513, 70], [30, 1100, 47], [150, 64, 515]]) {
    const a = randn([m, k]), b = randn([k, n])
    a.requiresGrad = b.requiresGrad = true
    const c = a.matmul(b)
    c.mul(c).sum().backward()
    for (const x of [c, a.grad, b.grad]) await keep(products, x)
  }
  for (const [Kind, options] of [[nn.LSTM, {}], [nn.GRU, { bidirectional: true }], [nn.RNN, { nonlinearity: 'relu' }], [nn.LSTM, { projSize: 19 }], [nn.LayerNormLSTM, {}], [nn.LSTM, { peephole: true }], [nn.GRU, { resetAfter: false }], [nn.SLSTM, {}]]) {
    manualSeed(2)
    const layer = new Kind(21, 77, { numLayers: 2, ...options })
    const x = randn([5, 13, 21])
    x.requiresGrad = true
    const [y] = layer.forward(x)
    y.mul(y).sum().backward()
    for (const r of [y, x.grad, ...layer.parameters().map((p) => p.grad)]) await keep(layers, r)
  }
  console.log(JSON.stringify({ products, layers }))
`

cpuTest('every instruction set gives the same bits', async (t) => {
  const results: Record<string, { products: string[]; layers: string[] }> = {}
  for (const isa of ['base', 'avx2', 'avx512', 'avx512bf16']) {
    const { code, stdout, stderr } = await runScript(script, { env: { FUSED_RNN_ISA: isa } })
    if (code === 0) results[isa] = JSON.parse(stdout)
    else if (/this processor does not have it|expected one of/.test(stderr))
      t.log(`${isa}: not here`)
    else throw new Error(stderr)
  }
  const { base, avx2, avx512, avx512bf16 } = results
  // Sums and the cells' functions of float32 are each instruction set's own.
  for (const other of [avx2, avx512, avx512bf16])
    if (other) t.deepEqual(other.products, base?.products)
  if (avx512 && avx512bf16) t.deepEqual(avx512bf16.layers, avx512.layers)
})
