/**
 * AWD-LSTM: a language model of words kept from learning by heart by dropout everywhere and averaged
 * weights; after Merity, Keskar & Socher 2017, "Regularizing and Optimizing LSTM Language Models".
 */
import {
  type Callback,
  data,
  nn,
  ones,
  onesLike,
  optim,
  type SeekableSource,
  type StepContext,
  type Tensor,
  Trainer,
  tensor,
} from 'fused-rnn'
import {
  amount,
  choice,
  count,
  fail,
  type Keep,
  keep,
  keepOptions,
  options,
  orFail,
  randomNumbers,
  treebank,
} from './common.js'

const drop = { embedding: 0.1, input: 0.4, hidden: 0.25, output: 0.4, weight: 0.5 }
/** Penalties on large outputs (AR) and on outputs that change from step to step (TAR). */
const [alpha, beta] = [2, 1]

/** x (T, N, H) without some of the H, the same ones at all steps of a sequence. */
const locked = (x: Tensor, p: number, training: boolean): Tensor =>
  training ? x.mul(nn.functional.dropout(onesLike(x.slice(0, 0, 1)), { p })) : x

class AwdLstm extends nn.Module {
  readonly encoder: nn.Embedding
  readonly rnns: nn.ModuleList<nn.LSTM>
  readonly decoder: nn.Linear

  constructor(words: number, embedding: number, width: number, layers: number) {
    super()
    const size = (layer: number): number => (layer === 0 || layer === layers ? embedding : width)
    this.encoder = new nn.Embedding(words, embedding)
    this.rnns = new nn.ModuleList(
      Array.from({ length: layers }, (_, i) => {
        const inputDropout = i === 0 ? drop.input : drop.hidden
        return new nn.LSTM(size(i), size(i + 1), { inputDropout, weightDropout: drop.weight })
      }),
    )
    this.decoder = new nn.Linear(embedding, words)
    this.decoder.weight = this.encoder.weight
    nn.init.uniform(this.encoder.weight, -0.1, 0.1)
    nn.init.zeros(this.decoder.bias as Tensor)
  }

  /** @param states h and c of the first layer, of the second, … */
  override forward(tokens: Tensor, states: readonly Tensor[]) {
    let x = this.encoder.forward(tokens)
    if (this.training) {
      // Some words of the vocabulary are left out of the whole batch.
      const kept = nn.functional.dropout(ones([this.decoder.outFeatures, 1]), { p: drop.embedding })
      x = x.mul(nn.functional.embedding(tokens, kept))
    }
    const next: Tensor[] = []
    for (const [i, rnn] of [...this.rnns].entries()) {
      const [h, c] = [states[2 * i], states[2 * i + 1]]
      const [output, state] = rnn.forward(x, h && c && [h, c])
      next.push(...state)
      x = output
    }
    const dropped = locked(x, drop.output, this.training)
    const logits = this.decoder.forward(dropped.reshape([-1, this.decoder.inFeatures]))
    return { logits, output: x, dropped, states: next }
  }

  trainingStep({ input, target, tokens, reset }: data.Batch, context: StepContext<Tensor[]>) {
    const result = this.forward(input, reset ? [] : (context.carried ?? []))
    context.carried = result.states
    const crossEntropy = nn.functional.crossEntropy(result.logits, target.reshape([-1]))
    const metrics = { crossEntropy: crossEntropy.detach() }
    if (!this.training) return { loss: crossEntropy, count: tokens, metrics }
    const { output, dropped } = result
    const steps = input.shape[0] as number
    const changes = output.slice(0, 1, steps).sub(output.slice(0, 0, steps - 1))
    const penalty = dropped.square().mean().mul(alpha).add(changes.square().mean().mul(beta))
    optimizer.lr = (given.lr * steps) / given.bptt
    return { loss: crossEntropy.add(penalty), count: tokens, metrics }
  }

  validationStep(batch: data.Batch, context: StepContext<Tensor[]>) {
    return this.trainingStep(batch, context)
  }

  deriveMetrics({ crossEntropy = NaN }): Record<string, number> {
    return { perplexity: Math.exp(crossEntropy) }
  }
}

/** Windows whose length varies, so that they are cut elsewhere in every epoch. */
class Windows implements SeekableSource<data.Batch> {
  readonly length: number
  readonly #rows: Tensor

  constructor(tokens: Int32Array, batchSize: number) {
    const steps = Math.floor(tokens.length / batchSize)
    if (steps < 3)
      fail(`--data: expected at least ${3 * batchSize} words to train, got ${tokens.length}`)
    const columns = tensor(tokens.subarray(0, steps * batchSize), { shape: [batchSize, steps] })
    this.#rows = columns.transpose(0, 1)
    this.length = Math.ceil((steps - 1) / (0.975 * given.bptt))
  }

  *batches(epoch: number, start = 0): Generator<data.Batch> {
    const random = randomNumbers(given.seed * 1000 + epoch)
    const normal = (): number =>
      Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
    const last = (this.#rows.shape[0] as number) - 1
    // A window of one step would have no changes for TAR.
    for (let i = 0, from = 0; from < last - 1; i++) {
      const mean = random() < 0.95 ? given.bptt : given.bptt / 2
      const to = Math.min(from + Math.max(5, Math.floor(mean + 5 * normal())), last)
      const [input, target] = [this.#rows.slice(0, from, to), this.#rows.slice(0, from + 1, to + 1)]
      if (i >= start) yield { input, target, tokens: target.numel, reset: from === 0 }
      from = to
    }
  }

  [Symbol.iterator] = (): Generator<data.Batch> => this.batches(0)
  state = (): object => ({})
  restore(): void {}
}

/**
 * NT-ASGD: from when validation has not improved for some epochs, a mean of the weights goes along,
 * which is what is validated. ASGD is plain SGD until its step t0.
 */
class Averaging implements Callback {
  #perplexities: number[] = []
  #trained: ReadonlyMap<string, Tensor> | null = null

  /** The means, where there are any, take the weights' place. */
  onValidationStart(_: Trainer, model: nn.Module): void {
    if (optimizer.paramGroups[0]?.t0 === never) return
    const { state } = optimizer.stateDict()
    const weights = model.namedParameters()
    this.#trained = new Map(weights.map(([name, weight]) => [name, weight.detach().clone()]))
    const means = weights.map(([name], i): [string, Tensor] => [name, state[i]?.ax as Tensor])
    model.loadStateDict(new Map(means), { strict: false })
  }

  onValidationEnd({ callbackMetrics, globalStep }: Trainer, model: nn.Module): void {
    if (this.#trained !== null) model.loadStateDict(this.#trained, { strict: false })
    const perplexity = callbackMetrics.valPerplexity ?? NaN
    const longAgo = this.#perplexities.slice(0, -given.patience)
    this.#perplexities.push(perplexity)
    const [group] = optimizer.paramGroups
    if (group?.t0 !== never || perplexity <= Math.min(...longAgo)) return
    group.t0 = globalStep
    console.log(`averaging begins after epoch ${this.#perplexities.length}`)
  }

  stateDict(): object {
    return { perplexities: this.#perplexities }
  }

  loadStateDict(state: { perplexities: number[] }): void {
    this.#perplexities = [...state.perplexities]
  }
}

const given = options<
  Keep &
    Record<'width' | 'embedding' | 'layers' | 'bptt' | 'lr' | 'patience', number> & {
      precision: '32-true' | 'bf16-mixed'
      batches?: number
    }
>(
  'AWD-LSTM, a language model of words.',
  { epochs: 500, corpus: 'a folder with ptb.train.txt, ptb.valid.txt and ptb.test.txt' },
  (command) =>
    keepOptions(command)
      .option('--width <number>', 'of the layers but the last', count, 1150)
      .option('--embedding <number>', 'width of the embedding and of the last layer', count, 400)
      .option('--layers <number>', 'how many', count, 3)
      .option('--bptt <number>', 'steps in a window, in the mean', count, 70)
      .option('--lr <rate>', 'learning rate', amount, 30)
      .option('--patience <epochs>', 'without a better validation, before averaging', count, 5)
      .option('--batches <number>', 'of an epoch, to see it work; else all', count)
      .addOption(choice('--precision <name>', 'of products', ['32-true', 'bf16-mixed'])),
)
const { train, valid, test } = await treebank(given.data)
const vocabulary = data.Vocabulary.fromText(train, { tokenizer: { level: 'word' } })
const held = (text: string) =>
  new data.SequentialBatches(vocabulary.encode(text), {
    batchSize: 10,
    sequenceLength: given.bptt,
  })

const model = new AwdLstm(vocabulary.size, given.embedding, given.width, given.layers)
/** A step that is never reached. */
const never = Number.MAX_SAFE_INTEGER
const optimizer = new optim.ASGD(model.parameters(), {
  lr: given.lr,
  lambd: 0,
  t0: never,
  weightDecay: 1.2e-6,
})
const averaging = new Averaging()
const kept = keep(given, [averaging], 1)
const trainer = new Trainer({
  maxEpochs: given.epochs,
  gradientClipVal: 0.25,
  precision: given.precision,
  ...(given.batches === undefined ? {} : { limitTrainBatches: given.batches }),
  ...kept.trainer,
})
const windows = new Windows(vocabulary.encode(train), 20)
const { stopped, epoch } = await orFail(
  trainer.fit(model, windows, held(valid), { optimizer, ...kept.fit }),
)
if (stopped === 'aborted') {
  console.log(`stopped in epoch ${epoch + 1}; --resume goes on`)
} else {
  averaging.onValidationStart(trainer, model)
  const { testPerplexity } = await trainer.test(model, held(test))
  console.log(`test perplexity ${testPerplexity?.toFixed(1)}`)
}
