// Runs the compiled tests with AVA and ends with one line: "N passed, N failed[, N skipped]".
//
// Where the addon for it has been built (`npm run build:cuda-host`), all tests run a second time with
// their tensors on cuda:0, by way of native/cuda_host. With arguments, which are passed on, they run
// once, where FUSED_RNN_TEST_DEVICE says:
//   node scripts/test.mjs dist-test/packed.test.js --match='*total*'
//
// What failed is printed again, with its diagnostics, just before that line: a reader of a log sees its
// end first.
//
// The counts come from AVA's TAP stream. A test file that crashes, times out or has no tests is a
// failed entry there; whatever else makes AVA itself fail, or end before it has said how many tests
// there were, counts as one failure too.
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const ava = join(root, 'scripts/ava.mjs')
const onHost = join(root, 'build/cuda-host/fused_rnn.node')

/** The lines of failed tests, their diagnostics below them. */
const failures = []

/** All tests, or those that the arguments name; `label` is what every line begins with. */
async function run(args, env, label) {
  const child = spawn(process.execPath, [ava, '--tap', ...args], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['inherit', 'pipe', 'inherit'],
  })
  const count = { passed: 0, failed: 0, skipped: 0 }
  let whole = false
  let failing = false
  const failed = (line) => {
    console.log(line)
    failures.push(line)
  }
  for await (const line of createInterface({ input: child.stdout })) {
    const result = /^(not )?ok \d+ - (.*?)(?: # (SKIP|TODO).*)?$/.exec(line)
    if (result === null) {
      whole ||= /^1\.\.\d+$/.test(line)
      // Diagnostics of a failure, or what a test printed; the frame of the TAP format is left out.
      if (!/^(TAP version|\d+\.\.\d+$|# (tests|pass|fail|skip|todo) |$)/.test(line)) {
        if (failing) failed(`    ${line}`)
        else console.log(`    ${line}`)
      }
      continue
    }
    const [, not, title, directive] = result
    if (directive !== undefined) count.skipped++
    else if (not) count.failed++
    else count.passed++
    failing = not !== undefined && directive === undefined
    if (failing) failed(`✘ ${label}${title}`)
    else console.log(`${directive !== undefined ? '-' : '✔'} ${label}${title}`)
  }
  const code = await new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) resolve(child.exitCode)
    else child.on('exit', resolve)
  })
  if (!whole) {
    count.failed++
    failed(`✘ ${label}AVA ended before its report did: ${child.signalCode ?? `code ${code}`}`)
  } else if (count.failed === 0 && (code !== 0 || count.passed === 0)) {
    count.failed = 1
    failed(`✘ ${label}AVA ended with code ${code} after ${count.passed} tests that passed`)
  }
  return count
}

// Limits are for what hangs: they are longer where everything takes longer.
const { slowness } = await import(pathToFileURL(join(root, 'dist-test/limits.js')).href)
process.env.FUSED_RNN_TEST_SLOWNESS ??= String(slowness)
const patience = (minutes) => `--timeout=${Math.ceil(minutes * slowness)}m`

const args = process.argv.slice(2)
const counts = [await run([patience(15), ...args], {}, '')]
if (args.length === 0 && process.env.FUSED_RNN_TEST_DEVICE === undefined && existsSync(onHost)) {
  console.log('\nThe same on cuda:0, by way of native/cuda_host\n')
  // Kernels take longer there, and share one thread.
  const env = { FUSED_RNN_ADDON: onHost, FUSED_RNN_TEST_DEVICE: 'cuda:0' }
  counts.push(await run([patience(40)], env, 'cuda:0 › '))
}
const sum = (name) => counts.reduce((total, count) => total + count[name], 0)
const skipped = sum('skipped')
if (failures.length > 0) console.log(`\nFailed:\n${failures.join('\n')}`)
process.exitCode = sum('failed') === 0 ? 0 : 1
console.log(
  `\n${sum('passed')} passed, ${sum('failed')} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`,
)
