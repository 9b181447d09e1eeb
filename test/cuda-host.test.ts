/** Native tests of native/cuda_host (it runs kernels as CUDA would, and catches what hardware hides) and on it. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'

const folder = join(dirname(fileURLToPath(import.meta.url)), '../build/cuda-host')
const exec = promisify(execFile)

for (const [program, title, args = []] of [
  ['cuda_host', 'blocks, memory, streams and graphs of CUDA on the host'],
  ['cuda_host_asan', 'CUDA on the host under AddressSanitizer'],
  ['failures', 'recurrent layers on CUDA that fails in the middle of a call'],
  ['backends', 'updates after a fault on CUDA', ['faults']],
] as [string, string, string[]?][]) {
  const path = join(folder, program)
  // Made by `npm run build:cuda-host`; the one with the sanitizer only where the compiler has it.
  const run = existsSync(path) ? test : test.skip
  run(title, async (t) => {
    // Its checks of what ends the process end many.
    const env = { ...process.env, ASAN_OPTIONS: 'abort_on_error=0:detect_leaks=0' }
    const { stdout } = await exec(path, args, { env }).catch((error) => error as { stdout: string })
    t.regex(stdout, /^\d+ passed, 0 failed\n$/, stdout)
  })
}
