/**
 * An LSTM language model of words on the Penn Treebank, small enough for a laptop; after the chapter
 * on language models of Gluon's tutorials ("Recurrent Neural Networks with gluon", 2017).
 */
import { data, models, optim, Trainer } from 'fused-rnn'
import { amount, count, type Keep, keep, keepOptions, options, treebank } from './common.js'

const given = options<Keep & { width: number; lr: number }>(
  'An LSTM language model of words.',
  { epochs: 4, corpus: 'a folder with ptb.train.txt, ptb.valid.txt and ptb.test.txt' },
  (command) =>
    keepOptions(command)
      .option('--width <number>', 'of the embedding and of the layer', count, 100)
      .option('--lr <rate>', 'learning rate', amount, 20),
)

const { train, valid, test } = await treebank(given.data)
const vocabulary = data.Vocabulary.fromText(train, { tokenizer: { level: 'word' } })
const batches = (text: string) =>
  new data.SequentialBatches(vocabulary.encode(text), { batchSize: 20, sequenceLength: 35 })

const model = new models.LanguageModel({
  vocabulary,
  cell: 'lstm',
  embeddingSize: given.width,
  hiddenSize: given.width,
  numLayers: 1,
  dropout: 0,
})
const optimizer = new optim.SGD(model.parameters(), { lr: given.lr })
const kept = keep(given, [], 1)
const trainer = new Trainer({ maxEpochs: given.epochs, gradientClipVal: 0.25, ...kept.trainer })
const start = performance.now()
await trainer.fit(model, batches(train), batches(valid), { optimizer, ...kept.fit })
const minutes = (performance.now() - start) / 60_000
const { valPerplexity } = await trainer.validate(model, batches(test))
console.log(`test perplexity ${valPerplexity?.toFixed(1)} after ${minutes.toFixed(1)} minutes`)
