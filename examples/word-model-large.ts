/**
 * The larger language model of words on the Penn Treebank: 2 × 650 units, dropout, one matrix for
 * embedding and output, and a learning rate that falls when validation does not improve; after
 * "medium" of Zaremba et al. 2014 with the tied weights of Press & Wolf 2016. It takes hours: Ctrl-C
 * saves a checkpoint, and --resume goes on from it.
 */
import { join } from 'node:path'
import { data, ModelCheckpoint, models, optim, Trainer } from 'fused-rnn'
import { checkpointIn, choice, count, options, treebank } from './common.js'

const given = options<{
  width: number
  out: string
  resume: boolean
  precision: '32-true' | 'bf16-mixed'
}>(
  'The larger language model of words.',
  { epochs: 40, corpus: 'a folder with ptb.train.txt, ptb.valid.txt and ptb.test.txt' },
  (command) =>
    command
      .option('--width <number>', 'of the embedding and of both layers', count, 650)
      .addOption(choice('--precision <name>', 'of products', ['32-true', 'bf16-mixed']))
      .option('--out <folder>', 'for checkpoints and the picture', 'word-model-large')
      .option('--resume', 'go on from the last checkpoint in it', false),
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
  numLayers: 2,
  dropout: 0.5,
  tieWeights: true,
})
const optimizer = new optim.SGD(model.parameters(), { lr: 20 })
const scheduler = new optim.lrScheduler.ReduceLROnPlateau(optimizer, { factor: 0.25, patience: 0 })
const checkpoints = new ModelCheckpoint({
  dirpath: given.out,
  monitor: 'valLoss',
  everyNTrainSteps: 500,
})
const stop = new AbortController()
process.once('SIGINT', () => stop.abort())
const trainer = new Trainer({
  maxEpochs: given.epochs,
  gradientClipVal: 0.25,
  precision: given.precision,
  callbacks: [checkpoints],
  signal: stop.signal,
})
const resume = given.resume ? { ckptPath: checkpointIn(given.out) } : {}
const fitted = await trainer.fit(model, batches(train), batches(valid), {
  optimizer,
  scheduler,
  ...resume,
})
await fitted.history.writeSVG(join(given.out, 'perplexity.svg'), { metric: 'perplexity' })
if (fitted.stopped === 'aborted') {
  console.log(`stopped in epoch ${fitted.epoch + 1}; --resume goes on`)
} else {
  const best = await models.LanguageModel.load(checkpoints.bestModelPath ?? given.out)
  const { valPerplexity } = await trainer.validate(best, batches(test))
  console.log(`test perplexity ${valPerplexity?.toFixed(1)}`)
}
