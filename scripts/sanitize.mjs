// Builds everything native with a sanitizer, and runs it: `npm run test:asan`, `npm run test:ubsan`.
//
//   node scripts/sanitize.mjs address|undefined [--native | TEST…]
//
// First the native tests, then the addon under all of AVA's tests (or those given, dist-test/….js),
// then its CUDA backend on native/cuda_host under those of recurrent layers. Leaks: of the native
// tests all; of the addon those whose memory the addon itself asked for. Node, V8 and the sanitizer's
// own bookkeeping leave a lot behind at exit, which is none of our business.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { forgetOtherClone } from './build-folder.mjs'

const KINDS = {
  // What the standard leaves open besides: numbers that do not fit the type they are cast to.
  undefined: { flags: 'undefined,float-cast-overflow', folder: 'ubsan' },
  address: { flags: 'address', folder: 'asan' },
}
const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const [kind, ...rest] = process.argv.slice(2)
const { flags, folder } = KINDS[kind] ?? {}
if (flags === undefined) throw new Error(`expected address or undefined, got ${kind}`)
const build = join(root, 'build', folder)
const logs = join(build, 'logs')
let failed = 0

/** Runs a command and shows what it says. @returns its exit code */
function run(command, args, env = {}) {
  const { status, signal } = spawnSync(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: 'inherit',
  })
  return status ?? signal
}

function expectDone(what, ended) {
  console.log(`${ended === 0 ? '✔' : '✘'} ${what}${ended === 0 ? '' : `: ended with ${ended}`}`)
  if (ended !== 0) failed++
}

// ---- Building --------------------------------------------------------------------------------------

const include = createRequire(import.meta.url)('node-api-headers').include_dir
const configure = [
  ...['-S', '.', '-B', build, `-DFUSED_RNN_SANITIZE=${flags}`, `-DCMAKE_JS_INC=${include}`],
  ...['-DFUSED_RNN_CUDA=off', '-DFUSED_RNN_CUDA_HOST=ON'],
]
const targets = ['threads', 'backends', 'failures', 'fused_rnn', 'fused_rnn_on_host']
forgetOtherClone(build)
if (run('cmake', configure) !== 0) process.exit(1)
if (run('cmake', ['--build', build, '--parallel', '2', '--target', ...targets]) !== 0)
  process.exit(1)

// ---- Running ---------------------------------------------------------------------------------------

rmSync(logs, { recursive: true, force: true })
mkdirSync(logs, { recursive: true })

for (const program of ['threads', 'cuda-host/backends', 'cuda-host/failures'])
  expectDone(
    `native test ${program}`,
    run(join(build, program), [], {
      ASAN_OPTIONS: 'detect_leaks=1',
      UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
    }),
  )

const compiler = /CMAKE_CXX_COMPILER:\w+=(.*)/.exec(
  readFileSync(join(build, 'CMakeCache.txt'), 'utf8'),
)[1]
const library = (name) =>
  spawnSync(compiler, [`-print-file-name=${name}`], { encoding: 'utf8' }).stdout.trim()

/** The tests with the sanitized addon. Reports go to files, and exit codes stay what they are. */
function test(device, addon, args) {
  const common = `log_path=${join(logs, device.slice(0, 3))}:exitcode=0`
  return run(process.execPath, ['scripts/test.mjs', '--timeout=20m', ...args], {
    ...(kind === 'address' && {
      // Node has the C++ library inside, and the sanitizer needs to see one.
      LD_PRELOAD: `${library('libasan.so')} ${library('libstdc++.so')}`,
      // A script may end while the addon's thread computes; a test that waits for it has time.
      ASAN_OPTIONS: `${common}:detect_leaks=1`,
    }),
    UBSAN_OPTIONS: `${common}:print_stacktrace=1`,
    FUSED_RNN_ADDON: join(build, addon),
    FUSED_RNN_TEST_DEVICE: device,
    FUSED_RNN_SANITIZER: kind,
  })
}

/** Whether a leak's memory was asked for by the addon: the first frame that is of no library. */
function isOurs(leak) {
  const frames = leak.split('\n').filter((line) => /^\s*#\d+/.test(line))
  const first = frames.find((line) => !/libsanitizer|\/include\/c\+\+\//.test(line))
  return first !== undefined && /\/native\//.test(first)
}

/** Each different report once. */
function reports() {
  const found = new Map()
  for (const file of readdirSync(logs)) {
    const text = readFileSync(join(logs, file), 'utf8')
    const list = /LeakSanitizer/.test(text)
      ? text.split('\n\n').filter((part) => /leak of/.test(part) && isOurs(part))
      : [text]
    for (const report of list) found.set(report.replace(/==\d+==|0x[0-9a-f]+/g, ''), report)
  }
  return [...found.values()]
}

if (!rest.includes('--native')) {
  const all = rest.length > 0 ? rest : ['dist-test/**/*.test.js']
  expectDone('the tests on the CPU', test('cpu', 'fused_rnn.node', all))
  const some = rest.length > 0 ? rest : ['dist-test/recurrent*.test.js', 'dist-test/packed.test.js']
  expectDone('tests on cuda:0', test('cuda:0', 'cuda-host/fused_rnn.node', some))
  const found = reports()
  for (const report of found.slice(0, 10)) console.log(report.slice(0, 4000))
  expectDone('reports of the sanitizer', found.length)
}
process.exitCode = failed === 0 ? 0 : 1
