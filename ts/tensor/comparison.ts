/** Methods of a tensor: comparisons, and what is made of booleans. */
import * as comparison from '../ops/comparison.js'
import type { Dims, ReduceOptions } from '../ops/reduce.js'
import { maskedFill, where } from '../ops/where.js'
import type { Tensor } from '../tensor.js'
import { ElementwiseMethods } from './elementwise.js'

/** A part of {@link Tensor}. */
export abstract class ComparisonMethods extends ElementwiseMethods {
  /**
   * Whether elements are equal, of dtype 'bool', with NumPy broadcasting; NaN equals nothing. Types meet
   * as in arithmetic. As `torch.eq`; the same holds for ne, lt, le, gt and ge.
   * @throws RangeError when the shapes do not broadcast
   */
  eq(this: Tensor, other: Tensor | number | boolean): Tensor {
    return comparison.compare('eq', this, other)
  }

  /** Whether elements differ; see {@link eq}. As `torch.ne`. */
  ne(this: Tensor, other: Tensor | number | boolean): Tensor {
    return comparison.compare('ne', this, other)
  }

  /** Whether this is below; see {@link eq}. As `torch.lt`. */
  lt(this: Tensor, other: Tensor | number | boolean): Tensor {
    return comparison.compare('lt', this, other)
  }

  /** Whether this is below or equal; see {@link eq}. As `torch.le`. */
  le(this: Tensor, other: Tensor | number | boolean): Tensor {
    return comparison.compare('le', this, other)
  }

  /** Whether this is above; see {@link eq}. As `torch.gt`. */
  gt(this: Tensor, other: Tensor | number | boolean): Tensor {
    return comparison.compare('gt', this, other)
  }

  /** Whether this is above or equal; see {@link eq}. As `torch.ge`. */
  ge(this: Tensor, other: Tensor | number | boolean): Tensor {
    return comparison.compare('ge', this, other)
  }

  /** Whether both are not 0, of any types, with NumPy broadcasting; as `torch.logical_and`. */
  logicalAnd(this: Tensor, other: Tensor): Tensor {
    return comparison.logicalAnd(this, other)
  }

  /** Whether one is not 0, of any types, with NumPy broadcasting; as `torch.logical_or`. */
  logicalOr(this: Tensor, other: Tensor): Tensor {
    return comparison.logicalOr(this, other)
  }

  /** Whether one is 0 and the other is not, of any types, with NumPy broadcasting; as `torch.logical_xor`. */
  logicalXor(this: Tensor, other: Tensor): Tensor {
    return comparison.logicalXor(this, other)
  }

  /** Whether elements are 0; as `torch.logical_not`. */
  logicalNot(this: Tensor): Tensor {
    return comparison.logicalNot(this)
  }

  /** Whether elements are NaN; as `torch.isnan`. */
  isnan(this: Tensor): Tensor {
    return comparison.isnan(this)
  }

  /** Whether elements are infinite; as `torch.isinf`. */
  isinf(this: Tensor): Tensor {
    return comparison.isinf(this)
  }

  /** Whether elements are neither infinite nor NaN; as `torch.isfinite`. */
  isfinite(this: Tensor): Tensor {
    return comparison.isfinite(this)
  }

  /** Whether any element is not 0, over one dimension, several, or all; as `torch.any`. */
  any(this: Tensor, dim?: Dims, options?: ReduceOptions): Tensor {
    return comparison.any(this, dim, options)
  }

  /** Whether no element is 0, over one dimension, several, or all; as `torch.all`. */
  all(this: Tensor, dim?: Dims, options?: ReduceOptions): Tensor {
    return comparison.all(this, dim, options)
  }

  /** This where the condition holds, else `other`; see {@link where}. As `torch.Tensor.where`. */
  where(this: Tensor, condition: Tensor, other: Tensor | number | boolean): Tensor {
    return where(condition, this, other)
  }

  /**
   * `value` where the mask holds, else this; as `torch.Tensor.masked_fill`. The type stays.
   * @param mask of dtype 'bool', of a shape that broadcasts
   * @param value a number, or a tensor of shape ()
   */
  maskedFill(this: Tensor, mask: Tensor, value: Tensor | number | boolean): Tensor {
    return maskedFill(this, mask, value)
  }
}
