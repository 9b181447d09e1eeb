/** add, sub, mul, div with NumPy broadcasting. The pattern for a differentiable operation. */
import { record, willRecord } from '../autograd.js'
import { binding, UnaryOp } from '../binding.js'
import { checkSameDevice } from '../device.js'
import { promoted } from '../dtype.js'
import { checkNumber, checkOptions, rangeError, typeError } from '../errors.js'
import { Tensor } from '../tensor.js'
import { sumLike } from './again.js'
import { broadcastShapes, castValues, sumTemporaryTo, sumTo } from './common.js'
import { numberValues, pairValues } from './pairs.js'
import { cast } from './unary.js'

type OpName = 'add' | 'sub' | 'mul' | 'div'

function negated(x: Tensor): Tensor {
  return Tensor.wrap(binding.unary(UnaryOp.neg, x.buffer, 0, 0, 0), x.shape, x.device)
}

/** With a number: no second tensor is made. */
function withNumber(op: OpName, a: Tensor, value: number): Tensor {
  const whole = op !== 'div' && (value | 0) === value
  if (a.dtype !== 'float32' && (a.dtype === 'bool' || !whole)) {
    using number = castValues(a, whole ? 'int32' : 'float32')
    return numberValues(op, number, value)
  }
  const out = numberValues(op, a, value)
  const shifts = op === 'add' || op === 'sub'
  record(
    op,
    [a],
    [out],
    ([g]) => [shifts ? (g as Tensor) : numberValues(op, g as Tensor, value)],
    [],
    'values',
    ([g]) => [shifts ? (g as Tensor) : withNumber(op, g as Tensor, value)],
  )
  return out
}

/**
 * Of two types the stronger one: bool gives way to int32, and that to float32; div is always
 * float32. int32 wraps around; add and mul of bool are "or" and "and", as in PyTorch.
 */
function withTensor(op: OpName, a: Tensor, b: Tensor): Tensor {
  checkSameDevice(op, 'other', b, a.device)
  if (a.dtype === 'float32' && b.dtype === 'float32') return floats(op, a, b)
  const dtype = op === 'div' ? 'float32' : promoted(a.dtype, b.dtype)
  if (dtype === 'int32' && a.dtype === b.dtype) return pairValues(op, a, b)
  if (dtype === 'bool' && op === 'sub')
    throw typeError(op, 'tensors', 'float32 or int32 (of bool use logicalXor)', 'two of bool')
  if (dtype === 'bool') return pairValues(op === 'add' ? 'maximum' : 'minimum', a, b, op)
  broadcastShapes(op, a.shape, b.shape)
  const x = cast(a, dtype)
  const y = cast(b, dtype)
  const out = dtype === 'int32' ? pairValues(op, x, y) : floats(op, x, y)
  if (x !== a) x[Symbol.dispose]()
  if (y !== b) y[Symbol.dispose]()
  return out
}

function floats(op: OpName, a: Tensor, b: Tensor): Tensor {
  const out = pairValues(op, a, b)
  if (!willRecord([a, b])) return out
  const { shape: aShape } = a
  const { shape: bShape } = b
  if (op === 'add' || op === 'sub') {
    record(
      op,
      [a, b],
      [out],
      ([g], node) => {
        const dy = g as Tensor
        const da = node.needs(0) ? sumTo(dy, aShape) : null
        if (!node.needs(1)) return [da, null]
        const db = sumTo(dy, bShape)
        if (op === 'add') return [da, db]
        const minus = negated(db)
        if (db !== dy) db[Symbol.dispose]()
        return [da, minus]
      },
      [],
      'values',
      ([g], node) => {
        const dy = g as Tensor
        const da = node.needs(0) ? sumLike(dy, aShape) : null
        if (!node.needs(1)) return [da, null]
        const db = sumLike(dy, bShape)
        return [da, op === 'add' ? db : db.neg()]
      },
    )
    return out
  }
  const outShape = out.shape
  // mul: da = dy b, db = dy a. div: da = dy / b, db = -dy out / b.
  const other = op === 'mul' ? a : out
  const savedB = a.requiresGrad || op === 'div' ? b.viewAs(b.shape) : null
  const savedOther = b.requiresGrad ? other.viewAs(other.shape) : null
  record(
    op,
    [a, b],
    [out],
    ([g], node) => {
      const dy = g as Tensor
      const da = node.needs(0) ? sumTemporaryTo(pairValues(op, dy, savedB as Tensor), aShape) : null
      if (!node.needs(1)) return [da, null]
      const product = pairValues('mul', dy, savedOther as Tensor)
      if (op === 'mul') return [da, sumTemporaryTo(product, bShape)]
      using quotient = pairValues('div', product, savedB as Tensor)
      product[Symbol.dispose]()
      const sum = sumTo(quotient, bShape)
      const db = negated(sum)
      if (sum !== quotient) sum[Symbol.dispose]()
      return [da, db]
    },
    [savedB, savedOther].filter((t) => t !== null),
    'values',
    ([g], node) => {
      const dy = g as Tensor
      const { device } = dy
      const y = savedB && node.input(1, savedB, bShape, device)
      const da = node.needs(0) && y ? sumLike(op === 'mul' ? dy.mul(y) : dy.div(y), aShape) : null
      if (!node.needs(1) || savedOther === null) return [da, null]
      const db =
        op === 'mul'
          ? dy.mul(node.input(0, savedOther, aShape, device))
          : dy
              .mul(node.output(0, savedOther, outShape, device))
              .div(y as Tensor)
              .neg()
      return [da, sumLike(db, bShape)]
    },
  )
  return out
}

function binary(op: OpName, a: Tensor, other: Tensor | number): Tensor {
  if (typeof other === 'number') return withNumber(op, a, other)
  if (other instanceof Tensor) return withTensor(op, a, other)
  throw typeError(op, 'other', 'a tensor or a number', other)
}

/** What add and sub take. */
export interface AlphaOptions {
  /** What `other` is multiplied by first; as in `torch.add`. Default 1. */
  alpha?: number
}

/** a + alpha · other, or a − alpha · other. */
function scaled(op: 'add' | 'sub', a: Tensor, other: Tensor | number, options: AlphaOptions) {
  checkOptions(op, options, ['alpha'])
  const alpha = checkNumber(op, 'alpha', options.alpha ?? 1)
  if (alpha === 1) return binary(op, a, other)
  if (typeof other === 'number') return binary(op, a, other * alpha)
  if (!(other instanceof Tensor)) throw typeError(op, 'other', 'a tensor or a number', other)
  if (promoted(a.dtype, other.dtype) !== 'float32' && !Number.isInteger(alpha))
    throw rangeError(op, 'alpha', 'a whole number unless a tensor is float32', String(alpha))
  using product = withNumber('mul', other, alpha)
  return binary(op, a, product)
}

export function add(a: Tensor, other: Tensor | number, options?: AlphaOptions): Tensor {
  return options === undefined ? binary('add', a, other) : scaled('add', a, other, options)
}
export function sub(a: Tensor, other: Tensor | number, options?: AlphaOptions): Tensor {
  return options === undefined ? binary('sub', a, other) : scaled('sub', a, other, options)
}
export function mul(a: Tensor, other: Tensor | number): Tensor {
  return binary('mul', a, other)
}
export function div(a: Tensor, other: Tensor | number): Tensor {
  return binary('div', a, other)
}
