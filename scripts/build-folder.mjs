// A build folder that came along with a copy of the clone (cp -r, mv, a container's layer) belongs to
// the folder that it was made in: its cache has absolute paths, and `cmake --build` would build the
// sources of the other clone without a word. Whatever builds calls this before:
//
//   node scripts/build-folder.mjs [FOLDER…]     default: build
//
// Such a folder is emptied of what CMake keeps in it, and configured anew by the build that follows.
import { readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')

/** What CMake and the programs it writes files for remember; what they have built may stay. */
const REMEMBERED =
  /^(CMakeCache\.txt|CMakeFiles|cmake_install\.cmake|Makefile|.*\.ninja|\.ninja_\w+)$/

/** The same name for every spelling of a path; null for none. */
function real(path) {
  try {
    return realpathSync(path)
  } catch {
    return null
  }
}

/**
 * Makes a build folder forget the sources it was made for, if they are others.
 * @param folder with or without CMakeCache.txt
 * @param source the folder of CMakeLists.txt that is to be built in it
 * @returns the sources it was made for, or null if it is as it should be
 */
export function forgetOtherClone(folder, source = root) {
  let cache
  try {
    cache = readFileSync(join(folder, 'CMakeCache.txt'), 'utf8')
  } catch (error) {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return null
    throw error
  }
  const entry = (name) => new RegExp(`^${name}:INTERNAL=(.*)$`, 'm').exec(cache)?.[1]
  const [sources, itself] = [entry('CMAKE_HOME_DIRECTORY'), entry('CMAKE_CACHEFILE_DIR')]
  // Without an entry configuring was broken off: nothing can have been built.
  const differs = (path, expected) => path !== undefined && real(path) !== real(expected)
  if (!differs(sources, source) && !differs(itself, folder)) return null
  for (const name of readdirSync(folder)) {
    if (REMEMBERED.test(name)) rmSync(join(folder, name), { recursive: true, force: true })
  }
  const made = differs(sources, source) ? sources : itself
  const name = relative(process.cwd(), resolve(folder)) || '.'
  console.error(`fused-rnn: ${name} was made for ${made}, and is configured anew`)
  return made
}

if (process.argv[1] !== undefined && real(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const folders = process.argv.slice(2)
  for (const folder of folders.length > 0 ? folders : ['build'])
    forgetOtherClone(resolve(root, folder))
}
