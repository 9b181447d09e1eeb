/** A forecast as an SVG picture. */
import { scaleLinear, scaleUtc } from '../d3_scale.js'
import { checkInteger, checkString } from '../errors.js'
import { numbersOf } from '../metrics/checks.js'

/** How a forecast is drawn. */
export interface ForecastPlotOptions {
  title?: string
  /** In pixels. Default 720 × 360. */
  width?: number
  height?: number
  /** What has happened in the rows that were predicted. */
  actual?: ArrayLike<number>
}

/** What is drawn. */
interface Drawn {
  history: readonly number[]
  historyTimes: readonly number[] | null
  times: readonly number[] | null
  median: readonly number[]
  lower: readonly number[]
  upper: readonly number[]
}

const FONT = 'font-family="system-ui, sans-serif" font-size="12" fill="#333"'
const MARGIN = { top: 36, right: 20, bottom: 36, left: 64 }
const escaped = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`)
const round = (x: number): string => String(Math.round(x * 100) / 100)

/** History as a line, the median as another, the band as an area. */
export function forecastPlot(drawn: Drawn, options: ForecastPlotOptions): string {
  const fn = 'toSVG'
  const width = checkInteger(fn, 'width', options.width ?? 720, 200, 10_000)
  const height = checkInteger(fn, 'height', options.height ?? 360, 150, 10_000)
  const title = checkString(fn, 'title', options.title ?? '')
  const actual = options.actual === undefined ? [] : [...numbersOf(fn, 'actual', options.actual)]
  const { history, median, lower, upper } = drawn
  const past = drawn.times === null ? null : drawn.historyTimes
  const xs = past ?? history.map((_, i) => i - history.length + 1)
  const ahead = past === null ? median.map((_, i) => i + 1) : (drawn.times as readonly number[])
  const points: [number, number][] = history
    .map((y, i): [number, number] => [xs[i] as number, y])
    .filter(([, y]) => Number.isFinite(y))
  const all = [...points.map(([, y]) => y), ...lower, ...upper, ...actual]
  const [left, right] = [MARGIN.left, width - MARGIN.right]
  const [top, bottom] = [MARGIN.top, height - MARGIN.bottom]
  const domain = [points[0]?.[0] ?? (ahead[0] as number), ahead.at(-1) as number] as const
  const low = Math.min(...all)
  const high = Math.max(...all)
  const y = scaleLinear([low, high > low ? high : low + 1], [bottom, top]).nice()
  const number = scaleLinear(domain, [left, right])
  const time = scaleUtc(domain, [left, right])
  const x = (at: number): number => number(at)
  const parts: string[] = []
  const text = (px: number, py: number, value: string, attributes: string): void => {
    parts.push(
      `<text x="${round(px)}" y="${round(py)}" ${FONT} ${attributes}>${escaped(value)}</text>`,
    )
  }
  for (const tick of y.ticks(6)) {
    const at = round(y(tick))
    parts.push(`<line x1="${left}" x2="${right}" y1="${at}" y2="${at}" stroke="#e4e4e4"/>`)
    text(left - 8, y(tick) + 4, y.tickFormat(6)(tick), 'text-anchor="end"')
  }
  const ticks: [number, string][] =
    past === null
      ? number.ticks(8).map((tick) => [tick, number.tickFormat(8)(tick)])
      : time.ticks(8).map((tick) => [tick.getTime(), time.tickFormat(8)(tick)])
  for (const [tick, label] of ticks) text(x(tick), bottom + 18, label, 'text-anchor="middle"')
  const line = (list: readonly (readonly [number, number])[]): string =>
    list.map(([px, py]) => `${round(x(px))},${round(y(py))}`).join('L')
  const along = (values: readonly number[]): [number, number][] =>
    values.map((value, i) => [ahead[i] as number, value])
  const band = [...along(upper), ...along(lower).reverse()]
  parts.push(`<path d="M${line(band)}Z" fill="#d9622b" fill-opacity=".22"/>`)
  if (points.length > 1) parts.push(`<path d="M${line(points)}" ${stroke('#1f6fb4')}/>`)
  const last = points.at(-1)
  const middle = [...(last === undefined ? [] : [last]), ...along(median)]
  parts.push(`<path d="M${line(middle)}" ${stroke('#d9622b')}/>`)
  if (actual.length > 0)
    parts.push(`<path d="M${line(along(actual))}" ${stroke('#333')} stroke-dasharray="4 3"/>`)
  parts.push(`<path d="M${left},${top}V${bottom}H${right}" fill="none" stroke="#888"/>`)
  text(left, 22, title, 'font-weight="bold"')
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">
  <rect width="${width}" height="${height}" fill="#fff"/>
${parts.map((part) => `  ${part}`).join('\n')}
</svg>
`
}

const stroke = (colour: string): string =>
  `fill="none" stroke="${colour}" stroke-width="1.6" stroke-linejoin="round"`
