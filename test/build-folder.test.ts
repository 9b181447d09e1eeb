/** scripts/build-folder.mjs: a build folder that was copied with a clone is not built in. */
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { run } from './limits.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const script = join(root, 'scripts/build-folder.mjs')

interface Clone {
  path: string
  /** Makes a build folder that CMake has configured for these sources, in this folder. */
  configured(folder: string, sources: string, itself?: string): Promise<string>
  /** What the script says of a build folder. */
  look(folder: string): Promise<string>
}

/** A folder with nothing of a clone but the script. */
async function clone(t: ExecutionContext): Promise<Clone> {
  const path = await mkdtemp(join(tmpdir(), 'fused-rnn-clone-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  await mkdir(join(path, 'scripts'))
  const own = join(path, 'scripts/build-folder.mjs')
  await writeFile(own, await readFile(script))
  return {
    path,
    async configured(folder, sources, itself = join(path, folder)) {
      const at = join(path, folder)
      await mkdir(join(at, 'CMakeFiles'), { recursive: true })
      await mkdir(join(at, 'Release'))
      const cache = `CMAKE_CACHEFILE_DIR:INTERNAL=${itself}\nCMAKE_HOME_DIRECTORY:INTERNAL=${sources}\n`
      await writeFile(join(at, 'CMakeCache.txt'), `# This is the CMakeCache file.\n${cache}`)
      for (const name of ['build.ninja', '.ninja_log', 'Makefile', 'Release/fused_rnn.node'])
        await writeFile(join(at, name), '')
      return at
    },
    async look(folder) {
      const { code, stdout, stderr } = await run(process.execPath, [own, folder])
      t.is(code, 0, stderr)
      t.is(stdout, '')
      return stderr
    },
  }
}

test('what another clone has configured is forgotten, what it has built stays', async (t) => {
  const { path, configured, look } = await clone(t)
  for (const folder of ['build', 'build/asan']) {
    const at = await configured(folder, '/somewhere/else', `/somewhere/else/${folder}`)
    t.regex(await look(folder), /was made for \/somewhere\/else, and is configured anew\n$/)
    t.deepEqual(await readdir(at), ['Release'])
    t.is(await look(folder), '', 'the second time there is nothing to say')
    t.deepEqual(await readdir(join(at, 'Release')), ['fused_rnn.node'])
  }
  // The clone has been moved and its build folder not, or only that one.
  const moved = await configured('build-a', path, '/somewhere/build-a')
  t.regex(await look('build-a'), /was made for \/somewhere\/build-a/)
  t.deepEqual(await readdir(moved), ['Release'])
})

test('what this clone has configured stays, by whatever name', async (t) => {
  const { path, configured, look } = await clone(t)
  const other = `${path}-link`
  await symlink(path, other)
  t.teardown(() => rm(other))
  for (const [folder, sources] of [
    ['build', path],
    ['build-b', other],
  ] as const) {
    const at = await configured(folder, sources, join(sources, folder))
    t.is(await look(folder), '')
    t.true((await readdir(at)).includes('CMakeCache.txt'))
  }
  t.is(await look('no-such-folder'), '')
})

test('everything that builds in a build folder looks first', async (t) => {
  const { scripts, files } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  for (const [name, line] of Object.entries<string>(scripts)) {
    if (/\bcmake(-js)? /.test(line)) t.regex(line, /^node scripts\/build-folder\.mjs /, name)
  }
  for (const name of await readdir(join(root, 'scripts'))) {
    if (!name.endsWith('.mjs')) continue
    const text = await readFile(join(root, 'scripts', name), 'utf8')
    if (/cmake-js\/bin|\('cmake'/.test(text)) t.regex(text, /^ *forgetOtherClone\(/m, name)
  }
  // What `fused-rnn build` runs where the package is installed.
  t.regex(await readFile(join(root, 'ts/cli/build.ts'), 'utf8'), /^ *forgetOtherClone\(/m)
  t.true(files.includes('scripts/build-folder.mjs'))
})
