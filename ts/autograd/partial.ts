/** Differentiating a function by its arguments alone, whatever these were made from. */
import type { Tensor } from '../tensor.js'
import { record } from './node.js'
import { walkBack } from './pass.js'

/**
 * The same values as tensors that were computed by one operation that does nothing, so that a pass can
 * end there.
 */
export function passedOn(name: string, inputs: readonly (Tensor | null)[]): (Tensor | null)[] {
  const handles = inputs.map((input) => (input?.requiresGrad ? input.viewAs(input.shape) : input))
  const wanted = [...inputs.keys()].filter((i) => inputs[i]?.requiresGrad)
  const pass = (gradients: readonly (Tensor | null)[]): (Tensor | null)[] => [...gradients]
  record(
    name,
    wanted.map((i) => inputs[i] as Tensor),
    wanted.map((i) => handles[i] as Tensor),
    pass,
    [],
    'values',
    pass,
  )
  return handles
}

/**
 * The gradients of outputs by targets, none of which counts as made from another.
 * @param gradients of the outputs; null for those that have none
 * @param graph whether they get a history
 * @returns null where nothing has come
 */
export function partialGradients(
  outputs: readonly Tensor[],
  targets: readonly Tensor[],
  gradients: readonly (Tensor | null)[],
  graph: boolean,
): (Tensor | null)[] {
  const used = [...outputs.keys()].filter((i) => gradients[i] && outputs[i]?.requiresGrad)
  return walkBack(
    used.map((i) => outputs[i] as Tensor),
    used.map((i) => gradients[i] as Tensor),
    { keep: graph, graph, targets, accumulate: false, partial: true },
  )
}

/**
 * For the differentiable backward of a fused operation: the gradients of its inputs, through a
 * function of differentiable operations that computes the same.
 * @param f must use nothing that requires a gradient but its arguments
 * @param inputs with their history: see Node.input
 * @param gradients of f's results, null where none has come
 */
export function throughFunction(
  name: string,
  f: (...inputs: (Tensor | null)[]) => readonly Tensor[],
  inputs: readonly (Tensor | null)[],
  gradients: readonly (Tensor | null)[],
): (Tensor | null)[] {
  const handles = passedOn(name, inputs)
  const outputs = f(...handles)
  const wanted = [...inputs.keys()].filter((i) => inputs[i]?.requiresGrad)
  const found = partialGradients(
    outputs,
    wanted.map((i) => handles[i] as Tensor),
    gradients,
    true,
  )
  const results: (Tensor | null)[] = inputs.map(() => null)
  wanted.forEach((i, k) => {
    results[i] = found[k] ?? null
  })
  return results
}
