/**
 * The benchmark: whole training steps, or inference, ours beside other engines, interleaved in
 * rounds in one run. `npm run bench -- --help` has the options; `fused-rnn bench` is the same for a
 * shape of one's own (ts/bench, ts/cli/bench.ts).
 *
 * Absolute times on a shared machine mean little; the ratio of neighbouring rounds does.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type EngineName, engines, opponents } from '#bench/engines.js'
import { times } from '#bench/measure.js'
import { stopOnSignals } from '#bench/process.js'
import {
  busy,
  type Installed,
  installed,
  machine,
  type Report,
  runSession,
  type Session,
  tellPeers,
} from '#bench/session.js'
import { OPERATION_HEAD, type OperationRow, operationLine, timeOperations } from './operations.js'
import { HELP, type Options, parseOptions, UsageError } from './options.js'
import { allMarkdown, scalingTable, write } from './report.js'

const command = ['npm run bench', ...process.argv.slice(2)].join(' ').replace('bench ', 'bench -- ')

async function found(wanted: Iterable<EngineName>): Promise<Installed> {
  const all = await installed(wanted)
  for (const { reason } of all.missing) console.log(reason)
  return all
}

/** Runs a list on every number of threads. */
async function run(
  { list, workloads }: Options['runs'][number],
  options: Options,
): Promise<Report> {
  const session: Session = {
    ...options,
    list,
    workloads,
    products: ['fused-rnn', 'pytorch'],
    command,
  }
  const wanted = new Set(workloads.flatMap((w) => opponents(w, options.peers)))
  const report = await runSession(session, await found(['fused-rnn', ...wanted]), console.log)
  for (const n of options.threads) {
    const means = Object.entries(report.geometricMeans[n] ?? {}).map(([name, mean]) => {
      return `${times(mean)} over ${engines[name as EngineName].title}`
    })
    if (means.length > 0) console.log(`geometric mean on ${n}: ${means.join(', ')}`)
  }
  if (options.threads.length > 1) console.log(`\n${scalingTable(report.rows, options.threads)}`)
  if (report.skipped.some(({ failed }) => failed)) process.exitCode = 1
  return report
}

/** Single operations, all threads; the results go to a file, too. */
async function runOperations(options: Options): Promise<void> {
  const { versions } = await found(['fused-rnn', 'pytorch'])
  if (versions.size < 2) return
  const rows: OperationRow[] = []
  const setting = { ...machine({ ...options, command }), busyBefore: await busy() }
  console.log(OPERATION_HEAD)
  for (const threads of options.threads) {
    await timeOperations(options.operations, threads, options.rounds, (row) => {
      rows.push(row)
      console.log(operationLine(row))
    })
  }
  const file = `cpu-ops${options.partial ? '-partial' : ''}.json`
  const path = join(import.meta.dirname, '../bench/results', file)
  const report = { ...setting, engines: Object.fromEntries(versions), rows }
  writeFileSync(path, `${JSON.stringify(report, null, 2)}\n`)
  console.log(`\nbench/results/${file}`)
}

async function main(options: Options): Promise<void> {
  if (options.help) return console.log(HELP.trimEnd())
  if (options.report) return console.log(allMarkdown())
  tellPeers(options)
  if (options.operations.length > 0) return runOperations(options)
  for (const list of options.runs) {
    const report = await run(list, options)
    if (report.rows.length > 0) console.log(`\n${write(report, options.partial).join('\n')}\n`)
  }
}

stopOnSignals(() => console.error('\nbench: interrupted'))
try {
  await main(parseOptions(process.argv.slice(2)))
} catch (error) {
  if (!(error instanceof UsageError)) throw error
  console.error(`bench: ${error.message}`)
  process.exitCode = 2
}
