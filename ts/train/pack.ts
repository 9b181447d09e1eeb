/** Any plain state with tensors in it, as JSON beside a map of tensors. */
import { typeError } from '../errors.js'
import { Tensor } from '../tensor.js'

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

/**
 * JSON for objects, arrays, maps, numbers (infinite ones too), strings and tensors; the tensors go
 * into `tensors` under the path where they stood.
 */
export function pack(value: unknown, tensors: Map<string, Tensor>, path: string): Json {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return value
  if (typeof value === 'number') return Number.isFinite(value) ? value : { $number: String(value) }
  if (value instanceof Tensor) {
    tensors.set(path, value)
    return { $tensor: path }
  }
  if (Array.isArray(value)) return value.map((item, i) => pack(item, tensors, `${path}.${i}`))
  if (value instanceof Map) {
    return {
      $map: [...value].map(([key, item]) => [
        pack(key, tensors, path),
        pack(item, tensors, `${path}.${key}`),
      ]),
    }
  }
  // Others, such as Date, Set or Float32Array, would come back as something else.
  if (Object.prototype.toString.call(value) === '[object Object]') {
    const fields = Object.entries(value as object).filter(([, item]) => item !== undefined)
    return Object.fromEntries(
      fields.map(([key, item]) => [key, pack(item, tensors, `${path}.${key}`)]),
    )
  }
  const expected = 'plain data: numbers, strings, arrays, maps, tensors, objects of them'
  throw typeError('saveCheckpoint', path, expected, value)
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
    return new Map(
      (json.$map as [Json, Json][]).map(([key, item]) => [
        unpack(key, tensors),
        unpack(item, tensors),
      ]),
    )
  }
  return Object.fromEntries(Object.entries(json).map(([key, item]) => [key, unpack(item, tensors)]))
}
