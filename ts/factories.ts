/** Functions that make tensors. */
import { type Buffer, binding, RandomKind } from './binding.js'
import { deviceNumber, deviceOption } from './device.js'
import {
  checkBoolean,
  checkNumber,
  checkOneOf,
  checkOptions,
  formatShape,
  isDetached,
  rangeError,
  typeError,
} from './errors.js'
import { expandValues } from './ops/common.js'
import { nextRandom } from './random.js'
import { checkShape, MAX_DIMS, numelOf, type Shape } from './shape.js'
import { type NestedNumbers, Tensor, type TensorOptions } from './tensor.js'

const TENSOR_OPTIONS = ['shape', 'dtype', 'device', 'requiresGrad']

/** Checks what every factory shares. @returns the device's name */
function checkTensorOptions(fn: string, options: TensorOptions): string {
  checkOptions(fn, options, TENSOR_OPTIONS)
  if (options.dtype !== undefined && options.dtype !== 'float32' && options.dtype !== 'int32') {
    throw typeError(fn, 'dtype', "'float32' or 'int32'", options.dtype)
  }
  if (options.requiresGrad !== undefined) checkBoolean(fn, 'requiresGrad', options.requiresGrad)
  return deviceOption(fn, options.device)
}

function finish(
  fn: string,
  values: Float32Array | Int32Array,
  shape: Shape,
  device: string,
  options: TensorOptions,
): Tensor {
  const dtype = values instanceof Int32Array ? 'int32' : 'float32'
  checkShape(fn, shape)
  const buffer = uploaded(fn, values, device, numelOf(shape))
  const result = Tensor.wrap(buffer, shape, device, dtype)
  if (options.requiresGrad) result.requiresGrad = true
  return result
}

function uploaded(
  fn: string,
  values: Float32Array | Int32Array,
  device: string,
  length: number,
): Buffer {
  try {
    return binding.upload(values, deviceNumber(device), length)
  } catch (cause) {
    throw new RangeError(`[${fn}] ${(cause as Error).message}`, { cause })
  }
}

/**
 * A tensor with the given values; as `torch.tensor`. The values are copied.
 * @param values a number, nested arrays, or a typed array (with `shape`)
 * @throws TypeError for ragged arrays or non-numbers; RangeError when the shape does not fit
 */
export function tensor(
  values: NestedNumbers | ArrayBufferView,
  options: TensorOptions = {},
): Tensor {
  const device = checkTensorOptions('tensor', options)
  let flat: ArrayLike<number>
  let shape: Shape
  let dtype = options.dtype
  if (ArrayBuffer.isView(values)) {
    if (
      values instanceof DataView ||
      values instanceof BigInt64Array ||
      values instanceof BigUint64Array
    ) {
      throw typeError(
        'tensor',
        'values',
        'a number, nested arrays of numbers or a typed array of numbers',
        values,
      )
    }
    flat = values as unknown as ArrayLike<number>
    if (isDetached(values))
      throw typeError('tensor', 'values', 'an array that has its memory', values)
    shape = options.shape ?? [flat.length]
    dtype ??= values instanceof Int32Array ? 'int32' : 'float32'
  } else {
    const collected: number[] = []
    const nested = flatten(values, collected)
    flat = collected
    shape = options.shape ?? nested
    dtype ??= 'float32'
  }
  checkShape('tensor', shape)
  if (numelOf(shape) !== flat.length) {
    throw rangeError('tensor', 'shape', `a shape of ${flat.length} elements`, formatShape(shape))
  }
  if (dtype === 'int32') {
    for (let i = 0; i < flat.length; i++) {
      const value = flat[i] as number
      if ((value | 0) !== value)
        throw rangeError('tensor', `values[${i}]`, 'a whole number that fits int32', String(value))
    }
    return finish(
      'tensor',
      flat instanceof Int32Array ? unshared(flat) : Int32Array.from(flat),
      shape,
      device,
      options,
    )
  }
  return finish(
    'tensor',
    flat instanceof Float32Array ? unshared(flat) : Float32Array.from(flat),
    shape,
    device,
    options,
  )
}

/** N-API does not take an array over shared memory; a copy it does. */
function unshared<T extends Float32Array | Int32Array>(values: T): T {
  return values.buffer instanceof ArrayBuffer ? values : (values.slice() as T)
}

/** Appends the numbers of nested arrays to `into`; returns their shape. */
function flatten(values: unknown, into: number[], depth = 0): number[] {
  if (typeof values === 'number') {
    into.push(values)
    return []
  }
  if (!Array.isArray(values)) {
    throw typeError(
      'tensor',
      'values',
      'a number, nested arrays of numbers or a typed array of numbers',
      values,
    )
  }
  if (depth >= MAX_DIMS)
    throw rangeError('tensor', 'values', `at most ${MAX_DIMS} dimensions`, 'deeper nesting')
  let inner: number[] | null = null
  for (const value of values) {
    const shape = flatten(value, into, depth + 1)
    if (
      inner !== null &&
      (shape.length !== inner.length || shape.some((size, d) => size !== inner?.[d]))
    ) {
      throw new TypeError(
        `[tensor] values: expected rows of one shape ${formatShape(inner)}, got ${shape.length === 0 ? 'a number' : `shape ${formatShape(shape)}`}`,
      )
    }
    inner = shape
  }
  return [values.length, ...(inner ?? [])]
}

/** A tensor full of one value; as `torch.full`. */
export function full(
  shape: Shape,
  value: number,
  options: Omit<TensorOptions, 'shape'> = {},
): Tensor {
  return filled('full', shape, value, options)
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

/** The type can only be float32. */
type RandomOptions = Omit<TensorOptions, 'shape' | 'dtype'> & { dtype?: 'float32' }

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
