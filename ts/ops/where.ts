/** A choice between two tensors, element by element. */
import { record, willRecord } from '../autograd.js'
import { type Buffer, binding } from '../binding.js'
import { checkSameDevice } from '../device.js'
import { type DType, DTypeCode, promoted } from '../dtype.js'
import { checkNumber, formatShape, rangeError, typeError } from '../errors.js'
import type { Shape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { sumLike } from './again.js'
import {
  broadcastShapes,
  broadcastStrides,
  checkNumeric,
  checkTensor,
  sumTemporaryTo,
} from './common.js'
import { compare, typeWith } from './comparison.js'
import { cast, clampNumbers } from './unary.js'

/** What stands in a place: a tensor or a number. */
type Choice = Tensor | number | boolean

/** Values without history. @param a a tensor of type `dtype`, or a number that it holds */
function choose(
  mask: { readonly buffer: Buffer },
  maskShape: Shape,
  a: Tensor | number,
  b: Tensor | number,
  shape: Shape,
  device: string,
  dtype: DType,
): Tensor {
  const strides = (of: Tensor | number): number[] =>
    broadcastStrides(typeof of === 'number' ? [] : of.shape, shape)
  const buffer = binding.where(
    mask.buffer,
    typeof a === 'number' ? null : a.buffer,
    typeof b === 'number' ? null : b.buffer,
    typeof a === 'number' ? a : 0,
    typeof b === 'number' ? b : 0,
    DTypeCode[dtype],
    shape,
    broadcastStrides(maskShape, shape),
    strides(a),
    strides(b),
  )
  return Tensor.wrap(buffer, shape, device, dtype)
}

function checkMask(fn: string, name: string, mask: unknown): Tensor {
  checkTensor(fn, name, mask)
  if ((mask as Tensor).dtype !== 'bool')
    throw typeError(fn, name, "a tensor of dtype 'bool' (of a comparison, or x.bool())", mask)
  return mask as Tensor
}

/** The type of both: a number gives way to a tensor's type as far as that can hold it. */
function typeOf(a: Choice, b: Choice): DType {
  if (a instanceof Tensor)
    return b instanceof Tensor ? promoted(a.dtype, b.dtype) : typeWith(a.dtype, b)
  if (b instanceof Tensor) return typeWith(b.dtype, a)
  return typeof a === 'boolean' && typeof b === 'boolean' ? 'bool' : 'float32'
}

/** @param fn the public function that messages name */
function chosen(fn: string, mask: Tensor, a: Choice, b: Choice, dtype: DType): Tensor {
  for (const [name, value] of [
    ['input', a],
    ['other', b],
  ] as const)
    if (value instanceof Tensor) checkSameDevice(fn, name, value, mask.device)
  const both = [a, b].filter((value) => value instanceof Tensor)
  const shape = both.reduce<Shape>((all, { shape }) => broadcastShapes(fn, all, shape), mask.shape)
  const [x, y] = [a, b].map((value) =>
    value instanceof Tensor ? cast(value, dtype) : Number(value),
  ) as [Tensor | number, Tensor | number]
  const out = choose(mask, mask.shape, x, y, shape, mask.device, dtype)
  if (x !== a && x instanceof Tensor) x[Symbol.dispose]()
  if (y !== b && y instanceof Tensor) y[Symbol.dispose]()
  const inputs = [a, b].map((value) => (value instanceof Tensor ? value : null))
  if (!willRecord(inputs)) return out
  const saved = mask.viewAs(mask.shape)
  const maskShape = mask.shape
  const shapes = inputs.map((input) => input?.shape ?? [])
  record(
    fn,
    inputs,
    [out],
    ([g], node) => {
      const dy = g as Tensor
      return shapes.map((part, i) => {
        if (!node.needs(i)) return null
        const [left, right] = i === 0 ? [dy, 0] : [0, dy]
        const own = choose(saved, maskShape, left, right, shape, dy.device, 'float32')
        return sumTemporaryTo(own, part)
      })
    },
    [saved],
    'values',
    ([g], node) =>
      shapes.map((part, i) => {
        if (!node.needs(i)) return null
        const [left, right] = i === 0 ? [g as Tensor, 0] : [0, g as Tensor]
        return sumLike(chosen(fn, saved, left, right, 'float32'), part)
      }),
  )
  return out
}

function checkChoice(fn: string, name: string, value: unknown): Choice {
  if (value instanceof Tensor || typeof value === 'number' || typeof value === 'boolean')
    return value
  throw typeError(fn, name, 'a tensor, a number or a boolean', value)
}

/**
 * `input` where the condition holds, else `other`, with NumPy broadcasting; as `torch.where`. Of two
 * types the stronger one, as for arithmetic; two numbers give float32.
 * @param condition of dtype 'bool'
 * @throws TypeError, RangeError when the shapes do not broadcast
 */
export function where(
  condition: Tensor,
  input: Tensor | number | boolean,
  other: Tensor | number | boolean,
): Tensor {
  const mask = checkMask('where', 'condition', condition)
  const a = checkChoice('where', 'input', input)
  const b = checkChoice('where', 'other', other)
  return chosen('where', mask, a, b, typeOf(a, b))
}

export function maskedFill(x: Tensor, mask: Tensor, value: Choice): Tensor {
  const fn = 'maskedFill'
  checkMask(fn, 'mask', mask)
  checkChoice(fn, 'value', value)
  if (value instanceof Tensor) {
    if (value.shape.length > 0)
      throw rangeError(
        fn,
        'value',
        'a number or a tensor of shape ()',
        `shape ${formatShape(value.shape)}`,
      )
    if (promoted(x.dtype, value.dtype) !== x.dtype)
      throw typeError(fn, 'value', `a value that ${x.dtype} can hold`, value.dtype)
  } else if (
    typeWith(x.dtype, value) !== x.dtype &&
    !(x.dtype === 'bool' && (value === 0 || value === 1))
  ) {
    throw rangeError(fn, 'value', `a value that ${x.dtype} can hold`, String(value))
  }
  return chosen(fn, mask, value, x, x.dtype)
}

/** Into [min, max], each a number, a tensor that broadcasts, or null for an open side. */
export function clamp(x: Tensor, min: Tensor | number | null, max: Tensor | number | null): Tensor {
  if (!(min instanceof Tensor) && !(max instanceof Tensor)) return clampNumbers(x, min, max)
  checkNumeric('clamp', 'tensor', x)
  const low = bounded('lt', x, 'min', min)
  const out = bounded('gt', low, 'max', max)
  if (low !== x && low !== out) low[Symbol.dispose]()
  return out
}

function bounded(op: 'lt' | 'gt', x: Tensor, name: string, bound: Tensor | number | null): Tensor {
  if (bound === null) return x
  if (bound instanceof Tensor) checkSameDevice('clamp', name, bound, x.device)
  else checkNumber('clamp', name, bound)
  using beyond = compare(op, x, bound)
  return chosen('clamp', beyond, bound, x, typeOf(bound, x))
}
