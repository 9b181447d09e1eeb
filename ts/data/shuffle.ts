/** Orders that depend on a seed and an epoch, the same on every machine. */

import { int32s } from '../js_memory.js'
import { nextRandom } from '../random.js'

/** Whole numbers in [0, 2^32): Chris Doty-Humphrey's sfc32, started from the seed and the stream. */
export function generator(seed: number, stream: number): () => number {
  let a = seed >>> 0
  let b = Math.floor(seed / 2 ** 32) >>> 0
  let c = stream >>> 0
  let counter = 1
  const next = (): number => {
    const sum = (((a + b) | 0) + counter) | 0
    counter = (counter + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = ((c << 21) | (c >>> 11)) + sum
    return sum >>> 0
  }
  // The first numbers still look like the seed.
  for (let i = 0; i < 15; i++) next()
  return next
}

/** A whole number in [0, n) for an epoch. */
export function uniformInteger(n: number, seed: number, epoch: number): number {
  return Math.floor((generator(seed, 2 * epoch + 1)() / 2 ** 32) * n)
}

/** The numbers 0 … n − 1 in the order of an epoch (Fisher and Yates); `fn` is named where there is no room. */
export function permutation(fn: string, n: number, seed: number, epoch: number): Int32Array {
  const next = generator(seed, 2 * epoch)
  // Int32Array.from would make a list first, which may end the process.
  const order = int32s(fn, n)
  for (let i = 0; i < n; i++) order[i] = i
  for (let i = n - 1; i > 0; i--) {
    const j = Math.floor((next() / 2 ** 32) * (i + 1))
    const moved = order[i] as number
    order[i] = order[j] as number
    order[j] = moved
  }
  return order
}

/** A seed for orders, from the generator that manualSeed sets. */
export function drawSeed(): number {
  const { seed, counter } = nextRandom()
  return (seed + counter) % 2 ** 32
}
