/** Multi-head attention. */
import { checkSameDevice, type Device, deviceOption } from '../device.js'
import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOptions,
  formatShape,
  rangeError,
  typeError,
} from '../errors.js'
import { zeros } from '../factories.js'
import { addedMask, attentionWeights, causalMask } from '../ops/attention.js'
import { checkFloat } from '../ops/common.js'
import { linear } from '../ops/linear.js'
import { dropout } from '../ops/random.js'
import { sameShape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { constant, xavierUniform } from './init.js'
import { Linear } from './linear.js'
import { Module } from './module.js'
import { Parameter } from './parameter.js'

/** What {@link MultiheadAttention} takes. */
export interface MultiheadAttentionOptions {
  /** The probability with which a weight is dropped in training mode. Default 0. */
  dropout?: number
  /** Default true. */
  bias?: boolean
  /** Features of the keys. Default: embedDim. */
  kdim?: number
  /** Features of the values. Default: embedDim. */
  vdim?: number
  /** Sequences come as `(N, L, E)` instead of `(L, N, E)`. Default false. */
  batchFirst?: boolean
  /** Where the parameters are made. Default: the default device. */
  device?: string | Device
}

/** What {@link MultiheadAttention.forward} takes. */
export interface AttentionForwardOptions {
  /** `[N, S]` (or `[S]`): bool, true for keys that nobody sees, or float32, added to their scores. */
  keyPaddingMask?: Tensor | null
  /** Return the attention weights, too. Default true. */
  needWeights?: boolean
  /** `[L, S]` or `[N · heads, L, S]`: bool, true where a key is not seen, or float32, added. */
  attnMask?: Tensor | null
  /** Return the mean of the heads' weights instead of each head's. Default true. */
  averageAttnWeights?: boolean
  /** Let query i see the keys 0 … i alone; no `attnMask` is needed for it here. Default false. */
  isCausal?: boolean
}

/**
 * Attention of several heads, each with a part of the features (Vaswani et al. 2017); as
 * `torch.nn.MultiheadAttention`, with its parameters: `in_proj_weight` `[3E, E]` (or, where keys or
 * values have other sizes, `q_proj_weight`, `k_proj_weight`, `v_proj_weight`) and `out_proj.weight`
 * start as in PyTorch, `in_proj_bias` `[3E]` and `out_proj.bias` as zeros.
 */
export class MultiheadAttention extends Module {
  readonly embedDim: number
  readonly numHeads: number
  readonly dropout: number
  readonly batchFirst: boolean
  readonly kdim: number
  readonly vdim: number
  in_proj_weight: Tensor | null = null
  q_proj_weight: Tensor | null = null
  k_proj_weight: Tensor | null = null
  v_proj_weight: Tensor | null = null
  in_proj_bias: Tensor | null
  out_proj: Linear

  /** @throws TypeError, RangeError, also for features that the heads do not divide */
  constructor(embedDim: number, numHeads: number, options: MultiheadAttentionOptions = {}) {
    super()
    const name = 'MultiheadAttention'
    this.embedDim = checkInteger(name, 'embedDim', embedDim, 1)
    this.numHeads = checkInteger(name, 'numHeads', numHeads, 1)
    if (embedDim % numHeads !== 0)
      throw rangeError(name, 'numHeads', `a divisor of embedDim ${embedDim}`, String(numHeads))
    checkOptions(name, options, ['dropout', 'bias', 'kdim', 'vdim', 'batchFirst', 'device'])
    this.dropout = checkNumber(name, 'dropout', options.dropout ?? 0, 0, 1)
    this.batchFirst = checkBoolean(name, 'batchFirst', options.batchFirst ?? false)
    const bias = checkBoolean(name, 'bias', options.bias ?? true)
    this.kdim = checkInteger(name, 'kdim', options.kdim ?? embedDim, 1)
    this.vdim = checkInteger(name, 'vdim', options.vdim ?? embedDim, 1)
    const device = deviceOption(name, options.device)
    const weight = (rows: number, columns: number): Tensor =>
      xavierUniform(Parameter(zeros([rows, columns], { device })))
    if (this.kdim === embedDim && this.vdim === embedDim) {
      this.in_proj_weight = weight(3 * embedDim, embedDim)
    } else {
      this.q_proj_weight = weight(embedDim, embedDim)
      this.k_proj_weight = weight(embedDim, this.kdim)
      this.v_proj_weight = weight(embedDim, this.vdim)
    }
    this.in_proj_bias = bias ? Parameter(zeros([3 * embedDim], { device })) : null
    this.out_proj = new Linear(embedDim, embedDim, { bias, device })
    if (this.out_proj.bias !== null) constant(this.out_proj.bias, 0)
  }

  /**
   * @param query `[L, N, E]` (`[N, L, E]` with batchFirst), or `[L, E]`
   * @param key the same with S steps of kdim features
   * @param value the same with S steps of vdim features
   * @returns the output, of the query's shape, and the weights `[N, L, S]`, of each head
   *   `[N, heads, L, S]`, both without N for input without it; null unless `needWeights`
   * @throws TypeError, RangeError
   */
  override forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    options: AttentionForwardOptions = {},
  ): [output: Tensor, weights: Tensor | null] {
    const fn = 'MultiheadAttention'
    checkOptions(fn, options, [
      'keyPaddingMask',
      'needWeights',
      'attnMask',
      'averageAttnWeights',
      'isCausal',
    ])
    const needWeights = checkBoolean(fn, 'needWeights', options.needWeights ?? true)
    const average = checkBoolean(fn, 'averageAttnWeights', options.averageAttnWeights ?? true)
    const causal = checkBoolean(fn, 'isCausal', options.isCausal ?? false)
    const { embedDim, numHeads, batchFirst } = this
    checkFloat(fn, 'query', query)
    const rank = query.shape.length
    const order = batchFirst ? 'N, L' : 'L, N'
    if ((rank !== 2 && rank !== 3) || query.shape[rank - 1] !== embedDim)
      throw rangeError(
        fn,
        'query',
        `shape (${order}, ${embedDim}) or (L, ${embedDim})`,
        formatShape(query.shape),
      )
    const [first, second] = query.shape as readonly [number, number]
    const [queries, batch] =
      rank === 2 ? [first, 1] : batchFirst ? [second, first] : [first, second]
    checkFloat(fn, 'key', key)
    const keys = key.shape[rank === 3 && batchFirst ? 1 : 0] ?? 0
    const places = rank === 2 ? [keys] : batchFirst ? [batch, keys] : [keys, batch]
    checkInput(fn, 'key', key, [...places, this.kdim], query.device)
    checkInput(fn, 'value', value, [...places, this.vdim], query.device)
    const mask = this.#mask(options, causal, { batch, queries, keys, device: query.device })
    const [q, k, v] = this.#projected(query, key, value)
    const width = embedDim / numHeads
    // [N, heads, steps, width]
    const heads = (x: Tensor, steps: number): Tensor =>
      rank === 3 && batchFirst
        ? x.reshape([batch, steps, numHeads, width]).permute([0, 2, 1, 3])
        : x.reshape([steps, batch, numHeads, width]).permute([1, 2, 0, 3])
    const scaled = heads(q, queries).mul(1 / Math.sqrt(width))
    const weights = attentionWeights(scaled, heads(k, keys), mask)
    const kept =
      this.dropout > 0 && this.training
        ? dropout(weights, { p: this.dropout, training: true })
        : weights
    const joined = kept
      .matmul(heads(v, keys))
      .permute(rank === 3 && batchFirst ? [0, 2, 1, 3] : [2, 0, 1, 3])
      .reshape(query.shape)
    const output = this.out_proj.forward(joined)
    if (!needWeights) return [output, null]
    const shown = average ? kept.mean(1) : kept
    return [output, rank === 2 ? shown.squeeze(0) : shown]
  }

  #projected(query: Tensor, key: Tensor, value: Tensor): [Tensor, Tensor, Tensor] {
    const { embedDim: width, in_proj_weight: all, in_proj_bias: bias } = this
    const part = (x: Tensor | null, i: number): Tensor | null =>
      x?.slice(0, i * width, (i + 1) * width) ?? null
    if (all !== null && query === key && key === value) {
      const last = query.shape.length - 1
      const together = linear(query, all, bias)
      const cut = (i: number): Tensor => together.slice(last, i * width, (i + 1) * width)
      return [cut(0), cut(1), cut(2)]
    }
    const weights = [this.q_proj_weight, this.k_proj_weight, this.v_proj_weight]
    const projected = [query, key, value].map((x, i) =>
      linear(x, (weights[i] ?? part(all, i)) as Tensor, part(bias, i)),
    )
    return projected as [Tensor, Tensor, Tensor]
  }

  /** All masks in one, of a shape that broadcasts to `[N, heads, L, S]`. */
  #mask(
    { keyPaddingMask, attnMask }: AttentionForwardOptions,
    causal: boolean,
    {
      batch,
      queries,
      keys,
      device,
    }: { batch: number; queries: number; keys: number; device: string },
  ): Tensor | null {
    const { numHeads } = this
    let mask: Tensor | null = null
    const also = (more: Tensor): void => {
      mask = mask === null ? more : mask.add(more)
    }
    if (attnMask) {
      const each = [batch * numHeads, queries, keys]
      const added = hiddenBy('attnMask', attnMask, [[queries, keys], each], device)
      also(added.shape.length === 3 ? added.reshape([batch, numHeads, queries, keys]) : added)
    }
    if (keyPaddingMask) {
      const shapes = batch === 1 ? [[batch, keys], [keys]] : [[batch, keys]]
      const added = hiddenBy('keyPaddingMask', keyPaddingMask, shapes, device)
      also(added.reshape([batch, 1, 1, keys]))
    }
    if (causal) also(causalMask(queries, keys, device))
    return mask
  }

  protected override newInstance(): this {
    const { embedDim, numHeads, kdim, vdim } = this
    const options = {
      kdim,
      vdim,
      bias: this.in_proj_bias !== null,
      device: this.out_proj.weight.device,
    }
    const type = this.constructor as typeof MultiheadAttention
    return Reflect.construct(type, [embedDim, numHeads, options]) as this
  }

  override extraRepr(): string {
    return `${this.embedDim}, numHeads=${this.numHeads}, dropout=${this.dropout}, batchFirst=${this.batchFirst}`
  }
}

function checkInput(
  fn: string,
  name: string,
  x: Tensor,
  shape: readonly number[],
  device: string,
): void {
  checkFloat(fn, name, x)
  if (!sameShape(x.shape, shape))
    throw rangeError(fn, name, `shape ${formatShape(shape)}`, formatShape(x.shape))
  checkSameDevice(fn, name, x, device)
}

/** A mask that hides where it is true, as one that is added. */
function hiddenBy(
  name: string,
  mask: unknown,
  shapes: readonly (readonly number[])[],
  device: string,
): Tensor {
  const fn = 'MultiheadAttention'
  if (!(mask instanceof Tensor) || mask.dtype === 'int32')
    throw typeError(
      fn,
      name,
      'a bool or float32 tensor',
      mask instanceof Tensor ? mask.dtype : mask,
    )
  if (!shapes.some((shape) => sameShape(mask.shape, shape)))
    throw rangeError(
      fn,
      name,
      `shape ${shapes.map((shape) => formatShape(shape)).join(' or ')}`,
      formatShape(mask.shape),
    )
  checkSameDevice(fn, name, mask, device)
  return mask.dtype === 'bool' ? addedMask(mask, false) : mask
}
