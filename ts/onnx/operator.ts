/** What an operator of ONNX is here. */
import { rangeError } from '../errors.js'
import type { Attributes } from './attributes.js'
import { intsOf, type Val } from './values.js'

export type Given = readonly (Val | null | undefined)[]

/** What an operator computes. @param device for what it makes anew */
export type Run = (inputs: Given, device: string) => readonly Val[]

export interface Operator {
  attributes: readonly string[]
  /** How many inputs there may be. */
  inputs: readonly [least: number, most: number]
  /** How many outputs there may be. */
  outputs: number
  /** @throws Error for attributes with values that are not known */
  make(attributes: Attributes, opset: number, outputs: number): Run
}

/** An operator with one output. */
export const one = (
  attributes: readonly string[],
  inputs: readonly [number, number],
  make: (attributes: Attributes, opset: number) => (inputs: Given, device: string) => Val,
): Operator => ({
  attributes,
  inputs,
  outputs: 1,
  make(given, opset) {
    const run = make(given, opset)
    return (values, device) => [run(values, device)]
  },
})

/** Axes: an attribute up to a version, an input from it on. */
export function axesFrom(
  attributes: Attributes,
  opset: number,
  since: number,
): (inputs: Given) => readonly number[] | null {
  const given = attributes.ints('axes')
  if (opset >= since) {
    if (given !== null) attributes.refuse(`attribute 'axes' is an input since version ${since}`)
    return ([, axes]) => (axes == null ? null : intsOf(axes, 'axes'))
  }
  return (inputs) => {
    if (inputs[1] != null) throw rangeError('onnx', 'axes', 'an attribute', 'an input')
    return given
  }
}
