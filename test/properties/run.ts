/** How properties are run: how often, with which seed, and what is said of one that fails. */
import fc from 'fast-check'
import { limit } from '../limits.js'

/** A statement about drawn values: its name, and how it is checked. */
export interface Property {
  name: string
  /** Of the usual number of runs; more for what is quick. Default 1. */
  share?: number
  property: fc.IAsyncProperty<unknown>
}

/** @throws with the values for which it does not hold, made small, and the seed that finds them again */
export async function check(
  { name, share = 1, property }: Property,
  runs: number,
  seed: number,
): Promise<void> {
  const result = await fc.check(property, {
    seed,
    numRuns: Math.max(1, Math.round(runs * share)),
    // A library that hangs must not hang the tests as well.
    timeout: limit(120),
  })
  if (!result.failed) return
  const { numRuns, numShrinks, counterexamplePath, errorInstance } = result
  const where = `run ${numRuns} with seed ${seed}, path ${counterexamplePath}, made smaller ${numShrinks} times`
  const said = errorInstance instanceof Error ? errorInstance.stack : String(errorInstance)
  throw new Error(`${name}: ${where}: ${said ?? 'took too long'}`, { cause: errorInstance })
}

/** An error as the library makes them: it names the function, and it is no slip of the engine's. */
export function isClear(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  return /^\[[\w. ]+\] /.test(error.message) && !error.message.includes('internal:')
}

/** The same, for arguments. */
export function isRefusal(error: unknown): boolean {
  return (error instanceof TypeError || error instanceof RangeError) && isClear(error)
}
