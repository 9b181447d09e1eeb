/**
 * Cells that their users have composed of tensor operations (nn.recurrent): what they say of
 * themselves, and the loop over time.
 */
import { refuseArguments } from '../arguments.js'
import { isPlainObject } from '../copies.js'
import { describe, formatShape, rangeError, typeError } from '../errors.js'
import { filled } from '../ops/again.js'
import { linear } from '../ops/linear.js'
import { dropout } from '../ops/random.js'
import { cat, stack } from '../ops/shape.js'
import { overSteps, stepSizes } from '../ops/steps.js'
import { where } from '../ops/where.js'
import { checkShape, type Shape, sameShape } from '../shape.js'
import { Tensor } from '../tensor.js'
import type { StepOptions } from './step_options.js'

/** The sizes of one layer, for the shapes of a cell's own parameters. */
export interface CellSizes {
  /** I: of the first layer its inputSize, of the others what the layer below gives. */
  inputSize: number
  hiddenSize: number
  bias: boolean
}

/** A cell as the loop calls it. */
export interface ComposedCell {
  name: string
  gates: number
  states: readonly string[]
  parameters: ((sizes: CellSizes) => unknown) | null
  step: (x: Tensor, state: unknown, weights: never) => unknown
}

/** What the loop needs of a call; see RecurrentCall. */
interface ComposedCall {
  layers: number
  directions: number
  input: number
  hidden: number
  bias: boolean
  batch: number
  steps: number | Int32Array
  weights: readonly (Tensor | null)[]
  dropout: number
  options: StepOptions | null
}

const cells: ComposedCell[] = []
/** Their numbers are behind all that the addon could have. */
const FIRST = 2 ** 16

/** @returns its number, as cellKind's */
export function addComposedCell(cell: ComposedCell): number {
  return FIRST + cells.push(cell) - 1
}

/** A composed cell by its number; undefined: it is one of the addon's. */
export const composedCell = (kind: number): ComposedCell | undefined => cells[kind - FIRST]

/** Parameters of a layer and direction: names without suffix, and shapes, null where there is none. */
export function composedShapes(
  cell: ComposedCell,
  inputSize: number,
  hiddenSize: number,
  bias: boolean,
): [name: string, shape: Shape | null][] {
  const shapes = new Map<string, Shape | null>()
  const rows = cell.gates * hiddenSize
  if (rows > 0) {
    shapes.set('weight_ih', [rows, inputSize])
    shapes.set('weight_hh', [rows, hiddenSize])
    shapes.set('bias_ih', bias ? [rows] : null)
    shapes.set('bias_hh', bias ? [rows] : null)
  }
  if (cell.parameters === null) return [...shapes]
  const own = cell.parameters({ inputSize, hiddenSize, bias })
  if (typeof own !== 'object' || own === null || !isPlainObject(own))
    throw typeError(cell.name, 'parameters', 'a function that gives an object of shapes', own)
  for (const [name, shape] of Object.entries(own)) {
    const what = `parameters().${name}`
    if (!/^[a-zA-Z]\w*$/.test(name))
      throw rangeError(cell.name, what, 'a name of letters, digits and _', `'${name}'`)
    if (name === 'weight_ih' || name === 'bias_ih')
      throw rangeError(cell.name, what, 'another name: gates says how large this one is', name)
    if (shape !== null && !Array.isArray(shape))
      throw typeError(cell.name, what, 'a shape or null', shape)
    shapes.set(name, shape && checkShape(cell.name, shape))
  }
  return [...shapes]
}

/** Runs a stack of layers; as runRecurrent. @param c0 all states but the first, side by side */
export function runComposed(
  cell: ComposedCell,
  call: ComposedCall,
  x: Tensor,
  h0: Tensor | null,
  c0: Tensor | null,
): { y: Tensor; hn: Tensor; cn: Tensor | null } {
  const { layers, directions, batch, hidden, steps, options } = call
  const names = composedShapes(cell, call.input, hidden, call.bias).map(([name]) => name)
  const sizes = stepSizes(batch, steps)
  const finals: Tensor[][] = []
  let rows = x
  for (let layer = 0; layer < layers; layer++) {
    const outputs: Tensor[] = []
    for (let direction = 0; direction < directions; direction++) {
      const at = layer * directions + direction
      const weights = Object.fromEntries(
        names.map((name, k) => [name, call.weights[at * names.length + k] ?? null]),
      )
      /** State k of all; null: zeros. */
      const own = (h: Tensor | null, c: Tensor | null, k: number): Tensor | null =>
        k === 0
          ? (h?.select(0, at) ?? null)
          : (c?.select(0, at).slice(1, (k - 1) * hidden, k * hidden) ?? null)
      const state = cell.states.map(
        (_, k) => own(h0, c0, k) ?? filled([batch, hidden], 0, x.device),
      )
      const between = options && {
        reset: options.reset?.unsqueeze(1) ?? null,
        mask: options.mask?.unsqueeze(1) ?? null,
        begins: cell.states.map((_, k) => own(options.resetH, options.resetC, k)),
      }
      const [y, final] = walk(cell, rows, sizes, state, weights, between, direction === 1)
      outputs.push(y)
      finals.push(final)
    }
    rows = outputs.length === 1 ? (outputs[0] as Tensor) : cat(outputs, 1)
    if (call.dropout > 0 && layer < layers - 1) rows = dropout(rows, { p: call.dropout })
  }
  const others = finals.map(([, ...rest]) => rest)
  const cn = cell.states.length > 1 ? stack(others.map((rest) => cat(rest, 1))) : null
  return { y: rows, hn: stack(finals.map(([h]) => h as Tensor)), cn }
}

/** What may happen to the states between two steps; null: nothing. */
interface Between {
  /** bool `[rows, 1]`, as of StepOptions */
  reset: Tensor | null
  mask: Tensor | null
  /** `[N, H]` for each state: what it becomes at a reset; null: zeros */
  begins: readonly (Tensor | null)[]
}

/** One layer in one direction. */
function walk(
  cell: ComposedCell,
  rows: Tensor,
  sizes: readonly number[],
  initial: readonly Tensor[],
  weights: Readonly<Record<string, Tensor | null>>,
  between: Between | null,
  backwards: boolean,
): [y: Tensor, final: Tensor[]] {
  const { weight_ih, bias_ih } = weights
  const inputs = weight_ih ? linear(rows, weight_ih, bias_ih ?? null) : rows
  const { reset = null, mask = null, begins = [] } = between ?? {}
  return overSteps(sizes, backwards, initial, (rowsOf, states) => {
    const active = states.map((state, k) => {
      if (reset === null) return state
      return where(rowsOf(reset), begins[k]?.slice(0, 0, state.shape[0] as number) ?? 0, state)
    })
    const given = active.length === 1 ? active[0] : active
    const made = checkStep(cell, active, cell.step(rowsOf(inputs), given, weights as never))
    const next = made.map((state, k) =>
      mask === null ? state : where(rowsOf(mask), state, active[k] as Tensor),
    )
    return [next[0] as Tensor, next]
  })
}

/** What step returned, as a list of states. */
function checkStep(cell: ComposedCell, active: readonly Tensor[], result: unknown): Tensor[] {
  const fn = `${cell.name}.forward`
  const { states } = cell
  const one = states.length === 1
  const next = one && !Array.isArray(result) ? [result] : result
  if (!Array.isArray(next) || next.length !== states.length) {
    const expected = one ? `a tensor (${states[0]})` : `an array [${states.join(', ')}]`
    throw typeError(fn, 'step', `${expected} as its result`, result)
  }
  next.forEach((value, k) => {
    const name = `step: ${states[k]}`
    const { shape, device } = active[k] as Tensor
    if (!(value instanceof Tensor)) throw typeError(fn, name, 'a tensor', value)
    if (value.dtype !== 'float32') throw typeError(fn, name, 'a float32 tensor', value.dtype)
    if (!sameShape(value.shape, shape))
      throw rangeError(fn, name, `shape ${formatShape(shape)}`, formatShape(value.shape))
    if (value.device !== device)
      throw rangeError(fn, name, `a tensor on ${device}`, describe(value.device))
  })
  return next as Tensor[]
}

/** What scripts/arguments.mjs does for classes that are exported. @param more arguments too many */
export function refuseMore(fn: string, names: readonly string[], more: readonly unknown[]): void {
  if (more.length > 0) refuseArguments(fn, names, names.length + more.length)
}
