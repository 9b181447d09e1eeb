/** Methods of a tensor: some of its elements, by their places. */
import type { IndexAddOptions } from '../ops/along.js'
import * as along from '../ops/along.js'
import { type AtItem, at } from '../ops/at.js'
import { indexSelect } from '../ops/gather.js'
import * as pieces from '../ops/pieces.js'
import { bernoulli, type MultinomialOptions, multinomial } from '../ops/random.js'
import * as repeats from '../ops/repeat.js'
import * as shapes from '../ops/shape.js'
import type { SortOptions, TopkOptions } from '../ops/sort.js'
import * as sorting from '../ops/sort.js'
import type { Tensor } from '../tensor.js'
import { ShapingMethods } from './shaping.js'

/** A part of {@link Tensor}. */
export abstract class IndexingMethods extends ShapingMethods {
  /**
   * Some of the elements, as NumPy's and PyTorch's `x[…]`; with gradient. One item for each
   * dimension: a number (negative ones count from the end; the dimension goes away), a range as in
   * Python (`'1:5'`, `':-1'`, `'::2'`, `':'`), or an int32 tensor of indices. `null` makes a new
   * dimension, `'...'` stands for all that are not named, as what is missing at the end does.
   * In index tensors, too, negative numbers count from the end. Several of them broadcast together and
   * choose single elements, as in PyTorch; an index out of range is found when the queue gets there,
   * and rejects the next promise.
   * @throws TypeError for anything else, bool masks too: how many elements they leave is not known
   */
  at(this: Tensor, ...items: AtItem[]): Tensor {
    return at(this, items)
  }

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

  /** `length` elements from `start` on along a dimension; as `torch.narrow`. */
  narrow(this: Tensor, dim: number, start: number, length: number): Tensor {
    return pieces.narrow(this, dim, start, length)
  }

  /**
   * Pieces of `size` along a dimension, the last perhaps less, or of the sizes in an array; as
   * `torch.split`.
   */
  split(this: Tensor, size: number | readonly number[], dim?: number): Tensor[] {
    return pieces.split(this, size, dim)
  }

  /** At most so many equal pieces along a dimension, the last perhaps less; as `torch.chunk`. */
  chunk(this: Tensor, chunks: number, dim?: number): Tensor[] {
    return pieces.chunk(this, chunks, dim)
  }

  /** The slices along a dimension, which goes away; as `torch.unbind`. */
  unbind(this: Tensor, dim?: number): Tensor[] {
    return pieces.unbind(this, dim)
  }

  /** The diagonal of each matrix of two dimensions, as the last one; as `torch.diagonal` (a copy). */
  diagonal(this: Tensor, offset?: number, dim1?: number, dim2?: number): Tensor {
    return repeats.diagonal(this, offset, dim1, dim2)
  }

  /** The diagonal of a matrix, or a matrix with this vector on it; as `torch.diag`. */
  diag(this: Tensor, diagonal?: number): Tensor {
    return repeats.diag(this, diagonal)
  }

  /** Zeros above the diagonal, or above one `diagonal` places further right; as `torch.tril`. */
  tril(this: Tensor, diagonal?: number): Tensor {
    return repeats.tril(this, diagonal)
  }

  /** Zeros below the diagonal, or below one `diagonal` places further right; as `torch.triu`. */
  triu(this: Tensor, diagonal?: number): Tensor {
    return repeats.triu(this, diagonal)
  }

  /**
   * The slices along `dim` that the int32 vector `index` names; as `torch.index_select`. A wrong
   * index is found when the queue gets there, and rejects the next promise.
   */
  indexSelect(this: Tensor, dim: number, index: Tensor): Tensor {
    return indexSelect(this, dim, index)
  }

  /**
   * Elements by an index of their own each, along `dim`: out[i][j] = x[index[i][j]][j] for dim 0. As
   * `torch.gather`. A wrong index is found when the queue gets there, and rejects the next promise.
   * @param index int32, of x's number of dimensions, and no longer than x in those besides `dim`
   */
  gather(this: Tensor, dim: number, index: Tensor): Tensor {
    return along.gather(this, dim, index)
  }

  /**
   * A copy with elements replaced: out[index[i][j]][j] = src[i][j] for dim 0; as `torch.scatter`. Of
   * several to one place the last stays. Indices as in {@link gather}.
   * @param src a tensor of x's type, no shorter than index in any dimension; or a number
   */
  scatter(this: Tensor, dim: number, index: Tensor, src: Tensor | number): Tensor {
    return along.scatter(this, dim, index, src)
  }

  /** As {@link scatter}, but adds, always in one order; as `torch.scatter_add`. */
  scatterAdd(this: Tensor, dim: number, index: Tensor, src: Tensor): Tensor {
    return along.scatterAdd(this, dim, index, src)
  }

  /**
   * A copy to whose slices along `dim` those of src are added: out[index[i]] += alpha · src[i] for
   * dim 0; as `torch.index_add`.
   * @param index int32, one dimension
   * @param src of x's shape but for `dim`, which is as long as index
   */
  indexAdd(
    this: Tensor,
    dim: number,
    index: Tensor,
    src: Tensor,
    options?: IndexAddOptions,
  ): Tensor {
    return along.indexAdd(this, dim, index, src, options)
  }

  /** A copy whose slices along `dim` are replaced by those of src; as `torch.index_copy`. */
  indexCopy(this: Tensor, dim: number, index: Tensor, src: Tensor): Tensor {
    return along.indexCopy(this, dim, index, src)
  }

  /**
   * A copy whose slices along `dim` are filled with a number; as `torch.index_fill`: negative indices
   * count from the end.
   */
  indexFill(this: Tensor, dim: number, index: Tensor, value: number): Tensor {
    return along.indexFill(this, dim, index, value)
  }

  /**
   * `[values, indices]` (int32) in order along `dim`, the last by default; as `torch.sort`, always
   * stable. NaN is larger than any number.
   */
  sort(this: Tensor, dim?: number, options?: SortOptions): [values: Tensor, indices: Tensor] {
    return sorting.sort(this, dim, options)
  }

  /** The indices of {@link sort} alone; as `torch.argsort`. */
  argsort(this: Tensor, dim?: number, options?: SortOptions): Tensor {
    return sorting.argsort(this, dim, options)
  }

  /**
   * The k largest (or smallest) along a dimension as `[values, indices]`, in order; as `torch.topk`.
   * Of equal ones the first come first.
   */
  topk(this: Tensor, k: number, options?: TopkOptions): [values: Tensor, indices: Tensor] {
    return sorting.topk(this, k, options)
  }

  /**
   * Places drawn from each row, with probabilities in proportion to its numbers, seeded by
   * `manualSeed`; int32, (N, numSamples) or (numSamples). As `torch.multinomial`. A row with numbers
   * below 0, NaN or infinity, or with too few above 0, is found when the queue gets there and
   * rejects the next promise.
   */
  multinomial(this: Tensor, numSamples: number, options?: MultinomialOptions): Tensor {
    return multinomial(this, numSamples, options)
  }

  /**
   * For each element 1 with that probability, else 0, seeded by `manualSeed`; as `torch.bernoulli`. A
   * number outside [0, 1] gives NaN.
   */
  bernoulli(this: Tensor): Tensor {
    return bernoulli(this)
  }
}
