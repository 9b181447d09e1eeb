/** Methods of a tensor: what is computed along dimensions. */
import type { Dims, ReduceOptions } from '../ops/reduce.js'
import * as reduce from '../ops/reduce.js'
import { logSoftmax, softmax } from '../ops/softmax.js'
import type { Tensor } from '../tensor.js'
import { ElementwiseMethods } from './elementwise.js'

/** A part of {@link Tensor}. */
export abstract class ReductionMethods extends ElementwiseMethods {
  /** The sum over one dimension, several, or all; as `torch.sum`, but int32 stays int32. */
  sum(this: Tensor, dim?: Dims, options?: ReduceOptions): Tensor {
    return reduce.sum(this, dim, options)
  }

  /** The mean over one dimension, several, or all; float32 only. As `torch.mean`. */
  mean(this: Tensor, dim?: Dims, options?: ReduceOptions): Tensor {
    return reduce.mean(this, dim, options)
  }

  /**
   * The largest value of all, or `[values, indices]` along a dimension (int32 indices, the first of
   * equal ones); as `torch.max`.
   */
  max(this: Tensor): Tensor
  max(this: Tensor, dim: number, options?: ReduceOptions): [values: Tensor, indices: Tensor]
  max(this: Tensor, dim?: number, options?: ReduceOptions): Tensor | [Tensor, Tensor] {
    return dim === undefined ? reduce.maxAll(this) : reduce.max(this, dim, options)
  }

  /**
   * Where the largest value is, int32, the first of equal ones: along a dimension, or in the
   * flattened tensor. As `torch.argmax`.
   */
  argmax(this: Tensor, dim?: number | null, options?: ReduceOptions): Tensor {
    return reduce.argmax(this, dim, options)
  }

  /** exp(x) / Σ exp(x) along a dimension; as `torch.softmax`. */
  softmax(this: Tensor, dim: number): Tensor {
    return softmax(this, dim)
  }

  /** The logarithm of {@link softmax}, without its loss of precision; as `torch.log_softmax`. */
  logSoftmax(this: Tensor, dim: number): Tensor {
    return logSoftmax(this, dim)
  }
}
