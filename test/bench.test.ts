/** `fused-rnn bench`: its options, ours alone, beside a stand-in for Python's peers, and how it ends. */
import { existsSync } from 'node:fs'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { Command } from 'commander'
import { leastMemory, memoryEstimate, trainingFlops } from '#bench/cost.js'
import type { Row } from '#bench/measure.js'
import type { Report } from '#bench/session.js'
import { lists, type Workload } from '#bench/workloads.js'
import { type BenchOptions, benchCommand } from '../dist/cli/bench_command.js'
import { onCpu } from './helpers.js'
import { type Finished, type RunOptions, run } from './limits.js'

// It starts processes of its own, which compute on the CPU.
const once = onCpu ? test.serial : test.serial.skip

const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const TINY = '--input 3 --hidden 5 --batch 2 --steps 4 --rounds 2 --threads 1'

function bench(line: string, { env, ...options }: RunOptions = {}): Promise<Finished> {
  return run(process.execPath, [main, 'bench', ...line.split(' ').filter(Boolean)], {
    env: { ...process.env, FUSED_RNN_DEBUG: '', PYTHON: '/nowhere/python', ...env },
    ...options,
  })
}

/** Of `--json`. */
type Results = Report & {
  version: string
  device: string
  workloads: (Workload & { tokensPerStep: number; gflopPerStep: number })[]
  missing: { engine: string; reason: string }[]
}

async function results(t: ExecutionContext, line: string, options?: RunOptions): Promise<Results> {
  const { code, stdout, stderr } = await bench(`${line} --json`, options)
  t.is(code, 0, stdout + stderr)
  return JSON.parse(stdout)
}

/** A program that runs the stand-in as Python runs a peer. */
async function standIn(t: ExecutionContext): Promise<{ folder: string; python: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-bench-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  const python = join(folder, 'python')
  const program = fileURLToPath(new URL('stand_in_peer.js', import.meta.url))
  await writeFile(python, `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@"\n`)
  await chmod(python, 0o755)
  return { folder, python }
}

// ---- Options --------------------------------------------------------------------------------------

async function parsed(line: string): Promise<BenchOptions> {
  let options: BenchOptions | null = null
  const command = benchCommand(new Command('bench'))
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .action((given: BenchOptions) => {
      options = given
    })
  await command.parseAsync(line.split(' ').filter(Boolean), { from: 'user' })
  return options as unknown as BenchOptions
}

once('options are read', async (t) => {
  t.deepEqual(await parsed(''), {
    cell: 'lstm',
    input: 256,
    hidden: 256,
    layers: 1,
    batch: 32,
    steps: 35,
    dropout: 0,
    precision: '32-true',
    device: 'cpu',
    rounds: 5,
    against: [],
  })
  const all =
    '--cell gru --input 8 --hidden 9 --layers 2 --batch 64 --steps 50 --bidirectional --dropout 0.5 ' +
    '--vocabulary 100 --inference --precision bf16 --threads 3 --rounds 4 --against pytorch,jax,pytorch ' +
    '--python venv/bin/python --json --device cuda:1'
  t.deepEqual(await parsed(all), {
    cell: 'gru',
    input: 8,
    hidden: 9,
    layers: 2,
    batch: 64,
    steps: 50,
    bidirectional: true,
    dropout: 0.5,
    vocabulary: 100,
    inference: true,
    precision: 'bf16',
    device: 'cuda:1',
    threads: 3,
    rounds: 4,
    against: ['pytorch', 'jax'],
    python: 'venv/bin/python',
    json: true,
  })
  t.deepEqual((await parsed('--workload ptb-better,dinos-rnn')).workload, [
    'ptb-better',
    'dinos-rnn',
  ])
})

for (const [line, message] of [
  ['--cell relu', /Allowed choices are rnn, gru, lstm/],
  ['--hidden 0', /between 1 and 65536/],
  ['--batch 1.5', /whole number/],
  ['--precision fp8', /Allowed choices are 32-true, bf16, bf16-mixed/],
  ['--against torch', /Expected some of pytorch, jax, keras/],
  ['--against pytorch,', /NAME,NAME/],
  ['--workload a,,b', /NAME,NAME/],
  ['--rounds 0', /between 1 and 1000/],
  ['--vocabulary 1', /between 2/],
  ['ptb-better', /too many arguments/],
] as const) {
  once(`refused: ${line}`, async (t) => {
    await t.throwsAsync(parsed(line), { message })
  })
}

for (const [line, message] of [
  [
    '--workload ptb-bettr',
    /no workload 'ptb-bettr' \(did you mean 'ptb-better'\?\); there are lyrics-rnn, .*deep-gru1024.*packed-lstm/,
  ],
  ['--workload dinos-rnn --steps 4', /--workload brings its own shape; leave out --steps/],
  [
    '--hidden 65536 --layers 64 --steps 1000',
    /training step needs at least .* GiB of memory, .* --batch/,
  ],
  ['--inference --batch 1000000 --steps 1000000', /a batch needs at least/],
  ['--device tpu', /--device: expected 'cpu', 'cuda' or 'cuda:N', got 'tpu'/],
  [
    '--against pytorch',
    /PyTorch: \/nowhere\/python is not installed; name another interpreter with --python or PYTHON/,
  ],
  [`--against jax --python ${tmpdir()}`, /JAX: .* cannot be started: EACCES; name another/],
  ['--workload ln-lstm128 --against jax', /JAX cannot do this workload/],
] as const) {
  once(`nothing is measured: ${line}`, async (t) => {
    const { code, stdout, stderr } = await bench(line)
    t.is(code, 1)
    t.is(stdout, '')
    t.regex(stderr, /^fused-rnn: .*\n$/)
    t.regex(stderr, message)
  })
}

once('what is refused for lack of memory would not fit', (t) => {
  for (const w of Object.values(lists).flat()) {
    t.true(leastMemory(w, true) <= memoryEstimate(w) * 1.5, w.name)
    t.true(leastMemory(w, false) < leastMemory(w, true), w.name)
  }
  const w = lists.training.find(({ name }) => name === 'deep-lstm512') as Workload
  // Weights and gradients, the embedding's rows, gates and outputs, logits.
  const weights = 2 * 512 * 2048 + 512 * 256
  const tokens = 64 * 50
  t.is(leastMemory(w, true), 4 * (2 * weights + tokens * (512 + 2048 + 512 + 256)))
})

// ---- Runs -----------------------------------------------------------------------------------------

function checkRow(t: ExecutionContext, row: Row | undefined): asserts row is Row {
  if (row === undefined) throw new Error('no row')
  t.true(row.ours.tokensPerSecond > 0)
  const perStep = row.ours.tokensPerSecond / row.tokensPerStep
  t.true(Math.abs(row.ours.gflops / (perStep * row.gflopPerStep) - 1) < 1e-3)
  t.true((row.limit?.gflops ?? 0) > 0)
  t.deepEqual(row.failed, [])
}

once('ours alone, without Python: JSON', async (t) => {
  const report = await results(t, `--cell gru --layers 2 --bidirectional ${TINY}`)
  const name = 'gru-3-5x2-bi'
  t.like(report, {
    device: 'cpu',
    precision: 'float32',
    list: 'own',
    inference: false,
    threads: [1],
    rounds: 2,
    node: process.version,
    skipped: [],
    missing: [],
  })
  t.regex(report.version, /^\d+\.\d+\.\d+$/)
  t.regex(report.date, /^\d{4}-\d\d-\d\d$/)
  t.regex(report.command, /^fused-rnn bench --cell gru .* --json$/)
  t.deepEqual(report.engines, { 'fused-rnn': `fused-rnn ${report.version}` })
  const [w] = report.workloads
  t.like(w, {
    name,
    kind: 'layer',
    cell: 'gru',
    embedding: 3,
    hidden: 5,
    layers: 2,
    tokensPerStep: 8,
  })
  t.is(report.rows.length, 1)
  const [row] = report.rows
  checkRow(t, row)
  t.like(row, { workload: name, threads: 1, tokensPerStep: 8, peers: [] })
  // Two directions and layers, three gates, three for forward and backward: counted by hand.
  const flops = 3 * 2 * 8 * 15 * (2 * (3 + 5) + 2 * (10 + 5))
  t.is(row.gflopPerStep, flops / 1e9)
  t.is(trainingFlops(w as Workload), flops)
  t.true(row.limit?.products.every((product) => product.includes('(fused-rnn')))
})

once('a next-token model and a workload, forward only: a table', async (t) => {
  const own = await bench(`--vocabulary 11 --inference ${TINY}`)
  t.is(own.code, 0, own.stderr)
  t.is(own.stderr, '')
  t.regex(
    own.stdout,
    /^fused-rnn \d.*; Node .*\ncpu \(.*\), 1 thread; products in float32; 2 rounds\n/,
  )
  t.true(
    own.stdout.includes('forward only: a next-token model of 11 tokens, 1 layer of LSTM, 3 to 5'),
  )
  t.regex(own.stdout, /^workload +engine +tokens\/s +ms a step .*GFLOP\/s +of limit +MB +B=1 µs/m)
  t.regex(own.stdout, /^lstm-3-5x1-v11 +fused-rnn +\d.* %/m)
  t.regex(
    own.stdout,
    /\na batch of lstm-3-5x1-v11 is 8 tokens and .*FLOP; the machine does .* GFLOP\/s\n$/,
  )
  const { rows } = await results(t, '--workload binadd-rnn --rounds 1 --threads 1')
  checkRow(t, rows[0])
  t.like(rows[0], { workload: 'binadd-rnn', list: 'training' })
})

once('beside a peer, with bfloat16 beside float32', async (t) => {
  const { python } = await standIn(t)
  const line = `--precision bf16 --against pytorch,jax --python ${python} ${TINY}`
  const report = await results(t, line)
  t.is(report.precision, 'bf16')
  t.is(report.engines.pytorch, 'Stand-in pytorch.py')
  t.is(report.engines.jax, 'Stand-in jax_scan.py')
  const [row] = report.rows
  checkRow(t, row)
  const rates = Object.fromEntries(row.peers.map((p) => [p.engine, p.tokensPerSecond]))
  t.true((rates['fused-rnn-float32'] as number) > 0)
  // A millisecond for a step of eight tokens.
  t.like(rates, { pytorch: 8000, 'pytorch-autocast': 16_000, jax: 8000 })
  t.is(row.peers.length, 4)
  for (const { ratio, tokensPerSecond } of row.peers) {
    t.true(ratio.min <= ratio.median && ratio.median <= ratio.max)
    const near = row.ours.tokensPerSecond / tokensPerSecond
    t.true(ratio.min <= near * 1.001 && near * 0.999 <= ratio.max * 1.001)
  }
  t.is(row.limit?.gflops, 1e6)
  t.true(row.limit?.products.every((product) => product.includes('(Stand-in pytorch_products.py)')))
})

once('one peer is missing, the other is there', async (t) => {
  const { python } = await standIn(t)
  const line = `--against pytorch,jax ${TINY}`
  const env = { PYTHON: python, STAND_IN: 'missing' }
  const { code, stdout, stderr } = await bench(line, { env })
  t.is(code, 0)
  t.regex(
    stderr,
    /^fused-rnn: PyTorch: torch is not installed; install it with: \S+ -m pip install torch\n$/,
  )
  // Eight tokens and 7680 operations in a millisecond.
  t.regex(stdout, /^ +JAX +8\.00 k +1\.00 +\S+ \(\S+–\S+\) +0\.0 +\d+ % +\S+$/m)
  t.notRegex(stdout, /^ +PyTorch/m)
  const alone = await bench(`--against pytorch ${TINY}`, { env })
  t.is(alone.code, 1)
  t.is(alone.stdout, '')
  t.regex(alone.stderr, /torch is not installed; install it with/)
})

once('a peer that breaks is left out, and why is said', async (t) => {
  const { python } = await standIn(t)
  const { code, stdout } = await bench(`--against jax ${TINY}`, {
    env: { PYTHON: python, STAND_IN: 'dies' },
  })
  t.is(code, 0)
  t.regex(stdout, /^ +JAX +– ended with code 1: RuntimeError: it broke$/m)
  t.regex(stdout, /^lstm-3-5x1 +fused-rnn +\d/m)
})

once('ours cannot start: one line, exit code 1', async (t) => {
  const { code, stderr } = await bench(TINY, {
    env: { FUSED_RNN_ADDON: '/nowhere/fused_rnn.node' },
  })
  t.is(code, 1)
  t.regex(stderr, /^fused-rnn: cannot load the addon: .*\n$/)
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  once(`${signal} ends all processes`, async (t) => {
    const { folder, python } = await standIn(t)
    const file = join(folder, 'pids')
    let poll: NodeJS.Timeout | undefined
    const { code, stderr } = await bench(`--against jax ${TINY}`, {
      env: { PYTHON: python, STAND_IN: `hangs:${file}` },
      watch: (stdout, kill) => {
        if (!stdout.includes('workload') || poll !== undefined) return
        poll = setInterval(() => existsSync(file) && kill(signal), 20)
      },
    }).finally(() => clearInterval(poll))
    t.is(code, 130)
    t.is(stderr, '\nfused-rnn: interrupted\n')
    const pids = (await readFile(file, 'utf8')).trim().split('\n').map(Number)
    t.is(pids.length, 1)
    const runs = (pid: number): boolean => {
      try {
        return process.kill(pid, 0)
      } catch {
        return false
      }
    }
    while (pids.some(runs)) await new Promise((resolve) => setTimeout(resolve, 20))
    t.pass()
  })
}
