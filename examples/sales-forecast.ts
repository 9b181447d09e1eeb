/**
 * Sales by day, and what comes next: a forecast with bands as a table and a picture, and how good it
 * would have been on the last weeks, beside the same day a week before.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { data, models } from 'fused-rnn'
import { count, fail, options, orFail, randomNumbers, untilInterrupted } from './common.js'

const given = options<{ time?: string; target?: string; horizon: number; out: string }>(
  'Forecasts sales, or any other series, out of a table.',
  { epochs: 40, corpus: 'a CSV file with a column of times and one of numbers' },
  (command) =>
    command
      .option('--time <column>', 'when each row is (default: one called date, day, month …)')
      .option('--target <column>', 'what to forecast (default: the only column of numbers)')
      .option('--horizon <rows>', 'how many rows to forecast', count, 28)
      .option('--out <folder>', 'for forecast.csv, forecast.svg and the model', 'sales-forecast'),
)

/** Three years of a shop: weekends, summers and a little more each year. */
function madeUp(): data.Series {
  const next = randomNumbers(given.seed)
  const days = Array.from({ length: 3 * 365 }, (_, i) => Date.UTC(2023, 0, 1 + i))
  const sales = days.map((day, i) => {
    const week = [0.4, 0.9, 0.95, 1, 1.1, 1.5, 1.3][new Date(day).getUTCDay()] as number
    const year = 1 + 0.25 * Math.sin((2 * Math.PI * (i - 80)) / 365)
    return Math.round(100 * (1 + i / 2000) * week * year * (0.9 + 0.2 * next()))
  })
  return new data.Series({ sales }, { time: days })
}

/** The series of the table, looked at before anything is learnt from it. */
async function load(path: string): Promise<data.Series> {
  const { time, target } = given
  const [series, ...more] = await orFail(
    data.loadCSV(path, { ...(time && { time }), ...(target && { columns: [target] }) }),
  )
  if (series === undefined || more.length > 0) return fail(`${path}: expected one series`)
  if (series.columns.length > 1)
    return fail(`--target: name one of the columns ${series.columns.join(', ')}`)
  return series
}

const series = given.data === undefined ? madeUp() : await load(given.data)
const [column] = series.columns as [string]
const values = [...series.column(column)].filter((x) => !Number.isNaN(x))
const day = (row: number): string => {
  const time = series.timeAt(row)
  return time === null ? `row ${row + 1}` : new Date(time).toISOString().slice(0, 10)
}
console.log(
  `${column}: ${series.length} rows, ${day(0)} to ${day(series.length - 1)}, ` +
    `${Math.min(...values)} to ${Math.max(...values)}, ${series.length - values.length} missing`,
)
if (new Set(values).size < 2) fail(`column '${column}' has the same value in every row`)
const least = 8 * given.horizon
if (series.length < least)
  fail(`${series.length} rows are too few for --horizon ${given.horizon}: at least ${least}`)

await orFail(mkdir(given.out, { recursive: true }))
const { seed, epochs: maxEpochs } = given
const signal = untilInterrupted()
const model = new models.Forecaster({ horizon: given.horizon, targets: [column] })
await orFail(model.fit(series, { seed, maxEpochs, signal }))

// The model has seen the last weeks: a new one learns from what comes before them.
const { metrics, naive } = await orFail(model.backtest(series, { windows: 3, seed, maxEpochs }))
console.log(
  `error (MAE)  ${metrics.mae.toFixed(2)}, of the same as a season ago ${naive.mae.toFixed(2)}`,
)
console.log(`the ${metrics.level} % band held ${(100 * metrics.coverage).toFixed(0)} % of the rows`)
if (metrics.mae >= naive.mae) console.log('The season before is as good: use that.')

const forecast = await model.predict(series)
await writeFile(join(given.out, 'forecast.csv'), forecast.toCSV())
await forecast.writeSVG(join(given.out, 'forecast.svg'), { title: column })
await model.save(join(given.out, 'model'))
console.log(`forecast.csv, forecast.svg and model are in ${given.out}`)
