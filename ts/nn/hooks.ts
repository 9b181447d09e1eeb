/** Functions of users that are called with what goes in and out of modules. */
import { checkReplacement, Hooks, type RemovableHandle } from '../autograd/hooks.js'
import { type Node, record, willRecord } from '../autograd/node.js'
import { typeError } from '../errors.js'
import { enableGrad, noGrad } from '../grad_mode.js'
import { Tensor } from '../tensor.js'

/** A module, of which this file needs no more. */
type Module = object & { readonly forward: (...inputs: never[]) => unknown }

/**
 * Gets the module and the arguments of forward, before it runs. What it returns takes their place: an
 * array of arguments, or a single one.
 */
// biome-ignore lint/suspicious/noExplicitAny: modules take what they take
export type ForwardPreHook<M = Module> = (module: M, args: readonly any[]) => unknown

/** Gets the module, the arguments of forward and its result. What it returns takes the result's place. */
export type ForwardHook<M = Module> = (
  module: M,
  // biome-ignore lint/suspicious/noExplicitAny: modules take and return what they do
  args: readonly any[],
  // biome-ignore lint/suspicious/noExplicitAny: see above
  output: any,
) => unknown

/**
 * Gets the module, the gradients of the arguments that are tensors and of the results, null where there
 * is none. What it returns takes the place of the arguments' gradients.
 */
export type BackwardHook<M = Module> = (
  module: M,
  gradInput: readonly (Tensor | null)[],
  gradOutput: readonly (Tensor | null)[],
  // biome-ignore lint/suspicious/noConfusingVoidType: a function without return has that type
) => Tensor | readonly (Tensor | null)[] | undefined | null | void

type Forward = (...args: unknown[]) => unknown

/** The hooks of one module. */
export class ModuleHooks {
  readonly before = new Hooks<ForwardPreHook>()
  readonly after = new Hooks<ForwardHook>()
  readonly back = new Hooks<BackwardHook>()

  get size(): number {
    return this.before.list.length + this.after.list.length + this.back.list.length
  }

  /** The same hooks, for a copy of the module. */
  copy(): ModuleHooks {
    const copy = new ModuleHooks()
    for (const { f } of this.before.list) copy.before.add(f)
    for (const { f } of this.after.list) copy.after.add(f)
    for (const { f } of this.back.list) copy.back.add(f)
    return copy
  }

  /** Runs `forward` of a module with what goes in and out shown to the hooks. */
  run(module: Module, forward: Forward, given: unknown[]): unknown {
    let args = given
    for (const { f } of this.before.list) {
      const result = f(module, args)
      if (result !== undefined && result !== null) args = Array.isArray(result) ? result : [result]
    }
    if (this.back.list.length === 0) return this.#after(module, args, forward.apply(module, args))
    const state: { gradOutput: readonly (Tensor | null)[] } = { gradOutput: [] }
    args = this.#entrance(module, args, state)
    return this.#exit(this.#after(module, args, forward.apply(module, args)), state)
  }

  #after(module: Module, args: unknown[], output: unknown): unknown {
    let now = output
    for (const { f } of this.after.list) {
      const result = f(module, args, now)
      if (result !== undefined) now = result
    }
    return now
  }

  /** The arguments, from whose gradients the hooks' call follows. */
  #entrance(
    module: Module,
    args: unknown[],
    state: { gradOutput: readonly (Tensor | null)[] },
  ): unknown[] {
    const places = [...args.keys()].filter((i) => args[i] instanceof Tensor)
    const inputs = places.map((i) => args[i] as Tensor)
    if (!willRecord(inputs)) return args
    const wanted = [...inputs.keys()].filter((k) => inputs[k]?.requiresGrad)
    const handles = inputs.map((input) => (input.requiresGrad ? input.viewAs(input.shape) : input))
    const backward = (gradients: readonly (Tensor | null)[], node: Node): (Tensor | null)[] => {
      const gradInput = inputs.map((_, k) => gradients[wanted.indexOf(k)] ?? null)
      const result = this.#called(module, gradInput, state.gradOutput, node)
      return wanted.map((k) => result[k] ?? null)
    }
    record(
      `${module.constructor.name}.registerFullBackwardHook`,
      wanted.map((k) => inputs[k] as Tensor),
      wanted.map((k) => handles[k] as Tensor),
      backward,
      [],
      'values',
      backward,
    )
    const result = [...args]
    places.forEach((i, k) => {
      result[i] = handles[k]
    })
    return result
  }

  #called(
    module: Module,
    gradInput: readonly (Tensor | null)[],
    gradOutput: readonly (Tensor | null)[],
    node: Node,
  ): readonly (Tensor | null)[] {
    // Users may keep what they get.
    const own = (g: Tensor | null): Tensor | null => (node.graph || !g ? g : g.viewAs(g.shape))
    let now: readonly (Tensor | null)[] = gradInput.map(own)
    for (const { f } of this.back.list) {
      const mode = node.graph ? enableGrad : noGrad
      const result = mode(() => f(module, now, gradOutput.map(own)))
      if (result === undefined || result === null) continue
      const list = result instanceof Tensor ? [result] : result
      if (!Array.isArray(list) || list.length !== gradInput.length)
        throw typeError(
          'registerFullBackwardHook',
          'result of the hook',
          `an array of ${gradInput.length} gradients`,
          result,
        )
      list.forEach((one, k) => {
        const before = gradInput[k]
        if (one && before) checkReplacement('registerFullBackwardHook', one, before)
      })
      now = list.map(own)
    }
    return now
  }

  /** The results, whose gradients are noted. */
  #exit(output: unknown, state: { gradOutput: readonly (Tensor | null)[] }): unknown {
    const list: readonly unknown[] = Array.isArray(output) ? output : [output]
    const places = [...list.keys()].filter((i) => {
      const one = list[i]
      return one instanceof Tensor && one.requiresGrad
    })
    const outputs = places.map((i) => list[i] as Tensor)
    if (!willRecord(outputs)) return output
    const handles = outputs.map((one) => one.viewAs(one.shape))
    const backward = (gradients: readonly (Tensor | null)[], node: Node): (Tensor | null)[] => {
      const seen = gradients.map((g) => (node.graph || !g ? g : g.viewAs(g.shape)))
      state.gradOutput = list.map((_, i) => seen[places.indexOf(i)] ?? null)
      return [...gradients]
    }
    record('forward', outputs, handles, backward, [], 'values', backward)
    if (!Array.isArray(output)) return handles[0]
    const result = [...list]
    places.forEach((i, k) => {
      result[i] = handles[k]
    })
    return result
  }
}

/** Functions that stand in the place of a forward while there are hooks. */
const stands = new WeakSet<object>()

/** Whether a field is such a function. */
export function isStandIn(value: unknown): boolean {
  return typeof value === 'function' && stands.has(value)
}

/**
 * Has every call of `module.forward` go through its hooks: by a field of the instance, which hides the
 * method of its class.
 */
export function standIn(module: Module, hooks: ModuleHooks): void {
  const own = Object.getOwnPropertyDescriptor(module, 'forward')
  if (own !== undefined && isStandIn(own.value)) return
  const forward = module.forward as unknown as Forward
  const through = (...args: unknown[]): unknown => hooks.run(module, forward, args)
  stands.add(through)
  Object.defineProperty(module, 'forward', {
    value: through,
    enumerable: false,
    configurable: true,
    writable: true,
  })
}

/** Takes a function away from where it stands in, when no hook is left. */
export function standOut(module: Module): void {
  const own = Object.getOwnPropertyDescriptor(module, 'forward')
  if (own !== undefined && isStandIn(own.value)) Reflect.deleteProperty(module, 'forward')
}

/** A handle that also clears up behind the last hook. */
export function handleOf(module: Module, hooks: ModuleHooks, handle: RemovableHandle) {
  return {
    remove(): void {
      handle.remove()
      if (hooks.size === 0) standOut(module)
    },
  }
}
