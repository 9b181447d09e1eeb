// Makes the library in CommonJS, for what cannot load ES modules by require() (Jest, programs that
// run Node with --no-experimental-require-module), and the types for both:
//
//   dist/index.cjs    dist/index.js and all that it imports, in one file
//   dist/index.mjs    its names for `import`, where Node or a test runner loads index.cjs as well
//   dist/d3_scale.js, dist/cli-progress.cjs    packages that are in ours
//   dist/types/       the declarations, as those of CommonJS: any module may import them
//   dist/index.d.cts, dist/index.d.mts    both are dist/types/index.d.ts
//
// Which of index.js and index.cjs is loaded depends on the process (package.json's exports), never on
// `import` or `require`: there is one library in a process.
//
//   node scripts/commonjs.mjs [--required]
//
// Without --required, a clone without esbuild goes without.
import { copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const dist = join(root, 'dist')

const esbuild = await import('esbuild').catch((error) => {
  if (process.argv.includes('--required')) throw error
  console.error('commonjs: esbuild is not installed, so there is no dist/index.cjs: npm ci')
  process.exit(0)
})

const options = {
  absWorkingDir: root,
  bundle: true,
  platform: 'node',
  target: 'node20.19',
  // Names stay: messages and pictures of objects have those of classes.
  minifyWhitespace: true,
  keepNames: true,
  metafile: true,
  logLevel: 'warning',
}

/** Bundles one file; the licences of the packages that are in it are below. */
async function bundle(more) {
  const { metafile } = await esbuild.build({ ...options, ...more })
  const packages = new Set(
    Object.keys(metafile.inputs).flatMap((file) => /^node_modules\/[^/]+/.exec(file) ?? []),
  )
  const licences = [...packages].sort().map((folder) => {
    const names = readdirSync(join(root, folder))
    const file = names.find((name) => /^licen[cs]e/i.test(name))
    const text = readFileSync(join(root, folder, file), 'utf8').trim()
    return `/*! ${folder.replace('node_modules/', '')}\n${text}\n*/\n`
  })
  const text = readFileSync(more.outfile, 'utf8')
  writeFileSync(more.outfile, `${text}${licences.join('')}`)
}

// Packages that are in dist, so that they need not be installed with ours: an ES module, in place of
// the one that exports its names, and one that asks for Node's modules by require().
const scale = join(dist, 'd3_scale.js')
await bundle({ entryPoints: [scale], outfile: scale, allowOverwrite: true, format: 'esm' })
rmSync(`${scale}.map`, { force: true })
const progress = join(dist, 'cli-progress.cjs')
await bundle({ entryPoints: ['cli-progress'], outfile: progress, format: 'cjs' })

await bundle({
  entryPoints: [join(dist, 'index.js')],
  outfile: join(dist, 'index.cjs'),
  format: 'cjs',
  external: ['node-gyp-build'],
  define: { 'import.meta.url': 'undefined' },
})
writeFileSync(join(dist, 'index.mjs'), "export * from './index.cjs'\n")

const types = join(dist, 'types')
rmSync(types, { recursive: true, force: true })
for (const name of readdirSync(dist, { recursive: true })) {
  if (!name.endsWith('.d.ts') || /^((bench|cli)[\\/]|d3_scale\.)/.test(name)) continue
  mkdirSync(dirname(join(types, name)), { recursive: true })
  copyFileSync(join(dist, name), join(types, name))
}
writeFileSync(join(types, 'package.json'), '{ "type": "commonjs" }\n')
for (const file of ['index.d.cts', 'index.d.mts'])
  writeFileSync(join(dist, file), "export * from './types/index.js'\n")
