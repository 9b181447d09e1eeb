/**
 * Stands in for Python and its peers in test/bench.test.ts: what it is started with is a peer's program
 * and its arguments. A training step takes a millisecond, under autocast half of one, whatever is
 * trained; products are faster than any machine's. STAND_IN says how it fails.
 */
import { appendFileSync } from 'node:fs'
import { basename } from 'node:path'
import { createInterface } from 'node:readline'

const [program = '', workload = '', threads, mode = ''] = process.argv.slice(2)
const [fault = '', file = ''] = (process.env.STAND_IN ?? '').split(':')
const print = (answer: object): void => console.log(JSON.stringify(answer))
const name = basename(program)

if (fault === 'missing' && name !== 'jax_scan.py') {
  print({ missing: 'torch' })
  process.exit()
}
console.log('a note of the framework')
print({ ready: `Stand-in ${name}`, threads: Number(threads) })
if (workload === '--version') process.exit()
if (fault === 'hangs') appendFileSync(file, `${process.pid}\n`)
let asked = 0
for await (const line of createInterface({ input: process.stdin })) {
  const [request, what] = Object.entries(JSON.parse(line))[0] as [string, number]
  asked++
  if (fault === 'hangs' && request === 'train') continue
  if (fault === 'dies' && asked > 3) {
    console.error('a line of the trace\nRuntimeError: it broke')
    process.exit(1)
  }
  if (request === 'product') print({ gflops: 1e6 })
  else if (request === 'generate') print({ microseconds: new Array(what).fill(50) })
  else print({ seconds: what * (mode === 'autocast' ? 0.0005 : 0.001) })
}
