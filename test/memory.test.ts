/** What a training step leaves in memory. Runs in a process of its own, so the counts are ours. */
import test from 'ava'
import { emulated, runScript } from './helpers.js'

const prelude = `
  import { getDefaultDevice, memoryStats, nn, noGrad, optim, ones, randn, synchronize } from 'fused-rnn'
  import { binding } from './dist/binding.js'
  import { deviceNumber } from './dist/device.js'
  const live = async () => { await synchronize(); return memoryStats().allocated }
  const MB = 2 ** 20
  function assert(condition, message) { if (!condition) throw new Error(message) }
  /** What is left after the garbage collector: as soon as this holds, or after many tries. */
  async function collected(holds) {
    for (let turn = 0; ; turn++) {
      gc()
      await new Promise((resolve) => setTimeout(resolve, 20))
      const bytes = await live()
      if ((turn > 1 && holds(bytes)) || turn === 200) return bytes
    }
  }
`

async function passes(t: import('ava').ExecutionContext, body: string, flags: string[] = []) {
  const { code, stderr } = await runScript(prelude + body, { flags })
  t.is(code, 0, stderr)
}

test('backward frees what forward saved, without the garbage collector', async (t) => {
  await passes(
    t,
    `for (const Kind of [nn.RNN, nn.GRU, nn.LSTM]) {
      const layer = new Kind(32, 64, { numLayers: 2 })
      const x = randn([60, 32, 32])
      const before = await live()
      const [y, state] = layer.forward(x)
      const after = await live()
      const loss = y.sum()
      loss.backward()
      for (const done of [y, loss, ...[state].flat()]) done[Symbol.dispose]()
      const rest = (await live()) - before
      const gradients = layer.parameters().reduce((sum, p) => sum + 4 * p.numel, 0)
      assert(after - before > MB, 'forward saved ' + (after - before))
      assert(rest < gradients * 1.3 + 65536, Kind.name + ' left ' + rest + ', gradients ' + gradients)
    }`,
  )
})

test('without gradients forward saves nothing', async (t) => {
  await passes(
    t,
    `const layer = new nn.LSTM(32, 64, { numLayers: 2 })
    const x = randn([60, 32, 32])
    const before = await live()
    const [y, [h, c]] = noGrad(() => layer.forward(x))
    for (const result of [h, c]) result[Symbol.dispose]()
    const grown = (await live()) - before
    assert(grown < y.numel * 4 * 1.3 + 65536, 'grown by ' + grown)`,
  )
})

// Many steps of some size, or it would not show.
const manySteps = emulated ? test.skip : test

manySteps('a training loop that disposes nothing stays within bounds', async (t) => {
  await passes(
    t,
    `const layer = new nn.LSTM(32, 64, { numLayers: 2 })
    const optimizer = new optim.Adam(layer.parameters(), { lr: 1e-3, maxGradNorm: 1 })
    const x = randn([60, 32, 32])
    let peak = 0
    for (let step = 0; step < 150; step++) {
      optimizer.zeroGrad()
      const [y] = layer.forward(x)
      y.mul(y).sum().backward()
      await optimizer.step()
      if (step % 10 === 9) peak = Math.max(peak, await live())
    }
    // One step's activations are about 10 MB; 150 of them would be far more.
    assert(peak < 400 * MB, 'peak ' + peak)`,
  )
})

for (const young of ['on', 'off']) {
  manySteps(`what steps drop is found, with the look at young objects ${young}`, async (t) => {
    const { code, stdout, stderr } = await runScript(
      `${prelude}
      import { constants, PerformanceObserver } from 'node:perf_hooks'
      let [minor, major] = [0, 0]
      new PerformanceObserver((list) => {
        for (const { detail } of list.getEntries())
          detail.kind === constants.NODE_PERFORMANCE_GC_MINOR ? minor++ : major++
      }).observe({ entryTypes: ['gc'] })
      const layer = new nn.LSTM(32, 64, { numLayers: 2 })
      const optimizer = new optim.SGD(layer.parameters(), { lr: 1e-3 })
      const x = randn([60, 32, 32])
      let peak = 0
      for (let step = 0; step < 400; step++) {
        optimizer.zeroGrad()
        const [y] = layer.forward(x)
        const kept = y.mul(3)
        kept.mul(kept).sum().backward()
        await optimizer.step()
        await new Promise(setImmediate)
        if (step % 10 === 9) peak = Math.max(peak, await live())
      }
      assert(globalThis.gc === undefined, 'gc is of no concern to the script')
      console.log(JSON.stringify({ minor, major, peak: peak / MB }))`,
      { env: { FUSED_RNN_YOUNG_GC: young } },
    )
    t.is(code, 0, stderr)
    const { minor, major, peak } = JSON.parse(stdout)
    // A step's tensors take some 1.5 MB; all of them would be 600.
    t.true(peak < (young === 'on' ? 150 : 400), stdout)
    // Without our help V8 looks at young objects once here. How often it looks at all of them
    // depends on the time that it finds.
    if (young === 'on') t.true(minor > 4, stdout)
    else t.true(major > 0, stdout)
  })
}

for (const [what, setUp, flags] of [
  ['flags that are frozen', '', ['--freeze-flags-after-init']],
  ['a function of its own named gc', 'globalThis.gc = () => { throw new Error("mine") }', []],
  ['gc exposed, and taken away', 'globalThis.gc = undefined', ['--expose-gc']],
] as const) {
  test(`the look at young objects under ${what}`, async (t) => {
    await passes(
      t,
      `${setUp}
      const { runInNewContext } = await import('node:vm')
      const exposed = runInNewContext('typeof gc')
      for (let step = 0; step < 30; step++) await ones([MB]).sum().item()
      assert(runInNewContext('typeof gc') === exposed, 'the flag is as it was')`,
      [...flags],
    )
  })
}

test('a stateful loop that detaches the state does not keep old windows', async (t) => {
  await passes(
    t,
    `const layer = new nn.GRU(32, 64)
    const x = randn([20, 16, 32])
    let h
    let first
    for (let step = 0; step < 60; step++) {
      const [y, hn] = layer.forward(x, h)
      const loss = y.sum()
      loss.backward()
      h = hn.detach()
      for (const p of layer.parameters()) p.grad = null
      await loss.item()
      if (step % 20 === 19) {
        const now = await collected((bytes) => first === undefined || bytes < first + MB)
        first ??= now
        assert(now < first + MB, 'from ' + first + ' to ' + now)
      }
    }`,
    ['--expose-gc'],
  )
})

test('the garbage collector knows what a view is worth when its tensor is disposed', async (t) => {
  await passes(
    t,
    `let peak = 0
    for (let step = 0; step < 1000; step++) {
      const x = ones([MB / 4])
      x.reshape([2, MB / 8])
      x[Symbol.dispose]()
      if (step % 10 === 9) peak = Math.max(peak, await live())
    }
    // V8 hears of it in steps of 128 MB, and takes its time on a busy machine. All would be 1000.
    assert(peak < 500 * MB, 'peak ' + peak)`,
  )
})

test('tensors that were dropped are freed by the garbage collector', async (t) => {
  await passes(
    t,
    `const before = await live()
    for (let i = 0; i < 100; i++) ones([65536])
    const left = (await collected((bytes) => bytes < before + 4 * MB)) - before
    assert(left < 4 * MB, 'left ' + left)`,
    ['--expose-gc'],
  )
})

test("the Trainer's memory does not grow from step to step", async (t) => {
  await passes(
    t,
    `const { data, models, Trainer } = await import('fused-rnn')
    const text = 'the quick brown fox jumps over the lazy dog. '.repeat(12)
    const vocabulary = data.Vocabulary.fromText(text)
    const batches = new data.SequentialBatches(vocabulary.encode(text), { batchSize: 4, sequenceLength: 12 })
    const sizes = { vocabulary, embeddingSize: 8, hiddenSize: 32, numLayers: 2, dropout: 0.2 }
    const model = new models.LanguageModel(sizes)
    const counts = []
    const probe = {
      onTrainBatchEnd: async () => {
        await synchronize()
        counts.push(binding.memory(deviceNumber(getDefaultDevice().toString())).liveBuffers)
      },
    }
    const options = { maxEpochs: 3, logEveryNSteps: 1, progressBar: false, callbacks: [probe] }
    await new Trainer(options).fit(model, batches, batches)
    const { length } = batches
    const largest = (epoch) => Math.max(...counts.slice(epoch * length, (epoch + 1) * length))
    assert(counts.length === 3 * length && length > 5, 'batches ' + length)
    assert(largest(2) <= largest(0) + 1, counts.join(' '))`,
  )
})
