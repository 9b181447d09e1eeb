/**
 * The benchmark: whole training steps, ours beside PyTorch, interleaved in rounds in one run.
 *
 *   npm run bench -- [--only name,name] [--threads N] [--rounds N]
 *
 * Absolute times on a shared machine mean little; the ratio of neighbouring rounds does.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { devices } from 'fused-rnn'
import { tokensPerStep, trainingFlops } from './cost.js'
import { type Workload, workloads } from './workloads.js'

const here = dirname(fileURLToPath(import.meta.url))
const root = join(here, '..')
/** Long enough that the clock and the start of a round do not matter. */
const SECONDS_PER_ROUND = 0.5

class Peer {
  readonly #process: ChildProcess
  readonly #lines: AsyncIterator<string>
  name = ''

  constructor(command: string, args: string[]) {
    this.#process = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    const stdout = this.#process.stdout as NodeJS.ReadableStream
    this.#lines = createInterface({ input: stdout })[Symbol.asyncIterator]()
  }

  async ready(): Promise<this> {
    this.name = String((await this.#answer()).ready)
    return this
  }

  /** Seconds that `steps` training steps took. */
  async run(steps: number): Promise<number> {
    this.#process.stdin?.write(`${steps}\n`)
    return Number((await this.#answer()).seconds)
  }

  stop(): void {
    this.#process.kill()
  }

  async #answer(): Promise<Record<string, unknown>> {
    const line = await this.#lines.next()
    if (line.done) throw new Error(`${this.name || 'a peer'} ended early`)
    return JSON.parse(line.value) as Record<string, unknown>
  }
}

interface Result {
  workload: string
  /** Tokens per second, medians. */
  ours: number
  theirs: number
  /** Ours over theirs, of neighbouring rounds. */
  ratio: { median: number; min: number; max: number }
  gflops: number
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  const high = sorted[middle] as number
  return sorted.length % 2 ? high : (high + (sorted[middle - 1] as number)) / 2
}

/** Steps that fill a round. */
async function calibrate(peer: Peer): Promise<number> {
  await peer.run(2)
  const seconds = (await peer.run(3)) / 3
  return Math.max(1, Math.round(SECONDS_PER_ROUND / seconds))
}

async function measure(w: Workload, threads: number, rounds: number): Promise<[Result, string]> {
  const args = [JSON.stringify(w), String(threads)]
  const ours = new Peer(process.execPath, [join(here, 'peers/fused_rnn.js'), ...args])
  const theirs = new Peer('python3', [join(root, 'bench/peers/pytorch.py'), ...args])
  try {
    await ours.ready()
    await theirs.ready()
    const ourSteps = await calibrate(ours)
    const theirSteps = await calibrate(theirs)
    const speeds: [ours: number, theirs: number][] = []
    for (let round = 0; round < rounds; round++) {
      const a = (ourSteps * tokensPerStep(w)) / (await ours.run(ourSteps))
      const b = (theirSteps * tokensPerStep(w)) / (await theirs.run(theirSteps))
      speeds.push([a, b])
    }
    const ratios = speeds.map(([a, b]) => a / b)
    const speed = median(speeds.map(([a]) => a))
    return [
      {
        workload: w.name,
        ours: speed,
        theirs: median(speeds.map(([, b]) => b)),
        ratio: { median: median(ratios), min: Math.min(...ratios), max: Math.max(...ratios) },
        gflops: ((speed / tokensPerStep(w)) * trainingFlops(w)) / 1e9,
      },
      theirs.name,
    ]
  } finally {
    ours.stop()
    theirs.stop()
  }
}

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    threads: { type: 'string', default: String(cpus().length) },
    rounds: { type: 'string', default: '5' },
  },
})
const wanted = values.only?.split(',')
const threads = Number(values.threads)
const results: Result[] = []
let peer = ''
for (const w of workloads) {
  if (wanted && !wanted.includes(w.name)) continue
  const [result, name] = await measure(w, threads, Number(values.rounds))
  peer = name
  results.push(result)
  const { ratio } = result
  console.log(
    [
      w.name.padEnd(18),
      `ours ${Math.round(result.ours)} tokens/s`.padEnd(24),
      `${name} ${Math.round(result.theirs)}`.padEnd(28),
      `ratio ${ratio.median.toFixed(2)} (${ratio.min.toFixed(2)}–${ratio.max.toFixed(2)})`.padEnd(
        26,
      ),
      `${result.gflops.toFixed(1)} GFLOP/s`,
    ].join(' '),
  )
}
const mean = Math.exp(
  results.reduce((sum, { ratio }) => sum + Math.log(ratio.median), 0) / results.length,
)
console.log(`geometric mean of the ratios: ${mean.toFixed(2)} over ${results.length} workloads`)
const folder = join(root, 'bench/results')
mkdirSync(folder, { recursive: true })
const report = {
  date: new Date().toISOString().slice(0, 10),
  cpu: cpus()[0]?.model,
  threads,
  node: process.version,
  device: devices()[0],
  peer,
  geometricMean: mean,
  results,
}
const file = join(folder, wanted ? 'cpu-partial.json' : 'cpu.json')
writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`)
