/**
 * What has to hold in a long-running process, tried many times: `npm run reliability`. Prints rows
 * for docs/reliability.md. A new check is an object of check.ts in the list below.
 */
import { execFileSync } from 'node:child_process'
import { cpus, loadavg } from 'node:os'
import { parseArgs } from 'node:util'
import type { Check, Row, Settings } from './check.js'
import { eventLoop, throughput } from './event_loop.js'
import { exits, workers } from './exits.js'
import { memory } from './memory.js'
import { denormals, finite } from './numbers.js'

const checks: readonly Check[] = [eventLoop, throughput, memory, exits, workers, denormals, finite]

const HELP = `npm run reliability -- [options]

  --only NAME,NAME   these checks only
  --node PATH,PATH   the Node binaries to try exits and workers with (default: this one)
  --scale N          how often everything is tried, times N (default: 1)

${checks.map(({ name, about }) => `  ${name.padEnd(11)} ${about}`).join('\n')}
`

function fail(message: string): never {
  console.error(`reliability: ${message}`)
  process.exit(2)
}

/** The settings and the checks to run. */
function parse(): { settings: Settings; wanted: readonly Check[] } {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      node: { type: 'string', default: process.execPath },
      scale: { type: 'string', default: '1' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(HELP)
    process.exit(0)
  }
  const scale = Number(values.scale)
  if (!(scale > 0)) fail(`--scale: expected a number above 0, got '${values.scale}'`)
  const nodes = values.node.split(',').map((path) => {
    const version = execFileSync(path, ['--version'], { encoding: 'utf8' }).trim().slice(1)
    return { version, path }
  })
  const names = values.only?.split(',')
  const unknown = names?.find((name) => !checks.some((check) => check.name === name))
  if (unknown !== undefined) {
    fail(`--only: no check '${unknown}'; there are ${checks.map(({ name }) => name).join(', ')}`)
  }
  const wanted = checks.filter(({ name }) => names?.includes(name) ?? true)
  return { settings: { nodes, scale }, wanted }
}

const MARKS = new Map([
  [true, '✔'],
  [false, '✘'],
  [null, ''],
])

function print({ what, times, found, ok }: Row): void {
  console.log(`| ${what} | ${times} | ${found.replaceAll(/\s+/g, ' ')} | ${MARKS.get(ok)} |`)
}

const { settings, wanted } = parse()
const load = (loadavg()[0] as number).toFixed(1)
console.log(`${cpus().length} × ${cpus()[0]?.model}; load before: ${load}\n`)
let failed = 0
for (const check of wanted) {
  console.log(`${check.name}: ${check.about}\n`)
  console.log('| what | how often | found | |\n| --- | --- | --- | --- |')
  const before = performance.now()
  await check.run(settings, (row) => {
    if (row.ok === false) failed++
    print(row)
  })
  console.log(`\n${Math.round((performance.now() - before) / 1000)} s\n`)
}
console.log(failed === 0 ? 'all as it should be' : `${failed} not as it should be`)
process.exitCode = failed === 0 ? 0 : 1
