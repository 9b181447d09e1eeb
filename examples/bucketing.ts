/**
 * A language model of sentences in buckets of equal length, so that little is padded; after MXNet's
 * example lstm_bucketing.py. Padding is left out of the loss and of the perplexity.
 */
import { type Callback, data, nn, noGrad, optim, type Tensor, Trainer } from 'fused-rnn'
import { count, type Keep, keep, keepOptions, options, treebank } from './common.js'

const padding = 0

class SentenceModel extends nn.Module {
  readonly embedding: nn.Embedding
  readonly lstm: nn.LSTM
  readonly output: nn.Linear

  constructor(vocabularySize: number, width: number) {
    super()
    this.embedding = new nn.Embedding(vocabularySize, width)
    this.lstm = new nn.LSTM(width, width, { numLayers: 2 })
    this.output = new nn.Linear(width, vocabularySize)
    for (const [name, parameter] of this.namedParameters()) {
      // Xavier by fan-in with magnitude 2.34: uniform up to √(2.34 / inputs).
      const bound = Math.sqrt(2.34 / (parameter.shape[1] ?? 1))
      name.includes('bias') ? nn.init.zeros(parameter) : nn.init.uniform(parameter, -bound, bound)
      // The LSTM there begins with its forget gate open: rows H to 2H of one bias.
      if (name.includes('bias_ih')) noGrad(() => nn.init.ones(parameter.slice(0, width, 2 * width)))
    }
  }

  override forward(tokens: Tensor): Tensor {
    const [output] = this.lstm.forward(this.embedding.forward(tokens))
    return this.output.forward(output.reshape([-1, this.lstm.hiddenSize]))
  }

  /** The sum over the words of a sentence, the mean over sentences, is what is minimised there. */
  trainingStep({ input, target, tokens }: data.Batch) {
    using logits = this.forward(input)
    const loss = nn.functional.crossEntropy(logits, target.reshape([-1]))
    const perWord = loss.detach()
    return { loss: loss.mul(tokens / batchSize), count: tokens, metrics: { perWord } }
  }

  validationStep(batch: data.Batch) {
    return this.trainingStep(batch)
  }

  deriveMetrics({ perWord = NaN }): Record<string, number> {
    return { perplexity: Math.exp(perWord) }
  }
}

/** A line with the speed at intervals of batches; as MXNet's Speedometer. */
class Speedometer implements Callback {
  #start = performance.now()

  onTrainEpochStart(): void {
    this.#start = performance.now()
  }

  onTrainBatchEnd({ progress }: Trainer): void {
    if (progress.batch % given.frequent !== 0) return
    const samples = (given.frequent * batchSize) / ((performance.now() - this.#start) / 1000)
    const perplexity = progress.metrics.perplexity?.toFixed(1) ?? 'not yet known'
    console.log(
      `Epoch[${progress.epoch}] Batch [${progress.batch}] Speed: ${samples.toFixed(1)} samples/sec, perplexity ${perplexity}`,
    )
    this.#start = performance.now()
  }
}

const batchSize = 50
const given = options<Keep & { width: number; frequent: number }>(
  'A language model of sentences in buckets.',
  { epochs: 2, corpus: 'a folder with ptb.train.txt and ptb.valid.txt' },
  (command) =>
    keepOptions(command)
      .option('--width <number>', 'of the embedding and of both layers', count, 256)
      .option('--frequent <number>', 'batches from one line of speed to the next', count, 50),
)
const { train, valid } = await treebank(given.data)
const vocabulary = data.Vocabulary.fromText(train, {
  tokenizer: { level: 'word' },
  specialTokens: ['<pad>', '<unk>'],
  unknownToken: '<unk>',
})
const buckets = (lines: string) =>
  new data.BucketBatches(
    lines.split('\n').map((line) => vocabulary.encode(`${line}\n`)),
    {
      batchSize,
      buckets: [10, 20, 40, 60, 80],
      paddingIdx: padding,
      dropLast: true,
      seed: given.seed,
    },
  )

const model = new SentenceModel(vocabulary.size, given.width)
const optimizer = new optim.SGD(model.parameters(), { lr: 0.01, weightDecay: 1e-5 })
const kept = keep(given, [new Speedometer()], 1)
const trainer = new Trainer({ maxEpochs: given.epochs, ...kept.trainer })
const { metrics } = await trainer.fit(model, buckets(train), buckets(valid), {
  optimizer,
  ...kept.fit,
})
console.log(`Train perplexity ${metrics.trainPerplexity?.toFixed(1)}`)
console.log(`Validation perplexity ${metrics.valPerplexity?.toFixed(1)}`)
