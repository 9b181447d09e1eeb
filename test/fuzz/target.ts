/** What fuzzed readers share. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

export interface Target {
  /** Inputs to begin with. @param folder an empty one, to make them in */
  seeds(folder: string): Promise<Uint8Array[]>
  /** @throws (rejects) only what is a mistake of the library's */
  run(input: Uint8Array, folder: string): Promise<void>
  /** The input with its lengths put right, so that not all changes end at the first check. */
  repair(input: Uint8Array): Uint8Array
  /** The most bytes of an input. Default 8192. */
  longest?: number
}

/** Rethrows what is no error of the library's that begins as it should. */
export function expectClear(error: unknown, expected: RegExp): void {
  const { message } = error as Error
  if (error instanceof Error && expected.test(message) && !message.includes('internal:')) return
  throw error
}

const NUL = Buffer.of(0)

/** So many texts up to a byte of value 0 each, and the rest. */
export function parts(input: Uint8Array, texts: number): Buffer[] {
  let rest = Buffer.from(input)
  const found: Buffer[] = []
  for (let i = 0; i < texts; i++) {
    const end = rest.indexOf(0)
    found.push(end < 0 ? rest : rest.subarray(0, end))
    rest = end < 0 ? Buffer.alloc(0) : rest.subarray(end + 1)
  }
  return [...found, rest]
}

export const join0 = (list: readonly Uint8Array[]): Buffer =>
  Buffer.concat(list.flatMap((part, i) => (i === 0 ? [part] : [NUL, part])))

export const write = (folder: string, files: Record<string, Uint8Array>): void => {
  mkdirSync(folder, { recursive: true })
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(folder, name), bytes)
}
