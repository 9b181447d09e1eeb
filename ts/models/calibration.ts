/** Bands that hold: conformal calibration. */
import type { SeriesWindows } from '../data/series_windows.js'
import { noGrad } from '../grad_mode.js'
import { evalMode } from '../nn/module.js'
import { deviceOf } from '../train/batch.js'
import { type Forecasting, risingQuantiles } from './forecaster_predict.js'

/**
 * What to add to each quantile so that each band would have held as often as it says on these windows
 * (conformalized quantile regression, Romano, Patterson & Candès 2019), in the windows' units.
 */
export async function calibrated(
  model: Forecasting,
  windows: SeriesWindows,
  quantiles: readonly number[],
): Promise<number[]> {
  const bands = quantiles
    .map((q, i) => ({ q, low: i, high: quantiles.findIndex((r) => Math.abs(1 - q - r) < 1e-9) }))
    .filter(({ q, high }) => q < 0.5 && high >= 0)
  const misses = bands.map((): number[] => [])
  const device = deviceOf(model) as string
  for (const batch of windows.batches(0)) {
    const restoreModes = evalMode(model)
    const out = noGrad(() => {
      try {
        return model.forward(batch.input.to(device), batch.future?.to(device))
      } finally {
        restoreModes()
      }
    })
    const [said, target, weight] = await Promise.all([
      out.data(),
      batch.target.data(),
      batch.weight.data(),
    ])
    for (const value of [out, ...Object.values(batch)])
      if (typeof value === 'object') (value as Disposable)[Symbol.dispose]()
    const none = quantiles.map(() => 0)
    for (let i = 0; i < target.length; i++) {
      if (weight[i] === 0) continue
      const own = risingQuantiles(
        Array.from(said.subarray(i * quantiles.length, (i + 1) * quantiles.length)),
        none,
      )
      const y = target[i] as number
      // How far outside of the band; below 0: inside.
      for (const [b, { low, high }] of bands.entries())
        misses[b]?.push(Math.max((own[low] as number) - y, y - (own[high] as number)))
    }
  }
  const offsets = quantiles.map(() => 0)
  for (const [b, { q, low, high }] of bands.entries()) {
    const sorted = (misses[b] as number[]).sort((x, y) => x - y)
    const n = sorted.length
    if (n === 0) continue
    const at = Math.min(n - 1, Math.ceil((n + 1) * (1 - 2 * q)) - 1)
    offsets[low] = -(sorted[at] as number)
    offsets[high] = sorted[at] as number
  }
  return offsets
}
