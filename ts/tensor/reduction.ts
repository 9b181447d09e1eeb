/** Methods of a tensor: what is computed along dimensions. */
import * as extremes from '../ops/extremes.js'
import { medianAlong, medianOfAll } from '../ops/median.js'
import type { Dims, ReduceOptions } from '../ops/reduce.js'
import * as reduce from '../ops/reduce.js'
import { cumprod, cumsum } from '../ops/scan.js'
import { logSoftmax, softmax } from '../ops/softmax.js'
import type { NormOptions, VarianceOptions } from '../ops/statistics.js'
import * as statistics from '../ops/statistics.js'
import type { Tensor } from '../tensor.js'
import { ComparisonMethods } from './comparison.js'

/** A part of {@link Tensor}. */
export abstract class ReductionMethods extends ComparisonMethods {
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
   * equal ones; NaN is larger than any number); as `torch.max`. The gradient of the largest of all
   * goes in equal parts to those that have it, along a dimension to the index chosen.
   */
  max(this: Tensor): Tensor
  max(this: Tensor, dim: number, options?: ReduceOptions): [values: Tensor, indices: Tensor]
  max(this: Tensor, dim?: number, options?: ReduceOptions): Tensor | [Tensor, Tensor] {
    return dim === undefined
      ? extremes.extremeOfAll('max', this)
      : extremes.extreme('max', this, dim, options)
  }

  /** The smallest; otherwise as {@link max}. NaN is smaller than any number. As `torch.min`. */
  min(this: Tensor): Tensor
  min(this: Tensor, dim: number, options?: ReduceOptions): [values: Tensor, indices: Tensor]
  min(this: Tensor, dim?: number, options?: ReduceOptions): Tensor | [Tensor, Tensor] {
    return dim === undefined
      ? extremes.extremeOfAll('min', this)
      : extremes.extreme('min', this, dim, options)
  }

  /**
   * The largest over one dimension, several, or all; as `torch.amax`. The gradient goes in equal
   * parts to those that have it.
   */
  amax(this: Tensor, dim?: Dims, options?: ReduceOptions): Tensor {
    return extremes.extremeOver('amax', this, dim, options)
  }

  /** The smallest; otherwise as {@link amax}. As `torch.amin`. */
  amin(this: Tensor, dim?: Dims, options?: ReduceOptions): Tensor {
    return extremes.extremeOver('amin', this, dim, options)
  }

  /**
   * The value in the middle of all, or `[values, indices]` along a dimension: of two the lower one,
   * NaN where there is one; as `torch.median`. The gradient of the median of all goes in equal parts
   * to those that have it, along a dimension to the index chosen.
   */
  median(this: Tensor): Tensor
  median(this: Tensor, dim: number, options?: ReduceOptions): [values: Tensor, indices: Tensor]
  median(this: Tensor, dim?: number, options?: ReduceOptions): Tensor | [Tensor, Tensor] {
    return dim === undefined ? medianOfAll(this) : medianAlong(this, dim, options)
  }

  /**
   * Where the largest value is, int32, the first of equal ones: along a dimension, or in the
   * flattened tensor. As `torch.argmax`.
   */
  argmax(this: Tensor, dim?: number | null, options?: ReduceOptions): Tensor {
    return extremes.argmax(this, dim, options)
  }

  /** Where the smallest value is; otherwise as {@link argmax}. As `torch.argmin`. */
  argmin(this: Tensor, dim?: number | null, options?: ReduceOptions): Tensor {
    return extremes.argmin(this, dim, options)
  }

  /**
   * The variance over one dimension, several, or all: Σ (x − mean)² / (n − correction). As
   * `torch.var`: the correction is 1 by default.
   */
  var(this: Tensor, dim?: Dims, options?: VarianceOptions): Tensor {
    return statistics.variance(this, dim, options)
  }

  /** The standard deviation, the root of {@link var}; as `torch.std`. */
  std(this: Tensor, dim?: Dims, options?: VarianceOptions): Tensor {
    return statistics.std(this, dim, options)
  }

  /**
   * The product of all elements, or along a dimension; as `torch.prod`, but int32 stays int32. The
   * gradient is right for zeros, too.
   */
  prod(this: Tensor, dim?: number | null, options?: ReduceOptions): Tensor {
    return statistics.prod(this, dim, options)
  }

  /** log Σ exp(x) over one dimension, several, or all (null), without overflow; as `torch.logsumexp`. */
  logsumexp(this: Tensor, dim: Dims, options?: ReduceOptions): Tensor {
    return statistics.logsumexp(this, dim, options)
  }

  /** The p-norm (Σ |x|^p)^(1/p) over one dimension, several, or all; as `torch.Tensor.norm`. */
  norm(this: Tensor, options?: NormOptions): Tensor {
    return statistics.norm(this, options)
  }

  /** The running sum along a dimension; as `torch.cumsum`, but int32 stays int32. */
  cumsum(this: Tensor, dim: number): Tensor {
    return cumsum(this, dim)
  }

  /** The running product along a dimension; as `torch.cumprod`, but int32 stays int32. */
  cumprod(this: Tensor, dim: number): Tensor {
    return cumprod(this, dim)
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
