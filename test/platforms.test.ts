/** Which addon is loaded: what was built, what was prebuilt, a platform's package; or what to do. */
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { addonFile } from '../dist/binding.js'
import { libc, PLATFORMS } from '../dist/platforms.js'
import { VERSION } from '../dist/version.js'
import { onCpu } from './helpers.js'
import { run } from './limits.js'

const needs: string = new URL('../scripts/addon-needs.mjs', import.meta.url).href
const { checkNeeds, checkNode } = (await import(needs)) as {
  checkNeeds(file: string, allowed?: string): string
  checkNode(file: string): number
}

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const { platform, arch } = process
const fitting = PLATFORMS.filter(
  (place) =>
    place.os === platform &&
    place.cpu === arch &&
    (place.libc === undefined || libc()?.startsWith(place.libc)),
)
const [here] = fitting
// What finds the addon knows no device, and no FUSED_RNN_ADDON.
const once = onCpu && here !== undefined && !process.env.FUSED_RNN_ADDON ? test : test.skip
const other = PLATFORMS.find((place) => !fitting.includes(place))

interface Project {
  /** Writes a file below node_modules; a package.json without text is that of its folder's package. */
  write(path: string, text?: string): string
  /** The addon that the package finds. */
  find(): Promise<string>
}

/** A folder where the package is installed, as far as it looks for an addon. */
function project(t: ExecutionContext): Project {
  const folder = mkdtempSync(join(tmpdir(), 'fused-rnn-platforms-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const modules = join(folder, 'node_modules')
  const write = (path: string, text = ''): string => {
    const file = join(modules, path)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, text)
    return file
  }
  const own = { name: 'fused-rnn', version: VERSION, type: 'module' }
  write('fused-rnn/package.json', JSON.stringify(own))
  for (const name of ['addon', 'here', 'platforms', 'version'])
    cpSync(join(root, `dist/${name}.js`), join(modules, `fused-rnn/dist/${name}.js`))
  symlinkSync(join(root, 'node_modules/node-gyp-build'), join(modules, 'node-gyp-build'))
  return {
    write,
    find: async () => {
      const { href } = pathToFileURL(join(modules, 'fused-rnn/dist/addon.js'))
      return ((await import(href)) as { findAddon(): string }).findAddon()
    },
  }
}

/** A platform's package, with an addon unless told otherwise. */
function install({ write }: Project, name: string, version = VERSION, addon = true): string {
  const folder = `@fused-rnn/${name}`
  write(`${folder}/package.json`, JSON.stringify({ name: folder, version }))
  return addon ? write(`${folder}/prebuilds/${platform}-${arch}/fused-rnn.node`) : ''
}

const name = here?.name ?? ''

once(
  'a platform’s package, then what was prebuilt in the package, then what was built there',
  async (t) => {
    const installed = project(t)
    const ofPlatform = install(installed, name)
    t.is(await installed.find(), ofPlatform)
    const prebuilt = installed.write(`fused-rnn/prebuilds/${platform}-${arch}/fused-rnn.node`)
    t.is(await installed.find(), prebuilt)
    const built = installed.write('fused-rnn/build/Release/fused_rnn.node')
    t.is(await installed.find(), built)
  },
)

once('of two that fit, one without an addon or of another version is passed over', async (t) => {
  const [, second] = fitting
  if (second === undefined) return void t.pass('one fits here')
  const installed = project(t)
  install(installed, name, '0.0.1')
  const next = install(installed, second.name)
  t.is(await installed.find(), next)
  const again = project(t)
  install(again, second.name, VERSION, false)
  const full = install(again, name)
  t.is(await again.find(), full)
})

once(
  'without one: the package that is missing, what is there instead, and what to do',
  async (t) => {
    const message = `the package @fused-rnn/${name} ${VERSION}, which holds it, is not installed`
    const says = async (installed: Project): Promise<string> =>
      installed.find().then(
        (file) => file,
        (error: Error) => error.message,
      )
    t.true((await says(project(t))).includes(`${message}. Install on this system`))
    t.regex(await says(project(t)), /--omit=optional.*npx fused-rnn build$/)
    const old = project(t)
    install(old, name, '0.0.1')
    t.true((await says(old)).includes(`${message} (@fused-rnn/${name} is version 0.0.1)`))
    const empty = project(t)
    install(empty, name, VERSION, false)
    t.true((await says(empty)).includes(`(@fused-rnn/${name} has no addon in it)`))
    const moved = project(t)
    install(moved, other?.name ?? '')
    t.true((await says(moved)).includes(`(@fused-rnn/${other?.name} is for another system)`))
  },
)

test('every platform has one package, with and without CUDA', (t) => {
  const keys = PLATFORMS.map(({ os, cpu, libc, cuda }) => [os, cpu, libc, cuda].join())
  t.is(new Set(keys).size, PLATFORMS.length)
  for (const { name, os, cpu, libc, cuda } of PLATFORMS)
    t.is(name, [os, cpu, ...(libc === 'musl' ? ['musl'] : []), ...(cuda ? ['cuda'] : [])].join('-'))
})

// ---- What the addon asks of Node ----------------------------------------------------------------------

const linux = onCpu && platform === 'linux' ? test : test.skip

linux('the addon calls nothing that a host of Node-API 8 lacks, Electron among them', (t) => {
  t.true(checkNode(addonFile) > 50)
})

linux('what an older glibc lacks is found in an addon, by name', (t) => {
  if (libc() === 'musl') return void t.pass('there is no glibc here')
  // Built on this machine, whatever its age, it asks for no more than Node's own programs do.
  t.regex(checkNeeds(addonFile), /^2\.\d+$/)
  t.throws(() => checkNeeds(addonFile, '2.2'), {
    message: /needs glibc 2\.\d+, not 2\.2: \w+@GLIBC/,
  })
})

linux('what Electron refuses, a newer Node-API and V8 itself are found in an addon', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'fused-rnn-needs-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  const file = join(folder, 'addon.node')
  /** An addon that calls one function. */
  const build = async (called: string, entry = 'napi_register_module_v1'): Promise<boolean> => {
    const source = join(folder, 'addon.c')
    writeFileSync(source, `void ${called}(void); void ${entry}(void) { ${called}(); }\n`)
    const done = await run('cc', ['-shared', '-fPIC', '-o', file, source]).catch(() => null)
    return done?.code === 0
  }
  if (!(await build('napi_create_double'))) return void t.pass('there is no C compiler here')
  t.is(checkNode(file), 1)
  for (const called of [
    'napi_create_external_arraybuffer',
    'node_api_symbol_for',
    'uv_queue_work',
    '_ZN2v87Isolate10GetCurrentEv',
  ]) {
    t.true(await build(called))
    t.throws(() => checkNode(file), { message: new RegExp(`needs ${called}`) })
  }
  t.true(await build('napi_create_double', 'init'))
  t.throws(() => checkNode(file), { message: /shows init/ })
})
