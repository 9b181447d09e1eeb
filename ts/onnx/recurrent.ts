/**
 * ONNX's LSTM, GRU and RNN: an operator per layer, with both directions in it. Input X [T, N, I],
 * weights W [D, G·H, I] and R [D, G·H, H], biases B [D, 2·G·H] (input's, then state's), states
 * [D, N, H]; output Y [T, D, N, H].
 */
import { GRUCell, LSTMCell, RNNCell } from '../nn/cells.js'
import type { Module } from '../nn/module.js'
import { GRU, LSTM, RNN } from '../nn/recurrent.js'
import { cat, stack } from '../ops/shape.js'
import type { Tensor } from '../tensor.js'
import type { Graph, Value } from './graph.js'
import type { Attribute } from './proto.js'
import { PEEPHOLES, PLACES_IN_ONNX, type RecurrentOp } from './recurrent_plan.js'

/** Where in our weights each of ONNX's gates is. */
const placesInOurs = (op: RecurrentOp): number[] =>
  PLACES_IN_ONNX[op].map((_, gate) => PLACES_IN_ONNX[op].indexOf(gate))

/** A layer's parameters in one direction, or those of a cell. */
interface Weights {
  weight_ih: Tensor
  weight_hh: Tensor
  /** Undefined without bias. */
  bias_ih: Tensor | undefined
  bias_hh: Tensor | undefined
  /** Of an LSTM with peepholes: of the gates i, o, f. */
  peepholes: readonly Tensor[] | undefined
}

/** Output and state of a stack of layers; see {@link Graph.call}. */
export function recurrent(
  graph: Graph,
  layer: LSTM | GRU | RNN,
  input: Value,
  [h0 = null, c0 = null]: readonly (Value | null)[],
  lengths: Value | null,
): [output: Value, states: Value[]] {
  const { numLayers, hiddenSize } = layer
  const op = layer instanceof LSTM ? 'LSTM' : layer instanceof GRU ? 'GRU' : 'RNN'
  const directions = layer.bidirectional ? 2 : 1
  const attributes = attributesOf(layer, directions)
  const h = perLayer(graph, h0, numLayers, directions)
  const c = perLayer(graph, c0, numLayers, directions)
  const swap = (value: Value): Value =>
    layer.batchFirst ? graph.node('Transpose', [value], { perm: [1, 0, 2] }) : value
  let x = swap(input)
  const hEnds: Value[] = []
  const cEnds: Value[] = []
  for (let l = 0; l < numLayers; l++) {
    const weights = ['', '_reverse']
      .slice(0, directions)
      .map((suffix) => weightsOf(layer, l, suffix))
    const own = weightValues(graph, layer, op, weights, `_l${l}`)
    const inputs = [x, ...own, lengths, h[l] ?? null]
    if (op === 'LSTM')
      inputs.push(c[l] ?? null, peepholeValue(graph, layer as LSTM, weights, `_l${l}`))
    const [y, hn, cn] = graph.nodes(op, inputs, op === 'LSTM' ? 3 : 2, attributes)
    hEnds.push(hn as Value)
    if (cn !== undefined) cEnds.push(cn)
    x = concatDirections(graph, y as Value, directions, hiddenSize)
  }
  const ends = op === 'LSTM' ? [hEnds, cEnds] : [hEnds]
  return [swap(x), ends.map((one) => together(graph, one))]
}

/** The new state of a cell: a sequence of one step. */
export function cell(
  graph: Graph,
  layer: LSTMCell | GRUCell | RNNCell,
  input: Value,
  state: readonly (Value | null)[],
): Value[] {
  const op = layer instanceof LSTMCell ? 'LSTM' : layer instanceof GRUCell ? 'GRU' : 'RNN'
  const weights: Weights[] = [
    {
      weight_ih: layer.weight_ih,
      weight_hh: layer.weight_hh,
      bias_ih: layer.bias_ih,
      bias_hh: layer.bias_hh,
      peepholes: peepholesOf(layer, (name) => layer[name as 'weight_ih']),
    },
  ]
  const own = weightValues(graph, layer, op, weights, '')
  const first = graph.ints(0)
  const [x, h = null, c = null] = [input, ...state].map((value) => {
    return value === null ? null : graph.node('Unsqueeze', [value, first])
  })
  const inputs = [x as Value, ...own, null, h]
  if (op === 'LSTM') inputs.push(c, peepholeValue(graph, layer, weights, ''))
  const outputs = graph.nodes(op, inputs, op === 'LSTM' ? 3 : 2, attributesOf(layer, 1))
  return outputs.slice(1).map((value) => graph.node('Squeeze', [value, first]))
}

function attributesOf(
  layer: { hiddenSize: number },
  directions: number,
): Record<string, Attribute> {
  const attributes: Record<string, Attribute> = {
    hidden_size: layer.hiddenSize,
    direction: directions === 2 ? 'bidirectional' : 'forward',
  }
  // 1: the reset gate works on the product, as in cuDNN.
  if (layer instanceof GRU || layer instanceof GRUCell)
    attributes.linear_before_reset = layer.resetAfter ? 1 : 0
  if (layer instanceof RNN || layer instanceof RNNCell) {
    const activation = layer.nonlinearity === 'relu' ? 'Relu' : 'Tanh'
    attributes.activations = Array.from({ length: directions }, () => activation)
  }
  return attributes
}

/** The state [L·D, N, H] of the layers'. */
function together(graph: Graph, states: readonly Value[]): Value {
  return states.length === 1 ? (states[0] as Value) : graph.node('Concat', states, { axis: 0 })
}

/** The parts of a state [L·D, N, H] that are the layers'. */
function perLayer(
  graph: Graph,
  state: Value | null,
  layers: number,
  directions: number,
): readonly Value[] {
  if (state === null) return []
  if (layers === 1) return [state]
  const sizes = graph.ints(...Array.from({ length: layers }, () => directions))
  return graph.nodes('Split', [state, sizes], layers, { axis: 0 })
}

/** [T, D, N, H] → [T, N, D·H] */
function concatDirections(graph: Graph, y: Value, directions: number, hiddenSize: number): Value {
  if (directions === 1) return graph.node('Squeeze', [y, graph.ints(1)])
  const turned = graph.node('Transpose', [y], { perm: [0, 2, 1, 3] })
  return graph.node('Reshape', [turned, graph.ints(0, 0, directions * hiddenSize)])
}

function weightsOf(layer: LSTM | GRU | RNN, l: number, suffix: string): Weights {
  const of = (kind: string): Tensor => layer[`${kind}_l${l}${suffix}` as 'weight_ih_l0'] as Tensor
  return {
    weight_ih: of('weight_ih'),
    weight_hh: of('weight_hh'),
    bias_ih: layer.bias ? of('bias_ih') : undefined,
    bias_hh: layer.bias ? of('bias_hh') : undefined,
    peepholes: peepholesOf(layer, of),
  }
}

/** Those of the gates in ONNX's order. @param of the parameter of a name */
function peepholesOf(layer: Module, of: (name: string) => Tensor): readonly Tensor[] | undefined {
  const has = (layer instanceof LSTM || layer instanceof LSTMCell) && layer.peephole
  return has ? PEEPHOLES.map(of) : undefined
}

/** P of both directions; null without peepholes. @param suffix of its name */
function peepholeValue(
  graph: Graph,
  layer: Module,
  directions: readonly Weights[],
  suffix: string,
): Value | null {
  if (directions[0]?.peepholes === undefined) return null
  return graph.derived(layer, `P${suffix}`, () =>
    stack(directions.map(({ peepholes }) => cat(peepholes as Tensor[]))),
  )
}

/** W, R and B of both directions. @param suffix of their names */
function weightValues(
  graph: Graph,
  layer: Module,
  op: RecurrentOp,
  directions: readonly Weights[],
  suffix: string,
): [Value, Value, Value | null] {
  const make = (letter: string, ...kinds: Exclude<keyof Weights, 'peepholes'>[]): Value =>
    graph.derived(layer, `${letter}${suffix}`, () =>
      stack(
        directions.map((weights) =>
          cat(kinds.flatMap((kind) => reordered(weights[kind] as Tensor, op))),
        ),
      ),
    )
  return [
    make('W', 'weight_ih'),
    make('R', 'weight_hh'),
    directions[0]?.bias_ih === undefined ? null : make('B', 'bias_ih', 'bias_hh'),
  ]
}

/** The rows of all gates, in ONNX's order. */
function reordered(weight: Tensor, op: RecurrentOp): Tensor[] {
  const order = placesInOurs(op)
  const rows = (weight.shape[0] as number) / order.length
  return order.map((gate) => weight.slice(0, gate * rows, (gate + 1) * rows))
}
