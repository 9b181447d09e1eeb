/** Who shares a native buffer, and when it was changed in place. */
import { type Buffer, binding } from './binding.js'
import type { Shape } from './shape.js'

/** Counts the changes in place of all memory. */
let changes = 0

/** The number of changes so far: what was saved now holds as long as its `changedAt` is not above. */
export function changesSoFar(): number {
  return changes
}

/** What changed values in place: the public function, and the shape of the tensor that it was given. */
export interface Change {
  readonly by: string
  readonly shape: Shape
}

/**
 * A native buffer and how many share it: tensors of the same elements under any shape, and nodes of
 * the tape that need them for backward. The last one to give up its share frees the buffer.
 */
export class Memory {
  readonly buffer: Buffer
  /** Whose storage this is a part of; itself, unless it is a window of another. */
  readonly #storage: Memory
  #shares = 1
  /** Of a storage: the last change in place. */
  protected version = 0
  protected change: Change = { by: '', shape: [] }

  /** @param part of which the buffer is a window */
  constructor(buffer: Buffer, part: Memory | null = null) {
    this.buffer = buffer
    this.#storage = part === null ? this : part.#storage
  }

  share(): this {
    this.#shares++
    return this
  }

  /**
   * The version of the storage: which of all changes in place was the last one here; 0 before any.
   * Who keeps something made of the values keeps this beside it.
   */
  get changedAt(): number {
    return this.#storage.version
  }

  /** For messages. */
  get lastChange(): Change {
    return this.#storage.change
  }

  /**
   * To be called whenever the values are changed in place.
   * @param by the public function
   * @param shape of the tensor through which they are changed
   */
  changed(by: string, shape: Shape): void {
    this.#storage.version = ++changes
    this.#storage.change = { by, shape }
  }

  /** Gives up a share; to be done once for each. */
  [Symbol.dispose](): void {
    if (--this.#shares === 0) binding.release(this.buffer)
  }
}
