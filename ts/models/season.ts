/** Finding a season in numbers. */
import { interpolated } from '../data/window_features.js'

/** Longer ones are not looked for. */
const LONGEST = 400
/** How much of the movement the season has to repeat. */
const ENOUGH = 0.3

/**
 * The number of rows after which a series is most alike itself: the highest peak of the
 * autocorrelation without its trend; 1 where none is above {@link ENOUGH}.
 */
export function seasonOf(column: Float64Array): number {
  const values = withoutTrend(interpolated(column.slice(-20 * LONGEST)))
  const most = Math.min(LONGEST, Math.floor(values.length / 3))
  const own = values.reduce((sum, x) => sum + x * x, 0)
  if (!(own > 0)) return 1
  const likeness = Array.from({ length: most + 2 }, (_, lag) => {
    let sum = 0
    for (let i = lag; i < values.length; i++)
      sum += (values[i] as number) * (values[i - lag] as number)
    return sum / own
  })
  let best = 1
  let height = ENOUGH
  for (let lag = 2; lag <= most; lag++) {
    const here = likeness[lag] as number
    const peak = here > (likeness[lag - 1] as number) && here >= (likeness[lag + 1] as number)
    // A multiple of a season is as high a peak; the shortest one is wanted.
    if (peak && here > height + (best > 1 ? 0.1 : 0)) [best, height] = [lag, here]
  }
  return best
}

function withoutTrend(values: Float64Array): Float64Array {
  const n = values.length
  const middle = (n - 1) / 2
  const mean = values.reduce((a, b) => a + b, 0) / Math.max(1, n)
  let [product, squares] = [0, 0]
  values.forEach((x, i) => {
    product += (i - middle) * (x - mean)
    squares += (i - middle) ** 2
  })
  const slope = squares === 0 ? 0 : product / squares
  return values.map((x, i) => x - mean - slope * (i - middle))
}
