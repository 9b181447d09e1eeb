/** HDF5 files, by the HDF5 library in WebAssembly (the package h5wasm), which sees no other files. */
import type { Dataset, File, Group } from 'h5wasm'
import type { Weight } from './weights.js'

/** Compressed arrays may be larger than the file, but not without end. */
const MAX_EXPANSION = 16
const MAX_EXPANDED_BYTES = 2 ** 26
const MAX_WEIGHTS = 65_536

type Library = typeof import('h5wasm')

/** Where the package is not there, it is not needed for anything else. */
async function library(): Promise<Library> {
  const name = 'h5wasm'
  try {
    return (await import(/* webpackIgnore: true */ /* @vite-ignore */ name)) as Library
  } catch (cause) {
    throw new Error('HDF5 is read by the package h5wasm: npm install h5wasm', { cause })
  }
}

let opened = 0

/** The library writes what it finds wrong to standard error. @returns what ends the silence */
function silence(FS: object): () => void {
  const { getStream } = FS as { getStream?: (fd: number) => { tty?: { ops: object } } | null }
  const tty = getStream?.(2)?.tty
  if (tty === undefined) return () => {}
  const { ops } = tty
  tty.ops = { put_char() {}, fsync() {} }
  return () => {
    tty.ops = ops
  }
}

export class Hdf5 {
  readonly #file: File
  #left: number

  private constructor(file: File, bytes: number) {
    this.#file = file
    this.#left = Math.max(MAX_EXPANDED_BYTES, MAX_EXPANSION * bytes)
  }

  /** What `use` makes of a file. @throws (rejects) Error that says what is wrong */
  static async read<T>(bytes: Uint8Array, use: (file: Hdf5) => T): Promise<T> {
    const { File, ready } = await library()
    const hdf5 = await ready
    const { FS } = hdf5
    const path = `/fused-rnn-${++opened}.h5`
    FS.writeFile(path, bytes)
    const speak = silence(FS)
    try {
      const file = new File(path, 'r')
      if (file.file_id <= 0n) throw new Error('the HDF5 file is damaged or cut short')
      try {
        return use(new Hdf5(file, bytes.byteLength))
      } finally {
        file.close()
      }
    } finally {
      speak()
      FS.unlink(path)
    }
  }

  /** A text; null: there is none. */
  text(path: string, name: string): string | null {
    const value = this.#attribute(path, name)
    return typeof value === 'string' ? value : null
  }

  /** A list of texts; null: there is none. */
  texts(path: string, name: string): string[] | null {
    const value = this.#attribute(path, name)
    if (typeof value !== 'object' || value === null) return null
    return Array.from(value as ArrayLike<unknown>, String)
  }

  #get(path: string): ReturnType<File['get']> {
    try {
      return this.#file.get(path)
    } catch (cause) {
      throw new Error(`'${path}' in the HDF5 file cannot be read: it is damaged`, { cause })
    }
  }

  #attribute(path: string, name: string): unknown {
    const found = path === '' ? this.#file : this.#get(path)
    const { attrs } = Object(found) as Partial<Group>
    return attrs !== undefined && Object.hasOwn(attrs, name) ? attrs[name]?.value : null
  }

  /** The names in a group; none where there is no group. */
  names(path: string): string[] {
    const found = this.#get(path)
    if (found === null || !('keys' in found)) return []
    return (found as Group).keys()
  }

  /** @throws Error unless there is an array of floating-point numbers */
  weight(path: string): Weight {
    const found = this.#get(path)
    if (found === null || !('shape' in found)) throw new Error(`its weight '${path}' is missing`)
    const { shape, dtype, metadata } = found as Dataset
    const numel = (shape ?? []).reduce((product, size) => product * size, 1)
    this.#left -= Math.max(numel * metadata.size, 1)
    if (shape === null || !(this.#left >= 0))
      throw new Error(`its weight '${path}' of shape [${shape}] is too large for the file`)
    const { value } = found as Dataset
    const numbers = ArrayBuffer.isView(value) ? (value as Float32Array) : [value]
    if (typeof dtype !== 'string' || !/^[<>|=]?[efd]\d*$/.test(dtype) || numbers.length !== numel)
      throw new Error(`its weight '${path}' has no floating-point numbers, but ${String(dtype)}`)
    return { name: path, shape: [...shape], values: Float32Array.from(numbers as Float32Array) }
  }

  /** All arrays in a folder `vars`, by their numbers. */
  vars(path: string): Weight[] {
    const names = this.names(`${path}/vars`)
    if (names.length > MAX_WEIGHTS) throw new Error(`it has ${names.length} weights`)
    return names
      .filter((name) => /^\d+$/.test(name))
      .sort((a, b) => Number(a) - Number(b))
      .map((name) => this.weight(`${path}/vars/${name}`))
  }
}
