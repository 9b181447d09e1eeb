/** The queue: launching, waiting, failures, ends of processes and of worker threads. */
import { Worker } from 'node:worker_threads'
import test from 'ava'
import { getNumThreads, nn, ones, setNumThreads, synchronize, type Tensor, tensor } from 'fused-rnn'
import {
  chooseDevice,
  emulated,
  limit,
  onCpu,
  rejectsWith,
  runScript,
  throwsWith,
} from './helpers.js'

const failing = (): Tensor => new nn.Embedding(5, 2).forward(tensor(Int32Array.of(1, 7)))

// ---- Launching -------------------------------------------------------------------------------------

test.serial('operations return at once and the event loop goes on', async (t) => {
  // So that they take some 30 ms on a GPU, too.
  const big = ones([emulated ? 200_000 : onCpu ? 4_000_000 : 2 ** 27])
  await synchronize()
  const start = performance.now()
  for (let i = 0; i < 100; i++) big.add(1)[Symbol.dispose]()
  const queued = performance.now() - start
  let turns = 0
  const counter = setInterval(() => turns++, 1)
  await synchronize()
  clearInterval(counter)
  const total = performance.now() - start
  t.true(queued < total / 2, `queued in ${queued} ms of ${total} ms`)
  t.true(turns > 2, `${turns} turns of the event loop`)
})

// It is about the CPU's queue.
const onHost = onCpu ? test : test.skip
onHost(
  'FUSED_RNN_BLOCKING=1: an operation is over when its call returns, the bits are the same',
  async (t) => {
    const script = `
    import { manualSeed, nn, optim, randn } from 'fused-rnn'
    manualSeed(1)
    const layer = new nn.LSTM(64, 128)
    const optimizer = new optim.SGD(layer.parameters(), { lr: 0.1, maxGradNorm: 1 })
    const x = randn([50, 64, 64])
    const losses = []
    let [inCalls, waited] = [0, 0]
    for (let step = 0; step < 5; step++) {
      const start = performance.now()
      optimizer.zeroGrad()
      const loss = layer.forward(x)[0].pow(2).mean()
      loss.backward()
      const done = optimizer.step()
      const called = performance.now()
      await done
      losses.push(await loss.item())
      inCalls += called - start
      waited += performance.now() - called
    }
    const failed = await new nn.Embedding(5, 2).forward((await import('fused-rnn')).tensor([7], { dtype: 'int32' })).data().then(() => 'no', (error) => error.message)
    console.log(JSON.stringify({ losses, inCalls, waited, failed }))`
    const run = async (env: Record<string, string>) => {
      const { code, stdout, stderr } = await runScript(script, { env })
      t.is(code, 0, stderr)
      return JSON.parse(stdout)
    }
    const blocking = await run({ FUSED_RNN_BLOCKING: '1' })
    const usual = await run({})
    t.deepEqual(blocking.losses, usual.losses)
    t.is(blocking.failed, usual.failed)
    // Where the time goes, beside the same script that does not block.
    const share = (run: typeof usual): number => run.inCalls / run.waited
    t.true(share(blocking) > 4 * share(usual), JSON.stringify([blocking, usual]))
  },
)

test('a loop of 20,000 operations without await finishes in bounded memory', async (t) => {
  // In a process of its own: others use memory meanwhile. A GPU's is not in the process.
  const { code, stderr } = await runScript(`
    import { memoryStats, zeros } from 'fused-rnn'
    let x = zeros([16_384])
    await x.add(1).data() // what is loaded for it
    const before = process.memoryUsage().rss
    for (let i = 0; i < 20_000; i++) {
      const next = x.add(1)
      x[Symbol.dispose]()
      x = next
    }
    const values = await x.data()
    if (!values.every((value) => value === 20_000)) throw new Error(String(values[0]))
    // All results together would be 1.3 GB.
    const grown = process.memoryUsage().rss - before
    if (grown > 400e6) throw new Error(grown + ' bytes more')
    if (memoryStats().peak > 400e6) throw new Error(memoryStats().peak + ' bytes at once')`)
  t.is(code, 0, stderr)
})

test('results that are not disposed are freed when the loop awaits', async (t) => {
  const { code, stderr } = await runScript(`
    import { memoryStats, zeros } from 'fused-rnn'
    let x = zeros([65_536])
    await x.add(1).data()
    const before = process.memoryUsage().rss
    for (let i = 0; i < 4000; i++) {
      x = x.add(1)
      if (i % 10 === 9) await x.data()
    }
    const value = (await x.data())[0]
    if (value !== 4000) throw new Error(String(value))
    // All results together would be 1 GB.
    const grown = process.memoryUsage().rss - before
    if (grown > 600e6) throw new Error(grown + ' bytes more')
    if (memoryStats().peak > 600e6) throw new Error(memoryStats().peak + ' bytes at once')`)
  t.is(code, 0, stderr)
})

test('promises settle in order, many at once', async (t) => {
  const order: number[] = []
  await Promise.all(
    Array.from({ length: 500 }, (_, i) =>
      tensor(i)
        .add(1)
        .item()
        .then((value) => order.push(value)),
    ),
  )
  t.deepEqual(
    order,
    Array.from({ length: 500 }, (_, i) => i + 1),
  )
})

test('setNumThreads takes effect and refuses nonsense', (t) => {
  const threads = getNumThreads()
  setNumThreads(2)
  t.is(getNumThreads(), 2)
  setNumThreads(threads)
  throwsWith(
    t,
    () => setNumThreads(0),
    RangeError,
    /\[setNumThreads\] threads: expected a whole number between 1 and 1024, got 0/,
  )
  throwsWith(t, () => setNumThreads(1.5), RangeError, /whole number/)
  throwsWith(t, () => setNumThreads('2' as unknown as number), TypeError, /got '2'/)
})

// ---- Failures inside the queue ---------------------------------------------------------------------

test.serial(
  'a failure in the queue rejects the next promise and names the operation',
  async (t) => {
    failing()
    await rejectsWith(t, tensor(1).item(), Error, /^\[nn\.Embedding\(\d+, \d+\)\].*7/)
    t.is(await tensor(2).item(), 2, 'it is told once')
  },
)

test.serial('synchronize tells a failure too', async (t) => {
  failing()
  await rejectsWith(t, synchronize(), Error, /^\[nn\.Embedding\(\d+, \d+\)\]/)
  await t.notThrowsAsync(synchronize())
})

test.serial(
  'what failed, and what was computed from it, rejects every time; other work goes on',
  async (t) => {
    const other = tensor([1, 2])
    const failed = failing()
    const dependent = failed.add(1).add(2)
    await rejectsWith(t, failed.data(), Error, /^\[nn\.Embedding\(\d+, \d+\)\]/)
    await rejectsWith(t, failed.data(), Error, /^\[nn\.Embedding\(\d+, \d+\)\]/)
    await rejectsWith(t, dependent.data(), Error, /^\[nn\.Embedding\(\d+, \d+\)\]/)
    t.deepEqual(await other.add(1).data(), Float32Array.of(2, 3))
  },
)

test.serial('of several failures the first is told', async (t) => {
  failing()
  new nn.Embedding(3, 2).forward(tensor(Int32Array.of(99)))
  await rejectsWith(t, synchronize(), Error, /7/)
  await t.notThrowsAsync(synchronize())
})

// ---- Disposal --------------------------------------------------------------------------------------

test('dispose is idempotent, and use afterwards is a TypeError that says so', async (t) => {
  const a = tensor([1, 2, 3])
  const b = a.add(1)
  const view = a.detach()
  const reading = a.data()
  a[Symbol.dispose]()
  a[Symbol.dispose]()
  t.deepEqual(await reading, Float32Array.of(1, 2, 3), 'a read under way still gets the values')
  t.deepEqual(await b.data(), Float32Array.of(2, 3, 4))
  t.deepEqual(await view.data(), Float32Array.of(1, 2, 3), 'a view keeps the memory')
  const message = /\[Tensor\] this tensor of shape \(3,\) has been disposed/
  throwsWith(t, () => a.add(1), TypeError, message)
  throwsWith(t, () => b.add(a), TypeError, message)
  throwsWith(t, () => a.detach(), TypeError, message)
  await rejectsWith(t, a.data(), TypeError, message)
})

test('disposing an input between forward and backward is an error or harmless, never a crash', async (t) => {
  const a = tensor([1, 2], { requiresGrad: true })
  const b = tensor([3, 4], { requiresGrad: true })
  const c = a.add(b)
  b[Symbol.dispose]()
  c.backward(ones([2]))
  t.deepEqual(await a.grad?.data(), Float32Array.of(1, 1))
})

// ---- The end of a process --------------------------------------------------------------------------

const many = emulated ? 100_000 : 1_000_000
const busy = `
import { ones } from 'fused-rnn'
const big = ones([${many}])
for (let i = 0; i < 1000; i++) big.add(1)[Symbol.dispose]()
`

test('process.exit with work outstanding', async (t) => {
  t.like(await runScript(`${busy}; process.exit(7)`), { code: 7, signal: null, stderr: '' })
})

test('process.exit with a read outstanding', async (t) => {
  t.like(await runScript(`${busy}; big.data().then(() => console.log('late')); process.exit(0)`), {
    code: 0,
    signal: null,
    stderr: '',
  })
})

test('process.exit in the middle of a product', async (t) => {
  const script = `
import { nn, rand } from 'fused-rnn'
new nn.LSTM(64, ${emulated ? 64 : 2048}).forward(rand([64, 32, 64]))
setTimeout(() => process.exit(7), 300)
`
  for (let i = 0; i < (emulated ? 2 : 5); i++)
    t.like(await runScript(script), { code: 7, signal: null, stderr: '' })
})

test('natural end with work outstanding does not wait for it', async (t) => {
  t.like(await runScript(busy), { code: 0, signal: null, stderr: '' })
})

test('a pending read keeps the process alive until it has settled', async (t) => {
  t.like(await runScript(`${busy}; big.data().then((v) => console.log(v.length))`), {
    code: 0,
    signal: null,
    stdout: `${many}\n`,
    stderr: '',
  })
})

test('an uncaught exception with work outstanding', async (t) => {
  const { code, signal, stderr } = await runScript(
    `${busy}; big.data(); throw new Error('on purpose')`,
  )
  t.is(signal, null)
  t.is(code, 1)
  t.regex(stderr, /on purpose/)
})

test('an unhandled rejection from the queue ends the process with its message', async (t) => {
  const { code, signal, stderr } = await runScript(`
    import { nn, tensor } from 'fused-rnn'
    new nn.Embedding(5, 2).forward(tensor(Int32Array.of(9))).data()`)
  t.is(signal, null)
  t.is(code, 1)
  t.regex(stderr, /\[nn\.Embedding\(\d+, \d+\)\]/)
})

test('an unknown instruction set is an error at import', async (t) => {
  const { code, signal, stderr } = await runScript(`import 'fused-rnn'`, {
    env: { FUSED_RNN_ISA: 'mmx' },
  })
  t.is(signal, null)
  t.is(code, 1)
  t.regex(stderr, /FUSED_RNN_ISA: expected one of .*base, got mmx/)
})

// ---- Worker threads --------------------------------------------------------------------------------

/** A worker that runs `body` with the library as `lib`. */
function startWorker(body: string): Worker {
  const url = JSON.stringify(import.meta.resolve('fused-rnn'))
  return new Worker(
    `import(${url}).then(async (lib) => { const { parentPort } = await import('node:worker_threads'); ${chooseDevice('lib')} ${body} })`,
    { eval: true },
  )
}

function messageFrom(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })
}

test('several worker threads compute at once', async (t) => {
  const workers = Array.from({ length: 4 }, (_, k) =>
    startWorker(`
      let x = lib.full([10000], ${k})
      for (let i = 0; i < 300; i++) x = x.add(1)
      parentPort.postMessage(Array.from(new Set(await x.data())))`),
  )
  let here = ones([10_000])
  for (let i = 0; i < 300; i++) here = here.add(1)
  t.deepEqual(await Promise.all(workers.map(messageFrom)), [[300], [301], [302], [303]])
  t.is((await here.data())[0], 301)
  await Promise.all(workers.map((worker) => worker.terminate()))
})

test('a failure in one worker thread is not told in another', async (t) => {
  const worker = startWorker(`
    const bad = new lib.nn.Embedding(5, 2).forward(lib.tensor(Int32Array.of(9)))
    parentPort.postMessage(await bad.data().then(() => 'fine', (error) => error.message))`)
  const message = messageFrom(worker)
  t.is(await tensor(1).item(), 1)
  t.regex(String(await message), /^\[nn\.Embedding\(\d+, \d+\)\]/)
  await worker.terminate()
})

// In a process of its own: a crash here would take the test runner along.
test('terminating busy worker threads twenty times does not crash', async (t) => {
  const result = await runScript(`
    import { Worker } from 'node:worker_threads'
    const url = import.meta.resolve('fused-rnn')
    const body = \`import(\${JSON.stringify(url)}).then(async (lib) => {
      const { parentPort } = await import('node:worker_threads')
      const big = lib.ones([1000000])
      parentPort.postMessage('busy')
      for (;;) {
        for (let i = 0; i < 50; i++) big.add(1)[Symbol.dispose]()
        await Promise.all([big.data(), big.add(1).data()])
      }
    })\`
    for (let i = 0; i < 20; i++) {
      const worker = new Worker(body, { eval: true })
      await new Promise((resolve) => worker.once('message', resolve))
      await new Promise((resolve) => setTimeout(resolve, i))
      await worker.terminate()
    }
    console.log('done')`)
  t.like(result, { code: 0, signal: null, stdout: 'done\n' })
})

test('terminating a worker thread inside a long operation is prompt', async (t) => {
  const worker = startWorker(`
    const layer = new lib.nn.LSTM(64, 256, { numLayers: 4 })
    const x = lib.zeros([4000, 64, 64])
    for (let i = 0; i < 4; i++) lib.noGrad(() => layer.forward(x))
    parentPort.postMessage('busy')`)
  await messageFrom(worker)
  const start = performance.now()
  await worker.terminate()
  const took = performance.now() - start
  // All four would take minutes; the largest single product, which is not interrupted, a second.
  t.true(took < limit(15), `${took} ms`)
})
