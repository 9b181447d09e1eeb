/**
 * The thread in which HDF5 files are read, by the HDF5 library in WebAssembly (the package h5wasm), which
 * sees no other files. Damaged files can send the library into a loop, which only the end of its thread
 * ends; see hdf5.ts. Imports nothing of ours that runs.
 */
import { parentPort, workerData } from 'node:worker_threads'
import type { Dataset, File, Group } from 'h5wasm'

/** What is read of a file. */
export interface Hdf5Job {
  bytes: Uint8Array
  /** The group at the top whose arrays are read. */
  root: string
  /** Names of attributes with texts. */
  attributes: readonly string[]
}

/** Something that is there and was read, or why it was not. */
export type Read<T> = { value: T } | { problem: string }

export interface Hdf5Contents {
  /** Texts by the path of what has them, a line end, and their name. */
  texts: Map<string, Read<string | string[]>>
  /** The names in each group. */
  groups: Map<string, string[]>
  arrays: Map<string, Read<{ shape: number[]; values: Float32Array }>>
}

export type Hdf5Answer =
  | { is: 'contents'; contents: Hdf5Contents }
  | { is: 'no library' }
  | { is: 'damaged'; why: string }

/** Compressed arrays may be larger than the file, but not without end. */
const MAX_EXPANSION = 16
const MAX_EXPANDED_BYTES = 2 ** 26
/** Groups and arrays; a group may be in itself. */
const MAX_OBJECTS = 131_072
const MAX_DEPTH = 16

type Entity = ReturnType<File['get']>

class Reader {
  readonly #file: File
  readonly #job: Hdf5Job
  #left: number
  #objects = 0
  readonly contents: Hdf5Contents = { texts: new Map(), groups: new Map(), arrays: new Map() }

  constructor(file: File, job: Hdf5Job) {
    this.#file = file
    this.#job = job
    this.#left = Math.max(MAX_EXPANDED_BYTES, MAX_EXPANSION * job.bytes.byteLength)
  }

  read(): Hdf5Contents {
    this.#addTexts('', this.#file as unknown as Group)
    if (this.#file.keys().includes(this.#job.root)) this.#add(this.#job.root, 1)
    return this.contents
  }

  #add(path: string, depth: number): void {
    if (++this.#objects > MAX_OBJECTS) throw new Error(`it has more than ${MAX_OBJECTS} objects`)
    let found: Entity
    try {
      found = this.#file.get(path)
    } catch {
      const problem = `'${path}' in the HDF5 file cannot be read: it is damaged`
      this.contents.arrays.set(path, { problem })
      return
    }
    if (found === null) return
    if ('keys' in found) {
      this.#addTexts(path, found)
      const names = found.keys()
      this.contents.groups.set(path, names)
      if (depth < MAX_DEPTH) for (const name of names) this.#add(`${path}/${name}`, depth + 1)
    } else if ('shape' in found) this.contents.arrays.set(path, this.#array(path, found as Dataset))
  }

  #addTexts(path: string, { attrs }: Group): void {
    for (const name of this.#job.attributes) {
      if (!Object.hasOwn(attrs, name)) continue
      const key = `${path}\n${name}`
      try {
        const value: unknown = attrs[name]?.value
        if (typeof value === 'string') this.contents.texts.set(key, { value })
        else if (typeof value === 'object' && value !== null)
          this.contents.texts.set(key, { value: Array.from(value as ArrayLike<unknown>, String) })
      } catch {
        const problem = `'${name}' of '${path}' in the HDF5 file cannot be read: it is damaged`
        this.contents.texts.set(key, { problem })
      }
    }
  }

  #array(path: string, found: Dataset): Read<{ shape: number[]; values: Float32Array }> {
    try {
      const { shape, dtype, metadata } = found
      if (typeof dtype !== 'string' || !/^[<>|=]?[efd]\d*$/.test(dtype))
        return {
          problem: `its weight '${path}' has no floating-point numbers, but ${String(dtype)}`,
        }
      const numel = (shape ?? []).reduce((product, size) => product * size, 1)
      this.#left -= Math.max(numel * metadata.size, 1)
      if (shape === null || !(this.#left >= 0))
        return { problem: `its weight '${path}' of shape [${shape}] is too large for the file` }
      const { value } = found
      const numbers = ArrayBuffer.isView(value) ? (value as Float32Array) : [value as number]
      if (numbers.length !== numel)
        return { problem: `its weight '${path}' of shape [${shape}] has ${numbers.length} numbers` }
      return { value: { shape: [...shape], values: Float32Array.from(numbers) } }
    } catch {
      return { problem: `'${path}' in the HDF5 file cannot be read: it is damaged` }
    }
  }
}

async function answer(job: Hdf5Job): Promise<Hdf5Answer> {
  // Where the package is not there, it is not needed for anything else.
  const name = 'h5wasm'
  let library: typeof import('h5wasm')
  try {
    library = await import(name)
  } catch {
    return { is: 'no library' }
  }
  try {
    const { FS } = await library.ready
    FS.writeFile('/file.h5', job.bytes)
    const file = new library.File('/file.h5', 'r')
    if (file.file_id <= 0n) return { is: 'damaged', why: 'it is damaged or cut short' }
    return { is: 'contents', contents: new Reader(file, job).read() }
  } catch (error) {
    return { is: 'damaged', why: `it is damaged: ${(error as Error).message}` }
  }
}

parentPort?.postMessage(await answer(workerData as Hdf5Job))
