/**
 * ONNX's LSTM, GRU and RNN: an operator per layer, with both directions in it. Input X [T, N, I],
 * weights W [D, G·H, I] and R [D, G·H, H], biases B [D, 2·G·H] (input's, then state's), states
 * [D, N, H]; output Y [T, D, N, H].
 */
import { noGrad } from '../autograd.js'
import { rangeError } from '../errors.js'
import { GRU, LSTM, RNN } from '../nn/recurrent.js'
import { cat, stack } from '../ops/shape.js'
import type { Tensor } from '../tensor.js'
import type { Graph, Value } from './graph.js'
import type { Attribute } from './proto.js'

/** Where in our weights each of ONNX's gates is. */
const GATES = {
  LSTM: [0, 3, 1, 2], // i, o, f, c of i, f, g, o
  GRU: [1, 0, 2], // z, r, h of r, z, n
  RNN: [0],
} as const

type Kind = 'weight_ih' | 'weight_hh' | 'bias_ih' | 'bias_hh'

/** Output and state of a stack of layers; see {@link Graph.call}. */
export function recurrent(
  graph: Graph,
  fn: string,
  layer: LSTM | GRU | RNN,
  input: Value,
  [h0, c0]: readonly [h0: Value | null, c0: Value | null],
): [Value, Value | [Value, Value]] {
  const prefix = graph.prefixOf(layer)
  if (layer.projSize > 0) {
    const expected = "0, as ONNX's LSTM has no projection"
    throw rangeError(fn, `${prefix}projSize`, expected, String(layer.projSize))
  }
  const { numLayers, hiddenSize, bidirectional } = layer
  const op = layer instanceof LSTM ? 'LSTM' : layer instanceof GRU ? 'GRU' : 'RNN'
  const directions = bidirectional ? 2 : 1
  const attributes: Record<string, Attribute> = {
    hidden_size: hiddenSize,
    direction: bidirectional ? 'bidirectional' : 'forward',
  }
  // The reset gate works on the product, as in cuDNN.
  if (op === 'GRU') attributes.linear_before_reset = 1
  if (layer instanceof RNN) {
    const activation = layer.nonlinearity === 'relu' ? 'Relu' : 'Tanh'
    attributes.activations = Array.from({ length: directions }, () => activation)
  }
  const h = perLayer(graph, h0, numLayers, directions)
  const c = perLayer(graph, c0, numLayers, directions)
  const swap = (value: Value): Value =>
    layer.batchFirst ? graph.node('Transpose', [value], { perm: [1, 0, 2] }) : value
  let x = swap(input)
  const hEnds: Value[] = []
  const cEnds: Value[] = []
  for (let l = 0; l < numLayers; l++) {
    const none = null // the lengths of the sequences: all are whole
    const inputs = [x, ...weightsOf(graph, layer, op, l), none, h[l] ?? null]
    if (op === 'LSTM') inputs.push(c[l] ?? null)
    const [y, hn, cn] = graph.nodes(op, inputs, op === 'LSTM' ? 3 : 2, attributes)
    hEnds.push(hn as Value)
    if (cn !== undefined) cEnds.push(cn)
    x = sideBySide(graph, y as Value, directions, hiddenSize)
  }
  const hn = together(graph, hEnds)
  return [swap(x), op === 'LSTM' ? [hn, together(graph, cEnds)] : hn]
}

/** The state [L·D, N, H] of the layers'. */
function together(graph: Graph, states: readonly Value[]): Value {
  return states.length === 1 ? (states[0] as Value) : graph.node('Concat', states, { axis: 0 })
}

/** The parts of a state [L·D, N, H] that are the layers'. */
function perLayer(graph: Graph, state: Value | null, layers: number, directions: number): Value[] {
  if (state === null) return []
  if (layers === 1) return [state]
  const sizes = graph.ints(...Array.from({ length: layers }, () => directions))
  return graph.nodes('Split', [state, sizes], layers, { axis: 0 })
}

/** [T, D, N, H] → [T, N, D·H] */
function sideBySide(graph: Graph, y: Value, directions: number, hiddenSize: number): Value {
  if (directions === 1) return graph.node('Squeeze', [y, graph.ints(1)])
  const turned = graph.node('Transpose', [y], { perm: [0, 2, 1, 3] })
  return graph.node('Reshape', [turned, graph.ints(0, 0, directions * hiddenSize)])
}

/** W, R and B of a layer. */
function weightsOf(
  graph: Graph,
  layer: LSTM | GRU | RNN,
  op: keyof typeof GATES,
  l: number,
): [Value, Value, Value | null] {
  const suffixes = layer.bidirectional ? [`${l}`, `${l}_reverse`] : [`${l}`]
  const make = (letter: string, kinds: readonly Kind[]): Value => {
    using made = noGrad(() => {
      const perDirection = suffixes.map((suffix) =>
        cat(kinds.flatMap((kind) => reordered(layer[`${kind}_l${suffix}`] as Tensor, op))),
      )
      return stack(perDirection)
    })
    return graph.weight(made, `${graph.prefixOf(layer)}${letter}_l${l}`)
  }
  return [
    make('W', ['weight_ih']),
    make('R', ['weight_hh']),
    layer.bias ? make('B', ['bias_ih', 'bias_hh']) : null,
  ]
}

/** Rows of all gates, in ONNX's order. */
function reordered(weight: Tensor, op: keyof typeof GATES): Tensor[] {
  const order = GATES[op]
  const rows = (weight.shape[0] as number) / order.length
  return order.map((gate) => weight.slice(0, gate * rows, (gate + 1) * rows))
}
