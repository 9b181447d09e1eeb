/** Modules that hold others in order. */
import { checkIterable, typeError } from '../errors.js'
import { Tensor } from '../tensor.js'
import { Module } from './module.js'
import { Parameter } from './parameter.js'

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

/** Keys that are fields: no dot, and nothing that the module has already. */
function checkKey(owner: Module, key: unknown, type: string): string {
  if (typeof key !== 'string' || key === '' || key.includes('.'))
    throw typeError(type, 'key', 'a text without a dot', key)
  if (key in owner && !Object.hasOwn(owner, key))
    throw new TypeError(`[${type}] key: '${key}' is a name of ${type} itself`)
  if (key === 'training' || key === 'uncloneable')
    throw new TypeError(`[${type}] key: '${key}' is a name of ${type} itself`)
  return key
}

/** What a dictionary has under a key; undefined for one that is no text. */
function ownField(owner: Module, key: unknown): unknown {
  if (typeof key !== 'string' || !Object.hasOwn(owner, key)) return undefined
  return Reflect.get(owner, key)
}

/** Modules by name, whose parameters are found under it; as `torch.nn.ModuleDict`. */
export class ModuleDict<M extends Module = Module> extends Module {
  /** @throws TypeError */
  constructor(modules: Readonly<Record<string, M>> = {}) {
    super()
    this.update(modules)
  }

  /** Sets several modules. @throws TypeError */
  update(modules: Readonly<Record<string, M>>): this {
    if (typeof modules !== 'object' || modules === null || modules instanceof Module)
      throw typeError('ModuleDict', 'modules', 'an object of modules', modules)
    for (const [key, module] of Object.entries(modules)) this.set(key, module)
    return this
  }

  /** @throws TypeError */
  set(key: string, module: M): this {
    checkKey(this, key, 'ModuleDict')
    if (!(module instanceof Module)) throw typeError('ModuleDict', 'module', 'a module', module)
    Reflect.set(this, key, module)
    return this
  }

  /** The module of that name; undefined if there is none. */
  get(key: string): M | undefined {
    const value: unknown = ownField(this, key)
    return value instanceof Module ? (value as M) : undefined
  }

  /** Whether there is a module of this name. */
  has(key: string): boolean {
    return this.get(key) !== undefined
  }

  /** The names, in order. */
  keys(): string[] {
    return this.namedChildren().map(([name]) => name)
  }

  /** The modules, in order. */
  values(): M[] {
    return this.keys().map((key) => this.get(key) as M)
  }

  /** Names with their modules, in order. */
  entries(): [string, M][] {
    return this.keys().map((key) => [key, this.get(key) as M])
  }

  /** @throws always: a dictionary computes nothing itself */
  override forward(): never {
    throw new TypeError(
      '[ModuleDict] forward: a ModuleDict is called through its modules, not itself',
    )
  }
}

/** Parameters in order, under the names '0', '1', …; as `torch.nn.ParameterList`. */
export class ParameterList extends Module {
  [index: number]: Tensor

  /** @param parameters tensors, which become parameters. @throws TypeError */
  constructor(parameters: Iterable<Tensor> = []) {
    super()
    this.extend(parameters)
  }

  get length(): number {
    return this.parameters().length
  }

  /** @throws TypeError */
  append(parameter: Tensor): this {
    this[this.length] = Parameter(parameter)
    return this
  }

  /** @throws TypeError */
  extend(parameters: Iterable<Tensor>): this {
    checkIterable('ParameterList', 'parameters', parameters, 'tensors')
    for (const parameter of parameters) this.append(parameter)
    return this
  }

  /** The parameters, in order. */
  [Symbol.iterator](): IterableIterator<Tensor> {
    return this.parameters()[Symbol.iterator]()
  }

  /** @throws always: a list computes nothing itself */
  override forward(): never {
    throw new TypeError('[ParameterList] forward: a ParameterList computes nothing itself')
  }
}

/** Parameters by name; as `torch.nn.ParameterDict`. */
export class ParameterDict extends Module {
  /** @param parameters tensors, which become parameters. @throws TypeError */
  constructor(parameters: Readonly<Record<string, Tensor>> = {}) {
    super()
    this.update(parameters)
  }

  /** Sets several parameters. @throws TypeError */
  update(parameters: Readonly<Record<string, Tensor>>): this {
    if (typeof parameters !== 'object' || parameters === null || parameters instanceof Module)
      throw typeError('ParameterDict', 'parameters', 'an object of tensors', parameters)
    for (const [key, parameter] of Object.entries(parameters)) this.set(key, parameter)
    return this
  }

  /** @throws TypeError */
  set(key: string, parameter: Tensor): this {
    checkKey(this, key, 'ParameterDict')
    if (!(parameter instanceof Tensor))
      throw typeError('ParameterDict', 'parameter', 'a tensor', parameter)
    Reflect.set(this, key, Parameter(parameter))
    return this
  }

  /** The parameter of that name; undefined if there is none. */
  get(key: string): Tensor | undefined {
    const value: unknown = ownField(this, key)
    return value instanceof Tensor ? value : undefined
  }

  /** Whether there is a parameter of this name. */
  has(key: string): boolean {
    return this.get(key) !== undefined
  }

  /** The names, in order. */
  keys(): string[] {
    return Object.keys(this).filter((key) => this.has(key))
  }

  /** The parameters, in order. */
  values(): Tensor[] {
    return this.keys().map((key) => this.get(key) as Tensor)
  }

  /** Names with their parameters, in order. */
  entries(): [string, Tensor][] {
    return this.keys().map((key) => [key, this.get(key) as Tensor])
  }

  /** @throws always: a dictionary computes nothing itself */
  override forward(): never {
    throw new TypeError('[ParameterDict] forward: a ParameterDict computes nothing itself')
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
