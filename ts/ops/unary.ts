/** Functions of one element. */
import { type Backward, record, willRecord } from '../autograd.js'
import { binding, UnaryOp } from '../binding.js'
import type { DType } from '../dtype.js'
import { checkNumber, rangeError, typeError } from '../errors.js'
import { Tensor } from '../tensor.js'
import { unaryAgain } from './again.js'
import { castValues } from './common.js'

type OpName = keyof typeof UnaryOp

/** Operations that keep int32 values; the others turn them into float32. */
const INTEGER_OPS: readonly OpName[] = ['neg', 'abs', 'relu', 'clamp']
/** What the derivative is made of: the output, the input or nothing but the gradient. */
const FROM_OUTPUT: readonly OpName[] = ['exp', 'sqrt', 'tanh', 'sigmoid', 'relu']

function unary(op: OpName, x: Tensor, p = 0, q = 0): Tensor {
  const code = UnaryOp[op]
  if (x.dtype !== 'float32') {
    if (INTEGER_OPS.includes(op)) {
      if (x.dtype === 'bool') throw typeError(op, 'tensor', 'a float32 or int32 tensor', 'bool')
      return Tensor.wrap(binding.unary(code, x.buffer, p, q), x.shape, x.device, 'int32')
    }
    using real = castValues(x, 'float32')
    return Tensor.wrap(binding.unary(code, real.buffer, p, q), x.shape, x.device)
  }
  const out = Tensor.wrap(binding.unary(code, x.buffer, p, q), x.shape, x.device)
  if (!willRecord([x])) return out
  const { shape } = x
  const source = FROM_OUTPUT.includes(op) ? out : x
  const saved = op === 'neg' ? null : source.share()
  const backward: Backward = ([g]) => {
    const dy = g as Tensor
    const dx = binding.unaryBackward(code, dy.buffer, (saved ?? dy).buffer, p, q)
    return [Tensor.wrap(dx, shape, dy.device)]
  }
  const again = unaryAgain(op, backward, source === out ? 'output' : 'input', saved, shape, p)
  record(op, [x], [out], backward, saved === null ? [] : [saved], 'values', again)
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

export function pow(x: Tensor, exponent: number): Tensor {
  checkNumber('pow', 'exponent', exponent)
  if (x.dtype !== 'float32') throw typeError('pow', 'tensor', 'a float32 tensor', x.dtype)
  return unary('pow', x, exponent)
}

export function clamp(x: Tensor, min: number | null, max: number | null): Tensor {
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
