/** maximum, minimum and other functions of two tensors, with NumPy broadcasting and gradients. */
import { type Backward, record, willRecord } from '../autograd.js'
import { binding, UnaryOp } from '../binding.js'
import { checkSameDevice } from '../device.js'
import { promoted } from '../dtype.js'
import { rangeError, typeError } from '../errors.js'
import { Tensor } from '../tensor.js'
import { filled, sumLike } from './again.js'
import { broadcastShapes, sumTemporaryTo } from './common.js'
import { typeWith } from './comparison.js'
import { numberValues, type PairName, pairValues } from './pairs.js'
import { cast, power } from './unary.js'

/** The gradient of an input, of the shape of the output; a new tensor. */
type Part = (dy: Tensor, a: Tensor, b: Tensor) => Tensor

/** dy times a function of a and b. */
function times(dy: Tensor, factor: Tensor): Tensor {
  using own = factor
  return pairValues('mul', dy, own)
}

function negated(x: Tensor): Tensor {
  using own = x
  return Tensor.wrap(binding.unary(UnaryOp.neg, own.buffer, 0, 0, 0), own.shape, own.device)
}

const copied = (dy: Tensor): Tensor =>
  Tensor.wrap(binding.clone(dy.buffer), dy.shape, dy.device, dy.dtype)

const share = (op: PairName, swap = false): Part => {
  return (dy, a, b) => times(dy, swap ? pairValues(op, b, a) : pairValues(op, a, b))
}

/** The quotient, towards the whole number below (remainder) or towards 0 (fmod). */
const quotient = (op: 'floor' | 'trunc'): Part => {
  return (dy, a, b) => {
    using exact = pairValues('div', a, b)
    const buffer = binding.unary(UnaryOp[op], exact.buffer, 0, 0, 0)
    return negated(times(dy, Tensor.wrap(buffer, exact.shape, exact.device)))
  }
}

type Named = 'maximum' | 'minimum' | 'fmod' | 'remainder' | 'atan2' | 'pow'

/** The gradients of a and of b. */
const PARTS: Record<Named, readonly [Part, Part]> = {
  maximum: [share('maximumShare'), share('maximumShare', true)],
  minimum: [share('minimumShare'), share('minimumShare', true)],
  fmod: [copied, quotient('trunc')],
  remainder: [copied, quotient('floor')],
  atan2: [share('atan2Share'), (dy, a, b) => negated(times(dy, pairValues('atan2Share', b, a)))],
  pow: [share('powBase'), share('powExponent')],
}

/** The same, made of operations that are recorded; of those that PARTS only multiplies, PARTS does. */
const AGAIN: Partial<Record<Named, readonly [Part, Part]>> = {
  atan2: [(dy, a, b) => dy.mul(overSquares(b, a)), (dy, a, b) => dy.mul(overSquares(a, b)).neg()],
  pow: [
    (dy, a, b) => {
      const base = a.maskedFill(a.eq(0).logicalAnd(b.eq(0)), 1)
      return dy.mul(b.mul(base.pow(b.sub(1))))
    },
    (dy, a, b) => {
      const base = a.maskedFill(a.eq(0).logicalAnd(b.ge(0)), 1)
      return dy.mul(a.pow(b).mul(base.log()))
    },
  ],
}

/** a / (a² + b²) where neither square is too large or too small; 0 where both are 0. */
function overSquares(a: Tensor, b: Tensor): Tensor {
  const most = a.detach().abs().maximum(b.detach().abs())
  const scale = most.maskedFill(most.eq(0), 1)
  const [x, y] = [a.div(scale), b.div(scale)]
  const squares = x.square().add(y.square())
  return x.div(squares.maskedFill(most.eq(0), 1)).div(scale)
}

/** On float32 tensors. */
function floats(op: Named, a: Tensor, b: Tensor): Tensor {
  const out = pairValues(op, a, b)
  if (!willRecord([a, b])) return out
  const [x, y] = [a.viewAs(a.shape), b.viewAs(b.shape)]
  record(
    op,
    [a, b],
    [out],
    ([g], node) =>
      [x, y].map(({ shape }, i) => {
        if (!node.needs(i)) return null
        const part = PARTS[op][i] as Part
        return sumTemporaryTo(part(g as Tensor, x, y), shape)
      }),
    [x, y],
    'values',
    ([g], node) => {
      const dy = g as Tensor
      return [x, y].map(({ shape }, i) => {
        if (!node.needs(i)) return null
        const again = AGAIN[op]?.[i]
        if (again === undefined) {
          const factor = (PARTS[op][i] as Part)(filled(dy.shape, 1, dy.device), x, y)
          return sumLike(dy.mul(factor), shape)
        }
        const a = node.input(0, x, x.shape, dy.device)
        const b = node.input(1, y, y.shape, dy.device)
        return sumLike(again(dy, a, b), shape)
      })
    },
  )
  return out
}

/** Of two types the stronger one, or float32 where the function knows no other. */
function pair(op: Named, a: Tensor, b: Tensor): Tensor {
  checkSameDevice(op, 'other', b, a.device)
  if (a.dtype === 'float32' && b.dtype === 'float32') return floats(op, a, b)
  broadcastShapes(op, a.shape, b.shape)
  const both = promoted(a.dtype, b.dtype)
  const extreme = op === 'maximum' || op === 'minimum'
  const least = extreme ? 'bool' : op === 'fmod' || op === 'remainder' ? 'int32' : 'float32'
  const dtype = promoted(both, least)
  const x = cast(a, dtype)
  const y = cast(b, dtype)
  const out = dtype === 'float32' ? floats(op, x, y) : pairValues(op, x, y)
  if (x !== a) x[Symbol.dispose]()
  if (y !== b) y[Symbol.dispose]()
  return out
}

function checkOther(op: Named, name: string, other: unknown): Tensor {
  if (other instanceof Tensor) return other
  throw typeError(op, name, 'a tensor', other)
}

export function maximum(a: Tensor, other: Tensor): Tensor {
  return pair('maximum', a, checkOther('maximum', 'other', other))
}
export function minimum(a: Tensor, other: Tensor): Tensor {
  return pair('minimum', a, checkOther('minimum', 'other', other))
}
export function atan2(a: Tensor, other: Tensor): Tensor {
  return pair('atan2', a, checkOther('atan2', 'other', other))
}

function rest(op: 'fmod' | 'remainder', a: Tensor, other: Tensor | number): Tensor {
  if (other instanceof Tensor) return pair(op, a, other)
  if (typeof other !== 'number') throw typeError(op, 'other', 'a tensor or a number', other)
  const dtype = typeWith(promoted(a.dtype, 'int32'), other)
  if (dtype === 'int32' && other === 0)
    throw rangeError(op, 'other', 'a divisor other than 0 for int32', '0')
  const x = cast(a, dtype)
  const out = numberValues(op, x, other)
  if (x !== a) x[Symbol.dispose]()
  const backward: Backward = ([dy]) => [dy as Tensor]
  record(op, [a], [out], backward, [], 'values', backward)
  return out
}
export function fmod(a: Tensor, other: Tensor | number): Tensor {
  return rest('fmod', a, other)
}
export function remainder(a: Tensor, other: Tensor | number): Tensor {
  return rest('remainder', a, other)
}

export function pow(x: Tensor, exponent: Tensor | number): Tensor {
  return exponent instanceof Tensor ? pair('pow', x, exponent) : power(x, exponent)
}
