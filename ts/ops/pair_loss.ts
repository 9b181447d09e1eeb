/** Losses of pairs of numbers, as users call them. */
import { binding, PairLoss } from '../binding.js'
import { checkSameDevice, deviceNumber } from '../device.js'
import {
  checkBoolean,
  checkNumber,
  checkOneOf,
  checkOptions,
  formatShape,
  rangeError,
  typeError,
} from '../errors.js'
import { sameShape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { checkFloat } from './common.js'
import { expanded, pairLoss } from './fused_pair_loss.js'
import { checkReduction, type ReductionOptions } from './loss.js'

/** What the binary cross entropy of probabilities takes. */
export interface BCEOptions extends ReductionOptions {
  /** Factor of every element's loss; of a shape that broadcasts to the input's. */
  weight?: Tensor | null
}

/** What the binary cross entropy takes. */
export interface BCEWithLogitsOptions extends BCEOptions {
  /** Factor of the positive part of the loss; of a shape that broadcasts to the input's. */
  posWeight?: Tensor | null
}

/** What {@link smoothL1Loss} takes. */
export interface SmoothL1Options extends ReductionOptions {
  /** Where the square ends and the straight line begins. Default 1. */
  beta?: number
}

/** What {@link huberLoss} takes. */
export interface HuberOptions extends ReductionOptions {
  /** Where the square ends and the straight line begins. Default 1. */
  delta?: number
}

/** What {@link klDiv} takes. */
export interface KLDivOptions {
  /**
   * 'mean' (default) over the elements, as in PyTorch, which is not the divergence; 'batchmean': the sum
   * over the first dimension's size, which is.
   */
  reduction?: 'mean' | 'sum' | 'none' | 'batchmean'
  /** The target is given as logarithms, too. Default false. */
  logTarget?: boolean
}

/** What {@link poissonNllLoss} takes. */
export interface PoissonNLLOptions extends ReductionOptions {
  /** The input is the logarithm of the rate. Default true. */
  logInput?: boolean
  /** Add Stirling's approximation of log(target!). Default false. */
  full?: boolean
  /** Added to the rate in its logarithm, without `logInput`. Default 1e-8. */
  eps?: number
}

/** What {@link gaussianNllLoss} takes. */
export interface GaussianNLLOptions extends ReductionOptions {
  /** Add log(2π) / 2. Default false. */
  full?: boolean
  /** The least variance. Default 1e-6. */
  eps?: number
}

/**
 * The squared difference; as `torch.nn.functional.mse_loss`.
 * @param input any shape
 * @param target the same shape
 * @returns `[]`, or the input's shape for reduction 'none'; the mean over no elements is NaN
 * @throws TypeError, RangeError
 */
export function mseLoss(input: Tensor, target: Tensor, options: ReductionOptions = {}): Tensor {
  checkOptions('mseLoss', options, ['reduction'])
  return pairLoss('mseLoss', PairLoss.mse, input, target, options.reduction)
}

/**
 * Binary cross entropy of sigmoid(input) and the target probabilities; as
 * `torch.nn.functional.binary_cross_entropy_with_logits`.
 * @param input logits, any shape
 * @param target probabilities, the same shape
 * @returns `[]`, or the input's shape for reduction 'none'
 * @throws TypeError, RangeError
 */
export function binaryCrossEntropyWithLogits(
  input: Tensor,
  target: Tensor,
  options: BCEWithLogitsOptions = {},
): Tensor {
  const fn = 'binaryCrossEntropyWithLogits'
  checkOptions(fn, options, ['weight', 'posWeight', 'reduction'])
  checkFloat(fn, 'input', input)
  const weight = expanded(fn, 'weight', options.weight ?? null, input.shape)
  const posWeight = expanded(fn, 'posWeight', options.posWeight ?? null, input.shape)
  return pairLoss(fn, PairLoss.bceWithLogits, input, target, options.reduction, {
    weight,
    posWeight,
  })
}

/**
 * Binary cross entropy of probabilities; as `torch.nn.functional.binary_cross_entropy`, whose
 * logarithms end at -100. The same of logits is {@link binaryCrossEntropyWithLogits}, which loses no
 * digits.
 * @param input probabilities, any shape; one outside [0, 1] rejects the next promise
 * @param target probabilities, the same shape
 * @throws TypeError, RangeError
 */
export function binaryCrossEntropy(
  input: Tensor,
  target: Tensor,
  options: BCEOptions = {},
): Tensor {
  const fn = 'binaryCrossEntropy'
  checkOptions(fn, options, ['weight', 'reduction'])
  checkFloat(fn, 'input', input)
  const weight = expanded(fn, 'weight', options.weight ?? null, input.shape)
  return pairLoss(fn, PairLoss.bce, input, target, options.reduction, { weight })
}

/** The difference without its sign; as `torch.nn.functional.l1_loss`. @throws TypeError, RangeError */
export function l1Loss(input: Tensor, target: Tensor, options: ReductionOptions = {}): Tensor {
  checkOptions('l1Loss', options, ['reduction'])
  return pairLoss('l1Loss', PairLoss.l1, input, target, options.reduction)
}

/** Checks a `beta` option. */
export function checkBeta(fn: string, value: unknown): number {
  return checkNumber(fn, 'beta', value ?? 1, 0)
}

/**
 * A square near 0, over beta so that its slope ends at 1, and the difference less beta / 2 beyond; as
 * `torch.nn.functional.smooth_l1_loss`.
 * @throws TypeError, RangeError
 */
export function smoothL1Loss(input: Tensor, target: Tensor, options: SmoothL1Options = {}): Tensor {
  checkOptions('smoothL1Loss', options, ['beta', 'reduction'])
  const option = checkBeta('smoothL1Loss', options.beta)
  return pairLoss('smoothL1Loss', PairLoss.smoothL1, input, target, options.reduction, { option })
}

/** Checks a `delta` option. */
export function checkDelta(fn: string, value: unknown): number {
  const delta = checkNumber(fn, 'delta', value ?? 1, 0)
  if (delta === 0) throw rangeError(fn, 'delta', 'a number above 0', '0')
  return delta
}

/**
 * A square up to delta, a straight line of slope delta beyond; as `torch.nn.functional.huber_loss`.
 * @throws TypeError, RangeError
 */
export function huberLoss(input: Tensor, target: Tensor, options: HuberOptions = {}): Tensor {
  checkOptions('huberLoss', options, ['delta', 'reduction'])
  const option = checkDelta('huberLoss', options.delta)
  return pairLoss('huberLoss', PairLoss.huber, input, target, options.reduction, { option })
}

/** Checks a `reduction` option of {@link klDiv}. */
export function checkKLReduction(
  fn: string,
  value: unknown,
): 'mean' | 'sum' | 'none' | 'batchmean' {
  return checkOneOf(fn, 'reduction', value ?? 'mean', ['mean', 'sum', 'none', 'batchmean'])
}

/**
 * The Kullback-Leibler divergence, element by element: target · (log target − input); as
 * `torch.nn.functional.kl_div`.
 * @param input logarithms of probabilities
 * @param target probabilities of the same shape, or with `logTarget` their logarithms
 * @throws TypeError, RangeError
 */
export function klDiv(input: Tensor, target: Tensor, options: KLDivOptions = {}): Tensor {
  checkOptions('klDiv', options, ['logTarget', 'reduction'])
  const log = checkBoolean('klDiv', 'logTarget', options.logTarget ?? false)
  const reduction = checkKLReduction('klDiv', options.reduction)
  const kind = log ? PairLoss.klDivLog : PairLoss.klDiv
  if (reduction !== 'batchmean') return pairLoss('klDiv', kind, input, target, reduction)
  using sum = pairLoss('klDiv', kind, input, target, 'sum')
  return sum.div(input.shape[0] ?? 1)
}

/** Checks an `eps` option. */
export function checkEps(fn: string, value: unknown, otherwise: number): number {
  const eps = checkNumber(fn, 'eps', value ?? otherwise, 0)
  if (eps === 0) throw rangeError(fn, 'eps', 'a number above 0', '0')
  return eps
}

/**
 * The negative log likelihood of counts under a Poisson distribution; as
 * `torch.nn.functional.poisson_nll_loss`.
 * @param input the logarithm of the rate, or with `logInput: false` the rate
 * @param target counts of the same shape
 * @throws TypeError, RangeError
 */
export function poissonNllLoss(
  input: Tensor,
  target: Tensor,
  options: PoissonNLLOptions = {},
): Tensor {
  const fn = 'poissonNllLoss'
  checkOptions(fn, options, ['logInput', 'full', 'eps', 'reduction'])
  const log = checkBoolean(fn, 'logInput', options.logInput ?? true)
  const full = checkBoolean(fn, 'full', options.full ?? false)
  const option = checkEps(fn, options.eps, 1e-8)
  const kind = log ? PairLoss.poissonLog : PairLoss.poisson
  const reduction = checkReduction(fn, options.reduction)
  if (!full) return pairLoss(fn, kind, input, target, reduction, { option })
  const each = pairLoss(fn, kind, input, target, 'none', { option })
  // n log(n) − n + log(2πn) / 2, for counts above 1.
  const n = target.clamp(1)
  const large = n
    .mul(n.log())
    .sub(n)
    .add(
      n
        .mul(2 * Math.PI)
        .log()
        .mul(0.5),
    )
  const term = large.mul(target.detach().sub(1).clamp(0).mul(1e30).clamp(null, 1))
  return reduce(each.add(term), reduction)
}

/**
 * The negative log likelihood under normal distributions, (log variance + (input − target)² /
 * variance) / 2; as `torch.nn.functional.gaussian_nll_loss`.
 * @param input means
 * @param target of a shape that broadcasts to the input's
 * @param variance the input's shape, that without the last dimension, or with 1 in its place; a number.
 *   It counts as eps where it is less, with the gradient that it would have without that. A negative
 *   one gives NaN
 * @throws TypeError, RangeError
 */
export function gaussianNllLoss(
  input: Tensor,
  target: Tensor,
  variance: Tensor | number,
  options: GaussianNLLOptions = {},
): Tensor {
  const fn = 'gaussianNllLoss'
  checkOptions(fn, options, ['full', 'eps', 'reduction'])
  checkFloat(fn, 'input', input)
  checkFloat(fn, 'target', target)
  const full = checkBoolean(fn, 'full', options.full ?? false)
  const eps = checkEps(fn, options.eps, 1e-6)
  const reduction = checkReduction(fn, options.reduction)
  const { shape } = input
  let spread: Tensor
  if (typeof variance === 'number') {
    checkNumber(fn, 'variance', variance, 0)
    const buffer = binding.fill(1, variance, deviceNumber(input.device))
    spread = Tensor.wrap(buffer, [], input.device)
  } else {
    spread = checkFloat(fn, 'variance', variance)
    checkSameDevice(fn, 'variance', variance, input.device)
    const outer = shape.slice(0, -1)
    if (sameShape(variance.shape, outer) && !sameShape(variance.shape, shape))
      spread = variance.unsqueeze(-1)
    else if (!sameShape(variance.shape, shape) && !sameShape(variance.shape, [...outer, 1]))
      throw rangeError(
        fn,
        'variance',
        `shape ${formatShape(shape)}, ${formatShape([...outer, 1])} or ${formatShape(outer)}`,
        formatShape(variance.shape),
      )
  }
  // At least eps, while the gradient passes as if it were not, as in PyTorch.
  const raised = spread.detach().clamp(eps)
  const v = spread.requiresGrad ? spread.add(raised.sub(spread.detach())) : raised
  const difference = input.sub(target)
  const each = v.log().add(difference.mul(difference).div(v)).mul(0.5)
  return reduce(full ? each.add(0.5 * Math.log(2 * Math.PI)) : each, reduction)
}

/**
 * The quantile (pinball) loss: an estimate of the quantile q costs q for each unit by which it is too
 * low and 1 − q for each by which it is too high (Koenker & Bassett 1978).
 * @param input `[…, Q]`, an estimate of each quantile
 * @param target `[…]`
 * @param quantiles Q numbers in (0, 1)
 * @returns `[]`, or the input's shape for reduction 'none'
 * @throws TypeError, RangeError
 */
export function quantileLoss(
  input: Tensor,
  target: Tensor,
  quantiles: readonly number[],
  options: ReductionOptions = {},
): Tensor {
  const fn = 'quantileLoss'
  checkOptions(fn, options, ['reduction'])
  checkFloat(fn, 'input', input)
  checkFloat(fn, 'target', target)
  const levels = checkQuantiles(fn, quantiles)
  const { shape } = input
  const outer = shape.slice(0, -1)
  if (shape.length === 0 || shape.at(-1) !== levels.length)
    throw rangeError(
      fn,
      'input',
      `a last dimension of ${levels.length}, one a quantile`,
      formatShape(shape),
    )
  if (!sameShape(target.shape, outer))
    throw rangeError(fn, 'target', `shape ${formatShape(outer)}`, formatShape(target.shape))
  checkSameDevice(fn, 'target', target, input.device)
  const buffer = binding.upload(levels, deviceNumber(input.device), levels.length)
  using row = Tensor.wrap(buffer, [levels.length], input.device)
  const weight = expanded(fn, 'quantiles', row, shape)
  const wide = target.unsqueeze(-1).expand(shape)
  return pairLoss(fn, PairLoss.pinball, input, wide, options.reduction, { weight })
}

/** Checks quantiles. @throws TypeError, RangeError */
export function checkQuantiles(fn: string, value: unknown): Float32Array {
  if (!Array.isArray(value) || value.length === 0)
    throw typeError(fn, 'quantiles', 'an array of numbers between 0 and 1', value)
  value.forEach((q, i) => {
    checkNumber(fn, `quantiles[${i}]`, q, 0, 1)
    if (q === 0 || q === 1)
      throw rangeError(fn, `quantiles[${i}]`, 'a number above 0 and below 1', String(q))
  })
  return Float32Array.from(value)
}

/** What becomes of the losses of single elements. */
function reduce(losses: Tensor, reduction: 'mean' | 'sum' | 'none'): Tensor {
  return reduction === 'none' ? losses : reduction === 'sum' ? losses.sum() : losses.mean()
}
