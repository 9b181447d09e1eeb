/** Functions that make tensors: ranges, matrices of ones, tensors like others, random ones. */
import { type Buffer, binding } from './binding.js'
import { deviceNumber, deviceOption } from './device.js'
import {
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  rangeError,
  typeError,
} from './errors.js'
import {
  checkTensorOptions,
  full,
  ones,
  type RandomOptions,
  rand,
  randn,
  zeros,
} from './factories.js'
import { nextRandom } from './random.js'
import { checkShape, numelOf, type Shape } from './shape.js'
import { Tensor, type TensorOptions } from './tensor.js'

/** What functions that make tensors of a known shape take. */
export type FactoryOptions = Omit<TensorOptions, 'shape'>
/** What functions of whole random numbers take: the type can only be int32. */
export type IntegerOptions = { dtype?: 'int32'; device?: TensorOptions['device'] }

const NO_SHAPE = ['dtype', 'device', 'requiresGrad']

/** Checks options, which have no shape here. @returns the device's name */
function checkFactory(fn: string, options: FactoryOptions): string {
  checkOptions(fn, options, NO_SHAPE)
  const device = checkTensorOptions(fn, options)
  checkOneOf(fn, 'dtype', options.dtype ?? 'float32', ['float32', 'int32'])
  return device
}

function wrapped(buffer: Buffer, shape: Shape, device: string, integer: boolean, grad = false) {
  const out = Tensor.wrap(buffer, shape, device, integer ? 'int32' : 'float32')
  if (grad) out.requiresGrad = true
  return out
}

const fits = (value: number): boolean => (value | 0) === value

/** The options behind one to three numbers, and whether there are any. */
function split(fn: string, args: readonly (number | FactoryOptions | undefined)[]) {
  const numbers: number[] = []
  for (const [i, arg] of args.entries()) {
    if (typeof arg === 'number') {
      numbers.push(checkNumber(fn, ['start', 'end', 'step'][i] ?? 'options', arg))
      continue
    }
    if (arg !== undefined && (i === 0 || typeof arg !== 'object' || arg === null))
      throw typeError(fn, i === 0 ? 'end' : 'step', 'a number', arg)
    if (args.slice(i + 1).some((later) => later !== undefined))
      throw typeError(fn, 'options', 'to be the last argument', arg)
    return { numbers, options: arg ?? {} }
  }
  return { numbers, options: {} as FactoryOptions }
}

/**
 * The numbers from `start` (default 0) in steps of `step` (default 1) that come before `end`; as
 * `torch.arange`: `arange(end)`, `arange(start, end)`, `arange(start, end, step)`, each with options
 * behind. Whole numbers give int32 unless `dtype` says otherwise.
 * @throws TypeError; RangeError for a step of 0, or away from the end
 */
export function arange(end: number, options?: FactoryOptions): Tensor
export function arange(start: number, end: number, options?: FactoryOptions): Tensor
export function arange(start: number, end: number, step: number, options?: FactoryOptions): Tensor
export function arange(
  first: number,
  second?: number | FactoryOptions,
  third?: number | FactoryOptions,
  fourth?: FactoryOptions,
): Tensor {
  const { numbers, options } = split('arange', [first, second, third, fourth])
  if (numbers.length === 0) throw typeError('arange', 'end', 'a number', first)
  if (numbers.length > 3) throw typeError('arange', 'options', 'an object of options', fourth)
  const [start, end, step] =
    numbers.length === 1
      ? [0, numbers[0] as number, 1]
      : [numbers[0] as number, numbers[1] as number, numbers[2] ?? 1]
  const device = checkFactory('arange', options)
  if (!Number.isFinite(start)) throw rangeError('arange', 'start', 'a finite number', `${start}`)
  if (!Number.isFinite(end)) throw rangeError('arange', 'end', 'a finite number', `${end}`)
  if (step === 0 || !Number.isFinite(step))
    throw rangeError('arange', 'step', 'a finite number other than 0', String(step))
  const count = Math.ceil((end - start) / step)
  if (count < 0)
    throw rangeError('arange', 'step', `a step from ${start} towards ${end}`, String(step))
  const whole = [start, end, step].every(Number.isInteger)
  const integer = (options.dtype ?? (whole ? 'int32' : 'float32')) === 'int32'
  const last = start + step * Math.max(0, count - 1)
  checkShape('arange', [count])
  if (integer && !(fits(Math.trunc(start)) && fits(Math.trunc(last))))
    throw rangeError('arange', 'end', "numbers that fit int32 (or dtype 'float32')", `${end}`)
  const buffer = binding.ramp(count, start, step, last, integer, deviceNumber(device))
  return wrapped(buffer, [count], device, integer, options.requiresGrad)
}

/** `steps` numbers from `start` to `end`, both included, evenly apart; as `torch.linspace`. */
export function linspace(
  start: number,
  end: number,
  steps: number,
  options: FactoryOptions = {},
): Tensor {
  const device = checkFactory('linspace', options)
  for (const [name, value] of [
    ['start', start],
    ['end', end],
  ] as const) {
    checkNumber('linspace', name, value)
    if (!Number.isFinite(value)) throw rangeError('linspace', name, 'a finite number', `${value}`)
  }
  checkShape('linspace', [checkInteger('linspace', 'steps', steps, 0)])
  const integer = options.dtype === 'int32'
  if (integer && !(fits(Math.trunc(start)) && fits(Math.trunc(end))))
    throw rangeError('linspace', 'start, end', 'numbers that fit int32', `${start}, ${end}`)
  const step = steps > 1 ? (end - start) / (steps - 1) : 0
  const buffer = binding.ramp(steps, start, step, end, integer, deviceNumber(device))
  return wrapped(buffer, [steps], device, integer, options.requiresGrad)
}

/** A matrix (n, m), or (n, n), with ones on its diagonal and zeros elsewhere; as `torch.eye`. */
export function eye(n: number, options?: FactoryOptions): Tensor
export function eye(n: number, m: number, options?: FactoryOptions): Tensor
export function eye(n: number, second?: number | FactoryOptions, third?: FactoryOptions): Tensor {
  const rows = checkInteger('eye', 'n', n, 0)
  const square = typeof second !== 'number'
  if (square && third !== undefined) throw typeError('eye', 'm', 'a whole number', second)
  const columns = square ? rows : checkInteger('eye', 'm', second, 0)
  const given = square ? second : third
  const options = given === undefined ? {} : given
  const device = checkFactory('eye', options)
  const shape = checkShape('eye', [rows, columns])
  const integer = options.dtype === 'int32'
  const buffer = binding.eye(rows, columns, integer, deviceNumber(device))
  return wrapped(buffer, shape, device, integer, options.requiresGrad)
}

// ---- Like another ----------------------------------------------------------------------------------

/** The shape of x, and options that are x's type and device where they are not given. */
function like(fn: string, x: unknown, options: FactoryOptions): [Shape, FactoryOptions] {
  if (!(x instanceof Tensor)) throw typeError(fn, 'tensor', 'a tensor', x)
  checkOptions(fn, options, NO_SHAPE)
  return [
    x.shape,
    { ...options, dtype: options.dtype ?? x.dtype, device: options.device ?? x.device },
  ]
}

/** Zeros of a tensor's shape, type and device; as `torch.zeros_like`. */
export function zerosLike(x: Tensor, options: FactoryOptions = {}): Tensor {
  return zeros(...like('zerosLike', x, options))
}

/** Ones of a tensor's shape, type and device; as `torch.ones_like`. */
export function onesLike(x: Tensor, options: FactoryOptions = {}): Tensor {
  return ones(...like('onesLike', x, options))
}

/** One value in a tensor's shape, type and device; as `torch.full_like`. */
export function fullLike(x: Tensor, value: number, options: FactoryOptions = {}): Tensor {
  const [shape, rest] = like('fullLike', x, options)
  return full(shape, value, rest)
}

/** As {@link rand}, of a float32 tensor's shape and device; as `torch.rand_like`. */
export function randLike(x: Tensor, options: RandomOptions = {}): Tensor {
  const [shape, rest] = like('randLike', x, options)
  return rand(shape, rest as RandomOptions)
}

/** As {@link randn}, of a float32 tensor's shape and device; as `torch.randn_like`. */
export function randnLike(x: Tensor, options: RandomOptions = {}): Tensor {
  const [shape, rest] = like('randnLike', x, options)
  return randn(shape, rest as RandomOptions)
}

// ---- Random ----------------------------------------------------------------------------------------

function integerDevice(fn: string, options: IntegerOptions): string {
  checkOptions(fn, options, ['dtype', 'device'])
  checkOneOf(fn, 'dtype', options.dtype ?? 'int32', ['int32'])
  return deviceOption(fn, options.device)
}

function integers(shape: Shape, low: number, range: number, device: string): Tensor {
  const { seed, counter } = nextRandom()
  const number = deviceNumber(device)
  const buffer = binding.randomIntegers(numelOf(shape), low, range, seed, counter, number)
  return Tensor.wrap(buffer, shape, device, 'int32')
}

/**
 * Whole random numbers, int32, each of [low, high) as likely; `low` may be left out and is 0 then. As
 * `torch.randint`.
 */
export function randint(high: number, shape: Shape, options?: IntegerOptions): Tensor
export function randint(low: number, high: number, shape: Shape, options?: IntegerOptions): Tensor
export function randint(
  first: number,
  second: number | Shape,
  third?: Shape | IntegerOptions,
  fourth?: IntegerOptions,
): Tensor {
  const short = Array.isArray(second)
  const low = short ? 0 : checkInteger('randint', 'low', first, -(2 ** 31), 2 ** 31 - 1)
  const high = checkInteger('randint', 'high', short ? first : second, low + 1, 2 ** 31)
  const shape = checkShape('randint', short ? second : third)
  if (short && fourth !== undefined)
    throw typeError('randint', 'shape', 'one array of sizes', second)
  const options = short ? (third as IntegerOptions | undefined) : fourth
  const device = integerDevice('randint', options === undefined ? {} : options)
  return integers(shape, low, high - low, device)
}

/** The numbers 0 … n − 1 in a random order, int32; as `torch.randperm`. */
export function randperm(n: number, options: IntegerOptions = {}): Tensor {
  checkInteger('randperm', 'n', n, 0, 2 ** 31 - 1)
  checkShape('randperm', [n])
  const device = integerDevice('randperm', options)
  // Of two equal keys, which are rare, the first stays in front.
  using keys = integers([n], -(2 ** 31), 2 ** 32, device)
  return keys.argsort(0)
}
