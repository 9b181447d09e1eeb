/** What README.md shows works as it is written. */
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { codeBlocks, compile } from './document.js'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const exec = promisify(execFile)

test('the program in TypeScript: its types, and a short run of it', async (t) => {
  const [program = ''] = await codeBlocks('README.md', 'ts')
  t.not(program, '')
  await t.notThrowsAsync(compile('readme', 'sonnets', program))

  const short = program
    .replace(/maxEpochs: \d+/, 'maxEpochs: 1')
    .replace(/hiddenSize: \d+/, 'hiddenSize: 16')
  t.not(short, program)
  // As it is, without a compiler.
  const script = join(root, 'dist-test/readme/sonnets.mjs')
  await writeFile(script, short)
  const cwd = await mkdtemp(join(tmpdir(), 'fused-rnn-readme-'))
  t.teardown(() => rm(cwd, { recursive: true, force: true }))
  const { stdout } = await exec(process.execPath, [script], { cwd })
  t.true(stdout.startsWith('Shall I '))
  // Of a model that has seen the text once; it may still say that a token is unknown to it.
  t.is([...stdout.replaceAll('<unk>', '?')].length, 'Shall I '.length + 300)
  t.deepEqual((await readdir(cwd)).sort(), ['loss.svg', 'sonnets-model'])
})

test('the commands that the first two sh blocks name exist', async (t) => {
  const readme = await readFile(join(root, 'README.md'), 'utf8')
  const { scripts } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  const [demo, tests] = [...readme.matchAll(/^```sh\n(.*?)\n```$/gms)].map((match) => match[1])
  t.is(demo, 'sh scripts/setup.sh && npm run demo')
  t.is(tests, 'sh scripts/setup.sh && npm test')
  t.truthy(scripts.demo)
  t.truthy(scripts.test)
})
