/** `fused-rnn predict`, `classify`, `detect`, and `evaluate` of the models of tasks. */
import { join } from 'node:path'
import { type data, models } from '../index.js'
import { readJson } from '../io/open_file.js'
import { UserError } from './errors.js'
import { useMachine } from './model.js'
import {
  csvField,
  fixed,
  loadOnly,
  put,
  seriesIn,
  type TableOptions,
  type TaskOf,
  tableOf,
  textsIn,
  type UseOptions,
} from './task_options.js'

/** The options, completed by how the table was read that was learnt from. */
async function completed(folder: string, options: UseOptions): Promise<UseOptions> {
  const learnt = (await readJson(join(folder, 'table.json'), { limit: 2 ** 20 }).catch(
    () => ({}),
  )) as TableOptions
  return {
    ...learnt,
    ...options,
    ...(options.horizon === undefined && { horizon: undefined as never }),
  }
}

/** `predict`: forecasts as CSV or JSON, or the classes of texts. */
export async function predict(folder: string, file: string, given: UseOptions): Promise<void> {
  useMachine(given)
  const model = await loadOnly<models.Forecaster | models.SequenceClassifier>(
    folder,
    [models.Forecaster, models.SequenceClassifier],
    'predict',
  )
  const options = await completed(folder, given)
  if (model instanceof models.SequenceClassifier) return classifyWith(model, file, options)
  const table = await tableOf(file, options)
  const { spec } = model.state as models.ForecasterState
  let series = seriesIn(table, options, [...spec.targets, ...spec.histExog, ...spec.futrExog])
  const futrExog: Record<string, Float64Array> = {}
  if (spec.futrExog.length > 0) {
    // Rows without a target, at the end, say what is known of the future.
    const [first, ...more] = series as [data.Series, ...data.Series[]]
    if (more.length > 0)
      throw new UserError('predict: one series at a time, where columns of the future are known')
    const last = lastRow(first, spec.targets)
    for (const name of spec.futrExog) futrExog[name] = first.column(name).slice(last)
    series = [first.slice(0, last)]
  }
  if (given.horizon !== undefined && given.horizon > spec.horizon && !given.recursive)
    throw new UserError(
      `--horizon: expected at most ${spec.horizon}, which was learnt (--recursive goes on from its own median), got ${given.horizon}`,
    )
  const forecasts = await model
    .predict(series, {
      ...(spec.futrExog.length > 0 && { futrExog }),
      ...(options.level && { level: options.level }),
      ...(given.horizon !== undefined && { horizon: given.horizon }),
      ...(given.recursive && { recursive: true }),
    })
    .catch((error: Error) => {
      const [, rest] = /^\[[\w.]+\] level(?:\[\d+\])?(:.*)$/s.exec(error.message) ?? []
      throw rest === undefined ? error : new UserError(`--level${rest}`)
    })
  if (given.plot !== undefined) await (forecasts[0] as models.Forecast).writeSVG(given.plot)
  if (given.json) {
    const levels =
      options.level ??
      model.config.quantiles.filter((q) => q < 0.5).map((q) => Math.round((1 - 2 * q) * 1e4) / 100)
    const plain = forecasts.map((one) => ({
      id: one.id,
      time: one.time,
      ...Object.fromEntries(
        one.targets.map((name) => {
          const own = one.column(name)
          const bands = levels.flatMap((level) => [
            [`lower_${level}`, own.lower(level)],
            [`upper_${level}`, own.upper(level)],
          ])
          return [name, { median: own.median, ...Object.fromEntries(bands) }]
        }),
      ),
    }))
    return put(given.out, `${JSON.stringify(plain)}\n`)
  }
  const [first, ...rest] = forecasts.map((one) => one.toCSV()) as [string, ...string[]]
  await put(given.out, first + rest.map((csv) => csv.slice(csv.indexOf('\n') + 1)).join(''))
}

/** Behind the last row with a target. */
function lastRow(series: data.Series, targets: readonly string[]): number {
  let last = series.length
  while (last > 0 && targets.every((name) => Number.isNaN(series.column(name)[last - 1]))) last--
  return last
}

/** `classify`. */
export async function classify(folder: string, file: string, given: UseOptions): Promise<void> {
  useMachine(given)
  const model = await loadOnly(folder, [models.SequenceClassifier], 'classify')
  await classifyWith(model, file, await completed(folder, given))
}

async function classifyWith(
  model: models.SequenceClassifier,
  file: string,
  options: UseOptions,
): Promise<void> {
  const { examples, placed } = textsIn(await tableOf(file, options), options, false)
  const results = await placed(model.predict(examples.map(({ input }) => input)))
  if (options.json) return put(options.out, `${JSON.stringify(results)}\n`)
  const rows = results.map(
    ({ label, score }, i) => `${i + 1},${csvField(String(label))},${score.toFixed(4)}`,
  )
  await put(options.out, `${['row,label,score', ...rows].join('\n')}\n`)
}

/** `detect`. */
export async function detect(folder: string, file: string, given: UseOptions): Promise<void> {
  useMachine(given)
  const model = await loadOnly(folder, [models.AnomalyDetector], 'detect')
  const options = await completed(folder, given)
  const { columns } = model.state as models.AnomalyDetectorState
  const all = seriesIn(await tableOf(file, options), options, columns)
  const [series, ...more] = all as [data.Series, ...data.Series[]]
  if (more.length > 0) throw new UserError('detect: one series at a time')
  const { threshold } = given
  const found = await model.detect(series, threshold === undefined ? {} : { threshold })
  const timeOf = (row: number): string => {
    const time = series.timeAt(row)
    return time === null ? String(row + 1) : new Date(time).toISOString().replace('.000Z', 'Z')
  }
  if (given.plot !== undefined) await put(given.plot, anomalyPicture(found))
  const ranges = found.ranges.map(({ start, end, score }) => {
    const top = found.score.indexOf(score, start)
    const most = columns.reduce((a, b) =>
      (found.byColumn[b]?.[top] as number) > (found.byColumn[a]?.[top] as number) ? b : a,
    )
    return { from: timeOf(start), to: timeOf(end - 1), rows: end - start, score, column: most }
  })
  if (given.json)
    return put(
      given.out,
      `${JSON.stringify({ threshold: found.threshold, ranges, rows: found.rows })}\n`,
    )
  const lines = ranges.map(
    ({ from, to, rows, score, column }) =>
      `${from},${to},${rows},${fixed(score)},${csvField(column)}`,
  )
  await put(given.out, `${['from,to,rows,score,column', ...lines].join('\n')}\n`)
}

/** Scores and the threshold. */
function anomalyPicture({ score, threshold }: models.Anomalies): string {
  const [width, height] = [720, 240]
  const top = Math.max(...score, threshold) * 1.05 || 1
  const x = (i: number): number =>
    Math.round((i / Math.max(1, score.length - 1)) * (width - 40) * 10) / 10 + 20
  const y = (value: number): number =>
    Math.round((height - 20 - (value / top) * (height - 40)) * 10) / 10
  const line = score.map((value, i) => `${x(i)},${y(value)}`).join('L')
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">
  <rect width="${width}" height="${height}" fill="#fff"/>
  <path d="M${line}" fill="none" stroke="#1f6fb4" stroke-width="1.4"/>
  <path d="M20,${y(threshold)}H${width - 20}" stroke="#d9622b" stroke-dasharray="6 4"/>
</svg>
`
}

/** `evaluate` of a task's model. */
export async function evaluateTask(
  model: TaskOf,
  folder: string,
  file: string,
  given: UseOptions,
): Promise<void> {
  const options = await completed(folder, given)
  const table = await tableOf(file, options)
  if (model instanceof models.AnomalyDetector)
    throw new UserError('evaluate: an AnomalyDetector is told by its alarms; use detect')
  if (model instanceof models.SequenceClassifier) {
    const { examples, placed } = textsIn(table, options, true)
    const { text, classes, ...result } = await placed(model.evaluate(examples))
    if (given.json) return put(given.out, `${JSON.stringify({ ...result, classes })}\n`)
    return put(
      given.out,
      `accuracy  ${result.accuracy.toFixed(4)}\nF1        ${result.f1.toFixed(4)}\n\n${text}\n(rows: what it is; columns: what it was taken for)\n`,
    )
  }
  const { spec } = model.state as models.ForecasterState
  const columns = [...spec.targets, ...spec.histExog, ...spec.futrExog]
  const result = await model.backtest(seriesIn(table, options, columns), {
    ...(given.windows !== undefined && { windows: given.windows }),
    ...(given.seed !== undefined && { seed: given.seed }),
  })
  const { metrics, naive, retrained, forecasts } = result
  if (given.plot !== undefined) {
    const last = forecasts.at(-1)
    if (last !== undefined) {
      const known = last.actual.every((y) => !Number.isNaN(y))
      await last.forecast.writeSVG(given.plot, known ? { actual: last.actual } : {})
    }
  }
  if (given.json)
    return put(
      given.out,
      `${JSON.stringify({ metrics, naive, retrained, windows: forecasts.length })}\n`,
    )
  const rows = (['mase', 'mae', 'rmse', 'smape'] as const).map(
    (name) =>
      `${name.padEnd(6)} ${fixed(metrics[name]).padStart(10)} ${fixed(naive[name]).padStart(10)}`,
  )
  await put(
    given.out,
    `${['            model      naive', ...rows].join('\n')}\nthe ${fixed(metrics.level)} % band covered ${(100 * metrics.coverage).toFixed(1)} %\n${retrained ? 'a new model learnt from what comes before, as this one knew the rows that were predicted' : 'the model had not seen the rows that were predicted'}\n`,
  )
}
