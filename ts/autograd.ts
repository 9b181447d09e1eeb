/**
 * The gradient tape: one node per differentiable operation, kept alive by the tensors that came out
 * of it. What a node saves lives in native buffers that backward() frees as it goes.
 */
import { BinaryOp, binding } from './binding.js'
import { checkSameDevice, deviceNumber } from './device.js'
import { formatShape, rangeError, typeError } from './errors.js'
import { isGradEnabled } from './grad_mode.js'
import { type Change, changesSoFar } from './memory.js'
import { sameShape } from './shape.js'
import { Tensor } from './tensor.js'

/**
 * Gradients of a node's inputs from the gradients of its outputs (null: none arrived), in the order
 * of `inputs`. Null where no gradient is wanted (`node.needs(i)`) or defined. The returned tensors
 * must be new ones or passed-on output gradients; never an input or a saved tensor.
 */
export type Backward = (gradients: readonly (Tensor | null)[], node: Node) => (Tensor | null)[]

/** Something that a node keeps for backward and gives up after it: a share of memory, a tensor. */
interface Saved extends Watched {
  [Symbol.dispose](): void
}

/** Something that must not be changed in place before backward. */
interface Watched {
  readonly changedAt: number
  readonly lastChange: Change
}

/**
 * How the backward of a node uses the gradient that comes to it. A deferred gradient is one whose
 * values the native side computes when they are read.
 * - 'values': reads them.
 * - 'view': hands them on under another shape.
 * - 'deferred': computes with what the gradient is made of, so that its values are never stored.
 */
export type GradientUse = 'values' | 'view' | 'deferred'

export interface Edge {
  /** The node that made the input, or the leaf tensor that collects its gradient. */
  readonly to: Node | Tensor
  /** Which output of the node. */
  readonly output: number
}

let sequence = 0

export class Node {
  readonly name: string
  /** Later operations have higher numbers; backward visits them first. */
  readonly sequence = sequence++
  readonly edges: readonly (Edge | null)[]
  /** While backward runs: the gradients that have come, by output; null before the first. */
  arrived: (Tensor | null)[] | null = null
  /** The number of the last backward that came here. */
  visit = 0
  /** While backward runs: whether it may run again, so that saved values must not be used up. */
  keep = false
  readonly #outputs: number
  readonly #use: GradientUse
  #backward: Backward | null
  #saved: readonly Saved[]
  /** What backward reads besides: see record(). */
  #watched: readonly (Watched | null)[]
  /** What was saved holds unless it was changed in place since. */
  readonly #since = changesSoFar()

  constructor(
    name: string,
    inputs: readonly (Tensor | null)[],
    outputs: number,
    backward: Backward,
    saved: readonly Saved[],
    use: GradientUse,
    watched: readonly (Watched | null)[],
  ) {
    this.name = name
    this.edges = inputs.map((input) => (input?.requiresGrad ? input.edge : null))
    this.#outputs = outputs
    this.#backward = backward
    this.#saved = saved
    this.#use = use
    this.#watched = watched
  }

  /** Whether input i wants a gradient. */
  needs(i: number): boolean {
    return this.edges[i] != null
  }

  /** Whether the gradient of input i goes to a node that can use it without its values. */
  mayDefer(i: number): boolean {
    let to = this.edges[i]?.to
    while (to instanceof Node && to.#use === 'view') to = to.edges[0]?.to
    return to instanceof Node && to.#use === 'deferred'
  }

  /** The gradients that have come, to add one to. */
  slots(): (Tensor | null)[] {
    this.arrived ??= new Array<Tensor | null>(this.#outputs).fill(null)
    return this.arrived
  }

  run(gradients: readonly (Tensor | null)[], keep: boolean): (Tensor | null)[] {
    if (this.#backward === null) {
      throw new Error(
        `[backward] the graph of '${this.name}' was already used and its saved values freed. What goes from one step to the next, as a recurrent state, has to lose its history: state = state.detach(). Only to go through one graph twice on purpose, call backward(gradient, { retainGraph: true }) the first time`,
      )
    }
    for (const saved of this.#saved) if (saved.changedAt > this.#since) this.#refuse(saved)
    for (const one of this.#watched) if (one && one.changedAt > this.#since) this.#refuse(one)
    this.keep = keep
    const result = this.#backward(gradients, this)
    if (!keep) this.release()
    return result
  }

  #refuse({ lastChange: { by, shape } }: Watched): never {
    throw new Error(
      `[backward] '${this.name}' needs the values of a tensor of shape ${formatShape(shape)} as they were in the forward pass, and ${by} has changed them in place since. Call backward() before that; or give '${this.name}' a clone() of the tensor`,
    )
  }

  /** Frees what was saved for backward. */
  release(): void {
    this.#backward = null
    for (const saved of this.#saved) saved[Symbol.dispose]()
    this.#saved = NOTHING
    this.#watched = NOTHING
  }
}

const NOTHING: readonly never[] = []

/** Whether an operation on these inputs will be recorded. */
export function willRecord(inputs: readonly (Tensor | null | undefined)[]): boolean {
  for (const input of inputs) if (input?.requiresGrad) return isGradEnabled()
  return false
}

/**
 * Records an operation: makes `outputs` remember how to send gradients to `inputs`. Does nothing
 * but free `saved` when no input wants a gradient.
 * @param saved what only backward needs (workspaces, shares of tensors); disposed after it. A share
 *   that was changed in place before backward is an error of backward
 * @param watched tensors that backward reads from where they are, as parameters: the same error
 */
export function record(
  name: string,
  inputs: readonly (Tensor | null)[],
  outputs: readonly Tensor[],
  backward: Backward,
  saved: readonly Saved[] = NOTHING,
  use: GradientUse = 'values',
  watched: readonly (Tensor | null)[] = NOTHING,
): void {
  if (!willRecord(inputs)) {
    for (const one of saved) one[Symbol.dispose]()
    return
  }
  const node = new Node(name, inputs, outputs.length, backward, saved, use, watched)
  outputs.forEach((output, i) => {
    output.attach(node, i)
  })
}

/**
 * The gradients of a running backward. Each counts the slots that hold it, so that it is freed when
 * the last one is done with it instead of by the garbage collector.
 */
class Gradients {
  readonly #borrowed: Tensor | null

  /** @param borrowed belongs to the caller and is never freed or kept */
  constructor(borrowed: Tensor | null) {
    this.#borrowed = borrowed
  }

  drop(gradient: Tensor): void {
    if (--gradient.holders === 0 && gradient !== this.#borrowed) gradient[Symbol.dispose]()
  }

  /** Adds `gradient` to what a slot already has; takes over the slot's and the gradient's hold. */
  sum(before: Tensor, gradient: Tensor): Tensor {
    const sum = addValues(before, gradient)
    sum.holders = 1
    this.drop(before)
    this.drop(gradient)
    return sum
  }

  /** Moves a held gradient into a leaf's `.grad`. */
  accumulate(leaf: Tensor, gradient: Tensor): void {
    checkSameDevice('backward', 'gradient', gradient, leaf.device)
    const before = leaf.ownGrad
    if (before !== null) {
      // The tensor may be in the user's hands: it is added to in place, as in PyTorch.
      binding.addInto([before.buffer], [gradient.buffer])
      before.changed('backward')
      this.drop(gradient)
      return
    }
    const exclusive = gradient.holders === 1 && !gradient.aliased && gradient !== this.#borrowed
    if (exclusive) {
      gradient.holders = 0
      leaf.ownGrad = gradient
    } else {
      leaf.ownGrad = copyValues(gradient)
      this.drop(gradient)
    }
  }

  /** Takes what a node made of the gradients that had come to it to where it goes. */
  pass(node: Node, arrived: readonly (Tensor | null)[], results: readonly (Tensor | null)[]): void {
    for (const result of results) if (result) result.holders++
    for (const before of arrived) if (before) this.drop(before)
    for (let i = 0; i < results.length; i++) {
      const result = results[i]
      const edge = node.edges[i]
      if (!result) continue
      if (!edge) {
        this.drop(result)
      } else if (edge.to instanceof Node) {
        const slots = edge.to.slots()
        const before = slots[edge.output]
        slots[edge.output] = before ? this.sum(before, result) : result
      } else {
        this.accumulate(edge.to, result)
      }
    }
  }
}

/** Told of the gradients of leaves while a backward runs; for averaging them over processes. */
export interface GradientListener {
  /** All of a leaf's gradient has been added to its `.grad`, or nothing has come to it. */
  complete(leaf: Tensor): void
  /** The backward that reached some of the leaves is over. May throw. */
  finished(): void
  /** It ends with an error on the way. */
  failed(error: unknown): void
}

const listeners = new WeakMap<Tensor, GradientListener>()
let listening = false

/** Internal: from now on `listener` is told of the gradients of `leaf`. One for each leaf. */
export function listenToGradient(leaf: Tensor, listener: GradientListener): void {
  listening = true
  listeners.set(leaf, listener)
}

export function stopListening(leaf: Tensor): void {
  listeners.delete(leaf)
}

export function gradientListener(leaf: Tensor): GradientListener | undefined {
  return listeners.get(leaf)
}

/** Counts the gradients that each leaf with a listener still waits for. */
class Arrivals {
  readonly #open = new Map<Tensor, number>()
  readonly #listeners = new Set<GradientListener>()

  constructor(order: readonly Node[]) {
    for (const { edges } of order) {
      for (const edge of edges) {
        if (edge === null || edge.to instanceof Node) continue
        const listener = listeners.get(edge.to)
        if (listener === undefined) continue
        this.#open.set(edge.to, (this.#open.get(edge.to) ?? 0) + 1)
        this.#listeners.add(listener)
      }
    }
  }

  /** A node has sent all that it will send. */
  passed(node: Node): void {
    for (const edge of node.edges) {
      if (edge === null || edge.to instanceof Node) continue
      const open = this.#open.get(edge.to)
      if (open === undefined) continue
      this.#open.set(edge.to, open - 1)
      if (open === 1) listeners.get(edge.to)?.complete(edge.to)
    }
  }

  over(): void {
    for (const listener of this.#listeners) listener.finished()
  }

  failed(error: unknown): void {
    for (const listener of this.#listeners) listener.failed(error)
  }
}

function addValues(a: Tensor, b: Tensor): Tensor {
  const sum = binding.binary(BinaryOp.add, a.buffer, b.buffer, [a.numel], [1], [1])
  return Tensor.wrap(sum, a.shape, a.device)
}

/** A copy without history. Internal. */
export function copyValues(a: Tensor): Tensor {
  return Tensor.wrap(binding.clone(a.buffer), a.shape, a.device, a.dtype)
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
  const seed = gradient === undefined ? seedOf(root) : checkGradient(root, gradient)
  const retain = options.retainGraph ?? false
  // The seed belongs to the user, or to all backward calls.
  const gradients = new Gradients(seed)
  seed.holders = 1
  if (root.gradFn === null) {
    gradients.accumulate(root, seed)
    return
  }
  const order = reachable(root.gradFn)
  root.gradFn.slots()[root.outputIndex] = seed
  const arrivals = listening ? new Arrivals(order) : null
  try {
    for (const node of order) {
      const { arrived } = node
      node.arrived = null
      // Nothing flowed here when every path to it returned no gradient.
      if (arrived !== null) gradients.pass(node, arrived, node.run(arrived, retain))
      else if (!retain) node.release()
      arrivals?.passed(node)
    }
  } catch (error) {
    arrivals?.failed(error)
    throw error
  }
  arrivals?.over()
}

/** By device. */
const ones = new Map<string, Tensor>()

/** The gradient of a result of one element with respect to itself. */
function seedOf(root: Tensor): Tensor {
  if (root.numel !== 1) {
    throw rangeError(
      'backward',
      'gradient',
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

function checkGradient(root: Tensor, gradient: unknown): Tensor {
  if (!(gradient instanceof Tensor)) throw typeError('backward', 'gradient', 'a tensor', gradient)
  if (gradient.dtype !== 'float32')
    throw typeError('backward', 'gradient', 'a float32 tensor', gradient.dtype)
  checkSameDevice('backward', 'gradient', gradient, root.device)
  if (!sameShape(gradient.shape, root.shape)) {
    throw rangeError(
      'backward',
      'gradient',
      `the tensor's shape ${formatShape(root.shape)}`,
      formatShape(gradient.shape),
    )
  }
  return gradient
}

let visits = 0

/** Every node that the root depends on, latest first, with no gradients in it. */
function reachable(root: Node): Node[] {
  const visit = ++visits
  root.visit = visit
  const found = [root]
  for (let i = 0; i < found.length; i++) {
    const node = found[i] as Node
    node.arrived = null
    for (const edge of node.edges) {
      if (edge !== null && edge.to instanceof Node && edge.to.visit !== visit) {
        edge.to.visit = visit
        found.push(edge.to)
      }
    }
  }
  return found.sort((a, b) => b.sequence - a.sequence)
}
