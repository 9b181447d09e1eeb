/** What a module's fields hold: parameters and modules, also in arrays, objects, Maps and Sets. */
import { types } from 'node:util'
import { copiedFields, isPlainObject } from '../copies.js'
import { Tensor } from '../tensor.js'
import { isParameter } from './parameter.js'

/** A parameter or a module in an object that is no module and no container. */
export interface Stray<M> {
  /** The field. */
  name: string
  /** The class of what it holds. */
  type: string
  /** What is in there. */
  found: (M | Tensor)[]
}

/** What the fields of one module hold, by name. */
export interface Fields<M> {
  parameters: [string, Tensor][]
  modules: [string, M][]
  strays: Stray<M>[]
}

type IsModule<M> = (value: unknown) => value is M

/** Containers in containers are searched this deep; deeper ones are refused. */
const MOST_CONTAINERS = 64
/** So many objects that are no containers, and what is in them, are looked into, at any depth. */
const MOST_OBJECTS = 10_000
/** So many values are looked at in them: data sets are not searched to their end. */
const MOST_VALUES = 1_000_000

/**
 * The fields of a module.
 * @throws TypeError that names the field when there are parameters or modules in it that cannot be
 *   found again under a name
 */
export function fieldsOf<M extends object>(owner: M, isModule: IsModule<M>): Fields<M> {
  return new Search(owner, isModule).run()
}

class Search<M extends object> {
  readonly #owner: M
  readonly #isModule: IsModule<M>
  readonly #found: Fields<M> = { parameters: [], modules: [], strays: [] }
  /** The containers around the value that is being looked at. */
  readonly #path: object[] = []

  constructor(owner: M, isModule: IsModule<M>) {
    this.#owner = owner
    this.#isModule = isModule
  }

  run(): Fields<M> {
    for (const [name, value] of Object.entries(this.#owner))
      if (typeof value === 'object' && value !== null) this.#visit(name, value, problemOf(name))
    for (const key of Object.getOwnPropertySymbols(this.#owner)) {
      const value = Reflect.get(this.#owner, key)
      this.#visit(key.toString(), value, 'its name is a symbol')
    }
    return this.#found
  }

  /** @param problem what is wrong with the name, if anything */
  #visit(name: string, value: unknown, problem: string | null): void {
    if (typeof value !== 'object' || value === null) return
    if (value instanceof Tensor) {
      if (isParameter(value)) this.#add(this.#found.parameters, name, value, problem)
    } else if (this.#isModule(value)) {
      this.#add(this.#found.modules, name, value, problem)
    } else {
      const copied = copiedFields(value)
      if (copied !== null)
        this.#refuse(
          name,
          `holds the fields of ${copied}, which object spread or Object.assign copied; use clone()`,
        )
      const entries = this.#entries(value)
      if (entries === null) {
        this.#lookInto(name, value)
        return
      }
      // Something in itself, or in what is in it: everything of it has been found.
      if (this.#path.includes(value)) return
      if (this.#path.length >= MOST_CONTAINERS)
        this.#refuse(name, `has more than ${MOST_CONTAINERS} containers in each other`)
      this.#path.push(value)
      for (const [key, item] of entries) {
        if (typeof item !== 'object' || item === null) continue
        this.#visit(`${name}.${String(key)}`, item, problem ?? problemOf(key))
      }
      this.#path.pop()
    }
  }

  /** What is in a container, or null when it is none. */
  #entries(value: object): Iterable<[unknown, unknown]> | null {
    if (Array.isArray(value)) return value.entries()
    if (types.isMap(value)) return value.entries()
    if (types.isSet(value)) return [...value].entries()
    return isPlainObject(value) ? Object.entries(value) : null
  }

  #add<T>(list: [string, T][], name: string, value: T, problem: string | null): void {
    if (problem !== null)
      this.#refuse(name, `cannot be in a state dict: ${problem}. Give it a name without a dot`)
    if (this.#path.length > 0 && list.some(([other]) => other === name))
      this.#refuse(name, 'is there twice, under a number and the same number as a text')
    list.push([name, value])
  }

  /** An object of a class that is no module: it may hold what nobody would train. */
  #lookInto(name: string, value: object): void {
    if (isOptimizer(value)) return
    const isWeight = (one: object): one is M | Tensor =>
      one instanceof Tensor || this.#isModule(one)
    const found = [...held(value, this.#isModule)].filter(isWeight)
    const type = value.constructor?.name ?? 'an object'
    if (found.length > 0) this.#found.strays.push({ name, type, found })
  }

  #refuse(name: string, what: string): never {
    throw new TypeError(`[${this.#owner.constructor.name}] field '${name}' ${what}`)
  }
}

function problemOf(key: unknown): string | null {
  if (typeof key === 'number') return null
  if (typeof key !== 'string') return `its key is of type ${typeof key}, not a text`
  if (key === '') return 'its key is an empty text'
  return key.includes('.') ? `the key '${key}' has a dot, which separates names` : null
}

/** Whether it is an optimiser: it refers to weights that others hold. */
export function isOptimizer(value: object): boolean {
  const { step, paramGroups } = value as Record<string, unknown>
  return typeof step === 'function' && Array.isArray(paramGroups)
}

/**
 * The modules, parameters and optimisers in what an object's fields hold, at any depth, the nearest
 * first; not what is in those.
 */
export function* held<M extends object>(
  value: object,
  isModule: IsModule<M>,
): Generator<object, void> {
  if (ArrayBuffer.isView(value)) return
  const seen = new Set([value])
  let values = 0
  for (const object of seen) {
    for (const items of contentsOf(object)) {
      for (const item of items) {
        if (++values > MOST_VALUES) return
        if (typeof item !== 'object' || item === null || seen.has(item)) continue
        if (isParameter(item) || isModule(item) || isOptimizer(item)) yield item
        else if (item instanceof Tensor || ArrayBuffer.isView(item)) continue
        else if (seen.size < MOST_OBJECTS) seen.add(item)
      }
    }
  }
}

/** The values that an object has, in its fields and as a Map or a Set. */
function contentsOf(object: object): Iterable<unknown>[] {
  const fields = Object.values(object)
  return types.isMap(object) || types.isSet(object) ? [fields, object.values()] : [fields]
}

/**
 * Refuses what an object holds when no field of any module does, so that it would not be trained.
 * @param reachable what the whole model has
 */
export function checkStrays<M extends object>(
  owner: M,
  strays: readonly Stray<M>[],
  reachable: (found: M | Tensor) => boolean,
): void {
  for (const { name, type, found } of strays) {
    const lost = found.find((one) => !reachable(one))
    if (lost === undefined) continue
    const what = lost instanceof Tensor ? 'a parameter' : `a module (${lost.constructor.name})`
    throw new TypeError(
      `[${owner.constructor.name}] field '${name}' is a ${type} that holds ${what}, which would be neither trained nor saved: let ${type} extend nn.Module, or, if that is meant, keep it in a private field (#${name})`,
    )
  }
}
