// Runs the systems of examples/README.md as that page gives them, and keeps their figures:
//
//   npm run examples:verify -- --data FOLDER     the originals' corpora and numbers of epochs
//     --only NAME,NAME   these rows; those that take hours are run only if they are named
//     --seeds N          default: 3, and 1 where a run takes more than ten minutes
//     --epochs N         no more than N epochs: the row says that it is a part
//     --out FOLDER       checkpoints of rows that keep them, and what the programs write
//     --resume           go on from the checkpoints there
//     --quick            a few steps each, on excerpts made in code; nothing is written
//     --report           write the table of these figures in examples/README.md anew, and run nothing
//     --check            say whether that table is the one of examples/results.json, and run nothing
//
// FOLDER has jaychou_lyrics.txt, dinos.txt, timemachine.txt and ptb.{train,valid,test}.txt. Results go to
// examples/results.json, run by run; a row that is run again replaces its old figures.
import { spawn } from 'node:child_process'
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { makeExcerpts, rows } from './examples/rows.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const resultsFile = join(root, 'examples/results.json')
const pageFile = join(root, 'examples/README.md')

function fail(message) {
  console.error(`examples:verify: ${message}`)
  process.exit(1)
}

function readOptions() {
  try {
    return parseArgs({
      options: {
        data: { type: 'string' },
        only: { type: 'string' },
        seeds: { type: 'string' },
        epochs: { type: 'string' },
        out: { type: 'string' },
        resume: { type: 'boolean', default: false },
        quick: { type: 'boolean', default: false },
        report: { type: 'boolean', default: false },
        check: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    return fail(error.message)
  }
}

/** Runs an example; what it wrote, on both streams. @param log a file that gets it as it comes */
function run(args, log) {
  const child = spawn(process.execPath, [join(root, 'scripts/example.mjs'), ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (piece) => {
      text += piece
      if (log !== null) appendFileSync(log, piece)
    })
  }
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ text, code, signal }))
  })
}

/** The figures of a run: for each label what its pattern captured; null where it did not occur. */
function figuresOf(figures, text) {
  return Object.fromEntries(
    Object.entries(figures).map(([label, { pattern, all }]) => {
      const found = [...text.matchAll(new RegExp(pattern, 'gm'))].map((match) => match.slice(1))
      const chosen = all ? found : found.slice(-1)
      return [label, chosen.length === 0 ? null : chosen.flat().join(', ')]
    }),
  )
}

/** A row's command, with fewer epochs where those are asked for. */
function commandOf(row, epochs) {
  const at = row.command.indexOf('--epochs') + 1
  if (epochs === null || at === 0 || Number(row.command[at]) <= epochs)
    return { command: row.command, part: null }
  return {
    command: row.command.with(at, String(epochs)),
    part: { epochs, of: Number(row.command[at]) },
  }
}

/** Runs a row with one seed after the other. @param done gets each run */
async function runRow(row, { folder, seeds, quick, epochs, out, resume }, done) {
  const { command, part } = commandOf(row, epochs)
  const more = quick ? row.quick.map((option) => option.replace('{folder}', folder)) : []
  const args = [...command, ...more]
  if (row.corpus !== null) args.push('--data', join(folder, row.corpus))
  for (let seed = 1; seed <= seeds; seed++) {
    const own = ['--seed', String(seed)]
    const kept = out === undefined ? null : join(out, `${row.name}-${seed}`)
    const log = kept && `${kept}.log`
    if (kept !== null && row.keeps) own.push('--out', kept)
    const goesOn = resume && row.keeps && existsSync(join(kept, 'last'))
    if (goesOn) own.push('--resume')
    const before = goesOn && existsSync(log) ? readFileSync(log, 'utf8') : ''
    if (log !== null) writeFileSync(log, before)
    const start = performance.now()
    const { text, code, signal } = await run([...args, ...own], log)
    if (code !== 0) fail(`${row.name}, seed ${seed}, ended with ${signal ?? code}:\n${text}`)
    const figures = figuresOf((quick && row.quickFigures) || row.figures, before + text)
    const missing = Object.keys(figures).filter((label) => figures[label] === null)
    if (missing.length > 0 && part === null && !quick)
      fail(`${row.name}: no figure '${missing[0]}' in what it wrote:\n${text}`)
    const now = Math.round((performance.now() - start) / 1000)
    if (log !== null) appendFileSync(log, `took ${now} s\n`)
    const earlier = [...before.matchAll(/^took (\d+) s$/gm)].map(([, n]) => Number(n))
    const seconds = earlier.reduce((sum, n) => sum + n, now)
    const told = Object.entries(figures).map(([label, value]) => `${label}: ${value}`)
    console.log(`${row.name}, seed ${seed}: ${told.join('; ')} (${seconds} s)`)
    done({ seed, seconds, ...(part === null ? {} : { part }), figures })
  }
}

const readResults = () =>
  existsSync(resultsFile) ? JSON.parse(readFileSync(resultsFile, 'utf8')) : {}

/** The mean where all are numbers; else all that there were. */
function summary(runs, label) {
  const texts = runs.map(({ figures }) => figures[label])
  if (texts.some((text) => text === null || text === undefined)) return 'not run'
  const values = texts.map(Number)
  if (values.some((value) => Number.isNaN(value))) return [...new Set(texts)].join(' / ')
  const mean = values.reduce((a, b) => a + b, 0) / values.length
  const digits = mean < 2 ? 4 : mean < 20 ? 2 : 1
  return values.every((value) => value === values[0])
    ? String(Number(mean.toFixed(digits)))
    : `${mean.toFixed(digits)} (${Math.min(...values).toFixed(digits)}–${Math.max(...values).toFixed(digits)})`
}

const duration = (seconds) =>
  seconds < 120
    ? `${seconds.toFixed(0)} s`
    : seconds < 7200
      ? `${(seconds / 60).toFixed(1)} min`
      : `${(seconds / 3600).toFixed(1)} h`

/** When and how often a row was run, and how much of it. */
function runOf({ date, runs, note }) {
  const [{ part }] = runs
  const parts = [date, runs.length === 1 ? 'one seed' : `${runs.length} seeds`]
  if (part !== undefined) parts.push(`**${part.epochs} of ${part.of} epochs**`)
  if (note !== undefined) parts.push(note)
  return parts.join(', ')
}

function table(results) {
  const lines = [
    '| system | command | figure | original | here | time there | time here | run |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
  ]
  for (const row of rows) {
    const result = results[row.name] ?? { runs: [] }
    const { runs } = result
    const seconds = runs.reduce((sum, run) => sum + run.seconds, 0) / runs.length
    const command = [...row.command, ...(row.corpus === null ? [] : ['--data …'])].join(' ')
    const first = [row.title, `\`${command}\``]
    const last = [
      row.originalTime ?? '',
      runs.length === 0 || seconds === 0 ? '' : duration(seconds),
      runs.length === 0 ? '**not run**' : runOf(result),
    ]
    for (const [label, { original }] of Object.entries(row.figures)) {
      const here = runs.length === 0 ? '' : summary(runs, label)
      lines.push(`| ${[...first, label, original, here, ...last].join(' | ')} |`)
      first.fill('')
      last.fill('')
    }
  }
  return lines.join('\n')
}

/** @param check only look whether it is as it should be */
function report(check) {
  const page = readFileSync(pageFile, 'utf8')
  const parts = /^([\s\S]*<!-- figures -->\n)[\s\S]*?(<!-- \/figures -->[\s\S]*)$/.exec(page)
  if (parts === null) fail('examples/README.md has no <!-- figures --> … <!-- /figures -->')
  const right = `${parts[1]}\n${table(readResults())}\n${parts[2]}`
  if (check && page !== right) fail('the table of examples/README.md is old: --report writes it')
  if (!check) writeFileSync(pageFile, right)
}

const options = readOptions()
if (options.report || options.check) {
  report(options.check)
  process.exit(0)
}
const names = rows.map(({ name }) => name)
const wanted =
  options.only?.split(',') ??
  rows.filter((row) => options.quick || !row.hours).map(({ name }) => name)
const unknown = wanted.find((name) => !names.includes(name))
if (unknown !== undefined) fail(`--only: expected some of ${names.join(', ')}, got '${unknown}'`)

/** A whole number of at least 1, or null where the option is not given. */
function whole(name) {
  const value = options[name] === undefined ? null : Number(options[name])
  if (value !== null && !(Number.isSafeInteger(value) && value >= 1))
    fail(`--${name}: expected a whole number of at least 1, got '${options[name]}'`)
  return value
}
const [seeds, epochs] = [whole('seeds'), whole('epochs')]
const { quick, out, resume } = options
if (options.data === undefined && !quick) fail('--data FOLDER is needed, or --quick')
if (resume && out === undefined) fail('--resume needs --out, the folder with the checkpoints')
if (out !== undefined) mkdirSync(out, { recursive: true })
const excerpts = quick ? mkdtempSync(join(tmpdir(), 'fused-rnn-excerpts-')) : null
process.on('exit', () => excerpts !== null && rmSync(excerpts, { recursive: true, force: true }))
if (excerpts !== null) makeExcerpts(excerpts)
const folder = excerpts ?? options.data
const chosen = rows.filter(({ name }) => wanted.includes(name))
for (const { corpus } of chosen) {
  if (corpus !== null && !existsSync(join(folder, corpus)))
    fail(`--data: there is no '${corpus}' in '${folder}'`)
}
const machine = `${cpus()[0]?.model.trim()}, ${cpus().length} processors`
for (const row of chosen) {
  const runs = []
  const settings = { folder, quick, epochs, out, resume, seeds: quick ? 1 : (seeds ?? row.seeds) }
  await runRow(row, settings, (run) => {
    if (quick) return
    runs.push(run)
    const date = new Date().toISOString().slice(0, 10)
    const results = { ...readResults(), [row.name]: { date, machine, runs } }
    writeFileSync(resultsFile, `${JSON.stringify(results, null, 2)}\n`)
  })
}
