/** What docs/from-pytorch.md and docs/from-tfjs.md show works as it is written. */
import { execFile } from 'node:child_process'
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import { codeBlocks, compile } from './document.js'
import { onCpu } from './helpers.js'

// The program itself chooses no device.
const once = onCpu ? test : test.skip

once('the TypeScript of the guide is one program, which learns, writes and reads', async (t) => {
  const blocks = await codeBlocks('docs/from-pytorch.md', 'ts')
  t.is(blocks.length, 5)
  const program = await compile('guide', 'guide', blocks.join('\n'))
  if (program === null) return t.pass()
  const cwd = await mkdtemp(join(tmpdir(), 'fused-rnn-guide-'))
  t.teardown(() => rm(cwd, { recursive: true, force: true }))
  const { stdout } = await promisify(execFile)(process.execPath, [program], { cwd })

  const losses = [...stdout.matchAll(/loss ([\d.]+)/g)].map((match) => Number(match[1]))
  const [first, , , last, valid, loaded, trainer] = losses as [number, ...number[]]
  t.is(losses.length, 7, stdout)
  t.true(first < 1, stdout)
  // As the guide says of both programs.
  t.true(last !== undefined && last < 0.01 && valid !== undefined && valid < 0.02, stdout)
  t.is(loaded, valid)
  t.true(trainer !== undefined && trainer < 1, stdout)
  t.regex(stdout, /^the quick brown fox .{44}$/m)
  t.true(stdout.includes('[ 5, 2, 4 ] [ 2, 5 ] [ 1, 2, 4 ]'), stdout)
  t.deepEqual(await readdir(cwd), ['model.pt', 'model.safetensors'])
})

once('a model of TensorFlow.js computes and learns', async (t) => {
  const blocks = await codeBlocks('docs/from-tfjs.md', 'ts')
  const program = await compile('guide-tfjs', 'tfjs', blocks.join('\n'))
  if (program === null) return t.pass()
  const cwd = await mkdtemp(join(tmpdir(), 'fused-rnn-guide-'))
  t.teardown(() => rm(cwd, { recursive: true, force: true }))
  const model = fileURLToPath(new URL('../test/fixtures/tfjs/pooled', import.meta.url))
  await cp(model, join(cwd, 'sales'), { recursive: true })
  const { stdout } = await promisify(execFile)(process.execPath, [program], { cwd })
  t.regex(stdout, /^Float32Array\(3\) \[/)
})

test('both programs have the same numbered parts', async (t) => {
  const parts = (code = '') => [...code.matchAll(/^(?:#|\/\/) (\d+\. .*)$/gm)].map((m) => m[1])
  const [python] = await codeBlocks('docs/from-pytorch.md', 'python')
  const [typescript] = await codeBlocks('docs/from-pytorch.md', 'ts')
  t.is(parts(python).length, 6)
  t.deepEqual(parts(python), parts(typescript))
})
