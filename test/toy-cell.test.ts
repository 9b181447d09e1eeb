/**
 * A cell is told once: test/toy-cell/mgu.patch adds one by a header, its lines in cells.def and a
 * TypeScript class. It is applied to a copy of the sources, built for the CPU and native/cuda_host,
 * and goes through the recurrent layers' tests on both.
 */
import { execFile, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { onCpu, sanitized } from './helpers.js'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const exec = promisify(execFile)
const cache = join(root, 'build/CMakeCache.txt')
const works = (program: string): boolean => spawnSync(program, ['--version']).status === 0

/** Why it cannot be tried here; empty if it can. */
function missing(): string {
  if (!onCpu) return 'it has both devices itself'
  if (sanitized) return 'the build is another'
  for (const program of ['cmake', 'git']) if (!works(program)) return `there is no ${program}`
  if (!existsSync(cache)) return 'the addon was not built here'
  return ''
}
const why = missing()
const title = 'a cell is a header, its lines in cells.def and a class: it builds and passes'

const run = why === '' ? test : test.skip
run(why === '' ? title : `${title} (left out: ${why})`, async (t) => {
  t.timeout(30 * 60_000, 'the build takes minutes where there is no ccache')
  const copy = await mkdtemp(join(tmpdir(), 'fused-rnn-cell-'))
  t.teardown(() => rm(copy, { recursive: true, force: true }))
  const call = async (program: string, args: string[], env: NodeJS.ProcessEnv = {}) => {
    const options = { cwd: copy, env: { ...process.env, ...env }, maxBuffer: 2 ** 26 }
    await exec(program, args, options).catch((error: { stdout: string; stderr: string }) => {
      throw new Error(`${program} ${args.join(' ')}\n${error.stdout}\n${error.stderr}`)
    })
  }

  // Without native/test, whose programs are not needed.
  for (const name of [
    'CMakeLists.txt',
    'package.json',
    'tsconfig.json',
    'native',
    'ts',
    'scripts',
  ]) {
    const filter = (path: string) => path !== join(root, 'native/test')
    await cp(join(root, name), join(copy, name), { recursive: true, filter })
  }
  for (const name of ['helpers', 'limits', 'recurrent-helpers', 'recurrent-gradients.test']) {
    await cp(join(root, `dist-test/${name}.js`), join(copy, `dist-test/${name}.js`))
  }
  const equivalence = 'dist-test/recurrent-equivalence.test.js'
  await cp(join(root, equivalence), join(copy, equivalence))
  await mkdir(join(copy, 'dist-test/toy-cell'))
  const formula = 'dist-test/toy-cell/formula'
  await cp(join(root, `${formula}.js`), join(copy, `${formula}.test.js`))
  await symlink(join(root, 'node_modules'), join(copy, 'node_modules'))
  await call('git', ['apply', join(root, 'test/toy-cell/mgu.patch')])

  const known = await readFile(cache, 'utf8')
  const cached = [...known.matchAll(/^(CMAKE_JS_\w+|CMAKE_CXX_COMPILER):\w+=(.*)$/gm)]
  const ccache = works('ccache') ? ['-DCMAKE_CXX_COMPILER_LAUNCHER=ccache'] : []
  const options = ['-DFUSED_RNN_CUDA=host', '-DFUSED_RNN_BASE_ONLY=ON', '-DFUSED_RNN_ADDON=ON']
  const variables = [
    ...cached.map(([, name, value]) => `-D${name}=${value}`),
    ...options,
    ...ccache,
  ]
  const env = { CCACHE_BASEDIR: copy, CCACHE_NOHASHDIR: '1' }
  await call('cmake', ['-S', copy, '-B', 'build', ...variables], env)
  await call('cmake', ['--build', 'build', '--parallel', '2', '--target', 'fused_rnn'], env)
  await call(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', copy])

  const tests = [`${formula}.test.js`, 'dist-test/recurrent-gradients.test.js', equivalence]
  for (const device of ['cpu', 'cuda:0']) {
    await call(process.execPath, ['scripts/ava.mjs', '--match=MGU*', ...tests], {
      FUSED_RNN_ADDON: join(copy, 'build/fused_rnn.node'),
      FUSED_RNN_TEST_DEVICE: device,
      FUSED_RNN_TEST_LAYER: 'MGU',
    })
  }
  t.pass()
})
