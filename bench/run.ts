/**
 * The benchmark: whole training steps, or inference, ours beside other engines, interleaved in
 * rounds in one run. `npm run bench -- --help` has the options.
 *
 * Absolute times on a shared machine mean little; the ratio of neighbouring rounds does.
 */
import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { device, devices } from 'fused-rnn'
import { forwardFlops, overBudget, trainingFlops } from './cost.js'
import { type EngineName, engines } from './engines.js'
import { Limits } from './limit.js'
import { type KeptPeers, measure, type Row, times } from './measure.js'
import { OPERATION_HEAD, type OperationRow, operationLine, timeOperations } from './operations.js'
import { HELP, type Options, opponents, parseOptions, UsageError } from './options.js'
import { Peer, PeerError, stopAll } from './process.js'
import {
  allMarkdown,
  geometricMeans,
  type Report,
  scalingTable,
  tableHead,
  tableRow,
  write,
} from './report.js'
import type { ListName, Workload } from './workloads.js'

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    stopAll()
    console.error('\nbench: interrupted')
    process.exit(130)
  })
}

/** The engines of these that are installed, with their versions; a line for each that is not. */
async function installed(wanted: Iterable<EngineName>): Promise<Map<EngineName, string>> {
  const found = new Map<EngineName, string>()
  for (const name of wanted) {
    const { command, program, install, title } = engines[name]
    try {
      const peer = await Peer.start(command, [program, '--version'])
      found.set(name, peer.title)
      peer.stop()
    } catch (error) {
      if (!(error instanceof PeerError)) throw error
      const how = error.missing === null ? '' : `; install it with: ${install}`
      console.log(`${title}: ${error.message}${how}`)
    }
  }
  return found
}

/** The part of the processors' time that something else takes now, between 0 and 1. */
async function busy(): Promise<number> {
  const times = (): { idle: number; all: number } => {
    const all = cpus().map((cpu) => cpu.times)
    const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0)
    return {
      idle: sum(all.map(({ idle }) => idle)),
      all: sum(all.flatMap((time) => Object.values(time))),
    }
  }
  const before = times()
  await new Promise((resolve) => setTimeout(resolve, 1000))
  const after = times()
  return 1 - (after.idle - before.idle) / Math.max(1, after.all - before.all)
}

/** What all results say of the machine and the run. */
function machine({ threads, rounds }: Options) {
  return {
    date: new Date().toISOString().slice(0, 10),
    command: ['npm run bench', ...process.argv.slice(2)].join(' ').replace('bench ', 'bench -- '),
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    isa: devices()[0]?.description.split(',')[0] ?? 'unknown',
    node: process.version,
    threads,
    rounds,
  }
}

/** Runs a list on every number of threads. */
async function run(
  list: ListName,
  workloads: readonly Workload[],
  options: Options,
): Promise<Report> {
  const { inference, rounds, threads, budget } = options
  const wanted = new Set(workloads.flatMap((w) => opponents(w, options.peers)))
  const versions = await installed(['fused-rnn', ...wanted])
  const kept: KeptPeers | null = options.device === 'cpu' ? null : new Map()
  const limits = new Map(threads.map((n) => [n, new Limits(n)]))
  const report: Report = {
    ...machine(options),
    ...(options.device !== 'cpu' && {
      gpu: devices().find(({ name }) => name === device(options.device).toString())?.description,
      precision: options.precision,
    }),
    ...(options.device === 'cpu' && options.precision === 'bf16' && { precision: 'bf16' }),
    list,
    inference,
    busyBefore: Math.round(100 * (await busy())) / 100,
    engines: Object.fromEntries(versions),
    geometricMeans: {},
    rows: [],
    skipped: [],
  }
  if (report.busyBefore > 0.1) {
    const percent = (100 * report.busyBefore).toFixed(0)
    console.log(`Something else keeps the processors ${percent} % busy: expect wide spreads.`)
  }
  console.log(tableHead(inference))
  for (const w of workloads) {
    const reason = overBudget(w, inference ? forwardFlops(w) : trainingFlops(w), budget)
    if (reason !== null) {
      report.skipped.push({ workload: w.name, reason })
      console.log(`${w.name.padEnd(22)} skipped: ${reason}`)
      continue
    }
    for (const n of threads) {
      const names = opponents(w, options.peers).filter((name) => versions.has(name))
      const row = await measured(w, names, n)
      if (row === null) continue
      report.rows.push(row)
      console.log(tableRow(row, threads.length > 1))
    }
  }
  for (const limit of limits.values()) limit.stop()
  for (const peer of kept?.values() ?? []) peer.stop()
  for (const n of threads) {
    const means = geometricMeans(report.rows, n)
    report.geometricMeans[n] = means
    const list = Object.entries(means).map(([name, mean]) => {
      return `${times(mean)} over ${engines[name as EngineName].title}`
    })
    if (list.length > 0) console.log(`geometric mean on ${n}: ${list.join(', ')}`)
  }
  if (threads.length > 1) console.log(`\n${scalingTable(report.rows, threads)}`)
  return report

  async function measured(w: Workload, names: EngineName[], n: number): Promise<Row | null> {
    const setting = { list, threads: n, rounds, inference, opponents: names }
    try {
      return await measure(w, { ...setting, limits: limits.get(n) as Limits, kept })
    } catch (error) {
      if (!(error instanceof PeerError)) throw error
      report.skipped.push({ workload: w.name, reason: `fused-rnn ${error.message}` })
      console.log(`${w.name.padEnd(22)} fused-rnn: ${error.message}`)
      process.exitCode = 1
      return null
    }
  }
}

/** Single operations, all threads; the results go to a file, too. */
async function runOperations(options: Options): Promise<void> {
  const versions = await installed(['fused-rnn', 'pytorch'])
  if (versions.size < 2) return
  const rows: OperationRow[] = []
  const setting = { ...machine(options), busyBefore: Math.round(100 * (await busy())) / 100 }
  console.log(OPERATION_HEAD)
  for (const threads of options.threads) {
    await timeOperations(options.operations, threads, options.rounds, (row) => {
      rows.push(row)
      console.log(operationLine(row))
    })
  }
  const file = `cpu-ops${options.partial ? '-partial' : ''}.json`
  const path = join(import.meta.dirname, '../bench/results', file)
  const report = { ...setting, engines: Object.fromEntries(versions), rows }
  writeFileSync(path, `${JSON.stringify(report, null, 2)}\n`)
  console.log(`\nbench/results/${file}`)
}

async function main(options: Options): Promise<void> {
  if (options.help) return console.log(HELP.trimEnd())
  if (options.report) return console.log(allMarkdown())
  // The peers' programs read these.
  process.env.FUSED_RNN_BENCH_DEVICE = options.device
  process.env.FUSED_RNN_BENCH_PRECISION = options.precision
  if (options.operations.length > 0) return runOperations(options)
  for (const { list, workloads } of options.runs) {
    const report = await run(list, workloads, options)
    if (report.rows.length > 0) console.log(`\n${write(report, options.partial).join('\n')}\n`)
  }
}

try {
  await main(parseOptions(process.argv.slice(2)))
} catch (error) {
  if (!(error instanceof UsageError)) throw error
  console.error(`bench: ${error.message}`)
  process.exitCode = 2
}
