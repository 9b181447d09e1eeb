/**
 * Recurrent cells that ONNX has no operator for, as operators: what is computed of the input for all
 * steps at once, and one step. The equations are in ts/nn/unrolled.ts and ts/ops/elementwise_rnn.ts.
 */
import { LSTMCell } from '../nn/cells.js'
import { withHeads } from '../nn/heads.js'
import { IndRNN, IndRNNCell } from '../nn/ind_rnn.js'
import { LayerNormLSTM, LayerNormLSTMCell } from '../nn/layer_norm_lstm.js'
import { MinGRU, MinGRUCell } from '../nn/min_gru.js'
import { MinLSTM, MinLSTMCell } from '../nn/min_lstm.js'
import type { Module } from '../nn/module.js'
import { LSTM } from '../nn/recurrent.js'
import { SLSTM, SLSTMCell } from '../nn/slstm.js'
import { SRU, SRUCell } from '../nn/sru.js'
import type { Tensor } from '../tensor.js'
import type { Graph, Value } from './graph.js'
import { PEEPHOLES } from './recurrent_plan.js'

/** A layer in one direction, or a cell. */
export interface Unit {
  layer: Module
  /** Behind the names of its parameters: '_l0_reverse', '' of a cell. */
  suffix: string
  inputSize: number
  hiddenSize: number
  /** By name without suffix; null where there is none. */
  weight(kind: string): Tensor | null
}

/** One step: from a row of each input and the old states the output and the new states. */
type Step = (rows: readonly Value[], states: readonly Value[]) => [y: Value, states: Value[]]

/** What goes through the steps: rows `(T, N, …)`, or of a cell `(N, …)`. */
export interface Loop {
  rows: Value[]
  step: Step
}

type MakeLoop = (graph: Graph, unit: Unit, x: Value) => Loop

/** Blocks of columns, as wide as their numbers say. */
function blocks(graph: Graph, x: Value, ...widths: number[]): Value[] {
  return graph.nodes('Split', [x, graph.ints(...widths)], widths.length, { axis: -1 })
}

const equal = (graph: Graph, x: Value, count: number, width: number): Value[] =>
  blocks(graph, x, ...Array.from({ length: count }, () => width))

function turned(graph: Graph, weight: Tensor): Value {
  return graph.node('Transpose', [graph.weight(weight)], { perm: [1, 0] })
}

/** W x, with a bias where there is one. */
function product(graph: Graph, { weight }: Unit, x: Value, bias: string | null): Value {
  const wx = graph.node('MatMul', [x, turned(graph, weight('weight_ih') as Tensor)])
  const b = bias === null ? null : weight(bias)
  return b === null ? wx : graph.node('Add', [wx, graph.weight(b)])
}

const constant = (graph: Graph, value: number): Value =>
  graph.node('Constant', [], { value_float: { float: value } })

/** x + ½ for x ≥ 0, else σ(x). */
function positive(graph: Graph, x: Value): Value {
  const below = graph.node('Neg', [graph.node('Relu', [graph.node('Neg', [x])])])
  return graph.node('Add', [graph.node('Relu', [x]), graph.node('Sigmoid', [below])])
}

/** log σ(x) with another sign. */
const minusLogSigmoid = (graph: Graph, x: Value): Value =>
  graph.node('Softplus', [graph.node('Neg', [x])])

/** h = keep ∘ h(t−1) + add, of which nothing depends on h. */
function linearLoop(graph: Graph, keep: Value, add: Value): Loop {
  return {
    rows: [keep, add],
    step: ([keep, add], [h]) => {
      const kept = graph.node('Mul', [keep as Value, h as Value])
      const y = graph.node('Add', [kept, add as Value])
      return [y, [y]]
    },
  }
}

const indRnn: MakeLoop = (graph, unit, x) => {
  const { nonlinearity } = unit.layer as IndRNN
  const u = graph.weight(unit.weight('weight_hh') as Tensor)
  return {
    rows: [product(graph, unit, x, 'bias')],
    step: ([a], [h]) => {
      const sum = graph.node('Add', [a as Value, graph.node('Mul', [u, h as Value])])
      const y = graph.node(nonlinearity === 'relu' ? 'Relu' : 'Tanh', [sum])
      return [y, [y]]
    },
  }
}

const minGru: MakeLoop = (graph, unit, x) => {
  const all = product(graph, unit, x, 'bias_ih')
  const [z, candidate] = equal(graph, all, 2, unit.hiddenSize) as [Value, Value]
  const keep = graph.node('Sigmoid', [graph.node('Neg', [z])])
  const take = graph.node('Sigmoid', [z])
  return linearLoop(graph, keep, graph.node('Mul', [take, positive(graph, candidate)]))
}

const minLstm: MakeLoop = (graph, unit, x) => {
  const all = product(graph, unit, x, 'bias_ih')
  const [f, i, candidate] = equal(graph, all, 3, unit.hiddenSize) as [Value, Value, Value]
  // f / (f + i) by logarithms, so that no sum of small gates is divided by.
  const [lessF, lessI] = [minusLogSigmoid(graph, f), minusLogSigmoid(graph, i)]
  const keep = graph.node('Sigmoid', [graph.node('Sub', [lessI, lessF])])
  const take = graph.node('Sigmoid', [graph.node('Sub', [lessF, lessI])])
  return linearLoop(graph, keep, graph.node('Mul', [take, positive(graph, candidate)]))
}

const sru: MakeLoop = (graph, unit, x) => {
  const { inputSize, hiddenSize: size } = unit
  const alike = inputSize === size
  const all = product(graph, unit, x, null)
  const parts = blocks(graph, all, size, 2 * size, ...(alike ? [] : [size]))
  const [candidate, gates, past = x] = parts as [Value, Value, Value?]
  const bias = unit.weight('bias')
  const biased = bias === null ? gates : graph.node('Add', [gates, graph.weight(bias)])
  const v = graph.weight(unit.weight('weight_c') as Tensor)
  const mixed = (from: Value, to: Value, share: Value): Value =>
    graph.node('Add', [from, graph.node('Mul', [share, graph.node('Sub', [to, from])])])
  return {
    rows: [candidate, biased, past],
    step: ([candidate, gates, past], [c]) => {
      const twice = graph.node('Concat', [c as Value, c as Value], { axis: -1 })
      const sums = graph.node('Add', [gates as Value, graph.node('Mul', [v, twice])])
      const [f, r] = equal(graph, graph.node('Sigmoid', [sums]), 2, size) as [Value, Value]
      const next = mixed(candidate as Value, c as Value, f)
      return [mixed(past as Value, next, r), [next]]
    },
  }
}

const slstm: MakeLoop = (graph, unit, x) => {
  const { layer, suffix, hiddenSize } = unit
  // Heads as blocks on the diagonal of one matrix.
  const matrix = (): Tensor => (withHeads([unit.weight('weight_hh')])[0] as Tensor).t()
  const u = graph.derived(layer, `R${suffix}`, matrix)
  const [least, none] = [constant(graph, 1e-36), constant(graph, 0)]
  return {
    rows: [product(graph, unit, x, 'bias')],
    step: ([row], states) => {
      const [h, c, n, m] = states as [Value, Value, Value, Value]
      const a = graph.node('Add', [row as Value, graph.node('MatMul', [h, u])])
      const [i, f, z, o] = equal(graph, a, 4, hiddenSize) as [Value, Value, Value, Value]
      const kept = graph.node('Sub', [m, minusLogSigmoid(graph, f)])
      const nextM = graph.node('Max', [kept, i])
      const into = graph.node('Exp', [graph.node('Sub', [i, nextM])])
      const on = graph.node('Exp', [graph.node('Sub', [kept, nextM])])
      const taken = graph.node('Mul', [into, graph.node('Tanh', [z])])
      const nextC = graph.node('Add', [graph.node('Mul', [on, c]), taken])
      const nextN = graph.node('Add', [graph.node('Mul', [on, n]), into])
      const empty = graph.node('Less', [graph.node('Abs', [nextN]), least])
      const memory = graph.node('Where', [empty, none, graph.node('Div', [nextC, nextN])])
      const y = graph.node('Mul', [graph.node('Sigmoid', [o]), memory])
      return [y, [y, nextC, nextN, nextM]]
    },
  }
}

/** An LSTM with layer norms, or with a projection; nn.LSTM's may have peepholes. */
const lstm: MakeLoop = (graph, unit, x) => {
  const { hiddenSize, weight } = unit
  const value = (kind: string): Value | null => {
    const found = weight(kind)
    return found && graph.weight(found)
  }
  const norm = (x: Value, gain: Value, shift: Value | null): Value =>
    graph.node('LayerNormalization', [x, gain, shift], { axis: -1, epsilon: { float: 1e-5 } })
  const u = turned(graph, weight('weight_hh') as Tensor)
  const [gainX, gainH, gainC] = ['gain_ih', 'gain_hh', 'gain_c'].map(value)
  const [shiftX, shiftH, shiftC] = ['bias_ih', 'bias_hh', 'bias_c'].map(value)
  const [pI, pO, pF] = PEEPHOLES.map(value)
  const projection = weight('weight_hr')
  const p = projection && turned(graph, projection)
  const wx = product(graph, unit, x, gainX ? null : 'bias_ih')
  const seen = (x: Value, peephole: Value | null | undefined, c: Value): Value =>
    peephole ? graph.node('Add', [x, graph.node('Mul', [peephole, c])]) : x
  const gate = (x: Value): Value => graph.node('Sigmoid', [x])
  return {
    rows: [gainX ? norm(wx, gainX, shiftX ?? null) : wx],
    step: ([row], [h, before]) => {
      const c = before as Value
      let uh = graph.node('MatMul', [h as Value, u])
      if (gainH) uh = norm(uh, gainH, shiftH ?? null)
      else if (shiftH) uh = graph.node('Add', [uh, shiftH])
      const a = graph.node('Add', [row as Value, uh])
      const [i, f, g, o] = equal(graph, a, 4, hiddenSize) as [Value, Value, Value, Value]
      const kept = graph.node('Mul', [gate(seen(f, pF, c)), c])
      const taken = graph.node('Mul', [gate(seen(i, pI, c)), graph.node('Tanh', [g])])
      const nextC = graph.node('Add', [kept, taken])
      const shown = gainC ? norm(nextC, gainC, shiftC ?? null) : nextC
      const out = graph.node('Mul', [gate(seen(o, pO, nextC)), graph.node('Tanh', [shown])])
      const y = p ? graph.node('MatMul', [out, p]) : out
      return [y, [y, nextC]]
    },
  }
}

/** Layers that are exported as loops. */
export type ScanLayer = IndRNN | SRU | MinGRU | MinLSTM | SLSTM | LayerNormLSTM | LSTM
/** The same of cells. */
export type ScanCell =
  | IndRNNCell
  | SRUCell
  | MinGRUCell
  | MinLSTMCell
  | SLSTMCell
  | LayerNormLSTMCell

const LOOPS: readonly [kinds: readonly unknown[], make: MakeLoop][] = [
  [[IndRNN, IndRNNCell], indRnn],
  [[SRU, SRUCell], sru],
  [[MinGRU, MinGRUCell], minGru],
  [[MinLSTM, MinLSTMCell], minLstm],
  [[SLSTM, SLSTMCell], slstm],
  [[LayerNormLSTM, LayerNormLSTMCell], lstm],
]

type Kind = new (...args: never[]) => Module

/** How a layer or cell is computed in a loop; undefined for what has an operator or is none. */
export function loopOf(layer: Module): MakeLoop | undefined {
  if (layer instanceof LSTM && layer.projSize > 0) return lstm
  return LOOPS.find(([kinds]) => kinds.some((kind) => layer instanceof (kind as Kind)))?.[1]
}

/** Names of what a layer or cell carries from step to step. */
export function stateNamesOf(layer: Module): readonly string[] {
  if (layer instanceof SLSTM || layer instanceof SLSTMCell) return ['h', 'c', 'n', 'm']
  if (layer instanceof SRU || layer instanceof SRUCell) return ['c']
  const pairs = [LSTM, LSTMCell, LayerNormLSTM, LayerNormLSTMCell]
  return pairs.some((kind) => layer instanceof kind) ? ['h', 'c'] : ['h']
}
