/** The Trainer's precision: what it sets and for how long, and what a checkpoint remembers. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { backends, type Callback, data, manualSeed, models, Trainer } from 'fused-rnn'
import { rejectsWith, throwsWith } from './helpers.js'

const text = 'a cat sat on a mat; '.repeat(40)
const vocabulary = data.Vocabulary.fromText(text)
const tokens = vocabulary.encode(text)

const names = (): string[] =>
  [backends.cpu.matmul, backends.cpu.rnn, backends.cuda.matmul, backends.cuda.rnn].map(
    (products) => products.fp32Precision,
  )

/** Weights after four steps, and the settings during one. */
async function train(
  precision: '32-true' | 'bf16-mixed' | null,
  options: { ckptPath?: string; save?: string; callback?: Callback } = {},
): Promise<{ weights: number[]; during: string[]; trainer: Trainer }> {
  manualSeed(1)
  const model = new models.LanguageModel({ vocabulary, hiddenSize: 24, numLayers: 1 })
  let during: string[] = []
  const trainer = new Trainer({
    precision,
    maxSteps: options.ckptPath === undefined ? 4 : 5,
    progressBar: false,
    callbacks: [
      {
        onTrainBatchEnd: () => {
          during = names()
        },
      },
      options.callback ?? {},
    ],
  })
  const batches = new data.SequentialBatches(tokens, { batchSize: 16, sequenceLength: 5 })
  const { ckptPath } = options
  await trainer.fit(model, batches, null, ckptPath === undefined ? {} : { ckptPath })
  if (options.save !== undefined) await trainer.saveCheckpoint(options.save)
  const weights: number[] = []
  for (const p of model.parameters()) weights.push(...(await p.data()))
  return { weights, during, trainer }
}

async function folder(t: ExecutionContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'fused-rnn-precision-'))
  t.teardown(() => rm(path, { recursive: true }))
  return path
}

test.serial('the settings hold while fit runs, and are given back', async (t) => {
  const before = names()
  const float32 = await train('32-true')
  t.deepEqual(float32.during, before)
  const rounded = await train('bf16-mixed')
  t.deepEqual(rounded.during, ['bf16', 'bf16', 'bf16', 'bf16'])
  t.deepEqual(names(), before)
  t.is(rounded.trainer.options.precision, 'bf16-mixed')
  // Rounded, but no other training.
  t.notDeepEqual(rounded.weights, float32.weights)
  const far = rounded.weights.filter((w, i) => Math.abs(w - (float32.weights[i] as number)) > 0.05)
  t.deepEqual(far, [])

  // What backends says is the default; '32-true' takes bfloat16 back.
  backends.fp32Precision = 'bf16'
  try {
    t.deepEqual((await train(null)).weights, rounded.weights)
    t.deepEqual((await train('32-true')).during, ['ieee', 'ieee', 'ieee', 'ieee'])
    t.is(backends.fp32Precision, 'bf16')
  } finally {
    backends.fp32Precision = 'ieee'
    backends.cuda.rnn.fp32Precision = before[3] as 'ieee'
  }
})

test.serial('a fit that fails gives the settings back, too', async (t) => {
  const before = names()
  const callback = {
    onTrainBatchEnd: () => {
      throw new Error('stop here')
    },
  }
  await rejectsWith(t, train('bf16-mixed', { callback }), Error, /stop here/)
  t.deepEqual(names(), before)
})

test.serial('two trainers at a time need the same precision', async (t) => {
  const other = new Trainer({ precision: '32-true', maxSteps: 1, progressBar: false })
  const same = new Trainer({ precision: 'bf16-mixed', maxSteps: 1, progressBar: false })
  const model = new models.LanguageModel({ vocabulary, hiddenSize: 8, numLayers: 1 })
  const batches = new data.SequentialBatches(tokens, { batchSize: 16, sequenceLength: 5 })
  let tried = false
  await train('bf16-mixed', {
    callback: {
      onTrainBatchEnd: async () => {
        if (tried) return
        tried = true
        await rejectsWith(
          t,
          other.fit(model, batches),
          TypeError,
          /\[fit\] precision: a trainer with 'bf16-mixed' is running, got '32-true'/,
        )
        await same.validate(model, batches)
      },
    },
  })
  t.true(tried)
  // It can be used again afterwards.
  await other.fit(model, batches)
})

test.serial('a checkpoint remembers it, and going on in another one warns', async (t) => {
  const ckptPath = join(await folder(t), 'rounded')
  await train('bf16-mixed', { save: ckptPath })
  const head = join(ckptPath, 'trainer.json')
  const state = JSON.parse(await readFile(head, 'utf8'))
  t.is(state.precision, 'bf16-mixed')

  const warnings: string[] = []
  const listen = (warning: Error): void => void warnings.push(warning.message)
  process.on('warning', listen)
  t.teardown(() => process.off('warning', listen))
  await train('bf16-mixed', { ckptPath })
  await new Promise((done) => setImmediate(done))
  t.deepEqual(warnings, [])
  await train(null, { ckptPath })
  await new Promise((done) => setImmediate(done))
  t.is(warnings.length, 1)
  t.regex(String(warnings[0]), /trained in precision 'bf16-mixed' and goes on in '32-true'/)

  // Older checkpoints do not say.
  const { precision: _, ...older } = state
  await writeFile(head, JSON.stringify(older))
  await train('32-true', { ckptPath })
  await writeFile(head, JSON.stringify({ ...state, precision: 'half' }))
  await rejectsWith(t, train(null, { ckptPath }), Error, /'precision' is not what it should be/)
  t.is(warnings.length, 1)
})

test('names that are not there', (t) => {
  throwsWith(
    t,
    () => new Trainer({ precision: '16-mixed' as 'bf16-mixed' }),
    TypeError,
    /\[Trainer\] precision: expected one of '32-true', 'bf16-mixed', got '16-mixed'/,
  )
})
