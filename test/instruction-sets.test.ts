/** Every instruction set gives the same numbers (FUSED_RNN_ISA is read once per process). */
import test from 'ava'
import { closeTo, onCpu, runScript } from './helpers.js'

const script = `
  import { devices, manualSeed, nn, randn, setNumThreads, tensor } from 'fused-rnn'
  setNumThreads(2)
  const results = []
  for (const [Kind, options] of [[nn.RNN, {}], [nn.RNN, { nonlinearity: 'relu' }], [nn.GRU, {}], [nn.LSTM, {}], [nn.LSTM, { projSize: 19 }], [nn.LayerNormLSTM, {}], [nn.LSTM, { peephole: true }], [nn.GRU, { resetAfter: false }], [nn.SLSTM, {}]]) {
    manualSeed(1)
    const layer = new Kind(21, 37, { numLayers: 2, bidirectional: true, dropout: 0.3, ...options })
    // Norms amplify how sums are rounded, unless their gains are small.
    for (const [name, p] of layer.namedParameters()) if (name.startsWith('gain')) nn.init.constant(p, 0.4)
    const x = randn([9, 5, 21])
    x.requiresGrad = true
    const [output] = layer.forward(x)
    output.mul(output).sum().backward()
    for (const result of [output, x.grad, ...layer.parameters().map((p) => p.grad)]) {
      results.push(Array.from(await result.data()))
    }
  }
  // More than one panel and block of every instruction set's tiles.
  manualSeed(2)
  const layer = new nn.GRU(70, 150)
  const decoder = new nn.Linear(150, 1111)
  const [hidden] = layer.forward(randn([7, 29, 70]))
  const targets = tensor(Int32Array.from({ length: 203 }, (_, i) => (i * 31) % 1111))
  const loss = new nn.CrossEntropyLoss({ reduction: 'sum' })
  loss.forward(decoder.forward(hidden.reshape([203, 150])), targets).backward()
  for (const { grad } of [...layer.parameters(), ...decoder.parameters()]) {
    results.push(Array.from(await grad.data()).filter((_, i) => i % 97 === 0))
  }
  console.log(JSON.stringify({ description: devices()[0].description, results }))
`

interface Result {
  description: string
  results: number[][]
}

async function runOn(isa: string): Promise<Result | null> {
  const { code, stdout, stderr } = await runScript(script, { env: { FUSED_RNN_ISA: isa } })
  if (code === 0) return JSON.parse(stdout)
  if (/this processor does not have it|expected one of/.test(stderr)) return null
  throw new Error(stderr)
}

// On a GPU there are none.
const cpuTest = onCpu ? test : test.skip

cpuTest('all instruction sets agree', async (t) => {
  const base = (await runOn('base')) as Result
  t.regex(base.description, /^base/)
  for (const isa of ['avx2', 'avx512']) {
    const other = await runOn(isa)
    if (other === null) {
      t.log(`${isa}: not on this processor`)
      continue
    }
    t.regex(other.description, new RegExp(`^${isa}`))
    for (const [k, values] of base.results.entries()) {
      await closeTo(t, other.results[k] as number[], values, 1e-4, `${isa}: result ${k}`)
    }
  }
})
