/** Who shares a native buffer. */
import { type Buffer, binding } from './binding.js'

/**
 * A native buffer and how many share it: tensors of the same elements under any shape, and nodes of
 * the tape that need them for backward. The last one to give up its share frees the buffer.
 */
export class Memory {
  readonly buffer: Buffer
  #shares = 1

  constructor(buffer: Buffer) {
    this.buffer = buffer
  }

  share(): this {
    this.#shares++
    return this
  }

  /** Gives up a share; to be done once for each. */
  [Symbol.dispose](): void {
    if (--this.#shares === 0) binding.release(this.buffer)
  }
}
