// Formats the C++ with the clang-format that comes as an npm package, so that everyone
// has the same version; `--check` only reports files that would change.
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const folders = ['native', 'examples/cpp', 'examples/addon', 'test/embed']
const files = folders
  .flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.(h|cpp|cu|cuh)$/.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name)),
  )
  .filter((path) => !path.includes('node_modules') && !path.includes('/build/'))
  .sort()
const program = createRequire(import.meta.url).resolve('clang-format-node/build/cli.js')
const options = process.argv.includes('--check') ? ['--dry-run', '--Werror'] : ['-i']
const { status } = spawnSync(process.execPath, [program, ...options, ...files], {
  cwd: root,
  stdio: 'inherit',
})
process.exitCode = status ?? 1
