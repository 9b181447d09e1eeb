/** Variances, products, norms and logsumexp over dimensions. */
import { record, willRecord } from '../autograd.js'
import { type Buffer, binding, FoldKind, ScanKind, UnaryOp } from '../binding.js'
import { checkBoolean, checkNumber, checkOptions, rangeError, typeError } from '../errors.js'
import { noGrad } from '../grad_mode.js'
import { Tensor } from '../tensor.js'
import { filled } from './again.js'
import { checkDim, checkFloat, checkNumeric, relabel, splitAt } from './common.js'
import {
  checkKeepdim,
  type Dims,
  type Layout,
  layoutOf,
  mean,
  type ReduceOptions,
} from './reduce.js'
import { cumprod, productsAgain, productsBackward } from './scan.js'
import { cat } from './shape.js'

/** What std and var take. */
export interface VarianceOptions extends ReduceOptions {
  /** How much less than the number of elements the divisor is. Default 1 (Bessel's correction). */
  correction?: number
}

/** What norm takes. */
export interface NormOptions extends ReduceOptions {
  /** Which norm: 2 (default), 1, 0 (how many are not 0), Infinity, -Infinity or any number. */
  p?: number
  /** The dimensions; all without it. */
  dim?: Dims
}

/** The smallest number that kernels do not take for 0. */
const LEAST = 2 ** -126

function fold(kind: number, { x, outer, n, inner, shape }: Layout, p = 0): Tensor {
  const out = binding.fold(kind, x.buffer, outer, n, inner, p)
  return Tensor.wrap(out, shape, x.device, x.dtype)
}

/**
 * Records an operation whose gradient is a function of x, the result and the result's gradient, the
 * latter two in a shape that broadcasts to x's.
 */
function recorded(
  fn: string,
  { x, kept, shape }: Layout,
  out: Tensor,
  backward: (dy: Tensor, x: Tensor, out: Tensor) => Tensor,
): Tensor {
  if (!willRecord([x])) return out
  const savedX = x.viewAs(x.shape)
  const savedOut = out.viewAs(kept)
  record(
    fn,
    [x],
    [out],
    ([g]) => {
      using dy = (g as Tensor).viewAs(kept)
      return [noGrad(() => backward(dy, savedX, savedOut))]
    },
    [savedX, savedOut],
    'values',
    ([g], node) => {
      const { device } = g as Tensor
      const from = node.input(0, savedX, x.shape, device)
      const result = node.output(0, savedOut, shape, device)
      return [backward((g as Tensor).reshape(kept), from, result.reshape(kept))]
    },
  )
  return out
}

function spread(fn: 'std' | 'var', x: Tensor, dim: Dims, options: VarianceOptions): Tensor {
  checkFloat(fn, 'tensor', x)
  checkOptions(fn, options, ['correction', 'keepdim'])
  const keepdim = checkBoolean(fn, 'keepdim', options.keepdim ?? false)
  const correction = checkNumber(fn, 'correction', options.correction ?? 1)
  const layout = layoutOf(fn, x, dim, keepdim)
  const free = Math.max(0, layout.n - correction)
  const variance = fold(FoldKind.variance, layout, correction)
  const out = fn === 'var' ? variance : rooted(variance)
  return recorded(fn, layout, out, (dy, from, deviation) => {
    using center = mean(from, layout.dims, { keepdim: true })
    using apart = from.sub(center)
    if (fn === 'var') {
      using scaled = dy.mul(2 / free)
      return apart.mul(scaled)
    }
    // Where nothing deviates, 0 / LEAST is 0, as PyTorch's gradient.
    using divisor = deviation.clamp(LEAST)
    using ratio = apart.div(divisor)
    using scaled = dy.mul(1 / free)
    return ratio.mul(scaled)
  })
}

function rooted(variance: Tensor): Tensor {
  const out = binding.unary(UnaryOp.sqrt, variance.buffer, 0, 0, 0)
  variance[Symbol.dispose]()
  return Tensor.wrap(out, variance.shape, variance.device)
}

export function variance(x: Tensor, dim?: Dims, options: VarianceOptions = {}): Tensor {
  return spread('var', x, dim, options)
}

export function std(x: Tensor, dim?: Dims, options: VarianceOptions = {}): Tensor {
  return spread('std', x, dim, options)
}

export function logsumexp(x: Tensor, dim: Dims, options: ReduceOptions = {}): Tensor {
  checkFloat('logsumexp', 'tensor', x)
  const keepdim = checkKeepdim('logsumexp', options)
  const layout = layoutOf('logsumexp', x, dim, keepdim)
  return recorded('logsumexp', layout, fold(FoldKind.logsumexp, layout), (dy, from, out) => {
    using apart = from.sub(out)
    using part = apart.exp()
    return part.mul(dy)
  })
}

export function norm(x: Tensor, options: NormOptions = {}): Tensor {
  checkFloat('norm', 'tensor', x)
  checkOptions('norm', options, ['p', 'dim', 'keepdim'])
  const p = options.p ?? 2
  if (typeof p !== 'number') throw typeError('norm', 'p', 'a number', p)
  if (Number.isNaN(p)) throw rangeError('norm', 'p', 'a number', 'NaN')
  const keepdim = checkBoolean('norm', 'keepdim', options.keepdim ?? false)
  const layout = layoutOf('norm', x, options.dim, keepdim)
  if (layout.n === 0 && p < 0)
    throw rangeError('norm', 'p', 'at least 0 for a tensor without elements', String(p))
  return recorded('norm', layout, fold(FoldKind.norm, layout, p), (dy, from, out) =>
    normBackward(p, dy, from, out, layout),
  )
}

/** −1, 0 or 1; without history. */
function signOf(x: Tensor): Tensor {
  using ones = filled(x.shape, 1, x.device)
  const sign = binding.unaryBackward(UnaryOp.abs, ones.buffer, x.buffer, 0, 0)
  return Tensor.wrap(sign, x.shape, x.device)
}

function normBackward(p: number, dy: Tensor, x: Tensor, out: Tensor, layout: Layout): Tensor {
  if (p === 0) return x.mul(0)
  if (p === 2) {
    // Where all are 0 they stay so, as in PyTorch.
    using divisor = out.clamp(LEAST)
    using ratio = x.div(divisor)
    return ratio.mul(dy)
  }
  using sign = signOf(x)
  if (p === 1) return sign.mul(dy)
  using size = x.abs()
  if (!Number.isFinite(p)) {
    const { outer, n, inner } = layout
    using ones = filled(dy.shape, 1, dy.device)
    const share = binding.extremeBackward(ones.buffer, size.buffer, out.buffer, outer, n, inner)
    using part = Tensor.wrap(share, x.shape, x.device)
    using signed = part.mul(sign)
    return signed.mul(dy)
  }
  using divisor = out.clamp(LEAST)
  using ratio = size.div(divisor)
  using least = ratio.clamp(1e-30)
  using power = least.pow(p - 1)
  using signed = power.mul(sign)
  return signed.mul(dy)
}

/** The product of all elements, or along a dimension. */
export function prod(x: Tensor, dim?: number | null, options: ReduceOptions = {}): Tensor {
  checkNumeric('prod', 'tensor', x)
  const keepdim = checkKeepdim('prod', options)
  const all = dim === undefined || dim === null
  const d = all ? null : checkDim('prod', 'dim', dim, x.shape.length)
  const layout = layoutOf('prod', x, d, keepdim)
  const out = fold(FoldKind.product, layout)
  if (!willRecord([x])) return out
  const sizes = d === null ? { outer: 1, n: x.numel, inner: 1 } : splitAt(x.shape, d)
  const { shape, device } = x
  const savedX = x.share()
  record(
    'prod',
    [x],
    [out],
    ([g]) => [relabel(prodBackward((g as Tensor).buffer, savedX.buffer, sizes, device), shape)],
    [savedX],
    'values',
    ([g], node) => {
      const { outer, n, inner } = sizes
      const from = node.input(0, savedX, shape, device)
      if (n === 0) return [from.mul(0)]
      const middle = from.reshape([outer, n, inner])
      const dy = (g as Tensor).reshape([outer, 1, inner])
      const none = filled([outer, n - 1, inner], 0, device)
      return [productsAgain(cat([none, dy], 1), middle, cumprod(middle, 1)).reshape(shape)]
    },
  )
  return out
}

/** As the gradient of running products of which only the last counts. */
function prodBackward(
  dy: Buffer,
  x: Buffer,
  { outer, n, inner }: { outer: number; n: number; inner: number },
  device: string,
): Tensor {
  if (n === 0) return Tensor.wrap(binding.clone(x), [outer, n, inner], device)
  const p = binding.scan(ScanKind.product, x, null, outer, n, inner, false)
  const last = binding.concat([null, dy], [(n - 1) * inner, inner], outer)
  const dx = productsBackward(last, x, p, [outer, n, inner], device)
  binding.release(p)
  binding.release(last)
  return dx
}
