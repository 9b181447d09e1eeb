/** Methods of a tensor: functions of single elements, and arithmetic. */
import type { AlphaOptions } from '../ops/arithmetic.js'
import * as arithmetic from '../ops/arithmetic.js'
import * as unary from '../ops/unary.js'
import type { Tensor } from '../tensor.js'

/** A part of {@link Tensor}. */
export abstract class ElementwiseMethods {
  /**
   * Elementwise, with NumPy broadcasting; as `torch.add`. int32 with int32 stays int32 (wrapping
   * around); with float32 it becomes float32. The same holds for sub and mul.
   * @param options `alpha`: what `other` is multiplied by first. Default 1
   * @throws RangeError when the shapes do not broadcast
   */
  add(this: Tensor, other: Tensor | number, options?: AlphaOptions): Tensor {
    return arithmetic.add(this, other, options)
  }

  /** As `torch.sub`; see {@link add}. */
  sub(this: Tensor, other: Tensor | number, options?: AlphaOptions): Tensor {
    return arithmetic.sub(this, other, options)
  }

  /** As `torch.mul`; see {@link add}. */
  mul(this: Tensor, other: Tensor | number): Tensor {
    return arithmetic.mul(this, other)
  }

  /** As `torch.div`; see {@link add}. The result is always float32. */
  div(this: Tensor, other: Tensor | number): Tensor {
    return arithmetic.div(this, other)
  }

  /** −x */
  neg(this: Tensor): Tensor {
    return unary.neg(this)
  }

  /** |x|; the gradient at 0 is 0. */
  abs(this: Tensor): Tensor {
    return unary.abs(this)
  }

  /** e to the power of every element; as `torch.exp`. */
  exp(this: Tensor): Tensor {
    return unary.exp(this)
  }

  /** The natural logarithm. */
  log(this: Tensor): Tensor {
    return unary.log(this)
  }

  /** Square root of every element, NaN below 0; as `torch.sqrt`. */
  sqrt(this: Tensor): Tensor {
    return unary.sqrt(this)
  }

  /** x to the power of a number; float32 only. As `torch.pow`. */
  pow(this: Tensor, exponent: number): Tensor {
    return unary.pow(this, exponent)
  }

  /** Into [min, max]; null leaves a side open. As `torch.clamp`. */
  clamp(this: Tensor, min: number | null = null, max: number | null = null): Tensor {
    return unary.clamp(this, min, max)
  }

  /** Hyperbolic tangent of every element; as `torch.tanh`. */
  tanh(this: Tensor): Tensor {
    return unary.tanh(this)
  }

  /** 1 / (1 + exp(−x)) */
  sigmoid(this: Tensor): Tensor {
    return unary.sigmoid(this)
  }

  /** max(x, 0); the gradient at 0 is 0. */
  relu(this: Tensor): Tensor {
    return unary.relu(this)
  }
}
