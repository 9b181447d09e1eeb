/** `fused-rnn build`: the addon from its sources, in the folder of the package. Needs no addon. */
import { spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { UserError } from './errors.js'
import type { BuildOptions } from './options.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const windows = process.platform === 'win32'

/** What building needs and using does not: development dependencies of package.json. */
const TOOLS = ['cmake-js', 'node-addon-api', 'node-api-headers']

/** A program that is there: one of these names answers. */
function has(...names: string[]): boolean {
  return names.some((name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0)
}

/** @throws UserError that names everything that is missing */
function checkPrograms(): void {
  const missing: string[] = []
  const compilers = [process.env.CXX, 'c++', 'g++', 'clang++'].filter((name) => name !== undefined)
  if (!windows && !has(...compilers)) missing.push('a C++20 compiler (g++ 11 or newer, or clang)')
  if (!has('cmake')) missing.push('cmake (3.19 or newer)')
  if (!windows && !has('make', 'ninja')) missing.push('make')
  if (missing.length === 0) return
  const debian = existsSync('/usr/bin/apt-get')
    ? '; as root: apt-get install -y --no-install-recommends g++ cmake make'
    : ''
  throw new UserError(`building the addon needs ${missing.join(', ')}, not found here${debian}`)
}

/** Whether all tools can be loaded from this folder. */
function complete(folder: string): boolean {
  const { resolve } = createRequire(join(folder, 'package.json'))
  try {
    for (const name of TOOLS) resolve(`${name}/package.json`)
    return true
  } catch {
    return false
  }
}

/** The folder from which the tools are loaded: the package's, or one where npm puts them now. */
function findTools(): string {
  const own = join(root, 'build/tools')
  for (const folder of [root, own]) if (complete(folder)) return folder
  const { devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const wanted = TOOLS.map((name) => `${name}@${devDependencies[name]}`)
  console.error(`fused-rnn: fetching ${TOOLS.join(', ')} with npm`)
  mkdirSync(own, { recursive: true })
  writeFileSync(join(own, 'package.json'), '{ "private": true }\n')
  const flags = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
  // With npm's variables of `npx` it would install for the project that npx was called in.
  const env = Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^npm_(config_(local_)?prefix|package_)/.test(name),
    ),
  )
  const { status } = spawnSync('npm', ['install', '--prefix', own, ...flags, ...wanted], {
    cwd: own,
    env,
    shell: windows,
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  if (status === 0 && complete(own)) return own
  throw new UserError(
    `${TOOLS.join(', ')} are needed and could not be fetched; install them beside fused-rnn: npm install --save-dev ${wanted.join(' ')}`,
  )
}

/** @throws UserError when something is missing, or building fails */
export async function build({ cuda }: BuildOptions): Promise<void> {
  if (!existsSync(join(root, 'CMakeLists.txt')))
    throw new UserError(`there are no sources of the addon in ${root}`)
  try {
    accessSync(root, constants.W_OK)
  } catch {
    throw new UserError(`cannot write to ${root}, where the addon is built`)
  }
  checkPrograms()
  const tools = findTools()
  const folder = join(root, 'build')
  const { forgetOtherClone } = await import(
    pathToFileURL(join(root, 'scripts/build-folder.mjs')).href
  )
  forgetOtherClone(folder)
  console.error('fused-rnn: building the addon takes some minutes')
  const program = createRequire(join(tools, 'package.json')).resolve('cmake-js/bin/cmake-js')
  const args = ['compile', '--directory', root, '--out', folder, `--CDFUSED_RNN_CUDA=${cuda}`]
  const places = [join(tools, 'node_modules'), process.env.NODE_PATH].filter(Boolean)
  const { status } = spawnSync(process.execPath, [program, ...args], {
    cwd: root,
    env: {
      CMAKE_BUILD_PARALLEL_LEVEL: String(availableParallelism()),
      ...process.env,
      // CMakeLists.txt asks for the place of node-addon-api.
      NODE_PATH: places.join(delimiter),
    },
    stdio: 'inherit',
  })
  if (status !== 0)
    throw new UserError("building the addon failed; the compiler's messages are above")
  const addon = join(folder, 'Release/fused_rnn.node')
  const load = 'require(process.argv[1])'
  const loaded = spawnSync(process.execPath, ['--eval', load, addon], { encoding: 'utf8' })
  if (loaded.status !== 0)
    throw new UserError(`the addon that was built does not load: ${loaded.stderr}`)
  console.log(`fused-rnn: built ${addon}`)
}
