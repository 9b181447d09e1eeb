/** The recurrent operation: a stack of recurrent layers over packed rows, on the tape. */

import { throughFunction } from '../autograd/partial.js'
import { type Node, record, willRecord } from '../autograd.js'
import { type Buffer, binding, type CellInfo } from '../binding.js'
import { typeError } from '../errors.js'
import { Memory } from '../memory.js'
import { filled } from '../ops/again.js'
import { stepSizes } from '../ops/steps.js'
import { nextRandom } from '../random.js'
import { type Shape, Tensor } from '../tensor.js'
import { composedCell, composedShapes, runComposed } from './composed_cells.js'
import { ELEMENTWISE_CELLS, type ElementwiseCell, runElementwise } from './elementwise.js'
import { DrawnOptions, NO_OPTIONS, type StepOptions } from './step_options.js'
import { canUnroll, type Unrolled, type UnrolledOptions, unroll } from './unrolled.js'

/** What the kernels know of every cell: native/cells/cells.def and weights.h. */
const cells = binding.cells()

/** A cell without a recurrent matrix by its number, which is behind those of `cells`. */
const elementwise = (kind: number): ElementwiseCell | undefined =>
  ELEMENTWISE_CELLS[kind - cells.length]

/** The number of a cell by its name in native/cells/cells.def or nn/elementwise.ts. */
export function cellKind(name: string): number {
  const kind = [...cells, ...ELEMENTWISE_CELLS].findIndex((cell) => cell.name === name)
  if (kind < 0) {
    throw new Error(
      `fused-rnn: the addon has no cell '${name}'; build it again: npm run build:native`,
    )
  }
  return kind
}

/** States of a unit in c: how many there are besides h, 0 without c. */
export const widthOfC = (kind: number): number => {
  const composed = composedCell(kind)
  return composed ? composed.states.length - 1 : (cells[kind]?.states ?? 0)
}

/** Whether a cell has a state c besides h. */
export const hasC = (kind: number): boolean => widthOfC(kind) > 0

/** Whether the recurrent weights of a cell may be divided into heads. */
export const hasHeads = (kind: number): boolean => cells[kind]?.heads ?? false

/** Whether a cell without c has a state that is not its output. */
export const hasOwnState = (kind: number): boolean => elementwise(kind)?.ownState ?? false

/** Whether a cell normalises, and so has gains. */
export const hasNorms = (kind: number): boolean => cells[kind]?.norms ?? false

/**
 * Parameters per layer and direction, in the native order: names without suffix, and their shapes
 * for so many inputs and outputs, null where there is none.
 */
export function weightShapes(
  kind: number,
  inputs: number,
  hidden: number,
  proj: number,
  bias: boolean,
): [name: string, shape: Shape | null][] {
  const composed = composedCell(kind)
  if (composed !== undefined) return composedShapes(composed, inputs, hidden, bias)
  const own = elementwise(kind)
  if (own !== undefined)
    return own
      .shapes(inputs, hidden)
      .map(([name, shape, isBias]) => [name, isBias && !bias ? null : shape])
  const { gates, weights } = cells[kind] as CellInfo
  const sizes = { gates: gates * hidden, input: inputs, out: proj || hidden, hidden, proj }
  return weights.map((weight) => [
    weight.name,
    (weight.bias && !bias) || (weight.projection && proj === 0)
      ? null
      : weight.shape.map((size) => sizes[size]),
  ])
}

export interface RecurrentCall {
  cell: number
  layers: number
  directions: number
  input: number
  hidden: number
  /** 0: no projection. */
  proj: number
  bias: boolean
  /** N, the sequences. */
  batch: number
  /** T for sequences of one length, or the number of active sequences per step. */
  steps: number | Int32Array
  /** Per layer and direction, in the order of weightShapes(), null where there is none. */
  weights: readonly (Tensor | null)[]
  /** Dropout between layers; 0 for none. */
  dropout: number
  /** What happens between the steps; null: nothing. */
  options: StepOptions | null
}

export interface RecurrentResult {
  /** [rows, D*P] */
  y: Tensor
  /** [L*D, N, P] */
  hn: Tensor
  /** [L*D, N, H], of cells with c; with several states, H numbers of each */
  cn: Tensor | null
}

/** A call without its weights: the sizes, and x, h0 and c0 as {@link runRecurrent} takes them. */
export type StackCall = (
  call: Omit<RecurrentCall, 'weights'>,
  x: Tensor,
  h0: Tensor | null,
  c0: Tensor | null,
) => RecurrentResult

/**
 * Runs the stack; see RnnForwardArgs in native/ops/ops.h for the layout.
 * @param x `[rows, I]`, the rows of all steps one after the other
 * @param h0 `[L*D, N, P]` or null for zeros
 * @param c0 `[L*D, N, H]` or null
 */
export function runRecurrent(
  call: RecurrentCall,
  x: Tensor,
  h0: Tensor | null,
  c0: Tensor | null,
): RecurrentResult {
  const composed = composedCell(call.cell)
  const own = elementwise(call.cell)
  if (composed !== undefined || own !== undefined) checkNoChances(call.options, own !== undefined)
  if (composed !== undefined) return runComposed(composed, call, x, h0, c0)
  if (own !== undefined) return { ...runElementwise(own, call, x, h0), cn: null }
  if (call.options !== null && !isFused(call, call.options))
    return runUnrolled(call, call.options, x, h0, c0)
  const out = call.proj > 0 ? call.proj : call.hidden
  const stacks = call.layers * call.directions
  const rows = x.shape[0] as number
  const inputs = [x, h0, c0, ...call.weights]
  const keep = willRecord(inputs)
  const random = call.dropout > 0 ? nextRandom() : { seed: 0, counter: 0 }
  const shared = [
    call.cell,
    call.layers,
    call.directions,
    call.input,
    call.hidden,
    call.proj,
    call.bias,
    call.batch,
    call.steps,
  ] as const
  const { options } = call
  using drawn = options && new DrawnOptions(options, call, rows, hasC(call.cell), x.device)
  const chance = [call.dropout, random.seed, random.counter] as const
  const [yBuffer, hnBuffer, cnBuffer, workspaceBuffer] = binding.rnnForward(
    ...shared,
    x.buffer,
    ...chance,
    ...(drawn?.native ?? NO_OPTIONS),
    bufferOrNull(h0),
    bufferOrNull(c0),
    keep,
    ...call.weights.map(bufferOrNull),
  )
  const y = Tensor.wrap(yBuffer, [rows, call.directions * out], x.device)
  const hn = Tensor.wrap(hnBuffer, [stacks, call.batch, out], x.device)
  const width = widthOfC(call.cell) * call.hidden
  const cn = cnBuffer ? Tensor.wrap(cnBuffer, [stacks, call.batch, width], x.device) : null
  if (!keep) return { y, hn, cn }

  const workspace = new Memory(workspaceBuffer as Buffer)
  // So that the caller may dispose its tensors before backward.
  const input = x.share()
  const states = [h0?.share() ?? null, c0?.share() ?? null]
  const parts = drawn?.parts ?? ([0, 0] as const)
  const masks = drawn?.share() ?? null
  const { device } = x
  record(
    'rnn',
    inputs,
    cn ? [y, hn, cn] : [y, hn],
    ([dy, dhn, dcn], node) => {
      // The native side turns the saved activations into gradients in place.
      const used = node.keep ? new Memory(binding.clone(workspace.buffer)) : workspace
      const gradients = binding.rnnBackward(
        ...shared,
        input.buffer,
        ...chance,
        ...parts,
        masks?.map((mask) => mask?.buffer ?? null) ?? null,
        used.buffer,
        bufferOrNull(dy),
        bufferOrNull(dhn),
        bufferOrNull(dcn),
        ...inputs.map((_, i) => node.needs(i)),
        ...call.weights.map(bufferOrNull),
      )
      if (used !== workspace) used[Symbol.dispose]()
      return gradients.map((buffer, i) =>
        buffer ? Tensor.wrap(buffer, (inputs[i] as Tensor).shape, device) : null,
      )
    },
    [workspace, input, ...[...states, ...(masks ?? [])].filter((one) => one !== null)],
    'values',
    (gradients, node) =>
      backwardAgain(call, random, { parts, masks }, gradients, node, inputs, [input, ...states]),
    call.weights,
  )
  return { y, hn, cn }
}

/** For layers whose fields were set to what their constructors refuse. */
function checkNoChances(options: StepOptions | null, elementwise: boolean): void {
  const { recurrentDropout = 0, zoneout = [] } = options ?? {}
  const chances = { recurrentDropout, zoneout: Math.max(0, ...zoneout) }
  const why = elementwise
    ? 'a layer without a recurrent matrix has none'
    : 'a cell of your own has it in its step'
  for (const [name, p] of Object.entries(chances))
    if (p !== 0) throw new TypeError(`[forward] ${name}: expected 0, as ${why}, got ${p}`)
}

/**
 * Whether the kernels do what is asked for: they reset to zeros alone, and mix the states of c each by
 * itself, where those of an sLSTM in evaluation belong together.
 */
function isFused({ cell }: RecurrentCall, options: StepOptions): boolean {
  const mixes = !options.training && options.zoneout[1] > 0 && widthOfC(cell) > 1
  return options.resetH === null && options.resetC === null && !mixes
}

/** As {@link runRecurrent}, as a loop of operations. */
function runUnrolled(
  call: RecurrentCall,
  options: StepOptions,
  x: Tensor,
  h0: Tensor | null,
  c0: Tensor | null,
): RecurrentResult {
  const rows = x.shape[0] as number
  using drawn = new DrawnOptions(options, call, rows, hasC(call.cell), x.device)
  const { resetH, resetC } = options
  const masks = drawn.share()
  const all = { ...unrolledOptions(call, drawn.parts, masks, x.device), resetH, resetC }
  const dropout = call.dropout > 0 ? { p: call.dropout, random: null } : null
  const [y, hn, cn = null] = operations(call, dropout, all, x.device)(x, h0, c0, ...call.weights)
  for (const mask of masks) mask?.[Symbol.dispose]()
  return { y: y as Tensor, hn: hn as Tensor, cn }
}

/** A call as a loop of operations, of x, h0, c0 and the weights. */
function operations(
  call: RecurrentCall,
  dropout: Unrolled['dropout'],
  options: UnrolledOptions | null,
  device: string,
): (...inputs: (Tensor | null)[]) => Tensor[] {
  const { layers, directions, steps, batch, hidden, proj } = call
  const { name, states } = cells[call.cell] as CellInfo
  const names = weightShapes(call.cell, call.input, hidden, proj, call.bias).map(([key]) => key)
  const sizes = stepSizes(batch, steps)
  const settings = { cell: name, layers, directions, sizes, dropout, options }
  const stacks = layers * directions
  return (x, h0, c0, ...weights) => {
    const sets = Array.from({ length: stacks }, (_, s) =>
      Object.fromEntries(names.map((key, k) => [key, weights[s * names.length + k] ?? null])),
    )
    const h = h0 ?? filled([stacks, batch, proj || hidden], 0, device)
    const c = states > 0 ? (c0 ?? filled([stacks, batch, states * hidden], 0, device)) : null
    return unroll(settings, x as Tensor, h, c, sets)
  }
}

/** Backward for gradients of gradients: through the same layer as a loop of operations. */
function backwardAgain(
  call: RecurrentCall,
  random: { seed: number; counter: number },
  options: { parts: readonly [number, number]; masks: readonly (Memory | null)[] | null },
  gradients: readonly (Tensor | null)[],
  node: Node,
  inputs: readonly (Tensor | null)[],
  saved: readonly (Memory | null)[],
): (Tensor | null)[] {
  const { name } = cells[call.cell] as CellInfo
  const { layers, dropout } = call
  if (!canUnroll(name))
    throw new TypeError(
      `[backward] createGraph: the cell '${name}' has no gradient of its gradient: its equations are not in ts/nn/unrolled.ts; the layers of nn have theirs`,
    )
  // The kernels number the masks of further layers in a way of their own.
  if (dropout > 0 && layers > 2)
    throw new TypeError(
      `[backward] createGraph: expected at most 2 layers with dropout between them, got ${layers}; set dropout to 0 or put layers with nn.Dropout one behind the other`,
    )
  const { device } = (gradients.find((gradient) => gradient !== null) ?? null) as Tensor
  const withHistory = inputs.map((input, i) => {
    const memory = saved[i]
    return input && memory ? node.input(i, memory, input.shape, device) : input
  })
  const between = options.masks && unrolledOptions(call, options.parts, options.masks, device)
  const again = dropout > 0 ? { p: dropout, random } : null
  const f = operations(call, again, between, device)
  return throughFunction('rnn', f, withHistory, gradients)
}

/** Over the same memory. */
function unrolledOptions(
  { layers, directions, steps, batch, hidden, proj }: RecurrentCall,
  parts: readonly [number, number],
  masks: readonly (Memory | null)[],
  device: string,
): UnrolledOptions {
  const [stacks, out] = [layers * directions, proj || hidden]
  const rows = typeof steps === 'number' ? steps * batch : steps.reduce((sum, n) => sum + n, 0)
  const of = (i: number, shape: Shape): Tensor | null => {
    const memory = masks[i]
    return memory ? Tensor.over(memory.share(), shape, device, i === 0 ? 'float32' : 'bool') : null
  }
  return {
    parts,
    hFactor: of(0, [stacks, batch, out]),
    keepH: of(1, [stacks, rows, out]),
    keepC: of(2, [stacks, rows, hidden]),
    reset: of(3, [rows, 1]),
    mask: of(4, [rows, 1]),
    resetH: null,
    resetC: null,
  }
}

/**
 * Frees a tensor that was laid out for the native side, unless it is the user's own. The tape and
 * the queue have their own shares of what they still need.
 */
export function disposeOther(tensor: Tensor | null, own: unknown): void {
  if (tensor !== own) tensor?.[Symbol.dispose]()
}

/** The state argument of an LSTM: a pair, or nothing. */
export function lstmState(
  fn: string,
  name: string,
  state: readonly [Tensor, Tensor] | null | undefined,
): [Tensor | null, Tensor | null] {
  if (state === undefined || state === null) return [null, null]
  if (!Array.isArray(state) || state.length !== 2) {
    throw typeError(fn, name, 'a pair [h0, c0]', state)
  }
  state.forEach((part, i) => {
    if (!(part instanceof Tensor)) throw typeError(fn, `${name}[${i}]`, 'a tensor', part)
  })
  return [state[0] as Tensor, state[1] as Tensor]
}

function bufferOrNull(tensor: Tensor | null | undefined): Buffer | null {
  return tensor ? tensor.buffer : null
}
