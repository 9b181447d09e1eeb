// Runs the compiled tests with AVA and ends with one line: "N passed, N failed[, N skipped]".
//
// The counts come from AVA's TAP stream. A test file that crashes, times out or has no tests is a
// failed entry there; whatever else makes AVA itself fail counts as one failure too.
// Arguments are passed on: `node scripts/test.mjs dist-test/packed.test.js --match='*total*'`.
import { spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const ava = join(dirname(createRequire(import.meta.url).resolve('ava')), 'cli.mjs')
const child = spawn(process.execPath, [ava, '--tap', ...process.argv.slice(2)], {
  cwd: root,
  stdio: ['inherit', 'pipe', 'inherit'],
})

let passed = 0
let failed = 0
let skipped = 0
for await (const line of createInterface({ input: child.stdout })) {
  const result = /^(not )?ok \d+ - (.*?)(?: # (SKIP|TODO).*)?$/.exec(line)
  if (result === null) {
    // Diagnostics of a failure, or what a test printed; the frame of the TAP format is left out.
    if (!/^(TAP version|\d+\.\.\d+$|# (tests|pass|fail|skip|todo) |$)/.test(line))
      console.log(`    ${line}`)
    continue
  }
  const [, not, title, directive] = result
  if (directive !== undefined) skipped++
  else if (not) failed++
  else passed++
  console.log(`${directive !== undefined ? '-' : not ? '✘' : '✔'} ${title}`)
}
const code = await new Promise((resolve) => {
  if (child.exitCode !== null || child.signalCode !== null) resolve(child.exitCode)
  else child.on('exit', resolve)
})
if (code !== 0 && failed === 0) failed = 1
if (passed + failed === 0) failed = 1
process.exitCode = failed === 0 ? 0 : 1
console.log(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
