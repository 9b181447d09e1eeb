/** `fused-rnn doctor`: what it prints, what its self-tests notice, and its exit code. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { nn, type Tensor } from 'fused-rnn'
import { checkGradients, checkTraining, subjects } from '../dist/cli/self_test.js'
import { emulated, limit, onCpu, testDevice } from './helpers.js'

const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))

interface Outcome {
  code: number
  stdout: string
  stderr: string
}

function doctor(env: Record<string, string>): Promise<Outcome> {
  const options = { env: { ...process.env, FUSED_RNN_DEBUG: '', ...env } }
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [main, 'doctor'], options, (_, stdout, stderr) => {
      resolve({ code: child.exitCode ?? -1, stdout, stderr })
    })
  })
}

test('it tells what there is, tests every device and is content', async (t) => {
  const start = performance.now()
  const { code, stdout, stderr } = await doctor({ FUSED_RNN_ISA: 'base' })
  t.is(code, 0, stdout + stderr)
  t.is(stderr, '')
  t.regex(stdout, /^fused-rnn +\d+\.\d+\.\d+$/m)
  t.true(stdout.includes(`Node       ${process.versions.node}, ${process.platform}`))
  t.regex(stdout, /^processor +\S.*, \d+ cores?$/m)
  t.regex(stdout, /^addon +\S.*\.node$/m)
  t.regex(stdout, /^features +\S/m)
  t.regex(stdout, /^kernels +base, by FUSED_RNN_ISA \(this processor can run .*base\)$/m)
  t.regex(stdout, /^int8 +by base's products of 16 bits$/m)
  t.regex(stdout, /^threads +\d+ \(\S.*\)$/m)
  t.regex(stdout, /^CUDA +\S/m)
  t.regex(stdout, /^cpu +base, \d+ threads?$/m)
  if (!onCpu) {
    t.regex(stdout, /^CUDA +runtime 13\.0 inside, driver for \d+\.\d+$/m)
    t.regex(stdout, /^cuBLAS +found$/m)
  }
  for (const device of new Set(['cpu', testDevice])) {
    for (const what of ['training', 'RNN', 'GRU', 'LSTM'])
      t.regex(stdout, new RegExp(`^self-test +ok +${device}, ${what}: `, 'm'))
  }
  t.regex(stdout, /\nEverything works\.\n$/)
  // Its own limit, and time for a busy machine to start it.
  if (!emulated) t.true(performance.now() - start < limit(30))
})

test('without an addon: what can be told, one line of what is missing, exit code 1', async (t) => {
  const { code, stdout, stderr } = await doctor({ FUSED_RNN_ADDON: '/nowhere/fused_rnn.node' })
  t.is(code, 1)
  t.regex(stdout, /^fused-rnn +\d.*\n(.*\n)*Node +/)
  t.regex(stdout, /^processor +\S/m)
  t.regex(stderr, /^fused-rnn: cannot load the addon: .*\/nowhere\/fused_rnn\.node.*\n$/)
})

test('an instruction set that is not there: one line, exit code 1', async (t) => {
  const { code, stderr } = await doctor({ FUSED_RNN_ISA: 'mmx' })
  t.is(code, 1)
  t.regex(stderr, /^fused-rnn: cannot load the addon: FUSED_RNN_ISA: expected one of .*\n$/)
})

test('a training that does not learn is noticed', async (t) => {
  for (const [seconds, steps] of [
    [0, 5],
    [60, 40],
  ] as const) {
    const { ok, detail } = await checkTraining(testDevice, seconds, 1e-6)
    t.false(ok)
    t.regex(detail, new RegExp(`^loss (\\S+) → \\1 in ${steps} steps$`))
  }
  // A slow device that learns.
  t.true((await checkTraining(testDevice, 0)).ok)
})

test('a wrong gradient is noticed, of the input and of a parameter', async (t) => {
  /** Right values; gradients that are too large by `input` and by `weight`. */
  class Wrong extends nn.Module {
    layer = new nn.Linear(5, 4, { device: testDevice })
    constructor(readonly of: 'input' | 'weight' | 'nothing') {
      super()
    }
    override forward(x: Tensor): Tensor {
      const { weight, bias } = this.layer
      const twice = (y: Tensor): Tensor => y.mul(2).sub(y.detach())
      return nn.functional
        .linear(
          this.of === 'input' ? twice(x) : x,
          this.of === 'weight' ? twice(weight) : weight,
          bias,
        )
        .tanh()
    }
  }
  for (const of of ['input', 'weight', 'nothing'] as const) {
    const module = new Wrong(of)
    const { ok, detail } = await checkGradients(testDevice, {
      name: of,
      module,
      run: (x) => module.forward(x),
    })
    t.is(ok, of === 'nothing', `${of}: ${detail}`)
  }
})

test('a gradient that is NaN is noticed', async (t) => {
  const [subject] = subjects(testDevice)
  t.truthy(subject)
  if (subject === undefined) return
  const { ok } = await checkGradients(testDevice, {
    ...subject,
    run: (x) => subject.run(x).sub(5).sqrt(),
  })
  t.false(ok)
})
