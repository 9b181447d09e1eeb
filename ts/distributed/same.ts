/** What processes have to have in common before they train together. */
import { binding } from '../binding.js'
import { formatShape } from '../errors.js'
import type { Module } from '../nn/module.js'
import type { Tensor } from '../tensor.js'
import { attempt } from './group.js'

/**
 * Gives the parameters the values of rank 0. Fails, in the queue and in every process, when their
 * names, shapes or order are not the same everywhere.
 */
export function shareParameters(fn: string, module: Module): void {
  const named = module.namedParameters()
  sameEverywhere(fn, 'parameters', named.map(describeParameter))
  for (const [, parameter] of named) shareValues(fn, parameter)
}

/** Gives a tensor the values of rank 0. */
export function shareValues(fn: string, tensor: Tensor): void {
  attempt(fn, () => binding.broadcast(tensor.buffer, 0))
  tensor.changed(fn)
}

/** Fails, in the queue and in every process, when the lines are not the same everywhere. */
export function sameEverywhere(fn: string, what: string, lines: readonly string[]): void {
  attempt(fn, () => binding.checkSame(fn, what, lines.map((line) => `${line}\n`).join('')))
}

function describeParameter([name, parameter]: [string, Tensor]): string {
  return `'${name}' ${formatShape(parameter.shape)}${parameter.requiresGrad ? '' : ', frozen'}`
}
