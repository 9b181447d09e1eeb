/** Products of vectors and of batches of matrices. */
import { checkSameDevice } from '../device.js'
import { checkNumber, checkOptions, formatShape, rangeError } from '../errors.js'
import type { Tensor } from '../tensor.js'
import { checkFloat } from './common.js'
import { matmul } from './matmul.js'
import { reshape } from './shape.js'

/** What baddbmm takes. */
export interface BaddbmmOptions {
  /** What the tensor itself is multiplied by. Default 1. */
  beta?: number
  /** What the product is multiplied by. Default 1. */
  alpha?: number
}

function checkRank(fn: string, name: string, x: unknown, rank: number): Tensor {
  const tensor = checkFloat(fn, name, x)
  if (tensor.shape.length !== rank) {
    const expected = rank === 1 ? 'one dimension' : `${rank} dimensions`
    throw rangeError(fn, name, expected, formatShape(tensor.shape))
  }
  return tensor
}

function batched(fn: string, a: Tensor, b: Tensor, nameA: string, nameB: string): Tensor {
  checkRank(fn, nameA, a, 3)
  checkRank(fn, nameB, b, 3)
  checkSameDevice(fn, nameB, b, a.device)
  const [batch, , k] = a.shape as [number, number, number]
  if (b.shape[0] !== batch || b.shape[1] !== k) {
    const expected = `shape (${batch}, ${k}, n) for a ${nameA} of shape ${formatShape(a.shape)}`
    throw rangeError(fn, nameB, expected, formatShape(b.shape))
  }
  return matmul(a, b)
}

export function bmm(a: Tensor, b: Tensor): Tensor {
  return batched('bmm', a, b, 'tensor', 'other')
}

export function baddbmm(
  x: Tensor,
  batch1: Tensor,
  batch2: Tensor,
  options: BaddbmmOptions = {},
): Tensor {
  checkFloat('baddbmm', 'tensor', x)
  checkOptions('baddbmm', options, ['beta', 'alpha'])
  const beta = checkNumber('baddbmm', 'beta', options.beta ?? 1)
  const alpha = checkNumber('baddbmm', 'alpha', options.alpha ?? 1)
  const product = batched('baddbmm', batch1, batch2, 'batch1', 'batch2')
  checkSameDevice('baddbmm', 'batch1', batch1, x.device)
  const { shape } = product
  const extra = shape.length - x.shape.length
  if (extra < 0 || x.shape.some((n, d) => n !== 1 && n !== shape[d + extra])) {
    const expected = `a shape that broadcasts to ${formatShape(shape)}`
    throw rangeError('baddbmm', 'tensor', expected, formatShape(x.shape))
  }
  const scaled = alpha === 1 ? product : product.mul(alpha)
  // As in PyTorch, a factor of 0 leaves out even NaN.
  if (beta === 0) return scaled
  return scaled.add(beta === 1 ? x : x.mul(beta))
}

export function outer(a: Tensor, b: Tensor): Tensor {
  checkRank('outer', 'tensor', a, 1)
  checkRank('outer', 'other', b, 1)
  return reshape(a, [a.numel, 1]).mul(b)
}

export function dot(a: Tensor, b: Tensor): Tensor {
  checkRank('dot', 'tensor', a, 1)
  checkRank('dot', 'other', b, 1)
  if (a.numel !== b.numel)
    throw rangeError('dot', 'other', `shape (${a.numel},)`, formatShape(b.shape))
  return matmul(a, b)
}

export function mv(a: Tensor, vector: Tensor): Tensor {
  checkRank('mv', 'tensor', a, 2)
  checkRank('mv', 'vector', vector, 1)
  if (a.shape[1] !== vector.numel)
    throw rangeError('mv', 'vector', `shape (${a.shape[1]},)`, formatShape(vector.shape))
  return matmul(a, vector)
}
