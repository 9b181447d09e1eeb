/** The loop over time of recurrent layers without a recurrent matrix; the equations are in native/cells/elementwise.h. */
import { throughFunction } from '../autograd/partial.js'
import { record, willRecord } from '../autograd.js'
import { type Buffer, binding, ElementwiseKind, type ElementwiseShared } from '../binding.js'
import { Memory } from '../memory.js'
import { type Shape, Tensor } from '../tensor.js'
import { logSigmoid } from './activation.js'
import { filled } from './again.js'
import { overSteps, stepSizes } from './steps.js'
import { where } from './where.js'

/** One layer in one direction. */
export interface ElementwiseCall {
  kind: ElementwiseKind
  /** H */
  hidden: number
  /** N, the sequences. */
  batch: number
  /** T for sequences of one length, or the number of active sequences per step. */
  steps: number | Int32Array
  reverse: boolean
  /** bool `[rows]`: where the state is zeros before the step; null: nowhere. */
  reset: Tensor | null
  /** bool `[rows]`: where false, the step is skipped; null: nowhere. */
  mask: Tensor | null
}

/** Of a call, the memory of reset and mask; null where there is none. */
export type CallMasks = readonly [reset: Memory | null, mask: Memory | null]

/** Shares of it, so that the caller may free its own. */
export function sharedMasks({ reset, mask }: ElementwiseCall): CallMasks {
  return [reset?.share() ?? null, mask?.share() ?? null]
}

/** A call with tensors over such shares. */
export function withMasks(
  call: ElementwiseCall,
  [reset, mask]: CallMasks,
  device: string,
): ElementwiseCall {
  const of = (memory: Memory | null, shape: Shape | undefined): Tensor | null =>
    memory && Tensor.over(memory.share(), shape as Shape, device, 'bool')
  return { ...call, reset: of(reset, call.reset?.shape), mask: of(mask, call.mask?.shape) }
}

/** What a call reads: see ElementwiseInputs in native/ops/ops_elementwise.h. */
export type ElementwiseInputs = readonly [
  /** Pre-activations `[rows, B·H]`. */
  a: Tensor,
  /** The layer's input `[rows, H]`, of SRU where it is as wide as the output. */
  x: Tensor | null,
  /** Weights of units: `[H]` of IndRNN, `[2·H]` of SRU. */
  v: Tensor | null,
  /** `[2·H]` of SRU, or null. */
  b: Tensor | null,
  /** `[N, H]`, or null for zeros. */
  state0: Tensor | null,
]

/**
 * @returns y `[rows, H]`, and the state behind each sequence `[N, H]`
 */
export function elementwiseRnn(
  call: ElementwiseCall,
  inputs: ElementwiseInputs,
): [y: Tensor, last: Tensor] {
  const { kind, hidden, batch, steps, reverse } = call
  const [a, x, v, b, state0] = inputs
  const rows = a.shape[0] as number
  const keep = willRecord(inputs)
  const shared = (
    of: readonly ({ readonly buffer: Buffer } | null)[],
    masks: readonly ({ readonly buffer: Buffer } | null)[],
  ): ElementwiseShared => [
    ...([kind, hidden, batch, steps, reverse] as const),
    (of[0] as { buffer: Buffer }).buffer,
    of[1]?.buffer ?? null,
    of[2]?.buffer ?? null,
    of[3]?.buffer ?? null,
    of[4]?.buffer ?? null,
    masks[0]?.buffer ?? null,
    masks[1]?.buffer ?? null,
  ]
  const [yBuffer, lastBuffer, statesBuffer] = binding.elementwiseRnn(
    ...shared(inputs, [call.reset, call.mask]),
    keep,
  )
  const { device } = a
  const y = Tensor.wrap(yBuffer, [rows, hidden], device)
  const last = Tensor.wrap(lastBuffer, [batch, hidden], device)
  if (!keep) return [y, last]
  const states = statesBuffer === null ? y.share() : new Memory(statesBuffer)
  // The parameters are read from where they are.
  const saved = [a.share(), x?.share() ?? null, null, null, state0?.share() ?? null]
  const masks = sharedMasks(call)
  const read = [saved[0] as Memory, saved[1] ?? null, v, b, saved[4] ?? null]
  recordElementwise([y, last], {
    inputs,
    saved,
    kept: [states, ...masks],
    parameters: [v, b],
    backward: (dy, dlast, needs) =>
      binding.elementwiseRnnBackward(
        ...shared(read, masks),
        states.buffer,
        dy?.buffer ?? null,
        dlast?.buffer ?? null,
        needs(1),
        needs(2),
        needs(3),
        needs(4),
      ),
    again: (...of) => unrolled(withMasks(call, masks, device), of, device),
  })
  return [y, last]
}

/** A call whose gradients are wanted. */
interface Recorded {
  inputs: readonly (Tensor | null)[]
  /** For each input what backward reads of it; null for parameters, which are read from where they are. */
  saved: readonly (Memory | null)[]
  /** What else backward reads. */
  kept: readonly (Memory | null)[]
  /** What must not change before backward. */
  parameters: readonly (Tensor | null)[]
  /** The gradients of the inputs, from those of y and of the last states. */
  backward(
    dy: Tensor | null | undefined,
    dlast: Tensor | null | undefined,
    needs: (input: number) => boolean,
  ): (Buffer | null)[]
  /** The same as a loop of operations, of the inputs. */
  again(...inputs: (Tensor | null)[]): Tensor[]
}

export function recordElementwise(
  outputs: readonly [y: Tensor, last: Tensor],
  { inputs, saved, kept, parameters, backward, again }: Recorded,
): void {
  const { device } = outputs[0]
  const shapes = inputs.map((input) => input?.shape ?? null)
  record(
    'elementwise rnn',
    inputs,
    outputs,
    ([dy, dlast], node) =>
      backward(dy, dlast, (input) => node.needs(input)).map((buffer, i) =>
        buffer ? Tensor.wrap(buffer, shapes[i] as Shape, device) : null,
      ),
    [...kept, ...saved].filter((memory) => memory !== null),
    'values',
    (gradients, node) => {
      const from = inputs.map((input, i) => {
        const memory = saved[i]
        return input && memory ? node.input(i, memory, input.shape, device) : input
      })
      return throughFunction('elementwise rnn', again, from, gradients)
    },
    parameters,
  )
}

/** The new state and the output from a step's rows. */
type Step = (a: Tensor, x: Tensor | null, state: Tensor) => [state: Tensor, y: Tensor]

/** Block k of columns. */
const block = (a: Tensor, k: number, hidden: number): Tensor =>
  a.slice(1, k * hidden, (k + 1) * hidden)

/** x + ½ for x ≥ 0, else σ(x). */
function positive(x: Tensor): Tensor {
  return x.add(0.5).where(x.ge(0), x.sigmoid())
}

function stepOf(call: ElementwiseCall, v: Tensor | null, b: Tensor | null): Step {
  const { hidden } = call
  const part = (weight: Tensor | null, k: number): Tensor =>
    (weight as Tensor).slice(0, k * hidden, (k + 1) * hidden)
  const alike = (h: Tensor): [Tensor, Tensor] => [h, h]
  switch (call.kind) {
    case ElementwiseKind.indrnn_relu:
      return (a, _x, h) => alike(a.add(h.mul(v as Tensor)).relu())
    case ElementwiseKind.indrnn_tanh:
      return (a, _x, h) => alike(a.add(h.mul(v as Tensor)).tanh())
    case ElementwiseKind.min_gru:
      return (a, _x, h) => {
        const z = block(a, 0, hidden).sigmoid()
        return alike(h.add(z.mul(positive(block(a, 1, hidden)).sub(h))))
      }
    case ElementwiseKind.min_lstm:
      return (a, _x, h) => {
        // log σ(f) − log σ(i), so that no sum of small gates is divided by.
        const [f, i] = [block(a, 0, hidden), block(a, 1, hidden)]
        const keep = logSigmoid(f).sub(logSigmoid(i)).sigmoid()
        const g = positive(block(a, 2, hidden))
        return alike(g.add(keep.mul(h.sub(g))))
      }
    default:
      return (a, x, c) => {
        const gate = (k: number): Tensor => {
          const sum = block(a, k, hidden).add(c.mul(part(v, k - 1)))
          return (b === null ? sum : sum.add(part(b, k - 1))).sigmoid()
        }
        const [f, r] = [gate(1), gate(2)]
        const candidate = block(a, 0, hidden)
        const past = x ?? block(a, 3, hidden)
        const next = candidate.add(f.mul(c.sub(candidate)))
        return [next, past.add(r.mul(next.sub(past)))]
      }
  }
}

/**
 * The same as a loop of operations.
 * @param resetState `[N, H]`: what the state becomes at a reset; null: zeros
 */
export function unrolled(
  call: ElementwiseCall,
  [a, x, v, b, state0]: readonly (Tensor | null)[],
  device: string,
  resetState: Tensor | null = null,
): [y: Tensor, last: Tensor] {
  const { kind, batch, hidden, steps, reverse } = call
  const step = stepOf(call, v ?? null, b ?? null)
  const zeros = (): Tensor => filled([batch, hidden], 0, device)
  const column = (rows: Tensor | null): Tensor | null => rows?.unsqueeze(1) ?? null
  const [reset, mask] = [column(call.reset), column(call.mask)]
  const initial = [state0 ?? zeros()]
  // Skipped steps repeat the output, which of SRU is not the state.
  const sru = kind === ElementwiseKind.sru || kind === ElementwiseKind.sru_skip
  if (sru && mask) initial.push(zeros())
  const [y, [last]] = overSteps(stepSizes(batch, steps), reverse, initial, (rowsOf, states) => {
    const size = (states[0] as Tensor).shape[0] as number
    const begin = resetState === null ? 0 : resetState.slice(0, 0, size)
    const [old, before] = states.map((state, k) =>
      reset ? where(rowsOf(reset), k === 0 ? begin : 0, state) : state,
    ) as [Tensor, Tensor | undefined]
    let [next, output] = step(rowsOf(a as Tensor), x ? rowsOf(x) : null, old)
    if (mask) {
      output = where(rowsOf(mask), output, before ?? old)
      next = where(rowsOf(mask), next, old)
    }
    return [output, before ? [next, output] : [next]]
  })
  return [y, last as Tensor]
}
