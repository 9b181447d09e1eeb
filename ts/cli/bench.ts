/** `fused-rnn bench`: a shape or a workload, ours alone or beside other engines. */
import { totalmem } from 'node:os'
import { forwardFlops, leastMemory, tokensPerStep, trainingFlops } from '../bench/cost.js'
import { type EngineName, engines, opponents } from '../bench/engines.js'
import { stopAll, stopOnSignals } from '../bench/process.js'
import {
  type Installed,
  installed,
  type Report,
  runSession,
  type Session,
  tellPeers,
} from '../bench/session.js'
import { json, threeDigits } from '../bench/table.js'
import { type ListName, lists, type Workload } from '../bench/workloads.js'
import { checkDevice } from '../device.js'
import { devices, getNumThreads } from '../index.js'
import { suggestion } from '../suggest.js'
import { VERSION } from '../version.js'
import type { BenchOptions, PeerName, ShapeOptions } from './bench_command.js'
import { UserError } from './errors.js'
import { count, plural } from './format.js'

/** @param typed the options of a shape that stand on the command line */
export async function bench(
  options: BenchOptions,
  typed: readonly (keyof ShapeOptions)[],
): Promise<void> {
  stopOnSignals(() => process.stderr.write('\nfused-rnn: interrupted\n'))
  const session = sessionOf(options, typed)
  if (options.python !== undefined) process.env.PYTHON = options.python
  tellPeers(session)
  checkMemory(session)
  try {
    const found = await findPeers(session, options.against)
    const say = (line: string): void => {
      if (!options.json) process.stdout.write(`${line}\n`)
    }
    for (const line of heading(session, found)) say(line)
    const report = await runSession(session, found, say)
    if (options.json) process.stdout.write(`${json(results(session, found, report))}\n`)
    else if (report.rows.length > 0) say(`\n${limits(report)}`)
    const [failed] = report.skipped
    if (failed) throw new UserError(`${failed.workload}: ${failed.reason}`)
  } finally {
    // After an error, too: what waits for a question would keep this process.
    stopAll()
  }
}

/** What the options ask for. @throws UserError when they contradict each other or name what is not there */
function sessionOf(options: BenchOptions, typed: readonly (keyof ShapeOptions)[]): Session {
  const on = checkDevice('bench', '--device', options.device).toString()
  const { list, workloads } = workloadsOf(options, typed)
  const float32 = on === 'cpu' ? 'ieee' : 'tf32'
  return {
    list,
    workloads,
    // What users of PyTorch can write for one-hot input, too.
    peers: options.against.flatMap((name): EngineName[] =>
      name === 'pytorch' ? ['pytorch', 'pytorch-lookup'] : [name],
    ),
    products: options.against.includes('pytorch') ? ['fused-rnn', 'pytorch'] : ['fused-rnn'],
    inference: options.inference ?? false,
    threads: [options.threads ?? getNumThreads()],
    rounds: options.rounds,
    device: on,
    precision: options.precision === '32-true' ? float32 : 'bf16',
    budget: null,
    command: ['fused-rnn', ...process.argv.slice(2)].join(' '),
  }
}

function workloadsOf(
  options: BenchOptions,
  typed: readonly (keyof ShapeOptions)[],
): Pick<Session, 'list' | 'workloads'> {
  if (options.workload === undefined) return { list: 'own', workloads: [own(options)] }
  if (typed[0] !== undefined)
    throw new UserError(`--workload brings its own shape; leave out --${typed[0]}`)
  const known = Object.entries(lists).flatMap(([list, workloads]) =>
    workloads.map((w) => [list as ListName, w] as const),
  )
  const chosen = options.workload.map((wanted) => {
    const found = known.find(([, { name }]) => name === wanted)
    if (found !== undefined) return found
    const names = known.map(([, { name }]) => name)
    const meant = suggestion(wanted, names)
    // DeepBench's list is long.
    const some = names.filter((name) => !name.startsWith('db-')).join(', ')
    throw new UserError(
      `--workload: no workload '${wanted}'${meant === null ? '' : ` (did you mean '${meant}'?)`}; there are ${some}, and DeepBench's, as db-lstm-512-b16-t25`,
    )
  })
  return { list: (chosen[0] as (typeof chosen)[0])[0], workloads: chosen.map(([, w]) => w) }
}

/** The user's own shape as a workload. */
function own(options: ShapeOptions): Workload {
  const { cell, input, hidden, layers, batch, steps, dropout, vocabulary } = options
  const bidirectional = options.bidirectional ?? false
  const ends = `${bidirectional ? '-bi' : ''}${vocabulary === undefined ? '' : `-v${vocabulary}`}`
  return {
    name: `${cell}-${input}-${hidden}x${layers}${ends}`,
    kind: vocabulary === undefined ? 'layer' : 'lm',
    cell,
    vocabulary: vocabulary ?? 0,
    embedding: input,
    hidden,
    layers,
    bidirectional,
    batch,
    steps,
    dropout,
    tied: false,
  }
}

/** @throws UserError for a workload that no engine could hold in memory here */
function checkMemory({ workloads, inference, device: on }: Session): void {
  const gpu = devices().find(({ name }) => name === on)?.memoryBytes
  const there = gpu ?? Math.min(process.constrainedMemory() || totalmem(), totalmem())
  for (const w of workloads) {
    const needed = leastMemory(w, !inference)
    if (needed <= there) continue
    const gib = (bytes: number): string => `${count(Number((bytes / 2 ** 30).toPrecision(3)))} GiB`
    throw new UserError(
      `${w.name}: ${inference ? 'a batch' : 'a training step'} needs at least ${gib(needed)} of memory, ${gpu === undefined ? 'this machine' : on} has ${gib(there)}; give a smaller --batch, --steps, --hidden or --layers`,
    )
  }
}

/** Says what is missing of the peers. @throws UserError when none of those that were asked for is there */
async function findPeers(session: Session, against: readonly PeerName[]): Promise<Installed> {
  const wanted = new Set(session.workloads.flatMap((w) => opponents(w, session.peers)))
  const found = await installed(['fused-rnn', ...wanted])
  const own = found.missing.find(({ engine }) => engine === 'fused-rnn')
  if (own) throw new UserError(own.reason)
  for (const name of against) {
    if (wanted.has(name)) continue
    found.missing.push({ engine: name, reason: `${engines[name].title} cannot do this workload` })
  }
  const lines = found.missing.map(({ reason, unstarted }) =>
    unstarted ? `${reason}; name another interpreter with --python or PYTHON` : reason,
  )
  if (lines.length === 0) return found
  if (!against.some((name) => found.versions.has(name))) throw new UserError(lines.join('. '))
  for (const line of lines) process.stderr.write(`fused-rnn: ${line}\n`)
  return found
}

function heading(session: Session, { versions }: Installed): string[] {
  const { threads, rounds, precision, inference, workloads, device: on } = session
  const names = [...new Set(versions.values())]
  const own = session.list === 'own' ? describe(workloads[0] as Workload) : null
  const products = { ieee: 'float32', tf32: 'TF32', bf16: 'bfloat16' }[precision]
  const machine = devices()
    .find(({ name }) => name === on)
    ?.description.split(',')[0]
  return [
    `${names.join(', ')}; Node ${process.versions.node}`,
    `${on} (${machine}), ${plural(threads[0] as number, 'thread')}; products in ${products}; ${plural(rounds, 'round')}`,
    `${inference ? 'forward only' : 'training'}${own === null ? '' : `: ${own}`}`,
    '',
  ]
}

function describe(w: Workload): string {
  const layers = plural(w.layers, `${w.bidirectional ? 'bidirectional ' : ''}layer`)
  const what = w.kind === 'lm' ? `a next-token model of ${count(w.vocabulary)} tokens, ` : ''
  return `${what}${layers} of ${w.cell.toUpperCase()}, ${w.embedding} to ${w.hidden}, ${plural(w.batch, 'sequence')} of ${plural(w.steps, 'step')}`
}

/** What the machine does at most, for each workload. */
function limits({ rows, inference }: Report): string {
  return rows
    .map(({ workload, limit, tokensPerStep, gflopPerStep }) => {
      const work =
        gflopPerStep < 0.1
          ? `${threeDigits(1e3 * gflopPerStep)} MFLOP`
          : `${threeDigits(gflopPerStep)} GFLOP`
      const step = `a ${inference ? 'batch' : 'step'} of ${workload} is ${plural(tokensPerStep, 'token')} and ${work}`
      const best =
        limit &&
        `the machine does products of its sizes, alone, at ${limit.gflops.toFixed(1)} GFLOP/s`
      return best === null ? step : `${step}; ${best}`
    })
    .join('\n')
}

/** What `--json` prints; docs/benchmarks.md explains it. */
function results(session: Session, { missing }: Installed, report: Report): object {
  const { device: on, precision, inference, workloads } = session
  return {
    version: VERSION,
    device: on,
    ...report,
    precision: { ieee: 'float32', tf32: 'tf32', bf16: 'bf16' }[precision],
    workloads: workloads.map((w) => ({
      ...w,
      tokensPerStep: tokensPerStep(w),
      gflopPerStep: (inference ? forwardFlops(w) : trainingFlops(w)) / 1e9,
    })),
    missing,
  }
}
