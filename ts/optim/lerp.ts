/** Moving averages of many tensors towards their values. */
import { binding } from '../binding.js'
import type { Tensor } from '../tensor.js'

/** Parameters in one native call: each is two arguments, and the stack limits their number. */
const MOST_IN_A_CALL = 1000

/** averaged += weight (current − averaged), for all tensors of a device in one pass. */
export function lerpInto(
  averaged: readonly Tensor[],
  current: readonly Tensor[],
  weight: number,
): void {
  const byDevice = new Map<string, [Tensor, Tensor][]>()
  averaged.forEach((to, i) => {
    const pairs = byDevice.get(to.device) ?? []
    byDevice.set(to.device, pairs)
    pairs.push([to, current[i] as Tensor])
  })
  for (const pairs of byDevice.values()) {
    for (let from = 0; from < pairs.length; from += MOST_IN_A_CALL) {
      const some = pairs.slice(from, from + MOST_IN_A_CALL)
      const buffers = [...some.map(([to]) => to.buffer), ...some.map(([, value]) => value.buffer)]
      // A step of gradient descent on |averaged − current|² / 2.
      binding.sgd(null, -1, Infinity, weight, 0, 0, 1, false, true, some.length, ...buffers)
      for (const [to] of some) to.changed('updateParameters')
    }
  }
}
