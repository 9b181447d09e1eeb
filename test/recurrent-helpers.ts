/** One way to make and call RNN, GRU and LSTM. */
import { nn, Tensor } from 'fused-rnn'

/**
 * The layers that gradients and equivalences are tested for; FUSED_RNN_TEST_LAYER names another one
 * of `nn`, as test/toy-cell.test.ts does.
 */
export const KINDS = process.env.FUSED_RNN_TEST_LAYER
  ? [process.env.FUSED_RNN_TEST_LAYER]
  : ['RNN_tanh', 'GRU', 'LSTM']

export type Layer = nn.RNN | nn.GRU | nn.LSTM
export type Input = Tensor | nn.utils.rnn.PackedSequence

export function make(kind: string, input: number, hidden: number, options: object = {}): Layer {
  if (kind === 'LSTM') return new nn.LSTM(input, hidden, options)
  if (!kind.startsWith('RNN')) {
    const Kind = (nn as unknown as Record<string, typeof nn.GRU>)[kind] as typeof nn.GRU
    return new Kind(input, hidden, options)
  }
  return new nn.RNN(
    input,
    hidden,
    kind === 'RNN_relu' ? { nonlinearity: 'relu', ...options } : options,
  )
}

/** One way to call all three: [output, hn, cn or null]. */
export function run(
  layer: Layer,
  x: Input,
  h0?: Tensor,
  c0?: Tensor,
): [Input, Tensor, Tensor | null] {
  if (layer instanceof nn.LSTM) {
    const [y, [hn, cn]] = layer.forward(
      x as Tensor,
      h0 === undefined ? undefined : [h0, c0 as Tensor],
    )
    return [y, hn, cn]
  }
  const [y, hn] = layer.forward(x as Tensor, h0)
  return [y, hn, null]
}

export const dataOf = (output: Input): Tensor => (output instanceof Tensor ? output : output.data)

/** The states as `run` takes them: c only for an LSTM, the same as h unless given. */
export const stateOf = (kind: string, h: Tensor, c: Tensor = h): [Tensor, Tensor | undefined] => [
  h,
  kind === 'LSTM' ? c : undefined,
]
