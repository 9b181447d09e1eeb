/** Methods of a tensor: products of matrices. */
import { matmul } from '../ops/matmul.js'
import type { BaddbmmOptions } from '../ops/products.js'
import * as products from '../ops/products.js'
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

  /** Products of two batches of matrices, (B, m, k) and (B, k, n); as `torch.bmm`. */
  bmm(this: Tensor, other: Tensor): Tensor {
    return products.bmm(this, other)
  }

  /** beta · this + alpha · (batch1 · batch2); as `torch.baddbmm`. */
  baddbmm(this: Tensor, batch1: Tensor, batch2: Tensor, options?: BaddbmmOptions): Tensor {
    return products.baddbmm(this, batch1, batch2, options)
  }

  /** Products of every element of a vector with every one of another, (n, m); as `torch.outer`. */
  outer(this: Tensor, other: Tensor): Tensor {
    return products.outer(this, other)
  }

  /** The sum of the products of two vectors' elements; as `torch.dot`. */
  dot(this: Tensor, other: Tensor): Tensor {
    return products.dot(this, other)
  }

  /** A matrix times a vector; as `torch.mv`. */
  mv(this: Tensor, vector: Tensor): Tensor {
    return products.mv(this, vector)
  }
}
