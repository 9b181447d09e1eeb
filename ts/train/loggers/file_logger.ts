/** What the loggers that write files share: where the files go, and writing without waiting. */
import { mkdir, open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { checkInteger, checkOptions, typeError } from '../../errors.js'
import { exists, makeFolders } from '../../io/folders.js'
import { readText } from '../../io/open_file.js'
import { checkPath } from '../../io/path.js'
import { writeWhole } from '../../io/whole_file.js'
import type { Logger } from '../types.js'

/** A file that is longer is not one of ours. */
const READ = { limit: 2 ** 29 }

/** What every logger that writes files takes. */
export interface LoggerOptions {
  /** A folder in saveDir for runs that belong together. Default: saveDir itself. */
  name?: string
  /**
   * The run's own folder: a number for `version_N`, or its name. Files that are there are continued;
   * where training resumes from a checkpoint, they are first cut back to its step. Default: the next
   * number that is free.
   */
  version?: number | string
}

/** Base of the loggers: records go to a queue that one write at a time works off. */
export abstract class FileLogger implements Logger {
  readonly saveDir: string
  readonly name: string
  /** `saveDir/name/version_N`; null before the first record. */
  logDir: string | null = null
  readonly #title: string
  readonly #version: number | string | null
  #queue: Promise<void> = Promise.resolve()
  #failure: Error | null = null

  /** @throws TypeError, RangeError */
  protected constructor(title: string, saveDir: string | URL, options: LoggerOptions) {
    this.#title = title
    this.saveDir = checkPath(title, 'saveDir', saveDir, 'the path of a folder')
    checkOptions(title, options, ['name', 'version'])
    const { name = '', version = null } = options
    if (typeof name !== 'string') throw typeError(title, 'name', 'the name of a folder', name)
    if (typeof version === 'number') checkInteger(title, 'version', version, 0)
    else if (version !== null && (typeof version !== 'string' || version === ''))
      throw typeError(title, 'version', 'a number or the name of a folder', version)
    this.name = name
    this.#version = version
  }

  /** Writes a record, in the background. @throws what an earlier record met with */
  logMetrics(metrics: Readonly<Record<string, number>>, step: number): void {
    if (this.#failure !== null) throw this.#failure
    const record = { ...metrics }
    this.#enqueue(async () => {
      this.logDir ??= await this.#makeFolder()
      await this.write(this.logDir, record, step)
    })
  }

  /**
   * Takes out of the run's files what was logged after a checkpoint from which training goes on.
   * @throws (rejects) Error when a file cannot be changed
   */
  async resume(step: number, records: number): Promise<void> {
    checkInteger(`${this.#title}.resume`, 'step', step, 0)
    checkInteger(`${this.#title}.resume`, 'records', records, 0)
    this.#enqueue(async () => {
      // Without a version, a new run has a folder of its own.
      if (this.logDir === null && this.#version === null) return
      this.logDir ??= await this.#makeFolder()
      await this.cut(this.logDir, step, records)
    })
    await this.finalize()
  }

  #enqueue(work: () => Promise<void>): void {
    this.#queue = this.#queue.then(async () => {
      if (this.#failure !== null) return
      try {
        await work()
      } catch (error) {
        const { message } = error as Error
        const folder = this.logDir ?? join(this.saveDir, this.name)
        this.#failure = new Error(`[${this.#title}] cannot write into '${folder}': ${message}`, {
          cause: error,
        })
      }
    })
  }

  /** Settles when every record is in the file. @throws (rejects) Error when one could not be written */
  async finalize(): Promise<void> {
    await this.#queue
    if (this.#failure !== null) throw this.#failure
  }

  /** Writes one record into its file in a folder that is there. */
  protected abstract write(
    folder: string,
    metrics: Readonly<Record<string, number>>,
    step: number,
  ): Promise<void>

  /** Removes the records after `step` from the files in a folder; of `step`, it leaves `records`. */
  protected abstract cut(folder: string, step: number, records: number): Promise<void>

  async #makeFolder(): Promise<string> {
    const parent = join(this.saveDir, this.name)
    await makeFolders(parent)
    if (this.#version !== null) {
      const version = this.#version
      const folder = join(parent, typeof version === 'number' ? `version_${version}` : version)
      await makeFolders(folder)
      return folder
    }
    const taken = (await readdir(parent)).map((file) => Number(/^version_(\d+)$/.exec(file)?.[1]))
    let next = Math.max(-1, ...taken.filter((number) => !Number.isNaN(number))) + 1
    for (;;) {
      const folder = join(parent, `version_${next}`)
      try {
        await mkdir(folder)
        return folder
      } catch (error) {
        // Another run began at the same moment.
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
        next++
      }
    }
  }
}

/** Records in the order of a file, without those after a step; of that step, the first `records`. */
export function before<T>(
  all: readonly T[],
  stepOf: (record: T) => number,
  step: number,
  records: number,
): T[] {
  let left = records
  return all.filter((record) => {
    const at = stepOf(record)
    return at < step || (at === step && left-- > 0)
  })
}

/** The complete lines of a text file; a crash may have left a part of one more. None without a file. */
export async function linesOf(path: string): Promise<string[]> {
  if (!(await exists(path))) return []
  return (await readText(path, READ)).split('\n').slice(0, -1)
}

/** A reader finds the old lines or the new ones, also after a crash. */
export async function replaceLines(path: string, lines: readonly string[]): Promise<void> {
  await writeWhole(path, lines.map((line) => `${line}\n`).join(''))
}

/** Takes away a part of a line that a crash has left at the end of a file. */
export async function endLine(path: string): Promise<void> {
  const file = await open(path, 'r+').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  if (file === null) return
  try {
    const info = await file.stat()
    if (!info.isFile()) return
    const { size } = info
    const byte = Buffer.alloc(1)
    let end = size
    for (; end > 0; end--) {
      await file.read(byte, 0, 1, end - 1)
      if (byte[0] === 10) break
    }
    if (end < size) await file.truncate(end)
  } finally {
    await file.close()
  }
}
