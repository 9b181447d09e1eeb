/** Methods of a tensor: the same elements under another shape or in another order. */
import * as repeats from '../ops/repeat.js'
import * as shapes from '../ops/shape.js'
import type { Shape } from '../shape.js'
import type { Tensor } from '../tensor.js'
import { ProductMethods } from './product.js'

/** A part of {@link Tensor}. */
export abstract class ShapingMethods extends ProductMethods {
  /**
   * The same elements under another shape, sharing the memory; one size may be -1. As
   * `torch.reshape`.
   */
  reshape(this: Tensor, shape: Shape): Tensor {
    return shapes.reshape(this, shape)
  }

  /** With a new dimension of size 1; as `torch.unsqueeze`. */
  unsqueeze(this: Tensor, dim: number): Tensor {
    return shapes.unsqueeze(this, dim)
  }

  /** Without the dimension `dim` if its size is 1, or without all of size 1; as `torch.squeeze`. */
  squeeze(this: Tensor, dim?: number): Tensor {
    return shapes.squeeze(this, dim)
  }

  /** Repeated along dimensions of size 1 and new leading ones (a copy); as `torch.Tensor.expand`. */
  expand(this: Tensor, shape: Shape): Tensor {
    return shapes.expand(this, shape)
  }

  /** Two dimensions exchanged; as `torch.transpose`. */
  transpose(this: Tensor, a: number, b: number): Tensor {
    return shapes.transpose(this, a, b)
  }

  /** The dimensions in another order; as `torch.permute`. */
  permute(this: Tensor, dims: readonly number[]): Tensor {
    return shapes.permute(this, dims)
  }

  /** A matrix transposed; vectors and numbers as they are. As `torch.t`. */
  t(this: Tensor): Tensor {
    return shapes.t(this)
  }

  /** Dimensions walked backwards; as `torch.flip`. */
  flip(this: Tensor, dims: number | readonly number[]): Tensor {
    return shapes.flip(this, dims)
  }

  /** As {@link reshape}, which shares the memory here. As `torch.Tensor.view`. */
  view(this: Tensor, shape: Shape): Tensor {
    return shapes.reshape(this, shape, 'view')
  }

  /** The dimensions from `startDim` (0) to `endDim` (the last) as one; as `torch.flatten`. */
  flatten(this: Tensor, startDim?: number, endDim?: number): Tensor {
    return repeats.flatten(this, startDim, endDim)
  }

  /** One dimension as several of these sizes, one of them perhaps -1; as `torch.unflatten`. */
  unflatten(this: Tensor, dim: number, sizes: Shape): Tensor {
    return repeats.unflatten(this, dim, sizes)
  }

  /** Dimensions moved to other places, the others in their order; as `torch.movedim`. */
  movedim(
    this: Tensor,
    source: number | readonly number[],
    destination: number | readonly number[],
  ): Tensor {
    return repeats.movedim(this, source, destination)
  }

  /** Shifted along dimensions, or flattened, what leaves at the end comes in front; as `torch.roll`. */
  roll(
    this: Tensor,
    shifts: number | readonly number[],
    dims?: number | readonly number[] | null,
  ): Tensor {
    return repeats.roll(this, shifts, dims)
  }

  /** Repeated as a whole, so many times along each dimension; as `torch.Tensor.repeat`. */
  repeat(this: Tensor, sizes: readonly number[]): Tensor {
    return repeats.repeat(this, sizes)
  }

  /**
   * Each element (or slice along `dim`) repeated; as `torch.repeat_interleave`.
   * @param times how often, or how often each of them
   */
  repeatInterleave(this: Tensor, times: number | readonly number[], dim?: number | null): Tensor {
    return repeats.repeatInterleave(this, times, dim)
  }
}
