/** FUSED_RNN_CUDA_GRAPHS: what becomes of the time loops on a GPU. */
import test from 'ava'
import { type Finished, onCpu, runScript } from './helpers.js'

const gpuTest = onCpu ? test.skip : test

const script = `
  import * as f from 'fused-rnn'
  f.manualSeed(1)
  const rnn = new f.nn.LSTM(3, 4, { projSize: 2 }) // which has no other way than step by step
  const optimizer = new f.optim.SGD(rnn.parameters(), { lr: 0.1 })
  const x = f.rand([6, 2, 3])
  for (let step = 0; step < 20; step++) {
    const [y] = rnn.forward(x)
    optimizer.zeroGrad()
    y.sum().backward()
    await optimizer.step()
  }
  console.log((await rnn.forward(x)[0].data()).join())`

const counts = /^CUDA graphs: (\d+) launched, (\d+) captured, \d+ updated; (\d+) loops queued\n$/

gpuTest('report: what became of the time loops; off: the same numbers', async (t) => {
  const [reported, off, normal] = (await Promise.all(
    ['report', 'off', ''].map((mode) =>
      runScript(script, { env: { FUSED_RNN_CUDA_GRAPHS: mode } }),
    ),
  )) as [Finished, Finished, Finished]
  t.regex(reported.stderr, counts)
  const [launched = 0, captured = 0, queued = 0] = (counts.exec(reported.stderr) ?? [])
    .slice(1)
    .map(Number)
  // 41 loops, of two kinds.
  t.is(launched + queued, 41)
  t.true(queued >= 2 && captured >= 2 && launched >= captured, reported.stderr)
  for (const quiet of [off, normal]) {
    t.is(quiet.stderr, '')
    t.is(quiet.stdout, reported.stdout)
  }
})

gpuTest('another value is an error', async (t) => {
  const { code, stderr } = await runScript(script, { env: { FUSED_RNN_CUDA_GRAPHS: 'on' } })
  t.not(code, 0)
  t.regex(stderr, /FUSED_RNN_CUDA_GRAPHS: expected 'report' or 'off', got 'on'/)
})
