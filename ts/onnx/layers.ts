/** The layers of nn as ONNX operators: inside a graph, and as models of their own. */
import { typeError } from '../errors.js'
import { GRUCell, LSTMCell, RecurrentCell, RNNCell } from '../nn/cells.js'
import { Sequential } from '../nn/containers.js'
import { Dropout } from '../nn/dropout.js'
import { Embedding } from '../nn/embedding.js'
import { Linear } from '../nn/linear.js'
import type { Module } from '../nn/module.js'
import { GRU, LSTM, RNN } from '../nn/recurrent.js'
import { RecurrentLayer } from '../nn/recurrent_layer.js'
import { SRUCell } from '../nn/sru.js'
import { isQuantized } from '../quantization/quantize_dynamic.js'
import type { Graph, OnnxShape, Value } from './graph.js'
import { cell, recurrent } from './recurrent.js'
import { scanned, scannedCell } from './scan.js'
import { loopOf, type ScanCell, type ScanLayer, stateNamesOf } from './scan_cells.js'

const LAYERS = 'a recurrent layer, Embedding, Linear, Dropout, a Sequential of the last three'

/** A recurrent layer that ONNX has an operator for. */
function isRecurrent(layer: unknown): layer is LSTM | GRU | RNN {
  if (layer instanceof LSTM) return layer.projSize === 0
  return layer instanceof GRU || layer instanceof RNN
}

function isCell(layer: unknown): layer is LSTMCell | GRUCell | RNNCell {
  return layer instanceof LSTMCell || layer instanceof GRUCell || layer instanceof RNNCell
}

/** One value, or several; null: zeros. */
type State = Value | readonly Value[] | null

/** See {@link Graph.call}. */
export function applyLayer(
  graph: Graph,
  fn: string,
  layer: Module,
  input: Value,
  state: State = null,
  lengths: Value | null = null,
): Value | Value[] | [Value, Value | Value[]] {
  if (isQuantized(layer))
    throw new TypeError(
      `[${fn}] layer: ${layer.constructor.name} has int8 weights, which are not exported: export the model that quantizeDynamic was given`,
    )
  if (layer instanceof RecurrentLayer) {
    checkExported(fn, layer)
    const before = parts(fn, layer, state)
    const [output, after] = isRecurrent(layer)
      ? recurrent(graph, layer, input, before, lengths)
      : scanned(graph, layer as ScanLayer, input, before, lengths)
    return [output, oneOf(after)]
  }
  if (layer instanceof RecurrentCell) {
    checkExported(fn, layer)
    const before = parts(fn, layer, state)
    if (isCell(layer)) return oneOf(cell(graph, layer, input, before))
    const [output, after] = scannedCell(graph, layer as ScanCell, input, before)
    return layer instanceof SRUCell ? [output, after[0] as Value] : oneOf(after)
  }
  if (layer instanceof Dropout) return input
  if (layer instanceof Embedding)
    return graph.node('Gather', [graph.weight(layer.weight), input], { axis: 0 })
  if (layer instanceof Linear) {
    // Not Gemm, which takes matrices only.
    const weight = graph.node('Transpose', [graph.weight(layer.weight)], { perm: [1, 0] })
    const product = graph.node('MatMul', [input, weight])
    return layer.bias === null ? product : graph.node('Add', [product, graph.weight(layer.bias)])
  }
  if (layer instanceof Sequential) {
    let value = input
    for (const inner of layer) {
      if (inner instanceof RecurrentLayer)
        throw typeError(fn, 'Sequential', 'layers with one output', inner)
      value = applyLayer(graph, fn, inner, value) as Value
    }
    return value
  }
  throw typeError(fn, 'layer', `one of the recurrent cells, ${LAYERS}`, layer)
}

const oneOf = (values: Value[]): Value | Value[] =>
  values.length === 1 ? (values[0] as Value) : values

/** Refuses what would compute other numbers in evaluation than ONNX's operators, and layers of one's own. */
function checkExported(fn: string, layer: RecurrentLayer | RecurrentCell): void {
  const { zoneout } = layer
  if (typeof zoneout === 'number' ? zoneout !== 0 : zoneout.some((p) => p !== 0))
    throw new TypeError(
      `[${fn}] layer: expected no zoneout, got ${zoneout}: ONNX's operators have none; set layer.zoneout = 0 to export the layer without it, which gives other numbers`,
    )
  if (!isRecurrent(layer) && !isCell(layer) && loopOf(layer) === undefined)
    throw new TypeError(
      `[${fn}] layer: expected a layer or cell of nn, got ${layer.constructor.name}, whose step is a function of its own: give the model a method toOnnx(graph) that writes the step with graph.scan`,
    )
}

/** The state of a layer as its parts. */
function parts(fn: string, layer: Module, state: State): readonly (Value | null)[] {
  const names = stateNamesOf(layer)
  if (state === null) return names.map(() => null)
  if (names.length === 1 && !Array.isArray(state)) return [state as Value]
  if (!Array.isArray(state) || state.length !== names.length) {
    const list = `[${names.join(', ')}]`
    const several = names.length === 2 ? `a pair ${list}` : `an array of ${names.length}, ${list}`
    throw typeError(fn, 'state', names.length === 1 ? `the value ${names[0]}` : several, state)
  }
  return state
}

/** A model that is one layer: its inputs and outputs, named as in PyTorch's documentation. */
export function exportLayer(graph: Graph, fn: string, layer: Module): void {
  if (!(layer instanceof RecurrentLayer)) {
    const plain = [Embedding, Linear, Dropout, Sequential].some((kind) => layer instanceof kind)
    if (!plain) throw typeError(fn, 'model', `${LAYERS}, or a module with toOnnx`, layer)
    const input = graph.input('input', takesIndices(layer) ? 'int32' : 'float32', null)
    graph.output('output', graph.call(layer as Linear, input), 'float32', null)
    return
  }
  const { batchFirst, hiddenSize, inputSize, numLayers, projSize } = layer
  const directions = layer.bidirectional ? 2 : 1
  const rows = batchFirst ? ['batch', 'sequence'] : ['sequence', 'batch']
  const names = stateNamesOf(layer)
  const shapeOf = (name: string): OnnxShape => {
    return [directions * numLayers, 'batch', (name === 'h' && projSize) || hiddenSize]
  }
  const input = graph.input('input', 'float32', [...rows, inputSize])
  const before = names.map((name) => graph.input(`${name}0`, 'float32', shapeOf(name)))
  const given = before.length === 1 ? before[0] : before
  const [output, after] = graph.call(layer as LSTM, input, given as [Value, Value])
  const width = directions * (projSize || hiddenSize)
  graph.output('output', output, 'float32', [...rows, width])
  const ends: Value[] = Array.isArray(after) ? after : [after]
  for (const [i, name] of names.entries())
    graph.output(`${name}n`, ends[i] as Value, 'float32', shapeOf(name))
}

/** Whether the first thing a layer does is a lookup. */
function takesIndices(layer: Module): boolean {
  if (layer instanceof Embedding) return true
  const first = layer.children().find((inner) => !(inner instanceof Dropout))
  return layer instanceof Sequential && first !== undefined && takesIndices(first)
}
