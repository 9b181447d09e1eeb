/**
 * Deep recurrent networks on The Time Machine: layers stacked from scratch, and a GRU of two layers;
 * as in "Dive into Deep Learning", section 10.3.
 */
import {
  data,
  nn,
  noGrad,
  optim,
  ProgressBar,
  stack,
  type Tensor,
  Trainer,
  tensor,
  zeros,
} from 'fused-rnn'
import {
  checkPrefix,
  choice,
  type Keep,
  keep,
  keepOptions,
  options,
  read,
  sonnets,
} from './common.js'

const hidden = 32
const layers = 2

/** What both models are made of: from one-hot characters [T, N, V] and a state to outputs [T, N, H]. */
abstract class RecurrentNetwork extends nn.Module {
  abstract override forward(inputs: Tensor, state: Tensor | null): [outputs: Tensor, state: Tensor]
}

/** One layer of tanh units, written out. */
class RNNScratch extends RecurrentNetwork {
  readonly weightXh: Tensor
  readonly weightHh: Tensor
  readonly bias: Tensor

  constructor(inputs: number) {
    super()
    this.weightXh = nn.init.normal(new nn.Parameter(zeros([inputs, hidden])), 0, 0.01)
    this.weightHh = nn.init.normal(new nn.Parameter(zeros([hidden, hidden])), 0, 0.01)
    this.bias = new nn.Parameter(zeros([hidden]))
  }

  override forward(inputs: Tensor, state: Tensor | null): [Tensor, Tensor] {
    let memory = state ?? zeros([inputs.shape[1] ?? 1, hidden])
    const outputs: Tensor[] = []
    for (let t = 0; t < (inputs.shape[0] ?? 0); t++) {
      const input = inputs.select(0, t).matmul(this.weightXh)
      memory = input.add(memory.matmul(this.weightHh)).add(this.bias).tanh()
      outputs.push(memory)
    }
    return [stack(outputs, 0), memory]
  }
}

class StackedRNNScratch extends RecurrentNetwork {
  readonly rnns: nn.ModuleList<RNNScratch>

  constructor(inputs: number) {
    super()
    this.rnns = new nn.ModuleList(
      Array.from({ length: layers }, (_, i) => new RNNScratch(i === 0 ? inputs : hidden)),
    )
  }

  override forward(inputs: Tensor, state: Tensor | null): [Tensor, Tensor] {
    let outputs = inputs
    const states: Tensor[] = []
    for (const [i, rnn] of [...this.rnns].entries()) {
      const [next, memory] = rnn.forward(outputs, state?.select(0, i) ?? null)
      outputs = next
      states.push(memory)
    }
    return [outputs, stack(states, 0)]
  }
}

/** The concise version: the same from the library. */
class GRU extends RecurrentNetwork {
  readonly rnn: nn.GRU

  constructor(inputs: number) {
    super()
    this.rnn = new nn.GRU(inputs, hidden, { numLayers: layers })
  }

  override forward(inputs: Tensor, state: Tensor | null): [Tensor, Tensor] {
    return this.rnn.forward(inputs, state)
  }
}

class RNNLM extends nn.Module {
  readonly rnn: RecurrentNetwork
  readonly output: nn.Linear
  readonly vocabulary: data.Vocabulary

  constructor(rnn: RecurrentNetwork, vocabulary: data.Vocabulary) {
    super()
    this.rnn = rnn
    this.output = new nn.Linear(hidden, vocabulary.size)
    this.vocabulary = vocabulary
  }

  override forward(tokens: Tensor, state: Tensor | null): [logits: Tensor, state: Tensor] {
    const input = nn.functional.oneHot(tokens, this.vocabulary.size)
    const [outputs, next] = this.rnn.forward(input, state)
    return [this.output.forward(outputs.reshape([-1, hidden])), next]
  }

  trainingStep({ input, target, tokens }: data.Batch) {
    const [logits] = this.forward(input, null)
    return { loss: nn.functional.crossEntropy(logits, target.reshape([-1])), count: tokens }
  }

  validationStep(batch: data.Batch) {
    return this.trainingStep(batch)
  }

  deriveMetrics({ loss = NaN }): Record<string, number> {
    return { perplexity: Math.exp(loss) }
  }

  /** `prefix` and the `length` likeliest characters after it. */
  async predict(prefix: string, length: number): Promise<string> {
    let text = prefix
    let input = this.vocabulary.encode(prefix)
    let state: Tensor | null = null
    for (let i = 0; i < length; i++) {
      const tokens = tensor(input, { shape: [input.length, 1] })
      const [logits, next]: [Tensor, Tensor] = noGrad(() => this.forward(tokens, state))
      state = next
      input = Int32Array.of(await logits.select(0, -1).argmax().item())
      text += this.vocabulary.decode(input)
    }
    return text
  }
}

const {
  epochs,
  model: name,
  ...given
} = options<Keep & { model: 'gru' | 'scratch'; plot: string; prefix: string }>(
  'Deep recurrent networks on The Time Machine.',
  { epochs: 100, corpus: 'a text to learn from; its first 15,032 letters are used' },
  (command) =>
    keepOptions(command)
      .addOption(choice('--model <name>', 'scratch: tanh units written out', ['gru', 'scratch']))
      .option('--prefix <text>', 'what the continuation begins with', 'it has')
      .option('--plot <file>', 'where to draw the loss', 'time-machine.svg'),
)
const text = given.data === undefined ? sonnets() : await read(given.data)
const vocabulary = data.Vocabulary.fromText(text, {
  tokenizer: { lettersOnly: true, lowerCase: true },
})
checkPrefix(vocabulary, given.prefix)
const corpus = vocabulary.encode(text)
if (corpus.length < 15_032) {
  console.error(
    `error: --data: expected at least 15,032 letters and spaces, got ${corpus.length}; other characters than a to z are left out`,
  )
  process.exit(1)
}
const size = { batchSize: 1024, sequenceLength: 32, stride: 1 }
const train = new data.RandomWindows(corpus.subarray(0, 10_000 + 32), size)
const valid = new data.RandomWindows(corpus.subarray(10_000, 15_000 + 32), size)

const rnn = name === 'scratch' ? new StackedRNNScratch(vocabulary.size) : new GRU(vocabulary.size)
const model = new RNNLM(rnn, vocabulary)
const optimizer = new optim.SGD(model.parameters(), { lr: 2 })
const kept = keep(given, [new ProgressBar({ everyNEpochs: 10 })])
const trainer = new Trainer({ maxEpochs: epochs, gradientClipVal: 1, ...kept.trainer })
const { history, metrics } = await trainer.fit(model, train, valid, { optimizer, ...kept.fit })
const { trainPerplexity = NaN, valPerplexity = NaN } = metrics
console.log(`perplexity ${trainPerplexity.toFixed(2)}, validation ${valPerplexity.toFixed(2)}`)
console.log(await model.predict(given.prefix, 20))
await history.writeSVG(given.plot)
console.log(`picture: ${given.plot}`)
