/**
 * Programs that are killed (SIGKILL) at random moments while they write: what they wrote can be read.
 * FUSED_RNN_KILLS=200 kills 200 times each; FUSED_RNN_SEED repeats a run's moments.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { models } from 'fused-rnn'
import { kindOf, makeModel } from './crash/saving.js'
import { train } from './crash/training.js'
import { limit, onCpu, randomValues } from './helpers.js'

// The files are the same on every device.
const cpuTest = onCpu ? test.serial : test.serial.skip
const kills = Number(process.env.FUSED_RNN_KILLS ?? 8)
const seed = Number(process.env.FUSED_RNN_SEED) || Date.now() % 1e6
/** Milliseconds after it began. */
const moments = [...randomValues(2 * kills, seed)].map((x) => (x + 1) * 120)

async function folder(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'fused-rnn-crash-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

/**
 * Starts a program of test/crash and kills it.
 * @param there what is to be there before the time begins to count
 * @returns whether it was still running
 */
async function killed(
  script: string,
  args: readonly string[],
  after: number,
  there?: string,
): Promise<boolean> {
  const path = fileURLToPath(new URL(`./crash/${script}.js`, import.meta.url))
  const child: ChildProcess = spawn(process.execPath, [path, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = new Promise<boolean>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) =>
      code === 0 || signal === 'SIGKILL'
        ? resolve(signal === 'SIGKILL')
        : reject(new Error(`${script} ended with ${code ?? signal}`)),
    )
  })
  await Promise.race([new Promise((resolve) => child.stdout?.once('data', resolve)), ended])
  let running = true
  const stop = (): void => {
    running = false
  }
  void ended.then(stop, stop)
  while (there !== undefined && running && !existsSync(there)) await sleep(5)
  await Promise.race([sleep(after), ended])
  child.kill('SIGKILL')
  return ended
}

cpuTest('a training that is killed goes on from its checkpoint to the same bits', async (t) => {
  t.timeout(limit(10 * kills + 300))
  const maxSteps = Math.max(40, 12 * Math.min(kills, 50))
  const expected = await train(maxSteps, null)
  let path = await folder(t)
  const found = { finished: 0, unfinished: 0 }
  for (let i = 0; i < kills; ) {
    const running = await killed(
      'training',
      ['train', String(maxSteps), path],
      moments[i] as number,
      // Every other time not before the first checkpoint, however slow the machine is.
      ...(i % 2 === 0 ? [join(path, 'last')] : []),
    )
    if (running) {
      i++
      // A program of its own would find out as well; here it is clear which kill it was.
      const last = join(path, 'last')
      if (!existsSync(last)) continue // before the first
      if (readdirSync(last).some((name) => name.endsWith('.tmp'))) found.unfinished++
      await t.notThrowsAsync(models.LanguageModel.load(last), `kill ${i}, seed ${seed}`)
      const resumed = await train(maxSteps, path)
      t.true(Buffer.compare(resumed, expected) === 0, `kill ${i}, seed ${seed}: other weights`)
      await rm(path, { recursive: true, force: true })
      path = await folder(t)
    } else {
      found.finished++
      path = await folder(t)
    }
  }
  t.log(`${kills} kills, seed ${seed}: ${JSON.stringify(found)}`)
})

cpuTest('a model that is killed while it is saved is the old one or the new one', async (t) => {
  t.timeout(limit(10 * kills + 300))
  const path = await folder(t)
  await makeModel(0).save(path)
  const kinds = [0, 0, 0]
  let unfinished = 0
  for (let i = 0; i < kills; i++) {
    const after = moments[kills + i] as number
    t.true(await killed('saving', ['save', '0', path], after))
    if ((await readdir(path)).length > 3) unfinished++
    const kind = await kindOf(await models.LanguageModel.load(path))
    t.is(typeof kind, 'number', `kill ${i + 1}, seed ${seed}: ${kind}`)
    kinds[Number(kind)] = (kinds[Number(kind)] ?? 0) + 1
  }
  await makeModel(1).save(path)
  t.deepEqual((await readdir(path)).sort(), ['config.json', 'model.safetensors', 'vocabulary.json'])
  t.log(`${kills} kills, seed ${seed}: found ${kinds}, ${unfinished} in the middle of a save`)
})
