/** Methods of a tensor: products of matrices. */
import { matmul } from '../ops/matmul.js'
import type { Tensor } from '../tensor.js'
import { ReductionMethods } from './reduction.js'

/** A part of {@link Tensor}. */
export abstract class ProductMethods extends ReductionMethods {
  /**
   * The matrix product; as `torch.matmul`: a vector is a row on the left and a column on the right,
   * dimensions before the last two are a batch and broadcast.
   * @throws TypeError unless both are float32; RangeError when the shapes do not fit
   */
  matmul(this: Tensor, other: Tensor): Tensor {
    return matmul(this, other)
  }
}
