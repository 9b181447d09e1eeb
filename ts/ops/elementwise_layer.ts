/**
 * A recurrent layer without a recurrent matrix in one operation, on the CPU: the input's product goes on to
 * the loop over time, and the loop's gradients to the product's, some hundred rows at a time, while they are
 * in the cache. Elsewhere it is linear() and elementwiseRnn().
 */
import { throughFunction } from '../autograd/partial.js'
import { record, willRecord } from '../autograd.js'
import { type Buffer, binding, ElementwiseKind, type ElementwiseLayerShared } from '../binding.js'
import { Memory } from '../memory.js'
import { type Shape, Tensor } from '../tensor.js'
import { type ElementwiseCall, unrolled } from './elementwise_rnn.js'
import { linear } from './linear.js'

/** What a call reads: see ElementwiseInputs and ElementwiseProduct in native/ops/ops_elementwise.h. */
export type ElementwiseLayerInputs = readonly [
  /** `[rows, I]`, of SRU with the way past the product I = H. */
  x: Tensor,
  /** `[B·H, I]` */
  w: Tensor,
  /** `[B·H]`, or null. */
  bias: Tensor | null,
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
export function elementwiseLayer(
  call: ElementwiseCall,
  inputs: ElementwiseLayerInputs,
): [y: Tensor, last: Tensor] {
  const { kind, hidden, batch, steps, reverse } = call
  const [x, w, , v, b, state0] = inputs
  const [rows, width] = x.shape as readonly [number, number]
  const keep = willRecord(inputs)
  const shared = (of: readonly ({ readonly buffer: Buffer } | null)[]): ElementwiseLayerShared => [
    ...([kind, hidden, batch, steps, reverse, width] as const),
    (of[0] as { buffer: Buffer }).buffer,
    (of[1] as { buffer: Buffer }).buffer,
    of[2]?.buffer ?? null,
    of[3]?.buffer ?? null,
    of[4]?.buffer ?? null,
    of[5]?.buffer ?? null,
  ]
  const [yBuffer, lastBuffer, statesBuffer, aBuffer] = binding.elementwiseLayer(
    ...shared(inputs),
    keep,
  )
  const { device } = x
  const y = Tensor.wrap(yBuffer, [rows, hidden], device)
  const last = Tensor.wrap(lastBuffer, [batch, hidden], device)
  if (!keep) return [y, last]
  const a = new Memory(aBuffer as Buffer)
  const states = statesBuffer === null ? y.share() : new Memory(statesBuffer)
  const saved = [x.share(), null, null, null, null, state0?.share() ?? null]
  // The parameters are read from where they are.
  const read = inputs.map((input, i) => saved[i] ?? input)
  const shapes = inputs.map((input) => input?.shape ?? null)
  record(
    'elementwise rnn',
    inputs,
    [y, last],
    ([dy, dlast], node) => {
      const gradients = binding.elementwiseLayerBackward(
        ...shared(read),
        a.buffer,
        states.buffer,
        dy?.buffer ?? null,
        dlast?.buffer ?? null,
        node.needs(0),
        node.needs(1),
        node.needs(2),
        node.needs(3),
        node.needs(4),
        node.needs(5),
      )
      return gradients.map((buffer, i) =>
        buffer ? Tensor.wrap(buffer, shapes[i] as Shape, device) : null,
      )
    },
    [a, states, ...saved.filter((memory) => memory !== null)],
    'values',
    (gradients, node) => {
      const from = inputs.map((input, i) => {
        const memory = saved[i]
        return input && memory ? node.input(i, memory, input.shape, device) : input
      })
      return throughFunction('elementwise rnn', again, from, gradients)
    },
    [x.requiresGrad ? w : null, v, b],
  )
  /** The same as a loop of operations. */
  function again(...of: (Tensor | null)[]): Tensor[] {
    const pre = linear(of[0] as Tensor, of[1] as Tensor, of[2])
    const past = kind === ElementwiseKind.sru_skip ? (of[0] as Tensor) : null
    return unrolled(call, [pre, past, ...of.slice(3)], device)
  }
  return [y, last]
}
