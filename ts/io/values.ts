/** Any plain value with tensors in it as one file; as `torch.save` and `torch.load`. */
import { checkOptions } from '../errors.js'
import type { Tensor } from '../tensor.js'
import { type Json, pack, unpack } from './pack.js'
import { checkPath } from './path.js'
import { type LoadOptions, read } from './read_safetensors.js'
import * as safetensors from './safetensors.js'

/** Under which the value stands among the file's texts. */
const KEY = 'fused-rnn'
const VERSION = 1

/**
 * Writes a state dict of a model or an optimiser, or any arrays, plain objects and Maps of tensors,
 * numbers and texts, to one file, which {@link load} reads; as `torch.save`, with its order of
 * arguments. The file is one of safetensors: other programs find the tensors under the names of
 * their places, `state.0.expAvg`.
 * @throws (rejects) TypeError that names the place of what a file cannot hold, a module (save its
 *   stateDict()), a function, an object of a class; Error that names the file when it cannot be written
 */
export async function save(value: unknown, path: string | URL): Promise<void> {
  const file = checkPath('io.save', 'path', path, 'the path of a file')
  const tensors = new Map<string, Tensor>()
  const text = JSON.stringify({ version: VERSION, value: pack('io.save', value, tensors, '') })
  await safetensors.save(file, tensors, { metadata: { [KEY]: text } })
}

/**
 * What {@link save} wrote, as it was; as `torch.load`. Of a file that something else wrote, the
 * tensors, as `io.safetensors.load` gives them.
 * @throws (rejects) Error that names the file and what is wrong
 */
export async function load<T = unknown>(
  path: string | URL,
  options: Omit<LoadOptions, 'keys'> = {},
): Promise<T> {
  const file = checkPath('io.load', 'path', path, 'the path of a file')
  checkOptions('io.load', options, ['device', 'signal'])
  const { tensors, metadata } = await read('io.load', file, options)
  const text = metadata.get(KEY)
  if (text === undefined) return tensors as T
  try {
    const { version, value } = JSON.parse(text) as { version: unknown; value: Json }
    if (version !== VERSION) throw new Error(`written in a version ${version} of the format`)
    return unpack(value, tensors) as T
  } catch (error) {
    for (const tensor of tensors.values()) tensor[Symbol.dispose]()
    const reason = error instanceof SyntaxError ? 'damaged' : (error as Error).message
    throw new Error(`[io.load] ${file}: what is beside the tensors is ${reason}`, { cause: error })
  }
}
