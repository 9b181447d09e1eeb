/** Linear-chain conditional random fields: the likelihood of a path, and the best one. */

import { throughFunction } from '../autograd/partial.js'
import { record, willRecord } from '../autograd.js'
import { type Buffer, binding, type CrfShared } from '../binding.js'
import { Memory } from '../memory.js'
import { Tensor } from '../tensor.js'
import { pathLikelihood } from './paths_again.js'

/** Emissions `[T, N, K]` (or `[N, T, K]`) and the weights, checked. */
export interface CrfInput {
  emissions: Tensor
  start: Tensor
  end: Tensor
  transitions: Tensor
  steps: number
  batch: number
  tags: number
  batchFirst: boolean
}

interface Buffered {
  readonly buffer: Buffer
}

function argumentsOf(
  { steps, batch, tags, batchFirst }: CrfInput,
  [emissions, start, end, transitions]: readonly [Buffered, Buffered, Buffered, Buffered],
): CrfShared {
  const weights = [start.buffer, end.buffer, transitions.buffer] as const
  return [emissions.buffer, steps, batch, tags, batchFirst, ...weights]
}

/**
 * The logarithm of the likelihood of each sequence's path, `[N]`, and the lengths, int32 `[N]`.
 * @param path int32 tags, of the emissions' shape without the last dimension
 * @param mask int32 of the same shape, or null: all steps count
 */
export function crfLikelihood(
  input: CrfInput,
  path: Tensor,
  mask: Tensor | null,
): [likelihood: Tensor, lengths: Tensor] {
  const { emissions, start, end, transitions, steps, batch, tags, batchFirst } = input
  const inputs = [emissions, start, end, transitions] as const
  const keep = willRecord(inputs)
  const [likelihood, lengths, alpha] = binding.crf(
    ...argumentsOf(input, inputs),
    path.buffer,
    mask?.buffer ?? null,
    keep,
  )
  const out = Tensor.wrap(likelihood, [batch], emissions.device)
  const lengthsOut = Tensor.wrap(lengths, [batch], emissions.device, 'int32')
  if (alpha === null) return [out, lengthsOut]
  const savedAlpha = new Memory(alpha)
  const saved = [
    emissions.share(),
    start.share(),
    end.share(),
    transitions.share(),
    path.share(),
    lengthsOut.share(),
  ] as const
  const { shape, device } = emissions
  const pathShape = path.shape
  record(
    'CRF',
    inputs,
    [out],
    ([g]) => {
      const [e, s, f, t, p, l] = saved
      const gradients = binding.crfBackward(
        ...argumentsOf(input, [e, s, f, t]),
        p.buffer,
        l.buffer,
        savedAlpha.buffer,
        (g as Tensor).buffer,
      )
      const shapes = [shape, [tags], [tags], [tags, tags]]
      return gradients.map((gradient, i) => Tensor.wrap(gradient, shapes[i] as number[], device))
    },
    [savedAlpha, ...saved],
    'values',
    ([g], node) => {
      const shapes = [shape, [tags], [tags], [tags, tags]]
      const from = shapes.map((size, i) => node.input(i, saved[i] as Memory, size, device))
      const order = (y: Tensor, size: number[]): Tensor =>
        batchFirst
          ? y.reshape([batch, steps, ...size]).transpose(0, 1)
          : y.reshape([steps, batch, ...size])
      const tagged = order(Tensor.over(saved[4].share(), pathShape, device, 'int32'), [])
      const ends = Tensor.over(saved[5].share(), [batch], device, 'int32')
      const through = (...[e, s, f, t]: (Tensor | null)[]): Tensor[] => {
        const emitted = order(e as Tensor, [tags])
        return [pathLikelihood(emitted, s as Tensor, f as Tensor, t as Tensor, tagged, ends)]
      }
      return throughFunction('CRF', through, from, [g as Tensor])
    },
  )
  return [out, lengthsOut]
}

/** The most likely tags, int32, -1 after the end of each sequence. */
export function crfDecode(input: CrfInput, mask: Tensor | null): Tensor {
  const { emissions, start, end, transitions } = input
  const path = binding.crfDecode(
    ...argumentsOf(input, [emissions, start, end, transitions]),
    mask?.buffer ?? null,
  )
  return Tensor.wrap(path, emissions.shape.slice(0, -1), emissions.device, 'int32')
}
