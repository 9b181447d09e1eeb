/** data.Series, loadCSV, SeriesWindows and ExampleBatches: what they hold, and each error with its place. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { data } from 'fused-rnn'
import { rejectsWith, throwsWith } from './helpers.js'

const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-series-'))
test.after.always(() => rm(folder, { recursive: true, force: true }))

let files = 0
async function file(text: string): Promise<string> {
  const path = join(folder, `${files++}.csv`)
  await writeFile(path, text)
  return path
}

test('a series fills the gaps of its grid', (t) => {
  const days = new data.Series(
    { sales: [1, 2, 4], price: [5, null, 7] },
    { time: ['2026-01-01', '2026-01-02', '2026-01-04'] },
  )
  t.deepEqual(days.frequency, { unit: 'ms', step: 86_400_000 })
  t.deepEqual([...days.column('sales')], [1, 2, Number.NaN, 4])
  t.deepEqual([...days.column('price')], [5, Number.NaN, Number.NaN, 7])
  t.is(days.timeAt(5), Date.UTC(2026, 0, 6))
  const months = new data.Series([1, 2, 3], { time: ['2026-01-31', '2026-02-28', '2026-04-30'] })
  t.deepEqual(months.frequency, { unit: 'month', step: 1 })
  t.deepEqual([...months.column('value')], [1, 2, Number.NaN, 3])
  t.is(months.timeAt(4), Date.UTC(2026, 4, 31))
  t.is(months.timeAt(12), Date.UTC(2027, 0, 31))
  const part = months.slice(1, 3)
  t.deepEqual([...part.column('value')], [2, Number.NaN])
  t.is(part.timeAt(2), Date.UTC(2026, 3, 30))
  const years = new data.Series([1, 2], { time: ['1700', '1701'] })
  t.deepEqual(years.frequency, { unit: 'month', step: 12 })
  const odd = new data.Series([1, 2, 3], { time: [0, 1000, 1700] })
  t.is(odd.frequency, null)
  t.is(odd.length, 3)
})

test('loadCSV: quotes, separators, missing values, several series', async (t) => {
  const path = await file(
    '\uFEFFdate;shop;"sales; all"\n2026-01-01;a;1,5\n2026-01-02;a;NA\n2026-01-01;"b ""x""";3\n2026-01-03;a;4\n',
  )
  const [a, b, ...more] = await data.loadCSV(path, { id: 'shop' })
  t.is(more.length, 0)
  t.is(a?.id, 'a')
  t.is(b?.id, 'b "x"')
  t.deepEqual(a?.columns, ['sales; all'])
  t.deepEqual([...(a?.column('sales; all') ?? [])], [1.5, Number.NaN, 4])
  const [plain] = await data.loadCSV(await file('x\ty\n1\ta\n\tb\n3\tc\n'))
  t.deepEqual(plain?.columns, ['x'])
  t.is(plain?.time, null)
  t.deepEqual([...(plain?.column('x') ?? [])], [1, Number.NaN, 3])
  const hours = await data.loadCSV(
    await file('time,x\n2026-01-01T00:00+01:00,1\n2026-01-01 00:00Z,2'),
  )
  t.is(hours[0]?.timeAt(0), Date.UTC(2025, 11, 31, 23))
})

test('loadCSV: every error names file, row, line and column', async (t) => {
  const cases: [text: string, options: data.LoadCSVOptions, message: RegExp][] = [
    [
      'date,x\n2026-01-01,1\n2026-01-02,zwei\n2026-01-03,3\n',
      {},
      /row 2 \(line 3\), column 'x'.*'zwei'/,
    ],
    ['date,x\n01.02.2026,1\n', {}, /row 1 \(line 2\), column 'date'.*ISO 8601/],
    ['date,x\n2026-01-02,1\n2026-01-01,2\n', {}, /row 2 \(line 3\), column 'date'.*earlier/],
    [
      'date,x\n2026-01-02,1\n2026-01-02,2\n',
      {},
      /row 2 \(line 3\), column 'date'.*same time again/,
    ],
    ['date,x\n2026-02-30,1\n', {}, /row 1 .*'2026-02-30'/],
    ['a,b\n1,2\n3\n', {}, /row 2 \(line 3\): expected 2 values.*got 1/],
    ['a,b\n1,"2\n', {}, /comma-separated values.*line 2/i],
    ['a,a\n1,2\n', {}, /column 2: expected distinct names/],
    ['a,b\n', {}, /at least one row/],
    ['', {}, /names of columns/],
    ['a,b\nx,y\n', {}, /a column of numbers/],
    ['a,b\n1,2\n', { columns: ['c'] }, /columns: expected a column of .* \(a, b\), got 'c'/],
    ['a,b\n1,2\n', { id: 'c' }, /id: expected a column/],
    ['a,b\n1,2\n', { time: 'c' }, /time: expected a column/],
  ]
  for (const [text, options, message] of cases)
    await rejectsWith(t, data.loadCSV(await file(text), options), RangeError, message)
  await t.throwsAsync(data.loadCSV(join(folder, 'none.csv')), {
    message: /cannot read .*no such file/,
  })
  await rejectsWith(t, data.loadCSV('x', { separator: '--' }), RangeError, /one character/)
})

test('windows: values, masks, scales', async (t) => {
  const windows = new data.SeriesWindows([1, 2, Number.NaN, 4, 6], {
    inputSize: 3,
    horizon: 1,
    batchSize: 8,
    shuffle: false,
    scaler: 'window',
  })
  t.is(windows.count, 2)
  const [batch] = [...windows.batches(0)] as [data.WindowBatch]
  t.deepEqual(batch.input.shape, [2, 3, 2])
  t.deepEqual([...(await batch.input.data())], [-1, 1, 1, 1, 0, 0, -1, 1, 0, 0, 1, 1])
  t.deepEqual([...(await batch.target.data())], [5, 3])
  t.deepEqual([...(await batch.center.data())], [1.5, 3])
  t.deepEqual([...(await batch.scale.data())], [0.5, 1])
  t.is(batch.count, 2)
})

test('windows: an order for each epoch, which can be gone on with', async (t) => {
  const numbers = Array.from({ length: 40 }, (_, i) => i)
  const options = { inputSize: 2, horizon: 1, batchSize: 10, seed: 3 }
  const of = async (batches: Iterable<data.WindowBatch>): Promise<number[][]> => {
    const all: number[][] = []
    for (const { target } of batches) all.push([...(await target.data())])
    return all
  }
  const windows = new data.SeriesWindows(numbers, options)
  const epoch = await of(windows.batches(1))
  t.notDeepEqual(epoch, await of(windows.batches(0)))
  t.deepEqual(epoch.slice(2), await of(windows.batches(1, 2)))
  t.deepEqual(
    epoch.flat().sort((a, b) => a - b),
    numbers.slice(2),
  )
  const again = new data.SeriesWindows(numbers, options)
  again.restore({ ...windows.state(), epoch: 1, position: 2 })
  t.deepEqual(epoch.slice(2), await of(again))
  // What two processes get of it is the whole.
  const parts = await Promise.all(
    [0, 1].map((rank) => of(windows.ofPart({ rank, size: 2 }).batches(1))),
  )
  t.deepEqual(
    epoch,
    epoch.map((_, i) => [...(parts[0]?.[i] ?? []), ...(parts[1]?.[i] ?? [])]),
  )
})

test('examples: padded, about equally long ones together', async (t) => {
  const examples = Array.from({ length: 20 }, (_, i) => ({
    input: Array.from({ length: (i % 5) + 1 }, () => i + 1),
    target: i,
  }))
  const batches = new data.ExampleBatches(examples, { batchSize: 4, seed: 1 })
  t.is(batches.largestToken, 20)
  const seen: number[] = []
  for (const batch of batches) {
    t.is(new Set(batch.lengths).size, 1)
    seen.push(...((await batch.target?.data()) ?? []))
    t.deepEqual(batch.input.shape, [4, batch.lengths[0] as number])
  }
  t.deepEqual(
    seen.sort((a, b) => a - b),
    examples.map(({ target }) => target),
  )
  const rows = new data.ExampleBatches(
    [
      { input: [[1, 2]], target: [1, 2] },
      {
        input: [
          [3, 4],
          [5, 6],
        ],
        target: [3],
      },
    ],
    { shuffle: false },
  )
  const [batch] = [...rows] as [data.ExampleBatch]
  t.deepEqual([...(await batch.input.data())], [1, 2, 0, 0, 3, 4, 5, 6])
  t.deepEqual([...((await batch.target?.data()) ?? [])], [1, 2, 3, -100])
  t.deepEqual(batch.targetLengths, [2, 1])
})

test('errors of series, windows and examples', (t) => {
  const of = (f: () => unknown, message: RegExp, kind: typeof RangeError = RangeError): void =>
    throwsWith(t, f, kind, message)
  of(() => new data.Series([1, Infinity]), /value\[1\].*finite/)
  of(() => new data.Series({ a: [1], b: [1, 2] }), /b: expected 1 values/)
  of(() => new data.Series({}), /at least one column/)
  of(() => new data.Series([1, 2], { time: ['2026-01-02', '2026-01-01'] }), /time\[1\].*earlier/)
  of(() => new data.Series([1], { time: ['soon'] }), /time\[0\].*ISO 8601/)
  of(() => new data.Series(['1'] as never), /value\[0\]/, TypeError)
  of(() => new data.Series([1]).column('x'), /one of value/)
  const windows =
    (series: data.SeriesData, options = {}) =>
    () =>
      new data.SeriesWindows(series, { inputSize: 3, horizon: 2, ...options })
  of(windows([1, 2, 3, 4]), /at least 5 rows.*got 4 rows/)
  of(windows([1, 2, 3, 4, 5], { targets: ['y'] }), /a column 'y'/)
  of(windows([1, 2, Number.NaN, 4, 5], { missing: 'error' }), /row 3, column 'value'.*missing/)
  of(windows([[1, 2], [3]]), /series\[1\]: expected the columns of the first row/)
  of(windows([1, 2, 3, 4, 5], { horizons: 1 }), /one of inputSize/, TypeError)
  of(windows([1, 2, 3, 4, 5], { horizon: 0 }), /horizon/)
  const examples = (list: unknown[]) => () => new data.ExampleBatches(list as data.Example[])
  of(examples([]), /at least one example/)
  of(examples([{ input: [] }]), /examples\[0\].input: expected at least one step/)
  of(
    examples([{ input: [[1, 2]] }, { input: [[1]] }]),
    /examples\[1\].input\[0\]: expected 2 numbers/,
  )
  of(examples([{ input: [[Number.NaN]] }]), /examples\[0\].input\[0\]\[0\].*finite/)
  of(examples([{ input: [1], target: 0 }, { input: [1] }]), /examples\[1\].target/, TypeError)
})
