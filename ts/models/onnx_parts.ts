/** What the tasks' models have in common as ONNX operators. */
import type { Scale } from '../data/window_features.js'
import { tensor } from '../factories.js'
import type { LSTM } from '../nn/recurrent.js'
import type { Graph, Value } from '../onnx/graph.js'
import { DataType } from '../onnx/proto.js'
import type { CellLayer } from './recurrent_cells.js'

/** Rows (…, F) as they were measured, as the network reads them. */
export function scaledValue(graph: Graph, rows: Value, scales: readonly Scale[]): Value {
  using center = tensor(scales.map((one) => one.center))
  using factor = tensor(scales.map((one) => 1 / one.scale))
  const centred = graph.node('Sub', [rows, graph.weight(center, 'center')])
  return graph.node('Mul', [centred, graph.weight(factor, 'factor')])
}

/** What a stack of layers over (B, T, F) gives: the states of all steps, and the last ones of h. */
export function stackValue(
  graph: Graph,
  rnn: CellLayer,
  input: Value,
  lengths?: Value,
): [output: Value, hidden: Value] {
  const [output, state] = graph.call(rnn as LSTM, input, null, lengths) as [
    Value,
    Value | [Value, Value],
  ]
  return [output, Array.isArray(state) ? state[0] : state]
}

/** One of the states (L, B, H) of the layers: (B, H). */
export function layerOf(graph: Graph, hidden: Value, layer: number): Value {
  return at(graph, hidden, 0, layer)
}

/** The element of an axis at a place, without the axis. */
export function at(graph: Graph, value: Value, axis: number, place: number): Value {
  const found = graph.node('Gather', [value, graph.ints(place)], { axis })
  return graph.node('Squeeze', [found, graph.ints(axis)])
}

/** 1 (B, T, 1) in float32 where a sequence of (B, T, …) has ended, else 0. */
export function endedValue(graph: Graph, steps: Value, lengths: Value): Value {
  const scalar = (value: Value): Value => graph.node('Squeeze', [value, graph.ints(0)])
  const time = graph.node('Gather', [graph.node('Shape', [steps]), graph.ints(1)], { axis: 0 })
  const range = [graph.ints(0), time, graph.ints(1)].map(scalar)
  const places = graph.node('Unsqueeze', [graph.node('Range', range), graph.ints(0, 2)])
  const wide = graph.node('Cast', [lengths], { to: DataType.int64 })
  const there = graph.node('Less', [places, graph.node('Unsqueeze', [wide, graph.ints(1, 2)])])
  return graph.node('Cast', [graph.node('Not', [there])], { to: DataType.float32 })
}
