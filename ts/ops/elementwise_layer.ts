/**
 * A recurrent layer without a recurrent matrix in one operation, on the CPU: the input's product goes on to
 * the loop over time, and the loop's gradients to the product's, some hundred rows at a time, while they are
 * in the cache. Elsewhere it is linear() and elementwiseRnn().
 */
import { willRecord } from '../autograd.js'
import { type Buffer, binding, ElementwiseKind, type ElementwiseLayerShared } from '../binding.js'
import { Memory } from '../memory.js'
import { Tensor } from '../tensor.js'
import {
  type ElementwiseCall,
  recordElementwise,
  sharedMasks,
  unrolled,
  withMasks,
} from './elementwise_rnn.js'
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
  const shared = (
    of: readonly ({ readonly buffer: Buffer } | null)[],
    masks: readonly ({ readonly buffer: Buffer } | null)[],
  ): ElementwiseLayerShared => [
    ...([kind, hidden, batch, steps, reverse, width] as const),
    (of[0] as { buffer: Buffer }).buffer,
    (of[1] as { buffer: Buffer }).buffer,
    of[2]?.buffer ?? null,
    of[3]?.buffer ?? null,
    of[4]?.buffer ?? null,
    of[5]?.buffer ?? null,
    masks[0]?.buffer ?? null,
    masks[1]?.buffer ?? null,
  ]
  const [yBuffer, lastBuffer, statesBuffer, aBuffer] = binding.elementwiseLayer(
    ...shared(inputs, [call.reset, call.mask]),
    keep,
  )
  const { device } = x
  const y = Tensor.wrap(yBuffer, [rows, hidden], device)
  const last = Tensor.wrap(lastBuffer, [batch, hidden], device)
  if (!keep) return [y, last]
  const a = new Memory(aBuffer as Buffer)
  const states = statesBuffer === null ? y.share() : new Memory(statesBuffer)
  const saved = [x.share(), null, null, null, null, state0?.share() ?? null]
  const masks = sharedMasks(call)
  // The parameters are read from where they are.
  const read = inputs.map((input, i) => saved[i] ?? input)
  recordElementwise([y, last], {
    inputs,
    saved,
    kept: [a, states, ...masks],
    parameters: [x.requiresGrad ? w : null, v, b],
    backward: (dy, dlast, needs) =>
      binding.elementwiseLayerBackward(
        ...shared(read, masks),
        a.buffer,
        states.buffer,
        dy?.buffer ?? null,
        dlast?.buffer ?? null,
        needs(0),
        needs(1),
        needs(2),
        needs(3),
        needs(4),
        needs(5),
      ),
    again: (...of) => {
      const pre = linear(of[0] as Tensor, of[1] as Tensor, of[2])
      const past = kind === ElementwiseKind.sru_skip ? (of[0] as Tensor) : null
      return unrolled(withMasks(call, masks, device), [pre, past, ...of.slice(3)], device)
    },
  })
  return [y, last]
}
