/** Layers that ONNX has no operator for: a Scan per layer and direction. See scan_cells.ts. */
import type { Tensor } from '../tensor.js'
import type { Graph, Value } from './graph.js'
import { DataType } from './proto.js'
import {
  type Loop,
  loopOf,
  type ScanCell,
  type ScanLayer,
  stateNamesOf,
  type Unit,
} from './scan_cells.js'

/**
 * Output and states `[L·D, N, …]` of a stack of layers.
 * @param states as they begin; null: zeros
 */
export function scanned(
  graph: Graph,
  layer: ScanLayer,
  input: Value,
  states: readonly (Value | null)[],
  lengths: Value | null,
): [output: Value, states: Value[]] {
  const { numLayers, batchFirst, projSize, hiddenSize } = layer
  const directions = layer.bidirectional ? ['', '_reverse'] : ['']
  const swap = (value: Value): Value =>
    batchFirst ? graph.node('Transpose', [value], { perm: [1, 0, 2] }) : value
  let x = swap(input)
  const names = stateNamesOf(layer)
  const width = (i: number): number => (names[i] === 'h' && projSize) || hiddenSize
  const begins = states.map((state, i) =>
    state === null
      ? zeros(graph, x, 1, width(i))
      : stacksOf(graph, state, numLayers * directions.length),
  )
  const ends: Value[][] = names.map(() => [])
  const mask = lengths && activeSteps(graph, x, lengths)
  for (let l = 0; l < numLayers; l++) {
    const inputSize = l === 0 ? layer.inputSize : directions.length * (projSize || hiddenSize)
    const outputs = directions.map((direction, d) => {
      const weight = (kind: string): Tensor | null =>
        (layer[`${kind}_l${l}${direction}` as 'weight_ih_l0'] as Tensor | undefined) ?? null
      const unit: Unit = { layer, suffix: `_l${l}${direction}`, inputSize, hiddenSize, weight }
      const before = begins.map((one) =>
        Array.isArray(one) ? (one[l * directions.length + d] as Value) : one,
      )
      const [y, after] = direct(graph, unit, x, before, mask, d === 1)
      after.forEach((state, i) => {
        ends[i]?.push(graph.node('Unsqueeze', [state, graph.ints(0)]))
      })
      return y
    })
    x = together(graph, outputs, 2)
  }
  return [swap(x), ends.map((one) => together(graph, one, 0))]
}

/** One layer in one direction over x `[T, N, I]`. */
function direct(
  graph: Graph,
  unit: Unit,
  x: Value,
  before: readonly Value[],
  mask: Value | null,
  reverse: boolean,
): [y: Value, states: Value[]] {
  const { rows, step } = loop(graph, unit, x)
  // Not Scan's own directions, which not all that read ONNX have.
  const order = (value: Value): Value => (reverse ? backwards(graph, value) : value)
  const none = mask && graph.node('Constant', [], { value_float: { float: 0 } })
  const inputs = [...rows, ...(mask ? [mask] : [])].map(order)
  const [after, [y]] = graph.scan(before, inputs, (states, now) => {
    const [y, next] = step(now.slice(0, rows.length), states)
    if (mask === null) return [next, [y]]
    const active = now[rows.length] as Value
    const kept = next.map((state, i) => graph.node('Where', [active, state, states[i] as Value]))
    return [kept, [graph.node('Where', [active, y, none])]]
  })
  return [order(y as Value), after]
}

/** Output and new states of a cell. */
export function scannedCell(
  graph: Graph,
  cell: ScanCell,
  input: Value,
  states: readonly (Value | null)[],
): [output: Value, states: Value[]] {
  const { inputSize, hiddenSize } = cell
  // The cell's `bias` says whether there is one.
  const weight = (kind: string): Tensor | null =>
    (cell[(kind === 'bias' ? 'bias_ih' : kind) as 'weight_ih'] as Tensor | undefined) ?? null
  const unit: Unit = { layer: cell, suffix: '', inputSize, hiddenSize, weight }
  const { rows, step } = loop(graph, unit, input)
  return step(
    rows,
    states.map((state) => state ?? zeros(graph, input, 0, hiddenSize)),
  )
}

function loop(graph: Graph, unit: Unit, x: Value): Loop {
  return (loopOf(unit.layer) as NonNullable<ReturnType<typeof loopOf>>)(graph, unit, x)
}

/** Zeros (N, width), N being a dimension of x. */
function zeros(graph: Graph, x: Value, dim: number, width: number): Value {
  const batch = graph.node('Gather', [graph.node('Shape', [x]), graph.ints(dim)], { axis: 0 })
  const shape = graph.node('Concat', [batch, graph.ints(width)], { axis: 0 })
  return graph.node('ConstantOfShape', [shape])
}

/** The parts [N, …] of a state [L·D, N, …]. */
function stacksOf(graph: Graph, state: Value, count: number): Value[] {
  const sizes = Array.from({ length: count }, () => 1)
  const parts =
    count === 1 ? [state] : graph.nodes('Split', [state, graph.ints(...sizes)], count, { axis: 0 })
  return parts.map((part) => graph.node('Squeeze', [part, graph.ints(0)]))
}

function together(graph: Graph, parts: readonly Value[], axis: number): Value {
  return parts.length === 1 ? (parts[0] as Value) : graph.node('Concat', parts, { axis })
}

function backwards(graph: Graph, value: Value): Value {
  const [last, past, axis, step] = [-1, -(2 ** 31), 0, -1].map((n) => graph.ints(n))
  return graph.node('Slice', [value, last, past, axis, step] as Value[])
}

/** bool [T, N, 1]: whether a sequence has not ended before this step. */
function activeSteps(graph: Graph, x: Value, lengths: Value): Value {
  const scalar = (value: Value): Value => graph.node('Squeeze', [value, graph.ints(0)])
  const time = graph.node('Gather', [graph.node('Shape', [x]), graph.ints(0)], { axis: 0 })
  const range = [graph.ints(0), time, graph.ints(1)].map(scalar)
  const places = graph.node('Unsqueeze', [graph.node('Range', range), graph.ints(1, 2)])
  const wide = graph.node('Cast', [lengths], { to: DataType.int64 })
  return graph.node('Less', [places, graph.node('Unsqueeze', [wide, graph.ints(0, 2)])])
}
