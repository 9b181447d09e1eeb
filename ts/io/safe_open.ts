/** A safetensors file that stays open: its names at once, its tensors one by one. */
import { checkDevice, type Device } from '../device.js'
import { checkOptions, checkSignal, checkString } from '../errors.js'
import type { Tensor } from '../tensor.js'
import { checkPath } from './path.js'
import { TensorFile } from './tensor_file.js'
import { reason } from './whole_file.js'

const FN = 'safetensors.safeOpen'

/** What {@link safeOpen} takes. */
export interface SafeOpenOptions {
  /** Where the tensors go. Default: 'cpu'. */
  device?: string | Device
  /** Ends opening and reading: the promise rejects with the signal's reason. */
  signal?: AbortSignal
}

/** What {@link safeOpen} gives. */
export class SafeOpen {
  readonly #file: TensorFile
  readonly #path: string
  readonly #device: string
  readonly #signal: AbortSignal | undefined

  /** @internal */
  constructor(file: TensorFile, path: string, device: string, signal: AbortSignal | undefined) {
    this.#file = file
    this.#path = path
    this.#device = device
    this.#signal = signal
  }

  /** The names of the tensors, in the file's order; those of types that cannot be read, too. */
  keys(): string[] {
    return [...this.#file.names(), ...this.#file.unsupported.map(({ name }) => name)]
  }

  /** The texts that stand beside the tensors. */
  metadata(): Map<string, string> {
    return new Map(this.#file.metadata)
  }

  /**
   * Reads one tensor.
   * @throws (rejects) Error that says what is wrong: there is none of that name, or it cannot be read
   */
  async getTensor(name: string): Promise<Tensor> {
    checkString('getTensor', 'name', name)
    try {
      const tensors = await this.#file.tensors(this.#device, [name])
      return tensors.get(name) as Tensor
    } catch (error) {
      throw failure(this.#path, error, this.#signal)
    }
  }

  /** Closes the file. What has been read stays. */
  async close(): Promise<void> {
    await this.#file.close()
  }

  /** Closes the file; for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/**
 * Opens a file and reads its header only; as Python's `safe_open`. Close it afterwards, or declare it
 * with `await using`.
 * @throws (rejects) as load
 */
export async function safeOpen(
  path: string | URL,
  options: SafeOpenOptions = {},
): Promise<SafeOpen> {
  checkOptions(FN, options, ['device', 'signal'])
  const device = checkDevice(FN, 'device', options.device ?? 'cpu').toString()
  const signal = checkSignal(FN, options.signal)
  const name = checkPath(FN, 'path', path, 'the path of a file')
  try {
    return new SafeOpen(await TensorFile.open(name, signal), name, device, signal)
  } catch (error) {
    throw failure(name, error, signal)
  }
}

function failure(path: string, error: unknown, signal: AbortSignal | undefined): Error {
  signal?.throwIfAborted()
  return new Error(`[${FN}] ${path}: ${reason(error)}`, { cause: error })
}
