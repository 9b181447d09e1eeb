/** Losses: one fused pass forward, one backward. */
import { record, willRecord } from '../autograd.js'
import { BinaryOp, binding, PairLoss, Reduction } from '../binding.js'
import { checkSameDevice, deviceNumber } from '../device.js'
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
import { type Shape, Tensor } from '../tensor.js'
import { filled } from './again.js'
import { broadcastStrides, checkFloat } from './common.js'
import { crossEntropyAgain, pairLossAgain } from './loss_again.js'

/** What becomes of the losses of single elements. */
export interface ReductionOptions {
  /** The mean (default) or sum over the elements, or 'none' for each element's own loss. */
  reduction?: 'mean' | 'sum' | 'none'
}

/** What the negative log likelihood takes. */
export interface NLLLossOptions extends ReductionOptions {
  /** Rows with this target count nothing. Default -100. */
  ignoreIndex?: number
}

/** What the cross entropy takes. */
export interface CrossEntropyOptions extends NLLLossOptions {
  /** How much of each target goes to all classes alike, in [0, 1]. Default 0. */
  labelSmoothing?: number
}

/** What the binary cross entropy takes. */
export interface BCEWithLogitsOptions extends ReductionOptions {
  /** Factor of every element's loss; of a shape that broadcasts to the input's. */
  weight?: Tensor | null
  /** Factor of the positive part of the loss; of a shape that broadcasts to the input's. */
  posWeight?: Tensor | null
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

/**
 * Cross entropy of softmax(input) and the target classes; as `torch.nn.functional.cross_entropy`.
 * @param input logits, `[N, C]` or `[C]`
 * @param target int32 classes, `[N]` or `[]`; one outside [0, C) that is not `ignoreIndex` is found
 *   when the queue gets there and rejects the next promise
 * @returns `[]`, or the target's shape for reduction 'none'; the mean over no rows is NaN
 * @throws TypeError, RangeError
 */
export function crossEntropy(
  input: Tensor,
  target: Tensor,
  options: CrossEntropyOptions = {},
): Tensor {
  checkOptions('crossEntropy', options, ['ignoreIndex', 'reduction', 'labelSmoothing'])
  const smoothing = checkNumber('crossEntropy', 'labelSmoothing', options.labelSmoothing ?? 0, 0, 1)
  return classLoss('crossEntropy', input, target, options, smoothing, false)
}

/**
 * The negative log likelihood of the target classes; as `torch.nn.functional.nll_loss`.
 * @param input log probabilities, `[N, C]` or `[C]`
 * @param target as for {@link crossEntropy}
 * @throws TypeError, RangeError
 */
export function nllLoss(input: Tensor, target: Tensor, options: NLLLossOptions = {}): Tensor {
  checkOptions('nllLoss', options, ['ignoreIndex', 'reduction'])
  return classLoss('nllLoss', input, target, options, 0, true)
}

function classLoss(
  fn: string,
  input: Tensor,
  target: Tensor,
  options: NLLLossOptions,
  smoothing: number,
  logProbabilities: boolean,
): Tensor {
  checkFloat(fn, 'input', input)
  if (!(target instanceof Tensor)) throw typeError(fn, 'target', 'an int32 tensor', target)
  if (target.dtype !== 'int32') throw typeError(fn, 'target', 'an int32 tensor', target.dtype)
  const rank = input.shape.length
  if (rank !== 1 && rank !== 2) {
    throw rangeError(fn, 'input', 'shape (N, C) or (C,)', formatShape(input.shape))
  }
  const classes = input.shape[rank - 1] as number
  if (classes === 0) throw rangeError(fn, 'input', 'at least one class', formatShape(input.shape))
  const shape = input.shape.slice(0, -1)
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
  const settings = [
    target.numel,
    classes,
    checkIgnoreIndex(fn, options.ignoreIndex),
    smoothing,
    logProbabilities,
    Reduction[reduction],
  ] as const
  const [loss, lse] = binding.crossEntropy(input.buffer, target.buffer, ...settings)
  const out = Tensor.wrap(loss, reduction === 'none' ? shape : [], input.device)
  if (!willRecord([input])) {
    binding.release(lse)
    return out
  }
  const savedLse = new Memory(lse)
  const x = input.share()
  const t = target.share()
  record(
    fn,
    [input],
    [out],
    ([g], node) => [
      Tensor.wrap(
        binding.crossEntropyBackward(
          x.buffer,
          t.buffer,
          ...settings,
          savedLse.buffer,
          (g as Tensor).buffer,
          node.mayDefer(0),
        ),
        input.shape,
        (g as Tensor).device,
      ),
    ],
    [savedLse, x, t],
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
          ...fixed,
          savedLse.buffer,
          ones.buffer,
          false,
        ),
        [n, c],
        device,
      )
      const logits = node.input(0, x, input.shape, device).reshape([n, c])
      const dx = logProbabilities
        ? share.mul(dy.shape.length === 0 ? dy : dy.reshape([n, 1]))
        : crossEntropyAgain(dy, logits, share)
      return [dx.reshape(input.shape)]
    },
  )
  return out
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
  return pairLoss('mseLoss', PairLoss.mse, input, target, options, null, null)
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
  return pairLoss(fn, PairLoss.bceWithLogits, input, target, options, weight, posWeight)
}

/** A tensor of weights at the input's shape, as a new handle. */
function expanded(fn: string, name: string, weight: Tensor | null, shape: Shape): Tensor | null {
  if (weight === null) return null
  checkFloat(fn, name, weight)
  if (weight.requiresGrad) {
    throw new TypeError(`[${fn}] ${name}: expected a tensor that requires no gradient`)
  }
  const offset = shape.length - weight.shape.length
  if (offset < 0 || weight.shape.some((size, d) => size !== 1 && size !== shape[offset + d])) {
    throw rangeError(
      fn,
      name,
      `a shape that broadcasts to ${formatShape(shape)}`,
      formatShape(weight.shape),
    )
  }
  if (sameShape(weight.shape, shape)) return weight.viewAs(shape)
  const zero = binding.fill(1, 0, deviceNumber(weight.device))
  const strides = broadcastStrides(weight.shape, shape)
  const full = binding.binary(
    BinaryOp.add,
    weight.buffer,
    zero,
    shape,
    strides,
    shape.map(() => 0),
  )
  binding.release(zero)
  return Tensor.wrap(full, shape, weight.device)
}

function pairLoss(
  fn: string,
  kind: number,
  input: Tensor,
  target: Tensor,
  options: ReductionOptions,
  weight: Tensor | null,
  posWeight: Tensor | null,
): Tensor {
  checkFloat(fn, 'input', input)
  checkFloat(fn, 'target', target)
  const { shape, numel } = input
  if (!sameShape(shape, target.shape)) {
    throw rangeError(
      fn,
      'target',
      `the input's shape ${formatShape(shape)}`,
      formatShape(target.shape),
    )
  }
  checkSameDevice(fn, 'target', target, input.device)
  checkSameDevice(fn, 'weight', weight, input.device)
  checkSameDevice(fn, 'posWeight', posWeight, input.device)
  const reduction = checkReduction(fn, options.reduction)
  const code = Reduction[reduction]
  const weights = [weight, posWeight].filter((tensor) => tensor !== null)
  const out = Tensor.wrap(
    binding.pairLoss(
      kind,
      code,
      numel,
      input.buffer,
      target.buffer,
      weight?.buffer ?? null,
      posWeight?.buffer ?? null,
    ),
    reduction === 'none' ? shape : [],
    input.device,
  )
  if (!willRecord([input, target])) {
    for (const tensor of weights) tensor[Symbol.dispose]()
    return out
  }
  const x = input.share()
  const t = target.share()
  record(
    fn,
    [input, target],
    [out],
    ([g], node) => {
      const gradients = binding.pairLossBackward(
        kind,
        code,
        numel,
        x.buffer,
        t.buffer,
        weight?.buffer ?? null,
        posWeight?.buffer ?? null,
        (g as Tensor).buffer,
        node.needs(0),
        node.needs(1),
      )
      return gradients.map(
        (gradient) => gradient && Tensor.wrap(gradient, shape, (g as Tensor).device),
      )
    },
    [x, t, ...weights],
    'values',
    ([g], node) => {
      const { device } = g as Tensor
      const pair = [node.input(0, x, shape, device), node.input(1, t, shape, device)] as const
      const needs = [node.needs(0), node.needs(1)] as const
      const mean = reduction === 'mean'
      return pairLossAgain(kind, mean, g as Tensor, pair, [weight, posWeight], needs)
    },
  )
  return out
}
