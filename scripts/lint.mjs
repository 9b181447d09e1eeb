// `npm run lint`: all checks that need no tests, each a step with a name; `npm run lint -- shell`
// runs one or several by name, `--all` checks all C++ files with clang-tidy instead of a few that
// have changed. A tool that npm does not bring (shellcheck, ruff, clang-tidy) is used where it is
// installed; else its step says that it was skipped.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const packages = join(root, 'node_modules')
const names = process.argv.slice(2).filter((word) => !word.startsWith('--'))
const all = process.argv.includes('--all')

/** Files for clang-tidy without `--all`: one takes some seconds. */
const MOST_TIDY = 4

function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' })
  if (error) console.error(`lint: ${command}: ${error.message}`)
  return status === 0
}

/** What a command prints, or null when it fails or is not there. */
function output(command, ...args) {
  const { status, stdout } = spawnSync(command, args, { cwd: root, encoding: 'utf8' })
  return status === 0 ? stdout : null
}

const has = (command, ...args) => output(command, ...args) !== null

const node = (...args) => run(process.execPath, args)
const tsc = (...args) => node(join(packages, 'typescript/bin/tsc'), '-p', ...args)

/** Files that git knows, and new ones that it does not ignore. */
function files(...patterns) {
  const listed = output('git', 'ls-files', '-co', '--exclude-standard', ...patterns) ?? ''
  return listed.split('\n').filter((file) => file !== '' && existsSync(join(root, file)))
}

/** Files that differ from the main branch, or on it from the commit before. */
function changed(...patterns) {
  const base =
    ['origin/main', 'main']
      .map((name) => output('git', 'merge-base', 'HEAD', name)?.trim())
      .find((hash) => hash && hash !== output('git', 'rev-parse', 'HEAD')?.trim()) ?? 'HEAD~1'
  const listed = output('git', 'diff', '--name-only', '--diff-filter=d', base, '--', ...patterns)
  const known = new Set(listed?.split('\n'))
  const fresh = output('git', 'ls-files', '-o', '--exclude-standard', ...patterns)
  for (const file of fresh?.split('\n') ?? []) known.add(file)
  return [...known].filter((file) => file)
}

const skipped = (why) => {
  console.log(`lint: skipped, ${why}`)
  return true
}

function shell() {
  const scripts = [...files('*.sh'), '.ci/run']
  if (!has('shellcheck', '--version')) return skipped('shellcheck is not installed')
  return run('shellcheck', ['--severity=warning', ...scripts])
}

function python() {
  const sources = files('*.py')
  if (has('ruff', '--version')) return run('ruff', ['check', '--select=E9,F', ...sources])
  if (!has('python3', '--version')) return skipped('there is no ruff or python3')
  console.log('lint: syntax only, since ruff is not installed')
  const parse =
    'import ast, sys\nfor f in sys.argv[1:]: ast.parse(open(f, encoding="utf8").read(), f)'
  return run('python3', ['-c', parse, ...sources])
}

/**
 * Those that clang compiles without the headers of Node or CUDA, once: native/cpu is compiled for
 * every instruction set, with what only GCC has. See .clang-tidy for the checks.
 */
const TIDY = ['core', 'distributed', 'engine', 'api'].map((name) => `native/${name}/*.cpp`)

/** The first whose clang knows all of the C++20 that native uses. */
function clangTidy() {
  const programs = ['clang-tidy', ...[21, 20, 19, 18, 17, 16].map((n) => `clang-tidy-${n}`)]
  return programs.find((name) => {
    const version = /version (\d+)/.exec(output(name, '--version') ?? '')?.[1]
    return Number(version) >= 16
  })
}

function tidy() {
  const program = clangTidy()
  if (program === undefined) return skipped('clang-tidy 16 or later is not installed')
  const sources = all ? files(...TIDY) : changed(...TIDY)
  const some = all ? sources : sources.slice(0, MOST_TIDY)
  if (some.length === 0) return true
  if (some.length < sources.length)
    console.log(`lint: ${some.length} of ${sources.length} changed files; --all checks all`)
  const flags = ['-std=c++20', '-Inative', '-Inative/include']
  return run(program, ['--quiet', '--warnings-as-errors=*', ...some, '--', ...flags])
}

const steps = {
  // All of `npm run build:ts`: dist has to be whole after it.
  library: () =>
    tsc('tsconfig.json') &&
    node(join(root, 'scripts/arguments.mjs')) &&
    node(join(root, 'scripts/commonjs.mjs')),
  bench: () => tsc('bench/tsconfig.json'),
  examples: () => tsc('examples/tsconfig.json'),
  tests: () => tsc('test/tsconfig.json', '--noEmit'),
  biome: () => node(join(packages, '@biomejs/biome/bin/biome'), 'check', '--error-on-warnings'),
  'clang-format': () => node(join(root, 'scripts/format-cpp.mjs'), '--check'),
  words: () => node(join(root, 'scripts/check-words.mjs')),
  shell,
  python,
  'clang-tidy': tidy,
}

const unknown = names.filter((name) => !Object.hasOwn(steps, name))
if (unknown.length > 0) {
  console.error(`lint: no step ${unknown.join(', ')}; there are: ${Object.keys(steps).join(', ')}`)
  process.exit(2)
}
const failed = []
for (const [name, step] of Object.entries(steps)) {
  if (names.length > 0 && !names.includes(name)) continue
  console.log(`lint: ${name}`)
  if (!step()) failed.push(name)
}
if (failed.length > 0) console.error(`lint: failed: ${failed.join(', ')}`)
process.exitCode = failed.length > 0 ? 1 : 0
