/** Examples of tasks: each on small data made in code, on tables of one's own, and on wrong ones. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { models } from 'fused-rnn'
import { long } from './device-tests.js'
import { testDevice } from './helpers.js'
import { type Finished, run as runProgram } from './limits.js'

const programs = fileURLToPath(new URL('../dist-examples/', import.meta.url))

/** Runs an example in a folder of its own; `interrupt`: Ctrl-C as soon as standard error has this. */
function run(cwd: string, name: string, args: string[], interrupt?: RegExp): Promise<Finished> {
  let interrupted = false
  return runProgram(
    process.execPath,
    [join(programs, `${name}.js`), '--device', testDevice, ...args],
    {
      cwd,
      limitSeconds: 600,
      watch: (_, kill, stderr) => {
        if (interrupted || !interrupt?.test(stderr)) return
        interrupted = true
        kill('SIGINT')
      },
    },
  )
}

async function succeed(
  t: ExecutionContext,
  cwd: string,
  name: string,
  ...args: string[]
): Promise<string> {
  const { code, stdout, stderr } = await run(cwd, name, args)
  t.is(code, 0, stderr)
  return stdout
}

async function temporary(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'fused-rnn-tasks-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

/** A program that has to end with one line, before it learns. */
async function refused(
  t: ExecutionContext,
  name: string,
  file: string,
  message: RegExp,
  ...args: string[]
): Promise<void> {
  const cwd = await temporary(t)
  await writeFile(join(cwd, 'data'), file)
  const { code, stderr } = await run(cwd, name, ['--data', 'data', ...args])
  t.is(code, 1, stderr)
  t.regex(stderr, message)
  t.is(stderr.trimEnd().split('\n').length, 1, stderr)
}

const day = (i: number): string => new Date(Date.UTC(2025, 0, 1 + i)).toISOString().slice(0, 10)
const table = (n: number, value: (i: number) => number | string): string =>
  `day,sold\n${Array.from({ length: n }, (_, i) => `${day(i)},${value(i)}`).join('\n')}\n`

long('sales-forecast: what was made up is forecast, better than the week before', async (t) => {
  const cwd = await temporary(t)
  const stdout = await succeed(t, cwd, 'sales-forecast', '--epochs', '15', '--out', 'here')
  t.regex(stdout, /^sales: 1095 rows, 2023-01-01 to 2025-12-30, \d+ to \d+, 0 missing$/m)
  const [, model, naive] =
    /^error \(MAE\) {2}([\d.]+), of the same as a season ago ([\d.]+)$/m.exec(stdout) ?? []
  t.true(Number(model) < 0.9 * Number(naive), stdout)
  t.regex(stdout, /^the 80 % band held \d+ % of the rows$/m)
  const lines = (await readFile(join(cwd, 'here/forecast.csv'), 'utf8')).trimEnd().split('\n')
  t.is(lines.length, 29)
  t.regex(lines[1] as string, /^2025-12-31,[\d.]+,[\d.]+,[\d.]+$/)
  t.regex(await readFile(join(cwd, 'here/forecast.svg'), 'utf8'), /^<svg/)
  t.is((await models.Forecaster.load(join(cwd, 'here/model'))).config.horizon, 28)
})

long('sales-forecast: a table of one’s own, with gaps', async (t) => {
  const cwd = await temporary(t)
  const rows = table(120, (i) => (i % 40 === 7 ? '' : 10 + (i % 7)))
  await writeFile(join(cwd, 'own.csv'), rows)
  const args = ['--data', 'own.csv', '--horizon', '7', '--epochs', '2']
  const stdout = await succeed(t, cwd, 'sales-forecast', ...args)
  t.regex(stdout, /^sold: 120 rows, 2025-01-01 to 2025-04-30, 10 to 16, 3 missing$/m)
  t.regex(await readFile(join(cwd, 'sales-forecast/forecast.csv'), 'utf8'), /^2025-05-01,/m)
})

test.serial('sales-forecast: wrong tables', async (t) => {
  const name = 'sales-forecast'
  await refused(
    t,
    name,
    table(300, () => 5),
    /^error: column 'sold' has the same value in every row$/m,
  )
  await refused(
    t,
    name,
    table(100, (i) => i),
    /^error: 100 rows are too few for --horizon 28: at least 224$/m,
  )
  await refused(
    t,
    name,
    table(300, (i) => (i === 9 ? 'many' : i)),
    /row 10 \(line 11\).*'sold'.*expected a number.*'many'/,
  )
  await refused(t, name, `${table(300, (i) => i)}${day(3)},1\n`, /row 301 \(line 302\)/)
  await refused(
    t,
    name,
    'day,a,b\n2025-01-01,1,2\n2025-01-02,2,3\n',
    /^error: --target: name one of the columns a, b$/m,
  )
  await refused(
    t,
    name,
    table(300, (i) => i),
    /column 'price'|'price'/,
    '--target',
    'price',
  )
  await refused(t, name, '', /^error: /)
})

long('spam-filter: both models are told, and what they say is written', async (t) => {
  const cwd = await temporary(t)
  const stdout = await succeed(t, cwd, 'spam-filter', '--out', 'here')
  const [, network, linear] =
    /^F1 of spam: network ([\d.]+), linear model over words ([\d.]+)$/m.exec(stdout) ?? []
  t.true(Number(network) > 0.8 && Number(linear) > 0.8, stdout)
  const lines = (await readFile(join(cwd, 'here/test.csv'), 'utf8')).trimEnd().split('\n')
  t.is(lines.length, 121)
  t.regex(lines[1] as string, /^(ham|spam),[01]\.\d{3},(ham|spam)$/)
  const model = await models.SequenceClassifier.load(join(cwd, 'here/model'))
  t.deepEqual(model.state?.classes, ['ham', 'spam'])
})

test.serial('spam-filter: wrong tables', async (t) => {
  const name = 'spam-filter'
  const rows = (n: number, label: (i: number) => string): string =>
    `text,label\n${Array.from({ length: n }, (_, i) => `"mail, number ${i}",${label(i)}`).join('\n')}\n`
  const kinds = (i: number): string => (i % 2 === 0 ? 'ham' : 'spam')
  await refused(
    t,
    name,
    rows(50, () => 'ham'),
    /^error: there are 1 labels; a filter needs two$/m,
  )
  await refused(
    t,
    name,
    rows(50, (i) => String(i % 3)),
    /there are 3 labels/,
  )
  await refused(
    t,
    name,
    rows(20, kinds),
    /^error: there are too few mails: at least 20 of each label$/m,
  )
  await refused(t, name, `${rows(50, kinds)}" ",ham\n`, /^error: data, line 52: there is no text$/m)
  await refused(t, name, `${rows(50, kinds)}x,\n`, /^error: data, line 52: there is no label$/m)
  await refused(
    t,
    name,
    rows(50, kinds),
    /^error: data has no column 'body' \(--text\)$/m,
    '--text',
    'body',
  )
  await refused(t, name, `${rows(50, kinds)}a,b,c\n`, /^error: data: /)
})

long('spelling-to-sound: Ctrl-C leaves a checkpoint, --resume goes on from it', async (t) => {
  const cwd = await temporary(t)
  const sounds: Record<string, string> = { a: 'AA1', b: 'B', c: 'K', d: 'D', e: 'EH0' }
  const word = (i: number): string =>
    (25 + i).toString(5).replace(/\d/g, (digit) => 'abcde'[Number(digit)] as string)
  const lines = Array.from({ length: 700 }, (_, i) => {
    const text = word(i)
    return `${text.toUpperCase()}  ${[...text].map((one) => sounds[one]).join(' ')}`
  })
  await writeFile(
    join(cwd, 'dictionary'),
    `;;; a comment\n${lines.join('\n')}\nBAA(1)  EY1\nBAA  EY1\n`,
  )
  const args = ['--data', 'dictionary', '--epochs', '6', '--out', 'here', '--say', 'bade', 'Cab']
  const first = await run(cwd, 'spelling-to-sound', args, /^epoch 1\/6/m)
  t.is(first.code, 0, first.stderr)
  t.regex(first.stdout, /^700 words: 595 to learn from, 70 for the test$/m)
  t.regex(first.stdout, /^stopped in epoch [2-6]; --resume goes on$/m)
  const stdout = await succeed(t, cwd, 'spelling-to-sound', ...args, '--resume')
  t.regex(stdout, /^bade {2}B AA D EH\nCab {2}K AA B$/m)
  const model = await models.Seq2Seq.load(join(cwd, 'here/model'))
  t.deepEqual((await model.generate([...'dab']))[0]?.tokens, ['D', 'AA', 'B'])
})

test.serial('spelling-to-sound: wrong dictionaries', async (t) => {
  const few = /^error: there are 2 lines with a word and its sounds; at least 100 are needed$/m
  await refused(t, 'spelling-to-sound', 'a  AH0\nb  B\n---\nc\n', few)
})
