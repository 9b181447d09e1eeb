/** Programs, threads and machines at work in one folder at the same time. */
import { type ChildProcess, spawn } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import test, { type ExecutionContext } from 'ava'
import { models } from 'fused-rnn'
import { kindOf, makeModel } from './crash/saving.js'
import { train } from './crash/training.js'
import { onCpu, rejectsWith } from './helpers.js'

// The files are the same on every device.
const serial = onCpu ? test.serial : test.serial.skip

function folderOf(t: ExecutionContext): string {
  const path = mkdtempSync(join(tmpdir(), 'fused-rnn-locks-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/** A program of test/crash, when it has begun. */
async function start(t: ExecutionContext, script: string, args: string[]): Promise<ChildProcess> {
  const path = fileURLToPath(new URL(`./crash/${script}.js`, import.meta.url))
  const child = spawn(process.execPath, [path, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  await new Promise((resolve) => child.stdout.once('data', resolve))
  return child
}
async function kill(child: ChildProcess): Promise<void> {
  const ended = new Promise((resolve) => child.once('close', resolve))
  child.kill('SIGKILL')
  await ended
}

// ---- Loading while others save -------------------------------------------------------------------

async function loadAndCheck(t: ExecutionContext, path: string, times: number): Promise<void> {
  const kinds = [0, 0, 0]
  for (let i = 0; i < times; i++) {
    const kind = await kindOf(await models.LanguageModel.load(path))
    t.is(typeof kind, 'number', `load ${i}: ${kind}`)
    kinds[Number(kind)] = (kinds[Number(kind)] ?? 0) + 1
  }
  t.log(`found ${kinds}`)
}

serial('a load during saves of the same process is one of the models', async (t) => {
  t.timeout(300_000)
  const path = join(folderOf(t), 'm')
  const all = [0, 1, 2].map(makeModel)
  await all[0]?.save(path)
  let done = false
  const saving = (async () => {
    for (let i = 0; !done; i++)
      await Promise.all([all[i % 3]?.save(path), all[(i + 1) % 3]?.save(path)])
  })()
  try {
    await loadAndCheck(t, path, 60)
  } finally {
    done = true
    await saving
  }
})

serial('a load during saves of two other processes is one of the models', async (t) => {
  t.timeout(300_000)
  const path = join(folderOf(t), 'm')
  await makeModel(0).save(path)
  const children = [
    await start(t, 'saving', ['save', '0', path]),
    await start(t, 'saving', ['save', '1', path]),
  ]
  await loadAndCheck(t, path, 60)
  for (const child of children) {
    await kill(child)
    await loadAndCheck(t, path, 1)
  }
  await makeModel(1).save(path)
  t.deepEqual(readdirSync(path).sort(), ['config.json', 'model.safetensors', 'vocabulary.json'])
})

serial('many processes that make the same folder', async (t) => {
  t.timeout(300_000)
  const folder = folderOf(t)
  const path = join(folder, 'deep', 'm')
  const children = await Promise.all(
    [0, 1, 2].map((i) => start(t, 'saving', ['save', `${i}`, path])),
  )
  while (!existsSync(path)) await sleep(10)
  await loadAndCheck(t, path, 5)
  for (const child of children) await kill(child)
  await makeModel(0).save(path)
  await loadAndCheck(t, path, 1)
})

// ---- Two trainings in one folder -------------------------------------------------------------------

serial(
  'a second training is refused whatever it calls the folder, and goes on after a kill',
  async (t) => {
    t.timeout(300_000)
    const folder = folderOf(t)
    const path = join(folder, 'run')
    mkdirSync(path)
    symlinkSync('run', join(folder, 'link'))
    const child = await start(t, 'training', ['train', '100000', path])
    while (!existsSync(join(path, 'last'))) await sleep(10)
    const refused = new RegExp(
      `cannot keep checkpoints in .*process ${child.pid} on '${hostname()}'`,
    )
    for (const name of [path, `${path}/.`, join(folder, 'link'), relative('', path)])
      await rejectsWith(t, train(4, name), Error, refused)
    t.is(child.exitCode, null)
    await models.LanguageModel.load(join(path, 'last'))
    await kill(child)
    t.true(readdirSync(path).includes('.last.fused-rnn.lock'))
    await t.notThrowsAsync(train(4, path))
    t.deepEqual(readdirSync(path), ['last'])
  },
)

serial('two threads of a process', async (t) => {
  t.timeout(300_000)
  const path = join(folderOf(t), 'run')
  const program = new URL('./crash/training.js', import.meta.url).href
  const source = `import(${JSON.stringify(program)}).then(({ train }) => train(100000, ${JSON.stringify(path)}))`
  const worker = new Worker(source, { eval: true })
  worker.on('error', () => {})
  while (!existsSync(join(path, 'last'))) await sleep(10)
  await rejectsWith(t, train(4, path), Error, /cannot keep checkpoints in .*of this process/)
  await worker.terminate()
  await models.LanguageModel.load(join(path, 'last'))
  if (process.platform === 'linux') await t.notThrowsAsync(train(4, path))
})

serial('two trainings of a thread, one after the other and at the same time', async (t) => {
  const path = join(folderOf(t), 'run')
  const [one, two] = await Promise.allSettled([train(30, path), train(30, path)])
  t.deepEqual([one.status, two.status].sort(), ['fulfilled', 'rejected'])
  await t.notThrowsAsync(train(32, path))
})

serial('locks of other machines, of ended processes, and files that are none', async (t) => {
  t.timeout(120_000)
  const path = join(folderOf(t), 'run')
  mkdirSync(path)
  const lock = join(path, '.last.fused-rnn.lock')
  const owner = {
    format: 'fused-rnn lock',
    token: 'x',
    what: 'the training',
    pid: process.pid,
    thread: process.pid,
    started: '1',
    host: 'elsewhere',
    machine: 'elsewhere',
    since: 'yesterday',
  }
  const write = (changes: object, age = 0): void => {
    writeFileSync(lock, JSON.stringify({ ...owner, ...changes }))
    const time = Date.now() / 1000 - age
    utimesSync(lock, time, time)
  }
  write({})
  await rejectsWith(t, train(2, path), Error, /process \d+ on 'elsewhere', since yesterday/)
  t.true(existsSync(lock))
  write({}, 120)
  await t.notThrowsAsync(train(2, path), 'its heart does not beat')
  if (process.platform === 'linux') {
    // The same number, another process.
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
    const { readlinkSync } = await import('node:fs')
    const machine = `${hostname()} ${boot} ${readlinkSync('/proc/self/ns/pid')}`
    write({ host: hostname(), machine })
    await t.notThrowsAsync(train(4, path), 'a number that was used before')
    write({ host: hostname(), machine, pid: 2 ** 22 + 1 })
    await t.notThrowsAsync(train(6, path), 'an ended process')
  }
  writeFileSync(`${lock}.takeover`, '')
  utimesSync(`${lock}.takeover`, 0, 0)
  write({}, 120)
  await t.notThrowsAsync(train(8, path), 'who was taking over has ended')
  writeFileSync(lock, 'mine')
  await rejectsWith(t, train(10, path), Error, /that is no lock of fused-rnn/)
  t.is(readFileSync(lock, 'utf8'), 'mine')
  rmSync(lock)
  writeFileSync(lock, '')
  await rejectsWith(t, train(10, path), Error, /a beginning/)
  utimesSync(lock, 0, 0)
  await t.notThrowsAsync(train(10, path))
})
