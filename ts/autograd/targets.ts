/** The tensors whose gradients a pass is for. */
import type { Tensor } from '../tensor.js'
import { Node } from './node.js'

/** Which nodes lead to some tensors, and the gradients that come to those. */
export class Targets {
  readonly #tensors: readonly Tensor[]
  readonly #leaves = new Set<Tensor>()
  /** The gradients of nodes' outputs that are targets: undefined of others. */
  readonly #ends = new Map<Node, (Tensor | null)[]>()
  readonly #byLeaf = new Map<Tensor, Tensor>()

  constructor(tensors: readonly Tensor[]) {
    this.#tensors = tensors
    for (const tensor of tensors) {
      if (tensor.gradFn === null) this.#leaves.add(tensor)
      else if (!this.#ends.has(tensor.gradFn)) this.#ends.set(tensor.gradFn, [])
    }
  }

  hasLeaf(leaf: Tensor): boolean {
    return this.#leaves.has(leaf)
  }

  /** Where the gradients of a node's outputs are collected, when some are targets. */
  endsOf(node: Node): (Tensor | null)[] | undefined {
    return this.#ends.get(node)
  }

  /** Has nodes compute only what leads here. @param order the latest first */
  mark(order: readonly Node[]): void {
    const leads = new Set<Node>(this.#ends.keys())
    for (const node of [...order].reverse()) {
      node.wanted = node.edges.map(
        (edge) =>
          edge !== null &&
          (edge.to instanceof Node ? leads.has(edge.to) : this.#leaves.has(edge.to)),
      )
      if (node.wanted.includes(true)) leads.add(node)
    }
  }

  unmark(order: readonly Node[]): void {
    for (const node of order) node.wanted = null
  }

  /** Notes the gradients of a node that have come, each with a hold of its own. */
  take(node: Node, arrived: readonly (Tensor | null)[]): void {
    const ends = this.#ends.get(node)
    if (ends === undefined) return
    arrived.forEach((gradient, output) => {
      if (gradient) gradient.holders++
      ends[output] = gradient
    })
  }

  takeLeaf(leaf: Tensor, gradient: Tensor): void {
    this.#byLeaf.set(leaf, gradient)
  }

  /** The gradients in the order of the tensors; null where none has come. */
  found(): (Tensor | null)[] {
    const given = new Set<Tensor>()
    return this.#tensors.map((tensor) => {
      const { gradFn, outputIndex } = tensor
      const found =
        gradFn === null ? this.#byLeaf.get(tensor) : this.#ends.get(gradFn)?.[outputIndex]
      if (!found) return null
      // One that is also somebody else's gets another handle.
      const own = found.gradFn !== null || (found.holders === 1 && !given.has(found))
      given.add(found)
      return own ? found : found.viewAs(found.shape)
    })
  }
}
