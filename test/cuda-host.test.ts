/** Native tests of native/cuda_host (it runs kernels as CUDA would, and catches what hardware hides) and on it. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { onCpu } from './helpers.js'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const folder = join(root, 'build/cuda-host')
const exec = promisify(execFile)

// Every loop by a kernel, if it has one, on a GPU that has room for the widest.
const persistent = {
  FUSED_RNN_CUDA_PATH: 'persistent',
  FUSED_RNN_CUDA_HOST_MULTIPROCESSORS: '132',
  FUSED_RNN_CUDA_GRAPHS: 'report',
}

const clusters = { FUSED_RNN_CUDA_PATH: 'persistent', FUSED_RNN_CUDA_CLUSTERS: 'on' }

for (const [program, title, args = [], more = {}] of [
  ['cuda_host', 'blocks, memory, streams and graphs of CUDA on the host'],
  ['cuda_host_asan', 'CUDA on the host under AddressSanitizer'],
  ['failures', 'recurrent layers on CUDA that fails in the middle of a call'],
  ['backends', 'updates after a fault on CUDA', ['faults']],
  ['backends', 'layers without a recurrent matrix on CUDA', ['elementwise']],
  ['backends', 'time loops in one kernel on CUDA', ['whole loop']],
  ['backends', 'time loops in one kernel with weights in shared memory', ['wide loop'], persistent],
  [
    'backends',
    'one kernel for a whole backward pass, in clusters of blocks',
    ['many unit tiles', ', packed, layers 2'],
    clusters,
  ],
  [
    'backends',
    'layers as a wavefront in one kernel',
    ['layers of unit tiles', ', packed, layers 2, directions 1'],
    { FUSED_RNN_CUDA_PATH: 'wavefront' },
  ],
] as [string, string, string[]?, Record<string, string>?][]) {
  const path = join(folder, program)
  // Made by `npm run build:cuda-host`; the one with the sanitizer only where the compiler has it.
  // They are the same on every device.
  const run = existsSync(path) && onCpu ? test : test.skip
  run(title, async (t) => {
    // Its checks of what ends the process end many.
    const env = { ...process.env, ASAN_OPTIONS: 'abort_on_error=0:detect_leaks=0', ...more }
    const { stdout, stderr } = await exec(path, args, { env }).catch(
      (error) => error as { stdout: string; stderr: string },
    )
    t.regex(stdout, /^\d+ passed, 0 failed\n$/, stdout)
    if (more === persistent) t.regex(stderr, / 0 launched, .* 0 loops queued/)
  })
}

// The mistakes themselves take half an hour (`npm run test:mutations`), so one that has lost its place
// would not be noticed for long.
test("each mistake of `npm run test:mutations` has its place in the kernels' sources", async (t) => {
  const script = join(root, 'scripts/mutate-cuda.mjs')
  const { stdout } = await exec(process.execPath, [script, '--check']).catch(
    (error) => error as { stdout: string },
  )
  t.is(stdout, '')
})
