/**
 * JavaScript's own ways to copy know nothing of native memory: they would lose the values. What holds
 * tensors throws instead, with the way to do it.
 */

/**
 * The value of an own field of tensors and modules. structuredClone, postMessage and v8.serialize
 * refuse symbols, and put this text into their DataCloneError; a plain field costs a tensor nothing.
 */
export const TENSOR_MARK = Symbol(
  'a tensor: copy it with clone(), send it to a worker with await utils.toTransferable(tensor)',
)
export const MODULE_MARK = Symbol(
  'a module: copy it with clone(), send a worker await utils.toTransferable(module.stateDict())',
)

/** Of what an object has only the fields, which object spread or Object.assign has copied; or null. */
export function copiedFields(value: object): 'a tensor' | 'a module' | null {
  const { uncloneable } = value as { uncloneable?: unknown }
  if (uncloneable === TENSOR_MARK) return 'a tensor'
  return uncloneable === MODULE_MARK ? 'a module' : null
}

/** What JSON.stringify gets to hear. */
export function refuseJSON(name: string, way: string): never {
  throw new TypeError(`[${name}] toJSON: JSON cannot hold the values of tensors; ${way}`)
}

/** A Map of tensors, which JSON.stringify would silently make `{}`. */
export function withoutJSON<M extends Map<string, unknown>>(map: M): M {
  const toJSON = (): never =>
    refuseJSON(
      'stateDict',
      'write a file with io.safetensors.save(path, state), or bytes with io.safetensors.serialize(state)',
    )
  return Object.defineProperty(map, 'toJSON', { value: toJSON, configurable: true, writable: true })
}

/** Whether it is an object of no class, of this realm or another. */
export function isPlainObject(value: object): boolean {
  const prototype = Object.getPrototypeOf(value)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

const typedArray: object = Object.getPrototypeOf(Uint8Array.prototype)

/**
 * A copy of the part of a memory that a view shows. structuredClone copies all of the memory, which
 * for a small Buffer is a pool with the texts of others. Memory that is shared on purpose stays so.
 */
export function copyMemory(view: ArrayBufferView): ArrayBufferView {
  const { buffer, byteOffset, byteLength } = view
  if (!(buffer instanceof ArrayBuffer)) return structuredClone(view)
  const bytes = new Uint8Array(buffer, byteOffset, byteLength).slice().buffer
  // 'Uint8Array' for a Buffer, too; undefined for a DataView.
  const type: unknown = Reflect.get(typedArray, Symbol.toStringTag, view)
  return Reflect.construct(Reflect.get(globalThis, String(type ?? 'DataView')), [bytes])
}
