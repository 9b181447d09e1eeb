/**
 * Forecasts of three measured series beside seasonal naive: `node dist-bench/tasks/forecast.js FOLDER
 * [SEEDS]`. FOLDER has co2-weekly.csv, elnino-monthly.csv and sunspots-yearly.csv (statsmodels' copies
 * of public data). The last 8, 10 and 5 horizons are predicted, one after the other, by a model that has
 * learnt from what comes before all of them; errors are scaled by seasonal naive's in that part.
 */
import { join } from 'node:path'
import { data, manualSeed, metrics, models, setNumThreads } from 'fused-rnn'

const [folder, seeds = '3'] = process.argv.slice(2)
if (folder === undefined) throw new Error('usage: node dist-bench/tasks/forecast.js FOLDER [SEEDS]')
setNumThreads(1)

/** CO₂ by month: the mean of the weeks that have a value. */
function byMonth(series: data.Series, column: string): data.Series {
  const months = new Map<number, number[]>()
  series.column(column).forEach((x, i) => {
    const date = new Date(series.timeAt(i) as number)
    const key = Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), 1)
    const list = months.get(key) ?? []
    if (!Number.isNaN(x)) list.push(x)
    months.set(key, list)
  })
  const mean = (list: number[]): number => list.reduce((a, b) => a + b, 0) / list.length
  const values = [...months.values()].map((list) => (list.length === 0 ? Number.NaN : mean(list)))
  return new data.Series({ [column]: values }, { time: [...months.keys()] })
}

const load = async (name: string): Promise<data.Series> =>
  (await data.loadCSV(join(folder, name)))[0] as data.Series

const tasks = [
  {
    name: 'CO₂',
    bar: 0.5,
    windows: 8,
    horizon: 12,
    series: byMonth(await load('co2-weekly.csv'), 'co2'),
  },
  {
    name: 'El Niño',
    bar: 0.71,
    windows: 10,
    horizon: 12,
    series: await load('elnino-monthly.csv'),
  },
  {
    name: 'sunspots',
    bar: 1.25,
    windows: 5,
    horizon: 11,
    seasonLength: 11,
    series: await load('sunspots-yearly.csv'),
  },
]

for (const { name, bar, series, windows, ...options } of tasks) {
  const rows: string[] = []
  const all: number[] = []
  for (let seed = 1; seed <= Number(seeds); seed++) {
    manualSeed(seed)
    const model = new models.Forecaster(options)
    const before = process.cpuUsage()
    const history = series.slice(0, series.length - windows * options.horizon)
    const { epoch } = await model.fit(history, { seed, progressBar: false })
    const { metrics: scores, forecasts, retrained } = await model.backtest(series, { windows })
    const past = history.column(history.columns[0] as string).filter((x) => !Number.isNaN(x))
    const season = model.state?.seasonLength ?? 1
    const scaled = (said: (one: (typeof forecasts)[number]) => number[]): number =>
      forecasts.reduce((sum, one) => sum + metrics.mase(said(one), one.actual, past, season), 0) /
      forecasts.length
    const [mase, naive] = [scaled((one) => one.forecast.median), scaled((one) => one.naive)]
    const { user, system } = process.cpuUsage(before)
    if (retrained) throw new Error('the model knows what it predicts')
    all.push(mase)
    rows.push(
      `  seed ${seed}: MASE ${mase.toFixed(3)}, naive ${naive.toFixed(3)}, ${scores.level} % band covers ${scores.coverage.toFixed(3)}, ${epoch} epochs, ${((user + system) / 1e6).toFixed(1)} s`,
    )
  }
  const mean = all.reduce((a, b) => a + b, 0) / all.length
  console.log(
    `${name}: MASE ${mean.toFixed(3)} (bar ${bar}), ${windows} windows\n${rows.join('\n')}`,
  )
}
