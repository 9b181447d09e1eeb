/** A linear-chain conditional random field, for tagging sequences. */
import { checkSameDevice, type Device, deviceOption } from '../device.js'
import {
  checkBoolean,
  checkInteger,
  checkOneOf,
  checkOptions,
  formatShape,
  rangeError,
  typeError,
} from '../errors.js'
import { checkFloat } from '../ops/common.js'
import { type CrfInput, crfDecode, crfLikelihood } from '../ops/crf.js'
import { sameShape } from '../shape.js'
import { checkShape, Tensor } from '../tensor.js'
import { uniform, uniformParameter } from './init.js'
import { Module } from './module.js'

/** What {@link CRF} takes. */
export interface CRFOptions {
  /** Sequences come as `(N, T, …)` instead of `(T, N, …)`. Default false. */
  batchFirst?: boolean
  /** Where the parameters are made. Default: the default device. */
  device?: string | Device
}

/** What {@link CRF.decode} takes. */
export interface CRFDecodeOptions {
  /** Ones (true) for the steps of each sequence, zeros after its end; bool or int32. Default: all. */
  mask?: Tensor | null
}

/** What {@link CRF.forward} takes. */
export interface CRFForwardOptions extends CRFDecodeOptions {
  /**
   * 'none', the 'sum' over the sequences (default), their 'mean', or the sum over the number of steps
   * ('tokenMean').
   */
  reduction?: 'none' | 'sum' | 'mean' | 'tokenMean'
}

const REDUCTIONS = ['none', 'sum', 'mean', 'tokenMean'] as const

/**
 * A linear-chain conditional random field (Lafferty et al. 2001): the tags of a sequence are scored
 * together, by the emissions of each step and a weight for each pair of neighbours. Names, parameters
 * (all U(-0.1, 0.1)) and shapes are those of the Python package pytorch-crf:
 * `start_transitions` `[K]`, `end_transitions` `[K]`, `transitions` `[K, K]` (from, to).
 */
export class CRF extends Module {
  readonly numTags: number
  readonly batchFirst: boolean
  start_transitions: Tensor
  end_transitions: Tensor
  transitions: Tensor

  /** @throws TypeError, RangeError */
  constructor(numTags: number, options: CRFOptions = {}) {
    super()
    this.numTags = checkInteger('CRF', 'numTags', numTags, 1)
    checkOptions('CRF', options, ['batchFirst', 'device'])
    this.batchFirst = checkBoolean('CRF', 'batchFirst', options.batchFirst ?? false)
    const device = deviceOption('CRF', options.device)
    this.start_transitions = uniformParameter([numTags], 0.1, device)
    this.end_transitions = uniformParameter([numTags], 0.1, device)
    this.transitions = uniformParameter(checkShape('CRF', [numTags, numTags]), 0.1, device)
  }

  /** Draws the parameters anew. */
  resetParameters(): void {
    for (const weight of [this.start_transitions, this.end_transitions, this.transitions])
      uniform(weight, -0.1, 0.1)
  }

  /**
   * The logarithm of the likelihood of `tags`: negate it for a loss, `crf.forward(x, y).neg()`.
   * @param emissions float32 scores of each tag at each step, `[T, N, K]` (`[N, T, K]` with
   *   batchFirst), or `[T, K]` of one sequence
   * @param tags int32, of that shape without K; those that the mask leaves out may be anything
   * @returns `[]`, or `[N]` for reduction 'none'
   * @throws TypeError, RangeError. A tag outside [0, K), a mask whose first step is off or that is on
   *   again after its end is found when the queue gets there, and rejects the next promise
   */
  override forward(emissions: Tensor, tags: Tensor, options: CRFForwardOptions = {}): Tensor {
    checkOptions('CRF', options, ['mask', 'reduction'])
    const reduction = checkOneOf('CRF', 'reduction', options.reduction ?? 'sum', REDUCTIONS)
    const input = inputOf(this, emissions)
    const places = emissions.shape.slice(0, -1)
    if (!(tags instanceof Tensor)) throw typeError('CRF', 'tags', 'an int32 tensor', tags)
    if (tags.dtype !== 'int32') throw typeError('CRF', 'tags', 'an int32 tensor', tags.dtype)
    if (!sameShape(tags.shape, places))
      throw rangeError('CRF', 'tags', `shape ${formatShape(places)}`, formatShape(tags.shape))
    checkSameDevice('CRF', 'tags', tags, emissions.device)
    const mask = checkMask(options.mask, places, emissions.device)
    const [likelihood, lengths] = crfLikelihood(input, tags, mask)
    if (mask !== options.mask) mask?.[Symbol.dispose]()
    using steps = lengths
    if (reduction === 'none')
      return emissions.shape.length === 2 ? likelihood.reshape([]) : likelihood
    using each = likelihood
    if (reduction === 'mean') return each.mean()
    if (reduction === 'sum') return each.sum()
    using total = each.sum()
    using count = steps.sum()
    return total.div(count)
  }

  /**
   * The most likely tags of each sequence (Viterbi), of equally likely ones those that come first.
   * @param emissions as for {@link forward}
   * @returns int32, of the emissions' shape without K, with -1 after the end of each sequence
   * @throws as {@link forward}
   */
  decode(emissions: Tensor, options: CRFDecodeOptions = {}): Tensor {
    checkOptions('CRF.decode', options, ['mask'])
    const input = inputOf(this, emissions)
    const mask = checkMask(options.mask, emissions.shape.slice(0, -1), emissions.device)
    const path = crfDecode(input, mask)
    if (mask !== options.mask) mask?.[Symbol.dispose]()
    return path
  }

  override extraRepr(): string {
    return `numTags=${this.numTags}${this.batchFirst ? ', batchFirst' : ''}`
  }
}

/** Emissions beside the weights, checked. */
function inputOf(crf: CRF, emissions: Tensor): CrfInput {
  checkFloat('CRF', 'emissions', emissions)
  const { shape } = emissions
  const { numTags: tags, batchFirst } = crf
  const rank = shape.length
  const [first, second] = shape as readonly [number, number]
  if ((rank !== 2 && rank !== 3) || shape[rank - 1] !== tags || first === 0 || second === 0) {
    const order = batchFirst ? 'N, T' : 'T, N'
    const expected = `shape (${order}, ${tags}) or (T, ${tags}) with at least one step`
    throw rangeError('CRF', 'emissions', expected, formatShape(shape))
  }
  checkSameDevice('CRF', 'emissions', emissions, crf.transitions.device)
  const [steps, batch] = rank === 2 ? [first, 1] : batchFirst ? [second, first] : [first, second]
  return {
    emissions,
    start: crf.start_transitions,
    end: crf.end_transitions,
    transitions: crf.transitions,
    steps,
    batch,
    tags,
    batchFirst,
  }
}

/** A mask as int32: itself, or a new tensor. */
function checkMask(value: unknown, shape: readonly number[], device: string): Tensor | null {
  if (value === undefined || value === null) return null
  if (!(value instanceof Tensor)) throw typeError('CRF', 'mask', 'a tensor', value)
  if (value.dtype === 'float32')
    throw typeError('CRF', 'mask', 'a bool or int32 tensor', value.dtype)
  if (!sameShape(value.shape, shape))
    throw rangeError('CRF', 'mask', `shape ${formatShape(shape)}`, formatShape(value.shape))
  checkSameDevice('CRF', 'mask', value, device)
  return value.dtype === 'int32' ? value : (value as Tensor).int()
}
