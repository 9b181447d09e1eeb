/** Tensors for other threads: what postMessage can carry, and back. */
import { binding } from '../binding.js'
import { copyMemory, isPlainObject, withoutJSON } from '../copies.js'
import { type Device, deviceNumber, deviceOption } from '../device.js'
import { type DType, isDType, widthOf } from '../dtype.js'
import { checkOptions, describe, typeError } from '../errors.js'
import { isParameter, Parameter } from '../nn/parameter.js'
import { checkShape, numelOf, Tensor } from '../tensor.js'

/** Stands where a tensor was. No object of a user may have this key. */
const PLACE = '__fusedRnnTensor'
const FORMAT = 'fused-rnn tensors'
const ARRAYS = { float32: Float32Array, int32: Int32Array, bool: Uint8Array } as const

/** What {@link toTransferable} gives: plain data. */
export interface TransferableTensors {
  format: typeof FORMAT
  /** What was given, with numbers of tensors in their places. */
  value: unknown
  tensors: TransferableTensor[]
  /** The memory of all of them; the second argument of postMessage. */
  transferList: ArrayBuffer[]
}

/** One tensor. */
export interface TransferableTensor {
  dtype: DType
  shape: number[]
  requiresGrad: boolean
  parameter: boolean
  values: ArrayBuffer
}

/** What {@link fromTransferable} takes. */
export interface FromTransferableOptions {
  /** Where the tensors go. Default: the default device. */
  device?: string | Device
}

/**
 * A tensor, or arrays, plain objects, Maps and Sets of tensors and other values, as a model's and an
 * optimiser's state dict, in a form for another thread:
 *
 * ```ts
 * const message = await utils.toTransferable(model.stateDict())
 * worker.postMessage(message, message.transferList)
 * ```
 *
 * The values are copied once, as they are at the call, and then handed over, not copied again. A
 * tensor that stands in several places is one tensor on the other side, too.
 * @throws (rejects) TypeError that names the place of what cannot be sent: a tensor with history
 *   (detach() it), a module (send its stateDict()), a function, an object of a class
 */
export async function toTransferable(value: unknown): Promise<TransferableTensors> {
  const numbers = new Map<Tensor, number>()
  const plain = packed(value, 'value', numbers, [])
  const list = [...numbers.keys()]
  const arrays = await Promise.all(list.map((tensor) => tensor.data()))
  const tensors = list.map((tensor, i): TransferableTensor => {
    const { dtype, shape, requiresGrad } = tensor
    const { buffer: values } = arrays[i] as { buffer: ArrayBuffer }
    return { dtype, shape: [...shape], requiresGrad, parameter: isParameter(tensor), values }
  })
  const transferList = tensors.map(({ values }) => values)
  return { format: FORMAT, value: plain, tensors, transferList }
}

function packed(
  value: unknown,
  place: string,
  numbers: Map<Tensor, number>,
  path: object[],
): unknown {
  const refuse = (expected: string, got = describe(value)): never => {
    throw new TypeError(`[toTransferable] ${place}: expected ${expected}, got ${got}`)
  }
  if (typeof value === 'function' || typeof value === 'symbol') return refuse('data')
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Tensor) {
    if (value.gradFn !== null)
      refuse('a tensor without history (detach() it)', `one that '${value.gradFn.name}' computed`)
    value.buffer // disposed: an error before anything is copied
    if (!numbers.has(value)) numbers.set(value, numbers.size)
    return { [PLACE]: numbers.get(value) }
  }
  if (ArrayBuffer.isView(value)) return copyMemory(value)
  if (value instanceof ArrayBuffer || value instanceof Date) return structuredClone(value)
  if (path.includes(value)) refuse('data without circles')
  const deeper = [...path, value]
  const inner = (item: unknown, key: unknown): unknown =>
    packed(item, `${place}.${String(key)}`, numbers, deeper)
  if (Array.isArray(value)) return Array.from(value, inner)
  if (value instanceof Map)
    return new Map([...value].map(([key, item]) => [inner(key, 'a key'), inner(item, key)]))
  if (value instanceof Set) return new Set([...value].map(inner))
  if (!isPlainObject(value))
    return refuse(
      "tensors, arrays, plain objects, Maps or Sets (a module's or optimizer's stateDict())",
    )
  if (Object.hasOwn(value, PLACE)) refuse(`an object without the key ${PLACE}`)
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, inner(item, key)]))
}

/**
 * What was given to {@link toTransferable}, on the other side: the same bits, dtypes, shapes and
 * requiresGrad. Gradients do not come along.
 * @throws TypeError, RangeError for anything else; also on the side that has sent it, where the
 *   memory is gone
 */
export function fromTransferable<T = unknown>(
  message: TransferableTensors,
  options: FromTransferableOptions = {},
): T {
  const fn = 'fromTransferable'
  checkOptions(fn, options, ['device'])
  const device = deviceOption(fn, options.device)
  const { format, tensors, value } = Object(message) as Partial<TransferableTensors>
  if (format !== FORMAT || !Array.isArray(tensors))
    throw typeError(fn, 'message', 'what toTransferable gave', message)
  tensors.forEach((entry, i) => {
    checkEntry(fn, `message.tensors[${i}]`, entry)
  })
  const made = tensors.map(({ dtype, shape, requiresGrad, parameter, values }): Tensor => {
    const array = new ARRAYS[dtype](values)
    const buffer = binding.upload(array, deviceNumber(device), array.length)
    const tensor = Tensor.wrap(buffer, shape, device, dtype)
    if (parameter) return Parameter(tensor, requiresGrad)
    if (requiresGrad) tensor.requiresGrad = true
    return tensor
  })
  return unpacked(value, made) as T
}

function checkEntry(fn: string, name: string, entry: unknown): void {
  const { dtype, shape, requiresGrad, parameter, values } = Object(
    entry,
  ) as Partial<TransferableTensor>
  if (!isDType(dtype)) throw typeError(fn, `${name}.dtype`, "'float32', 'int32' or 'bool'", dtype)
  if (!(values instanceof ArrayBuffer))
    throw typeError(fn, `${name}.values`, 'an ArrayBuffer', values)
  if (isGone(values))
    throw new TypeError(
      `[${fn}] ${name}.values: expected memory, got one that was sent to another thread: this is the sender's side`,
    )
  const bytes = numelOf(checkShape(fn, shape)) * widthOf(dtype)
  if (values.byteLength !== bytes)
    throw typeError(fn, `${name}.values`, `${bytes} bytes`, values.byteLength)
  if (typeof requiresGrad !== 'boolean' || typeof parameter !== 'boolean')
    throw typeError(fn, `${name}.requiresGrad`, 'a boolean', requiresGrad)
  if (dtype !== 'float32' && requiresGrad)
    throw typeError(fn, `${name}.requiresGrad`, `false for ${dtype}`, requiresGrad)
}

/** Memory that is gone cannot be looked at. */
function isGone(values: ArrayBuffer): boolean {
  try {
    return new Uint8Array(values).length < 0
  } catch {
    return true
  }
}

function unpacked(value: unknown, tensors: readonly Tensor[]): unknown {
  if (typeof value !== 'object' || value === null) return value
  const inner = (item: unknown): unknown => unpacked(item, tensors)
  if (Array.isArray(value)) return value.map(inner)
  if (value instanceof Map) {
    const map = new Map<unknown, unknown>(
      [...value].map(([key, item]) => [inner(key), inner(item)]),
    )
    const isState = map.size > 0 && [...map.values()].every((item) => item instanceof Tensor)
    return isState ? withoutJSON(map as Map<string, unknown>) : map
  }
  if (value instanceof Set) return new Set([...value].map(inner))
  if (!isPlainObject(value)) return value
  if (!Object.hasOwn(value, PLACE))
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, inner(item)]))
  const number: unknown = Reflect.get(value, PLACE)
  const tensor = tensors[number as number]
  if (tensor === undefined)
    throw typeError('fromTransferable', 'message.value', 'numbers of its tensors', number)
  return tensor
}
