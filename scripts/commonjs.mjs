// Makes the library in CommonJS, for what cannot load ES modules by require() (Jest, programs that
// run Node with --no-experimental-require-module), and the types for both:
//
//   dist/index.cjs    dist/index.js and all that it imports, in one file
//   dist/index.mjs    its names for `import`, where Node or a test runner loads index.cjs as well
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

const { metafile } = await esbuild.build({
  entryPoints: [join(dist, 'index.js')],
  absWorkingDir: root,
  outfile: join(dist, 'index.cjs'),
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20.19',
  // Names stay: messages and pictures of objects have those of classes.
  minifyWhitespace: true,
  keepNames: true,
  external: ['cli-progress', 'node-gyp-build'],
  define: { 'import.meta.url': 'undefined' },
  metafile: true,
  logLevel: 'warning',
})

// What is an ES module only (d3-scale and what it needs) is in the file, with its licence.
const packages = new Set(
  Object.keys(metafile.inputs).flatMap((file) => /^node_modules\/[^/]+/.exec(file) ?? []),
)
const licences = [...packages].sort().map((folder) => {
  const text = readFileSync(join(root, folder, 'LICENSE'), 'utf8').trim()
  return `/*! ${folder.replace('node_modules/', '')}\n${text}\n*/\n`
})
const bundle = join(dist, 'index.cjs')
writeFileSync(bundle, `${readFileSync(bundle, 'utf8')}${licences.join('')}`)
writeFileSync(join(dist, 'index.mjs'), "export * from './index.cjs'\n")

const types = join(dist, 'types')
rmSync(types, { recursive: true, force: true })
for (const name of readdirSync(dist, { recursive: true })) {
  if (!name.endsWith('.d.ts') || /^(bench|cli)[\\/]/.test(name)) continue
  mkdirSync(dirname(join(types, name)), { recursive: true })
  copyFileSync(join(dist, name), join(types, name))
}
writeFileSync(join(types, 'package.json'), '{ "type": "commonjs" }\n')
for (const file of ['index.d.cts', 'index.d.mts'])
  writeFileSync(join(dist, file), "export * from './types/index.js'\n")
