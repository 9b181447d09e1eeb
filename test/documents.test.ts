/** The pages: links and names of files lead somewhere, and docs/environment.md has every variable of the sources. */
import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { onCpu } from './helpers.js'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const once = onCpu ? test : test.skip

/** Every file below a folder with one of these endings, but for what is built or fetched. */
async function filesIn(folder: string, endings: readonly string[]): Promise<string[]> {
  const entries = await readdir(join(root, folder), { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile() && endings.some((ending) => entry.name.endsWith(ending)))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)))
    .filter((path) => !/(^|\/)(node_modules|build|api|dist)(\/|$)/.test(path))
}

const pages = async (): Promise<string[]> => [
  ...['README.md', 'CONTRIBUTING.md', 'EXPORTS.md', 'SECURITY.md', 'CHANGELOG.md'],
  ...(await filesIn('docs', ['.md'])),
  ...(await filesIn('examples', ['.md'])),
  ...(await filesIn('bench', ['.md'])),
]

/** The anchor that a heading gets on the usual hosts. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .replaceAll(' ', '-')

once('links between pages lead to a file, and to a heading of it', async (t) => {
  const broken: string[] = []
  for (const page of await pages()) {
    const text = await readFile(join(root, page), 'utf8')
    for (const [, target = ''] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      const [path = '', anchor] = target.split('#')
      const file = path === '' ? page : join(dirname(page), path)
      if (!existsSync(join(root, file))) {
        broken.push(`${page}: ${target}`)
      } else if (anchor !== undefined) {
        const headings = (await readFile(join(root, file), 'utf8')).matchAll(/^#+ (.*)$/gm)
        if (![...headings].some(([, heading = '']) => anchorOf(heading) === anchor))
          broken.push(`${page}: ${target} (no such heading)`)
      }
    }
  }
  t.deepEqual(broken, [])
})

once('files that the pages name are there', async (t) => {
  const named =
    /(?<![\w/.-])(?:native|ts|test|bench|scripts|examples)\/[\w/.-]+\.(?:h|cpp|cu|c|ts|mjs|sh|py|def|map)\b/g
  const missing: string[] = []
  for (const page of await pages()) {
    if (page === 'CHANGELOG.md' || page === 'bench/NOTES.md') continue // of their time
    const text = await readFile(join(root, page), 'utf8')
    for (const [path] of text.matchAll(named))
      if (!path.includes('NAME') && !existsSync(join(root, path))) missing.push(`${page}: ${path}`)
  }
  t.deepEqual(missing, [])
})

once('docs/environment.md lists every environment variable, and no other', async (t) => {
  const sources = (
    await Promise.all(
      ['native', 'ts', 'scripts', 'bench', 'test'].map((folder) =>
        filesIn(folder, ['.ts', '.mjs', '.cpp', '.h', '.cu', '.py', '.sh']),
      ),
    )
  ).flat()
  // Where one is read: getenv("…"), process.env.…, os.environ, or a helper that is given its name.
  const read =
    /(?:getenv\(|environment\(|environ\.get\(|given_folder\()\s*["'](FUSED_RNN_[A-Z_0-9]+)|env\.(FUSED_RNN_[A-Z_0-9]+)/g
  const found = new Set<string>()
  for (const path of sources) {
    const text = await readFile(join(root, path), 'utf8')
    for (const [, called, property] of text.matchAll(read))
      found.add((called ?? property) as string)
  }
  const page = await readFile(join(root, 'docs/environment.md'), 'utf8')
  const [runtime = ''] = page.split('## For building')
  const listed = new Set([...runtime.matchAll(/FUSED_RNN_[A-Z_0-9]+/g)].map(([name]) => name))
  t.deepEqual([...listed].sort(), [...found].sort())
})
