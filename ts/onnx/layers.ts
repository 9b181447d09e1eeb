/** The layers of nn as ONNX operators: inside a graph, and as models of their own. */
import { typeError } from '../errors.js'
import { GRUCell, LSTMCell, RNNCell } from '../nn/cells.js'
import { Sequential } from '../nn/containers.js'
import { Dropout } from '../nn/dropout.js'
import { Embedding } from '../nn/embedding.js'
import { Linear } from '../nn/linear.js'
import type { Module } from '../nn/module.js'
import { GRU, LSTM, RNN } from '../nn/recurrent.js'
import { RecurrentLayer } from '../nn/recurrent_layer.js'
import { isQuantized } from '../quantization/quantize_dynamic.js'
import type { Graph, Value } from './graph.js'
import { cell, recurrent } from './recurrent.js'

const LAYERS = 'an LSTM, GRU, RNN, Embedding, Linear, Dropout, a Sequential of the last three'

/** A recurrent layer that ONNX has. */
function isRecurrent(layer: unknown): layer is LSTM | GRU | RNN {
  return layer instanceof LSTM || layer instanceof GRU || layer instanceof RNN
}

function isCell(layer: unknown): layer is LSTMCell | GRUCell | RNNCell {
  return layer instanceof LSTMCell || layer instanceof GRUCell || layer instanceof RNNCell
}

type State = Value | readonly [Value, Value] | null

/** See {@link Graph.call}. */
export function applyLayer(
  graph: Graph,
  fn: string,
  layer: Module,
  input: Value,
  state: State = null,
  lengths: Value | null = null,
): Value | [Value, Value | [Value, Value]] {
  if (isQuantized(layer))
    throw new TypeError(
      `[${fn}] layer: ${layer.constructor.name} has int8 weights, which are not exported: export the model that quantizeDynamic was given`,
    )
  if (isRecurrent(layer) || isCell(layer)) checkExported(fn, layer)
  if (isRecurrent(layer))
    return recurrent(graph, fn, layer, input, parts(fn, layer, state), lengths)
  if (isCell(layer)) return cell(graph, layer, input, parts(fn, layer, state))
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
  throw typeError(fn, 'layer', `one of the cells, ${LAYERS}`, layer)
}

/** Refuses what would compute other numbers in evaluation than ONNX's operator. */
function checkExported(
  fn: string,
  { zoneout }: LSTM | GRU | RNN | LSTMCell | GRUCell | RNNCell,
): void {
  if (typeof zoneout === 'number' ? zoneout !== 0 : zoneout.some((p) => p !== 0))
    throw new TypeError(
      `[${fn}] layer: expected no zoneout, got ${zoneout}: ONNX's operators have none; set layer.zoneout = 0 to export the layer without it, which gives other numbers`,
    )
}

/** The state h or [h, c] as a pair. */
function parts(fn: string, layer: Module, state: State): readonly [Value | null, Value | null] {
  if (!(layer instanceof LSTM || layer instanceof LSTMCell)) return [state as Value | null, null]
  if (state === null) return [null, null]
  if (!Array.isArray(state) || state.length !== 2)
    throw typeError(fn, 'state', 'a pair [h, c]', state)
  return state as unknown as [Value, Value]
}

/** A model that is one layer: its inputs and outputs, named as in PyTorch's documentation. */
export function exportLayer(graph: Graph, fn: string, layer: Module): void {
  if (!isRecurrent(layer)) {
    const plain = [Embedding, Linear, Dropout, Sequential].some((kind) => layer instanceof kind)
    if (!plain) throw typeError(fn, 'model', `${LAYERS}, or a module with toOnnx`, layer)
    const input = graph.input('input', takesIndices(layer) ? 'int32' : 'float32', null)
    graph.output('output', graph.call(layer as Linear, input), 'float32', null)
    return
  }
  const { batchFirst, hiddenSize, inputSize, numLayers } = layer
  const directions = layer.bidirectional ? 2 : 1
  const rows = batchFirst ? ['batch', 'sequence'] : ['sequence', 'batch']
  const state = [directions * numLayers, 'batch', hiddenSize]
  const input = graph.input('input', 'float32', [...rows, inputSize])
  const h0 = graph.input('h0', 'float32', state)
  const output = [...rows, directions * hiddenSize]
  if (layer instanceof LSTM) {
    const c0 = graph.input('c0', 'float32', state)
    const [y, [hn, cn]] = graph.call(layer, input, [h0, c0])
    graph.output('output', y, 'float32', output)
    graph.output('hn', hn, 'float32', state)
    graph.output('cn', cn, 'float32', state)
  } else {
    const [y, hn] = graph.call(layer, input, h0)
    graph.output('output', y, 'float32', output)
    graph.output('hn', hn, 'float32', state)
  }
}

/** Whether the first thing a layer does is a lookup. */
function takesIndices(layer: Module): boolean {
  if (layer instanceof Embedding) return true
  const first = layer.children().find((inner) => !(inner instanceof Dropout))
  return layer instanceof Sequential && first !== undefined && takesIndices(first)
}
