// What npm runs when the package is installed, where it may run anything. With a prebuilt addon for
// this platform there is nothing to do; otherwise it builds one, or says in a line what is missing.
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { arch, platform } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { forgetOtherClone } from './build-folder.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const require = createRequire(import.meta.url)

function stop(line) {
  console.error(`fused-rnn: ${line}`)
  process.exit(1)
}

/** Whether there is an addon that loads; else why not. */
function find() {
  try {
    require('node-gyp-build')(root)
    return ''
  } catch (error) {
    if (!/No native build/.test(error.message))
      return `the prebuilt addon does not load (${error.message})`
    return `there is no prebuilt addon for ${platform()}-${arch()}`
  }
}

/** A program that is there: the first of these names that answers. */
function has(...names) {
  return names.some((name) => spawnSync(name, ['--version'], { stdio: 'ignore' }).status === 0)
}

const why = find()
if (why !== '') {
  const missing = []
  if (platform() !== 'win32' && !has(...[process.env.CXX, 'c++', 'g++', 'clang++'].filter(Boolean)))
    missing.push('a C++ compiler (g++ 11 or newer)')
  if (!has('cmake')) missing.push('cmake (3.19 or newer)')
  if (platform() !== 'win32' && !has('make', 'ninja')) missing.push('make')
  if (missing.length > 0) stop(`${why}, and to build it ${missing.join(', ')} would be needed`)
  console.error(`fused-rnn: ${why}; building it takes some minutes`)
  forgetOtherClone(join(root, 'build'))
  const program = require.resolve('cmake-js/bin/cmake-js')
  const built = spawnSync(process.execPath, [program, 'compile'], { cwd: root, stdio: 'inherit' })
  if (built.status !== 0) stop(`${why}, and building it failed; the compiler's output is above`)
}
