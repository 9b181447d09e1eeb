/** Operations of users' own, with a backward of their own. */

import { binding } from '../binding.js'
import { checkSameDevice, deviceNumber } from '../device.js'
import { checkBoolean, formatShape, rangeError, typeError } from '../errors.js'
import { enableGrad, noGrad } from '../grad_mode.js'
import { numelOf, type Shape, sameShape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { type Node, record, willRecord } from './node.js'

/** A tensor that forward saved, and how to have it back. */
interface Kept {
  /** The argument or the result that it is; -1 for another tensor. */
  readonly input: number
  readonly output: number
  readonly handle: Tensor
}

let take: (ctx: FunctionContext) => {
  toSave: readonly (Tensor | null)[]
  marked: readonly Tensor[]
  materialize: boolean
}
let give: (ctx: FunctionContext, restore: (() => (Tensor | null)[]) | null) => void

/**
 * What forward hands on to backward; as the `ctx` of `torch.autograd.Function`. It takes fields of the
 * user's own.
 */
export class FunctionContext {
  /** For each argument of forward, whether it is a tensor that wants a gradient. */
  needsInputGrad: boolean[] = [];
  // biome-ignore lint/suspicious/noExplicitAny: what users put there
  [field: string]: any

  #toSave: readonly (Tensor | null)[] = []
  #marked: readonly Tensor[] = []
  #materialize = true
  readonly #restore: { f: (() => (Tensor | null)[]) | null } = { f: null }

  /**
   * Keeps tensors for backward, where they are `savedTensors`: arguments, results or others. Only
   * here are changes in place noticed.
   */
  saveForBackward(...tensors: (Tensor | null)[]): void {
    tensors.forEach((tensor, i) => {
      if (tensor !== null && !(tensor instanceof Tensor))
        throw typeError('saveForBackward', `tensors[${i}]`, 'a tensor or null', tensor)
    })
    this.#toSave = tensors
  }

  /** In backward: what saveForBackward was given. */
  get savedTensors(): (Tensor | null)[] {
    if (this.#restore.f === null)
      throw new TypeError('[savedTensors] expected to be read in backward, got read before it')
    return this.#restore.f()
  }

  /** Results that have no gradient. */
  markNonDifferentiable(...tensors: Tensor[]): void {
    tensors.forEach((tensor, i) => {
      if (!(tensor instanceof Tensor))
        throw typeError('markNonDifferentiable', `tensors[${i}]`, 'a tensor', tensor)
    })
    this.#marked = tensors
  }

  /** Whether backward gets zeros (true, as at first) or null for results without a gradient. */
  setMaterializeGrads(value: boolean): void {
    this.#materialize = checkBoolean('setMaterializeGrads', 'value', value)
  }

  static {
    take = (ctx) => {
      const taken = { toSave: ctx.#toSave, marked: ctx.#marked, materialize: ctx.#materialize }
      ctx.#toSave = []
      return taken
    }
    give = (ctx, restore) => {
      ctx.#restore.f = restore
    }
  }
}

/** What the class of an operation defines. */
interface Definition<A extends readonly unknown[], R> {
  readonly name: string
  forward(ctx: FunctionContext, ...args: A): R
  backward(ctx: FunctionContext, ...gradients: never[]): unknown
}

/**
 * Base of operations with a backward of their own; as `torch.autograd.Function`. A subclass defines
 * `static forward(ctx, …)`, which returns a tensor or an array with tensors, and
 * `static backward(ctx, …)`, which gets the gradient of every result and returns that of every
 * argument, null where there is none. It is called by `apply`.
 */
// biome-ignore lint/complexity/noStaticOnlyClass: a base whose subclasses are called by their class
class AutogradFunction {
  /** Computes the results from the arguments, with gradients off. */
  static forward(_ctx: FunctionContext, ..._args: never[]): unknown {
    throw new TypeError('[Function.apply] forward: expected one in the class, got none')
  }

  /**
   * Computes the gradients of the arguments, in one array, or a single one. With `createGraph` what it
   * computes is recorded.
   */
  static backward(_ctx: FunctionContext, ..._gradients: never[]): unknown {
    throw new TypeError('[Function.apply] backward: expected one in the class, got none')
  }

  /**
   * Calls forward and records backward.
   * @returns what forward returned
   */
  static apply<A extends readonly unknown[], R>(this: Definition<A, R>, ...args: A): R {
    // biome-ignore lint/complexity/noThisInStatic: the class that is called
    return applied(this, args)
  }
}

export { AutogradFunction as Function }

function applied<A extends readonly unknown[], R>(type: Definition<A, R>, args: A): R {
  const fn = type.name
  const ctx = new FunctionContext()
  const inputs = args.map((arg) => (arg instanceof Tensor ? arg : null))
  const records = willRecord(inputs)
  ctx.needsInputGrad = inputs.map((input) => records && (input?.requiresGrad ?? false))
  const raw = noGrad(() => type.forward(ctx, ...args))
  if (raw instanceof Promise)
    throw typeError(fn, 'forward', 'a function that is not asynchronous', raw)
  const list: readonly unknown[] = Array.isArray(raw) ? raw : [raw]
  for (const one of list)
    if (typeof one === 'object' && one !== null && !(one instanceof Tensor))
      throw typeError(`${fn}.forward`, 'result', 'a tensor or an array with tensors', one)
  const { toSave, marked, materialize } = take(ctx)
  if (!records) return raw
  // Handles of the operation's own: what comes back may be an argument, or somebody else's.
  const results = list.map((one) =>
    one instanceof Tensor && (one.requiresGrad || inputs.includes(one)) ? one.detach() : one,
  )
  const places = [...results.keys()].filter((i) => {
    const one = list[i]
    return one instanceof Tensor && one.dtype === 'float32' && !marked.includes(one)
  })
  const outputs = places.map((i) => results[i] as Tensor)
  const kept = toSave.map((tensor): Kept | null => {
    if (tensor === null) return null
    const handle = tensor.viewAs(tensor.shape)
    const output = places.findIndex((i) => list[i] === tensor)
    return { input: inputs.indexOf(tensor), output, handle }
  })
  // Not the tensors themselves, whose memory backward may not need.
  const taken = args.map((arg) => (arg instanceof Tensor ? placeOf(arg) : null))
  const given = list.map((one, i) => {
    return one instanceof Tensor ? { ...placeOf(one), slot: places.indexOf(i) } : null
  })
  const backward = (gradients: readonly (Tensor | null)[], node: Node): (Tensor | null)[] => {
    give(ctx, () => restored(kept, node))
    const ofResults = given.map((one) => {
      const gradient = one && (gradients[one.slot] ?? null)
      if (gradient !== null) return node.graph ? gradient : gradient.viewAs(gradient.shape)
      return one && materialize ? zeros(one) : null
    })
    const mode = node.graph ? enableGrad : noGrad
    const made = mode(() => type.backward(ctx, ...(ofResults as never[])))
    give(ctx, null)
    return checked(fn, made, taken, node)
  }
  const handles = kept.filter((one) => one !== null).map((one) => one.handle)
  record(fn, inputs, outputs, backward, handles, 'values', backward)
  return (Array.isArray(raw) ? results : results[0]) as R
}

interface Place {
  readonly shape: Shape
  readonly device: string
}

function placeOf({ shape, device }: Tensor): Place {
  return { shape, device }
}

function zeros({ shape, device }: Place): Tensor {
  return Tensor.wrap(binding.fill(numelOf(shape), 0, deviceNumber(device)), shape, device)
}

function restored(kept: readonly (Kept | null)[], node: Node): (Tensor | null)[] {
  return kept.map((one) => {
    if (one === null) return null
    const { input, output, handle } = one
    if (handle.dtype !== 'float32') return handle.detach()
    if (input >= 0) return node.input(input, handle, handle.shape, handle.device)
    if (output >= 0) return node.output(output, handle, handle.shape, handle.device)
    return handle.detach()
  })
}

/** What backward returned, as gradients of the arguments. */
function checked(
  fn: string,
  made: unknown,
  args: readonly (Place | null)[],
  node: Node,
): (Tensor | null)[] {
  const list: readonly unknown[] = Array.isArray(made) ? made : [made]
  // More are fine when they are nothing.
  const rest = list.slice(args.length).every((one) => one === null || one === undefined)
  if (list.length < args.length || !rest)
    throw rangeError(
      `${fn}.backward`,
      'result',
      `${args.length} gradients, one for each argument of forward`,
      String(list.length),
    )
  return args.map((arg, i) => {
    const gradient = list[i]
    if (gradient === null || gradient === undefined) return null
    const what = `result[${i}]`
    if (!(gradient instanceof Tensor))
      throw typeError(`${fn}.backward`, what, 'a tensor or null', gradient)
    if (arg === null)
      throw typeError(`${fn}.backward`, what, 'null for an argument that is no tensor', gradient)
    if (!node.needs(i)) return null
    if (gradient.dtype !== 'float32')
      throw typeError(`${fn}.backward`, what, 'a float32 tensor', gradient.dtype)
    checkSameDevice(`${fn}.backward`, what, gradient, arg.device)
    if (!sameShape(gradient.shape, arg.shape))
      throw rangeError(
        `${fn}.backward`,
        what,
        `the argument's shape ${formatShape(arg.shape)}`,
        formatShape(gradient.shape),
      )
    // The user's own handle stays the user's.
    return node.graph ? gradient : gradient.viewAs(gradient.shape)
  })
}
