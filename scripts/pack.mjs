// Packs the packages of a release into a folder: fused-rnn without an addon, and @fused-rnn/PLATFORM
// with one, for this machine and for every other platform whose addon is in prebuilds/packages.
//
//   npm run pack:all [-- [--out FOLDER] [--prebuilt]]
//
// FOLDER: default prebuilds/packages. --prebuilt: no addon is built, not even this machine's.
//
// The clone's package.json does not name the platforms' packages: before they are published, npm
// could not install the clone. So they are written here. `npm pack` in the clone makes one package
// with this machine's addon inside, instead.
import { spawnSync } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { checkMac, checkNeeds, checkNode } from './addon-needs.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const { values } = parseArgs({
  options: { out: { type: 'string' }, prebuilt: { type: 'boolean' } },
})
const packages = join(root, 'prebuilds/packages')
const out = resolve(values.out ?? packages)

function run(program, args, cwd = root) {
  const options = { cwd, encoding: 'utf8', shell: process.platform === 'win32' }
  const { status, stdout, stderr, error } = spawnSync(program, args, options)
  if (status === 0) return stdout
  console.error(`${stdout ?? ''}${stderr ?? ''}${error ?? ''}`)
  console.error(`pack: '${[program, ...args].join(' ')}' failed`)
  process.exit(1)
}

const readJson = (file) => JSON.parse(readFileSync(file, 'utf8'))
const writeJson = (file, value) => writeFileSync(file, `${JSON.stringify(value, null, 2)}\n`)
const megabytes = (file) => `${(statSync(file).size / 1e6).toFixed(2)} MB`

/** npm pack in this folder; prints what it has made. */
function pack(folder, note) {
  const flags = ['--silent', '--ignore-scripts', '--pack-destination', out]
  const name = run('npm', ['pack', ...flags], folder)
    .trim()
    .split('\n')
    .at(-1)
  console.log(`${name.padEnd(38)} ${megabytes(join(out, name))}${note}`)
}

run('npm', ['run', 'build:dist'])
const { PLATFORMS, libc } = await import('../dist/platforms.js')
const { platform, arch } = process
const here = PLATFORMS.find(
  (place) =>
    place.os === platform &&
    place.cpu === arch &&
    (place.libc === undefined || libc().startsWith(place.libc)),
)
if (here !== undefined && !values.prebuilt)
  run(process.execPath, ['scripts/prebuild.mjs', '--platform', here.name])
mkdirSync(out, { recursive: true })

const main = readJson(join(root, 'package.json'))
const { version, license, author, repository, homepage, bugs, engines } = main
const scope = (name) => `@fused-rnn/${name}`

// ---- fused-rnn ------------------------------------------------------------------------------------

const work = mkdtempSync(join(tmpdir(), 'fused-rnn-pack-'))
process.on('exit', () => rmSync(work, { recursive: true, force: true }))
run('npm', ['pack', '--silent', '--ignore-scripts', '--pack-destination', work])
run('tar', ['-xzf', join(work, `fused-rnn-${version}.tgz`), '-C', work])
const folder = join(work, 'package')
rmSync(join(folder, 'prebuilds'), { recursive: true, force: true })
cpSync(join(root, 'docs'), join(folder, 'docs'), {
  recursive: true,
  filter: (file) => !file.startsWith(join(root, 'docs/api')),
})
const { scripts: _, imports: __, ava: ___, ...published } = main
const optionalDependencies = Object.fromEntries(PLATFORMS.map(({ name }) => [scope(name), version]))
const files = [...main.files.filter((name) => !/^!?prebuilds/.test(name)), 'docs']
writeJson(join(folder, 'package.json'), { ...published, files, optionalDependencies })
pack(folder, '')

// ---- @fused-rnn/PLATFORM --------------------------------------------------------------------------

/** The addon that prebuildify has put there; null for none. */
function addonOf(name) {
  const prebuilds = join(packages, name, 'prebuilds')
  if (!existsSync(prebuilds)) return null
  const found = readdirSync(prebuilds, { recursive: true }).find((file) => file.endsWith('.node'))
  return found === undefined ? null : join(prebuilds, found)
}

for (const { name, os, cpu, libc, cuda } of PLATFORMS) {
  const addon = addonOf(name)
  if (addon === null) {
    console.log(
      `${scope(name).padEnd(38)} not built here: npm run prebuildify -- --platform ${name}`,
    )
    continue
  }
  const folder = join(packages, name)
  writeJson(join(folder, 'package.json'), {
    name: scope(name),
    version,
    description: `fused-rnn's addon for ${name}`,
    homepage,
    repository,
    bugs,
    author,
    license,
    files: ['prebuilds'],
    engines,
    os: [os],
    cpu: [cpu],
    ...(libc ? { libc: [libc] } : {}),
    preferUnplugged: true,
  })
  if (libc === 'glibc') checkNeeds(addon)
  else if (libc === 'musl') checkNode(addon)
  else if (os === 'darwin') checkMac(addon)
  const what = cuda ? 'CPU and CUDA' : 'CPU'
  writeFileSync(
    join(folder, 'README.md'),
    `# ${scope(name)}\n\nThe addon of [fused-rnn](${homepage}) for ${name} (${what}). fused-rnn installs it by itself.\n`,
  )
  copyFileSync(join(root, 'LICENSE'), join(folder, 'LICENSE'))
  pack(folder, `, addon ${megabytes(addon)}`)
}
