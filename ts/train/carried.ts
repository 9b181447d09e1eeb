/** What one step leaves for the next, such as the hidden state of a recurrent model. */
import { Tensor } from '../tensor.js'
import type { Carried } from './types.js'

/** What a step leaves for the next, without its graph; frees what it found, unless that goes on. */
export function handOver(before: Carried, after: Carried): Carried {
  const detached = (tensor: Tensor): Tensor => (tensor.requiresGrad ? tensor.detach() : tensor)
  const kept =
    after === null || after instanceof Tensor ? after && detached(after) : after.map(detached)
  const goesOn = new Set([...tensorsOf(kept), ...tensorsOf(after)])
  for (const tensor of tensorsOf(before)) if (!goesOn.has(tensor)) tensor[Symbol.dispose]()
  return kept
}

/** The tensors of a carried state. */
export function tensorsOf(carried: Carried): readonly Tensor[] {
  if (carried === null) return []
  return carried instanceof Tensor ? [carried] : carried
}

/** Frees a carried state; nothing is carried then. */
export function dropped(carried: Carried): null {
  for (const tensor of tensorsOf(carried)) tensor[Symbol.dispose]()
  return null
}
