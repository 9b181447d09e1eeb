/** The loop over time of layers that are composed of operations, over packed rows. */
import type { Tensor } from '../tensor.js'
import { cat } from './shape.js'

/** How many sequences there are at each step. @param steps T, or that itself */
export function stepSizes(batch: number, steps: number | Int32Array): number[] {
  return typeof steps === 'number' ? new Array<number>(steps).fill(batch) : [...steps]
}

/**
 * Walks over the steps. The sequences that are active at a step come first, and at a step that is
 * earlier in time there are at least as many.
 * @param sizes see {@link stepSizes}
 * @param backwards whether the last step comes first
 * @param initial states, each `[N, …]`
 * @param step from the states of the active sequences to the output and the new states; rowsOf gives the
 *   step's rows of a tensor `[rows, …]`
 * @returns the outputs of all rows, and the states behind each sequence
 */
export function overSteps(
  sizes: readonly number[],
  backwards: boolean,
  initial: readonly Tensor[],
  step: (
    rowsOf: (whole: Tensor) => Tensor,
    states: Tensor[],
  ) => readonly [output: Tensor, states: readonly Tensor[]],
): [output: Tensor, states: Tensor[]] {
  const starts: number[] = []
  let rows = 0
  for (const size of sizes) {
    starts.push(rows)
    rows += size
  }
  const batch = sizes[0] as number
  const order = [...sizes.keys()]
  if (backwards) order.reverse()
  const outputs: Tensor[] = []
  let states = [...initial]
  for (const t of order) {
    const [size, start] = [sizes[t] as number, starts[t] as number]
    const all = size === batch
    const active = all ? states : states.map((state) => state.slice(0, 0, size))
    const [output, next] = step((whole) => whole.slice(0, start, start + size), active)
    outputs[t] = output
    states = next.map((state, k) =>
      all ? state : cat([state, (states[k] as Tensor).slice(0, size)], 0),
    )
  }
  return [cat(outputs, 0), states]
}
