/** Modules: parameters and other modules held in fields, found by name as PyTorch finds them. */
import { binding } from '../binding.js'
import { checkDevice, type Device } from '../device.js'
import { checkBoolean, checkIterable, checkOptions, formatShape, typeError } from '../errors.js'
import { movedValues } from '../ops/transfer.js'
import { Tensor } from '../tensor.js'

/** Tensors that are parameters even while they are frozen. */
const parameters = new WeakSet<Tensor>()

interface ParameterConstructor {
  new (data: Tensor, requiresGrad?: boolean): Tensor
  (data: Tensor, requiresGrad?: boolean): Tensor
}

function parameter(data: Tensor, requiresGrad = true): Tensor {
  if (!(data instanceof Tensor)) throw typeError('Parameter', 'data', 'a tensor', data)
  checkBoolean('Parameter', 'requiresGrad', requiresGrad)
  const result = data.gradFn === null ? data : data.detach()
  result.requiresGrad = requiresGrad
  parameters.add(result)
  return result
}

/**
 * Marks a tensor as a parameter, so that a {@link Module} with it in a field finds it also while it
 * is frozen; as `torch.nn.Parameter`. Works with and without `new`.
 * @returns the tensor itself, or the same memory without history when it was computed
 */
export const Parameter = parameter as unknown as ParameterConstructor

/** Whether a value found in a module's field is one of its parameters. */
function isParameter(value: unknown): value is Tensor {
  if (!(value instanceof Tensor)) return false
  if (parameters.has(value)) return true
  if (!value.requiresGrad || value.gradFn !== null) return false
  parameters.add(value) // stays one when it is frozen later
  return true
}

/** What {@link Module.loadStateDict} takes. */
export interface LoadStateDictOptions {
  /** Refuse missing and unexpected keys. Default true. */
  strict?: boolean
}

/** What a state dict and a module do not share. */
export interface IncompatibleKeys {
  /** Parameters of the module that the map does not have. */
  missingKeys: string[]
  /** Keys of the map that the module does not have. */
  unexpectedKeys: string[]
}

/**
 * Base of every layer and model; as `torch.nn.Module`.
 *
 * A subclass assigns layers and parameters to fields. Found are: leaf tensors with `requiresGrad`
 * (or marked by {@link Parameter}), modules, and arrays of either (names `layers.0.weight`).
 * Fields declared with `#` are invisible from outside and are not found.
 */
export abstract class Module {
  /** Whether the module is in training mode (dropout is active); see {@link train}. */
  training = true

  /** What the module computes; a subclass defines it. */
  abstract forward(...inputs: never[]): unknown

  /** The parameters, each once; as `Module.parameters`. */
  parameters(): Tensor[] {
    return this.namedParameters().map(([, parameter]) => parameter)
  }

  /**
   * Name and tensor of every parameter, this module's own first; as `Module.named_parameters`. A
   * tensor with several names (weight tying) comes once, under the first.
   */
  namedParameters(): [string, Tensor][] {
    const seen = new Set<Tensor>()
    const result: [string, Tensor][] = []
    for (const [prefix, module] of this.namedModules()) {
      for (const [name, parameter] of module.#fields().parameters) {
        if (seen.has(parameter)) continue
        seen.add(parameter)
        result.push([join(prefix, name), parameter])
      }
    }
    return result
  }

  /** The modules directly inside this one. */
  children(): Module[] {
    return this.namedChildren().map(([, module]) => module)
  }

  /** As {@link children}, with the names of their fields. */
  namedChildren(): [string, Module][] {
    const seen = new Set<Module>()
    return this.#fields().modules.filter(([, module]) => !seen.has(module) && seen.add(module))
  }

  /** This module and all inside it, each once; as `Module.modules`. */
  modules(): Module[] {
    return this.namedModules().map(([, module]) => module)
  }

  /** As {@link modules}, with names; this module's own is ''. */
  namedModules(): [string, Module][] {
    const seen = new Set<Module>()
    const result: [string, Module][] = []
    const visit = (name: string, module: Module): void => {
      if (seen.has(module)) return
      seen.add(module)
      result.push([name, module])
      for (const [field, child] of module.#fields().modules) visit(join(name, field), child)
    }
    visit('', this)
    return result
  }

  /**
   * Every parameter under every name it has; as `Module.state_dict`. The tensors are detached and
   * share the parameters' memory: later training shows in them. Save or copy them to keep a state.
   */
  stateDict(): Map<string, Tensor> {
    const result = new Map<string, Tensor>()
    for (const [name, parameter] of this.#everyName()) result.set(name, parameter.detach())
    return result
  }

  /**
   * Copies values into the parameters, which stay the same tensors; as `Module.load_state_dict`.
   * Nothing is changed when anything is wrong.
   * @throws RangeError that lists every missing key, unexpected key (both only when strict) and
   *   wrong shape; TypeError when `state` is no Map of tensors
   */
  loadStateDict(
    state: ReadonlyMap<string, Tensor>,
    options: LoadStateDictOptions = {},
  ): IncompatibleKeys {
    if (!(state instanceof Map))
      throw typeError('loadStateDict', 'state', 'a Map of tensors', state)
    checkOptions('loadStateDict', options, ['strict'])
    const strict = checkBoolean('loadStateDict', 'strict', options.strict ?? true)
    const own = new Map(this.#everyName())
    const missingKeys = [...own.keys()].filter((name) => !state.has(name))
    const unexpectedKeys = [...state.keys()].filter((name) => !own.has(name))
    const problems: string[] = []
    if (strict && missingKeys.length > 0) problems.push(`missing keys: ${list(missingKeys)}`)
    if (strict && unexpectedKeys.length > 0)
      problems.push(`unexpected keys: ${list(unexpectedKeys)}`)
    const copies: [Tensor, Tensor][] = []
    for (const [name, parameter] of own) {
      if (!state.has(name)) continue
      const value = state.get(name)
      if (!(value instanceof Tensor))
        throw typeError('loadStateDict', `'${name}'`, 'a tensor', value)
      if (formatShape(value.shape) !== formatShape(parameter.shape)) {
        problems.push(
          `'${name}': expected shape ${formatShape(parameter.shape)}, got ${formatShape(value.shape)}`,
        )
      } else if (value.dtype !== parameter.dtype) {
        problems.push(`'${name}': expected dtype ${parameter.dtype}, got ${value.dtype}`)
      } else {
        value.buffer // a disposed tensor is an error before anything is changed
        copies.push([parameter, value])
      }
    }
    if (problems.length > 0) {
      throw new RangeError(
        `[loadStateDict] state does not fit ${this.constructor.name}: ${problems.join('; ')}`,
      )
    }
    for (const [parameter, value] of copies) {
      if (value.device === parameter.device) {
        binding.copyInto(parameter.buffer, value.buffer)
      } else {
        using moved = movedValues(value, parameter.device)
        binding.copyInto(parameter.buffer, moved.buffer)
      }
    }
    return { missingKeys, unexpectedKeys }
  }

  /** Sets training mode here and in every module inside; as `Module.train`. */
  train(mode = true): this {
    checkBoolean('train', 'mode', mode)
    for (const module of this.modules()) module.training = mode
    return this
  }

  /** Evaluation mode: dropout is off; as `Module.eval`. */
  eval(): this {
    return this.train(false)
  }

  /**
   * Moves the parameters and their gradients to a device; as `Module.to`. They stay the same
   * tensors, so that optimisers keep them.
   * @throws TypeError, RangeError
   */
  to(device: string | Device): this {
    const name = checkDevice('to', 'device', device).toString()
    for (const module of this.modules()) module.moveTensors(name)
    return this
  }

  /** Moves what this module itself holds; a subclass with tensors beside parameters extends it. */
  protected moveTensors(device: string): void {
    for (const [, parameter] of this.#fields().parameters) parameter.moveTo(device)
  }

  /** Drops the gradients of all parameters; as `Module.zero_grad`. */
  zeroGrad(): void {
    for (const parameter of this.parameters()) parameter.dropGrad()
  }

  /** Freezes (false) or unfreezes all parameters; as `Module.requires_grad_`. */
  requiresGrad(flag = true): this {
    checkBoolean('requiresGrad', 'flag', flag)
    for (const parameter of this.parameters()) parameter.requiresGrad = flag
    return this
  }

  /** Calls `f` on every module inside, then on this one; as `Module.apply`. */
  apply(f: (module: Module) => void): this {
    if (typeof f !== 'function') throw typeError('apply', 'f', 'a function', f)
    const seen = new Set<Module>()
    const visit = (module: Module): void => {
      seen.add(module)
      for (const child of module.children()) if (!seen.has(child)) visit(child)
      f(module)
    }
    visit(this)
    return this
  }

  /** What stands between the parentheses in {@link toString}; a subclass may define it. */
  extraRepr(): string {
    return ''
  }

  /** The module and what is inside it, indented, as PyTorch prints it. */
  toString(): string {
    return print(this, [])
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString()
  }

  /** What the fields of this module itself hold. */
  #fields(): { parameters: [string, Tensor][]; modules: [string, Module][] } {
    const parameters: [string, Tensor][] = []
    const modules: [string, Module][] = []
    const visit = (name: string, value: unknown, depth: number): void => {
      if (isParameter(value)) parameters.push([name, value])
      else if (value instanceof Module) modules.push([name, value])
      else if (Array.isArray(value) && depth < MAX_ARRAY_DEPTH) {
        for (let i = 0; i < value.length; i++) visit(`${name}.${i}`, value[i], depth + 1)
      }
    }
    for (const [name, value] of Object.entries(this)) visit(name, value, 0)
    return { parameters, modules }
  }

  /** Parameters under all their names, also those of modules that are held twice. */
  #everyName(): [string, Tensor][] {
    const result: [string, Tensor][] = []
    const path: Module[] = []
    const visit = (prefix: string, module: Module): void => {
      if (path.includes(module)) return // a reference back up adds nothing
      path.push(module)
      const fields = module.#fields()
      for (const [name, parameter] of fields.parameters)
        result.push([join(prefix, name), parameter])
      for (const [name, child] of fields.modules) visit(join(prefix, name), child)
      path.pop()
    }
    visit('', this)
    return result
  }
}

/** Puts a model into evaluation mode; what it returns gives every module back the mode it had. */
export function evalMode(model: Module): () => void {
  const modes = model.modules().map((module) => [module, module.training] as const)
  model.eval()
  return () => {
    for (const [module, training] of modes) module.training = training
  }
}

/** Arrays in arrays are searched this deep: enough for any model, and an array in itself ends. */
const MAX_ARRAY_DEPTH = 4

function join(prefix: string, name: string): string {
  return prefix === '' ? name : `${prefix}.${name}`
}

function list(names: readonly string[]): string {
  return names.map((name) => `'${name}'`).join(', ')
}

function print(module: Module, path: readonly Module[]): string {
  const name = module.constructor.name
  if (path.includes(module)) return `${name}(...)`
  const lines = module.namedChildren().map(([field, child]) => {
    return `(${field}): ${print(child, [...path, module]).replaceAll('\n', '\n  ')}`
  })
  const extra = module.extraRepr()
  if (lines.length === 0) return `${name}(${extra})`
  if (extra !== '') lines.unshift(extra)
  return `${name}(\n  ${lines.join('\n  ')}\n)`
}

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
