/** Curves as an SVG picture. */
import { scaleLinear, scaleLog } from '../d3_scale.js'
import { checkBoolean, checkInteger, checkOptions, checkString } from '../errors.js'

export interface Series {
  name: string
  points: [x: number, y: number][]
}

/** Title, labels, size and scale of a picture. */
export interface PlotOptions {
  title?: string
  xLabel?: string
  yLabel?: string
  /** In pixels. Default 720 × 420. */
  width?: number
  height?: number
  /** A logarithmic y axis. Default false. */
  log?: boolean
}

const COLOURS = ['#1f6fb4', '#d9622b', '#2e8b57', '#8a4fbf']
const MARGIN = { top: 40, right: 24, bottom: 48, left: 64 }
const FONT = 'font-family="system-ui, sans-serif" font-size="12" fill="#333"'

const escaped = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`)
const round = (x: number): string => String(Math.round(x * 100) / 100)

/** Axes with ticks, one line per series, a legend. Points that are not finite are left out. */
export function plot(series: readonly Series[], options: PlotOptions = {}): string {
  checkOptions('plot', options, ['title', 'xLabel', 'yLabel', 'width', 'height', 'log'])
  for (const key of ['title', 'xLabel', 'yLabel'] as const)
    if (options[key] !== undefined) checkString('plot', key, options[key])
  const width = checkInteger('plot', 'width', options.width ?? 720, 200)
  const height = checkInteger('plot', 'height', options.height ?? 420, 150)
  const log = checkBoolean('plot', 'log', options.log ?? false)
  const shown = series.map(({ name, points }) => ({
    name,
    points: points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y) && (!log || y > 0)),
  }))
  const [x0, x1] = range(shown.flatMap(({ points }) => points.map(([x]) => x)))
  const [y0, y1] = range(shown.flatMap(({ points }) => points.map(([, y]) => y)))
  const left = MARGIN.left
  const right = width - MARGIN.right
  const top = MARGIN.top
  const bottom = height - MARGIN.bottom
  const x = scaleLinear([x0, x1], [left, right])
  const y = log ? scaleLog([y0, y1], [bottom, top]) : scaleLinear([y0, y1], [bottom, top]).nice()

  const parts: string[] = []
  const text = (px: number, py: number, value: string, attributes: string): void => {
    parts.push(
      `<text x="${round(px)}" y="${round(py)}" ${FONT} ${attributes}>${escaped(value)}</text>`,
    )
  }
  const yLabel = y.tickFormat(6)
  for (const tick of y.ticks(6)) {
    if (yLabel(tick) === '') continue
    parts.push(
      `<line x1="${left}" x2="${right}" y1="${round(y(tick))}" y2="${round(y(tick))}" stroke="#e4e4e4"/>`,
    )
    text(left - 8, y(tick) + 4, yLabel(tick), 'text-anchor="end"')
  }
  const xLabel = x.tickFormat(8)
  for (const tick of x.ticks(8)) {
    parts.push(
      `<line x1="${round(x(tick))}" x2="${round(x(tick))}" y1="${bottom}" y2="${bottom + 5}" stroke="#888"/>`,
    )
    text(x(tick), bottom + 19, xLabel(tick), 'text-anchor="middle"')
  }
  parts.push(`<path d="M${left},${top}V${bottom}H${right}" fill="none" stroke="#888"/>`)
  shown.forEach(({ name, points }, i) => {
    const colour = COLOURS[i % COLOURS.length]
    const line = points.map(([px, py]) => `${round(x(px))},${round(y(py))}`)
    if (line.length > 1)
      parts.push(
        `<path d="M${line.join('L')}" fill="none" stroke="${colour}" stroke-width="1.6" stroke-linejoin="round"/>`,
      )
    // Few points are easy to overlook as a line.
    if (line.length <= 40) {
      for (const [px, py] of points)
        parts.push(`<circle cx="${round(x(px))}" cy="${round(y(py))}" r="2.5" fill="${colour}"/>`)
    }
    const row = top + 8 + 18 * i
    parts.push(
      `<line x1="${right - 110}" x2="${right - 86}" y1="${row}" y2="${row}" stroke="${colour}" stroke-width="2.5"/>`,
    )
    text(right - 80, row + 4, name, '')
  })
  if (options.title) text(left, 24, options.title, 'font-weight="bold"')
  if (options.xLabel) text((left + right) / 2, height - 10, options.xLabel, 'text-anchor="middle"')
  if (options.yLabel) {
    const middle = (top + bottom) / 2
    text(
      16,
      middle,
      options.yLabel,
      `text-anchor="middle" transform="rotate(-90 16 ${round(middle)})"`,
    )
  }
  const body = parts.map((part) => `  ${part}`).join('\n')
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">
  <rect width="${width}" height="${height}" fill="#fff"/>
${body}
</svg>
`
}

/** Smallest and largest, a little apart when they are the same. */
function range(values: readonly number[]): [number, number] {
  let low = Infinity
  let high = -Infinity
  for (const value of values) {
    low = Math.min(low, value)
    high = Math.max(high, value)
  }
  if (low > high) return [0.1, 1]
  return low === high
    ? [low - Math.abs(low) * 0.1 - 1e-9, high + Math.abs(high) * 0.1 + 1e-9]
    : [low, high]
}
