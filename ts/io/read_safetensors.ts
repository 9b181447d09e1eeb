/** Reading safetensors files: all that can be read, or chosen tensors. */
import { withoutJSON } from '../copies.js'
import { checkDevice, type Device } from '../device.js'
import { checkOptions, checkSignal, checkString, typeError } from '../errors.js'
import type { Tensor } from '../tensor.js'
import { checkPath } from './path.js'
import { type Unsupported, unsupportedError } from './safetensors_header.js'
import { TensorFile } from './tensor_file.js'
import { reason } from './whole_file.js'

/** A file of thousands says so of the first ones. */
const MOST_WARNINGS = 3

/** What load takes. */
export interface LoadOptions {
  /** Where the tensors go. Default: 'cpu'. */
  device?: string | Device
  /**
   * The tensors to read, in this order, as `get_tensor` of Python's `safe_open`: nothing else is read.
   * One that is not there is an error. Default: all that can be read.
   */
  keys?: readonly string[]
  /** Ends reading: the promise rejects with the signal's reason. */
  signal?: AbortSignal
}

/** What parse and loadWithMetadata give. */
export interface Contents {
  tensors: Map<string, Tensor>
  metadata: Map<string, string>
  /** The names of tensors that were left out, and their types, which are not known here. */
  unsupported: Map<string, string>
}

/** What a file has. @param fn the function that errors name */
export async function read(
  fn: string,
  path: string | URL,
  options: LoadOptions,
): Promise<Contents> {
  checkOptions(fn, options, ['device', 'keys', 'signal'])
  const keys = checkKeys(fn, options.keys)
  const device = checkDevice(fn, 'device', options.device ?? 'cpu').toString()
  const signal = checkSignal(fn, options.signal)
  const name = checkPath(fn, 'path', path, 'the path of a file')
  try {
    const file = await TensorFile.open(name, signal)
    try {
      const tensors = withoutJSON(await file.tensors(device, keys ?? file.names()))
      const { metadata } = file
      return { tensors, metadata, unsupported: leftOut(fn, name, file.unsupported, keys) }
    } finally {
      await file.close()
    }
  } catch (error) {
    signal?.throwIfAborted()
    throw new Error(`[${fn}] ${name}: ${reason(error)}`, { cause: error })
  }
}

function checkKeys(fn: string, keys: unknown): readonly string[] | undefined {
  if (keys === undefined) return undefined
  if (!Array.isArray(keys)) throw typeError(fn, 'keys', 'an array of names', keys)
  keys.forEach((key, i) => {
    checkString(fn, `keys[${i}]`, key)
  })
  return keys
}

/** Says what was not read, if somebody may think that it was. */
export function leftOut(
  fn: string,
  name: string,
  unsupported: readonly Unsupported[],
  keys: readonly string[] | undefined,
): Map<string, string> {
  if (keys !== undefined) return new Map()
  for (const one of unsupported.slice(0, MOST_WARNINGS)) {
    process.emitWarning(
      `[${fn}] ${name}: left out, as it cannot be read: ${unsupportedError(one).message}`,
    )
  }
  return new Map(unsupported.map(({ name, dtype }) => [name, dtype]))
}
