// Makes docs/api, the reference of all exports, out of the docstrings: `npm run docs`. Links that
// lead nowhere and exports that are not documented are errors.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

const folder = join(import.meta.dirname, 'docs')
const root = join(import.meta.dirname, '..')

function run(command, args, cwd, shell = false) {
  const { status, error } = spawnSync(command, args, { cwd, shell, stdio: 'inherit' })
  if (error) console.error(`docs: ${command}: ${error.message}`)
  if (status !== 0) process.exit(status ?? 1)
}

if (!existsSync(join(folder, 'node_modules/typedoc'))) {
  run('npm', ['ci', '--no-audit', '--no-fund'], folder, process.platform === 'win32')
}
rmSync(join(root, 'docs/api'), { recursive: true, force: true })
const manifest = createRequire(join(folder, 'package.json')).resolve('typedoc/package.json')
const program = join(manifest, '../bin/typedoc')
run(process.execPath, [program, '--options', join(folder, 'typedoc.json')], root)

// A tensor's methods stand in classes of their own (ts/tensor), which is nothing to its users.
const page = join(root, 'docs/api/classes/Tensor.md')
const text = readFileSync(page, 'utf8')
  .replaceAll(/#+ this\n\n`Tensor`\n\n/g, '')
  .replaceAll(/#+ Parameters\n\n(?=#+ Returns)/g, '')
  .replaceAll(/`this`(, )?/g, '')
  .replaceAll(/#+ Inherited from\n\n`\w+Methods\.\w+`\n+/g, '')
  .replaceAll(/## Extends\n\n- `\w+Methods`\n\n/g, '')
writeFileSync(page, text)
