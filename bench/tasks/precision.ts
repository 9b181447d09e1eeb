/**
 * What bfloat16 costs in accuracy: `node dist-bench/tasks/precision.js FOLDER FILE [SEEDS] [EPOCHS]`.
 * FOLDER has ptb.train.txt and ptb.valid.txt (Mikolov's preparation), FILE is The Time Machine. Both
 * are learnt in float32 and in bfloat16 from the same seeds; the last line of each corpus is the mean
 * of the validation perplexities' ratios, which is to stay within half a per cent of 1.
 */
import { join } from 'node:path'
import { data, manualSeed, models, optim, setNumThreads, Trainer } from 'fused-rnn'

const [folder, file, seeds = '3', epochs = '4'] = process.argv.slice(2)
if (folder === undefined || file === undefined) {
  throw new Error('usage: node dist-bench/tasks/precision.js FOLDER FILE [SEEDS] [EPOCHS]')
}
setNumThreads(1)

interface Corpus {
  name: string
  train: string
  valid: string
  level: 'word' | 'char'
  cell: 'lstm' | 'gru'
  size: number
  layers: number
  epochs: number
  lr: number
  clip: number
}

/** The validation perplexity after the last epoch. */
async function perplexity(corpus: Corpus, precision: 'bf16-mixed' | '32-true', seed: number) {
  manualSeed(seed)
  const vocabulary = data.Vocabulary.fromText(corpus.train, { tokenizer: { level: corpus.level } })
  const batches = (text: string) =>
    new data.SequentialBatches(vocabulary.encode(text), { batchSize: 20, sequenceLength: 35 })
  const model = new models.LanguageModel({
    vocabulary,
    cell: corpus.cell,
    embeddingSize: corpus.size,
    hiddenSize: corpus.size,
    numLayers: corpus.layers,
    dropout: 0,
  })
  const trainer = new Trainer({
    maxEpochs: corpus.epochs,
    gradientClipVal: corpus.clip,
    precision,
    progressBar: false,
  })
  const optimizer = new optim.SGD(model.parameters(), { lr: corpus.lr })
  await trainer.fit(model, batches(corpus.train), batches(corpus.valid), { optimizer })
  return trainer.callbackMetrics.valPerplexity ?? Number.NaN
}

const treebank = (part: string) => data.loadText(join(folder, `ptb.${part}.txt`))
const machine = await data.loadText(file)
const cut = Math.floor(0.9 * machine.length)
const corpora: Corpus[] = [
  {
    name: 'The Time Machine, characters, GRU 2 x 256',
    train: machine.slice(0, cut),
    valid: machine.slice(cut),
    level: 'char',
    cell: 'gru',
    size: 256,
    layers: 2,
    epochs: Number(epochs),
    lr: 1,
    clip: 1,
  },
  {
    name: 'Penn Treebank, words, LSTM 100',
    train: await treebank('train'),
    valid: await treebank('valid'),
    level: 'word',
    cell: 'lstm',
    size: 100,
    layers: 1,
    epochs: Number(epochs),
    lr: 20,
    clip: 0.25,
  },
]

for (const corpus of corpora) {
  console.log(corpus.name)
  let sum = 0
  for (let seed = 1; seed <= Number(seeds); seed++) {
    const float32 = await perplexity(corpus, '32-true', seed)
    const rounded = await perplexity(corpus, 'bf16-mixed', seed)
    sum += rounded / float32
    console.log(
      `seed ${seed}: float32 ${float32.toFixed(3)}, bf16 ${rounded.toFixed(3)}, ratio ${(rounded / float32).toFixed(4)}`,
    )
  }
  console.log(`mean ratio ${(sum / Number(seeds)).toFixed(4)} (bar: within .005 of 1)`)
}
