/** Modules: parameters and other modules held in fields, found by name as PyTorch finds them. */
import type { Hooks, RemovableHandle } from '../autograd/hooks.js'
import { MODULE_MARK, refuseJSON, withoutJSON } from '../copies.js'
import { checkDevice, type Device } from '../device.js'
import { checkBoolean, checkOptions, typeError } from '../errors.js'
import { copyInto } from '../ops/in_place.js'
import { movedValues } from '../ops/transfer.js'
import { type ZeroGradOptions, zeroGradients } from '../optim/zero_grad.js'
import { randomState, setRandomState } from '../random.js'
import { Tensor } from '../tensor.js'
import { type Copies, checkNoPrivates, FieldCopier } from './clone.js'
import { checkStrays, type Fields, fieldsOf } from './fields.js'
import {
  type BackwardHook,
  type ForwardHook,
  type ForwardPreHook,
  handleOf,
  ModuleHooks,
  standIn,
} from './hooks.js'
import { fitState, type IncompatibleKeys, type LoadStateDictOptions } from './state_fit.js'

export type { IncompatibleKeys, LoadStateDictOptions }

/** What {@link Module.registerBuffer} takes. */
export interface BufferOptions {
  /** Whether state dicts have it. Default true. */
  persistent?: boolean
}

/**
 * A copy as of clone(), in which these modules are replaced, and get their hooks. Modules with a
 * clone() of their own copy themselves, and what is in them.
 */
export let copyReplacing: (model: Module, replacements: ReadonlyMap<Module, Module>) => Module

/**
 * Base of every layer and model; as `torch.nn.Module`.
 *
 * A subclass assigns layers and parameters to fields, in the constructor or later. Found are: leaf
 * tensors with `requiresGrad` (or marked by `Parameter`), modules, and either in arrays, Sets, plain
 * objects and Maps with texts as keys, also in each other. Names are those that ModuleList and
 * ModuleDict give: `layers.0.weight`, `gates.input.weight`. An object of another class that holds
 * layers is refused. Nobody can look into private fields (`#x`), functions and what only a getter of
 * the class gives: what is there is not found.
 */
export abstract class Module {
  /** Whether the module is in training mode (dropout is active); see {@link train}. */
  training = true
  /** Has structuredClone and postMessage throw, which would lose the values. @internal */
  readonly uncloneable = MODULE_MARK
  #hooks: ModuleHooks | null = null
  /** The fields that hold buffers, and whether they are in state dicts. */
  #buffers: Map<string, boolean> | null = null

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

  /**
   * Puts a tensor that is no parameter, such as a running mean, into the field `name`: it is in state
   * dicts, moves along with the module and is copied by {@link clone}. As `Module.register_buffer`.
   * @param tensor null: nothing yet. Whatever tensor the field holds later counts
   * @param options `persistent` (default true): whether it is in state dicts
   * @throws TypeError for a name that is taken or has a dot, and a tensor that requires a gradient
   */
  registerBuffer(name: string, tensor: Tensor | null, options: BufferOptions = {}): void {
    const fn = 'registerBuffer'
    if (typeof name !== 'string' || name === '' || name.includes('.'))
      throw typeError(fn, 'name', 'a name without a dot', name)
    checkOptions(fn, options, ['persistent'])
    const persistent = checkBoolean(fn, 'persistent', options.persistent ?? true)
    if (name in this && this.#buffers?.has(name) !== true)
      throw new TypeError(`[${fn}] name: '${name}' is another field of ${this.constructor.name}`)
    if (tensor !== null && !(tensor instanceof Tensor))
      throw typeError(fn, 'tensor', 'a tensor or null', tensor)
    if (tensor?.requiresGrad)
      throw new TypeError(
        `[${fn}] tensor: expected one that requires no gradient; assign a parameter to a field`,
      )
    this.#buffers ??= new Map()
    this.#buffers.set(name, persistent)
    Reflect.set(this, name, tensor)
  }

  /** The buffers, each once; as `Module.buffers`. */
  buffers(): Tensor[] {
    return this.namedBuffers().map(([, buffer]) => buffer)
  }

  /** Name and tensor of every buffer, this module's own first; as `Module.named_buffers`. */
  namedBuffers(): [string, Tensor][] {
    const seen = new Set<Tensor>()
    const result: [string, Tensor][] = []
    for (const [prefix, module] of this.namedModules()) {
      for (const [name, buffer] of module.#ownBuffers()) {
        if (seen.has(buffer)) continue
        seen.add(buffer)
        result.push([join(prefix, name), buffer])
      }
    }
    return result
  }

  #ownBuffers(persistent = false): [string, Tensor][] {
    const result: [string, Tensor][] = []
    for (const [name, isPersistent] of this.#buffers ?? []) {
      const value: unknown = Reflect.get(this, name)
      if (value instanceof Tensor && (isPersistent || !persistent)) result.push([name, value])
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
    const found: [Module, Fields<Module>][] = []
    const visit = (name: string, module: Module): void => {
      if (seen.has(module)) return
      seen.add(module)
      result.push([name, module])
      const fields = module.#fields()
      if (fields.strays.length > 0) found.push([module, fields])
      for (const [field, child] of fields.modules) visit(join(name, field), child)
    }
    visit('', this)
    if (found.length > 0) {
      const own = new Set<Module | Tensor>(seen)
      for (const module of seen)
        for (const [, parameter] of module.#fields().parameters) own.add(parameter)
      for (const [module, { strays }] of found) checkStrays(module, strays, (one) => own.has(one))
    }
    return result
  }

  /**
   * Every parameter and buffer under every name it has; as `Module.state_dict`. The tensors are
   * detached and share the memory: later training shows in them. Save or copy them to keep a state.
   */
  stateDict(): Map<string, Tensor> {
    const result = new Map<string, Tensor>()
    for (const [name, parameter] of this.#everyName()) result.set(name, parameter.detach())
    return withoutJSON(result)
  }

  /**
   * Copies values into the parameters, which stay the same tensors; as `Module.load_state_dict`.
   * Nothing is changed when anything is wrong.
   * @throws RangeError that lists every missing key, unexpected key (both only when strict) and
   *   wrong shape or type, and the prefix with which the keys would fit; TypeError when `state` is no
   *   Map of tensors
   */
  loadStateDict(
    state: ReadonlyMap<string, Tensor>,
    options: LoadStateDictOptions = {},
  ): IncompatibleKeys {
    const fit = fitState(this.constructor.name, new Map(this.#everyName()), state, options)
    for (const [parameter, value] of fit.copies) {
      if (value.device === parameter.device) {
        copyInto('loadStateDict', parameter, value.buffer)
      } else {
        using moved = movedValues(value, parameter.device)
        copyInto('loadStateDict', parameter, moved.buffer)
      }
    }
    return { missingKeys: fit.missingKeys, unexpectedKeys: fit.unexpectedKeys }
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
   * Moves the parameters, their gradients and the buffers to a device; as `Module.to`. They stay the same
   * tensors, so that optimisers keep them.
   * @throws TypeError, RangeError
   */
  to(device: string | Device): this {
    const name = checkDevice('to', 'device', device).toString()
    const modules = this.modules()
    for (const module of modules) module.checkMove(name)
    for (const module of modules) module.moveTensors(name)
    return this
  }

  /** Throws where this module cannot be on a device; before anything is moved. @internal */
  protected checkMove(_device: string): void {}

  /** Moves what this module itself holds; a subclass with tensors beside those extends it. */
  protected moveTensors(device: string): void {
    for (const [, parameter] of this.#fields().parameters) parameter.moveTo(device)
    for (const [, buffer] of this.#ownBuffers()) buffer.moveTo(device)
  }

  /** Drops the gradients of all parameters, or makes them zeros; as `Module.zero_grad`. */
  zeroGrad(options: ZeroGradOptions = {}): void {
    zeroGradients(this.parameters(), options)
  }

  /**
   * A copy with weights of its own, in the same mode; as `copy.deepcopy`. Modules, tensors, arrays,
   * plain objects, Maps and Sets in fields are copied, what is held twice once; gradients are not.
   * Functions and objects of other classes without weights, as a vocabulary, are shared.
   * @throws TypeError that names the field for a tensor with history, and for what cannot be copied:
   *   classes with private members, which define {@link newInstance}, functions bound to the
   *   original, and optimisers and schedulers
   */
  clone(): this {
    this.namedModules() // refuses what would be left out
    const random = randomState()
    try {
      return Module.#copy(this, new Map())
    } finally {
      setRandomState(random)
    }
  }

  /**
   * A new module of the same class, all of whose fields {@link clone} then sets. A class with private
   * members defines it: `return new Net(this.#size)`.
   */
  protected newInstance(): this {
    checkNoPrivates(this.constructor, Module)
    return Reflect.construct(Module as never, [], this.constructor as never)
  }

  static {
    copyReplacing = (model, replacements) => {
      const random = randomState()
      try {
        for (const [module, replacement] of replacements) {
          if (module.#hooks === null || module.#hooks.size === 0) continue
          replacement.#hooks = module.#hooks.copy()
          standIn(replacement, replacement.#hooks)
        }
        return Module.#copy(model, new Map<object, unknown>(replacements))
      } finally {
        setRandomState(random)
      }
    }
  }

  static #copy<M extends Module>(module: M, copies: Copies): M {
    const known = copies.get(module)
    if (known !== undefined) return known as M
    const copy = module.newInstance()
    if (!(copy instanceof Module) || copy.constructor !== module.constructor || copy === module)
      throw typeError('clone', 'newInstance()', `a new ${module.constructor.name}`, copy)
    copies.set(module, copy)
    const copyModule = (inner: Module): Module => {
      if (copies.has(inner) || inner.clone === Module.prototype.clone)
        return Module.#copy(inner, copies)
      const own = inner.clone()
      copies.set(inner, own)
      return own
    }
    new FieldCopier(module.constructor.name, copies, isModule, copyModule).copyFields(module, copy)
    if (module.#buffers !== null) copy.#buffers = new Map(module.#buffers)
    if (module.#hooks !== null && module.#hooks.size > 0) {
      copy.#hooks = module.#hooks.copy()
      standIn(copy, copy.#hooks)
    }
    return copy
  }

  /**
   * Has `hook` called before every call of this module's forward; as
   * `Module.register_forward_pre_hook`.
   */
  registerForwardPreHook(hook: ForwardPreHook<this>): RemovableHandle {
    return this.#register('registerForwardPreHook', hook as ForwardPreHook, (all) => all.before)
  }

  /** Has `hook` called after every call of forward; as `Module.register_forward_hook`. */
  registerForwardHook(hook: ForwardHook<this>): RemovableHandle {
    return this.#register('registerForwardHook', hook as ForwardHook, (all) => all.after)
  }

  /**
   * Has `hook` called whenever backward has come to the gradients of forward's arguments, among which
   * a tensor must require one; as `Module.register_full_backward_hook`. Seen are tensors among the
   * arguments and results themselves, not in arrays in them.
   */
  registerFullBackwardHook(hook: BackwardHook<this>): RemovableHandle {
    return this.#register('registerFullBackwardHook', hook as BackwardHook, (all) => all.back)
  }

  #register<F>(fn: string, hook: F, which: (all: ModuleHooks) => Hooks<F>): RemovableHandle {
    if (typeof hook !== 'function') throw typeError(fn, 'hook', 'a function', hook)
    this.#hooks ??= new ModuleHooks()
    standIn(this, this.#hooks)
    return handleOf(this, this.#hooks, which(this.#hooks).add(hook))
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

  /** @throws TypeError always: JSON cannot hold the values of tensors */
  toJSON(): never {
    refuseJSON(
      this.constructor.name,
      'copy it with clone(), write a file with io.safetensors.save(path, model.stateDict())',
    )
  }

  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return this.toString()
  }

  /** What the fields of this module itself hold. */
  #fields(): Fields<Module> {
    return fieldsOf<Module>(this, isModule)
  }

  /** Parameters and buffers under all their names, also those of modules that are held twice. */
  #everyName(): [string, Tensor][] {
    this.namedModules() // refuses what would be left out
    const result: [string, Tensor][] = []
    const path: Module[] = []
    const visit = (prefix: string, module: Module): void => {
      if (path.includes(module)) return // a reference back up adds nothing
      path.push(module)
      const fields = module.#fields()
      for (const [name, parameter] of fields.parameters)
        result.push([join(prefix, name), parameter])
      for (const [name, buffer] of module.#ownBuffers(true))
        result.push([join(prefix, name), buffer])
      for (const [name, child] of fields.modules) visit(join(prefix, name), child)
      path.pop()
    }
    visit('', this)
    return result
  }
}

function isModule(value: unknown): value is Module {
  return value instanceof Module
}

/** Puts a model into evaluation mode; what it returns gives every module back the mode it had. */
export function evalMode(model: Module): () => void {
  const modes = model.modules().map((module) => [module, module.training] as const)
  model.eval()
  return () => {
    for (const [module, training] of modes) module.training = training
  }
}

function join(prefix: string, name: string): string {
  return prefix === '' ? name : `${prefix}.${name}`
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
