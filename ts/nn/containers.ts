/** Modules that hold others in order. */
import { checkIterable, typeError } from '../errors.js'
import type { Tensor } from '../tensor.js'
import { Module } from './module.js'

/** Modules under the names '0', '1', …; what Sequential and ModuleList share. */
abstract class Numbered<M extends Module = Module> extends Module {
  [index: number]: M

  constructor(modules: Iterable<M>) {
    super()
    this.extend(modules)
  }

  get length(): number {
    return this.inOrder().length
  }

  /** Adds a module at the end. */
  append(module: M): this {
    if (!(module instanceof Module))
      throw typeError(this.constructor.name, 'module', 'a module', module)
    this[this.length] = module
    return this
  }

  /** Adds modules at the end. */
  extend(modules: Iterable<M>): this {
    checkIterable(this.constructor.name, 'modules', modules, 'modules')
    for (const module of modules) this.append(module)
    return this
  }

  /** The modules, in order. */
  [Symbol.iterator](): IterableIterator<M> {
    return this.inOrder()[Symbol.iterator]()
  }

  /** The modules in order, with repetitions. */
  protected inOrder(): M[] {
    return Object.entries(this)
      .filter(([name, value]) => /^\d+$/.test(name) && value instanceof Module)
      .map(([, module]) => module as M)
  }
}

/** A list of modules whose parameters are found; as `torch.nn.ModuleList`. */
export class ModuleList<M extends Module = Module> extends Numbered<M> {
  constructor(modules: Iterable<M> = []) {
    super(modules)
  }

  /** @throws always: a list computes nothing itself */
  override forward(): never {
    throw new TypeError(
      '[ModuleList] forward: a ModuleList is called through its modules, not itself',
    )
  }
}

/** Modules called one after the other; as `torch.nn.Sequential`. */
export class Sequential extends Numbered {
  constructor(...modules: Module[]) {
    super(modules)
  }

  /** The last module's output for `input`, which goes to the first. */
  override forward(input: Tensor): Tensor {
    let value: unknown = input
    for (const module of this)
      value = (module.forward as (x: unknown) => unknown).call(module, value)
    return value as Tensor
  }
}
