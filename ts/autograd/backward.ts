/** Tensor.backward. */
import { binding } from '../binding.js'
import { checkSameDevice, deviceNumber } from '../device.js'
import { checkBoolean, formatShape, rangeError, typeError } from '../errors.js'
import { sameShape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { walkBack } from './pass.js'

export { copyValues } from './pass.js'

/** What `backward` takes. */
export interface BackwardOptions {
  /** Keep what was saved, to go through the same graph again. Default: as `createGraph`. */
  retainGraph?: boolean
  /** Give the gradients a history, so that they can be differentiated in turn. Default false. */
  createGraph?: boolean
  /** The leaves whose `.grad` is wanted. Default: all. */
  inputs?: Tensor | readonly Tensor[]
}

/** The leaves for whom alone a backward is; null: all. */
function checkInputs(inputs: unknown): readonly Tensor[] | null {
  if (inputs === undefined) return null
  const list: readonly unknown[] = Array.isArray(inputs) ? inputs : [inputs]
  if (list.length === 0) throw rangeError('backward', 'inputs', 'at least one tensor', 'none')
  for (const [i, input] of list.entries()) {
    if (!(input instanceof Tensor)) throw typeError('backward', `inputs[${i}]`, 'a tensor', input)
    if (input.gradFn !== null || !input.requiresGrad)
      throw new TypeError(
        `[backward] inputs[${i}]: expected a leaf that requires a gradient, got ${input}; for other tensors use autograd.grad`,
      )
  }
  return list as readonly Tensor[]
}

/** See {@link Tensor.backward}. */
export function runBackward(
  root: Tensor,
  gradient: Tensor | undefined,
  options: BackwardOptions = {},
): void {
  if (!root.requiresGrad) {
    throw new TypeError(
      '[backward] this tensor does not require a gradient and has no gradient function',
    )
  }
  const graph = checkBoolean('backward', 'createGraph', options.createGraph ?? false)
  const keep = checkBoolean('backward', 'retainGraph', options.retainGraph ?? graph)
  const targets = checkInputs(options.inputs)
  const seed =
    gradient === undefined
      ? seedOf('backward', root)
      : checkSeed('backward', 'gradient', root, gradient)
  walkBack([root], [seed], { keep, graph, targets, accumulate: true })
}

/** By device. */
const ones = new Map<string, Tensor>()

/** The gradient of a result of one element with respect to itself. */
export function seedOf(fn: string, root: Tensor): Tensor {
  if (root.numel !== 1) {
    throw rangeError(
      fn,
      fn === 'backward' ? 'gradient' : 'gradOutputs',
      'to be given when the tensor has more than one element',
      `none for shape ${formatShape(root.shape)}`,
    )
  }
  const { device } = root
  let one = ones.get(device)
  if (one === undefined) {
    one = Tensor.wrap(binding.fill(1, 1, deviceNumber(device)), [], device)
    ones.set(device, one)
  }
  return root.shape.length === 0 ? one : one.viewAs(root.shape)
}

/** A gradient that the user gives for a tensor. */
export function checkSeed(fn: string, name: string, root: Tensor, gradient: unknown): Tensor {
  if (!(gradient instanceof Tensor)) throw typeError(fn, name, 'a tensor', gradient)
  if (gradient.dtype !== 'float32') throw typeError(fn, name, 'a float32 tensor', gradient.dtype)
  checkSameDevice(fn, name, gradient, root.device)
  if (!sameShape(gradient.shape, root.shape)) {
    const expected = `the tensor's shape ${formatShape(root.shape)}`
    throw rangeError(fn, name, expected, formatShape(gradient.shape))
  }
  return gradient
}
