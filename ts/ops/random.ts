/** Dropout, sampling and one-hot rows. */
import { type Backward, record } from '../autograd.js'
import { binding, RandomKind, UnaryOp } from '../binding.js'
import { deviceNumber } from '../device.js'
import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOptions,
  formatShape,
  rangeError,
  typeError,
} from '../errors.js'
import { nextRandom } from '../random.js'
import { checkShape, Tensor } from '../tensor.js'
import { filled } from './again.js'
import { checkFloat } from './common.js'

/** What dropout takes. */
export interface DropoutOptions {
  /** The probability that an element becomes 0; the others are scaled by 1 / (1 - p). Default 0.5. */
  p?: number
  /** Off: the input itself. Default true. */
  training?: boolean
}

/**
 * Drops elements at random, seeded by `manualSeed`; as `torch.nn.functional.dropout`. p = 1 gives
 * zeros.
 * @throws TypeError, RangeError
 */
export function dropout(input: Tensor, options: DropoutOptions = {}): Tensor {
  checkFloat('dropout', 'input', input)
  checkOptions('dropout', options, ['p', 'training'])
  const p = checkNumber('dropout', 'p', options.p ?? 0.5, 0, 1)
  if (!checkBoolean('dropout', 'training', options.training ?? true) || p === 0) return input
  const { seed, counter } = nextRandom()
  return dropped(input, p, seed, counter)
}

/** Dropout with random numbers that were drawn already. Backward draws them again; nothing is saved. */
export function dropped(x: Tensor, p: number, seed: number, counter: number): Tensor {
  const values = binding.dropout(x.buffer, x.numel, p, seed, counter)
  const out = Tensor.wrap(values, x.shape, x.device)
  const backward: Backward = ([g]) => [dropped(g as Tensor, p, seed, counter)]
  record('dropout', [x], [out], backward, [], 'values', backward)
  return out
}

/**
 * Rows of zeros with a one; as `torch.nn.functional.one_hot`, but float32.
 * @param indices int32, any shape; one outside [0, numClasses) is found when the queue gets there
 *   and rejects the next promise
 * @returns `[...indices.shape, numClasses]`
 * @throws TypeError, RangeError
 */
export function oneHot(indices: Tensor, numClasses: number): Tensor {
  if (!(indices instanceof Tensor)) throw typeError('oneHot', 'indices', 'an int32 tensor', indices)
  if (indices.dtype !== 'int32')
    throw typeError('oneHot', 'indices', 'an int32 tensor', indices.dtype)
  checkInteger('oneHot', 'numClasses', numClasses, 1, 2 ** 31 - 1)
  const shape = checkShape('oneHot', [...indices.shape, numClasses])
  return Tensor.wrap(
    binding.oneHot(indices.buffer, indices.numel, numClasses),
    shape,
    indices.device,
  )
}

/** What sampling takes. */
export interface SampleOptions {
  /** Divides the logits: below 1 is bolder, above 1 wilder, 0 takes the largest. Default 1. */
  temperature?: number
  /** Only among this many largest logits. Default: all. */
  topK?: number | undefined
}

/**
 * Draws a class from every row, with probability softmax(logits / temperature), seeded by
 * `manualSeed`. A row with NaN, or without a finite largest logit, is found when the queue gets
 * there and rejects the next promise.
 * @param logits `[N, C]` or `[C]`
 * @returns int32 `[N]` or `[]`
 * @throws TypeError, RangeError
 */
export function sample(logits: Tensor, options: SampleOptions = {}): Tensor {
  checkFloat('sample', 'logits', logits)
  checkOptions('sample', options, ['temperature', 'topK'])
  const rank = logits.shape.length
  const classes = logits.shape[rank - 1] ?? 0
  if ((rank !== 1 && rank !== 2) || classes === 0) {
    throw rangeError(
      'sample',
      'logits',
      'shape (N, C) or (C,) with at least one class',
      formatShape(logits.shape),
    )
  }
  const temperature = checkNumber('sample', 'temperature', options.temperature ?? 1, 0)
  const topK = options.topK === undefined ? 0 : checkInteger('sample', 'topK', options.topK, 1)
  const rows = rank === 2 ? (logits.shape[0] as number) : 1
  const { seed, counter } = nextRandom()
  return Tensor.wrap(
    binding.sample(
      logits.buffer,
      rows,
      classes,
      // Too small a number to divide by in float32 means the same as 0.
      temperature < 1e-30 ? 0 : Math.min(temperature, 1e30),
      topK,
      seed,
      counter,
    ),
    logits.shape.slice(0, -1),
    logits.device,
    'int32',
  )
}

/** What multinomial takes. */
export interface MultinomialOptions {
  /** Whether a class may come again. Default false. */
  replacement?: boolean
}

export function multinomial(
  x: Tensor,
  numSamples: number,
  options: MultinomialOptions = {},
): Tensor {
  checkFloat('multinomial', 'probabilities', x)
  checkOptions('multinomial', options, ['replacement'])
  const replacement = checkBoolean('multinomial', 'replacement', options.replacement ?? false)
  const rank = x.shape.length
  const classes = x.shape[rank - 1] ?? 0
  if ((rank !== 1 && rank !== 2) || classes === 0) {
    const expected = 'shape (N, C) or (C,) with at least one class'
    throw rangeError('multinomial', 'probabilities', expected, formatShape(x.shape))
  }
  checkInteger(
    'multinomial',
    'numSamples',
    numSamples,
    1,
    replacement ? Number.MAX_SAFE_INTEGER : classes,
  )
  const rows = rank === 2 ? (x.shape[0] as number) : 1
  const shape = checkShape('multinomial', [...x.shape.slice(0, -1), numSamples])
  const { seed, counter } = nextRandom()
  return Tensor.wrap(
    binding.multinomial(x.buffer, rows, classes, numSamples, replacement, seed, counter),
    shape,
    x.device,
    'int32',
  )
}

export function bernoulli(x: Tensor): Tensor {
  checkFloat('bernoulli', 'probabilities', x)
  const p = x.detach()
  using drawn = uniformLike(p)
  using above = p.sub(drawn)
  using ones = filled(p.shape, 1, p.device)
  // The derivative of relu is 1 above 0 and else 0.
  const step = binding.unaryBackward(UnaryOp.relu, ones.buffer, above.buffer, 0, 0)
  using hit = Tensor.wrap(step, p.shape, p.device)
  // p (1 - p) is negative where p is no probability, and its root NaN.
  using rest = ones.sub(p)
  using product = rest.mul(p)
  using root = product.sqrt()
  using mark = root.mul(0)
  return hit.add(mark)
}

function uniformLike(x: Tensor): Tensor {
  const { seed, counter } = nextRandom()
  const number = deviceNumber(x.device)
  const buffer = binding.random(RandomKind.uniform, x.numel, 0, 1, seed, counter, number)
  return Tensor.wrap(buffer, x.shape, x.device)
}
