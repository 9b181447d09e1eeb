/** One walk back along the tape. */
import { binding } from '../binding.js'
import { checkSameDevice } from '../device.js'
import { enableGrad } from '../grad_mode.js'
import { addGradientInto, addGradients, denseOf } from '../ops/rows.js'
import { Tensor } from '../tensor.js'
import { anyLeafHook, hooksOfLeaf, throughHooks } from './hooks.js'
import { Arrivals, anyListener } from './listeners.js'
import { Node } from './node.js'
import { Targets } from './targets.js'
import { tracerNow } from './tracer.js'

export interface PassOptions {
  /** Keep what was saved, to go through the same graph again. */
  keep: boolean
  /** Give the gradients a history of their own. */
  graph: boolean
  /** Whose gradients are wanted; null: those of all leaves. */
  targets: readonly Tensor[] | null
  /** Add the gradients to `.grad`, or return them. */
  accumulate: boolean
  /** Do not look behind targets: none depends on another for this pass. */
  partial?: boolean
}

/** How many passes are under way: one may begin inside of another. */
let running = 0
let visits = 0

/**
 * Goes back from the roots.
 * @param seeds the gradients of the roots; they belong to the caller
 * @returns the gradients of the targets, null where none has come; nothing when they accumulate
 */
export function walkBack(
  roots: readonly Tensor[],
  seeds: readonly Tensor[],
  options: PassOptions,
): (Tensor | null)[] {
  const pass = new Pass(options)
  return options.graph ? enableGrad(() => pass.walk(roots, seeds)) : pass.walk(roots, seeds)
}

/**
 * The gradients of a running pass. Each counts the slots that hold it, so that it is freed when the
 * last one is done with it instead of by the garbage collector.
 */
class Pass {
  readonly #options: PassOptions
  readonly #graph: boolean
  readonly #targets: Targets | null
  /** Gradients of leaves that are not to be added to `.grad` at once: of targets, and with hooks. */
  readonly #pending: Map<Tensor, Tensor> | null

  constructor(options: PassOptions) {
    this.#options = options
    this.#graph = options.graph
    this.#targets = options.targets && new Targets(options.targets)
    this.#pending = this.#targets !== null || anyLeafHook() ? new Map() : null
  }

  walk(roots: readonly Tensor[], seeds: readonly Tensor[]): (Tensor | null)[] {
    const targets = this.#targets
    const stops = this.#options.partial ? targets : null
    const order = reachable(roots, stops)
    targets?.mark(order)
    running++
    let arrivals: Arrivals | null = null
    try {
      if (this.#options.accumulate && (anyListener() || anyLeafHook())) {
        const hooked = (leaf: Tensor): boolean => hooksOfLeaf(leaf) !== undefined
        arrivals = new Arrivals(order, hooked, (leaf) => this.#flush(leaf))
      }
      roots.forEach((root, i) => {
        const seed = seeds[i] as Tensor
        seed.holders = Infinity // belongs to the user, or to all backward calls
        if (root.gradFn === null) this.#toLeaf(root, seed)
        else this.#toNode(root.gradFn, root.outputIndex, seed)
      })
      for (const node of order) this.#visit(node, arrivals)
      if (this.#pending !== null) for (const leaf of [...this.#pending.keys()]) this.#flush(leaf)
    } catch (error) {
      arrivals?.failed(error)
      throw error
    } finally {
      running--
      targets?.unmark(order)
    }
    arrivals?.over()
    return targets === null ? [] : targets.found()
  }

  #visit(node: Node, arrivals: Arrivals | null): void {
    const { keep } = this.#options
    const { arrived } = node
    node.arrived = null
    if (arrived !== null) {
      if (node.hooks !== null) this.#runHooks(node, arrived)
      this.#targets?.take(node, arrived)
      if (node.wanted === null || node.wanted.includes(true))
        this.#send(node, arrived, this.#run(node, arrived, keep))
      else for (const gradient of arrived) if (gradient) this.#drop(gradient)
    } else if (!keep && this.#targets === null) {
      // Nothing flowed here when every path to it returned no gradient.
      node.release()
    }
    arrivals?.passed(node)
  }

  #run(node: Node, arrived: readonly (Tensor | null)[], keep: boolean): (Tensor | null)[] {
    const tracer = tracerNow()
    if (tracer === null) return node.run(arrived, keep, this.#graph)
    return tracer.time('backward', `${node.name} backward`, () =>
      node.run(arrived, keep, this.#graph),
    )
  }

  #drop(gradient: Tensor): void {
    if (--gradient.holders === 0 && !this.#graph) gradient[Symbol.dispose]()
  }

  /** Adds `gradient` to what a slot already has; takes over the slot's and the gradient's hold. */
  #sum(before: Tensor, gradient: Tensor): Tensor {
    const sum = this.#graph ? added(before, gradient) : addGradients(before, gradient)
    sum.holders = 1
    this.#drop(before)
    this.#drop(gradient)
    return sum
  }

  /** Takes what a node made of the gradients that had come to it to where it goes. */
  #send(
    node: Node,
    arrived: readonly (Tensor | null)[],
    results: readonly (Tensor | null)[],
  ): void {
    for (const result of results) if (result) result.holders++
    for (const before of arrived) if (before) this.#drop(before)
    for (let i = 0; i < results.length; i++) {
      const result = results[i]
      const edge = node.edges[i]
      if (!result) continue
      if (!edge || !node.needs(i)) this.#drop(result)
      else if (edge.to instanceof Node) this.#toNode(edge.to, edge.output, result)
      else this.#toLeaf(edge.to, result)
    }
  }

  #toNode(node: Node, output: number, given: Tensor): void {
    const gradient = this.#replaced(given, denseOf(given))
    const ends = this.#options.partial ? this.#targets?.endsOf(node) : undefined
    const slots = ends ?? node.slots()
    const before = slots[output]
    slots[output] = before ? this.#sum(before, gradient) : gradient
  }

  #toLeaf(leaf: Tensor, gradient: Tensor): void {
    const pending = this.#pending
    if (pending === null || !(this.#targets?.hasLeaf(leaf) || hooksOfLeaf(leaf))) {
      this.#accumulate(leaf, gradient)
      return
    }
    const before = pending.get(leaf)
    pending.set(leaf, before ? this.#sum(before, gradient) : gradient)
  }

  /** All has come that comes to a leaf. */
  #flush(leaf: Tensor): void {
    const gradient = this.#pending?.get(leaf)
    if (gradient === undefined) return
    this.#pending?.delete(leaf)
    // Inside of another pass, the hooks are for that one to call.
    const hooks = this.#options.partial ? undefined : hooksOfLeaf(leaf)
    const seen = this.#replaced(gradient, throughHooks(hooks, gradient, this.#graph))
    if (this.#options.accumulate) this.#accumulate(leaf, seen)
    else this.#targets?.takeLeaf(leaf, seen)
  }

  #runHooks(node: Node, arrived: (Tensor | null)[]): void {
    const { byOutput, retained } = node.hooks as NonNullable<typeof node.hooks>
    for (const [output, hooks] of byOutput) {
      const gradient = arrived[output]
      if (gradient)
        arrived[output] = this.#replaced(gradient, throughHooks(hooks, gradient, this.#graph))
    }
    for (const [output, tensor] of retained) {
      const gradient = arrived[output]
      if (!gradient) continue
      gradient.holders++
      this.#accumulate(tensor, gradient)
    }
  }

  /** A gradient, or what hooks have put in its place. */
  #replaced(gradient: Tensor, now: Tensor): Tensor {
    if (now === gradient) return gradient
    now.holders++
    this.#drop(gradient)
    return now
  }

  /** Moves a held gradient into a leaf's `.grad`. */
  #accumulate(leaf: Tensor, gradient: Tensor): void {
    checkSameDevice('backward', 'gradient', gradient, leaf.device)
    const before = leaf.ownGrad
    if (this.#graph || (before !== null && before.gradFn !== null)) {
      if (before !== null)
        leaf.grad = this.#graph ? added(before, gradient) : addGradients(before, gradient)
      else leaf.grad = gradient.gradFn === null ? copyValues(gradient) : gradient
      return
    }
    if (before !== null) {
      // The tensor may be in the user's hands: it is added to in place, as in PyTorch.
      if (!addGradientInto(before, gradient)) leaf.grad = addGradients(before, gradient)
      this.#drop(gradient)
      return
    }
    if (gradient.holders === 1 && !gradient.aliased) {
      gradient.holders = 0
      leaf.ownGrad = gradient
    } else {
      leaf.ownGrad = copyValues(gradient)
      this.#drop(gradient)
    }
  }
}

/** The sum with a history. */
function added(a: Tensor, b: Tensor): Tensor {
  return denseOf(a).add(denseOf(b))
}

/** A copy without history. Internal. */
export function copyValues(a: Tensor): Tensor {
  if (a.rows !== null) return a.clone()
  return Tensor.wrap(binding.clone(a.buffer), a.shape, a.device, a.dtype)
}

/** Every node that the roots depend on, latest first, with no gradients in it. */
function reachable(roots: readonly Tensor[], stops: Targets | null): Node[] {
  const visit = ++visits
  const found: Node[] = []
  const add = (node: Node): void => {
    if (node.visit === visit || stops?.endsOf(node) !== undefined) return
    if (running > 0 && node.arrived !== null)
      throw new Error(
        `[backward] expected a graph of its own inside of another backward, got '${node.name}', which that one is going through`,
      )
    node.visit = visit
    node.arrived = null
    found.push(node)
  }
  for (const { gradFn } of roots) if (gradFn !== null) add(gradFn)
  for (let i = 0; i < found.length; i++)
    for (const edge of (found[i] as Node).edges)
      if (edge !== null && edge.to instanceof Node) add(edge.to)
  return found.sort((a, b) => b.sequence - a.sequence)
}
