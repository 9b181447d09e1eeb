// Runs the nine systems of examples/README.md as that page gives them, and keeps their figures:
//
//   npm run examples:verify -- --data FOLDER     the originals' corpora and numbers of epochs
//     --only NAME,NAME   these rows; the one that takes hours is run only if it is named
//     --seeds N          default: 3, and 1 where a run takes more than ten minutes
//     --quick            a few steps each, on excerpts made in code; nothing is written
//     --report           write the table of these figures in examples/README.md anew, and run nothing
//
// FOLDER has jaychou_lyrics.txt, dinos.txt, timemachine.txt and ptb.{train,valid,test}.txt. Results go to
// examples/results.json, row by row; a row that is run again replaces its old figures.
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
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
        quick: { type: 'boolean', default: false },
        report: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    return fail(error.message)
  }
}

/** Runs an example; what it wrote, on both streams. */
function run(args) {
  const child = spawn(process.execPath, [join(root, 'scripts/example.mjs'), ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (piece) => {
      text += piece
    })
  }
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ text, code, signal }))
  })
}

/** The figures of a run: for each label what its pattern's last match in the text captured. */
function figuresOf(row, text) {
  return Object.fromEntries(
    Object.entries(row.figures).map(([label, { pattern }]) => {
      const found = [...text.matchAll(new RegExp(pattern, 'gm'))].at(-1)
      return [label, found === undefined ? null : found.slice(1).join(', ')]
    }),
  )
}

async function runRow(row, { folder, seeds, quick }) {
  const more = quick ? row.quick.map((option) => option.replace('{folder}', folder)) : []
  const command = [...row.command, ...more]
  const args = row.corpus === null ? command : [...command, '--data', join(folder, row.corpus)]
  const runs = []
  for (let seed = 1; seed <= seeds; seed++) {
    const start = performance.now()
    const { text, code, signal } = await run([...args, '--seed', String(seed)])
    if (code !== 0) fail(`${row.name}, seed ${seed}, ended with ${signal ?? code}:\n${text}`)
    const figures = figuresOf(quick ? { figures: row.quickFigures ?? row.figures } : row, text)
    const missing = Object.keys(figures).filter((label) => figures[label] === null)
    if (missing.length > 0)
      fail(`${row.name}: no figure '${missing[0]}' in what it wrote:\n${text}`)
    const seconds = Math.round((performance.now() - start) / 1000)
    runs.push({ seed, seconds, figures })
    const told = Object.entries(figures).map(([label, value]) => `${label}: ${value}`)
    console.log(`${row.name}, seed ${seed}: ${told.join('; ')} (${seconds} s)`)
  }
  return runs
}

const readResults = () =>
  existsSync(resultsFile) ? JSON.parse(readFileSync(resultsFile, 'utf8')) : {}

/** The mean where all are numbers; else all that there were. */
function summary(runs, label) {
  const values = runs.map(({ figures }) => Number(figures[label]))
  if (values.some((value) => Number.isNaN(value)))
    return [...new Set(runs.map(({ figures }) => figures[label]))].join(' / ')
  const mean = values.reduce((a, b) => a + b, 0) / values.length
  const digits = mean < 2 ? 4 : mean < 20 ? 2 : 1
  return values.length === 1 || values.every((value) => value === values[0])
    ? String(Number(mean.toFixed(digits)))
    : `${mean.toFixed(digits)} (${Math.min(...values).toFixed(digits)}–${Math.max(...values).toFixed(digits)})`
}

function table(results) {
  const lines = [
    '| row | command | figure | original | here | time | run |',
    '| --- | --- | --- | --- | --- | --- | --- |',
  ]
  for (const row of rows.filter(({ name }) => results[name] !== undefined)) {
    const { date, runs } = results[row.name]
    const seconds = runs.reduce((sum, run) => sum + run.seconds, 0) / runs.length
    const time = seconds < 120 ? `${seconds.toFixed(0)} s` : `${(seconds / 60).toFixed(1)} min`
    const command = [...row.command, ...(row.corpus === null ? [] : ['--data …'])].join(' ')
    const first = [row.title, `\`${command}\``]
    const last = [time, `${date}, ${runs.length === 1 ? 'one seed' : `${runs.length} seeds`}`]
    for (const [label, { original }] of Object.entries(row.figures)) {
      const cells = [...first, label, original, summary(runs, label), ...last]
      lines.push(`| ${cells.join(' | ')} |`)
      first.fill('')
      last.fill('')
    }
  }
  return lines.join('\n')
}

function report() {
  const page = readFileSync(pageFile, 'utf8')
  const parts = /^([\s\S]*<!-- figures -->\n)[\s\S]*?(<!-- \/figures -->[\s\S]*)$/.exec(page)
  if (parts === null) fail('examples/README.md has no <!-- figures --> … <!-- /figures -->')
  writeFileSync(pageFile, `${parts[1]}\n${table(readResults())}\n${parts[2]}`)
}

const options = readOptions()
if (options.report) {
  report()
  process.exit(0)
}
const names = rows.map(({ name }) => name)
const wanted =
  options.only?.split(',') ??
  rows.filter((row) => options.quick || !row.hours).map(({ name }) => name)
const unknown = wanted.find((name) => !names.includes(name))
if (unknown !== undefined) fail(`--only: expected some of ${names.join(', ')}, got '${unknown}'`)
const seeds = options.seeds === undefined ? null : Number(options.seeds)
if (seeds !== null && !(Number.isSafeInteger(seeds) && seeds >= 1)) {
  fail(`--seeds: expected a whole number of at least 1, got '${options.seeds}'`)
}
if (options.data === undefined && !options.quick) fail('--data FOLDER is needed, or --quick')
const excerpts = options.quick ? mkdtempSync(join(tmpdir(), 'fused-rnn-excerpts-')) : null
process.on('exit', () => excerpts !== null && rmSync(excerpts, { recursive: true, force: true }))
if (excerpts !== null) makeExcerpts(excerpts)
const folder = excerpts ?? options.data
for (const { corpus } of rows.filter(({ name }) => wanted.includes(name))) {
  if (corpus !== null && !existsSync(join(folder, corpus)))
    fail(`--data: there is no '${corpus}' in '${folder}'`)
}
for (const row of rows.filter(({ name }) => wanted.includes(name))) {
  const runs = await runRow(row, {
    folder,
    quick: options.quick,
    seeds: options.quick ? 1 : (seeds ?? row.seeds),
  })
  if (options.quick) continue
  const date = new Date().toISOString().slice(0, 10)
  const machine = `${cpus()[0]?.model.trim()}, ${cpus().length} processors`
  writeFileSync(
    resultsFile,
    `${JSON.stringify({ ...readResults(), [row.name]: { date, machine, runs } }, null, 2)}\n`,
  )
}
