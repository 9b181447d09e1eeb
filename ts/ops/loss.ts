/** Losses of classes: one fused pass forward, one backward. */
import { record, willRecord } from '../autograd.js'
import { binding, Reduction } from '../binding.js'
import { checkSameDevice } from '../device.js'
import {
  checkInteger,
  checkNumber,
  checkOneOf,
  checkOptions,
  formatShape,
  rangeError,
  typeError,
} from '../errors.js'
import { Memory } from '../memory.js'
import { sameShape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { filled } from './again.js'
import { checkFloat } from './common.js'
import { crossEntropyAgain } from './loss_again.js'

/** What becomes of the losses of single elements. */
export interface ReductionOptions {
  /** The mean (default) or sum over the elements, or 'none' for each element's own loss. */
  reduction?: 'mean' | 'sum' | 'none'
}

/** What the negative log likelihood takes. */
export interface NLLLossOptions extends ReductionOptions {
  /** Rows with this target count nothing. Default -100. */
  ignoreIndex?: number
  /** A factor for each class, `[C]`: of its rows' losses, and of their share in a mean. */
  weight?: Tensor | null
}

/** What the cross entropy takes. */
export interface CrossEntropyOptions extends NLLLossOptions {
  /** How much of each target goes to all classes alike, in [0, 1]. Default 0. */
  labelSmoothing?: number
}

const REDUCTIONS = ['mean', 'sum', 'none'] as const

/** Checks a `reduction` option. @throws TypeError */
export function checkReduction(fn: string, value: unknown): (typeof REDUCTIONS)[number] {
  return checkOneOf(fn, 'reduction', value ?? 'mean', REDUCTIONS)
}

/** Checks an `ignoreIndex` option: any int32, as -100 is not a class. */
export function checkIgnoreIndex(fn: string, value: unknown): number {
  return checkInteger(fn, 'ignoreIndex', value ?? -100, -(2 ** 31), 2 ** 31 - 1)
}

/** Checks a `weight` option, apart from its size. */
export function checkClassWeight(fn: string, value: unknown): Tensor | null {
  if (value === undefined || value === null) return null
  const weight = checkFloat(fn, 'weight', value)
  if (weight.shape.length !== 1)
    throw rangeError(fn, 'weight', 'shape (C,)', formatShape(weight.shape))
  if (weight.requiresGrad)
    throw new TypeError(`[${fn}] weight: expected a tensor that requires no gradient`)
  return weight
}

/**
 * Cross entropy of softmax(input) and the target; as `torch.nn.functional.cross_entropy`.
 * @param input logits, `[C]`, `[N, C]` or `[N, C, d1, …]`
 * @param target int32 classes, `[]`, `[N]` or `[N, d1, …]`; one outside [0, C) that is not
 *   `ignoreIndex` is found when the queue gets there and rejects the next promise. Or float32
 *   probabilities of the input's shape, which take no `ignoreIndex`
 * @returns `[]`, or the classes' shape for reduction 'none'. The mean is over rows that count, by the
 *   weights of their classes; with probabilities over all rows. Over none it is NaN
 * @throws TypeError, RangeError
 */
export function crossEntropy(
  input: Tensor,
  target: Tensor,
  options: CrossEntropyOptions = {},
): Tensor {
  const fn = 'crossEntropy'
  checkOptions(fn, options, ['weight', 'ignoreIndex', 'reduction', 'labelSmoothing'])
  const smoothing = checkNumber(fn, 'labelSmoothing', options.labelSmoothing ?? 0, 0, 1)
  if (target instanceof Tensor && target.dtype === 'float32')
    return probabilityLoss(input, target, options, smoothing)
  return classLoss(fn, input, target, options, smoothing, false)
}

/**
 * The negative log likelihood of the target classes; as `torch.nn.functional.nll_loss`.
 * @param input log probabilities, `[C]`, `[N, C]` or `[N, C, d1, …]`
 * @param target int32 classes, as for {@link crossEntropy}
 * @throws TypeError, RangeError
 */
export function nllLoss(input: Tensor, target: Tensor, options: NLLLossOptions = {}): Tensor {
  checkOptions('nllLoss', options, ['weight', 'ignoreIndex', 'reduction'])
  return classLoss('nllLoss', input, target, options, 0, true)
}

/** Which dimension has the classes, and how many there are. */
function classesOf(fn: string, input: Tensor): { dim: number; classes: number } {
  const { shape } = checkFloat(fn, 'input', input)
  const dim = shape.length === 1 ? 0 : 1
  const classes = shape[dim]
  if (classes === undefined)
    throw rangeError(fn, 'input', 'shape (C,), (N, C) or (N, C, d1, …)', formatShape(shape))
  if (classes === 0) throw rangeError(fn, 'input', 'at least one class', formatShape(shape))
  return { dim, classes }
}

function weightOf(fn: string, value: unknown, classes: number, device: string): Tensor | null {
  const weight = checkClassWeight(fn, value)
  if (weight !== null && weight.numel !== classes)
    throw rangeError(fn, 'weight', `shape (${classes},), one a class`, formatShape(weight.shape))
  checkSameDevice(fn, 'weight', weight, device)
  return weight
}

/** Classes last: `[N, C, d1, …]` as `[N · d1 · …, C]`. */
function rowsOf(input: Tensor, classes: number): Tensor {
  const rank = input.shape.length
  if (rank <= 2) return input
  const last = [0, ...Array.from({ length: rank - 2 }, (_, d) => d + 2), 1]
  return input.permute(last).reshape([input.numel / classes, classes])
}

function classLoss(
  fn: string,
  input: Tensor,
  target: Tensor,
  options: NLLLossOptions,
  smoothing: number,
  logProbabilities: boolean,
): Tensor {
  const { dim, classes } = classesOf(fn, input)
  if (!(target instanceof Tensor)) throw typeError(fn, 'target', 'an int32 tensor', target)
  if (target.dtype !== 'int32') throw typeError(fn, 'target', 'an int32 tensor', target.dtype)
  const shape = input.shape.filter((_, d) => d !== dim)
  if (!sameShape(target.shape, shape)) {
    throw rangeError(
      fn,
      'target',
      `shape ${formatShape(shape)} for an input of shape ${formatShape(input.shape)}`,
      formatShape(target.shape),
    )
  }
  checkSameDevice(fn, 'target', target, input.device)
  const reduction = checkReduction(fn, options.reduction)
  const weight = weightOf(fn, options.weight, classes, input.device)
  const settings = [
    target.numel,
    classes,
    checkIgnoreIndex(fn, options.ignoreIndex),
    smoothing,
    logProbabilities,
    Reduction[reduction],
  ] as const
  const rows = rowsOf(input, classes)
  const [loss, lse] = binding.crossEntropy(
    rows.buffer,
    target.buffer,
    weight?.buffer ?? null,
    ...settings,
  )
  const out = Tensor.wrap(loss, reduction === 'none' ? shape : [], input.device)
  if (!willRecord([rows])) {
    binding.release(lse)
    return out
  }
  const savedLse = new Memory(lse)
  const x = rows.share()
  const t = target.share()
  const w = weight?.share() ?? null
  const full = rows.shape
  record(
    fn,
    [rows],
    [out],
    ([g], node) => [
      Tensor.wrap(
        binding.crossEntropyBackward(
          x.buffer,
          t.buffer,
          w?.buffer ?? null,
          ...settings,
          savedLse.buffer,
          (g as Tensor).buffer,
          node.mayDefer(0),
        ),
        full,
        (g as Tensor).device,
      ),
    ],
    [savedLse, x, t, ...(w === null ? [] : [w])],
    'values',
    ([g], node) => {
      const dy = g as Tensor
      const { device } = dy
      // That of the log probabilities depends on the targets alone.
      const [n, c, ignored, smoothed, , reduce] = settings
      const fixed = [n, c, ignored, smoothed, true, reduce] as const
      const ones = filled(dy.shape, 1, device)
      const share = Tensor.wrap(
        binding.crossEntropyBackward(
          x.buffer,
          t.buffer,
          w?.buffer ?? null,
          ...fixed,
          savedLse.buffer,
          ones.buffer,
          false,
        ),
        [n, c],
        device,
      )
      const logits = node.input(0, x, full, device).reshape([n, c])
      const dx = logProbabilities
        ? share.mul(dy.shape.length === 0 ? dy : dy.reshape([n, 1]))
        : crossEntropyAgain(dy, logits, share)
      return [dx.reshape(full)]
    },
  )
  return out
}

/** The same of probabilities: −Σ weight · target · log softmax(input). */
function probabilityLoss(
  input: Tensor,
  target: Tensor,
  options: CrossEntropyOptions,
  smoothing: number,
): Tensor {
  const fn = 'crossEntropy'
  const { dim, classes } = classesOf(fn, input)
  if (!sameShape(target.shape, input.shape)) {
    const expected = `int32 classes, or probabilities of the input's shape ${formatShape(input.shape)}`
    throw typeError(fn, 'target', expected, target)
  }
  if (options.ignoreIndex !== undefined && options.ignoreIndex >= 0)
    throw rangeError(
      fn,
      'ignoreIndex',
      'none for probabilities as targets',
      String(options.ignoreIndex),
    )
  checkSameDevice(fn, 'target', target, input.device)
  const reduction = checkReduction(fn, options.reduction)
  const weight = weightOf(fn, options.weight, classes, input.device)
  const even = smoothing > 0 ? target.mul(1 - smoothing).add(smoothing / classes) : target
  const along = input.shape.map((_, d) => (d === dim ? classes : 1))
  const weighted = weight === null ? even : even.mul(weight.reshape(along))
  const each = input.logSoftmax(dim).mul(weighted)
  if (reduction === 'none') return each.sum(dim).neg()
  const rows = reduction === 'mean' ? input.numel / classes : 1
  return each.sum().div(-rows)
}
