/** The ratios as a picture: a bar each from 1, to the right where ours is faster. */
import { scaleLog } from 'd3-scale'
import { type EngineName, engines } from '#bench/engines.js'
import { type Spread, times } from '#bench/measure.js'
import type { Report } from '#bench/session.js'

const WIDTH = 860
const MARGIN = { top: 84, right: 72, bottom: 64, left: 150 }
const BAR = 13
/** Between the bars of a workload, and between workloads. */
const GAP = 2
const SPACE = 10
const COLOURS = ['#1f6fb4', '#8fbbe0', '#d9822b', '#5b9a5b', '#8a4fbf', '#b05a7a', '#7a7a7a']
const FONT = 'font-family="system-ui, \'DejaVu Sans\', sans-serif" fill="#333"'
/** Of a wide axis, and of one that has few of them. */
const TICKS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
const FINE_TICKS = [0.4, 0.5, 0.6, 0.8, 1, 1.25, 1.5, 2, 2.5, 3, 4, 5, 6, 8]

interface Bar {
  colour: string
  spread: Spread
}

interface Group {
  label: string
  bars: Bar[]
}

const escaped = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`)
const round = (x: number): string => String(Math.round(x * 100) / 100)

/** One bar an opponent; in inference one for throughput and one for latency. */
function series(report: Report): { names: string[]; groups: Group[] } {
  const threads = Math.max(...report.threads)
  const rows = report.rows.filter((row) => row.threads === threads)
  const shown = (Object.keys(engines) as EngineName[]).filter((name) =>
    rows.some(({ peers }) => peers.some(({ engine }) => engine === name)),
  )
  const kinds = shown.flatMap((engine) =>
    report.inference
      ? ([
          [engine, 'ratio'],
          [engine, 'latencyRatio'],
        ] as const)
      : ([[engine, 'ratio']] as const),
  )
  const present = kinds.filter(([name, what]) =>
    rows.some(({ peers }) => peers.some((p) => p.engine === name && p[what] !== undefined)),
  )
  const names = present.map(([engine, what]) => {
    const title = report.engines[engine] ?? engines[engine].title
    const known = engines[engine].title.includes(',') ? engines[engine].title : title
    if (!report.inference) return known
    return `${known}: ${what === 'ratio' ? 'forward' : 'one token at a time'}`
  })
  const groups = rows.map((row) => ({
    label: row.workload,
    bars: present.flatMap(([engine, what], i) => {
      const spread = row.peers.find((peer) => peer.engine === engine)?.[what]
      return spread ? [{ colour: COLOURS[i % COLOURS.length] as string, spread }] : []
    }),
  }))
  return { names, groups: groups.filter(({ bars }) => bars.length > 0) }
}

/** Median ratios as bars on a log axis, with whiskers from the smallest to the largest. */
export function chart(report: Report): string {
  const { names, groups } = series(report)
  const spreads = groups.flatMap(({ bars }) => bars.map(({ spread }) => spread))
  const low = Math.min(0.8, ...spreads.map(({ min }) => min * 0.95))
  const high = Math.max(2, ...spreads.map(({ max }) => max * 1.05))
  const left = MARGIN.left
  const right = WIDTH - MARGIN.right
  const x = scaleLog([low, high], [left, right])
  const parts: string[] = []
  const text = (px: number, py: number, value: string, attributes: string): void => {
    parts.push(
      `<text x="${round(px)}" y="${round(py)}" ${FONT} ${attributes}>${escaped(value)}</text>`,
    )
  }
  const top = MARGIN.top + 18 * Math.max(0, Math.ceil(names.length / 3) - 1)
  const heightOf = ({ bars }: Group): number => bars.length * (BAR + GAP) + SPACE
  const bottom = top + groups.reduce((sum, group) => sum + heightOf(group), 0) + SPACE / 2

  for (const tick of (high / low < 8 ? FINE_TICKS : TICKS).filter(
    (tick) => tick >= low && tick <= high,
  )) {
    const px = round(x(tick))
    const stroke = tick === 1 ? 'stroke="#333" stroke-width="1.4"' : 'stroke="#e2e2e2"'
    parts.push(`<line x1="${px}" x2="${px}" y1="${top}" y2="${bottom}" ${stroke}/>`)
    text(x(tick), bottom + 18, `${tick}×`, 'font-size="12" text-anchor="middle"')
  }
  let y = top + SPACE
  for (const group of groups) {
    const height = heightOf(group) - SPACE
    text(left - 10, y + height / 2 + 3, group.label, 'font-size="12" text-anchor="end"')
    for (const { colour, spread } of group.bars) {
      const from = Math.min(x(1), x(spread.median))
      const width = Math.max(0.5, Math.abs(x(spread.median) - x(1)))
      const middle = y + BAR / 2
      parts.push(
        `<rect x="${round(from)}" y="${y}" width="${round(width)}" height="${BAR}" fill="${colour}"/>`,
        `<path d="M${round(x(spread.min))},${middle}H${round(x(spread.max))}M${round(x(spread.min))},${middle - 3}v6M${round(x(spread.max))},${middle - 3}v6" stroke="#222" stroke-width="1.1" fill="none"/>`,
      )
      const behind = Math.max(x(spread.max), x(1)) + 6
      text(behind, y + BAR - 2.5, times(spread.median), 'font-size="11"')
      y += BAR + GAP
    }
    y += SPACE
  }

  const threads = Math.max(...report.threads)
  const what = report.inference ? 'Inference' : 'Training'
  const plural = threads === 1 ? 'thread' : 'threads'
  text(16, 26, `${what} on the CPU: fused-rnn’s speed over …`, 'font-size="16" font-weight="bold"')
  text(
    16,
    45,
    `${report.cpu}, ${report.isa}, ${threads} ${plural}; longer is better; whiskers: smallest and largest of ${report.rounds} rounds`,
    'font-size="12"',
  )
  names.forEach((name, i) => {
    const px = 16 + (i % 3) * 280
    const py = 66 + 18 * Math.floor(i / 3)
    parts.push(
      `<rect x="${px}" y="${py - 10}" width="12" height="12" fill="${COLOURS[i % COLOURS.length]}"/>`,
    )
    text(px + 18, py, name, 'font-size="12"')
  })
  text(
    (left + right) / 2,
    bottom + 40,
    `${report.inference ? 'speed' : 'tokens per second'}, fused-rnn over the other (log scale)`,
    'font-size="12" text-anchor="middle"',
  )
  const height = bottom + MARGIN.bottom - 8
  const body = parts.map((part) => `  ${part}`).join('\n')
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}">
  <rect width="${WIDTH}" height="${height}" fill="#fff"/>
${body}
</svg>
`
}
