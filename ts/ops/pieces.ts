/** A tensor cut along a dimension. */
import { type Backward, record, willRecord } from '../autograd.js'
import { binding } from '../binding.js'
import { checkInteger, formatShape, rangeError, typeError } from '../errors.js'
import type { Shape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { filled } from './again.js'
import { checkDim, checkTensor, splitAt } from './common.js'
import { cat, narrowTo, reshape } from './shape.js'

/**
 * The pieces of these sizes along a dimension, which they fill, with one node for the history of all.
 * @param shapeOf the shape of a piece of this size
 */
function pieces(
  fn: string,
  x: Tensor,
  dim: number,
  sizes: readonly number[],
  shapeOf: (size: number) => Shape,
): Tensor[] {
  const { outer, n, inner } = splitAt(x.shape, dim)
  let begin = 0
  const out = sizes.map((size) => {
    const from = begin * inner
    begin += size
    if (outer === 1) return x.viewAs(shapeOf(size), from)
    const values = binding.copyStrided(x.buffer, [outer, size * inner], [n * inner, 1], from)
    return Tensor.wrap(values, shapeOf(size), x.device, x.dtype)
  })
  if (!willRecord([x])) return out
  const { shape } = x
  const widths = sizes.map((size) => size * inner)
  const backward: Backward = (gradients) => {
    const { device } = gradients.find((g) => g !== null) as Tensor
    const parts = gradients.map((g) => g?.buffer ?? null)
    return [Tensor.wrap(binding.concat(parts, widths, outer), shape, device)]
  }
  const again: Backward = (gradients) => {
    const { device } = gradients.find((g) => g !== null) as Tensor
    const rows = gradients.map((g, i) => {
      const size = [outer, widths[i] as number]
      return g === null ? filled(size, 0, device) : reshape(g, size)
    })
    return [reshape(cat(rows, 1), shape)]
  }
  record(fn, [x], out, backward, [], 'values', again)
  return out
}

function checkCut(fn: string, x: Tensor, dim: number): number {
  checkTensor(fn, 'tensor', x)
  if (x.shape.length === 0) throw rangeError(fn, 'tensor', 'at least one dimension', '()')
  return checkDim(fn, 'dim', dim, x.shape.length)
}

function cut(fn: string, x: Tensor, dim: number, sizes: readonly number[]): Tensor[] {
  return pieces(fn, x, dim, sizes, (size) => x.shape.map((n, d) => (d === dim ? size : n)))
}

/** Sizes of `size`, the last perhaps less. */
function inSteps(n: number, size: number): number[] {
  if (n === 0) return [0]
  return Array.from({ length: Math.ceil(n / size) }, (_, i) => Math.min(size, n - i * size))
}

export function split(x: Tensor, size: number | readonly number[], dim = 0): Tensor[] {
  const d = checkCut('split', x, dim)
  const n = x.shape[d] as number
  if (!Array.isArray(size)) {
    if (typeof size !== 'number')
      throw typeError('split', 'size', 'a whole number or an array of them', size)
    return cut('split', x, d, inSteps(n, checkInteger('split', 'size', size, n === 0 ? 0 : 1)))
  }
  const sizes = (size as readonly number[]).map((one, i) =>
    checkInteger('split', `size[${i}]`, one, 0),
  )
  const total = sizes.reduce((a, b) => a + b, 0)
  if (sizes.length === 0 || total !== n)
    throw rangeError('split', 'size', `sizes that add up to ${n}`, `[${sizes.join(', ')}]`)
  return cut('split', x, d, sizes)
}

export function chunk(x: Tensor, chunks: number, dim = 0): Tensor[] {
  const d = checkCut('chunk', x, dim)
  checkInteger('chunk', 'chunks', chunks, 1)
  const n = x.shape[d] as number
  if (n === 0) return cut('chunk', x, d, new Array<number>(Math.min(chunks, 1000)).fill(0))
  return cut('chunk', x, d, inSteps(n, Math.ceil(n / chunks)))
}

export function unbind(x: Tensor, dim = 0): Tensor[] {
  const d = checkCut('unbind', x, dim)
  const shape = x.shape.filter((_, i) => i !== d)
  return pieces('unbind', x, d, new Array<number>(x.shape[d] as number).fill(1), () => shape)
}

export function narrow(x: Tensor, dim: number, start: number, length: number): Tensor {
  const d = checkCut('narrow', x, dim)
  const n = x.shape[d] as number
  const begin = checkInteger('narrow', 'start', start, -n, n)
  const from = begin < 0 ? begin + n : begin
  checkInteger('narrow', 'length', length, 0)
  if (from + length > n) {
    const expected = `at most ${n - from} elements from ${start} on in shape ${formatShape(x.shape)}`
    throw rangeError('narrow', 'length', expected, String(length))
  }
  return narrowTo(x, d, from, length)
}
