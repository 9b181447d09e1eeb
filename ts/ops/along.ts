/** Elements by an index of their own each, along one dimension: gather, scatter and what builds on them. */
import { type Backward, record, willRecord } from '../autograd.js'
import { binding } from '../binding.js'
import { checkSameDevice } from '../device.js'
import { checkNumber, checkOptions, formatShape, rangeError, typeError } from '../errors.js'
import type { Shape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { castValues, checkDim, checkNumeric, checkTensor, fromFront, splitAt } from './common.js'
import { cat, expand, narrowTo, reshape } from './shape.js'

export function checkIndex(fn: string, index: unknown, device: string): Tensor {
  if (!(index instanceof Tensor)) throw typeError(fn, 'index', 'an int32 tensor', index)
  if (index.dtype !== 'int32') throw typeError(fn, 'index', 'an int32 tensor', index.dtype)
  checkSameDevice(fn, 'index', index, device)
  return index
}

/** Whether `index` fits x: as many dimensions, and none but `dim` longer. */
function checkRank(fn: string, x: Tensor, dim: number, index: Tensor): void {
  const rank = x.shape.length
  if (
    index.shape.length !== rank ||
    index.shape.some((size, d) => d !== dim && size > (x.shape[d] as number))
  ) {
    const most = formatShape(x.shape.map((size, d) => (d === dim ? '…' : size)))
    throw rangeError(fn, 'index', `${rank} dimensions of at most ${most}`, formatShape(index.shape))
  }
}

/** x cut to the index's sizes in all dimensions but `dim`. */
function cut(x: Tensor, dim: number, shape: Shape): Tensor {
  let out = x
  shape.forEach((size, d) => {
    if (d !== dim && out.shape[d] !== size) out = narrowTo(out, d, 0, size)
  })
  return out
}

/** out[i…] = x[…index[i…]…], with history; shapes equal but in `dim`. */
export function gathered(fn: string, x: Tensor, dim: number, index: Tensor): Tensor {
  const { outer, n, inner } = splitAt(x.shape, dim)
  const m = index.shape[dim] ?? 1
  const out = Tensor.wrap(
    binding.gather(fn, x.buffer, index.buffer, outer, n, m, inner),
    index.shape,
    x.device,
    x.dtype,
  )
  if (!willRecord([x])) return out
  const before = x.shape
  const saved = index.viewAs(index.shape)
  const backward: Backward = ([g]) => [summed(fn, before, dim, saved, g as Tensor)]
  record(fn, [x], [out], backward, [saved], 'values', backward)
  return out
}

/** Zeros of `shape` with src added where index says, with history: gathered()'s backward. */
export function summed(fn: string, shape: Shape, dim: number, index: Tensor, src: Tensor): Tensor {
  const { outer, n, inner } = splitAt(shape, dim)
  const m = index.shape[dim] ?? 1
  const out = Tensor.wrap(
    binding.scatter(fn, null, index.buffer, src.buffer, 0, outer, n, m, inner, true),
    shape,
    src.device,
    src.dtype,
  )
  if (!willRecord([src])) return out
  const saved = index.viewAs(index.shape)
  const backward: Backward = ([g]) => [gathered(fn, g as Tensor, dim, saved)]
  record(fn, [src], [out], backward, [saved], 'values', backward)
  return out
}

/** x with src (or a number) set, or added, where index says, with history; equal but in `dim`. */
function scattered(
  fn: string,
  x: Tensor,
  dim: number,
  index: Tensor,
  src: Tensor | number,
  add: boolean,
): Tensor {
  const { outer, n, inner } = splitAt(x.shape, dim)
  const m = index.shape[dim] ?? 1
  const from = src instanceof Tensor ? src : null
  const number = src instanceof Tensor ? 0 : src
  const out = Tensor.wrap(
    binding.scatter(
      fn,
      x.buffer,
      index.buffer,
      from?.buffer ?? null,
      number,
      outer,
      n,
      m,
      inner,
      add,
    ),
    x.shape,
    x.device,
    x.dtype,
  )
  if (!willRecord([x, from])) return out
  const saved = index.viewAs(index.shape)
  const backward: Backward = ([g], node) => {
    const dy = g as Tensor
    const kept = () => (add ? dy : scattered(fn, dy, dim, saved, 0, false))
    return [node.needs(0) ? kept() : null, node.needs(1) ? gathered(fn, dy, dim, saved) : null]
  }
  record(fn, [x, from], [out], backward, [saved], 'values', backward)
  return out
}

/** The same where x is longer than index in other dimensions too: what lies beyond stays. */
function scatterInto(
  fn: string,
  x: Tensor,
  dim: number,
  index: Tensor,
  src: Tensor | number,
  add: boolean,
  from = 0,
): Tensor {
  for (let d = from; d < x.shape.length; d++) {
    const size = index.shape[d] as number
    const full = x.shape[d] as number
    if (d === dim || size === full) continue
    const near = scatterInto(fn, narrowTo(x, d, 0, size), dim, index, src, add, d + 1)
    return cat([near, narrowTo(x, d, size, full - size)], d)
  }
  return scattered(fn, x, dim, index, src, add)
}

/** Vectors for numbers of shape (), as PyTorch takes them. */
function asVector(x: Tensor): Tensor {
  return x.shape.length === 0 ? reshape(x, [1]) : x
}

export function gather(x: Tensor, dim: number, index: Tensor): Tensor {
  checkTensor('gather', 'tensor', x)
  if (x.dtype === 'bool') {
    using whole = castValues(x, 'int32')
    using out = gather(whole, dim, index)
    return castValues(out, 'bool')
  }
  const d = checkDim('gather', 'dim', dim, x.shape.length)
  checkIndex('gather', index, x.device)
  const [from, at] = [asVector(x), asVector(index)]
  checkRank('gather', from, d, at)
  const out = gathered('gather', cut(from, d, at.shape), d, at)
  return index.shape.length === 0 ? reshape(out, []) : out
}

function checkScatter(
  fn: string,
  x: Tensor,
  dim: number,
  index: Tensor,
  src: Tensor | number,
  add: boolean,
): Tensor {
  checkNumeric(fn, 'tensor', x)
  const d = checkDim(fn, 'dim', dim, x.shape.length)
  checkIndex(fn, index, x.device)
  const [to, at] = [asVector(x), asVector(index)]
  checkRank(fn, to, d, at)
  let from: Tensor | number
  if (src instanceof Tensor) {
    if (src.dtype !== x.dtype) throw typeError(fn, 'src', `a ${x.dtype} tensor`, src.dtype)
    checkSameDevice(fn, 'src', src, x.device)
    from = asVector(src)
    const { shape } = from
    if (
      shape.length !== at.shape.length ||
      shape.some((size, i) => size < (at.shape[i] as number))
    ) {
      const least = `at least the index's shape ${formatShape(at.shape)}`
      throw rangeError(fn, 'src', least, formatShape(shape))
    }
    from = cut(from, -1, at.shape)
  } else {
    from = checkValue(fn, 'src', src, x, add)
  }
  const out = scatterInto(fn, to, d, at, from, add)
  return x.shape.length === 0 ? reshape(out, []) : out
}

function checkValue(fn: string, name: string, value: unknown, x: Tensor, onlyTensor = false) {
  if (onlyTensor) throw typeError(fn, name, 'a tensor', value)
  if (typeof value !== 'number') throw typeError(fn, name, 'a tensor or a number', value)
  if (x.dtype === 'int32' && (value | 0) !== value)
    throw rangeError(fn, name, 'a whole number that fits int32', String(value))
  return value
}

export function scatter(x: Tensor, dim: number, index: Tensor, src: Tensor | number): Tensor {
  return checkScatter('scatter', x, dim, index, src, false)
}

export function scatterAdd(x: Tensor, dim: number, index: Tensor, src: Tensor): Tensor {
  return checkScatter('scatterAdd', x, dim, index, src, true)
}

// ---- Whole slices by a vector of indices -----------------------------------------------------------

/** What indexAdd takes. */
export interface IndexAddOptions {
  /** What `src` is multiplied by first. Default 1. */
  alpha?: number
}

/** The vector `index` as an index of each element of src. */
function spread(
  fn: string,
  x: Tensor,
  dim: number,
  index: Tensor,
  shape: Shape | null,
): [dim: number, index: Tensor] {
  checkNumeric(fn, 'tensor', x)
  if (x.shape.length === 0) throw rangeError(fn, 'tensor', 'at least one dimension', '()')
  const d = checkDim(fn, 'dim', dim, x.shape.length)
  checkIndex(fn, index, x.device)
  if (index.shape.length > 1)
    throw rangeError(fn, 'index', 'one dimension', formatShape(index.shape))
  const wanted = x.shape.map((size, i) => (i === d ? index.numel : size))
  if (
    shape !== null &&
    (shape.length !== wanted.length || shape.some((size, i) => size !== wanted[i]))
  ) {
    throw rangeError(fn, 'src', `shape ${formatShape(wanted)}`, formatShape(shape))
  }
  const column = wanted.map((_, i) => (i === d ? index.numel : 1))
  return [d, expand(reshape(index, column), wanted)]
}

function checkSource(fn: string, x: Tensor, src: unknown): Tensor {
  if (!(src instanceof Tensor)) throw typeError(fn, 'src', 'a tensor', src)
  if (src.dtype !== x.dtype) throw typeError(fn, 'src', `a ${x.dtype} tensor`, src.dtype)
  checkSameDevice(fn, 'src', src, x.device)
  return src
}

export function indexAdd(
  x: Tensor,
  dim: number,
  index: Tensor,
  src: Tensor,
  options: IndexAddOptions = {},
): Tensor {
  checkOptions('indexAdd', options, ['alpha'])
  const alpha = checkNumber('indexAdd', 'alpha', options.alpha ?? 1)
  checkNumeric('indexAdd', 'tensor', x)
  const from = checkSource('indexAdd', x, src)
  if (x.dtype === 'int32' && !Number.isInteger(alpha))
    throw rangeError('indexAdd', 'alpha', 'a whole number for int32 tensors', String(alpha))
  const [d, at] = spread('indexAdd', x, dim, index, from.shape)
  return scattered('indexAdd', x, d, at, alpha === 1 ? from : from.mul(alpha), true)
}

export function indexCopy(x: Tensor, dim: number, index: Tensor, src: Tensor): Tensor {
  checkNumeric('indexCopy', 'tensor', x)
  const from = checkSource('indexCopy', x, src)
  const [d, at] = spread('indexCopy', x, dim, index, from.shape)
  return scattered('indexCopy', x, d, at, from, false)
}

export function indexFill(x: Tensor, dim: number, index: Tensor, value: number): Tensor {
  checkNumeric('indexFill', 'tensor', x)
  const number = checkValue('indexFill', 'value', value, x)
  const size = x.shape[checkDim('indexFill', 'dim', dim, x.shape.length)] ?? 1
  checkIndex('indexFill', index, x.device)
  const [d, at] = spread('indexFill', x, dim, fromFront(index, size), null)
  return scattered('indexFill', x, d, at, number, false)
}
