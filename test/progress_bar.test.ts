import { PassThrough } from 'node:stream'
import test from 'ava'
import { data, manualSeed, models, ProgressBar, Trainer } from 'fused-rnn'
import { throwsWith } from './helpers.js'

// One after the other: the tests of a file share one generator of random numbers.

const text = 'the cat sat on the mat. '.repeat(40)
const vocabulary = data.Vocabulary.fromText(text)

function makeModel(): models.LanguageModel {
  manualSeed(1)
  return new models.LanguageModel({
    vocabulary,
    embeddingSize: 8,
    hiddenSize: 32,
    numLayers: 1,
    dropout: 0,
  })
}

const batches = () =>
  new data.SequentialBatches(vocabulary.encode(text), { batchSize: 4, sequenceLength: 12 })

/** Something that looks like a terminal, or not, and what was written to it. */
function fakeStream(isTTY: boolean): { stream: NodeJS.WriteStream; chunks: string[] } {
  const chunks: string[] = []
  const stream = Object.assign(new PassThrough(), {
    isTTY,
    columns: 120,
    rows: 24,
    cursorTo: () => true,
    clearLine: () => true,
  })
  stream.on('data', (chunk) => chunks.push(String(chunk)))
  return { stream: stream as unknown as NodeJS.WriteStream, chunks }
}

test.serial('progress: plain lines without a terminal, a bar with one', async (t) => {
  for (const isTTY of [false, true]) {
    const { stream, chunks } = fakeStream(isTTY)
    const trainer = new Trainer({
      maxEpochs: 2,
      progressBar: false,
      callbacks: [new ProgressBar({ stream })],
    })
    await trainer.fit(makeModel(), batches(), batches())
    const output = chunks.join('')
    t.regex(
      output,
      /epoch 1\/2: loss [\d.]+, perplexity [\d.]+, valid loss [\d.]+, valid perplexity [\d.]+, [\d,]+ tokens\/s, \d+:\d\d left\n/,
    )
    t.regex(output, /epoch 2\/2: .* tokens\/s\n/)
    t.is(/█|░/.test(output), isTTY)
  }
})

test.serial('a progress bar that is stopped in the middle draws no more', async (t) => {
  const chunks: string[] = []
  const stream = {
    isTTY: true,
    columns: 100,
    write: (chunk: string) => chunks.push(chunk),
    cursorTo() {},
    clearLine() {},
  } as unknown as NodeJS.WriteStream
  const bar = new ProgressBar({ stream })
  const abort = new AbortController()
  const stopper = {
    onTrainBatchEnd: (trainer: Trainer) => {
      if (trainer.globalStep !== 2) return
      bar.stop()
      chunks.push('stopped')
      abort.abort()
    },
  }
  await new Trainer({
    maxEpochs: 2,
    progressBar: false,
    signal: abort.signal,
    callbacks: [bar, stopper],
  }).fit(makeModel(), batches())
  t.regex(chunks.join(''), /█|░/)
  t.is(chunks.at(-1), 'stopped')
})

test.serial('a line and a bar for several epochs', async (t) => {
  for (const isTTY of [false, true]) {
    const { stream, chunks } = fakeStream(isTTY)
    // A bar among the callbacks takes the place of the trainer's own.
    const callbacks = [new ProgressBar({ stream, everyNEpochs: 2 })]
    await new Trainer({ maxEpochs: 5, callbacks }).fit(makeModel(), batches())
    const output = chunks.join('')
    const lines = [...output.matchAll(/epoch (\d)\/5: loss/g)].map(([, epoch]) => epoch)
    t.deepEqual(lines, ['2', '4', '5'])
    t.is(/█|░/.test(output), isTTY)
  }
  throwsWith(
    t,
    () => new ProgressBar({ everyNEpochs: 0 }),
    RangeError,
    /\[ProgressBar\] everyNEpochs/,
  )
  throwsWith(t, () => new ProgressBar({ every: 2 } as object), TypeError, /every/)
})
