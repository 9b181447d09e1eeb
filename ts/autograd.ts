/**
 * The gradient tape: one node per differentiable operation, kept alive by the tensors that came out
 * of it. What a node saves lives in native buffers that backward() frees as it goes.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { BinaryOp, binding } from './binding.js'
import { formatShape, rangeError, typeError } from './errors.js'
import { Tensor } from './tensor.js'

/**
 * Gradients of a node's inputs from the gradients of its outputs (null: none arrived), in the order
 * of `inputs`. Null where no gradient is wanted (`node.needs(i)`) or defined. The returned tensors
 * must be new ones or passed-on output gradients; never an input or a saved tensor.
 */
export type Backward = (gradients: readonly (Tensor | null)[], node: Node) => (Tensor | null)[]

interface Edge {
  /** The node that made the input, or the leaf tensor that collects its gradient. */
  to: Node | Tensor
  /** Which output of the node. */
  output: number
}

let sequence = 0

export class Node {
  readonly name: string
  /** Later operations have higher numbers; backward visits them first. */
  readonly sequence = sequence++
  readonly edges: readonly (Edge | null)[]
  /** Shapes of the outputs. */
  readonly shapes: readonly (readonly number[])[]
  /** While backward runs: whether it may run again, so that saved values must not be used up. */
  keep = false
  #backward: Backward | null
  #saved: readonly Tensor[]

  constructor(
    name: string,
    inputs: readonly (Tensor | null)[],
    outputs: readonly Tensor[],
    backward: Backward,
    saved: readonly Tensor[],
  ) {
    this.name = name
    this.edges = inputs.map((input) => {
      if (!input?.requiresGrad) return null
      return input.gradFn
        ? { to: input.gradFn, output: input.outputIndex }
        : { to: input, output: 0 }
    })
    this.shapes = outputs.map((output) => output.shape)
    this.#backward = backward
    this.#saved = saved
  }

  /** Whether input i wants a gradient. */
  needs(i: number): boolean {
    return this.edges[i] != null
  }

  run(gradients: readonly (Tensor | null)[], keep: boolean): (Tensor | null)[] {
    if (this.#backward === null) {
      throw new Error(
        `[backward] the graph of '${this.name}' was already used and its saved values freed; call backward(gradient, { retainGraph: true }) the first time to go through it twice`,
      )
    }
    this.keep = keep
    const result = this.#backward(gradients, this)
    if (!keep) this.release()
    return result
  }

  /** Frees what was saved for backward. */
  release(): void {
    this.#backward = null
    for (const tensor of this.#saved) tensor[Symbol.dispose]()
    this.#saved = []
  }
}

const gradMode = new AsyncLocalStorage<boolean>()

/** Whether operations are being recorded; as `torch.is_grad_enabled`. */
export function isGradEnabled(): boolean {
  return gradMode.getStore() ?? true
}

/**
 * Runs `f` without recording operations, also across the awaits of an async `f`; as `torch.no_grad`.
 * @returns what `f` returns
 */
export function noGrad<T>(f: () => T): T {
  if (typeof f !== 'function') throw typeError('noGrad', 'f', 'a function', f)
  return gradMode.run(false, f)
}

/** The opposite of {@link noGrad}; as `torch.enable_grad`. */
export function enableGrad<T>(f: () => T): T {
  if (typeof f !== 'function') throw typeError('enableGrad', 'f', 'a function', f)
  return gradMode.run(true, f)
}

/** Whether an operation on these inputs will be recorded. */
export function willRecord(inputs: readonly (Tensor | null | undefined)[]): boolean {
  return inputs.some((input) => input?.requiresGrad) && isGradEnabled()
}

/**
 * Records an operation: makes `outputs` remember how to send gradients to `inputs`. Does nothing
 * but free `saved` when no input wants a gradient.
 * @param saved tensors that only backward uses (workspaces); they are disposed after it
 */
export function record(
  name: string,
  inputs: readonly (Tensor | null)[],
  outputs: readonly Tensor[],
  backward: Backward,
  saved: readonly Tensor[] = [],
): void {
  if (!willRecord(inputs)) {
    for (const tensor of saved) tensor[Symbol.dispose]()
    return
  }
  const node = new Node(name, inputs, outputs, backward, saved)
  outputs.forEach((output, i) => {
    output.attach(node, i)
  })
}

/**
 * Gradients on their way, with how many slots hold each tensor, so that one which nobody needs any
 * more is freed at once instead of by the garbage collector.
 */
class Gradients {
  readonly #holders = new Map<Tensor, number>()
  readonly #borrowed: Tensor | null

  /** @param borrowed belongs to the caller and is never freed or kept */
  constructor(borrowed: Tensor | null) {
    this.#borrowed = borrowed
  }

  hold(gradient: Tensor): void {
    this.#holders.set(gradient, (this.#holders.get(gradient) ?? 0) + 1)
  }

  drop(gradient: Tensor): void {
    const holders = (this.#holders.get(gradient) ?? 1) - 1
    if (holders > 0) {
      this.#holders.set(gradient, holders)
      return
    }
    this.#holders.delete(gradient)
    if (gradient !== this.#borrowed) gradient[Symbol.dispose]()
  }

  /** Adds `gradient` to what a slot already has; takes over the slot's and the gradient's hold. */
  sum(before: Tensor, gradient: Tensor): Tensor {
    const sum = addValues(before, gradient)
    this.hold(sum)
    this.drop(before)
    this.drop(gradient)
    return sum
  }

  /** Moves a held gradient into a leaf's `.grad`. */
  accumulate(leaf: Tensor, gradient: Tensor): void {
    const before = leaf.ownGrad
    if (before !== null) {
      // The tensor may be in the user's hands: it is added to in place, as in PyTorch.
      binding.addInto([before.buffer], [gradient.buffer])
      this.drop(gradient)
      return
    }
    const exclusive =
      this.#holders.get(gradient) === 1 && !gradient.aliased && gradient !== this.#borrowed
    if (exclusive) {
      this.#holders.delete(gradient)
      leaf.ownGrad = gradient
    } else {
      leaf.ownGrad = copyValues(gradient)
      this.drop(gradient)
    }
  }
}

function addValues(a: Tensor, b: Tensor): Tensor {
  return Tensor.wrap(binding.binary(BinaryOp.add, a.buffer, b.buffer, [a.numel], [1], [1]), a.shape)
}

/** A copy without history. Internal. */
export function copyValues(a: Tensor): Tensor {
  return Tensor.wrap(binding.clone(a.buffer), a.shape, a.dtype)
}

export interface BackwardOptions {
  /** Keep what was saved, to go through the same graph again; as PyTorch's `retain_graph`. */
  retainGraph?: boolean
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
  let seed: Tensor
  if (gradient === undefined) {
    if (root.numel !== 1) {
      throw rangeError(
        'backward',
        'gradient',
        'to be given when the tensor has more than one element',
        `none for shape ${formatShape(root.shape)}`,
      )
    }
    seed = Tensor.wrap(binding.fill(1, 1), root.shape)
  } else {
    if (!(gradient instanceof Tensor)) throw typeError('backward', 'gradient', 'a tensor', gradient)
    if (gradient.dtype !== 'float32')
      throw typeError('backward', 'gradient', 'a float32 tensor', gradient.dtype)
    if (
      gradient.shape.length !== root.shape.length ||
      gradient.shape.some((size, d) => size !== root.shape[d])
    ) {
      throw rangeError(
        'backward',
        'gradient',
        `the tensor's shape ${formatShape(root.shape)}`,
        formatShape(gradient.shape),
      )
    }
    seed = gradient
  }
  const gradients = new Gradients(gradient ?? null)
  gradients.hold(seed)
  if (root.gradFn === null) {
    gradients.accumulate(root, seed)
    return
  }

  const order = reachable(root.gradFn)
  const slots = new Map<Node, (Tensor | null)[]>()
  const slotsOf = (node: Node): (Tensor | null)[] => {
    let list = slots.get(node)
    if (list === undefined) {
      list = node.shapes.map(() => null)
      slots.set(node, list)
    }
    return list
  }
  slotsOf(root.gradFn)[root.outputIndex] = seed
  for (const node of order) {
    const arrived = slots.get(node)
    if (arrived === undefined) {
      // Nothing flowed here (every path to it returned no gradient).
      if (!options.retainGraph) node.release()
      continue
    }
    slots.delete(node)
    const results = node.run(arrived, options.retainGraph ?? false)
    for (const result of results) if (result) gradients.hold(result)
    for (const before of arrived) if (before) gradients.drop(before)
    node.edges.forEach((edge, i) => {
      const result = results[i]
      if (!result) return
      if (edge === null) {
        gradients.drop(result)
      } else if (edge.to instanceof Node) {
        const list = slotsOf(edge.to)
        const before = list[edge.output]
        list[edge.output] = before ? gradients.sum(before, result) : result
      } else {
        gradients.accumulate(edge.to, result)
      }
    })
  }
}

/** Every node that the root depends on, latest first. */
function reachable(root: Node): Node[] {
  const seen = new Set<Node>([root])
  const stack = [root]
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    for (const edge of node.edges) {
      if (edge !== null && edge.to instanceof Node && !seen.has(edge.to)) {
        seen.add(edge.to)
        stack.push(edge.to)
      }
    }
  }
  return [...seen].sort((a, b) => b.sequence - a.sequence)
}
