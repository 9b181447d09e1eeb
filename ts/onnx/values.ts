/** What goes from operator to operator: tensors, and whole numbers that are known without waiting. */
import { formatShape, rangeError, typeError } from '../errors.js'
import { tensor } from '../factories.js'
import { knownValues } from '../known_values.js'
import { numelOf, type Shape } from '../shape.js'
import { Tensor } from '../tensor.js'

/** More whole numbers are kept in a tensor. */
export const MOST_INTS = 4096

/** Whole numbers, as operators take shapes, axes and positions. */
export class Ints {
  readonly shape: Shape
  readonly values: readonly number[]
  readonly dtype: 'int32' | 'bool'

  constructor(shape: Shape, values: readonly number[], dtype: 'int32' | 'bool' = 'int32') {
    this.shape = shape
    this.values = values
    this.dtype = dtype
  }

  static list(values: readonly number[]): Ints {
    return new Ints([values.length], values)
  }

  /** The same numbers in another shape. @throws RangeError */
  reshaped(shape: Shape): Ints {
    if (numelOf(shape) !== this.values.length)
      throw rangeError('onnx', 'shape', `one of ${this.values.length} elements`, formatShape(shape))
    return new Ints(shape, this.values, this.dtype)
  }
}

export type Val = Tensor | Ints

/** @throws RangeError for what int32 cannot hold */
export function tensorOf(value: Val, device: string): Tensor {
  if (value instanceof Tensor) return value
  const wrong = value.values.find((number) => number !== (number | 0))
  if (wrong !== undefined) throw rangeError('onnx', 'values', 'numbers of int32', String(wrong))
  const { shape, dtype } = value
  return tensor(Int32Array.from(value.values), { shape, dtype, device })
}

/** @throws TypeError for values that have been computed by a device */
export function intsOf(value: Val, what: string): readonly number[] {
  if (value instanceof Ints) return value.values
  const known = knownValues(value)
  if (known === null)
    throw typeError(
      'onnx',
      what,
      'whole numbers of the file, of a shape, or of an input that is given as an array',
      value,
    )
  return [...known]
}

/** A dimension, counted from the end below zero. @throws RangeError */
export function axisOf(axis: number, rank: number, what = 'axis'): number {
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank)
    throw rangeError('onnx', what, `one of ${rank} dimensions`, String(axis))
  return axis < 0 ? axis + rank : axis
}

/** The dimensions, each once, in rising order. @throws RangeError */
export function axesOf(axes: readonly number[], rank: number): number[] {
  const found = new Set(axes.map((axis) => axisOf(axis, rank, 'axes')))
  if (found.size !== axes.length)
    throw rangeError('onnx', 'axes', 'each dimension once', axes.join(', '))
  return [...found].sort((a, b) => a - b)
}
