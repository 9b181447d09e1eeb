/**
 * A character model of song lyrics with each kind of recurrent layer, and what it writes after given
 * words while it learns; as in "Dive into Deep Learning", first edition, chapter 6.
 */
import {
  data,
  nn,
  noGrad,
  optim,
  ProgressBar,
  type StepContext,
  type Tensor,
  Trainer,
  tensor,
} from 'fused-rnn'
import {
  amount,
  checkPrefix,
  choice,
  type Keep,
  keep,
  keepOptions,
  options,
  read,
  sonnets,
} from './common.js'

const hidden = 256
/** Layer, learning rate, and after how many epochs to look at it, as in the original. */
const systems = {
  gru: { layer: (inputs: number) => new nn.GRU(inputs, hidden), lr: 1e-2, every: 40 },
  rnn: { layer: (inputs: number) => new nn.RNN(inputs, hidden), lr: 1e-3, every: 50 },
  lstm: { layer: (inputs: number) => new nn.LSTM(inputs, hidden), lr: 1e-2, every: 40 },
  lstm2: {
    layer: (inputs: number) => new nn.LSTM(inputs, hidden, { numLayers: 2 }),
    lr: 1e-2,
    every: 40,
  },
  bigru: {
    layer: (inputs: number) => new nn.GRU(inputs, hidden / 2, { bidirectional: true }),
    lr: 1e-2,
    every: 40,
  },
}

class CharModel extends nn.Module {
  readonly rnn: nn.RecurrentLayer
  readonly dense: nn.Linear
  readonly vocabulary: data.Vocabulary

  constructor(rnn: nn.RecurrentLayer, vocabulary: data.Vocabulary) {
    super()
    this.rnn = rnn
    this.dense = new nn.Linear(hidden, vocabulary.size)
    this.vocabulary = vocabulary
  }

  override forward(
    tokens: Tensor,
    state?: nn.RecurrentState | null,
  ): [logits: Tensor, state: nn.RecurrentState] {
    const input = nn.functional.oneHot(tokens, this.vocabulary.size)
    const [output, next] = this.rnn.forward(input, state)
    return [this.dense.forward(output.reshape([-1, hidden])), next]
  }

  trainingStep(batch: data.Batch, context: StepContext<nn.RecurrentState>) {
    const [logits, state] = this.forward(batch.input, batch.reset ? null : context.carried)
    context.carried = state
    const loss = nn.functional.crossEntropy(logits, batch.target.reshape([-1]))
    return { loss, count: batch.tokens }
  }

  deriveMetrics({ loss = NaN }): Record<string, number> {
    return { perplexity: Math.exp(loss) }
  }

  /** `prefix` and the `length` likeliest characters after it, one at a time. */
  async predict(prefix: string, length: number): Promise<string> {
    const tokens = [...this.vocabulary.encode(prefix)]
    const given = tokens.length
    let state: nn.RecurrentState | null = null
    for (let i = 0; i < given + length - 1; i++) {
      const input = tensor([[tokens[i] ?? 0]], { dtype: 'int32' })
      const [logits, next] = noGrad(() => this.forward(input, state))
      state = next
      if (i >= given - 1) tokens.push(await logits.argmax().item())
    }
    return this.vocabulary.decode(tokens)
  }
}

/** The first words of the corpus's first lines: texts that it can surely go on from. */
function beginnings(text: string): string[] {
  const lines = text.split(/[\n\r]+/).filter((line) => line.trim() !== '')
  const words = lines.map((line) => [...(line.trim().split(' ')[0] ?? '')].slice(0, 12).join(''))
  return [...new Set(words)].slice(0, 2)
}

const { epochs, ...given } = options<
  Keep & {
    cell: keyof typeof systems
    sampling: 'consecutive' | 'random'
    clip: number
    prefix?: string[]
  }
>(
  'A character model of song lyrics.',
  { epochs: 160, corpus: 'a text to learn from; its first 10,000 characters are used' },
  (command) =>
    keepOptions(command)
      .addOption(choice('--cell <name>', 'the recurrent layer', Object.keys(systems)))
      .addOption(choice('--sampling <way>', 'order of the text', ['consecutive', 'random']))
      .option('--clip <norm>', 'the norm that gradients are clipped to; 0: none', amount, 0.01)
      .option('--prefix <texts...>', 'what the predictions begin with; else words of the text'),
)
const system = systems[given.cell]
const lyrics = given.data === undefined ? sonnets() : await read(given.data)
const corpus = lyrics.slice(0, 10_000).replace(/[\n\r]/g, ' ')
const vocabulary = data.Vocabulary.fromText(corpus, { unknownToken: null })
const prefixes = given.prefix ?? beginnings(lyrics.slice(0, 10_000))
for (const prefix of prefixes) checkPrefix(vocabulary, prefix)
const tokens = vocabulary.encode(corpus)
const size = { batchSize: 32, sequenceLength: 35, dropLast: true }
const batches =
  given.sampling === 'random'
    ? new data.RandomWindows(tokens, size)
    : new data.SequentialBatches(tokens, size)

const model = new CharModel(system.layer(vocabulary.size), vocabulary)
let start = performance.now()
let trained = 0
const kept = keep(given, [
  new ProgressBar({ everyNEpochs: system.every }),
  {
    async onTrainEpochEnd({ currentEpoch, callbackMetrics }) {
      const epoch = currentEpoch + 1
      trained++
      if (epoch % system.every !== 0 && epoch !== epochs) return
      const seconds = (performance.now() - start) / 1000 / trained
      const perplexity = callbackMetrics.trainPerplexity?.toFixed(4)
      console.log(`epoch ${epoch}, perplexity ${perplexity}, time ${seconds.toFixed(3)} sec`)
      for (const prefix of prefixes) console.log(` - ${await model.predict(prefix, 50)}`)
      start = performance.now()
      trained = 0
    },
  },
])
const trainer = new Trainer({
  maxEpochs: epochs,
  gradientClipVal: given.clip || null,
  ...kept.trainer,
})
const optimizer = new optim.Adam(model.parameters(), { lr: system.lr })
await trainer.fit(model, batches, null, { optimizer, ...kept.fit })
