/** Recurrent layers of any kind, made and run in one way, for the tests of their options. */
import { cat, nn, Tensor } from 'fused-rnn'
import { randomTensor, testDevice } from './helpers.js'

export type Layer = nn.RNN | nn.GRU | nn.LSTM | nn.LayerNormLSTM | nn.SLSTM
export type Input = Tensor | nn.utils.rnn.PackedSequence

export const KINDS = ['RNN', 'GRU', 'LSTM', 'LayerNormLSTM'] as const
export const hasC = (kind: string): boolean => kind.endsWith('LSTM')

export function make(kind: string, input: number, hidden: number, options: object = {}): Layer {
  const Kind = (nn as unknown as Record<string, typeof nn.LSTM>)[kind] as typeof nn.LSTM
  return new Kind(input, hidden, { device: testDevice, ...options })
}

/** [output, hn, cn?]; of an sLSTM c, n and m are side by side. */
export function run(
  layer: Layer,
  x: Input,
  state: readonly Tensor[] | null = null,
  masks: nn.StepMasks = {},
  resets: readonly Tensor[] = [],
): [Input, ...Tensor[]] {
  const parts = (c: Tensor): Tensor[] => (layer instanceof nn.SLSTM ? c.chunk(3, 2) : [c])
  const asState = (list: readonly Tensor[] | null): unknown =>
    list?.[1] ? [list[0], ...parts(list[1])] : list?.[0]
  const all = resets.length > 0 ? { ...masks, resetState: asState(resets) as never } : masks
  const forward = (layer as nn.RecurrentLayer).forward.bind(layer)
  const [y, final] = forward(x as Tensor, asState(state) as never, all)
  const [h, ...c] = (Array.isArray(final) ? final : [final]) as [Tensor, ...Tensor[]]
  return [y, h, ...(c.length > 1 ? [cat(c, 2)] : c)]
}

export const dataOf = (output: Input): Tensor => (output instanceof Tensor ? output : output.data)

/** int32, about a third of it not `usual`. */
export function steps(shape: readonly number[], seed: number, usual: 0 | 1): Tensor {
  return randomTensor(shape, seed)
    .gt(usual === 0 ? 0.3 : -0.3)
    .to('int32')
}
