/**
 * Contexts of node:vm (notebooks, REPLs, test runners) and the addon in several environments of one
 * process, which end in any order.
 */
import vm from 'node:vm'
import test from 'ava'
import * as lib from 'fused-rnn'
import { addonFile } from '../dist/binding.js'
import { onCpu, runScript } from './helpers.js'

const once = onCpu ? test : test.skip

/** What a program in a context of its own gets from the library. */
const context = vm.createContext({ lib })
const run = (code: string): unknown => vm.runInContext(code, context)

test('typed arrays of another context keep their type', (t) => {
  t.is(run('lib.tensor(new Int32Array([1, 2])).dtype'), 'int32')
  t.is(run('lib.tensor([new Int32Array([1, 2]), new Int32Array([3, 4])]).dtype'), 'int32')
  t.is(run('lib.tensor(new Float32Array([1, 2])).dtype'), 'float32')
  t.deepEqual(run('[...lib.tensor([[1, 2], [3, 4]]).shape].join()'), '2,2')
  t.throws(() => run('lib.tensor(new BigInt64Array(2))'), { message: /got/ })
  t.throws(() => run('lib.tensor(new DataView(new ArrayBuffer(4)))'), { message: /got/ })
})

test('maps, lists of lengths and tokens of another context', async (t) => {
  run(`var linear = new lib.nn.Linear(2, 1)
    linear.loadStateDict(new Map([['weight', lib.ones([1, 2])], ['bias', lib.zeros([1])]]))`)
  t.is(await (run('linear.forward(lib.ones([2])).item()') as Promise<number>), 2)
  await (run(`lib.io.safetensors.serialize(new Map([...linear.stateDict()]))
    .then((bytes) => { read = lib.io.safetensors.parse(Uint8Array.from(bytes)) })`) as Promise<void>)
  t.is(run('read.tensors.size'), 2)
  run(
    'var packed = lib.nn.utils.rnn.packPaddedSequence(lib.zeros([3, 2, 1]), new Int32Array([3, 1]))',
  )
  t.is(run('[...packed.batchSizes].join()'), '2,1,1')
  t.is(run('lib.data.split(new Int32Array(100), 0.1).length'), 2)
})

test('a module whose class is of another context trains', async (t) => {
  run(`class Net extends lib.nn.Module {
    constructor() {
      super()
      this.layers = new Map([['first', new lib.nn.Linear(3, 2)]])
      this.last = [new lib.nn.Linear(2, 1)]
    }
    forward(x) { return this.last[0].forward(this.layers.get('first').forward(x)) }
  }
  var net = new Net()
  var optimizer = new lib.optim.SGD([{ params: net.parameters(), lr: 0.1 }], { lr: 0.1 })
  net.forward(lib.ones([4, 3])).mean().backward()`)
  t.is(run('net.parameters().length'), 4)
  t.is(
    run('[...net.stateDict().keys()].join()'),
    'layers.first.weight,layers.first.bias,last.0.weight,last.0.bias',
  )
  const before = await (run('net.forward(lib.ones([3])).item()') as Promise<number>)
  await (run('optimizer.step()') as Promise<void>)
  t.true((await (run('net.forward(lib.ones([3])).item()') as Promise<number>)) < before)
})

// ---- The addon, loaded several times ------------------------------------------------------------------

test('import() in a script of node:vm gives the same library, in any context', async (t) => {
  const importModuleDynamically = vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER
  const code = `import(${JSON.stringify(import.meta.resolve('fused-rnn'))})`
  const script = new vm.Script(code, { importModuleDynamically })
  for (const found of [script.runInThisContext(), script.runInContext(vm.createContext({}))])
    t.is((await (found as Promise<typeof lib>)).Tensor, lib.Tensor)
})

once('the addon loaded several times in one environment: each has its own queue', async (t) => {
  const { stdout, stderr, code } = await runScript(`
    const addons = [0, 1, 2].map(() => {
      const module = { exports: {} }
      process.dlopen(module, ${JSON.stringify(addonFile)})
      return module.exports
    })
    const { binding } = await import('./dist/binding.js')
    addons.push(binding)
    console.log(new Set(addons).size)
    const values = addons.map((addon, i) => {
      let x = addon.fill(100_000, i, -1)
      for (let k = 0; k < 10; k++) x = addon.binaryNumber(0, x, 1)
      return addon.read(x)
    })
    console.log((await Promise.all(values)).map((row) => row[99_999]).join())
    addons[1].shutDown()
    console.log((await addons[0].read(addons[0].fill(2, 7, -1))).join())`)
  t.is(code, 0, stderr)
  t.is(stdout, '4\n10,11,12,13\n7,7\n')
})

// In a process of its own: a crash here would take the test runner along.
once('environments end in any order, with work under way and contexts of their own', async (t) => {
  const { stdout, stderr, code, signal } = await runScript(`
    import vm from 'node:vm'
    import { Worker } from 'node:worker_threads'
    import { ones } from 'fused-rnn'
    const url = import.meta.resolve('fused-rnn')
    const body = \`import(\${JSON.stringify(url)}).then(async (lib) => {
      const vm = await import('node:vm')
      const { parentPort } = await import('node:worker_threads')
      const module = { exports: {} }
      process.dlopen(module, ${JSON.stringify(addonFile)})
      const context = vm.createContext({ lib })
      vm.runInContext('var x = lib.ones([200000]); for (let i = 0; i < 20; i++) x = x.add(1)', context)
      parentPort.postMessage('busy')
      parentPort.once('message', () => process.exit())
    })\`
    const start = () => {
      const worker = new Worker(body, { eval: true })
      return new Promise((resolve, reject) => worker.once('message', () => resolve(worker)).once('error', reject))
    }
    const ended = (worker, how) => new Promise((resolve) => {
      worker.once('exit', resolve)
      if (how) worker.postMessage('end')
      else void worker.terminate()
    })
    for (const order of [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]]) {
      const workers = await Promise.all([0, 1, 2, 3].map(start))
      for (const i of order) {
        await ended(workers[i], i % 2 === 0)
        if ((await ones([3]).add(1).data()).join() !== '2,2,2') throw new Error('wrong here')
      }
    }
    // These end with the process.
    await Promise.all([0, 1].map(start))
    console.log('done')
    process.exit()`)
  t.deepEqual([code, signal, stdout], [0, null, 'done\n'], stderr)
})
