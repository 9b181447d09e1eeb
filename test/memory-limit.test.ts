/** Running out of memory: an error in time, and the process goes on. In processes of their own. */
import test from 'ava'
import { onCpu, runScript } from './helpers.js'

// The limit is the host's; a GPU has its own and test/device.test.ts.
const cpuTest = onCpu ? test : test.skip

const prelude = `
  import { memoryStats, nn, optim, randn, synchronize, zeros } from 'fused-rnn'
  const layer = new nn.LSTM(32, 64)
  const optimizer = new optim.Adam(layer.parameters())
  const x = randn([60, 64, 32])
  const step = () => {
    optimizer.zeroGrad()
    const [y] = layer.forward(x)
    y.mul(y).sum().backward()
    return optimizer.step()
  }
  const MB = 2 ** 20
  function assert(condition, message) { if (!condition) throw new Error(message) }
`

const limited = (body: string) =>
  runScript(prelude + body, { env: { FUSED_RNN_MEMORY_LIMIT: String(200 * 2 ** 20) } })

cpuTest('a loop that never awaits is refused, and one that does works afterwards', async (t) => {
  const { code, stderr } = await limited(`
    let refused = null
    try {
      for (let i = 0; i < 20000; i++) step().catch(() => {})
    } catch (error) {
      refused = error
    }
    assert(refused instanceof RangeError, String(refused))
    assert(/out of memory: \\d+ bytes in use; .*await/.test(refused.message), refused.message)
    assert(memoryStats().allocated < 201 * MB, 'allocated ' + memoryStats().allocated)
    await synchronize().catch(() => {})
    for (let turn = 0; memoryStats().allocated > 100 * MB; turn++) {
      assert(turn < 1000, 'nothing is given back')
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    for (let i = 0; i < 50; i++) await step()
    await synchronize()
    for (const p of layer.parameters()) assert((await p.data()).every(Number.isFinite), 'NaN')`)
  t.is(code, 0, stderr)
})

cpuTest('a step that needs more than there is rejects, and the next one works', async (t) => {
  const { code, stderr } = await limited(`
    await step()
    const before = await layer.parameters()[0].data()
    const big = zeros([60, 40000, 32])
    const failed = await big.data().then(() => null, (error) => error)
    assert(/\\[fill\\] out of memory: could not allocate 307200000 bytes/.test(failed?.message), String(failed))
    big[Symbol.dispose]()
    await step()
    await synchronize()
    const after = await layer.parameters()[0].data()
    assert(after.every(Number.isFinite) && after.some((value, i) => value !== before[i]), 'no step')`)
  t.is(code, 0, stderr)
})

cpuTest(
  'out of memory anywhere in a step: it rejects, changes nothing, and others go on',
  async (t) => {
    const { code, stdout, stderr } = await limited(`
    const sgd = new optim.SGD(layer.parameters(), { lr: 0.01, momentum: 0.9 })
    const head = new nn.Linear(64, 40)
    const settled = async () => {
      await synchronize().catch(() => {})
      await new Promise((resolve) => setTimeout(resolve, 1))
    }
    /** The message of the error, or null. */
    const stepOf = async (batch) => {
      try {
        sgd.zeroGrad()
        const x = zeros([40, batch, 32]).add(0.5)
        const [y] = layer.forward(x)
        const logits = head.forward(y).logSoftmax(2)
        logits.mul(logits).mean().backward()
        await sgd.step()
        await synchronize()
        return null
      } catch (error) {
        return error.message
      }
    }
    const weights = async () => {
      const values = await Promise.all(layer.parameters().map((p) => p.data()))
      return Buffer.concat(values.map((v) => Buffer.from(v.buffer))).toString('base64')
    }
    const where = new Set()
    let fitted = 0
    for (let batch = 100; batch < 40000; batch = Math.ceil(batch * 1.07)) {
      const before = await weights()
      const message = await stepOf(batch)
      await settled()
      if (message === null) {
        fitted++
        continue
      }
      assert(/out of memory/.test(message), message)
      where.add(/^\\[\\w+\\]/.exec(message)?.[0] ?? 'at the call')
      assert(before === await weights(), 'a step that failed has changed a weight: ' + message)
      const next = await stepOf(4)
      assert(next === null, 'the next step failed: ' + next + ' after ' + message + JSON.stringify(memoryStats()))
      assert(before !== await weights(), 'the next step did nothing')
    }
    console.log(fitted, [...where].join(' '))`)
    t.is(code, 0, stderr)
    t.log(`steps that fitted, and who had no memory in the others: ${stdout.trim()}`)
    t.regex(stdout, /^\d\d+ .*\[\w+\] .*\[\w+\]/)
  },
)

test('a limit that is no number is an error at import', async (t) => {
  const env = { FUSED_RNN_MEMORY_LIMIT: '1 GB' }
  const { code, stderr } = await runScript(`import 'fused-rnn'`, { env })
  t.is(code, 1)
  t.regex(stderr, /FUSED_RNN_MEMORY_LIMIT: expected a number of bytes, got 1 GB/)
})
