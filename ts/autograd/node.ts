/**
 * The gradient tape: one node per differentiable operation, kept alive by the tensors that came out
 * of it. What a node saves lives in native buffers that backward() frees as it goes.
 */
import { formatShape } from '../errors.js'
import { collectorNow, isGradEnabled } from '../grad_mode.js'
import { type Change, changesSoFar, Memory } from '../memory.js'
import type { Shape } from '../shape.js'
import { Tensor } from '../tensor.js'
import type { NodeHooks } from './hooks.js'

/**
 * Gradients of a node's inputs from the gradients of its outputs (null: none arrived), in the order
 * of `inputs`. Null where no gradient is wanted (`node.needs(i)`) or defined. The returned tensors
 * must be new ones or passed-on output gradients; never an input or a saved tensor.
 */
export type Backward = (gradients: readonly (Tensor | null)[], node: Node) => (Tensor | null)[]

/** Something that a node keeps for backward and gives up after it: a share of memory, a tensor. */
export interface Saved extends Watched {
  [Symbol.dispose](): void
}

/** Something that must not be changed in place before backward. */
export interface Watched {
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
  readonly outputs: number
  /** While backward runs: the gradients that have come, by output; null before the first. */
  arrived: (Tensor | null)[] | null = null
  /** The number of the last backward that came here. */
  visit = 0
  /** While backward runs: whether it may run again, so that saved values must not be used up. */
  keep = false
  /** While backward runs: whether gradients get a history of their own (`createGraph`). */
  graph = false
  /** In a pass for some inputs alone: which of this node's are on the way to them. */
  wanted: readonly boolean[] | null = null
  /** What users want to see of the gradients of outputs. */
  hooks: NodeHooks | null = null
  readonly #use: GradientUse
  #backward: Backward | null
  #differentiable: Backward | null
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
    differentiable: Backward | null,
    watched: readonly (Watched | null)[],
  ) {
    this.name = name
    this.edges = inputs.map((input) => (input?.requiresGrad ? input.edge : null))
    this.outputs = outputs
    this.#backward = backward
    this.#saved = saved
    this.#use = use
    this.#differentiable = differentiable
    this.#watched = watched
  }

  /** Whether input i wants a gradient. */
  needs(i: number): boolean {
    return this.edges[i] != null && (this.wanted === null || this.wanted[i] === true)
  }

  /** Whether the gradient of input i goes to a node that can use it without its values. */
  mayDefer(i: number): boolean {
    let to = this.edges[i]?.to
    while (to instanceof Node && to.#use === 'view' && to.hooks === null) to = to.edges[0]?.to
    return to instanceof Node && to.#use === 'deferred' && to.hooks === null
  }

  /** The gradients that have come, to add one to. */
  slots(): (Tensor | null)[] {
    this.arrived ??= new Array<Tensor | null>(this.outputs).fill(null)
    return this.arrived
  }

  /** @param graph whether the results get a history, to be differentiated again */
  run(gradients: readonly (Tensor | null)[], keep: boolean, graph: boolean): (Tensor | null)[] {
    if (this.#backward === null) {
      throw new Error(
        `[backward] the graph of '${this.name}' was already used and its saved values freed. What goes from one step to the next, as a recurrent state, has to lose its history: state = state.detach(). Only to go through one graph twice on purpose, call backward(gradient, { retainGraph: true }) the first time`,
      )
    }
    for (const saved of this.#saved) if (saved.changedAt > this.#since) this.#refuse(saved)
    for (const one of this.#watched) if (one && one.changedAt > this.#since) this.#refuse(one)
    const backward = graph ? this.#differentiable : this.#backward
    if (backward === null) {
      throw new TypeError(
        `[backward] createGraph: '${this.name}' has no gradient of its gradient. Without createGraph it has a gradient; or compose what it does of other operations`,
      )
    }
    this.keep = keep
    this.graph = graph
    const result = backward(gradients, this)
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
    this.#differentiable = null
    for (const saved of this.#saved) saved[Symbol.dispose]()
    this.#saved = NOTHING
    this.#watched = NOTHING
  }

  /**
   * For a differentiable backward: input i with its history, from what was saved of it.
   * @param like has the input's shape, or the shape itself
   */
  input(i: number, saved: Memory | Tensor, shape: Shape, device: string): Tensor {
    const edge = this.edges[i]
    if (edge && !(edge.to instanceof Node)) return edge.to
    const tensor = over(saved, shape, device)
    if (edge) tensor.attach(edge.to as Node, edge.output)
    return tensor
  }

  /** The same for output k. */
  output(k: number, saved: Memory | Tensor, shape: Shape, device: string): Tensor {
    const tensor = over(saved, shape, device)
    tensor.attach(this, k)
    return tensor
  }
}

/** A float32 tensor of its own over saved values, without history. */
export function over(saved: Memory | Tensor, shape: Shape, device: string): Tensor {
  return saved instanceof Memory ? Tensor.over(saved.share(), shape, device) : saved.viewAs(shape)
}

const NOTHING: readonly never[] = []

/** Whether an operation on these inputs will be recorded. */
export function willRecord(inputs: readonly (Tensor | null | undefined)[]): boolean {
  for (const input of inputs) if (input?.requiresGrad) return isGradEnabled() || noted(inputs)
  return false
}

/** For a checkpoint: notes what it depends on. Always false. */
function noted(inputs: readonly (Tensor | null | undefined)[]): false {
  const collector = collectorNow()
  if (collector !== null)
    for (const input of inputs) if (input?.requiresGrad) collector.tensors.add(input)
  return false
}

/**
 * Records an operation: makes `outputs` remember how to send gradients to `inputs`. Does nothing
 * but free `saved` when no input wants a gradient.
 * @param saved what only backward needs (workspaces, shares of tensors); disposed after it. A share
 *   that was changed in place before backward is an error of backward
 * @param differentiable backward again, of operations that are recorded themselves, for gradients of
 *   gradients: `node.input(i, …)` and `node.output(k, …)` give saved tensors with their history. Null
 *   is refused when somebody asks for it
 * @param watched tensors that backward reads from where they are, as parameters: a change in place is
 *   the same error
 */
export function record(
  name: string,
  inputs: readonly (Tensor | null)[],
  outputs: readonly Tensor[],
  backward: Backward,
  saved: readonly Saved[] = NOTHING,
  use: GradientUse = 'values',
  differentiable: Backward | null = null,
  watched: readonly (Tensor | null)[] = NOTHING,
): void {
  if (!willRecord(inputs)) {
    for (const one of saved) one[Symbol.dispose]()
    return
  }
  const node = new Node(name, inputs, outputs.length, backward, saved, use, differentiable, watched)
  outputs.forEach((output, i) => {
    output.attach(node, i)
  })
}
