// Tries the package with the bundlers and the test runner that docs/troubleshooting.md names, and in
// single executables as docs/platforms.md makes them, in a temporary folder, with the configuration
// written there: npm run check:bundlers [-- --tools FOLDER].
//
// The tools are installed from the registry, where there is one; --tools names a folder that has them.
// They are too large (130 MB) to be development dependencies. test/bundlers.test.ts tries esbuild.
import { spawnSync } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const TOOLS = [
  'webpack@5.113.0',
  'vite@8.4.0',
  'rollup@4.68.8',
  '@rollup/plugin-node-resolve@16',
  '@rollup/plugin-commonjs@29',
  'jest@30.5.2',
  'postject@1.0.0-alpha.6',
]

const work = mkdtempSync(join(tmpdir(), 'fused-rnn-bundlers-'))
process.on('exit', () => rmSync(work, { recursive: true, force: true }))

function run(program, args, cwd, env = process.env) {
  const { status, stdout, stderr, error } = spawnSync(program, args, { cwd, env, encoding: 'utf8' })
  return { status, text: `${stdout ?? ''}${stderr ?? ''}${error ?? ''}` }
}

function fail(message) {
  console.error(`check-bundlers: ${message}`)
  process.exit(1)
}

const given = process.argv.indexOf('--tools')
let tools = given < 0 ? null : resolve(process.argv[given + 1])
if (tools === null) {
  tools = work
  writeFileSync(join(work, 'package.json'), '{ "private": true }\n')
  const flags = ['--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund']
  const { status, text } = run('npm', ['install', ...flags, ...TOOLS], work)
  if (status !== 0 && /ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT|ENETUNREACH/.test(text)) {
    console.log('check-bundlers: skipped, there is no network to install the tools from')
    process.exit(0)
  }
  if (status !== 0) fail(`the tools cannot be installed:\n${text}`)
}

// A project that uses the package as it is packed: what `files` leaves out is not there.
const project = join(work, 'project')
const installed = join(project, 'node_modules/fused-rnn')
mkdirSync(installed, { recursive: true })
for (const name of ['package.json', 'dist', 'build/Release/fused_rnn.node'])
  cpSync(join(root, name), join(installed, name), { recursive: true })
const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
for (const name of Object.keys(dependencies)) {
  const place = join(project, 'node_modules', name)
  mkdirSync(dirname(place), { recursive: true })
  symlinkSync(join(root, 'node_modules', name), place)
}
const program = readFileSync(join(root, 'scripts/bundlers/program.mjs'), 'utf8')
writeFileSync(join(project, 'package.json'), '{ "private": true }\n')
writeFileSync(join(project, 'program.mjs'), program)
writeFileSync(
  join(project, 'program.cjs'),
  program.replace(/import (.*) from '(.*)'/, "const $1 = require('$2')"),
)

const tool = (file) => join(tools, 'node_modules', file)
/** Builds with a tool, then runs what it has written. */
function check(name, config, args, outputs) {
  for (const [file, text] of Object.entries(config)) writeFileSync(join(project, file), text)
  const started = performance.now()
  const built = run(process.execPath, args, project)
  if (built.status !== 0) fail(`${name} fails:\n${built.text}`)
  for (const output of outputs) {
    const { status, text } = run(process.execPath, [join(project, output)], project)
    if (status !== 0 || !text.startsWith('learnt')) fail(`${name}: ${output} says:\n${text}`)
    console.log(`${name.padEnd(24)} ${output}: ${text.trim()}`)
  }
  console.log(`${name.padEnd(24)} ${((performance.now() - started) / 1000).toFixed(1)} s`)
}

check(
  'webpack',
  {
    'webpack.cjs': `const target = { mode: 'production', target: 'node', entry: './program.mjs' }
const output = (filename) => ({ path: __dirname + '/out', filename })
require(${JSON.stringify(tool('webpack'))})(
  [
    { ...target, output: output('webpack.cjs') },
    {
      ...target,
      externals: { 'fused-rnn': 'commonjs fused-rnn' },
      output: output('webpack-external.cjs'),
    },
  ],
  (error, stats) => {
    if (error || stats.hasErrors() || stats.hasWarnings())
      throw error ?? new Error(stats.toString({ preset: 'errors-warnings' }))
  },
)
`,
  },
  ['webpack.cjs'],
  ['out/webpack.cjs', 'out/webpack-external.cjs'],
)

const plugin = (name) => JSON.stringify(pathToFileURL(tool(`@rollup/${name}/dist/es/index.js`)))
check(
  'rollup',
  {
    'rollup.mjs': `import commonjs from ${plugin('plugin-commonjs')}
import { nodeResolve } from ${plugin('plugin-node-resolve')}
const outputs = (name) => ['es', 'cjs'].map((format) => ({
  file: 'out/' + name + (format === 'es' ? '.mjs' : '.cjs'),
  format,
}))
export default [
  { input: 'program.mjs', external: ['fused-rnn'], output: outputs('rollup-external') },
  { input: 'program.mjs', plugins: [nodeResolve()], output: outputs('rollup') },
  { input: 'program.cjs', plugins: [nodeResolve(), commonjs()], output: outputs('rollup-required') },
]
`,
  },
  [tool('rollup/dist/bin/rollup'), '-c', 'rollup.mjs'],
  ['rollup-external', 'rollup', 'rollup-required'].flatMap((name) => [
    `out/${name}.mjs`,
    `out/${name}.cjs`,
  ]),
)

const vite = {
  ssr: "build: { ssr: 'program.mjs', outDir: 'out/ssr' }",
  inside: "ssr: { noExternal: true }, build: { ssr: 'program.mjs', outDir: 'out/inside' }",
  library: `build: {
    lib: { entry: 'program.mjs', formats: ['es', 'cjs'], fileName: 'library' },
    outDir: 'out/library',
    rollupOptions: { external: ['fused-rnn', /^node:/] },
  }`,
}
for (const [name, options] of Object.entries(vite)) {
  const file = `vite.${name}.mjs`
  const outputs = name === 'library' ? ['library.mjs', 'library.js'] : ['program.mjs']
  check(
    `vite, ${name}`,
    { [file]: `export default { logLevel: 'warn', ${options} }\n` },
    [tool('vite/bin/vite.js'), 'build', '-c', file],
    outputs.map((output) => `out/${name}/${output}`),
  )
}

// Several files in one process: each has its own library and its own classes, over one addon.
const jest = `const { nn, randn, Tensor, tensor } = require('fused-rnn')
test('values and classes are those of the test', async () => {
  const x = tensor(new Float32Array([1, 2, 3]))
  expect(x).toBeInstanceOf(Tensor)
  expect(await x.add(1).data()).toEqual(new Float32Array([2, 3, 4]))
  expect(() => x.add(tensor([1, 2]))).toThrow(RangeError)
  const [y] = new nn.LSTM(3, 4).forward(randn([5, 2, 3]))
  y.sum().backward()
  expect((await y.data()).length).toBe(40)
})
`
check(
  'jest',
  { 'jest.config.cjs': 'module.exports = {}\n', 'a.test.cjs': jest, 'b.test.cjs': jest },
  [tool('jest/bin/jest.js'), '--runInBand', '--testMatch', '**/*.test.cjs'],
  [],
)

// Single executables: the addon inside, then beside.
const page = readFileSync(join(root, 'docs/platforms.md'), 'utf8')
const written = (language) => new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'ms').exec(page)[1]
const fuse = /--sentinel-fuse (\w+)/.exec(page)[1]
const addon = join(installed, 'build/Release/fused_rnn.node')
const esbuild = [join(root, 'node_modules/esbuild/bin/esbuild'), '--bundle', '--platform=node']
function single(name, prefix, assets) {
  const folder = join(project, name)
  mkdirSync(folder)
  writeFileSync(join(folder, 'addon.cjs'), written('js'))
  writeFileSync(join(folder, 'program.mjs'), prefix + program)
  const config = { ...JSON.parse(written('json')), assets, disableExperimentalSEAWarning: true }
  writeFileSync(join(folder, 'sea.json'), JSON.stringify(config))
  const file = join(folder, process.platform === 'win32' ? 'program.exe' : 'program')
  copyFileSync(process.execPath, file)
  for (const args of [
    [...esbuild, '--log-level=error', 'program.mjs', '--outfile=bundle.cjs'],
    ['--experimental-sea-config', 'sea.json'],
    [tool('postject/dist/cli.js'), file, 'NODE_SEA_BLOB', 'program.blob', '--sentinel-fuse', fuse],
  ]) {
    const { status, text } = run(process.execPath, args, folder)
    if (status !== 0) fail(`${name}: ${args.join(' ')}:\n${text}`)
  }
  // Elsewhere: in the project, the package would be found.
  const alone = join(work, name)
  mkdirSync(alone)
  renameSync(file, join(alone, 'program'))
  if (assets === undefined) copyFileSync(addon, join(alone, 'fused_rnn.node'))
  const { status, text } = run(join(alone, 'program'), [], alone)
  if (status !== 0 || !text.startsWith('learnt')) fail(`${name} says:\n${text}`)
  console.log(`${name.padEnd(24)} ${text.trim()}`)
}
single('executable, addon inside', "import './addon.cjs'\n", { 'fused_rnn.node': addon })
single('executable, addon beside', '', undefined)
