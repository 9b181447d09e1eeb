/** autograd.grad. */
import { checkBoolean, checkOptions, rangeError, typeError } from '../errors.js'
import { Tensor } from '../tensor.js'
import { checkSeed, seedOf } from './backward.js'
import { walkBack } from './pass.js'

/** What {@link grad} takes. */
export interface GradOptions {
  /** The gradients of the outputs, of their shapes; null for an output of one element: 1. */
  gradOutputs?: Tensor | readonly (Tensor | null)[] | null
  /** Give the gradients a history, so that they can be differentiated in turn. Default false. */
  createGraph?: boolean
  /** Keep what was saved, to go through the same graph again. Default: as `createGraph`. */
  retainGraph?: boolean
  /** Null for an input on which no output depends, which is an error otherwise. Default false. */
  allowUnused?: boolean
}

function listOf(name: string, value: unknown): readonly Tensor[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : [value]
  if (list.length === 0) throw rangeError('grad', name, 'at least one tensor', 'none')
  for (let i = 0; i < list.length; i++) {
    const tensor = list[i]
    const what = Array.isArray(value) ? `${name}[${i}]` : name
    if (!(tensor instanceof Tensor)) throw typeError('grad', what, 'a tensor', tensor)
    if (!tensor.requiresGrad)
      throw new TypeError(
        `[grad] ${what}: expected a tensor that requires a gradient, got ${tensor}`,
      )
  }
  return list as readonly Tensor[]
}

/**
 * The gradients of outputs by inputs, summed over the outputs; as `torch.autograd.grad`. `.grad` of
 * tensors stays as it is. Inputs may be results, too.
 * @param outputs tensors that were computed with gradients on
 * @param inputs tensors that require gradients
 * @returns one gradient for each input, of its shape
 * @throws TypeError, RangeError
 */
export function grad(
  outputs: Tensor | readonly Tensor[],
  inputs: Tensor | readonly Tensor[],
  options: GradOptions & { allowUnused: true },
): (Tensor | null)[]
export function grad(
  outputs: Tensor | readonly Tensor[],
  inputs: Tensor | readonly Tensor[],
  options?: GradOptions,
): Tensor[]
export function grad(
  outputs: Tensor | readonly Tensor[],
  inputs: Tensor | readonly Tensor[],
  options: GradOptions = {},
): (Tensor | null)[] {
  const known = ['gradOutputs', 'createGraph', 'retainGraph', 'allowUnused']
  checkOptions('grad', options, known)
  const roots = listOf('outputs', outputs)
  const targets = listOf('inputs', inputs)
  const graph = checkBoolean('grad', 'createGraph', options.createGraph ?? false)
  const keep = checkBoolean('grad', 'retainGraph', options.retainGraph ?? graph)
  const allowUnused = checkBoolean('grad', 'allowUnused', options.allowUnused ?? false)
  const seeds = seedsOf(roots, options.gradOutputs)
  const found = walkBack(roots, seeds, { keep, graph, targets, accumulate: false })
  const missing = found.indexOf(null)
  if (missing >= 0 && !allowUnused)
    throw rangeError(
      'grad',
      `inputs[${missing}]`,
      'a tensor on which the outputs depend (or allowUnused: true, for null)',
      `${targets[missing]}, on which they do not`,
    )
  return found
}

function seedsOf(roots: readonly Tensor[], given: GradOptions['gradOutputs']): readonly Tensor[] {
  const list = given instanceof Tensor || given == null ? [given ?? null] : given
  if (!Array.isArray(list)) throw typeError('grad', 'gradOutputs', 'a tensor or an array', given)
  if (given != null && list.length !== roots.length)
    throw rangeError(
      'grad',
      'gradOutputs',
      `${roots.length}, one for each output`,
      String(list.length),
    )
  return roots.map((root, i) => {
    const seed = list[i] ?? null
    return seed === null ? seedOf('grad', root) : checkSeed('grad', `gradOutputs[${i}]`, root, seed)
  })
}
