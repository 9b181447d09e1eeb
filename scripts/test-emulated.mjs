// The tests with an addon that was built for another system, in that system's Node under an emulator:
//
//   node scripts/test-emulated.mjs linux-arm64 [threads | FILES OF dist-test]
//
// builds the addon (scripts/prebuild.mjs --platform), then runs the native test `threads`, first a
// million barriers, then all of it; then all test files, or only what is named. What starts other
// processes is left out, and named: an emulator knows the program that it was given and no other.
// Everything takes ten times as long, and more where threads wait for each other.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { forgetOtherClone } from './build-folder.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const NODE = '20.20.2'
/** Of two barriers. */
const ROUNDS = 500_000

/** What runs a program of the platform, and what Debian's packages are called. */
const EMULATORS = {
  'linux-arm64': {
    emulator: ['qemu-aarch64-static', '-L', '/usr/aarch64-linux-gnu'],
    programs: ['qemu-aarch64-static', 'aarch64-linux-gnu-g++'],
    packages: 'g++-aarch64-linux-gnu qemu-user-static',
  },
}

function fail(message) {
  console.error(`test-emulated: ${message}`)
  process.exit(1)
}

function run(program, args, options = {}) {
  const done = spawnSync(program, args, { cwd: root, stdio: 'inherit', ...options })
  if (done.error) fail(done.error.message)
  return done.status ?? 1
}

const [name, ...rest] = process.argv.slice(2)
if (!Object.hasOwn(EMULATORS, name ?? ''))
  fail(`expected one of ${Object.keys(EMULATORS).join(', ')}, got ${name}`)
const { emulator, programs, packages } = EMULATORS[name]
for (const program of programs)
  if (spawnSync(program, ['--version'], { stdio: 'ignore' }).status !== 0)
    fail(`${program} is not installed: apt-get install --no-install-recommends ${packages}`)

// ---- Build ------------------------------------------------------------------------------------------

if (run(process.execPath, ['scripts/prebuild.mjs', '--platform', name]) !== 0)
  fail('the addon cannot be built')
const folder = join(root, 'build', name)

/** The platform's Node, from npm's registry; `--force` is for a package of another platform. */
function findNode() {
  const place = join(root, 'build/clients', name)
  const node = join(place, `node_modules/node-${name}/bin/node`)
  if (existsSync(node)) return node
  mkdirSync(place, { recursive: true })
  writeFileSync(join(place, 'package.json'), '{ "private": true }\n')
  const flags = ['--force', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', place]
  run('npm', ['install', '--silent', ...flags, `node-${name}@${NODE}`])
  return existsSync(node) ? node : fail(`node-${name}@${NODE} cannot be installed`)
}
const node = findNode()

// ---- Run --------------------------------------------------------------------------------------------

const [program, ...before] = emulator
const only = rest.length > 0
if (!only || rest.includes('threads')) {
  forgetOtherClone(folder)
  if (run('cmake', ['--build', folder, '--target', 'threads', '--parallel', '2']) !== 0)
    fail('threads cannot be built')
  for (const args of [[String(ROUNDS)], []])
    if (run(program, [...before, join(folder, 'threads'), ...args]) !== 0) fail('threads failed')
}

/** Files that start other processes, by themselves or by what they import. */
const STARTS =
  /node:child_process|\brunScript\b|\.\/limits\.js|\.\/example-server\.js|\.\/document\.js/
const tests = readdirSync(join(root, 'dist-test')).filter((file) => file.endsWith('.test.js'))
const named = rest.filter((word) => word !== 'threads')
const left = tests.filter((file) =>
  STARTS.test(readFileSync(join(root, 'dist-test', file), 'utf8')),
)
const chosen = only
  ? named
  : tests.filter((file) => !left.includes(file)).map((file) => `dist-test/${file}`)
if (only && named.length === 0) process.exit()
if (!only)
  console.log(
    `skipped, they start processes: ${left.map((f) => f.replace('.test.js', '')).join(', ')}`,
  )
const args = [...before, node, 'scripts/ava.mjs', '--tap', '-c', '1', '--timeout=600m', ...chosen]
const done = spawnSync(program, args, {
  cwd: root,
  encoding: 'utf8',
  maxBuffer: 2 ** 30,
  stdio: ['ignore', 'pipe', 'inherit'],
  env: {
    ...process.env,
    FUSED_RNN_ADDON: join(folder, 'Release/fused_rnn.node'),
    FUSED_RNN_TEST_SLOWNESS: '20',
  },
})
const lines = done.stdout.split('\n')
const count = (pattern) => lines.filter((line) => pattern.test(line)).length
const skipped = count(/^(not )?ok .*# (SKIP|TODO)/)
const failed = count(/^not ok/)
if (failed > 0 || done.status !== 0) process.stdout.write(done.stdout)
for (const line of lines) if (line.startsWith('not ok')) console.log(line)
const passed = count(/^ok /) - skipped
console.log(`${name}: ${passed} passed, ${failed} failed, ${skipped} skipped`)
process.exitCode = done.status === 0 && failed === 0 && passed > 0 ? 0 : 1
