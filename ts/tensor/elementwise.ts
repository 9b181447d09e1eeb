/** Methods of a tensor: functions of single elements, and arithmetic. */
import type { AlphaOptions } from '../ops/arithmetic.js'
import * as arithmetic from '../ops/arithmetic.js'
import type { ValueOptions } from '../ops/composed.js'
import * as composed from '../ops/composed.js'
import * as two from '../ops/two.js'
import type { NanToNumOptions } from '../ops/unary.js'
import * as unary from '../ops/unary.js'
import { clamp } from '../ops/where.js'
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

  /**
   * x to the power of a number, float32 only, or of a tensor's elements, with NumPy broadcasting. As
   * `torch.pow`.
   */
  pow(this: Tensor, exponent: Tensor | number): Tensor {
    return two.pow(this, exponent)
  }

  /**
   * Into [min, max], numbers or tensors that broadcast; null leaves a side open. As `torch.clamp`.
   */
  clamp(
    this: Tensor,
    min: Tensor | number | null = null,
    max: Tensor | number | null = null,
  ): Tensor {
    return clamp(this, min, max)
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

  /** -1, 0 or 1; of NaN 0. Its gradient is 0. As `torch.sign`. */
  sign(this: Tensor): Tensor {
    return unary.sign(this)
  }

  /** To the nearest whole number, halves to the even one; its gradient is 0. As `torch.round`. */
  round(this: Tensor): Tensor {
    return unary.round(this)
  }

  /** The whole number below; its gradient is 0. As `torch.floor`. */
  floor(this: Tensor): Tensor {
    return unary.floor(this)
  }

  /** The whole number above; its gradient is 0. As `torch.ceil`. */
  ceil(this: Tensor): Tensor {
    return unary.ceil(this)
  }

  /** Without the digits after the point; its gradient is 0. As `torch.trunc`. */
  trunc(this: Tensor): Tensor {
    return unary.trunc(this)
  }

  /** The sine; as `torch.sin`. */
  sin(this: Tensor): Tensor {
    return unary.sin(this)
  }

  /** The cosine; as `torch.cos`. */
  cos(this: Tensor): Tensor {
    return unary.cos(this)
  }

  /** The tangent; as `torch.tan`. */
  tan(this: Tensor): Tensor {
    return unary.tan(this)
  }

  /** The inverse sine, NaN outside [-1, 1]; as `torch.asin`. */
  asin(this: Tensor): Tensor {
    return unary.asin(this)
  }

  /** The inverse cosine, NaN outside [-1, 1]; as `torch.acos`. */
  acos(this: Tensor): Tensor {
    return unary.acos(this)
  }

  /** The inverse tangent; as `torch.atan`. */
  atan(this: Tensor): Tensor {
    return unary.atan(this)
  }

  /** The hyperbolic sine; as `torch.sinh`. */
  sinh(this: Tensor): Tensor {
    return unary.sinh(this)
  }

  /** The hyperbolic cosine; as `torch.cosh`. */
  cosh(this: Tensor): Tensor {
    return unary.cosh(this)
  }

  /** The error function; as `torch.erf`. */
  erf(this: Tensor): Tensor {
    return unary.erf(this)
  }

  /** log(1 + x), exact near 0 too; as `torch.log1p`. */
  log1p(this: Tensor): Tensor {
    return unary.log1p(this)
  }

  /** exp(x) − 1, exact near 0 too; as `torch.expm1`. */
  expm1(this: Tensor): Tensor {
    return unary.expm1(this)
  }

  /** The logarithm to base 2; as `torch.log2`. */
  log2(this: Tensor): Tensor {
    return unary.log2(this)
  }

  /** The logarithm to base 10; as `torch.log10`. */
  log10(this: Tensor): Tensor {
    return unary.log10(this)
  }

  /** 2 to the power of every element; as `torch.exp2`. */
  exp2(this: Tensor): Tensor {
    return unary.exp2(this)
  }

  /** 1 / √x; as `torch.rsqrt`. */
  rsqrt(this: Tensor): Tensor {
    return unary.rsqrt(this)
  }

  /** 1 / x; as `torch.reciprocal`. */
  reciprocal(this: Tensor): Tensor {
    return unary.reciprocal(this)
  }

  /** x²; int32 stays int32. As `torch.square`. */
  square(this: Tensor): Tensor {
    return unary.square(this)
  }

  /** Finite numbers in place of NaN and infinities; int32 stays as it is. As `torch.nan_to_num`. */
  nanToNum(this: Tensor, options?: NanToNumOptions): Tensor {
    return unary.nanToNum(this, options)
  }

  /**
   * The larger one of two elements, NaN if one is, with NumPy broadcasting; of equal ones each gets half
   * of the gradient. As `torch.maximum`.
   */
  maximum(this: Tensor, other: Tensor): Tensor {
    return two.maximum(this, other)
  }

  /** The smaller one of two elements; see {@link maximum}. As `torch.minimum`. */
  minimum(this: Tensor, other: Tensor): Tensor {
    return two.minimum(this, other)
  }

  /**
   * What a division leaves, with the sign of the dividend; as `torch.fmod`. Of int32 tensors by 0 it is
   * 0, and 0 as a number is refused.
   */
  fmod(this: Tensor, other: Tensor | number): Tensor {
    return two.fmod(this, other)
  }

  /** What a division leaves, with the sign of the divisor; see {@link fmod}. As `torch.remainder`. */
  remainder(this: Tensor, other: Tensor | number): Tensor {
    return two.remainder(this, other)
  }

  /** The angle of the point (other, this), in (−π, π]; as `torch.atan2`. */
  atan2(this: Tensor, other: Tensor): Tensor {
    return two.atan2(this, other)
  }

  /** this + weight · (end − this); as `torch.lerp`. */
  lerp(this: Tensor, end: Tensor, weight: Tensor | number): Tensor {
    return composed.lerp(this, end, weight)
  }

  /** this + value · tensor1 · tensor2; as `torch.addcmul`. */
  addcmul(this: Tensor, tensor1: Tensor, tensor2: Tensor, options?: ValueOptions): Tensor {
    return composed.addcmul(this, tensor1, tensor2, options)
  }

  /** this + value · tensor1 / tensor2; as `torch.addcdiv`. */
  addcdiv(this: Tensor, tensor1: Tensor, tensor2: Tensor, options?: ValueOptions): Tensor {
    return composed.addcdiv(this, tensor1, tensor2, options)
  }
}
