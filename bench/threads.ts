/**
 * What more threads than processors cost: forward and backward of an LSTM layer, with one thread and
 * with many, in turns, each in a process of its own.
 *
 *     npm run build && npm run build:bench && node dist-bench/threads.js [ROUNDS]
 */
import { spawn, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { nn, ones, randn, setNumThreads, synchronize } from 'fused-rnn'
import { median } from '#bench/measure.js'

/** Steps, sequences, units. */
type Sizes = readonly [steps: number, batch: number, hidden: number]
const LAYERS: readonly Sizes[] = [
  [2000, 1, 32],
  [100, 20, 64],
  [35, 20, 128],
  [35, 20, 256],
]

/** `processes` at once, each with so many threads (0: the default), on all processors or one. */
interface Setting {
  name: string
  threads: number
  processes: number
  pinned: boolean
  /** The setting that it is compared with. */
  beside?: string
}
const SETTINGS: readonly Setting[] = [
  { name: '1 thread', threads: 1, processes: 1, pinned: false },
  { name: 'default', threads: 0, processes: 1, pinned: false, beside: '1 thread' },
  { name: '32 threads', threads: 32, processes: 1, pinned: false, beside: '1 thread' },
  { name: 'one processor, 1 thread', threads: 1, processes: 1, pinned: true },
  {
    name: 'one processor, default',
    threads: 0,
    processes: 1,
    pinned: true,
    beside: 'one processor, 1 thread',
  },
  {
    name: 'one processor, 32 threads',
    threads: 32,
    processes: 1,
    pinned: true,
    beside: 'one processor, 1 thread',
  },
  { name: '8 processes of 1 thread', threads: 1, processes: 8, pinned: false },
  {
    name: '8 processes of 4 threads',
    threads: 4,
    processes: 8,
    pinned: false,
    beside: '8 processes of 1 thread',
  },
]

/** Milliseconds of a pass forward and backward, the median of half a second's. */
async function passes([steps, batch, hidden]: Sizes, threads: number): Promise<number> {
  if (threads > 0) setNumThreads(threads)
  const layer = new nn.LSTM(hidden, hidden)
  const x = randn([steps, batch, hidden])
  const gradient = ones([steps, batch, hidden])
  const pass = async (): Promise<number> => {
    const begin = performance.now()
    const [y] = layer.forward(x)
    y.backward(gradient)
    layer.zeroGrad()
    await synchronize()
    return performance.now() - begin
  }
  await pass()
  await pass()
  const times: number[] = []
  for (const end = performance.now() + 500; performance.now() < end; ) times.push(await pass())
  return median(times)
}

function inProcess(sizes: Sizes, { threads, pinned }: Setting): Promise<number> {
  const node = [process.execPath, fileURLToPath(import.meta.url), 'layer']
  const command = [...(pinned ? ['taskset', '-c', '0'] : []), ...node]
  const child = spawn(command[0] as string, [
    ...command.slice(1),
    ...[...sizes, threads].map(String),
  ])
  let out = ''
  child.stdout.on('data', (text) => {
    out += text
  })
  child.stderr.pipe(process.stderr)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => {
      if (code === 0) resolve(Number(out))
      else reject(new Error(`ended with code ${code}`))
    })
  })
}

async function main(rounds: number): Promise<void> {
  const canPin = spawnSync('taskset', ['-V']).status === 0
  const settings = SETTINGS.filter(({ pinned }) => canPin || !pinned)
  console.log('| layer: T, B, H | setting | ms a pass | of the same with 1 thread |')
  console.log('| --- | --- | ---: | ---: |')
  for (const sizes of LAYERS) {
    const times = new Map(settings.map(({ name }) => [name, [] as number[]]))
    for (let round = 0; round < rounds; round++) {
      for (const setting of settings) {
        const all = Array.from({ length: setting.processes }, () => inProcess(sizes, setting))
        times.get(setting.name)?.push(median(await Promise.all(all)))
      }
    }
    const middle = (name: string): number => median(times.get(name) ?? [])
    for (const { name, beside } of settings) {
      const ratio = beside === undefined ? '' : (middle(name) / middle(beside)).toFixed(2)
      console.log(`| ${sizes.join(', ')} | ${name} | ${middle(name).toFixed(2)} | ${ratio} |`)
    }
  }
}

const [what = '3', ...rest] = process.argv.slice(2)
if (what === 'layer') {
  const [steps, batch, hidden, threads] = rest.map(Number) as [number, number, number, number]
  console.log(await passes([steps, batch, hidden], threads))
} else {
  await main(Number(what))
}
