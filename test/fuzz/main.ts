/**
 * npm run fuzz -- [--seconds 60] [--seed N] [TARGET…]: fuzzes the readers of files, each in a process
 * of its own with little memory. What makes one fail is left in test/fuzz/findings.
 */
import { spawn } from 'node:child_process'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { limit } from '../limits.js'

/** A run takes milliseconds; one that takes longer than this hangs, maybe without reaching a timer. */
const TOO_LONG = limit(60)

const TARGETS = [
  'safetensors',
  'model',
  'checkpoint',
  'texts',
  'lock',
  'torch',
  'pickle',
  'tfjs',
  'keras',
  'hdf5',
  'onnx',
]
const { values, positionals } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: String(Date.now() % 1e6) },
  },
  allowPositionals: true,
})
const program = fileURLToPath(new URL('./fuzz.js', import.meta.url))
const here = fileURLToPath(new URL('../../test/fuzz', import.meta.url))

for (const target of positionals.length > 0 ? positionals : TARGETS) {
  const folder = mkdtempSync(join(tmpdir(), 'fused-rnn-fuzz-'))
  const args = [target, values.seconds, values.seed, join(here, 'corpus', target), folder]
  const child = spawn(process.execPath, [program, ...args], {
    env: { ...process.env, FUSED_RNN_MEMORY_LIMIT: String(2 ** 28) },
    stdio: 'inherit',
  })
  const started = Date.now()
  const watch = setInterval(() => {
    const running = statSync(join(folder, 'running'), { throwIfNoEntry: false })
    if (Date.now() - (running?.mtimeMs ?? started) < TOO_LONG) return
    console.error(`${target} hangs`)
    child.kill('SIGKILL')
  }, 1000)
  const ended = await new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve(signal ?? code))
  })
  clearInterval(watch)
  if (ended !== 0) {
    const found = join(here, 'findings', `${target}-${values.seed}`)
    mkdirSync(join(here, 'findings'), { recursive: true })
    copyFileSync(join(folder, 'running'), found)
    console.error(`${target} ended with ${ended} over ${found}`)
    process.exitCode = 1
  }
  rmSync(folder, { recursive: true, force: true })
}
