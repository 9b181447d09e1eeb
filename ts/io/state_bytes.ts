/** The state of a recurrent model as bytes, for a database or a cache. */
import { types } from 'node:util'
import { type Device, deviceOption } from '../device.js'
import { checkOptions, typeError } from '../errors.js'
import type { Tensor } from '../tensor.js'
import { type Json, pack, unpack } from './pack.js'
import { parse, serialize } from './safetensors.js'

const KEY = 'fused-rnn state'

/**
 * A state (a tensor, a pair, arrays and plain objects of tensors, numbers, texts; null) as bytes. The
 * values are those at the call.
 * @throws (rejects) TypeError that names the place of what bytes cannot hold
 */
export async function stateToBytes(state: unknown): Promise<Uint8Array> {
  const tensors = new Map<string, Tensor>()
  const text = JSON.stringify(pack('stateToBytes', state, tensors, ''))
  return serialize(tensors, { metadata: { [KEY]: text } })
}

/** What {@link stateFromBytes} takes. */
export interface StateFromBytesOptions {
  /** Where the tensors go. Default: the default device. */
  device?: string | Device
}

/**
 * The state that {@link stateToBytes} gave, to the bit.
 * @throws TypeError, RangeError for other bytes
 */
export function stateFromBytes<T = unknown>(
  bytes: Uint8Array,
  options: StateFromBytesOptions = {},
): T {
  const fn = 'stateFromBytes'
  const expected = 'the bytes that stateToBytes gave'
  checkOptions(fn, options, ['device'])
  const device = deviceOption(fn, options.device)
  if (!types.isUint8Array(bytes)) throw typeError(fn, 'bytes', expected, bytes)
  let made: ReturnType<typeof parse>
  try {
    made = parse(bytes, { device })
  } catch (error) {
    throw new RangeError(`[${fn}] bytes: expected ${expected}, got others`, { cause: error })
  }
  try {
    const text = made.metadata.get(KEY)
    if (text === undefined) throw new Error('no state')
    return unpack(JSON.parse(text) as Json, made.tensors) as T
  } catch (error) {
    for (const tensor of made.tensors.values()) tensor[Symbol.dispose]()
    throw new RangeError(`[${fn}] bytes: expected ${expected}, got others`, { cause: error })
  }
}
