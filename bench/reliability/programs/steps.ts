/** What the programs of this folder train. */
import { data, models, nn, optim, randn, type Tensor } from 'fused-rnn'

/** Numbers in [0, 1), the same for the same seed. */
export function random(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let x = Math.imul(state ^ (state >>> 15), 1 | state)
    x ^= x + Math.imul(x ^ (x >>> 7), 61 | x)
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32
  }
}

export interface Sizes {
  inputs: number
  hidden: number
  layers: number
  batch: number
  steps: number
}

/** A few milliseconds a step. */
export const SMALL: Sizes = { inputs: 16, hidden: 32, layers: 1, batch: 8, steps: 12 }
/** Some tens of milliseconds a step, most of it in one native operation. */
export const LARGE: Sizes = { inputs: 64, hidden: 256, layers: 2, batch: 32, steps: 40 }

/** A model, its data and one training step, as a user writes them: nothing is disposed of. */
export class Handwritten {
  readonly layer: nn.LSTM
  readonly optimizer: optim.Adam
  readonly x: Tensor

  constructor({ inputs, hidden, layers, batch, steps }: Sizes) {
    this.layer = new nn.LSTM(inputs, hidden, { numLayers: layers })
    this.optimizer = new optim.Adam(this.layer.parameters(), { lr: 1e-3, maxGradNorm: 1 })
    this.x = randn([steps, batch, inputs])
  }

  /** Queues one step. */
  step(): Promise<void> {
    this.optimizer.zeroGrad()
    const [y] = this.layer.forward(this.x)
    y.mul(y).mean().backward()
    return this.optimizer.step()
  }
}

const TEXT = 'the quick brown fox jumps over the lazy dog. '.repeat(2000)

/** A language model of the library's own and its batches. */
export function languageModel(hiddenSize: number): {
  model: models.LanguageModel
  batches: data.SequentialBatches
} {
  const vocabulary = data.Vocabulary.fromText(TEXT)
  const batches = new data.SequentialBatches(vocabulary.encode(TEXT), {
    batchSize: 16,
    sequenceLength: 20,
  })
  const model = new models.LanguageModel({ vocabulary, embeddingSize: 32, hiddenSize })
  return { model, batches }
}
