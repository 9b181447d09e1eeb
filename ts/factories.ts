/** Functions that make tensors. */
import { types } from 'node:util'
import { type Buffer, binding, RandomKind } from './binding.js'
import { deviceNumber, deviceOption } from './device.js'
import { dtypeOf, isDType, type Values } from './dtype.js'
import {
  checkBoolean,
  checkNumber,
  checkOneOf,
  checkOptions,
  formatShape,
  rangeError,
  typeError,
} from './errors.js'
import { remember } from './known_values.js'
import { checkNumbers, Nested, type NumberArray } from './nested.js'
import { expandValues } from './ops/common.js'
import { nextRandom } from './random.js'
import { checkShape, numelOf, type Shape } from './shape.js'
import { type NestedNumbers, Tensor, type TensorOptions } from './tensor.js'

const TENSOR_OPTIONS = ['shape', 'dtype', 'device', 'requiresGrad']

/** Internal: checks what every factory shares. @returns the device's name */
export function checkTensorOptions(fn: string, options: TensorOptions): string {
  checkOptions(fn, options, TENSOR_OPTIONS)
  if (options.dtype !== undefined && !isDType(options.dtype)) {
    throw typeError(fn, 'dtype', "'float32', 'int32' or 'bool'", options.dtype)
  }
  if (options.requiresGrad !== undefined) checkBoolean(fn, 'requiresGrad', options.requiresGrad)
  return deviceOption(fn, options.device)
}

function finish(
  fn: string,
  values: Values,
  shape: Shape,
  device: string,
  options: TensorOptions,
): Tensor {
  checkShape(fn, shape)
  const buffer = uploaded(fn, values, device, numelOf(shape))
  const result = Tensor.wrap(buffer, shape, device, dtypeOf(values))
  if (options.requiresGrad) result.requiresGrad = true
  return result
}

function uploaded(fn: string, values: Values, device: string, length: number): Buffer {
  try {
    return binding.upload(values, deviceNumber(device), length)
  } catch (cause) {
    throw new RangeError(`[${fn}] ${(cause as Error).message}`, { cause })
  }
}

/**
 * A tensor with the given values; as `torch.tensor`. The values are copied.
 * @param values a number, nested arrays (of numbers or, innermost, typed arrays), or a typed array
 *   (with `shape`). Int32Arrays give int32, anything else float32
 * @throws TypeError for ragged arrays or non-numbers, with the place: `values[3][5]`; RangeError when
 *   the shape does not fit
 */
export function tensor(
  values: NestedNumbers | ArrayBufferView,
  options: TensorOptions = {},
): Tensor {
  const device = checkTensorOptions('tensor', options)
  const given = ArrayBuffer.isView(values)
    ? checkNumbers('tensor', 'values', values)
    : new Nested('tensor', values)
  const shape = options.shape ?? (given instanceof Nested ? given.shape : [given.length])
  checkShape('tensor', shape)
  if (numelOf(shape) !== given.length) {
    throw rangeError('tensor', 'shape', `a shape of ${given.length} elements`, formatShape(shape))
  }
  const integer = given instanceof Nested ? given.integer : types.isInt32Array(given)
  const booleans = given instanceof Nested && given.boolean
  const dtype = options.dtype ?? (booleans ? 'bool' : integer ? 'int32' : 'float32')
  const flat = ARRAYS[dtype](given)
  const result = finish('tensor', flat, shape, device, options)
  // Lengths of sequences, for example; arrays of a type their owner has anyway.
  if (given instanceof Nested && types.isInt32Array(flat) && shape.length === 1)
    remember(result, flat)
  return result
}

function float32sOf(given: NumberArray | Nested): Float32Array {
  if (given instanceof Nested) return given.floats()
  return types.isFloat32Array(given) ? unshared(given) : Float32Array.from(given)
}

/** Whether each is not 0; NaN is not, as in PyTorch. */
function bytesOf(given: NumberArray | Nested): Uint8Array {
  if (given instanceof Nested) return given.booleans()
  const bytes = new Uint8Array(given.length)
  for (let i = 0; i < bytes.length; i++) bytes[i] = given[i] === 0 ? 0 : 1
  return bytes
}

/** @throws RangeError for an element that int32 cannot hold */
function int32sOf(given: NumberArray | Nested): Int32Array {
  if (given instanceof Nested) return given.integers()
  if (types.isInt32Array(given)) return unshared(given)
  for (let i = 0; i < given.length; i++) {
    const value = given[i] as number
    if ((value | 0) !== value)
      throw rangeError('tensor', `values[${i}]`, 'a whole number that fits int32', String(value))
  }
  return Int32Array.from(given)
}

/** N-API does not take an array over shared memory; a copy it does. */
function unshared<T extends Values>(values: T): T {
  return types.isArrayBuffer(values.buffer) ? values : (values.slice() as T)
}

/** What an array becomes, by the type of the tensor. */
const ARRAYS = { float32: float32sOf, int32: int32sOf, bool: bytesOf } as const

/** A tensor full of one value; as `torch.full`. A boolean gives 'bool'. */
export function full(
  shape: Shape,
  value: number | boolean,
  options: Omit<TensorOptions, 'shape'> = {},
): Tensor {
  if (typeof value === 'boolean' && options.dtype === undefined)
    return filled('full', shape, Number(value), { ...options, dtype: 'bool' })
  return filled('full', shape, typeof value === 'boolean' ? Number(value) : value, options)
}

/** As `torch.zeros`. */
export function zeros(shape: Shape, options: Omit<TensorOptions, 'shape'> = {}): Tensor {
  return filled('zeros', shape, 0, options)
}

/** As `torch.ones`. */
export function ones(shape: Shape, options: Omit<TensorOptions, 'shape'> = {}): Tensor {
  return filled('ones', shape, 1, options)
}

function filled(fn: string, shape: Shape, value: number, options: TensorOptions): Tensor {
  checkShape(fn, shape)
  const device = checkTensorOptions(fn, options)
  if (typeof value !== 'number') throw typeError(fn, 'value', 'a number', value)
  if (options.dtype === 'bool') {
    using one = finish(fn, Uint8Array.of(value === 0 ? 0 : 1), [], device, options)
    return expandValues(one, shape)
  }
  if (options.dtype === 'int32') {
    if ((value | 0) !== value)
      throw rangeError(fn, 'value', 'a whole number that fits int32', String(value))
    // Not an array of JavaScript's, which would be filled here and now.
    using one = finish(fn, Int32Array.of(value), [], device, options)
    return expandValues(one, shape)
  }
  const buffer = binding.fill(numelOf(shape), value, deviceNumber(device))
  const result = Tensor.wrap(buffer, shape, device)
  if (options.requiresGrad) result.requiresGrad = true
  return result
}

/** What functions of random numbers take: the type can only be float32. */
export type RandomOptions = Omit<TensorOptions, 'shape' | 'dtype'> & { dtype?: 'float32' }

/** Normal random numbers, mean 0 and standard deviation 1; as `torch.randn`. */
export function randn(shape: Shape, options: RandomOptions = {}): Tensor {
  return random('randn', RandomKind.normal, shape, 0, 1, options)
}

/** Uniform random numbers in [0, 1); as `torch.rand`. */
export function rand(shape: Shape, options: RandomOptions = {}): Tensor {
  return random('rand', RandomKind.uniform, shape, 0, 1, options)
}

/** Uniform random numbers in [low, high). */
export function uniform(
  shape: Shape,
  low: number,
  high: number,
  options: RandomOptions = {},
): Tensor {
  checkNumber('uniform', 'low', low)
  checkNumber('uniform', 'high', high, low)
  return random('uniform', RandomKind.uniform, shape, low, high, options)
}

/** Normal random numbers of a mean and a standard deviation; as `torch.normal`. */
export function normal(
  mean: number,
  std: number,
  shape: Shape,
  options: RandomOptions = {},
): Tensor {
  checkNumber('normal', 'mean', mean)
  checkNumber('normal', 'std', std, 0)
  return random('normal', RandomKind.normal, shape, mean, std, options)
}

function random(
  fn: string,
  kind: number,
  shape: Shape,
  a: number,
  b: number,
  options: RandomOptions,
): Tensor {
  checkShape(fn, shape)
  checkOptions(fn, options, ['dtype', 'device', 'requiresGrad'])
  const device = checkTensorOptions(fn, options)
  checkOneOf(fn, 'dtype', options.dtype ?? 'float32', ['float32'])
  const { seed, counter } = nextRandom()
  const number = deviceNumber(device)
  const buffer = binding.random(kind, numelOf(shape), a, b, seed, counter, number)
  const result = Tensor.wrap(buffer, shape, device)
  if (options.requiresGrad) result.requiresGrad = true
  return result
}
