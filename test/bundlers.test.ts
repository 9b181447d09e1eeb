/**
 * The library in a bundle, by esbuild; `npm run check:bundlers` tries the other tools. And whether
 * there is one library in a process, by both ways of loading it.
 */
import { execFile } from 'node:child_process'
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { addonFile } from '../dist/binding.js'
import { VERSION } from '../dist/version.js'
import { onCpu } from './helpers.js'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const program = join(root, 'scripts/bundlers/program.mjs')

// How a bundle finds the addon knows no device.
const once = onCpu ? test : test.skip

/** What is used of it: a clone whose packages are older has no types of it. */
interface Bundler {
  build(options: object): Promise<unknown>
}
const name: string = 'esbuild'
const esbuild = (await import(name).catch(() => null)) as Bundler | null
const bundled = esbuild === null ? test.skip : once
if (esbuild === null) console.log('bundlers: esbuild is not installed (npm ci): skipped')

/** Without the variables that lead the test process itself to its addon. */
const env = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !name.startsWith('FUSED_RNN_')),
)

/** Runs a program from its own folder: from the clone, a bundle would find the clone's addon. */
async function run(file: string): Promise<string> {
  const done = promisify(execFile)(process.execPath, [file], { env, cwd: dirname(file) })
  return done.then(
    ({ stdout }) => stdout.trim(),
    ({ stderr }) => /Error: (.*)/.exec(stderr)?.[1] ?? stderr,
  )
}

function temporary(t: ExecutionContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'fused-rnn-bundle-'))
  t.teardown(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

for (const format of ['esm', 'cjs'] as const)
  bundled(`a bundle by esbuild, ${format}: the addon beside it, or what to do`, async (t) => {
    const folder = temporary(t)
    const outfile = join(folder, format === 'esm' ? 'bundle.mjs' : 'bundle.cjs')
    const options = { bundle: true, platform: 'node', logLevel: 'silent', format, outfile }
    await esbuild?.build({ ...options, entryPoints: [program] })
    const said = await run(outfile)
    t.regex(said, /^fused-rnn: the addon was not found from the bundle .*bundle\.[cm]js; mark/)
    t.true(said.includes(outfile), said)
    copyFileSync(addonFile, join(folder, 'fused_rnn.node'))
    t.is(await run(outfile), 'learnt')
  })

bundled(
  'import and require give one library, with and without require() of ES modules',
  async (t) => {
    // In the clone, whose package.json a file in a temporary folder would not find.
    const text = `import * as imported from 'fused-rnn'
    import { createRequire } from 'node:module'
    const required = createRequire(${JSON.stringify(join(root, 'package.json'))})('fused-rnn')
    const names = [imported, required].map((all) => Object.keys(all).filter((name) => name !== 'module.exports').sort().join())
    console.log(required.randn([2]) instanceof imported.Tensor, names[0] === names[1])`
    for (const flags of [[], ['--no-experimental-require-module']])
      t.is(
        await promisify(execFile)(
          process.execPath,
          [...flags, '--input-type=module', '--eval', text],
          { env, cwd: root },
        ).then(({ stdout }) => stdout.trim()),
        'true true',
        String(flags),
      )
  },
)

bundled('values are of the realm that reads them, as in Jest', async (t) => {
  const folder = temporary(t)
  const file = join(folder, 'realm.cjs')
  const library = JSON.stringify(join(root, 'dist/index.cjs'))
  writeFileSync(
    file,
    `const { readFileSync } = require('node:fs')
    const { compileFunction, createContext, runInContext } = require('node:vm')
    const context = createContext({ process, Buffer, URL, AbortController, AbortSignal, setTimeout, queueMicrotask, performance, structuredClone, TextDecoder, TextEncoder, ArrayBuffer })
    const names = ['exports', 'require', 'module', '__filename', '__dirname']
    const module_ = { exports: {} }
    compileFunction(readFileSync(${library}, 'utf8'), names, { parsingContext: context })(
      module_.exports, require, module_, ${library}, '')
    const Float32 = runInContext('Float32Array', context)
    const x = module_.exports.tensor([1, 2])
    Promise.resolve(x.add(1).data()).then((values) =>
      console.log(values instanceof Float32, values instanceof Float32Array, values.join()))`,
  )
  t.is(await run(file), 'true false 2,3')
})

once('ts/version.ts has the version of package.json', (t) => {
  t.is(VERSION, JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).version)
})
