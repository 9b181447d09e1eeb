/** Copies of modules with weights of their own; see Module.clone. */
import { copyValues } from '../autograd.js'
import { copyMemory, isPlainObject } from '../copies.js'
import { copyInto } from '../ops/in_place.js'
import { Tensor } from '../tensor.js'
import { held, isOptimizer } from './fields.js'
import { isStandIn } from './hooks.js'
import { isParameter, Parameter } from './parameter.js'

/** What is copied so far: what is held twice in the original is so in the copy. */
export type Copies = Map<object, unknown>

/** Copies the fields of one module into another one of its class. */
export class FieldCopier<M extends object> {
  readonly #owner: string
  readonly #copies: Copies
  readonly #isModule: (value: unknown) => value is M
  readonly #copyModule: (module: M) => M

  constructor(
    owner: string,
    copies: Copies,
    isModule: (value: unknown) => value is M,
    copyModule: (module: M) => M,
  ) {
    this.#owner = owner
    this.#copies = copies
    this.#isModule = isModule
    this.#copyModule = copyModule
  }

  copyFields(from: object, to: object): void {
    for (const key of Reflect.ownKeys(to))
      if (!Object.hasOwn(from, key)) Reflect.deleteProperty(to, key)
    for (const key of Reflect.ownKeys(from)) {
      const own = Object.getOwnPropertyDescriptor(from, key) as PropertyDescriptor
      if (isStandIn(own.value)) continue
      if ('value' in own) {
        const there = Object.getOwnPropertyDescriptor(to, key)?.value
        own.value = this.#copy(String(key), own.value, there)
      }
      Object.defineProperty(to, key, own)
    }
  }

  /** @param there what the new object has in that place already */
  #copy(name: string, value: unknown, there?: unknown): unknown {
    if (typeof value === 'function') return this.#function(name, value, there)
    if (typeof value !== 'object' || value === null) return value
    if (this.#copies.has(value)) return this.#copies.get(value)
    if (this.#isModule(value)) return this.#copyModule(value)
    const copy = value instanceof Tensor ? this.#tensor(name, value, there) : this.#empty(value)
    if (copy === null) return this.#shared(name, value, there)
    this.#copies.set(value, copy)
    if (copy instanceof Map) {
      for (const [key, item] of value as Map<unknown, unknown>)
        copy.set(this.#copy(name, key), this.#copy(`${name}.${String(key)}`, item))
    } else if (copy instanceof Set) {
      for (const item of value as Set<unknown>) copy.add(this.#copy(name, item))
    } else if (Array.isArray(copy) || isPlainObject(copy)) {
      for (const key of Reflect.ownKeys(value)) {
        const own = Object.getOwnPropertyDescriptor(value, key) as PropertyDescriptor
        if ('value' in own) own.value = this.#copy(`${name}.${String(key)}`, own.value)
        Object.defineProperty(copy, key, own)
      }
      if (Object.isFrozen(value)) Object.freeze(copy)
    }
    return copy
  }

  /** A copy of an object that JavaScript itself knows, its contents still missing; null of others. */
  #empty(value: object): object | null {
    const prototype = Object.getPrototypeOf(value)
    if (Array.isArray(value)) return Object.setPrototypeOf([], prototype)
    if (prototype === Map.prototype) return new Map()
    if (prototype === Set.prototype) return new Set()
    if (prototype === Date.prototype) return new Date(value as Date)
    if (ArrayBuffer.isView(value)) return Object.setPrototypeOf(copyMemory(value), prototype)
    if (value instanceof ArrayBuffer) return structuredClone(value)
    return isPlainObject(value) ? Object.create(prototype) : null
  }

  #tensor(name: string, value: Tensor, there: unknown): Tensor {
    if (value.gradFn !== null)
      throw this.#error(name, `was computed by '${value.gradFn.name}'; detach() it first`)
    let copy: Tensor
    // Parameters that lie in one block stay so.
    if (there instanceof Tensor && fits(there, value)) {
      copyInto('clone', there, value.buffer)
      copy = there
    } else copy = copyValues(value)
    const { requiresGrad } = value
    return isParameter(value) ? Parameter(copy, requiresGrad) : copy
  }

  /** A function is the same in both, unless it is bound to the original. */
  #function(name: string, value: object, there: unknown): unknown {
    if (typeof there === 'function') return there
    const source = code(value)
    const isArrow = /^(async\s*)?(\(|[\p{ID_Start}$_][\p{ID_Continue}$]*\s*=>)/u.test(source)
    const bound = (value as { name?: unknown }).name
    if ((isArrow && /\bthis\b/.test(source)) || String(bound).startsWith('bound '))
      throw this.#error(
        name,
        'is a function that is bound to the original module: make it a method, or define newInstance()',
      )
    return value
  }

  /** What is of a class is held by both, as long as it has no weights and trains none. */
  #shared(name: string, value: object, there: unknown): unknown {
    const type = value.constructor?.name ?? 'an object'
    const trains = (one: object): boolean => !this.#isModule(one) && isOptimizer(one)
    // Also one that newInstance() has made: its weights are not those that the copy gets.
    const found = trains(value) ? [value] : [...held(value, this.#isModule)]
    if (found.length === 0) return value
    if (found.every(trains))
      throw this.#error(
        name,
        `is a ${type}, which trains the weights of the original: keep it outside of the module, or set the field to null before clone(), and make a new optimizer for the clone`,
      )
    if (typeof there === 'object' && there !== null) return there
    throw this.#error(
      name,
      `is a ${type} that holds modules or parameters; let it extend nn.Module, or define newInstance()`,
    )
  }

  #error(name: string, what: string): TypeError {
    return new TypeError(`[clone] field '${name}' of ${this.#owner} ${what}`)
  }
}

function fits(there: Tensor, value: Tensor): boolean {
  return (
    there.gradFn === null &&
    there.dtype === value.dtype &&
    there.device === value.device &&
    there.shape.join() === value.shape.join()
  )
}

/** A function's text without comments and strings. */
function code(f: object): string {
  return Function.prototype.toString
    .call(f)
    .replace(
      /\/\*[\s\S]*?\*\/|\/\/[^\n]*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g,
      '',
    )
    .trim()
}

/**
 * Refuses classes with private members, which only their constructor makes.
 * @param base the class that makes what is needed from there on
 */
export function checkNoPrivates(type: unknown, base: unknown): void {
  for (let at = type; at !== base && typeof at === 'function'; at = Object.getPrototypeOf(at)) {
    if (!/#[\p{ID_Start}$_]/u.test(code(at))) continue
    const { name } = at
    throw new TypeError(
      `[clone] ${name} has private members (#), which nobody can copy: define newInstance() { return new ${name}(…) } in it, of whose result clone() then sets the fields`,
    )
  }
}
