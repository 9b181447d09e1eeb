/**
 * `npm run bench:int8`: layers at batch 1 with int8 weights beside float32 and bfloat16, one call with
 * the state of the call before, each awaited. Prints a table in Markdown; docs/benchmarks.md has one.
 */
import { parseArgs } from 'node:util'
import {
  backends,
  getNumThreads,
  nn,
  noGrad,
  quantization,
  randn,
  setNumThreads,
  type Tensor,
} from 'fused-rnn'
import { Peer, PeerError } from '#bench/process.js'

const HELP = `npm run bench:int8 -- [options]

  --cells NAME,NAME   lstm, gru, rnn, linear (default: lstm,gru)
  --hidden N,N        units, and inputs as many (default: 256,512,1024,2048)
  --steps N,N         of a call (default: 1,100)
  --threads N,N       default: as many as the machine has
  --rounds N          default: 7
  --pytorch           PyTorch in float32 and with quantize_dynamic, too (PYTHON: with torch)
`
/** Of an engine in a round. */
const SECONDS = 0.12

type Cell = 'lstm' | 'gru' | 'rnn' | 'linear'
const KINDS = { lstm: nn.LSTM, gru: nn.GRU, rnn: nn.RNN } as const

const { values } = parseArgs({
  options: {
    cells: { type: 'string', default: 'lstm,gru' },
    hidden: { type: 'string', default: '256,512,1024,2048' },
    steps: { type: 'string', default: '1,100' },
    threads: { type: 'string', default: String(getNumThreads()) },
    rounds: { type: 'string', default: '7' },
    pytorch: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

const numbers = (text: string): number[] => text.split(',').map(Number)

/** Seconds of a call. */
async function timed(layer: nn.Module, cell: Cell, steps: number, hidden: number): Promise<number> {
  const x = randn([steps, 1, hidden])
  let state: unknown = null
  const once = async (): Promise<void> => {
    const out = noGrad(() =>
      (layer.forward as (...inputs: unknown[]) => unknown).call(layer, ...inputs()),
    )
    const [y, next] = cell === 'linear' ? [out, null] : (out as [unknown, unknown])
    state = next
    await (y as Tensor).data()
  }
  const inputs = (): unknown[] => (cell === 'linear' ? [x] : [x, state])
  for (let i = 0; i < 3; i++) await once()
  const start = performance.now()
  let calls = 0
  let took = 0
  while (took < SECONDS * 1000) {
    await once()
    calls++
    took = performance.now() - start
  }
  return took / 1000 / calls
}

interface Engine {
  name: string
  seconds(): Promise<number>
}

const median = (all: readonly number[]): number =>
  [...all].sort((a, b) => a - b)[Math.floor(all.length / 2)] as number

/** The median of ratios of one round each, with the smallest and the largest. */
function ratio(over: readonly number[], of: readonly number[]): string {
  const all = over.map((value, i) => value / (of[i] as number))
  const [low, high] = [Math.min(...all), Math.max(...all)]
  return `${median(all).toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)})`
}

async function row(
  cell: Cell,
  hidden: number,
  steps: number,
  threads: number,
  pytorch: Peer | null,
): Promise<string> {
  setNumThreads(threads)
  const layer = cell === 'linear' ? new nn.Linear(hidden, hidden) : new KINDS[cell](hidden, hidden)
  layer.eval()
  const int8 = quantization.quantizeDynamic<nn.Module>(layer)
  const use = (precision: 'ieee' | 'bf16'): void => {
    backends.cpu.matmul.fp32Precision = precision
    backends.cpu.rnn.fp32Precision = precision
  }
  const ours = (of: nn.Module, precision: 'ieee' | 'bf16') => async (): Promise<number> => {
    use(precision)
    try {
      return await timed(of, cell, steps, hidden)
    } finally {
      use('ieee')
    }
  }
  const theirs = (quantized: boolean) => async (): Promise<number> => {
    const job = { cell, hidden, steps, threads, int8: quantized, seconds: SECONDS }
    return (await (pytorch as Peer).ask('time', job)).seconds as number
  }
  const engines: Engine[] = [
    { name: 'float32', seconds: ours(layer, 'ieee') },
    { name: 'bfloat16', seconds: ours(layer, 'bf16') },
    { name: 'int8', seconds: ours(int8, 'ieee') },
  ]
  if (pytorch !== null)
    engines.push(
      { name: 'PyTorch', seconds: theirs(false) },
      { name: 'PyTorch int8', seconds: theirs(true) },
    )
  const times = engines.map((): number[] => [])
  for (let round = 0; round < Number(values.rounds); round++)
    for (const [i, engine] of engines.entries()) (times[i] as number[]).push(await engine.seconds())
  const micro = (i: number): string => (1e6 * median(times[i] as number[])).toFixed(0)
  const [float32, bf16, quantized, theirFloat32, theirInt8] = times as [
    number[],
    number[],
    number[],
    number[] | undefined,
    number[] | undefined,
  ]
  const columns = [cell, hidden, steps, threads, micro(0), micro(1), micro(2)]
  columns.push(ratio(float32, quantized), ratio(bf16, quantized))
  if (theirFloat32 && theirInt8)
    columns.push(micro(3), micro(4), ratio(theirFloat32, quantized), ratio(theirInt8, quantized))
  return `| ${columns.join(' | ')} |`
}

async function main(): Promise<void> {
  if (values.help) {
    process.stdout.write(HELP)
    return
  }
  let pytorch: Peer | null = null
  if (values.pytorch) {
    const script = new URL('../bench/quantization.py', import.meta.url).pathname
    pytorch = await Peer.start(process.env.PYTHON ?? 'python3', [script])
  }
  const head = ['cell', 'H', 'T', 'threads', 'float32, µs', 'bfloat16, µs', 'int8, µs']
  head.push('int8 over float32', 'int8 over bfloat16')
  if (pytorch !== null)
    head.push('PyTorch, µs', 'PyTorch int8, µs', 'over PyTorch', 'over PyTorch int8')
  console.log(`| ${head.join(' | ')} |`)
  console.log(`| ${head.map((_, i) => (i === 0 ? '---' : '---:')).join(' | ')} |`)
  for (const threads of numbers(values.threads))
    for (const cell of values.cells.split(',') as Cell[])
      for (const hidden of numbers(values.hidden))
        for (const steps of numbers(values.steps))
          console.log(await row(cell, hidden, steps, threads, pytorch))
  pytorch?.stop()
}

main().catch((error: unknown) => {
  if (!(error instanceof PeerError)) throw error
  console.error(error.message)
  process.exitCode = 1
})
