/** How far predicted numbers are from what happened. */
import { checkInteger, checkNumber, rangeError } from '../errors.js'
import { checkPairs, type Numbers, numbersOf } from './checks.js'

/** The mean of a function of both numbers of each pair. */
function meanOf(
  fn: string,
  predicted: Numbers,
  target: Numbers,
  f: (predicted: number, target: number) => number,
): number {
  const p = numbersOf(fn, 'predicted', predicted)
  const t = numbersOf(fn, 'target', target)
  checkPairs(fn, p, t)
  return t.reduce((sum, y, i) => sum + f(p[i] as number, y), 0) / t.length
}

/**
 * Mean absolute error, in the unit of the numbers; as torchmetrics' `MeanAbsoluteError`.
 * @throws TypeError, RangeError for what is not a finite number, with its index
 */
export function mae(predicted: Numbers, target: Numbers): number {
  return meanOf('mae', predicted, target, (p, t) => Math.abs(p - t))
}

/** Root of the mean squared error, in the unit of the numbers. @throws as {@link mae} */
export function rmse(predicted: Numbers, target: Numbers): number {
  return Math.sqrt(meanOf('rmse', predicted, target, (p, t) => (p - t) ** 2))
}

/**
 * Symmetric mean absolute percentage error, from 0 to 2: the mean of 2 |p − t| / (|p| + |t|), where
 * two zeros are no error; as torchmetrics'.
 * @throws as {@link mae}
 */
export function smape(predicted: Numbers, target: Numbers): number {
  return meanOf('smape', predicted, target, (p, t) => {
    const size = Math.abs(p) + Math.abs(t)
    return size === 0 ? 0 : (2 * Math.abs(p - t)) / size
  })
}

/**
 * Mean absolute scaled error (Hyndman & Koehler 2006): {@link mae} over that of repeating the last
 * season within the history. Below 1: better than that; comparable between series of any unit.
 * @param history the numbers before those that were predicted, in order
 * @param seasonLength m: how many numbers back the same season is. Default 1
 * @throws as {@link mae}; RangeError for a history of m numbers or fewer, or one that repeats itself
 */
export function mase(
  predicted: Numbers,
  target: Numbers,
  history: Numbers,
  seasonLength = 1,
): number {
  const fn = 'mase'
  const m = checkInteger(fn, 'seasonLength', seasonLength, 1)
  const error = meanOf(fn, predicted, target, (p, t) => Math.abs(p - t))
  const h = numbersOf(fn, 'history', history)
  if (h.length <= m)
    throw rangeError(fn, 'history', `more than ${m} numbers (seasonLength)`, String(h.length))
  let sum = 0
  for (let i = m; i < h.length; i++) sum += Math.abs((h[i] as number) - (h[i - m] as number))
  if (sum === 0)
    throw rangeError(fn, 'history', 'numbers that differ from season to season', 'the same ones')
  return error / (sum / (h.length - m))
}

/**
 * Quantile ("pinball") loss (Koenker & Bassett 1978): the mean of q (t − p) where the target is
 * above, (1 − q) (p − t) where it is below. Smallest for the q-quantile.
 * @param q in (0, 1)
 * @throws as {@link mae}
 */
export function quantileLoss(predicted: Numbers, target: Numbers, q: number): number {
  const fn = 'quantileLoss'
  checkQuantile(fn, 'q', q)
  return meanOf(fn, predicted, target, (p, t) => Math.max(q * (t - p), (q - 1) * (t - p)))
}

/** @throws TypeError, RangeError unless it is in (0, 1) */
export function checkQuantile(fn: string, name: string, q: unknown): number {
  checkNumber(fn, name, q, 0, 1)
  if (q === 0 || q === 1) throw rangeError(fn, name, 'a number between 0 and 1', String(q))
  return q as number
}

/**
 * The share of targets that are in [lower, upper]: .8 for a perfect 80 % band.
 * @throws as {@link mae}; RangeError for a lower end above the upper one, with its index
 */
export function coverage(lower: Numbers, upper: Numbers, target: Numbers): number {
  const fn = 'coverage'
  const [l, u] = [numbersOf(fn, 'lower', lower), numbersOf(fn, 'upper', upper)]
  const t = numbersOf(fn, 'target', target)
  if (l.length !== u.length)
    throw rangeError(fn, 'upper', `${l.length} elements, as lower has`, String(u.length))
  checkPairs(fn, l, t)
  let inside = 0
  for (const [i, y] of t.entries()) {
    const [low, high] = [l[i] as number, u[i] as number]
    if (low > high) throw rangeError(fn, `lower[${i}]`, `at most upper[${i}], ${high}`, `${low}`)
    if (y >= low && y <= high) inside++
  }
  return inside / t.length
}
