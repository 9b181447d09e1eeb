/** Methods of a tensor: some of its elements, by their places. */
import { indexSelect } from '../ops/gather.js'
import * as shapes from '../ops/shape.js'
import type { Tensor } from '../tensor.js'
import { ShapingMethods } from './shaping.js'

/** A part of {@link Tensor}. */
export abstract class IndexingMethods extends ShapingMethods {
  /**
   * The elements [start, end) along a dimension; as Python's `x[start:end]`: negative numbers count
   * from the end, and what lies beyond the ends is cut off. Along the first dimension the memory is
   * shared. With a `step` above 1 only every step-th of them, copied: `x[start:end:step]`.
   */
  slice(this: Tensor, dim: number, start = 0, end = Infinity, step = 1): Tensor {
    return shapes.slice(this, dim, start, end, step)
  }

  /** One index along a dimension, which goes away; as `torch.select`. */
  select(this: Tensor, dim: number, index: number): Tensor {
    return shapes.select(this, dim, index)
  }

  /**
   * The slices along `dim` that the int32 vector `index` names; as `torch.index_select`. A wrong
   * index is found when the queue gets there, and rejects the next promise.
   */
  indexSelect(this: Tensor, dim: number, index: Tensor): Tensor {
    return indexSelect(this, dim, index)
  }
}
