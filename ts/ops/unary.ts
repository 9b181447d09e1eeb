/** Functions of one element. */
import { type Backward, record, willRecord } from '../autograd.js'
import { binding, UnaryOp } from '../binding.js'
import type { DType } from '../dtype.js'
import { checkNumber, checkOptions, rangeError, typeError } from '../errors.js'
import { Tensor } from '../tensor.js'
import { unaryAgain } from './again.js'
import { castValues } from './common.js'

type OpName = keyof typeof UnaryOp

/** Operations that keep int32 values; the others turn them into float32. */
const INTEGER_OPS: readonly OpName[] = ['neg', 'abs', 'relu', 'clamp', 'sign', 'square']
/** What whole numbers are already. */
const WHOLE_OPS: readonly OpName[] = ['round', 'floor', 'ceil', 'trunc']
/** What the derivative is made of: the output, nothing but the gradient, or, of all others, the input. */
const FROM_OUTPUT: readonly OpName[] = [
  ...(['exp', 'sqrt', 'tanh', 'sigmoid', 'relu', 'tan', 'expm1', 'exp2'] as const),
  ...(['rsqrt', 'reciprocal'] as const),
]
const FROM_NOTHING: readonly OpName[] = ['neg', 'sign', ...WHOLE_OPS]

/** @param fn the public function that messages name */
export function unary(op: OpName, x: Tensor, p = 0, q = 0, r = 0, fn: string = op): Tensor {
  const code = UnaryOp[op]
  if (x.dtype !== 'float32') {
    const kept = INTEGER_OPS.includes(op)
    const whole = WHOLE_OPS.includes(op)
    if (x.dtype === 'bool' && (kept || whole))
      throw typeError(fn, 'tensor', 'a float32 or int32 tensor', 'bool')
    if (whole) return x.clone()
    if (kept) return Tensor.wrap(binding.unary(code, x.buffer, p, q, r), x.shape, x.device, 'int32')
    using real = castValues(x, 'float32')
    return Tensor.wrap(binding.unary(code, real.buffer, p, q, r), x.shape, x.device)
  }
  const out = Tensor.wrap(binding.unary(code, x.buffer, p, q, r), x.shape, x.device)
  if (!willRecord([x])) return out
  const { shape } = x
  const source = FROM_OUTPUT.includes(op) ? out : x
  const saved = FROM_NOTHING.includes(op) ? null : source.share()
  const backward: Backward = ([g]) => {
    const dy = g as Tensor
    const dx = binding.unaryBackward(code, dy.buffer, (saved ?? dy).buffer, p, q)
    return [Tensor.wrap(dx, shape, dy.device)]
  }
  const again = unaryAgain(op, backward, source === out ? 'output' : 'input', saved, shape, p)
  record(fn, [x], [out], backward, saved === null ? [] : [saved], 'values', again)
  return out
}

export const neg = (x: Tensor): Tensor => unary('neg', x)
export const abs = (x: Tensor): Tensor => unary('abs', x)
export const exp = (x: Tensor): Tensor => unary('exp', x)
export const log = (x: Tensor): Tensor => unary('log', x)
export const sqrt = (x: Tensor): Tensor => unary('sqrt', x)
export const tanh = (x: Tensor): Tensor => unary('tanh', x)
export const sigmoid = (x: Tensor): Tensor => unary('sigmoid', x)
export const relu = (x: Tensor): Tensor => unary('relu', x)
export const sign = (x: Tensor): Tensor => unary('sign', x)
export const round = (x: Tensor): Tensor => unary('round', x)
export const floor = (x: Tensor): Tensor => unary('floor', x)
export const ceil = (x: Tensor): Tensor => unary('ceil', x)
export const trunc = (x: Tensor): Tensor => unary('trunc', x)
export const sin = (x: Tensor): Tensor => unary('sin', x)
export const cos = (x: Tensor): Tensor => unary('cos', x)
export const tan = (x: Tensor): Tensor => unary('tan', x)
export const asin = (x: Tensor): Tensor => unary('asin', x)
export const acos = (x: Tensor): Tensor => unary('acos', x)
export const atan = (x: Tensor): Tensor => unary('atan', x)
export const sinh = (x: Tensor): Tensor => unary('sinh', x)
export const cosh = (x: Tensor): Tensor => unary('cosh', x)
export const erf = (x: Tensor): Tensor => unary('erf', x)
export const log1p = (x: Tensor): Tensor => unary('log1p', x)
export const expm1 = (x: Tensor): Tensor => unary('expm1', x)
export const log2 = (x: Tensor): Tensor => unary('log2', x)
export const log10 = (x: Tensor): Tensor => unary('log10', x)
export const exp2 = (x: Tensor): Tensor => unary('exp2', x)
export const rsqrt = (x: Tensor): Tensor => unary('rsqrt', x)
export const reciprocal = (x: Tensor): Tensor => unary('reciprocal', x)
export const square = (x: Tensor): Tensor => unary('square', x)

/** x to the power of a number. */
export function power(x: Tensor, exponent: number): Tensor {
  checkNumber('pow', 'exponent', exponent)
  if (x.dtype !== 'float32') throw typeError('pow', 'tensor', 'a float32 tensor', x.dtype)
  return unary('pow', x, exponent)
}

/** Into [min, max], which are numbers; null leaves a side open. */
export function clampNumbers(x: Tensor, min: number | null, max: number | null): Tensor {
  if (min === null && max === null) {
    throw rangeError('clamp', 'min, max', 'at least one of them', 'neither')
  }
  const low = min === null ? -Infinity : checkNumber('clamp', 'min', min)
  const high = max === null ? Infinity : checkNumber('clamp', 'max', max)
  const whole = [low, high].every((bound) => Number.isInteger(bound) || !Number.isFinite(bound))
  if (x.dtype === 'int32' && !whole) {
    using real = castValues(x, 'float32')
    return unary('clamp', real, low, high)
  }
  return unary('clamp', x, low, high)
}

/** float32 values of the same tensor; itself when it is float32. */
export function float(x: Tensor): Tensor {
  return cast(x, 'float32')
}

/** int32 values, cut towards zero; itself when it is int32. */
export function int(x: Tensor): Tensor {
  return cast(x, 'int32')
}

/** Values of another type; itself when it has it. Only float32 has gradients. */
export function cast(x: Tensor, dtype: DType): Tensor {
  return x.dtype === dtype ? x : castValues(x, dtype)
}

/** What nanToNum takes: numbers in place of those that are none, or infinite. */
export interface NanToNumOptions {
  /** Default 0. */
  nan?: number
  /** Default the largest float32. */
  posinf?: number
  /** Default the least float32. */
  neginf?: number
}

const LARGEST = 3.4028234663852886e38

export function nanToNum(x: Tensor, options: NanToNumOptions = {}): Tensor {
  checkOptions('nanToNum', options, ['nan', 'posinf', 'neginf'])
  const nan = checkNumber('nanToNum', 'nan', options.nan ?? 0)
  const posinf = checkNumber('nanToNum', 'posinf', options.posinf ?? LARGEST)
  const neginf = checkNumber('nanToNum', 'neginf', options.neginf ?? -LARGEST)
  if (x.dtype !== 'float32') return x.clone()
  return unary('nanToNum', x, nan, posinf, neginf)
}
