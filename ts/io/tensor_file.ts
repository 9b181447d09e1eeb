/** A safetensors file that is open to be read: its header first, its tensors in pieces. */
import type { Stats } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { binding, type Buffer as NativeBuffer } from '../binding.js'
import { type DType, DTypeCode, widthOf } from '../dtype.js'
import { listed, suggestion } from '../suggest.js'
import { Tensor } from '../tensor.js'
import { DTYPES } from './dtypes.js'
import { fileKind, HEAD_BYTES } from './file_kind.js'
import { digestOfFile, openRegular, PIECE, readAt } from './open_file.js'
import { inPieces, Turns } from './pieces.js'
import {
  checkOpening,
  type Entry,
  type Header,
  headerLength,
  parseHeader,
  type Unsupported,
  unsupportedError,
} from './safetensors_header.js'

export class TensorFile {
  readonly metadata: Map<string, string>
  /** What cannot be read. */
  readonly unsupported: readonly Unsupported[]
  readonly #file: FileHandle
  readonly #info: Stats
  readonly #entries: readonly Entry[]
  /** Where the data begin. */
  readonly #data: number
  readonly #signal: AbortSignal | undefined

  private constructor(
    file: FileHandle,
    info: Stats,
    header: Header,
    data: number,
    signal: AbortSignal | undefined,
  ) {
    this.#file = file
    this.#info = info
    this.#entries = header.entries
    this.metadata = header.metadata
    this.unsupported = header.unsupported
    this.#data = data
    this.#signal = signal
  }

  /**
   * Opens a file and reads its header. What is read later is of the same file, whatever takes its
   * name in the meantime.
   * @throws (rejects) Error that says what is wrong; the signal's reason
   */
  static async open(path: string, signal?: AbortSignal): Promise<TensorFile> {
    signal?.throwIfAborted()
    const { file, info } = await openRegular(path)
    try {
      return await TensorFile.#read(file, info, signal)
    } catch (error) {
      const head = await readAt(file, 0, Math.min(HEAD_BYTES, info.size)).catch(() => null)
      await file.close()
      const kind = head && fileKind(head, path)
      throw kind ? new Error(kind, { cause: error }) : error
    }
  }

  static async #read(
    file: FileHandle,
    info: Stats,
    signal: AbortSignal | undefined,
  ): Promise<TensorFile> {
    const head = await readAt(file, 0, Math.min(9, info.size))
    const length = headerLength(head.subarray(0, 8), info.size)
    // What is no header need not be read to its end.
    checkOpening(head.subarray(8))
    binding.checkRoom(length)
    const bytes = await readAt(file, 8, length)
    const header = await inPieces(parseHeader(bytes, info.size - 8 - length), signal)
    return new TensorFile(file, info, header, 8 + length, signal)
  }

  /** The names of all tensors that can be read. */
  names(): string[] {
    return this.#entries.map(({ name }) => name)
  }

  /** @throws Error that names what is not there, or cannot be read */
  #chosen(keys: readonly string[]): Entry[] {
    const byName = new Map(this.#entries.map((entry) => [entry.name, entry]))
    return [...new Set(keys)].map((key) => {
      const entry = byName.get(key)
      if (entry !== undefined) return entry
      const unsupported = this.unsupported.find(({ name }) => name === key)
      if (unsupported !== undefined) throw unsupportedError(unsupported)
      const names = this.names()
      const similar = suggestion(key, names)
      const meant = similar === null ? '' : `; did you mean '${similar}'?`
      throw new Error(`it has no tensor '${key}'${meant}; it has ${listed(names)}`)
    })
  }

  async close(): Promise<void> {
    await this.#file.close()
  }

  /** The SHA-256 of all bytes. @throws (rejects) the signal's reason */
  digest(): Promise<string> {
    return digestOfFile(this.#file, this.#signal)
  }

  /**
   * @param keys of those that are wanted, in this order. Without them all are, and one that cannot be
   *   read is an error
   * @throws (rejects) Error that says what is wrong; the signal's reason
   */
  async tensors(device: string, keys?: readonly string[]): Promise<Map<string, Tensor>> {
    const [unsupported] = this.unsupported
    if (keys === undefined && unsupported !== undefined) throw unsupportedError(unsupported)
    const entries = keys === undefined ? this.#entries : this.#chosen(keys)
    const turns = new Turns(this.#signal)
    const made: { entry: Entry; buffer: NativeBuffer | null }[] = []
    const tensors = new Map<string, Tensor>()
    try {
      // All of them, before anything is read.
      binding.checkRoom(
        entries.reduce((sum, entry) => sum + widthOf(dtypeOf(entry)) * lengthOf(entry), 0),
      )
      for (const entry of entries) {
        const buffer = binding.allocate(lengthOf(entry), DTypeCode[dtypeOf(entry)])
        made.push({ entry, buffer })
        const due = turns.due()
        if (due !== null) await due
      }
      const window = new Window(this.#file, this.#info.size)
      for (const one of made) {
        const { entry, buffer } = one as { entry: Entry; buffer: NativeBuffer }
        await this.#fill(entry, buffer, window, turns)
        one.buffer = null
        tensors.set(entry.name, wrap(entry, buffer, device))
      }
      await this.#checkUnchanged()
      return tensors
    } catch (error) {
      for (const { buffer } of made) if (buffer !== null) binding.release(buffer)
      for (const tensor of tensors.values()) tensor[Symbol.dispose]()
      throw error
    }
  }

  async #fill(entry: Entry, buffer: NativeBuffer, window: Window, turns: Turns): Promise<void> {
    const { bytes: width, decode } = DTYPES[entry.dtype]
    for (let at = entry.begin; at < entry.end; at += PIECE) {
      const length = Math.min(PIECE, entry.end - at)
      const first = (at - entry.begin) / width
      const position = this.#data + at
      const bytes = window.get(position, length) ?? (await window.move(position, length))
      binding.fillPart(buffer, first, decode(bytes, entry.name, first))
      const due = turns.due()
      if (due !== null) await due
      this.#signal?.throwIfAborted()
    }
    const due = turns.due()
    if (due !== null) await due
  }

  /** A program that writes into a file, instead of replacing it, leaves parts of two. */
  async #checkUnchanged(): Promise<void> {
    const { size, mtimeMs } = await this.#file.stat()
    if (size !== this.#info.size || mtimeMs !== this.#info.mtimeMs)
      throw new Error('the file changed while it was read')
  }
}

/** Part of a file in memory. */
class Window {
  readonly #file: FileHandle
  readonly #fileBytes: number
  #from = 0
  #bytes: Uint8Array = new Uint8Array(0)

  constructor(file: FileHandle, fileBytes: number) {
    this.#file = file
    this.#fileBytes = fileBytes
  }

  /** Null: not all of it is here. */
  get(position: number, length: number): Uint8Array | null {
    const at = position - this.#from
    return at >= 0 && at + length <= this.#bytes.length
      ? this.#bytes.subarray(at, at + length)
      : null
  }

  async move(position: number, length: number): Promise<Uint8Array> {
    const most = Math.min(PIECE, this.#fileBytes - position)
    this.#bytes = await readAt(this.#file, position, Math.max(length, most))
    this.#from = position
    return this.#bytes.subarray(0, length)
  }
}

function lengthOf({ dtype, begin, end }: Entry): number {
  return (end - begin) / DTYPES[dtype].bytes
}

/** What its values become. */
function dtypeOf({ dtype }: Entry): DType {
  return DTYPES[dtype].becomes
}

function wrap(entry: Entry, buffer: NativeBuffer, device: string): Tensor {
  const tensor = Tensor.wrap(buffer, entry.shape, 'cpu', dtypeOf(entry))
  if (device === 'cpu') return tensor
  const moved = tensor.to(device)
  tensor[Symbol.dispose]()
  return moved
}
