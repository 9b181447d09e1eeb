/** Values in the configuration of a layer. */
import { describe } from '../../errors.js'
import type { Config } from './topology.js'

/** @throws Error for another value than a whole number of at least 1 */
export function size(config: Config, key: string): number {
  const value = single(config[key])
  if (!Number.isSafeInteger(value) || (value as number) < 1)
    throw new Error(`its ${key} is ${describe(config[key])}`)
  return value as number
}

/** A number that may stand in a list of one. */
export function single(value: unknown): unknown {
  return Array.isArray(value) && value.length === 1 ? value[0] : value
}

/** @param otherwise where nothing is said */
export function flag(config: Config, key: string, otherwise: boolean): boolean {
  const value = config[key] ?? otherwise
  if (typeof value !== 'boolean') throw new Error(`its ${key} is ${describe(value)}`)
  return value
}

/** A number in [0, 1), or at least 0. */
export function number(config: Config, key: string, otherwise: number, below = Infinity): number {
  const value = config[key] ?? otherwise
  if (typeof value !== 'number' || !(value >= 0 && value < below))
    throw new Error(`its ${key} is ${describe(value)}`)
  return value
}

/** @throws Error that names an option with another value than the ones that are known */
export function only(config: Config, values: Record<string, readonly unknown[]>): void {
  for (const [key, known] of Object.entries(values)) {
    const value = single(config[key]) ?? null
    if (value !== null && !known.includes(value))
      throw new Error(
        `its ${key} is ${describe(config[key])}${known.length === 0 ? ', which is not known here' : `; known is ${known.map(describe).join(', ')}`}`,
      )
  }
}
