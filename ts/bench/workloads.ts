/**
 * The workloads, once: the benchmark, its peers and the tests use this list.
 *
 * Each is a whole training step: forward, loss, backward, clipping by global norm, SGD. 'layer' is
 * forward and backward of the recurrent layer alone.
 */
export interface Workload {
  name: string
  /**
   * 'lm': next-token model. 'tagger': a number per step. 'seq2seq': encoder and decoder.
   * 'layer': a recurrent layer alone. 'packed': a next-token model of sequences of unequal lengths.
   */
  kind: 'lm' | 'tagger' | 'seq2seq' | 'layer' | 'packed'
  cell: 'rnn' | 'gru' | 'lstm'
  /** An LSTM with layer norms. */
  norms?: boolean
  /** Another cell, or options, in place of the plain cell, which stands beside it. */
  variant?: Variant
  /** Vocabulary, or the number of inputs of a tagger. */
  vocabulary: number
  /** Width of the embedding; 0: one-hot input. The number of inputs of a layer alone. */
  embedding: number
  hidden: number
  layers: number
  bidirectional: boolean
  batch: number
  steps: number
  dropout: number
  /** The decoder's weight is the embedding's. */
  tied: boolean
  /** Of the sequences of a packed workload, longest first; `steps` is the longest. */
  lengths?: readonly number[]
  /** Calculate a packed workload's padding too: what packing is compared with. */
  padded?: boolean
}

/** A cell or options that PyTorch does not have. */
export interface Variant {
  /** What stands for it in bench/peers/pytorch_cells.py. */
  name: string
  /** The class of nn; 'recurrent': an LSTM by nn.recurrent. Default: the plain cell's. */
  layer?: string
  options?: Readonly<Record<string, unknown>>
  /** Steps that are reset, or left out by a mask: 3 % of all. */
  steps?: 'reset' | 'mask'
  /** Gates, and whether there is a recurrent matrix, where they are not the plain cell's. */
  gates?: number
  matrix?: false
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

/** Whole training steps: what the ratios in docs/benchmarks.md are of. */
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

/** A layer alone. */
function layer(cell: Workload['cell'], hidden: number, batch: number, steps: number): Workload {
  const name = `db-${cell}-${hidden}-b${batch}-t${steps}`
  return workload(name, cell, [0, hidden, hidden, 1, batch, steps], { kind: 'layer' })
}

/**
 * The sizes of the recurrent training list of DeepBench (Baidu Research, 2016–2018), where a
 * "vanilla" cell is relu or tanh; tanh here.
 */
export const deepbench: readonly Workload[] = [
  ...[1760, 2048, 2560].flatMap((h) => [16, 32, 64, 128].map((b) => layer('rnn', h, b, 50))),
  ...[512, 1024, 2048, 4096].flatMap((h) => [16, 32, 64, 128].map((b) => layer('lstm', h, b, 25))),
  ...[8, 16, 32].map((b) => layer('lstm', 1536, b, 50)),
  ...[16, 32, 64].map((b) => layer('lstm', 256, b, 150)),
  ...[750, 375, 187].map((t) => layer('gru', 2816, 32, t)),
  ...[2048, 1536, 2560].flatMap((h) => [1500, 750, 375, 187].map((t) => layer('gru', h, 32, t))),
  layer('gru', 512, 32, 1),
  layer('gru', 1024, 32, 1500),
  layer('gru', 1024, 64, 1500),
]

/** Lengths that fall evenly from `longest` to a quarter of it, as sorted sentences do. */
function falling(batch: number, longest: number): number[] {
  return Array.from({ length: batch }, (_, n) =>
    Math.max(1, Math.round(longest * (1 - (0.75 * n) / (batch - 1)))),
  )
}

function packedWorkload(
  name: string,
  cell: Workload['cell'],
  sizes: Parameters<typeof workload>[2],
  rest: Partial<Workload> = {},
): Workload {
  const [, , , , batch, steps] = sizes
  return workload(name, cell, sizes, { kind: 'packed', lengths: falling(batch, steps), ...rest })
}

/** Packed sequences of unequal lengths, compared with the same sequences padded. */
export const packed: readonly Workload[] = [
  packedWorkload('packed-lstm', 'lstm', [1000, 128, 256, 1, 32, 40]),
  packedWorkload('packed-gru2', 'gru', [1000, 256, 256, 2, 64, 50]),
  packedWorkload('packed-bilstm', 'lstm', [1000, 128, 128, 1, 32, 60], { bidirectional: true }),
  packedWorkload('packed-rnn-small', 'rnn', [30, 16, 32, 1, 8, 20]),
]

/** Layers with layer norms, and the same without: what the norms cost. */
export const norms: readonly Workload[] = [
  ...[true, false].flatMap((norms) =>
    (
      [
        [128, 32, 50],
        [256, 32, 35],
        [512, 64, 50],
      ] as const
    ).map(([hidden, batch, steps]) =>
      workload(
        `${norms ? 'ln' : 'plain'}-lstm${hidden}`,
        'lstm',
        [0, hidden, hidden, 1, batch, steps],
        {
          kind: 'layer',
          norms,
        },
      ),
    ),
  ),
]

const VARIANTS: readonly [cell: Workload['cell'], variant: Variant][] = [
  ['lstm', { name: 'lockedDropout', options: { inputDropout: 0.3, outputDropout: 0.3 } }],
  ['lstm', { name: 'weightDropout', options: { weightDropout: 0.3 } }],
  ['lstm', { name: 'peephole', options: { peephole: true } }],
  ['lstm', { name: 'recurrentDropout', options: { recurrentDropout: 0.3 } }],
  ['lstm', { name: 'zoneout', options: { zoneout: 0.3 } }],
  ['lstm', { name: 'reset', steps: 'reset' }],
  ['lstm', { name: 'mask', steps: 'mask' }],
  ['gru', { name: 'resetBefore', options: { resetAfter: false } }],
  ['lstm', { name: 'SLSTM', layer: 'SLSTM' }],
  ['lstm', { name: 'composed', layer: 'recurrent' }],
  ['lstm', { name: 'IndRNN', layer: 'IndRNN', gates: 1, matrix: false }],
  ['lstm', { name: 'SRU', layer: 'SRU', gates: 3, matrix: false }],
  ['gru', { name: 'MinGRU', layer: 'MinGRU', gates: 2, matrix: false }],
  ['lstm', { name: 'MinLSTM', layer: 'MinLSTM', gates: 3, matrix: false }],
]

/** Cells and options, each beside the plain cell of the same size. */
export const cells: readonly Workload[] = VARIANTS.flatMap(([cell, variant]) =>
  (
    [
      [128, 32, 50],
      [256, 32, 35],
      [512, 64, 50],
    ] as const
  ).map(([hidden, batch, steps]) =>
    workload(`${variant.name}-${hidden}`, cell, [0, hidden, hidden, 1, batch, steps], {
      kind: 'layer',
      variant,
    }),
  ),
)

/** The lists that the benchmark runs, by name. */
export const lists = { training: workloads, deepbench, packed, norms, cells } as const

/** The name of a list. */
export type ListName = keyof typeof lists
