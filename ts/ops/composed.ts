/** Short formulas of several tensors. */
import { checkNumber, checkOptions, typeError } from '../errors.js'
import { Tensor } from '../tensor.js'
import { add, div, mul, sub } from './arithmetic.js'
import { checkTensor } from './common.js'

/** What addcmul and addcdiv take. */
export interface ValueOptions {
  /** What the product or quotient is multiplied by; as in PyTorch. Default 1. */
  value?: number
}

export function lerp(start: Tensor, end: Tensor, weight: Tensor | number): Tensor {
  checkTensor('lerp', 'end', end)
  if (!(weight instanceof Tensor) && typeof weight !== 'number')
    throw typeError('lerp', 'weight', 'a tensor or a number', weight)
  using way = sub(end, start)
  using part = mul(way, weight)
  return add(start, part)
}

function added(
  fn: 'addcmul' | 'addcdiv',
  x: Tensor,
  first: Tensor,
  second: Tensor,
  options: ValueOptions,
): Tensor {
  checkTensor(fn, 'tensor1', first)
  checkTensor(fn, 'tensor2', second)
  checkOptions(fn, options, ['value'])
  const alpha = checkNumber(fn, 'value', options.value ?? 1)
  using part = fn === 'addcmul' ? mul(first, second) : div(first, second)
  return add(x, part, { alpha })
}

export const addcmul = (x: Tensor, a: Tensor, b: Tensor, options: ValueOptions = {}): Tensor =>
  added('addcmul', x, a, b, options)
export const addcdiv = (x: Tensor, a: Tensor, b: Tensor, options: ValueOptions = {}): Tensor =>
  added('addcdiv', x, a, b, options)
