/**
 * The whole native surface, typed. Nobody else loads the addon.
 *
 * Every call either returns at once (the work goes on the queue) or returns a promise. Sizes are
 * checked by the callers in ts/; the native side checks them once more against the buffers.
 */
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** A share of a native buffer; opaque here. */
export type Buffer = { readonly __fusedRnnBuffer: unique symbol }

export const BinaryOp = { add: 0, sub: 1, mul: 2, div: 3 } as const

export interface EngineInfo {
  /** Instruction set of the CPU kernels: 'avx512', 'avx2' or 'base'. */
  isa: string
  threads: number
  liveBytes: number
  peakBytes: number
  cachedBytes: number
  liveBuffers: number
}

export interface Binding {
  // memory
  upload(values: Float32Array | Int32Array): Buffer
  view(buffer: Buffer, offset: number, length: number): Buffer
  release(buffer: Buffer): void
  /** Copies values (same length and type) into an existing buffer. */
  copyInto(to: Buffer, from: Buffer): void
  read(buffer: Buffer): Promise<Float32Array | Int32Array>
  synchronize(): Promise<void>
  /** A promise for room in the queue, or null when there is room now. */
  room(): Promise<void> | null
  /** The first failure that no promise has reported yet. */
  takeError(): string | null
  setThreads(threads: number): void
  info(): EngineInfo

  // pointwise
  fill(length: number, value: number): Buffer
  binary(
    op: number,
    a: Buffer,
    b: Buffer,
    shape: readonly number[],
    aStrides: readonly number[],
    bStrides: readonly number[],
  ): Buffer

  // linear
  linear(x: Buffer, w: Buffer, b: Buffer | null, m: number, inputs: number, outputs: number): Buffer
  /** `x` is needed for dw, `w` for dx; null where the gradient is not wanted. */
  linearBackward(
    dy: Buffer,
    x: Buffer | null,
    w: Buffer | null,
    m: number,
    inputs: number,
    outputs: number,
    bias: boolean,
  ): [dx: Buffer | null, dw: Buffer | null, db: Buffer | null]

  // rows by index
  gatherRows(
    op: string,
    x: Buffer,
    index: Buffer,
    outer: number,
    rows: number,
    width: number,
    fill: number,
  ): Buffer
  scatterAddRows(
    dy: Buffer,
    index: Buffer,
    outer: number,
    rows: number,
    width: number,
    skip: number,
  ): Buffer
}

function load(): Binding {
  const root = join(dirname(fileURLToPath(import.meta.url)), '..')
  const require = createRequire(import.meta.url)
  const nodeGypBuild = require('node-gyp-build') as (dir: string) => Binding
  try {
    return nodeGypBuild(root)
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    if (!message.includes('No native build was found')) throw error
    throw new Error(
      `fused-rnn: the native addon is not built for this platform. Build it with: npm run build:native (in ${root})`,
      { cause: error },
    )
  }
}

export const binding: Binding = load()
