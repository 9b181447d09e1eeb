/** Connectionist temporal classification: the loss over all ways to align a target. */

import { types } from 'node:util'
import { throughFunction } from '../autograd/partial.js'
import { record, willRecord } from '../autograd.js'
import { binding } from '../binding.js'
import { checkSameDevice, deviceNumber } from '../device.js'
import {
  checkBoolean,
  checkInteger,
  checkOptions,
  formatShape,
  rangeError,
  typeError,
} from '../errors.js'
import { Memory } from '../memory.js'
import { Tensor } from '../tensor.js'
import { checkFloat } from './common.js'
import { checkReduction, type ReductionOptions } from './loss.js'
import { ctcAgain } from './paths_again.js'

/** What the CTC loss takes. */
export interface CTCLossOptions extends ReductionOptions {
  /** The class of the blank. Default 0. */
  blank?: number
  /** Count a target that no alignment has as 0, without gradient, instead of infinity. Default false. */
  zeroInfinity?: boolean
}

/** A length for each sequence: numbers, an int32 tensor `[N]`, or one number without a batch. */
export type SequenceLengths = number | readonly number[] | Int32Array | Tensor

/** Lengths on a device; their numbers where JavaScript has them. */
interface Lengths {
  tensor: Tensor
  numbers: readonly number[] | null
}

function lengthsOf(
  fn: string,
  name: string,
  value: unknown,
  batch: number,
  most: number,
  device: string,
): Lengths {
  if (value instanceof Tensor) {
    if (value.dtype !== 'int32') throw typeError(fn, name, 'an int32 tensor', value.dtype)
    const { shape } = value
    if (value.numel !== batch || shape.length > 1 || (shape.length === 0 && batch !== 1))
      throw rangeError(fn, name, `shape (${batch},), one a sequence`, formatShape(shape))
    checkSameDevice(fn, name, value, device)
    return { tensor: value.viewAs([batch]), numbers: null }
  }
  const list = typeof value === 'number' && batch === 1 ? [value] : value
  if (!Array.isArray(list) && !types.isInt32Array(list))
    throw typeError(fn, name, 'an array of whole numbers or an int32 tensor', value)
  if (list.length !== batch)
    throw rangeError(fn, name, `${batch} lengths, one a sequence`, `${list.length}`)
  const numbers = Array.from(list, (length, i) =>
    checkInteger(fn, `${name}[${i}]`, length, 0, most),
  )
  const buffer = binding.upload(Int32Array.from(numbers), deviceNumber(device), batch)
  return { tensor: Tensor.wrap(buffer, [batch], device, 'int32'), numbers }
}

/** Checks a `blank` option. */
export function checkBlank(fn: string, value: unknown): number {
  return checkInteger(fn, 'blank', value ?? 0, 0, 2 ** 31 - 1)
}

/**
 * The negative log likelihood of targets of which no alignment to the steps is known (Graves et al.
 * 2006): over all ways to write each target with blanks between and repetitions within its labels. As
 * `torch.nn.functional.ctc_loss`.
 *
 * As in PyTorch, `logProbs` have to come from logSoftmax: the gradient is that with respect to the
 * logits below, exp(logProbs) − the expected share of each class, and going back through logSoftmax
 * leaves it as it is.
 * @param logProbs log probabilities of the classes at each step, `[T, N, C]`, or `[T, C]` of one
 *   sequence
 * @param targets int32 labels, none of them the blank: padded `[N, S]`, or one target after the other
 *   `[sum of targetLengths]`; of one sequence `[S]`
 * @param inputLengths of each sequence, at most T
 * @param targetLengths of each target, at most S
 * @returns `[]`, or `[N]` for reduction 'none'. The mean is over sequences, each divided by its
 *   target's length. What is out of range in tensors rejects the next promise
 * @throws TypeError, RangeError
 */
export function ctcLoss(
  logProbs: Tensor,
  targets: Tensor,
  inputLengths: SequenceLengths,
  targetLengths: SequenceLengths,
  options: CTCLossOptions = {},
): Tensor {
  const fn = 'ctcLoss'
  checkFloat(fn, 'logProbs', logProbs)
  checkOptions(fn, options, ['blank', 'reduction', 'zeroInfinity'])
  const { device } = logProbs
  const rank = logProbs.shape.length
  if (rank !== 2 && rank !== 3)
    throw rangeError(fn, 'logProbs', 'shape (T, N, C) or (T, C)', formatShape(logProbs.shape))
  const [steps, batch, classes] = (
    rank === 3 ? logProbs.shape : [logProbs.shape[0], 1, logProbs.shape[1]]
  ) as [number, number, number]
  if (batch === 0 || classes === 0)
    throw rangeError(
      fn,
      'logProbs',
      'at least one sequence and one class',
      formatShape(logProbs.shape),
    )
  if (!(targets instanceof Tensor)) throw typeError(fn, 'targets', 'an int32 tensor', targets)
  if (targets.dtype !== 'int32') throw typeError(fn, 'targets', 'an int32 tensor', targets.dtype)
  checkSameDevice(fn, 'targets', targets, device)
  const padded = targets.shape.length === 2 || rank === 2
  if (
    targets.shape.length > 2 ||
    (padded && targets.numel % batch !== 0) ||
    targets.shape.length === 0
  )
    throw rangeError(fn, 'targets', `shape (${batch}, S) or (S,)`, formatShape(targets.shape))
  if (targets.shape.length === 2 && targets.shape[0] !== batch)
    throw rangeError(fn, 'targets', `shape (${batch}, S) or (S,)`, formatShape(targets.shape))
  const width = padded ? targets.numel / batch : -1
  const blank = checkBlank(fn, options.blank)
  if (blank >= classes) throw rangeError(fn, 'blank', `a class, below ${classes}`, String(blank))
  const zeroInfinity = checkBoolean(fn, 'zeroInfinity', options.zeroInfinity ?? false)
  const reduction = checkReduction(fn, options.reduction)
  const inputs = lengthsOf(fn, 'inputLengths', inputLengths, batch, steps, device)
  const longest = padded ? width : targets.numel
  const outputs = lengthsOf(fn, 'targetLengths', targetLengths, batch, longest, device)
  const sum = outputs.numbers?.reduce((a, b) => a + b, 0) ?? targets.numel
  if (!padded && sum !== targets.numel)
    throw rangeError(
      fn,
      'targetLengths',
      `lengths that add up to the ${targets.numel} targets`,
      `${sum}`,
    )
  const losses = sequenceLosses(logProbs, targets, inputs.tensor, outputs.tensor, [
    steps,
    batch,
    classes,
    width,
    Math.max(0, ...(outputs.numbers ?? [longest])),
    blank,
    zeroInfinity,
  ])
  const result = reduced(losses, outputs, reduction, batch)
  inputs.tensor[Symbol.dispose]()
  outputs.tensor[Symbol.dispose]()
  return rank === 2 && reduction === 'none' ? result.reshape([]) : result
}

/** Divided by the lengths of the targets and meant, or added up. */
function reduced(losses: Tensor, targets: Lengths, reduction: string, batch: number): Tensor {
  if (reduction === 'none') return losses
  using _ = losses
  if (reduction === 'sum') return losses.sum()
  if (targets.numbers === null) {
    using least = targets.tensor.clamp(1)
    using divided = losses.div(least)
    return divided.mean()
  }
  const factors = Float32Array.from(targets.numbers, (length) => 1 / Math.max(length, 1) / batch)
  const buffer = binding.upload(factors, deviceNumber(losses.device), batch)
  using weights = Tensor.wrap(buffer, [batch], losses.device)
  using weighted = losses.mul(weights)
  return weighted.sum()
}

type Settings = [
  steps: number,
  batch: number,
  classes: number,
  width: number,
  longest: number,
  blank: number,
  zeroInfinity: boolean,
]

function sequenceLosses(
  x: Tensor,
  targets: Tensor,
  inputLengths: Tensor,
  targetLengths: Tensor,
  [steps, batch, classes, width, longest, blank, zeroInfinity]: Settings,
): Tensor {
  const keep = willRecord([x])
  const [loss, alpha] = binding.ctc(
    x.buffer,
    steps,
    batch,
    classes,
    targets.buffer,
    width,
    inputLengths.buffer,
    targetLengths.buffer,
    blank,
    zeroInfinity,
    keep,
  )
  const out = Tensor.wrap(loss, [batch], x.device)
  if (alpha === null) return out
  const savedAlpha = new Memory(alpha)
  const saved = [x.share(), targets.share(), inputLengths.share(), targetLengths.share()] as const
  const { shape } = x
  const targetShape = targets.shape
  record(
    'ctcLoss',
    [x],
    [out],
    ([g]) => {
      const dloss = g as Tensor
      const dx = binding.ctcBackward(
        saved[0].buffer,
        steps,
        batch,
        classes,
        saved[1].buffer,
        width,
        saved[2].buffer,
        saved[3].buffer,
        blank,
        zeroInfinity,
        savedAlpha.buffer,
        dloss.buffer,
      )
      return [Tensor.wrap(dx, shape, dloss.device)]
    },
    [savedAlpha, ...saved],
    'values',
    ([g], node) => {
      const { device } = g as Tensor
      const [, labels, most, lengths] = saved
      const given = {
        targets: Tensor.over(labels.share(), targetShape, device, 'int32'),
        width,
        longest,
        inputLengths: Tensor.over(most.share(), [batch], device, 'int32'),
        targetLengths: Tensor.over(lengths.share(), [batch], device, 'int32'),
        blank,
      }
      const from = node.input(0, saved[0], shape, device)
      const wide = (y: Tensor): Tensor => y.reshape([steps, batch, classes])
      const dx = ctcAgain(g as Tensor, wide(from), given, zeroInfinity, (f, gradient) => {
        const through = (...[y]: (Tensor | null)[]) => [f(wide(y as Tensor))]
        return wide(throughFunction('ctcLoss', through, [from], [gradient])[0] as Tensor)
      })
      return [dx.reshape(shape)]
    },
  )
  return out
}
