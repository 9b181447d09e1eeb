/** What the pages of docs/tasks show works as it is written: each page's TypeScript is one program. */
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { codeBlocks, compile } from './document.js'
import { onCpu } from './helpers.js'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')

/** What a page's program prints. */
const PRINTS: Record<string, RegExp> = {
  'anomalies.md': /^\[ \{ start: 1\d\d, end: 1\d\d, score: [\d.]+ \} \]\nfalse\n$/,
  'classify.md': /^F1 1 always spam 0\.67\n {6}ham {2}spam\n.*\nspam .*\nspam\n$/,
  'forecast.md': /^error \d\.\d+ naive \d\.\d+\n2026-01-01 [\d.]+ [\d.]+ [\d.]+\n$/,
  'online.md': /^true 399\n$/,
  'recognize.md': /^errors per letter 0\.0\d whole texts right (0\.[89]\d|1\.00)\nmate\n$/,
  'tag.md': /^1 F1 of names 1\nO B-PER I-PER O \[ \{ type: 'PER', start: 1, end: 3 \} \]\n$/,
  'translate.md': /^edits per letter 0\.\d\d of copying: 1\nCBEF 4\n$/,
  'metrics.md':
    /^1 1\.29.*\n0\.6\n0\.66.*\n0\.66.*\n\[ \[ 1, 1 \], \[ 0, 1 \] \]\n1\n0\.5\n0\.5\n$/,
}

// The programs choose no device.
const once = onCpu ? test : test.skip

once('every page has a program that says what it should', async (t) => {
  t.deepEqual((await readdir(join(root, 'docs/tasks'))).sort(), Object.keys(PRINTS).sort())
})

for (const [page, expected] of Object.entries(PRINTS))
  once(page, async (t) => {
    const blocks = await codeBlocks(`docs/tasks/${page}`, 'ts')
    const name = page.replace('.md', '')
    const program = await compile(`task-${name}`, name, blocks.join('\n'))
    if (program === null) return t.pass()
    const cwd = await mkdtemp(join(tmpdir(), 'fused-rnn-task-'))
    t.teardown(() => rm(cwd, { recursive: true, force: true }))
    const { stdout } = await promisify(execFile)(process.execPath, [program], { cwd })
    t.regex(stdout, expected)
  })
