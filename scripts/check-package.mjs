// Packs the package and tries the tarball as its users get it: in an empty folder, with no compiler
// or cmake on PATH and no install script run.
//
//   node scripts/check-package.mjs [--tarball FILE] [NODE…]
//
// NODE: paths of further Node programs to run it with. --tarball takes one that is packed already.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { checkNeeds } from './addon-needs.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const { values, positionals } = parseArgs({
  options: { tarball: { type: 'string' } },
  allowPositionals: true,
})
const nodes = [process.execPath, ...positionals.map((path) => resolve(path))]

const work = mkdtempSync(join(tmpdir(), 'fused-rnn-package-'))
process.on('exit', () => rmSync(work, { recursive: true, force: true }))

// The programs an installed package needs, and no other.
const bin = join(work, 'bin')
mkdirSync(bin)
for (const name of ['npm', 'sh']) symlinkSync(which(name), join(bin, name))
symlinkSync(process.execPath, join(bin, 'node'))
const bareEnv = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(FUSED_RNN_|npm_|NODE_|INIT_CWD)/.test(name)),
)

function which(name) {
  return execFileSync('/bin/sh', ['-c', `command -v ${name}`], { encoding: 'utf8' }).trim()
}

function fail(message) {
  console.error(`check-package: ${message}`)
  process.exit(1)
}

/** Runs a program with all of this machine; its output is returned, or shown when it fails. */
function run(program, args, options = {}) {
  const { status, error, stdout, stderr } = spawnSync(program, args, {
    cwd: root,
    encoding: 'utf8',
    ...options,
  })
  if (status === 0) return stdout
  console.error(`${stdout ?? ''}${stderr ?? ''}${error ?? ''}`)
  fail(`'${[program, ...args].join(' ')}' failed`)
}

/** The same in the empty folder, with the bare PATH. */
function runBare(program, args, more = {}) {
  const PATH = bin
  return run(program, args, { cwd: home, env: { ...bareEnv, PATH }, ...more })
}

const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(1)} s`

// ---- Pack -----------------------------------------------------------------------------------------

let tarball = values.tarball && resolve(values.tarball)
if (!tarball) {
  const args = ['pack', '--silent', '--pack-destination', work]
  run('npm', args, { stdio: ['ignore', 'ignore', 'inherit'] })
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  tarball = join(work, `fused-rnn-${version}.tgz`)
}
const files = run('tar', ['-tzf', tarball]).split('\n')
const addons = files.filter((file) => file.endsWith('.node'))
if (addons.length === 0) fail('there is no prebuilt addon in the tarball')
console.log(
  `packed     ${files.length} files, ${(readFileSync(tarball).length / 1e6).toFixed(2)} MB`,
)

// ---- From outside -----------------------------------------------------------------------------------

const tool = (name) => join(root, 'node_modules/.bin', name)
run(tool('publint'), ['run', tarball, '--strict'])
// Both import and require(), also as TypeScript found packages before there were "exports".
run(tool('attw'), [tarball, '--profile', 'strict', '--no-definitely-typed'])
console.log('types      publint and attw have nothing to say')

// ---- What the addons ask of the system --------------------------------------------------------------

const home = join(work, 'home')
mkdirSync(home)
run('tar', ['-xzf', tarball, '-C', work])
for (const addon of addons.filter((file) => /linux-.*glibc/.test(file))) {
  try {
    console.log(
      `needs      glibc ${checkNeeds(join(work, addon))}: ${addon.slice('package/'.length)}`,
    )
  } catch (error) {
    fail(error.message)
  }
}

// ---- Install ----------------------------------------------------------------------------------------

writeFileSync(join(home, 'package.json'), '{ "private": true }\n')
let start = performance.now()
const quiet = ['--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund']
runBare(join(bin, 'npm'), ['install', tarball, ...quiet])
console.log(`installed  in ${seconds(start)}, with no compiler and no script`)

const readme = readFileSync(join(root, 'README.md'), 'utf8')
const example = /^```ts\n(.*?)^```$/ms.exec(readme)[1]
const short = example
  .replace(/maxEpochs: \d+/, 'maxEpochs: 1')
  .replace(/hiddenSize: \d+/, 'hiddenSize: 16')
writeFileSync(join(home, 'sonnets.mjs'), short)
writeFileSync(
  join(home, 'required.cjs'),
  `const { nn, randn } = require('fused-rnn')
  const [output, [h]] = new nn.LSTM(3, 4).forward(randn([5, 2, 3]))
  output.data().then((values) => {
    if (values.length !== 40 || !(h.shape.join() === '1,2,4')) process.exitCode = 1
  })`,
)
writeFileSync(
  join(home, 'both.mjs'),
  `import * as imported from 'fused-rnn'
  import { createRequire } from 'node:module'
  const required = createRequire(import.meta.url)('fused-rnn')
  if (!(required.randn([2]) instanceof imported.Tensor)) process.exitCode = 1
  if (Object.keys(imported).join() !== Object.keys(required).join()) process.exitCode = 1`,
)
for (const node of nodes) {
  const version = runBare(node, ['--version']).trim()
  start = performance.now()
  const text = runBare(node, ['sonnets.mjs'])
  if (!text.startsWith('Shall I ')) fail(`README's program wrote '${text}'`)
  console.log(`example    on Node ${version} in ${seconds(start)}`)
  // One library, in ES modules or in CommonJS, by both ways of loading it.
  for (const flags of [[], ['--no-experimental-require-module']])
    for (const file of ['required.cjs', 'both.mjs']) runBare(node, [...flags, file])
}

// README's program and a file in CommonJS, checked against the types that were installed.
writeFileSync(join(home, 'sonnets.mts'), example)
writeFileSync(
  join(home, 'required.cts'),
  `import fused = require('fused-rnn')\nexport const hidden: number = new fused.nn.GRU(2, 3).hiddenSize\n`,
)
writeFileSync(
  join(home, 'tsconfig.json'),
  JSON.stringify({
    compilerOptions: {
      module: 'nodenext',
      target: 'es2022',
      strict: true,
      noEmit: true,
      exactOptionalPropertyTypes: true,
      types: ['node'],
      typeRoots: [join(root, 'node_modules/@types')],
    },
    include: ['*.mts', '*.cts'],
  }),
)
run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', home])
console.log('types      README’s program compiles, with skipLibCheck off')

const program = join(home, 'node_modules/.bin/fused-rnn')
process.stdout.write(runBare(program, ['doctor']).replace(/^/gm, '  '))
console.log()

// The benchmark: ours alone, and the peers' programs, for those who have Python.
for (const name of [
  'serve',
  'pytorch',
  'pytorch_models',
  'pytorch_products',
  'jax_scan',
  'keras_model',
])
  if (!files.includes(`package/bench/peers/${name}.py`)) fail(`${name}.py is not packed`)
const tiny = '--hidden 8 --input 4 --batch 2 --steps 3 --rounds 1 --threads 1 --json'.split(' ')
const { rows } = JSON.parse(runBare(program, ['bench', ...tiny]))
if (!(rows[0].ours.tokensPerSecond > 0)) fail('bench measured nothing')
console.log('bench      runs; the peers’ programs are there')

// ---- Without a prebuilt addon -------------------------------------------------------------------------

const installed = join(home, 'node_modules/fused-rnn')
rmSync(join(installed, 'prebuilds'), { recursive: true })
/** What the command line says in the empty folder when it fails: one line. */
function refused(command, pattern) {
  const options = { cwd: home, env: { ...bareEnv, PATH: bin }, encoding: 'utf8' }
  const cli = join(installed, 'dist/cli/main.js')
  const { status, stderr } = spawnSync(process.execPath, [cli, command], options)
  if (status !== 1 || !pattern.test(stderr)) fail(`${command}: code ${status}, says '${stderr}'`)
  console.log(`without    ${command}: ${stderr.trim()}`)
}
refused('doctor', /^fused-rnn: there is no .*npx fused-rnn build.*\n$/)
refused('build', /^fused-rnn: building the addon needs a C\+\+20 compiler .*, cmake .*\n$/)
