/**
 * The cells without a recurrent matrix: their weights, and a stack of layers of them. The input's product
 * of all rows is one linear operation, and what is left of the time loop another (ops/elementwise_rnn.ts);
 * on the CPU both are one (ops/elementwise_layer.ts).
 */
import { ElementwiseKind } from '../binding.js'
import { type ElementwiseLayerInputs, elementwiseLayer } from '../ops/elementwise_layer.js'
import { type ElementwiseCall, elementwiseRnn, unrolled } from '../ops/elementwise_rnn.js'
import { linear } from '../ops/linear.js'
import { dropout } from '../ops/random.js'
import { cat, stack } from '../ops/shape.js'
import type { Shape, Tensor } from '../tensor.js'
import type { StepOptions } from './step_options.js'

/** One of the cells. */
export interface ElementwiseCell {
  readonly name: string
  /** Per layer and direction: names without suffix, and shapes, for so many inputs. */
  shapes(inputs: number, hidden: number): [name: string, shape: Shape, bias: boolean][]
  /** For an input of the layer as wide as `hidden`, and for others. */
  readonly kind: readonly [alike: ElementwiseKind, other: ElementwiseKind]
  /** Whether the bias belongs to the input's product, not to the loop. */
  readonly inputBias: boolean
  /** Whether the state is not the output. */
  readonly ownState: boolean
}

function indRnn(name: string, kind: ElementwiseKind): ElementwiseCell {
  return {
    name,
    shapes: (inputs, hidden) => [
      ['weight_ih', [hidden, inputs], false],
      ['weight_hh', [hidden], false],
      ['bias', [hidden], true],
    ],
    kind: [kind, kind],
    inputBias: true,
    ownState: false,
  }
}

function minimal(name: string, kind: ElementwiseKind, blocks: number): ElementwiseCell {
  return {
    name,
    shapes: (inputs, hidden) => [
      ['weight_ih', [blocks * hidden, inputs], false],
      ['bias_ih', [blocks * hidden], true],
    ],
    kind: [kind, kind],
    inputBias: true,
    ownState: false,
  }
}

export const ELEMENTWISE_CELLS: readonly ElementwiseCell[] = [
  indRnn('ind_rnn_relu', ElementwiseKind.indrnn_relu),
  indRnn('ind_rnn_tanh', ElementwiseKind.indrnn_tanh),
  {
    name: 'sru',
    shapes: (inputs, hidden) => [
      ['weight_ih', [(inputs === hidden ? 3 : 4) * hidden, inputs], false],
      ['weight_c', [2 * hidden], false],
      ['bias', [2 * hidden], true],
    ],
    kind: [ElementwiseKind.sru_skip, ElementwiseKind.sru],
    inputBias: false,
    ownState: true,
  },
  minimal('min_gru', ElementwiseKind.min_gru, 2),
  minimal('min_lstm', ElementwiseKind.min_lstm, 3),
]

/** A stack of layers: what is used of a RecurrentCall (recurrent_op.ts). */
export interface ElementwiseStack {
  layers: number
  directions: number
  hidden: number
  batch: number
  steps: number | Int32Array
  weights: readonly (Tensor | null)[]
  dropout: number
  options: StepOptions | null
}

/** As runRecurrent, whose `weights` are those of shapes(). @param h0 `[L*D, N, H]`, or null */
export function runElementwise(
  cell: ElementwiseCell,
  call: ElementwiseStack,
  x: Tensor,
  h0: Tensor | null,
): { y: Tensor; hn: Tensor } {
  const { layers, directions, hidden, batch, steps, options } = call
  const { reset = null, mask = null, resetH = null } = options ?? {}
  const perStack = call.weights.length / (layers * directions)
  const states: Tensor[] = []
  let rows = x
  const follow = (next: Tensor): void => {
    if (rows !== x && rows !== next) rows[Symbol.dispose]()
    rows = next
  }
  for (let layer = 0; layer < layers; layer++) {
    const inputs = rows.shape[1] as number
    const names = cell.shapes(inputs, hidden).map(([name]) => name)
    const outputs: Tensor[] = []
    for (let direction = 0; direction < directions; direction++) {
      const at = layer * directions + direction
      const own = (name: string): Tensor | null =>
        call.weights[at * perStack + names.indexOf(name)] ?? null
      const bias = own(names[perStack - 1] as string)
      const v = perStack === 3 ? own(names[1] as string) : null
      const of = (all: Tensor | null): Tensor | null =>
        all && (layers * directions === 1 ? all.reshape([batch, hidden]) : all.select(0, at))
      const [state, resetState] = [of(h0), of(resetH)]
      const alike = inputs === hidden
      const kind = cell.kind[alike ? 0 : 1]
      const reverse = direction === 1
      const [y, last] = oneLayer(
        { kind, hidden, batch, steps, reverse, reset, mask },
        [
          rows,
          own('weight_ih') as Tensor,
          cell.inputBias ? bias : null,
          v,
          cell.inputBias ? null : bias,
          state,
        ],
        resetState,
      )
      state?.[Symbol.dispose]()
      resetState?.[Symbol.dispose]()
      outputs.push(y)
      states.push(last)
    }
    follow(outputs.length === 1 ? (outputs[0] as Tensor) : joined(outputs))
    if (call.dropout > 0 && layer < layers - 1) follow(dropout(rows, { p: call.dropout }))
  }
  const hn = states.length === 1 ? (states[0] as Tensor).reshape([1, batch, hidden]) : stack(states)
  for (const state of states) state[Symbol.dispose]()
  return { y: rows, hn }
}

/** A layer in one direction. @param resetState see {@link unrolled}; the kernels reset to zeros alone */
function oneLayer(
  call: ElementwiseCall,
  inputs: ElementwiseLayerInputs,
  resetState: Tensor | null,
): [y: Tensor, last: Tensor] {
  const [x, w, bias, ...rest] = inputs
  if (x.device === 'cpu' && resetState === null) return elementwiseLayer(call, inputs)
  using a = linear(x, w, bias)
  const past = call.kind === ElementwiseKind.sru_skip ? x : null
  if (resetState !== null) return unrolled(call, [a, past, ...rest], x.device, resetState)
  return elementwiseRnn(call, [a, past, ...rest])
}

function joined(outputs: readonly Tensor[]): Tensor {
  const result = cat(outputs, 1)
  for (const one of outputs) one[Symbol.dispose]()
  return result
}
