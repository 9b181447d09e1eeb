/** HDF5 files as Keras writes them, read in a thread of their own (hdf5_thread.ts). */
import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { here, requireHere } from '../../here.js'
import type { Hdf5Answer, Hdf5Contents, Hdf5Job, Read } from './hdf5_thread.js'
import type { Weight } from './weights.js'

const ATTRIBUTES = ['model_config', 'keras_version', 'name', 'weight_names']
const MAX_WEIGHTS = 65_536

/**
 * How long reading may take: a file of a few megabytes takes some milliseconds, and one of a gigabyte
 * seconds. What takes longer is in a loop, since a damaged file can send the library into one.
 * @internal
 */
export const patience = { milliseconds: 60_000, bytesPerMillisecond: 1000 }

/** The thread's file: of this package, or, in a bundle, of the one that is installed. */
function threadFile(): string {
  const name = 'models/keras/hdf5_thread.js'
  const own = join(dirname(here), name)
  if (existsSync(own)) return own
  try {
    return join(dirname(requireHere.resolve('fused-rnn/package.json')), 'dist', name)
  } catch (cause) {
    const message =
      'HDF5 is read by a file of the package fused-rnn, which has to be installed beside this bundle'
    throw new Error(message, { cause })
  }
}

/** What the thread says. @throws (rejects) the signal's reason; Error when it does not end */
function inThread(job: Hdf5Job, signal: AbortSignal | undefined): Promise<Hdf5Answer> {
  signal?.throwIfAborted()
  // The library writes what it finds wrong to standard error: nobody reads that.
  const options = { workerData: job, stdout: true, stderr: true, execArgv: [] }
  const worker = new Worker(threadFile(), options)
  worker.stdout.resume()
  worker.stderr.resume()
  const { milliseconds, bytesPerMillisecond } = patience
  const most = milliseconds + job.bytes.byteLength / bytesPerMillisecond
  return new Promise<Hdf5Answer>((resolve, reject) => {
    const damaged = (why: string) => resolve({ is: 'damaged', why })
    const timer = setTimeout(() => {
      // An answer that has come in the meantime counts.
      setTimeout(() => damaged('it is damaged: the HDF5 library does not come to an end'), 50)
    }, most)
    const abort = () => reject(signal?.reason)
    signal?.addEventListener('abort', abort)
    worker.once('message', resolve)
    worker.once('error', (error) => damaged(`it is damaged: ${error.message}`))
    worker.once('exit', (code) => damaged(`it is damaged: the HDF5 library ended with ${code}`))
    worker.once('exit', () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
    })
  }).finally(() => worker.terminate())
}

/** @throws Error with what was wrong */
function got<T>(read: Read<T> | undefined): T | null {
  if (read === undefined) return null
  if ('problem' in read) throw new Error(read.problem)
  return read.value
}

export class Hdf5 {
  readonly #contents: Hdf5Contents

  private constructor(contents: Hdf5Contents) {
    this.#contents = contents
  }

  /**
   * Reads a file.
   * @param root the group at the top with the weights
   * @throws (rejects) Error that says what is wrong; the signal's reason
   */
  static async read(bytes: Uint8Array, root: string, signal?: AbortSignal): Promise<Hdf5> {
    const found = await inThread({ bytes, root, attributes: ATTRIBUTES }, signal)
    if (found.is === 'no library')
      throw new Error('HDF5 is read by the package h5wasm: npm install h5wasm')
    if (found.is === 'damaged') throw new Error(`the HDF5 file cannot be read: ${found.why}`)
    return new Hdf5(found.contents)
  }

  /** A text; null: there is none. */
  text(path: string, name: string): string | null {
    const value = got(this.#contents.texts.get(`${path}\n${name}`))
    return typeof value === 'string' ? value : null
  }

  /** A list of texts; null: there is none. */
  texts(path: string, name: string): string[] | null {
    const value = got(this.#contents.texts.get(`${path}\n${name}`))
    return typeof value === 'string' ? null : value
  }

  /** @throws Error unless there is an array of floating-point numbers */
  weight(path: string): Weight {
    const found = got(this.#contents.arrays.get(path))
    if (found === null) throw new Error(`its weight '${path}' is missing`)
    return { name: path, ...found }
  }

  /** All arrays in a folder `vars`, by their numbers. */
  vars(path: string): Weight[] {
    const names = this.#contents.groups.get(`${path}/vars`) ?? []
    if (names.length > MAX_WEIGHTS) throw new Error(`it has ${names.length} weights`)
    return names
      .filter((name) => /^\d+$/.test(name))
      .sort((a, b) => Number(a) - Number(b))
      .map((name) => this.weight(`${path}/vars/${name}`))
  }
}
