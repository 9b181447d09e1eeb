/** Values of tensors that are known without waiting for the device. */
import { changesSoFar } from './memory.js'
import type { Tensor } from './tensor.js'

interface Known {
  values: Int32Array
  /** When, among all changes in place. */
  at: number
}

const known = new WeakMap<Tensor, Known>()

/** Notes what a tensor has been made from. @param values nobody else's */
export function remember(tensor: Tensor, values: Int32Array): void {
  known.set(tensor, { values, at: changesSoFar() })
}

/** The values, or null where they are not known or have been changed in place. */
export function knownValues(tensor: Tensor): Int32Array | null {
  const found = known.get(tensor)
  return found === undefined || tensor.changedAt > found.at ? null : found.values
}
