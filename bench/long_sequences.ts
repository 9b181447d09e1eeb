/**
 * MinGRU and GRU over longer and longer sequences: processor time of forward and backward on one thread, and
 * the peak memory of a process that does nothing else. `node dist-bench/long_sequences.js [HIDDEN] [N]`
 * after `npm run build && npm run build:bench`; at H 64, N 1 it takes half a minute.
 */
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { nn, randn, setNumThreads, synchronize } from 'fused-rnn'

const LAYERS = ['MinGRU', 'GRU'] as const
const STEPS = [1024, 4096, 16384, 65536]

interface Result {
  /** Of the fastest of three passes, in seconds. */
  seconds: number
  /** Peak resident memory of all, beyond what there was before the layer, in bytes. */
  bytes: number
}

/** In a process of its own. */
async function measure(name: (typeof LAYERS)[number], steps: number): Promise<Result> {
  setNumThreads(1)
  const layer = new nn[name](hidden, hidden)
  await synchronize()
  const before = process.resourceUsage().maxRSS
  const x = randn([steps, batch, hidden], { requiresGrad: true })
  const gradient = randn([steps, batch, hidden])
  let seconds = Number.POSITIVE_INFINITY
  for (let round = 0; round < 3; round++) {
    x.grad = null
    layer.zeroGrad()
    await synchronize()
    const start = process.cpuUsage()
    const [y, last] = layer.forward(x)
    y.backward(gradient)
    y[Symbol.dispose]()
    last[Symbol.dispose]()
    await synchronize()
    const { user, system } = process.cpuUsage(start)
    seconds = Math.min(seconds, (user + system) / 1e6)
  }
  return { seconds, bytes: 1024 * (process.resourceUsage().maxRSS - before) }
}

const [first, second, third, fourth] = process.argv.slice(2)
const one = first === 'one'
const hidden = Number((one ? second : first) ?? 64)
const batch = Number((one ? third : second) ?? 1)
if (one) {
  const [name, steps] = (fourth as string).split(':') as [(typeof LAYERS)[number], string]
  console.log(JSON.stringify(await measure(name, Number(steps))))
} else {
  console.log(`H ${hidden}, N ${batch}\n`)
  console.log('| T | MinGRU, ms | a step, µs | GRU, ms | MinGRU, MB | GRU, MB |')
  console.log('| ---: | ---: | ---: | ---: | ---: | ---: |')
  const file = fileURLToPath(import.meta.url)
  for (const steps of STEPS) {
    const [min, gru] = LAYERS.map((name): Result => {
      const args = [file, 'one', String(hidden), String(batch), `${name}:${steps}`]
      return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' }))
    }) as [Result, Result]
    const cells = [
      steps,
      (1e3 * min.seconds).toFixed(1),
      ((1e6 * min.seconds) / steps).toFixed(2),
      (1e3 * gru.seconds).toFixed(1),
      (min.bytes / 1e6).toFixed(0),
      (gru.bytes / 1e6).toFixed(0),
    ]
    console.log(`| ${cells.join(' | ')} |`)
  }
}
