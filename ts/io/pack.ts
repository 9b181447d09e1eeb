/** Any plain state with tensors in it, as JSON beside a map of tensors. */
import { isPlainObject, withoutJSON } from '../copies.js'
import { typeError } from '../errors.js'
import { Tensor } from '../tensor.js'

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

/** Keys of what JSON has no form for. */
const OWN_KEYS = ['$number', '$tensor', '$map']

/**
 * JSON for plain objects, arrays, maps, numbers (infinite ones too), strings and tensors; the tensors
 * go into `tensors` under the path where they stood.
 * @param fn for messages
 * @throws TypeError that names the place of anything else, which would not come back as it was
 */
export function pack(
  fn: string,
  value: unknown,
  tensors: Map<string, Tensor>,
  path: string,
  around: readonly object[] = [],
): Json {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value
  if (typeof value === 'number') return Number.isFinite(value) ? value : { $number: String(value) }
  const place = path || 'value'
  const expected = 'plain data: numbers, strings, arrays, maps, tensors, objects of them'
  if (typeof value !== 'object') throw typeError(fn, place, expected, value)
  if (value instanceof Tensor) {
    value.buffer // disposed: an error before anything is written
    let name = path || 'tensor'
    while (tensors.has(name) && tensors.get(name) !== value) name += "'"
    tensors.set(name, value)
    return { $tensor: name }
  }
  if (around.includes(value)) throw typeError(fn, place, 'data without circles', value)
  const deeper = [...around, value]
  const inner = (item: unknown, key: unknown): Json =>
    pack(fn, item, tensors, path === '' ? String(key) : `${path}.${String(key)}`, deeper)
  if (Array.isArray(value)) return Array.from(value, inner)
  if (value instanceof Map)
    return { $map: [...value].map(([key, item]) => [inner(key, 'a key'), inner(item, key)]) }
  // Others, such as Date, Set or Float32Array, would come back as something else.
  if (!isPlainObject(value)) throw typeError(fn, place, expected, value)
  const fields = Object.entries(value).filter(([, item]) => item !== undefined)
  const own = fields.find(([key]) => OWN_KEYS.includes(key))
  if (own !== undefined)
    throw typeError(
      fn,
      place,
      `an object without the key ${own[0]}, which has a meaning here`,
      value,
    )
  return Object.fromEntries(fields.map(([key, item]) => [key, inner(item, key)]))
}

/** What {@link pack} was given. @throws RangeError when a tensor is missing */
export function unpack(json: Json, tensors: ReadonlyMap<string, Tensor>): unknown {
  if (json === null || typeof json !== 'object') return json
  if (Array.isArray(json)) return json.map((item) => unpack(item, tensors))
  if (typeof json.$number === 'string') return Number(json.$number)
  if (typeof json.$tensor === 'string') {
    const tensor = tensors.get(json.$tensor)
    if (tensor === undefined) throw new RangeError(`the tensor '${json.$tensor}' is missing`)
    return tensor
  }
  if (Array.isArray(json.$map)) {
    const map = new Map<unknown, unknown>(
      (json.$map as [Json, Json][]).map(([key, item]) => [
        unpack(key, tensors),
        unpack(item, tensors),
      ]),
    )
    const state = [...map.values()].some((item) => item instanceof Tensor)
    return state ? withoutJSON(map as Map<string, unknown>) : map
  }
  return Object.fromEntries(Object.entries(json).map(([key, item]) => [key, unpack(item, tensors)]))
}
