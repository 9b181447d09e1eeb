/** Shapes: sizes of dimensions, outermost first. */
import { totalmem } from 'node:os'
import { binding } from './binding.js'
import { checkInteger, formatShape, rangeError, typeError } from './errors.js'

/** Sizes of the dimensions, outermost first. */
export type Shape = readonly number[]

/** The most dimensions a tensor has. */
export const MAX_DIMS = 8

const MEMORY = totalmem()

/** The largest memory that there is: a GPU's may be larger than the machine's. */
function mostMemory(): number {
  return Math.max(MEMORY, ...binding.cuda().devices.map(({ memoryBytes }) => memoryBytes))
}

/** Product of the sizes. */
export function numelOf(shape: Shape): number {
  let n = 1
  for (const size of shape) n *= size
  return n
}

export function sameShape(a: Shape, b: Shape): boolean {
  if (a === b) return true
  if (a.length !== b.length) return false
  for (let d = 0; d < a.length; d++) if (a[d] !== b[d]) return false
  return true
}

/** Checks a shape from outside. @throws TypeError, RangeError */
export function checkShape(fn: string, shape: unknown): Shape {
  if (!Array.isArray(shape)) throw typeError(fn, 'shape', 'an array of sizes', shape)
  if (shape.length > MAX_DIMS)
    throw rangeError(fn, 'shape', `at most ${MAX_DIMS} dimensions`, `${shape.length}`)
  for (let d = 0; d < shape.length; d++) {
    if (!Number.isInteger(shape[d]) || shape[d] < 0 || shape[d] > Number.MAX_SAFE_INTEGER)
      checkInteger(fn, `shape[${d}]`, shape[d], 0)
  }
  const bytes = numelOf(shape) * 4
  // Small ones need not ask for GPUs, which takes a while the first time.
  if (bytes > MEMORY && bytes > mostMemory()) {
    throw rangeError(
      fn,
      'shape',
      `a tensor that fits this machine's memory (${mostMemory()} bytes)`,
      `${formatShape(shape)} (${bytes} bytes)`,
    )
  }
  return shape as Shape
}
