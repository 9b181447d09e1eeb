/** The command line over tables: forecasts, classes, anomalies. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { onCpu } from './helpers.js'
import { run } from './limits.js'

const main = join(dirname(fileURLToPath(import.meta.url)), '../dist/cli/main.js')
const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-cli-tasks-'))
test.after.always(() => rm(folder, { recursive: true, force: true }))

// The commands are what they are on every device; the models have their own tests.
const once = onCpu ? test : test.skip

const cli = (...args: string[]) => run(process.execPath, [main, ...args], { cwd: folder })

async function table(
  name: string,
  head: string,
  rows: readonly (readonly unknown[])[],
): Promise<void> {
  await writeFile(join(folder, name), `${[head, ...rows.map((row) => row.join(','))].join('\n')}\n`)
}
const month = (i: number): string =>
  `${2015 + Math.floor(i / 12)}-${String((i % 12) + 1).padStart(2, '0')}`

once('forecast: train, predict, evaluate', async (t) => {
  const rows = Array.from({ length: 96 }, (_, i) => [
    month(i),
    (10 + 3 * Math.sin(i / 1.91)).toFixed(3),
    i,
  ])
  await table('sales.csv', 'month,sales,other', rows)
  const trained = await cli(
    'train',
    'sales.csv',
    '--task',
    'forecast',
    '--target',
    'sales',
    '--horizon',
    '6',
    '--hidden',
    '8',
    '--epochs',
    '2',
    '--out',
    'm',
  )
  t.is(trained.stderr, '')
  t.regex(
    trained.stdout,
    /96 rows of 1 series: sales\nwindow +36 rows, season of 12; predicts 6\nmodel +m\n/,
  )
  const csv = await cli('predict', 'm', 'sales.csv', '--level', '80', '--plot', 'f.svg')
  t.regex(csv.stdout, /^time,median,lower_80,upper_80\n2023-01-01,[\d.]+,[\d.]+,[\d.]+\n/)
  t.is(csv.stdout.split('\n').length, 8)
  t.regex(await readFile(join(folder, 'f.svg'), 'utf8'), /^<svg /)
  const json = await cli('predict', 'm', 'sales.csv', '--json', '--horizon', '2')
  t.is(JSON.parse(json.stdout)[0].sales.median.length, 2)
  const told = await cli('evaluate', 'm', 'sales.csv', '--windows', '1', '--json')
  const { metrics, naive, retrained } = JSON.parse(told.stdout)
  t.true(metrics.mase > 0 && naive.mase >= 0 && retrained, told.stderr)
  const far = await cli('predict', 'm', 'sales.csv', '--horizon', '9')
  t.is(far.code, 1)
  t.is(
    far.stderr,
    'fused-rnn: --horizon: expected at most 6, which was learnt (--recursive goes on from its own median), got 9\n',
  )
  const wide = await cli('predict', 'm', 'sales.csv', '--level', '99')
  t.regex(wide.stderr, /^fused-rnn: --level: expected at most 80, .*got 99\n$/)
  await table('narrow.csv', 'month,price', [['2023-01', 1]])
  t.is(
    (await cli('predict', 'm', 'narrow.csv')).stderr,
    "fused-rnn: narrow.csv: expected the column 'sales', which the model has learnt, got month, price\n",
  )
  t.is(
    (await cli('predict', 'm', 'sales.csv', '--out', 'nowhere/f.csv')).stderr,
    "fused-rnn: cannot write 'nowhere/f.csv': no such file or folder\n",
  )
  t.is(
    (await cli('detect', 'm', 'sales.csv')).stderr,
    "fused-rnn: detect: 'm' holds a model for `fused-rnn predict` (Forecaster)\n",
  )
  const holes = rows.filter((_, i) => i !== 7).map((row, i) => (i === 20 ? [row[0], '', 1] : row))
  await table('holes.csv', 'month,sales,other', holes)
  const args = ['--target', 'sales', '--horizon', '6', '--epochs', '1', '--out', 'h']
  t.regex(
    (await cli('train', 'holes.csv', '--task', 'forecast', ...args)).stdout,
    /^learnt +96 rows of 1 series: sales, 2 without a value\n/,
  )
})

once('classify and detect', async (t) => {
  const texts = Array.from({ length: 12 }, (_, i) => [
    i % 2 ? 'see you at noon' : 'win a prize',
    i % 2 ? 'ham' : 'spam',
  ])
  await table('mails.csv', 'body,kind', texts)
  const trained = await cli(
    'train',
    'mails.csv',
    '--task',
    'classify',
    '--label',
    'kind',
    '--hidden',
    '8',
    '--epochs',
    '20',
    '--lr',
    '0.05',
    '--out',
    'c',
  )
  t.regex(trained.stdout, /12 texts of ham, spam/, trained.stderr)
  t.regex(
    (await cli('classify', 'c', 'mails.csv')).stdout,
    /^row,label,score\n1,spam,[\d.]+\n2,ham,/,
  )
  t.regex(
    (await cli('evaluate', 'c', 'mails.csv')).stdout,
    /^accuracy {2}1\.0000\nF1 {8}1\.0000\n\n {6}ham {2}spam\n/,
  )
  const wrong = async (file: string, head: string, row: string[], message: string) => {
    await table(file, head, [['see you', 'ham'].slice(0, row.length), row])
    const command = row.length === 1 ? 'classify' : 'evaluate'
    t.is((await cli(command, 'c', file)).stderr, `fused-rnn: ${message}\n`)
  }
  await wrong(
    'unknown.csv',
    'body',
    ['xyzzy'],
    "unknown.csv, row 2 (line 3), column 'body': expected at least one token of the vocabulary, got only unknown ones, such as 'xyzzy'",
  )
  await wrong(
    'other.csv',
    'body,kind',
    ['see you', 'maybe'],
    "other.csv, row 2 (line 3), column 'kind': expected one of ham, spam, got maybe",
  )
  await wrong(
    'nan.csv',
    'body,kind',
    ['see you', 'NaN'],
    "nan.csv, row 2 (line 3), column 'kind': expected a label, got 'NaN', which says that there is none",
  )
  const sensors = Array.from({ length: 120 }, (_, i) => [
    Math.sin(i / 2),
    i === 100 ? 50 : Math.cos(i / 2),
  ])
  await table('sensors.csv', 'a,b', sensors)
  const normal = await cli(
    'train',
    'sensors.csv',
    '--task',
    'detect',
    '--hidden',
    '4',
    '--epochs',
    '2',
    '--valid-ratio',
    '0.3',
    '--out',
    'd',
    '--json',
  )
  t.is(JSON.parse(normal.stdout).task, 'detect', normal.stderr)
  const found = await cli('detect', 'd', 'sensors.csv', '--threshold', '20')
  t.regex(found.stdout, /^from,to,rows,score,column\n101,101,1,\d+(\.\d+)?,b\n$/)
})

once('mistakes are told in a line', async (t) => {
  await table('t.csv', 'date,x\n2026-01-01,1\n2026-01-01,2', [])
  const no = async (args: string[], message: RegExp): Promise<void> => {
    const { code, stderr } = await cli(...args)
    t.is(code, 1)
    t.regex(stderr, /^fused-rnn: .*\n$/)
    t.regex(stderr, message)
  }
  await no(
    ['train', 't.csv', '--task', 'forecast', '--horizon', '2', '--out', 'x'],
    /row 2 \(line 3\), column 'date'.*same time again/,
  )
  await no(['train', 't.csv', '--task', 'forecast', '--out', 'x'], /needs --horizon/)
  await no(
    ['train', 't.csv', '--task', 'forecast', '--horizon', '2', '--target', 'y', '--out', 'x'],
    /--target: expected a column of t\.csv \(date, x\), got 'y'/,
  )
  await no(['train', 't.csv', '--task', 'detect', '--time', 'y', '--out', 'x'], /--time: expected/)
  await no(['train', 't.csv', '--horizon', '2'], /--horizon belongs to --task/)
  await no(['train', 't.csv', '--task', 'detect', '--steps', '5'], /--steps has no meaning/)
  await no(['predict', 'nothing', 't.csv'], /there is no folder 'nothing'/)
})
