/**
 * The workloads, once: the benchmark, its peers and the tests use this list.
 *
 * Each is a whole training step: forward, loss, backward, clipping by global norm, SGD.
 */
export interface Workload {
  name: string
  /** 'lm': next-token model. 'tagger': a number per step. 'seq2seq': encoder and decoder. */
  kind: 'lm' | 'tagger' | 'seq2seq'
  cell: 'rnn' | 'gru' | 'lstm'
  /** Vocabulary, or the number of inputs of a tagger. */
  vocabulary: number
  /** Width of the embedding; 0: one-hot input. */
  embedding: number
  hidden: number
  layers: number
  bidirectional: boolean
  batch: number
  steps: number
  dropout: number
  /** The decoder's weight is the embedding's. */
  tied: boolean
}

function workload(
  name: string,
  cell: Workload['cell'],
  sizes: [
    vocabulary: number,
    embedding: number,
    hidden: number,
    layers: number,
    batch: number,
    steps: number,
  ],
  rest: Partial<Workload> = {},
): Workload {
  const [vocabulary, embedding, hidden, layers, batch, steps] = sizes
  return {
    name,
    kind: 'lm',
    cell,
    vocabulary,
    embedding,
    hidden,
    layers,
    bidirectional: false,
    batch,
    steps,
    dropout: 0,
    tied: false,
    ...rest,
  }
}

export const workloads: readonly Workload[] = [
  workload('lyrics-rnn', 'rnn', [1027, 0, 256, 1, 32, 35]),
  workload('lyrics-gru', 'gru', [1027, 0, 256, 1, 32, 35]),
  workload('lyrics-lstm', 'lstm', [1027, 0, 256, 1, 32, 35]),
  workload('lyrics-lstm2', 'lstm', [1027, 0, 256, 2, 32, 35]),
  workload('lyrics-bigru', 'gru', [1027, 0, 128, 1, 32, 35], { bidirectional: true }),
  workload('timemachine-gru2', 'gru', [28, 0, 32, 2, 1024, 32]),
  workload('ptb-rnnlm', 'lstm', [10000, 100, 100, 1, 20, 35]),
  workload('ptb-better', 'lstm', [10000, 650, 650, 2, 20, 35], { dropout: 0.5, tied: true }),
  workload('ptb-mxnet', 'lstm', [10000, 256, 256, 2, 50, 40]),
  workload('dinos-rnn', 'rnn', [27, 0, 50, 1, 1, 12]),
  workload('binadd-rnn', 'rnn', [2, 0, 16, 1, 1, 8], { kind: 'tagger' }),
  workload('seq2seq-rnn', 'rnn', [29, 0, 128, 1, 3, 6], { kind: 'seq2seq' }),
  workload('deep-lstm512', 'lstm', [256, 512, 512, 1, 64, 50]),
  workload('deep-gru1024', 'gru', [256, 1024, 1024, 1, 64, 25]),
]

/** Tokens that one training step sees. */
export function tokensPerStep(w: Workload): number {
  return w.batch * w.steps
}

/**
 * Useful floating-point operations of one training step: two per weight and token forward, twice
 * that backward. One-hot input counts as the row lookup that it is: nothing.
 */
export function flopsPerStep(w: Workload): number {
  const gates = { rnn: 1, gru: 3, lstm: 4 }[w.cell]
  const directions = w.bidirectional ? 2 : 1
  let weights = 0
  for (let layer = 0; layer < w.layers; layer++) {
    const first = w.kind === 'tagger' ? w.vocabulary : w.embedding
    const inputs = layer === 0 ? first : directions * w.hidden
    weights += directions * gates * w.hidden * (inputs + w.hidden)
  }
  if (w.kind === 'seq2seq') weights *= 2
  weights += directions * w.hidden * (w.kind === 'tagger' ? 1 : w.vocabulary)
  return 6 * weights * tokensPerStep(w)
}
