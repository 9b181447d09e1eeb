/** Workloads beside other engines, interleaved in rounds, with what is to be known of the machine. */
import { cpus } from 'node:os'
import { device, devices } from '../index.js'
import { type Budget, forwardFlops, overBudget, trainingFlops } from './cost.js'
import { type EngineName, engines, howToInstall, opponents, startEngine } from './engines.js'
import { Limits, type ProductEngine } from './limit.js'
import { type KeptPeers, measure, type Row } from './measure.js'
import { PeerError } from './process.js'
import { geometricMeans, tableHead, tableRow } from './table.js'
import type { Workload } from './workloads.js'

/** Of what products are computed in: of a GPU's products, and of the CPU's with bf16. */
export const PRECISIONS = ['tf32', 'ieee', 'bf16'] as const

/** What to measure, and how. */
export interface Session {
  list: Row['list']
  workloads: readonly Workload[]
  /** What stands beside ours; `opponents` adds to it. */
  peers: readonly EngineName[]
  /** What times products for the machine's limit. */
  products: readonly ProductEngine[]
  inference: boolean
  threads: readonly number[]
  rounds: number
  device: string
  precision: (typeof PRECISIONS)[number]
  /** Null: whatever it costs. */
  budget: Budget | null
  /** As it was typed. */
  command: string
}

/** The results; a file of bench/results. */
export interface Report {
  date: string
  command: string
  cpu: string
  cores: number
  /** The instruction set of our kernels. */
  isa: string
  /** The GPU that it ran on, if on one, and what products were computed in. */
  gpu?: string | undefined
  precision?: string
  node: string
  list: Row['list']
  inference: boolean
  threads: readonly number[]
  rounds: number
  /** The part of the processors' time that something else took before the first row. */
  busyBefore: number
  /** Every engine that took part, as it names itself. */
  engines: Partial<Record<EngineName, string>>
  /** Geometric means of the median ratios, by number of threads and engine. */
  geometricMeans: Record<string, Partial<Record<EngineName, number>>>
  rows: Row[]
  /** What has no row; `failed` where ours did not get through. */
  skipped: { workload: string; reason: string; failed?: true }[]
}

/** Engines by their names for themselves, and why the others cannot take part. */
export interface Installed {
  versions: Map<EngineName, string>
  missing: { engine: EngineName; reason: string; unstarted?: true }[]
}

/** Finds out which of these engines are installed. */
export async function installed(wanted: Iterable<EngineName>): Promise<Installed> {
  const found: Installed = { versions: new Map(), missing: [] }
  // Several engines are one program.
  const programs = new Map<string, string | null>()
  for (const engine of wanted) {
    const { program } = engines[engine]
    if (!programs.has(program)) programs.set(program, await title(engine))
    const version = programs.get(program)
    if (version) found.versions.set(engine, version)
  }
  return found

  async function title(engine: EngineName): Promise<string | null> {
    try {
      const peer = await startEngine(engines[engine], ['--version'])
      peer.stop()
      return peer.title
    } catch (error) {
      if (!(error instanceof PeerError)) throw error
      const how =
        error.missing === null ? '' : `; install it with: ${howToInstall(engines[engine])}`
      const reason = `${engines[engine].title}: ${error.message}${how}`
      found.missing.push({ engine, reason, ...(error.unstarted && { unstarted: true }) })
      return null
    }
  }
}

/** The part of the processors' time that something else takes now, between 0 and 1. */
export async function busy(): Promise<number> {
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
  const share = 1 - (after.idle - before.idle) / Math.max(1, after.all - before.all)
  return Math.round(100 * share) / 100
}

/** What all results say of the machine and the run. */
export function machine({
  command,
  threads,
  rounds,
}: Pick<Session, 'command' | 'threads' | 'rounds'>) {
  return {
    date: new Date().toISOString().slice(0, 10),
    command,
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    isa: devices()[0]?.description.split(',')[0] ?? 'unknown',
    node: process.version,
    threads,
    rounds,
  }
}

/** Tells the peers' programs, which read these, where and in which precision to compute. */
export function tellPeers({ device, precision }: Pick<Session, 'device' | 'precision'>): void {
  process.env.FUSED_RNN_BENCH_DEVICE = device
  process.env.FUSED_RNN_BENCH_PRECISION = precision
}

/**
 * Measures a list on every number of threads. {@link tellPeers} comes before.
 * @param say takes the lines of the table as they are made
 */
export async function runSession(
  session: Session,
  { versions }: Pick<Installed, 'versions'>,
  say: (line: string) => void,
): Promise<Report> {
  const { list, inference, rounds, threads, budget } = session
  const onCpu = session.device === 'cpu'
  const kept: KeptPeers | null = onCpu ? null : new Map()
  const limits = new Map(threads.map((n) => [n, new Limits(n, session.products)]))
  const report: Report = {
    ...machine(session),
    ...(!onCpu && {
      gpu: devices().find(({ name }) => name === device(session.device).toString())?.description,
      precision: session.precision,
    }),
    ...(onCpu && session.precision === 'bf16' && { precision: 'bf16' }),
    list,
    inference,
    busyBefore: await busy(),
    engines: Object.fromEntries(versions),
    geometricMeans: {},
    rows: [],
    skipped: [],
  }
  if (report.busyBefore > 0.1) {
    const percent = (100 * report.busyBefore).toFixed(0)
    say(`Something else keeps the processors ${percent} % busy: expect wide spreads.`)
  }
  say(tableHead(inference))
  for (const w of session.workloads) {
    const flops = inference ? forwardFlops(w) : trainingFlops(w)
    const reason = budget && overBudget(w, flops, budget)
    if (reason !== null) {
      report.skipped.push({ workload: w.name, reason })
      say(`${w.name.padEnd(22)} skipped: ${reason}`)
      continue
    }
    for (const n of threads) {
      const names = opponents(w, session.peers).filter((name) => versions.has(name))
      const row = await measured(w, names, n)
      if (row === null) continue
      report.rows.push(row)
      say(tableRow(row, threads.length > 1))
    }
  }
  for (const limit of limits.values()) limit.stop()
  for (const peer of kept?.values() ?? []) peer.stop()
  for (const n of threads) report.geometricMeans[n] = geometricMeans(report.rows, n)
  return report

  async function measured(w: Workload, names: EngineName[], n: number): Promise<Row | null> {
    const setting = { list, threads: n, rounds, inference, opponents: names }
    try {
      return await measure(w, { ...setting, limits: limits.get(n) as Limits, kept })
    } catch (error) {
      if (!(error instanceof PeerError)) throw error
      report.skipped.push({ workload: w.name, reason: `fused-rnn ${error.message}`, failed: true })
      say(`${w.name.padEnd(22)} fused-rnn: ${error.message}`)
      return null
    }
  }
}
