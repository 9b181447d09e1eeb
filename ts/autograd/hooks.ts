/** Functions of users that see, and may replace, the gradients of tensors. */
import { checkSameDevice } from '../device.js'
import { formatShape, rangeError, typeError } from '../errors.js'
import { noGrad } from '../grad_mode.js'
import { sameShape } from '../shape.js'
import { Tensor } from '../tensor.js'

/** Gets a gradient; a tensor that it returns takes the gradient's place. */
// biome-ignore lint/suspicious/noConfusingVoidType: a function without return has that type
export type GradientHook = (gradient: Tensor) => Tensor | undefined | null | void

/** What takes a hook away again; as `torch.utils.hooks.RemovableHandle`. */
export interface RemovableHandle {
  /** The hook is not called any more. Twice is fine. */
  remove(): void
}

/** A list of functions, each of which can be taken away. */
export class Hooks<F> {
  #list: readonly { f: F }[] = []

  get list(): readonly { f: F }[] {
    return this.#list
  }

  add(f: F): RemovableHandle {
    const entry = { f }
    // A new list, so that one that is being gone through stays as it is.
    this.#list = [...this.#list, entry]
    return {
      remove: () => {
        this.#list = this.#list.filter((other) => other !== entry)
      },
    }
  }
}

/** What a node's outputs have. */
export interface NodeHooks {
  /** By output. */
  readonly byOutput: Map<number, Hooks<GradientHook>>
  /** Tensors that keep their gradient, by output; see Tensor.retainGrad. */
  readonly retained: Map<number, Tensor>
}

const leafHooks = new WeakMap<Tensor, Hooks<GradientHook>>()
let hooking = false

/** Whether any leaf ever had a hook. */
export function anyLeafHook(): boolean {
  return hooking
}

export function hooksOfLeaf(leaf: Tensor): Hooks<GradientHook> | undefined {
  return leafHooks.get(leaf)
}

function ofNode(tensor: Tensor): NodeHooks | null {
  const node = tensor.gradFn
  if (node === null) return null
  node.hooks ??= { byOutput: new Map(), retained: new Map() }
  return node.hooks
}

function getOrMake<K>(map: Pick<Map<K, Hooks<GradientHook>>, 'get' | 'set'>, key: K) {
  let hooks = map.get(key)
  if (hooks === undefined) {
    hooks = new Hooks()
    map.set(key, hooks)
  }
  return hooks
}

/** See Tensor.registerHook. */
export function addHook(tensor: Tensor, hook: GradientHook): RemovableHandle {
  if (typeof hook !== 'function') throw typeError('registerHook', 'hook', 'a function', hook)
  if (!tensor.requiresGrad)
    throw new TypeError(
      '[registerHook] tensor: expected one that requires a gradient, got one that does not',
    )
  const node = ofNode(tensor)
  if (node !== null) return getOrMake(node.byOutput, tensor.outputIndex).add(hook)
  hooking = true
  return getOrMake(leafHooks as unknown as Map<Tensor, Hooks<GradientHook>>, tensor).add(hook)
}

/** See Tensor.retainGrad. */
export function retain(tensor: Tensor): void {
  if (!tensor.requiresGrad)
    throw new TypeError(
      '[retainGrad] tensor: expected one that requires a gradient, got one that does not',
    )
  ofNode(tensor)?.retained.set(tensor.outputIndex, tensor)
}

export function retains(tensor: Tensor): boolean {
  return tensor.gradFn?.hooks?.retained.get(tensor.outputIndex) === tensor
}

/**
 * What the hooks make of a gradient; itself when they leave it.
 * @param graph whether it has a history, which then goes on in the hooks
 */
export function throughHooks(
  hooks: Hooks<GradientHook> | undefined,
  gradient: Tensor,
  graph: boolean,
): Tensor {
  let now = gradient
  for (const { f } of hooks?.list ?? []) {
    // Users may keep what they get, so it is a handle of their own.
    const result = graph ? f(now) : noGrad(() => f(now.viewAs(now.shape)))
    if (result === undefined || result === null) continue
    checkReplacement('registerHook', result, gradient)
    now = graph ? result : result.viewAs(result.shape)
  }
  return now
}

/** Checks what is to take a gradient's place. */
export function checkReplacement(fn: string, result: unknown, gradient: Tensor): void {
  if (!(result instanceof Tensor))
    throw typeError(fn, 'result of the hook', 'a tensor or undefined', result)
  if (result.dtype !== gradient.dtype)
    throw typeError(fn, 'result of the hook', `a ${gradient.dtype} tensor`, result.dtype)
  checkSameDevice(fn, 'result of the hook', result, gradient.device)
  if (!sameShape(result.shape, gradient.shape)) {
    const expected = `the gradient's shape ${formatShape(gradient.shape)}`
    throw rangeError(fn, 'result of the hook', expected, formatShape(result.shape))
  }
}
