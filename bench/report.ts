/** The results: a file, a picture, the tables of docs/benchmarks.md in Markdown. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type EngineName, engines } from '#bench/engines.js'
import { type Opponent, type Row, times } from '#bench/measure.js'
import type { Report } from '#bench/session.js'
import { geometricMeans, json, megabytes, percentOfLimit, range, short } from '#bench/table.js'
import { type ListName, lists } from '#bench/workloads.js'
import { chart } from './chart.js'

const folder = join(import.meta.dirname, '../bench/results')

// ---- Markdown --------------------------------------------------------------------------------------

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

const HEADINGS: Readonly<Record<ListName, string>> = {
  training: '',
  deepbench: ': DeepBench’s layers',
  norms: ': layers with norms and without',
  cells: ': cells and options beside the plain cell',
  packed: ': packed sequences',
}

/** Whose memory stands beside ours. */
const MEMORY: Partial<Record<EngineName, string>> = {
  pytorch: 'PyTorch’s',
  'pytorch-autocast': 'under autocast',
  'fused-rnn-float32': 'ours in float32',
}

/** The table of docs/benchmarks.md for one file of results. */
export function markdown(report: Report): string {
  const threads = Math.max(...report.threads)
  const rows = report.rows.filter((row) => row.threads === threads)
  const others = (Object.keys(engines) as EngineName[]).filter((name) =>
    rows.some(({ peers }) => peers.some(({ engine }) => engine === name)),
  )
  const memory = others.filter((name) => MEMORY[name] !== undefined)
  const head = [
    'workload',
    'fused-rnn, tokens/s',
    ...others.map((name) => `over ${engines[name].title}`),
    'GFLOP/s',
    'of the limit',
    'memory, MB',
    ...memory.map((name) => MEMORY[name] as string),
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
      percentOfLimit(row, row.ours.gflops),
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
  writeFileSync(path('json'), `${json(report)}\n`)
  writeFileSync(path('svg'), chart(report))
  return ['json', 'svg'].map((extension) => `bench/results/${name}.${extension}`)
}
