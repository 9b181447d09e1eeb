/** nn.IndRNN, nn.SRU, nn.MinGRU and nn.MinLSTM by name, for the tests that are about all of them. */
import { nn, type Tensor, tensor } from 'fused-rnn'

export type Layer = nn.MinGRU
export type Cell = nn.MinGRUCell | nn.SRUCell

/** Classes, and of IndRNN its nonlinearity. */
export const KINDS = ['IndRNN_relu', 'IndRNN_tanh', 'SRU', 'MinGRU', 'MinLSTM']

/** The name of the class. */
export const className = (kind: string): string => kind.split('_')[0] as string

function create(name: string, kind: string, input: number, hidden: number, more: object): unknown {
  const nonlinearity = kind.split('_')[1]
  const Kind = (nn as unknown as Record<string, new (...args: unknown[]) => unknown>)[name]
  if (Kind === undefined) throw new Error(`nn has no ${name}`)
  return new Kind(input, hidden, nonlinearity ? { nonlinearity, ...more } : more)
}

export const make = (kind: string, input: number, hidden: number, options: object = {}): Layer =>
  create(className(kind), kind, input, hidden, options) as Layer

export const makeCell = (kind: string, input: number, hidden: number): Cell =>
  create(`${className(kind)}Cell`, kind, input, hidden, {}) as Cell

/** A cell with the weights of a layer in one direction. */
export function cellOf(kind: string, layer: Layer, suffix = '_l0'): Cell {
  const cell = makeCell(kind, layer.inputSize, layer.hiddenSize)
  const state = layer.stateDict()
  const own = (name: string): Tensor =>
    state.get(name + suffix) ?? (state.get(`bias${suffix}`) as Tensor)
  cell.loadStateDict(new Map([...cell.stateDict().keys()].map((name) => [name, own(name)])))
  return cell
}

/** Biases that keep pre-activations far from 0, where relu and g have kinks, on both sides of it. */
export function awayFromKinks(layer: Layer, kind: string): void {
  if (kind === 'SRU' || kind === 'IndRNN_tanh') return
  for (const [name, parameter] of layer.namedParameters()) {
    if (!name.startsWith('bias')) continue
    const values = Float32Array.from({ length: parameter.numel }, (_, i) =>
      i < parameter.numel - layer.hiddenSize ? 0.3 : i % 2 === 0 ? 3 : -3,
    )
    layer.loadStateDict(new Map([[name, tensor(values)]]), { strict: false })
  }
}
