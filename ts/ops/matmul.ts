/** Matrix products with broadcast batches. */
import { record, willRecord } from '../autograd.js'
import { type Buffer, binding } from '../binding.js'
import { checkSameDevice } from '../device.js'
import { formatShape, rangeError } from '../errors.js'
import { checkShape, numelOf, type Shape, sameShape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { sumLike } from './again.js'
import { broadcastShapes, broadcastStrides, checkFloat, relabel, sumTemporaryTo } from './common.js'

/** [...batch, rows, columns] */
interface Matrices {
  batch: Shape
  rows: number
  columns: number
}

function matrices(shape: Shape): Matrices {
  const [rows, columns] = shape.slice(-2) as [number, number]
  return { batch: shape.slice(0, -2), rows, columns }
}

function transposed(a: Matrices): Matrices {
  return { batch: a.batch, rows: a.columns, columns: a.rows }
}

/** What holds the elements, what they are, and whether each matrix is to be transposed. */
type Factor = readonly [from: { readonly buffer: Buffer }, matrices: Matrices, transposed: boolean]

/** op(a) · op(b) for every member of the batch, as a new tensor of `shape`. */
function product(
  [x, a, transA]: Factor,
  [y, b, transB]: Factor,
  batch: Shape,
  shape: Shape,
  device: string,
): Tensor {
  const { rows: m, columns: k } = transA ? transposed(a) : a
  const { columns: n } = transB ? transposed(b) : b
  const aStrides = broadcastStrides(a.batch, batch)
  const bStrides = broadcastStrides(b.batch, batch)
  return Tensor.wrap(
    binding.matmul(x.buffer, y.buffer, transA, transB, m, n, k, batch, aStrides, bStrides),
    shape,
    device,
  )
}

/** A product of the batch summed over the dimensions in which `to` was broadcast. */
function productTo(
  a: Factor,
  b: Factor,
  batch: Shape,
  to: Matrices,
  shape: Shape,
  device: string,
): Tensor {
  if (sameShape(batch, to.batch)) return product(a, b, batch, shape, device)
  const full = product(a, b, batch, [...batch, to.rows, to.columns], device)
  return relabel(sumTemporaryTo(full, [...to.batch, to.rows, to.columns]), shape)
}

export function matmul(a: Tensor, b: Tensor): Tensor {
  checkFloat('matmul', 'tensor', a)
  checkFloat('matmul', 'other', b)
  checkSameDevice('matmul', 'other', b, a.device)
  const aShape = a.shape
  const bShape = b.shape
  if (aShape.length === 0) throw rangeError('matmul', 'tensor', 'at least one dimension', '()')
  if (bShape.length === 0) throw rangeError('matmul', 'other', 'at least one dimension', '()')
  const rowVector = aShape.length === 1
  const columnVector = bShape.length === 1
  let left = matrices(rowVector ? [1, ...aShape] : aShape)
  const right = matrices(columnVector ? [...bShape, 1] : bShape)
  if (left.columns !== right.rows) {
    const expected = columnVector ? `(${left.columns},)` : `(…, ${left.columns}, n)`
    throw rangeError(
      'matmul',
      'other',
      `shape ${expected} for a tensor of shape ${formatShape(aShape)}`,
      formatShape(bShape),
    )
  }
  let batch: Shape = broadcastShapes('matmul', left.batch, right.batch)
  const shape = [...batch]
  if (!rowVector) shape.push(left.rows)
  if (!columnVector) shape.push(right.columns)
  checkShape('matmul', shape)
  if (right.batch.length === 0 && left.batch.length > 0) {
    // One matrix on the right: the batch on the left is more rows of one product.
    left = { batch: [], rows: numelOf(left.batch) * left.rows, columns: left.columns }
    batch = []
  }
  const out = product([a, left, false], [b, right, false], batch, shape, a.device)
  if (!willRecord([a, b])) return out
  const savedA = b.requiresGrad ? a.share() : null
  const savedB = a.requiresGrad ? b.share() : null
  const gradient: Matrices = { batch, rows: left.rows, columns: right.columns }
  record(
    'matmul',
    [a, b],
    [out],
    ([g], node) => {
      const { device } = g as Tensor
      const dy = [g as Tensor, gradient, false] as const
      const da =
        node.needs(0) && savedB
          ? productTo(dy, [savedB, right, true], batch, left, aShape, device)
          : null
      const db =
        node.needs(1) && savedA
          ? productTo([savedA, left, true], dy, batch, right, bShape, device)
          : null
      return [da, db]
    },
    [savedA, savedB].filter((t) => t !== null),
    'values',
    ([g], node) => {
      const { device } = g as Tensor
      const [rows, inner, columns] = [left.rows, left.columns, right.columns]
      // As matrices, whatever was a vector.
      const dy = (g as Tensor).reshape([...batch, rows, columns])
      const x = [...left.batch, rows, inner]
      const y = [...right.batch, inner, columns]
      const da =
        node.needs(0) && savedB
          ? sumLike(
              dy.matmul(node.input(1, savedB, bShape, device).reshape(y).transpose(-1, -2)),
              x,
            ).reshape(aShape)
          : null
      const db =
        node.needs(1) && savedA
          ? sumLike(
              node.input(0, savedA, aShape, device).reshape(x).transpose(-1, -2).matmul(dy),
              y,
            ).reshape(bShape)
          : null
      return [da, db]
    },
  )
  return out
}
