/** What the suites of the conformance page share: cases, their outcomes, comparing numbers. */
import { readFileSync } from 'node:fs'
import { Tensor, tensor } from 'fused-rnn'

/** What became of one case. */
export type Outcome =
  | { is: 'passed' }
  /** The library said at the call that it does not do this. */
  | { is: 'refused'; why: string }
  /** Other numbers, or no error where one is expected. */
  | { is: 'different'; why: string }
  /** It cannot be said with the library's public API, or needs what is not here. */
  | { is: 'not run'; why: string }

export const PASSED: Outcome = { is: 'passed' }
export const different = (why: string): Outcome => ({ is: 'different', why })

export interface Result {
  name: string
  outcome: Outcome
}

export interface Suite {
  /** A heading of the page. */
  title: string
  /** What was run, with versions and tolerances: a paragraph of Markdown. */
  about: string
  results: Result[]
}

/** An array in a file of cases; see test/fixtures/conformance/files.py. */
export interface Stored {
  dtype: 'float32' | 'int32' | 'float64'
  shape: number[]
  /** Left out where the values do not matter. */
  base64?: string
}

export interface Cases<Case> {
  source: { name: string; version: string }
  cases: Case[]
}

export function read<Case>(name: string): Cases<Case> {
  const url = new URL(`../../test/fixtures/conformance/${name}.json`, import.meta.url)
  return JSON.parse(readFileSync(url, 'utf8'))
}

export function values({ dtype, shape, base64 }: Stored): Float32Array | Int32Array {
  if (base64 === undefined) return new Float32Array(shape.reduce((a, b) => a * b, 1))
  const { buffer, byteOffset, byteLength } = Buffer.from(base64, 'base64')
  const bytes = buffer.slice(byteOffset, byteOffset + byteLength)
  return dtype === 'int32' ? new Int32Array(bytes) : new Float32Array(bytes)
}

export function asTensor(stored: Stored, requiresGrad = false): Tensor {
  const dtype = stored.dtype === 'int32' ? 'int32' : 'float32'
  return tensor(values(stored), { shape: stored.shape, dtype, requiresGrad })
}

/** How far a tensor is from what is expected, as a part of max(1, |expected|); null where shapes differ. */
export async function distance(found: Tensor, expected: Stored): Promise<number | null> {
  if (String(found.shape) !== String(expected.shape)) return null
  const [data, wanted] = [await found.data(), values(expected)]
  let worst = 0
  wanted.forEach((value, i) => {
    const off = Math.abs((data[i] as number) - value) / Math.max(1, Math.abs(value))
    worst = Number.isNaN(off) ? Infinity : Math.max(worst, off)
  })
  return worst
}

/** Compares one after the other; the first that differs is the outcome. */
export async function compare(
  pairs: readonly (readonly [what: string, found: Tensor | null | undefined, expected: Stored])[],
  tolerance: number,
): Promise<Outcome> {
  for (const [what, found, expected] of pairs) {
    if (!(found instanceof Tensor)) return different(`${what} is missing`)
    const off = await distance(found, expected)
    if (off === null)
      return different(`${what} has the shape (${found.shape}), expected (${expected.shape})`)
    // One digit: the rest depends on the processor.
    if (off > tolerance) return different(`${what} is off by ${off.toPrecision(1)}`)
  }
  return PASSED
}

/** An error of the library as a reason: its message without names of files and of the function. */
export function refusal(error: unknown): Outcome {
  const { message } = error as Error
  if (!/^\[[\w.]+\] /.test(message)) throw error
  const said = message.replace(/^\[[\w.]+\] (\S+\.(onnx|keras): )?/, '')
  return { is: 'refused', why: said.replace(/^node .*? \((\w+)\): /, '$1: ') }
}

/** Runs the cases one after the other. */
export async function runAll<Case extends { name: string }>(
  cases: readonly Case[],
  run: (one: Case) => Promise<Outcome>,
): Promise<Result[]> {
  const results: Result[] = []
  for (const one of cases) results.push({ name: one.name, outcome: await run(one).catch(refusal) })
  return results
}
