/** The results as numbers, as a table on the terminal and as JSON. */
import { type EngineName, engines } from './engines.js'
import { type Opponent, type Row, type Spread, times } from './measure.js'

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

/** Three digits: 84.2 k. */
export function short(value: number): string {
  const [scale, unit] = value >= 1e6 ? [1e6, ' M'] : value >= 1e3 ? [1e3, ' k'] : [1, '']
  return `${threeDigits(value / scale)}${unit}`
}

/** Three digits, or all of a larger number's. */
export function threeDigits(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3)
}

/** Median, smallest and largest. */
export const range = ({ median, min, max }: Spread): string =>
  `${times(median)} (${times(min)}–${times(max)})`
export const megabytes = (bytes: number | null): string =>
  bytes ? (bytes / 2 ** 20).toFixed(0) : '–'
export const percentOfLimit = ({ limit }: Row, gflops: number): string =>
  limit ? `${((100 * gflops) / limit.gflops).toFixed(0)} %` : '–'

const COLUMNS = [
  ['workload', 22],
  ['engine', 20],
  ['tokens/s', 11],
  ['ms a step', 10],
  ['ours over it', 20],
  ['GFLOP/s', 9],
  ['of limit', 9],
  ['MB', 8],
  ['B=1 µs (p99)', 22],
  ['its over ours', 22],
] as const
/** These are of inference only. */
const LATENCIES = 2

/** A line of the terminal's table. */
function line(cells: readonly string[]): string {
  const padded = cells.map((cell, i) => {
    const width = COLUMNS[i]?.[1] as number
    return i < 2 ? cell.padEnd(width) : cell.padStart(width)
  })
  return padded.join(' ').trimEnd()
}

/** The head of the terminal's table. */
export function tableHead(inference: boolean): string {
  const names = COLUMNS.map(([name]) => name)
  return line(inference ? names : names.slice(0, -LATENCIES))
}

/** A row of the terminal's table: a line an engine. */
export function tableRow(row: Row, severalThreads: boolean): string {
  const name = severalThreads ? `${row.workload} ×${row.threads}` : row.workload
  const latency = ({ latency }: Pick<Opponent, 'latency'>): string =>
    latency ? `${latency.median.toFixed(0)} (${latency.p99.toFixed(0)})` : ''
  const milliseconds = (tokensPerSecond: number): string =>
    threeDigits((1e3 * row.tokensPerStep) / tokensPerSecond)
  /** Useful operations, and their share of the limit. */
  const ofMachine = ({ tokensPerSecond }: Pick<Opponent, 'tokensPerSecond'>): [string, string] => {
    const gflops = (tokensPerSecond / row.tokensPerStep) * row.gflopPerStep
    return [gflops.toFixed(1), percentOfLimit(row, gflops)]
  }
  const { ours } = row
  const lines = [
    line([
      name,
      engines[ours.engine].title,
      short(ours.tokensPerSecond),
      milliseconds(ours.tokensPerSecond),
      '',
      ...ofMachine(ours),
      megabytes(ours.peakBytes),
      latency(ours),
    ]),
    ...row.peers.map((peer) =>
      line([
        '',
        engines[peer.engine].title,
        short(peer.tokensPerSecond),
        milliseconds(peer.tokensPerSecond),
        range(peer.ratio),
        ...ofMachine(peer),
        megabytes(peer.peakBytes),
        latency(peer),
        peer.latencyRatio ? range(peer.latencyRatio) : '',
      ]),
    ),
    ...row.failed.map(({ engine, reason }) => line(['', engines[engine].title, `– ${reason}`])),
  ]
  return lines.join('\n')
}

/** With no more digits than were measured. */
export function json(results: object): string {
  const rounded = (_: string, value: unknown): unknown =>
    typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(5)) : value
  return JSON.stringify(results, rounded, 2)
}
