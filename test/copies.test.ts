/** Two copies of the package in one process have nothing in common. */
import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { onCpu, runScript } from './helpers.js'

const root = join(fileURLToPath(new URL('.', import.meta.url)), '..')
/** The sanitizers' builds have no other addon than the one under test. */
const release = join(root, 'build/Release/fused_rnn.node')
const addon = existsSync(release) ? release : (process.env.FUSED_RNN_ADDON ?? '')

/** The package as a second dependency has it. */
async function copyPackage(t: ExecutionContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'fused-rnn-copy-'))
  t.teardown(() => rm(folder, { recursive: true, force: true }))
  await cp(join(root, 'dist'), join(folder, 'dist'), { recursive: true })
  await cp(join(root, 'package.json'), join(folder, 'package.json'))
  await mkdir(join(folder, 'build/Release'), { recursive: true })
  await cp(addon, join(folder, 'build/Release/fused_rnn.node'))
  await symlink(join(root, 'node_modules'), join(folder, 'node_modules'))
  return folder
}

const script = (other: string): string => `
  import * as one from 'fused-rnn'
  import { addonFile } from './dist/binding.js'
  const two = await import(${JSON.stringify(join(other, 'dist/index.js'))})
  const second = await import(${JSON.stringify(join(other, 'dist/binding.js'))})

  async function train(library, seed) {
    const { manualSeed, nn, optim, randn } = library
    manualSeed(seed)
    const layer = new nn.LSTM(8, 32)
    const optimizer = new optim.Adam(layer.parameters(), { lr: 0.01 })
    const x = randn([20, 4, 8])
    const losses = []
    for (let step = 0; step < 10; step++) {
      optimizer.zeroGrad()
      const [y] = layer.forward(x)
      const loss = y.mul(y).mean()
      loss.backward()
      await optimizer.step()
      losses.push(await loss.item())
    }
    return losses.join()
  }

  const alone = [await train(one, 1), await train(two, 2)]
  const atOnce = await Promise.all([train(one, 1), train(two, 2)])

  one.setNumThreads(3)
  two.setNumThreads(2)
  one.manualSeed(5)
  two.manualSeed(6)
  const states = [one.randomState().seed, two.randomState().seed]

  const messages = []
  for (const use of [
    () => one.ones([2]).add(two.ones([2])),
    () => two.cat([two.ones([2]), one.ones([2])], 0),
    () => new one.nn.Linear(2, 2).forward(two.ones([1, 2])),
    () => new two.nn.GRU(2, 2).forward(one.ones([1, 1, 2])),
    () => new one.optim.SGD(new two.nn.Linear(2, 2).parameters(), { lr: 1 }),
  ]) {
    try {
      use()
      messages.push('accepted')
    } catch (error) {
      messages.push(error.name + ': ' + error.message)
    }
  }
  console.log(JSON.stringify({
    files: new Set([addonFile, second.addonFile]).size,
    same: alone.join('/') === atOnce.join('/'),
    threads: [one.getNumThreads(), two.getNumThreads()],
    states,
    messages,
  }))
`

// A GPU has one queue, whichever copy asks for it.
const once = onCpu ? test : test.skip

for (const [title, env, files] of [
  ['two copies, each with its addon', { FUSED_RNN_ADDON: '' }, 2],
  ['two copies of the script over one addon file', { FUSED_RNN_ADDON: addon }, 1],
] as const) {
  const there = files === 1 || addon === release
  ;(there ? once : test.skip)(
    `${title}: trainings do not touch each other, tensors are not mixed`,
    async (t) => {
      const { code, stdout, stderr } = await runScript(script(await copyPackage(t)), { env })
      t.is(code, 0, stderr)
      const result = JSON.parse(stdout)
      t.is(result.files, files)
      t.true(result.same)
      if (files === 2) t.deepEqual(result.threads, [3, 2])
      t.deepEqual(result.states, [5, 6])
      for (const message of result.messages) {
        t.regex(message, /^TypeError: .*got a tensor of shape .* another copy of fused-rnn made/)
      }
    },
  )
}
