/** models.AnomalyDetector: it finds what was put in, streams and saves the same bits, errors. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { data, models } from 'fused-rnn'
import { rejectsWith, throwsWith } from './helpers.js'

const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-anomaly-'))
test.after.always(() => rm(folder, { recursive: true, force: true }))

const quick = { progressBar: false, seed: 1, maxEpochs: 15, lr: 0.02 }
/** Two sensors that move together; at row 60 one of them stands still where the other moves. */
const sensors = (n: number, broken = false): data.Series => {
  const a = Array.from({ length: n }, (_, i) => Math.sin(i / 2))
  const b = a.map((x, i) => (broken && i >= 60 && i < 66 ? 6 : 2 * x + 1))
  return new data.Series({ a, b })
}

async function fitted(method: 'autoencoder' | 'forecast'): Promise<models.AnomalyDetector> {
  const model = new models.AnomalyDetector({ method, windowSize: 6, hiddenSize: 8 })
  await model.fit(sensors(200), quick)
  return model
}

for (const method of ['autoencoder', 'forecast'] as const)
  test(`${method}: what was put in is found, saved and streamed`, async (t) => {
    const model = await fitted(method)
    const series = sensors(100, true)
    const { score, byColumn, ranges, rows, threshold } = await model.detect(series)
    t.is(score.length, 100)
    t.true(
      ranges.some(({ start, end }) => start <= 62 && end > 60),
      JSON.stringify(ranges),
    )
    t.true(
      rows.every((row) => row >= 60 && row < 75),
      String(rows),
    )
    t.true(threshold > 0)
    const most = score.indexOf(Math.max(...score))
    t.true((byColumn.b?.[most] as number) > (byColumn.a?.[most] as number))
    await model.save(join(folder, method))
    const loaded = await models.AnomalyDetector.load(join(folder, method))
    t.deepEqual(await loaded.detect(series), await model.detect(series))
    let stream = model.stream()
    for (let i = 0; i < 70; i++) {
      const said: models.AnomalyOfRow = await stream.push([
        series.column('a')[i] as number,
        series.column('b')[i] as number,
      ])
      // Rounding may depend on how many windows are computed together.
      t.true(Math.abs(said.score - (score[i] as number)) <= 1e-4 * (1e-3 + said.score))
      t.is(said.anomaly, rows.includes(i))
      if (i === 30) stream = loaded.stream(stream.state())
    }
  })

test('calibrate puts the threshold where labels say', async (t) => {
  const model = await fitted('autoencoder')
  const series = sensors(100, true)
  const anomaly = Array.from({ length: 100 }, (_, i) => i >= 60 && i < 66)
  const { threshold, f1 } = await model.calibrate({ series, anomaly })
  t.true(f1 > 0.5)
  t.is((await model.detect(series)).threshold, threshold)
  const { rows } = await model.detect(series, { threshold: 1e6 })
  t.deepEqual(rows, [])
})

test('errors', async (t) => {
  const model = await fitted('autoencoder')
  await rejectsWith(t, model.score([[1, 2]]), RangeError, /a column 'a'|at least 6 rows/)
  await rejectsWith(t, model.score(sensors(3)), RangeError, /at least 6 rows/)
  await rejectsWith(
    t,
    model.detect(sensors(3)),
    RangeError,
    /^\[AnomalyDetector.detect\] series: expected at least 6 rows/,
  )
  await rejectsWith(
    t,
    model.score(new data.Series({ a: [1, 2, 3, 4, 5, 6] })),
    RangeError,
    /a column 'b'/,
  )
  await rejectsWith(t, new models.AnomalyDetector().score(sensors(9)), TypeError, /call fit first/)
  await rejectsWith(
    t,
    new models.AnomalyDetector({ columns: ['x'] }).fit(sensors(50), quick),
    RangeError,
    /a column 'x'/,
  )
  await rejectsWith(
    t,
    new models.AnomalyDetector().fit(sensors(5), quick),
    RangeError,
    /more than \d+ rows/,
  )
  const series = sensors(20)
  await rejectsWith(
    t,
    model.calibrate({ series, anomaly: new Array(20).fill(false) }),
    RangeError,
    /no anomaly/,
  )
  throwsWith(t, () => model.stream().push([1]), RangeError, /2 numbers/)
  throwsWith(t, () => model.stream().push({ a: 1, b: Number.NaN }), RangeError, /finite/)
  throwsWith(t, () => model.stream(new Uint8Array(2)), RangeError, /the state of a stream/)
  throwsWith(t, () => new models.AnomalyDetector({ windowSize: 1 }), RangeError, /windowSize/)
  throwsWith(t, () => new models.AnomalyDetector({ threshold: -1 }), RangeError, /threshold/)
})
