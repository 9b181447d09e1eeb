/** models.Forecaster: it learns, saves the same bits, streams the same bits, and says what is wrong. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { data, manualSeed, metrics, models, onnx } from 'fused-rnn'
import { rejectsWith, throwsWith } from './helpers.js'

const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-forecaster-'))
test.after.always(() => rm(folder, { recursive: true, force: true }))

const wave = (n: number, from = 0): number[] =>
  Array.from(
    { length: n },
    (_, i) => 10 + 3 * Math.sin(((i + from) * Math.PI) / 3) + 0.02 * (i + from),
  )
const time = (n: number): string[] =>
  Array.from({ length: n }, (_, i) => new Date(Date.UTC(2020, i, 1)).toISOString())
const small = { horizon: 3, hiddenSize: 8 }
const quick = { progressBar: false, maxEpochs: 2, seed: 1 }

async function fitted(options: Partial<models.ForecasterOptions> = {}): Promise<models.Forecaster> {
  manualSeed(1)
  const model = new models.Forecaster({ ...small, ...options })
  await model.fit(wave(80), quick)
  return model
}

test('numbers in, median and band out: better than the last season', async (t) => {
  manualSeed(1)
  const model = new models.Forecaster({ ...small, inputSize: 12 })
  const history = wave(120)
  const { history: curves } = await model.fit(history, {
    progressBar: false,
    maxEpochs: 40,
    lr: 0.01,
    seed: 1,
  })
  t.true(curves.records.length > 0)
  t.is(model.state?.seasonLength, 6)
  const forecast = await model.predict(history)
  const actual = wave(3, 120)
  t.true(metrics.mase(forecast.median, actual, history, 6) < 6, forecast.median.join())
  for (const [i, m] of forecast.median.entries()) {
    t.true((forecast.lower(80)[i] as number) <= m && m <= (forecast.upper(80)[i] as number))
    t.is(forecast.quantile(0.5)[i], m)
  }
  t.is(forecast.time, null)
  t.regex(forecast.toCSV(), /^step,median,lower_80,upper_80\n1,[\d.]+,[\d.]+,[\d.]+\n2,/)
})

test('saved, loaded, cloned and streamed: the same bits', async (t) => {
  const model = await fitted()
  const expected = (await model.predict(wave(80))).toCSV()
  const path = join(folder, 'model')
  await model.save(path)
  const loaded = await models.Forecaster.load(path)
  t.deepEqual(loaded.state, model.state)
  t.is((await loaded.predict(wave(80))).toCSV(), expected)
  t.is((await model.clone().predict(wave(80))).toCSV(), expected)
  const stream = model.stream(wave(70))
  for (const x of wave(9, 70)) await stream.push(x)
  const other = model.stream(stream.state())
  t.is((await other.push(wave(1, 79)[0] as number))?.toCSV(), expected)
  t.is(await model.stream().push(1), null)
  await t.throwsAsync(models.LanguageModel.load(path), {
    message: /does not describe a LanguageModel.*but a Forecaster/,
  })
})

test('times, other columns, what is known of the future, missing values', async (t) => {
  const sales = wave(60).map((x, i) => (i % 10 === 4 ? Number.NaN : x))
  const price = wave(60, 7)
  const series = new data.Series({ sales, price, staff: price }, { time: time(60) })
  manualSeed(1)
  const model = new models.Forecaster({
    ...small,
    inputSize: 6,
    futrExog: ['price'],
    histExog: ['staff'],
  })
  await model.fit(series, quick)
  t.deepEqual(model.state?.spec.targets, ['sales'])
  t.deepEqual(model.state?.spec.calendar, ['month'])
  const futrExog = { price: [1, 2, 3] }
  const forecast = await model.predict(series, { futrExog, level: 50 })
  t.deepEqual(forecast.time, ['2025-01-01', '2025-02-01', '2025-03-01'])
  t.regex(forecast.toCSV(), /^time,median,lower_50,upper_50\n2025-01-01,/)
  t.notDeepEqual(
    (await model.predict(series, { futrExog: { price: [3, 2, 1] } })).median,
    forecast.median,
  )
  const file = join(folder, 'forecast.svg')
  await forecast.writeSVG(file, { actual: [10, 11, 12] })
  t.regex(await readFile(file, 'utf8'), /^<svg .*2025.*<path .*<\/svg>\n$/s)
  const { forecasts } = await model.backtest(series, { windows: 2, maxEpochs: 1 })
  t.is(forecasts.length, 2)
  await rejectsWith(
    t,
    model.predict(series),
    RangeError,
    /futrExog: expected 'price' of the 3 rows/,
  )
})

test('several series, several targets', async (t) => {
  const two = ['a', 'b'].map((id, k) => new data.Series({ x: wave(50, k), y: wave(50, 3) }, { id }))
  manualSeed(1)
  const model = new models.Forecaster({
    ...small,
    inputSize: 6,
    missing: 'interpolate',
    scaler: 'robust',
  })
  await model.fit(two, quick)
  const forecasts = await model.predict(two)
  t.deepEqual(
    forecasts.map(({ id }) => id),
    ['a', 'b'],
  )
  t.not(forecasts[0]?.column('y').median, forecasts[0]?.median)
  t.regex(forecasts[1]?.toCSV() ?? '', /^step,id,x_median,x_lower_80,x_upper_80,y_median.*\n1,b,/)
})

test('backtest trains anew where the model knows what is to be predicted', async (t) => {
  const model = await fitted()
  const result = await model.backtest(wave(80), { windows: 2, maxEpochs: 1, seed: 1 })
  t.true(result.retrained)
  t.is(result.metrics.level, 80)
  t.true(result.metrics.mase > 0 && result.naive.mase > 0)
  const later = await model.backtest(wave(90), { windows: 2 })
  t.false(later.retrained)
  t.deepEqual(later.forecasts[1]?.actual, wave(90).slice(87))
  t.deepEqual(later.forecasts[1]?.naive, wave(90).slice(81, 84))
})

test('beyond the horizon only where that is asked for', async (t) => {
  const model = await fitted()
  await rejectsWith(
    t,
    model.predict(wave(80), { horizon: 4 }),
    RangeError,
    /at most 3.*recursive: true/,
  )
  const { median } = await model.predict(wave(80), { horizon: 7, recursive: true })
  t.is(median.length, 7)
  t.deepEqual(median.slice(0, 3), (await model.predict(wave(80))).median)
  t.is((await model.predict(wave(80), { horizon: 2 })).median.length, 2)
})

test('the network as ONNX, and the loss of a batch', async (t) => {
  const model = await fitted()
  t.true((await onnx.serialize(model)).length > 0)
  const [batch] = [...model.windows(wave(30), { batchSize: 4, seed: 1 }).batches(0)] as [
    data.WindowBatch,
  ]
  const { loss } = model.trainingStep(batch)
  const said = await model.forward(batch.input).data()
  const target = await batch.target.data()
  let sum = 0
  said.forEach((p, i) => {
    const q = [0.1, 0.5, 0.9][i % 3] as number
    const e = (target[Math.floor(i / 3)] as number) - p
    sum += Math.max(q * e, (q - 1) * e)
  })
  t.true(Math.abs((await loss.item()) - sum / said.length) < 1e-5)
})

test('errors say what is wrong with the data', async (t) => {
  const of = (options: object, message: RegExp): void =>
    throwsWith(t, () => new models.Forecaster({ ...small, ...options }), RangeError, message)
  of({ horizon: 0 }, /horizon/)
  of({ quantiles: [0.1, 0.9] }, /\.5, the median/)
  of({ quantiles: [0.5, 0.1] }, /rising/)
  of({ targets: ['a'], futrExog: ['a'] }, /each column once/)
  const learn = (series: data.SeriesData, options = {}): Promise<unknown> =>
    new models.Forecaster({ ...small, ...options }).fit(series, quick)
  await rejectsWith(
    t,
    learn(Array.from({ length: 50 }, () => 3)),
    RangeError,
    /numbers that change, got 3 in every row/,
  )
  await rejectsWith(t, learn([1, 2, 3]), RangeError, /at least \d+ rows/)
  await rejectsWith(t, learn(wave(20), { inputSize: 30 }), RangeError, /at least 33 rows/)
  await rejectsWith(t, learn(wave(50), { targets: ['y'] }), RangeError, /a column 'y'/)
  await rejectsWith(
    t,
    learn([...wave(50), Number.NaN, 1], { missing: 'error' }),
    RangeError,
    /row 51/,
  )
  const model = await fitted()
  await rejectsWith(t, model.predict([1, 2]), RangeError, /at least \d+ rows, as the model reads/)
  await rejectsWith(
    t,
    model.predict(new data.Series({ a: wave(80), b: wave(80) })),
    RangeError,
    /a column 'value'/,
  )
  await rejectsWith(
    t,
    model.predict(new data.Series(wave(80), { time: time(80) })),
    RangeError,
    /no regular times, .*month/,
  )
  await rejectsWith(t, model.predict(wave(80), { level: 95 }), RangeError, /at most 80/)
  const unfitted = new models.Forecaster(small)
  await rejectsWith(t, unfitted.predict(wave(80)), TypeError, /call fit first/)
  await rejectsWith(t, unfitted.save(join(folder, 'none')), TypeError, /call fit first/)
  const forecast = await model.predict(wave(80))
  throwsWith(t, () => forecast.lower(95), RangeError, /at most 80/)
  throwsWith(t, () => forecast.quantile(0.95), RangeError, /were learnt/)
  throwsWith(t, () => model.stream().push('1' as never), TypeError, /a number/)
  throwsWith(t, () => model.stream(new Uint8Array(3)), RangeError, /the state of a stream/)
})
