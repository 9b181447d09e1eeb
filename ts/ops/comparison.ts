/** Comparisons, and what is made of booleans. None has a gradient. */
import { binding, UnaryOp } from '../binding.js'
import { checkSameDevice } from '../device.js'
import { type DType, promoted } from '../dtype.js'
import { typeError } from '../errors.js'
import { Tensor } from '../tensor.js'
import { broadcastShapes } from './common.js'
import { numberValues, pairValues } from './pairs.js'
import { countTrue, type Dims, type ReduceOptions } from './reduce.js'
import { cast } from './unary.js'

export type Relation = 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge'

/** The values as another type; itself, which the caller must not dispose, when it has that type. */
function as<T>(x: Tensor, dtype: DType, use: (values: Tensor) => T): T {
  const values = cast(x, dtype)
  try {
    return use(values)
  } finally {
    if (values !== x) values[Symbol.dispose]()
  }
}

/** The type in which a tensor meets a number or a boolean. */
export function typeWith(dtype: DType, value: number | boolean): DType {
  if (typeof value === 'boolean') return dtype
  return promoted(dtype, (value | 0) === value ? 'int32' : 'float32')
}

export function compare(op: Relation, a: Tensor, other: Tensor | number | boolean): Tensor {
  if (typeof other === 'number' || typeof other === 'boolean')
    return as(a, typeWith(a.dtype, other), (x) => numberValues(op, x, Number(other)))
  if (!(other instanceof Tensor))
    throw typeError(op, 'other', 'a tensor, a number or a boolean', other)
  checkSameDevice(op, 'other', other, a.device)
  if (a.dtype === other.dtype) return pairValues(op, a, other)
  broadcastShapes(op, a.shape, other.shape)
  const dtype = promoted(a.dtype, other.dtype)
  return as(a, dtype, (x) => as(other, dtype, (y) => pairValues(op, x, y)))
}

function logical(fn: string, op: 'maximum' | 'minimum' | 'ne', a: Tensor, other: Tensor): Tensor {
  if (!(other instanceof Tensor)) throw typeError(fn, 'other', 'a tensor', other)
  checkSameDevice(fn, 'other', other, a.device)
  broadcastShapes(fn, a.shape, other.shape)
  return as(a, 'bool', (x) => as(other, 'bool', (y) => pairValues(op, x, y, fn)))
}

export const logicalAnd = (a: Tensor, b: Tensor): Tensor => logical('logicalAnd', 'minimum', a, b)
export const logicalOr = (a: Tensor, b: Tensor): Tensor => logical('logicalOr', 'maximum', a, b)
export const logicalXor = (a: Tensor, b: Tensor): Tensor => logical('logicalXor', 'ne', a, b)
export const logicalNot = (a: Tensor): Tensor => numberValues('eq', a, 0)

export const isnan = (x: Tensor): Tensor => pairValues('ne', x, x)

function magnitude(op: 'eq' | 'lt', x: Tensor): Tensor {
  const buffer = binding.unary(UnaryOp.abs, x.buffer, 0, 0, 0)
  using size = Tensor.wrap(buffer, x.shape, x.device)
  return numberValues(op, size, Infinity)
}

export function isinf(x: Tensor): Tensor {
  return x.dtype === 'float32' ? magnitude('eq', x) : pairValues('ne', x, x)
}

export function isfinite(x: Tensor): Tensor {
  return x.dtype === 'float32' ? magnitude('lt', x) : pairValues('eq', x, x)
}

export function any(x: Tensor, dim?: Dims, options: ReduceOptions = {}): Tensor {
  using counts = countTrue('any', x, dim, options).counts
  return numberValues('ne', counts, 0)
}

export function all(x: Tensor, dim?: Dims, options: ReduceOptions = {}): Tensor {
  const { counts, most } = countTrue('all', x, dim, options)
  using count = counts
  return numberValues('eq', count, most)
}
