/** Layers that onnx.export writes as loops, for the tests that compare what comes of them. */
import { nn, type onnx, randn, type Tensor } from 'fused-rnn'

export type Layer =
  | nn.IndRNN
  | nn.SRU
  | nn.MinGRU
  | nn.MinLSTM
  | nn.SLSTM
  | nn.LayerNormLSTM
  | nn.LSTM

export const namesOf = (layer: Layer): string[] => {
  if (layer instanceof nn.SLSTM) return ['h', 'c', 'n', 'm']
  if (layer instanceof nn.SRU) return ['c']
  return layer instanceof nn.LSTM || layer instanceof nn.LayerNormLSTM ? ['h', 'c'] : ['h']
}

/** Values for the tensors of a state. */
export function stateOf(layer: Layer, N: number): Tensor[] {
  const stacks = layer.numLayers * (layer.bidirectional ? 2 : 1)
  return namesOf(layer).map((name) => {
    const state = randn([stacks, N, (name === 'h' && layer.projSize) || layer.hiddenSize])
    return name === 'n' ? state.abs().add(0.1) : state
  })
}

/** The output, and the tensors of the state. @param input a tensor, or a packed sequence */
export function forward(
  layer: Layer,
  input: unknown,
  state: readonly Tensor[] | null,
): [output: Tensor, state: Tensor[]] {
  const given = state === null || state.length > 1 ? state : state[0]
  const [output, after] = (layer as nn.GRU).forward(input as Tensor, given as Tensor)
  return [output, [after].flat()]
}

/** A batchFirst layer over sequences of several lengths, from zeros: output, end0, end1, … */
export class Padded extends nn.Module {
  readonly rnn: Layer

  constructor(rnn: Layer) {
    super()
    this.rnn = rnn
  }

  /** @returns the output, then the tensors of the state, by way of a packed sequence */
  override forward(x: Tensor, lengths: Int32Array): Tensor[] {
    const { packPaddedSequence, padPackedSequence } = nn.utils.rnn
    const packed = packPaddedSequence(x, lengths, { batchFirst: true, enforceSorted: false })
    const [y, after] = forward(this.rnn, packed, null)
    const padded = padPackedSequence(y as unknown as nn.utils.rnn.PackedSequence, {
      batchFirst: true,
    })
    return [padded[0], ...after]
  }

  toOnnx(graph: onnx.Graph): void {
    const x = graph.input('x', 'float32', ['batch', 'sequence', this.rnn.inputSize])
    const lengths = graph.input('lengths', 'int32', ['batch'])
    const [output, after] = graph.call(this.rnn as nn.GRU, x, null, lengths)
    graph.output('output', output, 'float32', null)
    for (const [i, part] of [after].flat().entries()) graph.output(`end${i}`, part, 'float32', null)
  }
}
