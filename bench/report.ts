/** The results: a file, a table on the terminal, the tables of docs/benchmarks.md in Markdown. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { chart } from './chart.js'
import { type EngineName, engines } from './engines.js'
import { type Opponent, type Row, type Spread, times } from './measure.js'
import { type ListName, lists } from './workloads.js'

const folder = join(import.meta.dirname, '../bench/results')

/** A file of results. */
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
  list: ListName
  inference: boolean
  threads: number[]
  rounds: number
  /** The part of the processors' time that something else took before the first row. */
  busyBefore: number
  /** Every engine that took part, as it names itself. */
  engines: Partial<Record<EngineName, string>>
  /** Geometric means of the median ratios, by number of threads and engine. */
  geometricMeans: Record<string, Partial<Record<EngineName, number>>>
  rows: Row[]
  skipped: { workload: string; reason: string }[]
}

/** The geometric mean; NaN of nothing. */
export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length)
}

/** Means of the ratios of each engine on `threads` threads. */
export function geometricMeans(
  rows: readonly Row[],
  threads: number,
): Partial<Record<EngineName, number>> {
  const here = rows.filter((row) => row.threads === threads)
  const names = new Set(here.flatMap(({ peers }) => peers.map(({ engine }) => engine)))
  return Object.fromEntries(
    [...names].map((name) => {
      const ratios = here.flatMap(({ peers }) => peers.filter(({ engine }) => engine === name))
      return [name, geometricMean(ratios.map(({ ratio }) => ratio.median))]
    }),
  )
}

// ---- Numbers ---------------------------------------------------------------------------------------

/** Three digits: 84.2 k. */
export function short(value: number): string {
  const [scale, unit] = value >= 1e6 ? [1e6, ' M'] : value >= 1e3 ? [1e3, ' k'] : [1, '']
  const scaled = value / scale
  return `${scaled >= 100 ? scaled.toFixed(0) : scaled.toPrecision(3)}${unit}`
}

const range = ({ median, min, max }: Spread): string =>
  `${times(median)} (${times(min)}–${times(max)})`
const megabytes = (bytes: number | null): string => (bytes ? (bytes / 2 ** 20).toFixed(0) : '–')
const percentOfLimit = (row: Row): string =>
  row.limit ? `${((100 * row.ours.gflops) / row.limit.gflops).toFixed(0)} %` : '–'

// ---- Terminal --------------------------------------------------------------------------------------

const WIDTHS = [22, 20, 11, 20, 9, 9, 8]

/** A line of the terminal's table; the last columns are the latencies of inference. */
function line(cells: readonly string[]): string {
  const padded = cells.map((cell, i) =>
    i < 2 ? cell.padEnd(WIDTHS[i] as number) : cell.padStart(WIDTHS[i] ?? 22),
  )
  return padded.join(' ').trimEnd()
}

/** The head of the terminal's table. */
export function tableHead(inference: boolean): string {
  const cells = ['workload', 'engine', 'tokens/s', 'ours over it', 'GFLOP/s', 'of limit', 'MB']
  return line(inference ? [...cells, 'B=1 µs (p99)', 'its over ours'] : cells)
}

/** A row of the terminal's table: a line an engine. */
export function tableRow(row: Row, severalThreads: boolean): string {
  const name = severalThreads ? `${row.workload} ×${row.threads}` : row.workload
  const latency = ({ latency }: Pick<Opponent, 'latency'>): string =>
    latency ? `${latency.median.toFixed(0)} (${latency.p99.toFixed(0)})` : ''
  const { ours } = row
  const lines = [
    line([
      name,
      engines[ours.engine].title,
      short(ours.tokensPerSecond),
      '',
      ours.gflops.toFixed(1),
      percentOfLimit(row),
      megabytes(ours.peakBytes),
      latency(ours),
    ]),
    ...row.peers.map((peer) =>
      line([
        '',
        engines[peer.engine].title,
        short(peer.tokensPerSecond),
        range(peer.ratio),
        '',
        '',
        megabytes(peer.peakBytes),
        latency(peer),
        peer.latencyRatio ? range(peer.latencyRatio) : '',
      ]),
    ),
    ...row.failed.map(({ engine, reason }) => line(['', engines[engine].title, `– ${reason}`])),
  ]
  return lines.join('\n')
}

/** How much faster each workload is on more threads; ours and PyTorch. */
export function scalingTable(rows: readonly Row[], threads: readonly number[]): string {
  const [fewest = 1, ...more] = threads
  const at = (workload: string, n: number): Row | undefined =>
    rows.find((row) => row.workload === workload && row.threads === n)
  const speed = (row: Row | undefined, engine: EngineName): number =>
    (engine === 'fused-rnn' ? row?.ours : row?.peers.find((p) => p.engine === engine))
      ?.tokensPerSecond ?? Number.NaN
  const lines = [
    `| workload | ${more.map((n) => `fused-rnn ×${n} over ×${fewest} | PyTorch`).join(' | ')} |`,
    `| --- |${' ---: | ---: |'.repeat(more.length)}`,
  ]
  for (const workload of new Set(rows.map((row) => row.workload))) {
    const cells = more.flatMap((n) =>
      (['fused-rnn', 'pytorch'] as const).map((engine) => {
        const gain = speed(at(workload, n), engine) / speed(at(workload, fewest), engine)
        return Number.isFinite(gain) ? times(gain) : '–'
      }),
    )
    lines.push(`| ${workload} | ${cells.join(' | ')} |`)
  }
  return lines.join('\n')
}

// ---- Markdown --------------------------------------------------------------------------------------

const HEADINGS: Readonly<Record<ListName, string>> = {
  training: '',
  deepbench: ': DeepBench’s layers',
  norms: ': layers with norms and without',
  packed: ': packed sequences',
}

/** The table of docs/benchmarks.md for one file of results. */
export function markdown(report: Report): string {
  const threads = Math.max(...report.threads)
  const rows = report.rows.filter((row) => row.threads === threads)
  const others = (Object.keys(engines) as EngineName[]).filter((name) =>
    rows.some(({ peers }) => peers.some(({ engine }) => engine === name)),
  )
  const memory = others.filter((name) => name === 'pytorch')
  const head = [
    'workload',
    'fused-rnn, tokens/s',
    ...others.map((name) => `over ${engines[name].title}`),
    'GFLOP/s',
    'of the limit',
    ...(memory.length > 0 ? ['memory, MB', 'PyTorch’s'] : ['memory, MB']),
    ...(report.inference ? ['B = 1, µs (p99)', ...others.map((n) => engines[n].title)] : []),
  ]
  const body = rows.map((row) => {
    const find = (name: EngineName): Opponent | undefined =>
      row.peers.find(({ engine }) => engine === name)
    const latency = (of: Pick<Opponent, 'latency'> | undefined): string =>
      of?.latency ? `${of.latency.median.toFixed(0)} (${of.latency.p99.toFixed(0)})` : ''
    return [
      row.workload,
      short(row.ours.tokensPerSecond),
      ...others.map((name) => {
        const peer = find(name)
        return peer ? range(peer.ratio) : ''
      }),
      row.ours.gflops.toFixed(row.ours.gflops < 10 ? 1 : 0),
      percentOfLimit(row),
      megabytes(row.ours.peakBytes),
      ...memory.map((name) => megabytes(find(name)?.peakBytes ?? null)),
      ...(report.inference ? [latency(row.ours), ...others.map((n) => latency(find(n)))] : []),
    ]
  })
  const means = geometricMeans(rows, threads)
  const mean = [
    'geometric mean',
    '',
    ...others.map((name) => times(means[name] ?? Number.NaN)),
    ...head.slice(2 + others.length).map(() => ''),
  ]
  const cells = (values: readonly string[]): string => `| ${values.join(' | ')} |`
  const versions = Object.values(report.engines).filter((v, i, all) => all.indexOf(v) === i)
  const plural = threads === 1 ? 'thread' : 'threads'
  return [
    cells(head),
    `| --- |${' ---: |'.repeat(head.length - 1)}`,
    ...body.map(cells),
    cells(mean),
    '',
    `${versions.join(', ')}, Node ${report.node.slice(1)}; ${report.gpu ?? `${report.cpu}, ${report.isa}`}, ${threads} ${plural}; ${report.rounds} rounds, ${report.date}; \`${report.command}\`.`,
    ...(report.threads.length > 1 ? ['', scalingTable(report.rows, report.threads)] : []),
  ].join('\n')
}

const VARIANTS = [
  {},
  { precision: 'bf16' },
  { precision: 'tf32', gpu: '' },
  { precision: 'ieee', gpu: '' },
  { precision: 'bf16', gpu: '' },
].flatMap((where) => [false, true].map((inference) => [inference, where] as const))

/** Every table that docs/benchmarks.md shows, from the files that are there. */
export function allMarkdown(): string {
  const tables: string[] = []
  for (const list of Object.keys(lists) as ListName[]) {
    for (const [inference, setting] of VARIANTS) {
      const file = `${join(folder, baseName({ list, inference, ...setting }, false))}.json`
      if (!existsSync(file)) continue
      const report = JSON.parse(readFileSync(file, 'utf8')) as Report
      const where = [report.gpu, report.precision]
        .filter(Boolean)
        .map((part) => `, ${part}`)
        .join('')
      const heading = `${inference ? 'Inference' : 'Training'}${HEADINGS[list]}${where}`
      tables.push(`### ${heading}\n\n${markdown(report)}`)
    }
  }
  return tables.length > 0 ? tables.join('\n\n') : 'No results yet in bench/results.'
}

// ---- Files -----------------------------------------------------------------------------------------

type Kind = Pick<Report, 'list' | 'inference' | 'precision' | 'gpu'>

function baseName({ list, inference, precision, gpu }: Kind, partial: boolean): string {
  const where = precision ? `${gpu === undefined ? 'cpu' : 'cuda'}-${precision}` : 'cpu'
  const parts = [where, list === 'training' ? '' : list, inference ? 'inference' : '']
  return [...parts, partial ? 'partial' : ''].filter((part) => part !== '').join('-')
}

/** Writes the results and their picture to bench/results; says where. */
export function write(report: Report, partial: boolean): string[] {
  mkdirSync(folder, { recursive: true })
  const name = baseName(report, partial)
  const path = (extension: string): string => join(folder, `${name}.${extension}`)
  // No more digits than were measured.
  const rounded = (_: string, value: unknown): unknown =>
    typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(5)) : value
  writeFileSync(path('json'), `${JSON.stringify(report, rounded, 2)}\n`)
  writeFileSync(path('svg'), chart(report))
  return ['json', 'svg'].map((extension) => `bench/results/${name}.${extension}`)
}
