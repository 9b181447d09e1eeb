/** Checks of options that several optimisers have. */
import { checkNumber, rangeError, typeError } from '../errors.js'
import type { Check } from './optimizer.js'

export const atLeastZero: Check = (fn, name, value) => checkNumber(fn, name, value, 0)

/** Two numbers in [0, 1). */
export const checkBetas: Check = (fn, name, value) => {
  checkPair(fn, name, value, 'two numbers [beta1, beta2]').forEach((beta, i) => {
    checkNumber(fn, `${name}[${i}]`, beta, 0, 1)
    if (beta === 1) throw rangeError(fn, `${name}[${i}]`, 'a number below 1', '1')
  })
}

export function checkPair(fn: string, name: string, value: unknown, expected: string): number[] {
  if (!Array.isArray(value) || value.length !== 2) throw typeError(fn, name, expected, value)
  return value
}
