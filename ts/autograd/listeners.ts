/** Who is told of the gradients of leaves while a backward runs. */
import type { Tensor } from '../tensor.js'
import { Node } from './node.js'

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

/** Whether any leaf ever had a listener. */
export function anyListener(): boolean {
  return listening
}

/** Counts the gradients that each leaf in question still waits for. */
export class Arrivals {
  readonly #open = new Map<Tensor, number>()
  readonly #listeners = new Set<GradientListener>()
  readonly #whole: (leaf: Tensor) => void

  /**
   * @param order the nodes that will run
   * @param isWatched leaves to count for besides those with listeners
   * @param whole called when all of a leaf's gradient has come, before its listener
   */
  constructor(
    order: readonly Node[],
    isWatched: (leaf: Tensor) => boolean,
    whole: (leaf: Tensor) => void,
  ) {
    this.#whole = whole
    for (const node of order) {
      for (const leaf of leavesOf(node)) {
        const listener = listeners.get(leaf)
        if (listener !== undefined) this.#listeners.add(listener)
        else if (!isWatched(leaf)) continue
        this.#open.set(leaf, (this.#open.get(leaf) ?? 0) + 1)
      }
    }
  }

  /** A node has sent all that it will send. */
  passed(node: Node): void {
    for (const leaf of leavesOf(node)) {
      const open = this.#open.get(leaf)
      if (open === undefined) continue
      this.#open.set(leaf, open - 1)
      if (open > 1) continue
      this.#whole(leaf)
      listeners.get(leaf)?.complete(leaf)
    }
  }

  over(): void {
    for (const listener of this.#listeners) listener.finished()
  }

  failed(error: unknown): void {
    for (const listener of this.#listeners) listener.failed(error)
  }
}

/** The leaves to which a node sends gradients in this pass, as often as it does. */
function leavesOf(node: Node): Tensor[] {
  const found: Tensor[] = []
  node.edges.forEach((edge, i) => {
    if (edge !== null && node.needs(i) && !(edge.to instanceof Node)) found.push(edge.to)
  })
  return found
}
