/** The layers of Keras that do not recur. */
import { zeros } from '../../factories.js'
import { Conv1d } from '../../nn/convolution.js'
import { Embedding } from '../../nn/embedding.js'
import * as F from '../../nn/functional.js'
import { Linear } from '../../nn/linear.js'
import { Parameter } from '../../nn/parameter.js'
import { cat } from '../../ops/shape.js'
import { where } from '../../ops/where.js'
import type { Tensor } from '../../tensor.js'
import { type Activation, activationOf } from './activations.js'
import { flag, number, only, size } from './options.js'
import { type Mask, PlainStep } from './step.js'
import type { Config } from './topology.js'
import { fill, type Weights } from './weights.js'

export class EmbeddingStep extends PlainStep {
  readonly embedding: Embedding
  readonly maskZero: boolean

  constructor(config: Config, weights: Weights) {
    super()
    this.maskZero = flag(config, 'mask_zero', false)
    const weight = weights.next('embeddings', [
      size(config, 'input_dim'),
      size(config, 'output_dim'),
    ])
    const [rows, columns] = weight.shape as [number, number]
    this.embedding = new Embedding(rows, columns, { device: 'cpu' })
    fill(this.embedding, { weight })
  }

  override forward(x: Tensor): Tensor {
    return this.embedding.forward(x.dtype === 'int32' ? x : x.to('int32'))
  }

  override maskAfter(x: Tensor): Mask {
    return this.maskZero ? x.ne(0) : null
  }
}

export class DenseStep extends PlainStep {
  readonly linear: Linear
  readonly activation: Activation

  constructor(config: Config, weights: Weights, old: boolean) {
    super()
    this.activation = activationOf(config.activation, old)
    const kernel = weights.next('kernel', [null, size(config, 'units')])
    const [inputs, outputs] = kernel.shape as [number, number]
    const bias = flag(config, 'use_bias', true)
    this.linear = new Linear(inputs, outputs, { bias, device: 'cpu' })
    fill(this.linear, {
      weight: kernel.transpose(0, 1),
      ...(bias && { bias: weights.next('bias', [outputs]) }),
    })
  }

  override forward(x: Tensor): Tensor {
    return this.activation(this.linear.forward(x))
  }
}

export class DropoutStep extends PlainStep {
  readonly p: number

  constructor(config: Config) {
    super()
    only(config, { noise_shape: [] })
    this.p = number(config, 'rate', 0, 1)
  }

  override forward(x: Tensor): Tensor {
    return F.dropout(x, { p: this.p, training: this.training })
  }
}

export class ActivationStep extends PlainStep {
  readonly activation: Activation

  constructor(activation: Activation) {
    super()
    this.activation = activation
  }

  override forward(x: Tensor): Tensor {
    return this.activation(x)
  }
}

/** Steps all of whose values are one number do not count. */
export class MaskingStep extends PlainStep {
  readonly value: number

  constructor(config: Config) {
    super()
    this.value = Number(config.mask_value ?? 0)
  }

  override forward(x: Tensor): Tensor {
    return where(x.ne(this.value).any(-1, { keepdim: true }), x, 0)
  }

  override maskAfter(x: Tensor): Mask {
    return x.ne(this.value).any(-1)
  }
}

export class LayerNormalizationStep extends PlainStep {
  weight: Tensor | null
  bias: Tensor | null
  readonly eps: number
  readonly axis: number

  constructor(config: Config, weights: Weights) {
    super()
    only(config, { rms_scaling: [false] })
    this.eps = number(config, 'epsilon', 1e-3)
    const axis =
      Array.isArray(config.axis) && config.axis.length === 1 ? config.axis[0] : config.axis
    this.weight = flag(config, 'scale', true) ? Parameter(weights.next('gamma', [null])) : null
    this.bias = flag(config, 'center', true) ? Parameter(weights.next('beta', [null])) : null
    // Whether it is the last one shows when there is input.
    if (axis !== undefined && axis !== -1 && axis !== 2 && axis !== 1)
      throw new Error(`its axis is ${String(config.axis)}; known is the last one`)
    this.axis = typeof axis === 'number' ? axis : -1
  }

  override forward(x: Tensor): Tensor {
    if (this.axis >= 0 && this.axis !== x.shape.length - 1)
      throw new RangeError(
        `[KerasModel] LayerNormalization: its axis ${this.axis} is not the last one`,
      )
    const { weight, bias, eps } = this
    const width = x.shape.slice(-1)
    if (weight === null && bias !== null) return F.layerNorm(x, width, { eps }).add(bias)
    return F.layerNorm(x, width, { weight, bias, eps })
  }
}

export class FlattenStep extends PlainStep {
  constructor(config: Config) {
    super()
    only(config, { data_format: ['channels_last'] })
  }

  override forward(x: Tensor): Tensor {
    return x.reshape([x.shape[0] as number, -1])
  }

  override maskAfter(): Mask {
    return null
  }
}

/** The mean, or the largest, of all steps. */
export class GlobalPoolingStep extends PlainStep {
  readonly kind: 'mean' | 'max'
  readonly keep: boolean
  readonly dim: number

  constructor(config: Config, kind: 'mean' | 'max') {
    super()
    this.kind = kind
    this.keep = flag(config, 'keepdims', false)
    only(config, { data_format: ['channels_last', 'channels_first'] })
    this.dim = config.data_format === 'channels_first' ? 2 : 1
  }

  override forward(x: Tensor, mask: Mask = null): Tensor {
    const result = this.pooled(x, mask)
    return this.keep ? result.unsqueeze(this.dim) : result
  }

  private pooled(x: Tensor, mask: Mask): Tensor {
    if (this.kind === 'max') return x.amax(this.dim)
    if (mask === null) return x.mean(this.dim)
    const counts = mask.unsqueeze(this.dim === 1 ? 2 : 1).to('float32')
    return x.mul(counts).sum(this.dim).div(counts.sum(this.dim))
  }

  override maskAfter(): Mask {
    return null
  }
}

export class Conv1DStep extends PlainStep {
  readonly conv: Conv1d
  readonly activation: Activation
  readonly padding: string
  readonly first: boolean

  constructor(config: Config, weights: Weights, old: boolean) {
    super()
    only(config, { data_format: ['channels_last', 'channels_first'] })
    only(config, { padding: ['valid', 'same', 'causal'] })
    this.padding = String(config.padding ?? 'valid')
    this.first = config.data_format === 'channels_first'
    this.activation = activationOf(config.activation, old)
    const of = (key: string): number => (config[key] === undefined ? 1 : size(config, key))
    const [stride, dilation, groups] = [of('strides'), of('dilation_rate'), of('groups')]
    const kernel = weights.next('kernel', [
      size(config, 'kernel_size'),
      null,
      size(config, 'filters'),
    ])
    const [width, inputs, outputs] = kernel.shape as [number, number, number]
    const bias = flag(config, 'use_bias', true)
    const options = { stride, dilation, groups, bias, device: 'cpu' }
    this.conv = new Conv1d(inputs * groups, outputs, width, options)
    fill(this.conv, {
      weight: kernel.permute([2, 1, 0]),
      ...(bias && { bias: weights.next('bias', [outputs]) }),
    })
  }

  override forward(x: Tensor): Tensor {
    const y = this.conv.forward(this.padded(this.first ? x : x.transpose(1, 2)))
    return this.activation(this.first ? y : y.transpose(1, 2))
  }

  /** Zeros at the ends, by the rule of Keras, of (N, C, T). */
  private padded(x: Tensor): Tensor {
    if (this.padding === 'valid') return x
    const [n, channels, length] = x.shape as unknown as [number, number, number]
    const [stride, width] = [Number(this.conv.stride), Number(this.conv.kernelSize)]
    const reach = (width - 1) * Number(this.conv.dilation)
    const needed = Math.max((Math.ceil(length / stride) - 1) * stride + reach + 1 - length, 0)
    const before = this.padding === 'causal' ? reach : Math.floor(needed / 2)
    const after = this.padding === 'causal' ? 0 : needed - before
    const at = (count: number): Tensor[] =>
      count === 0 ? [] : [zeros([n, channels, count], { device: x.device })]
    return cat([...at(before), x, ...at(after)], 2)
  }

  override maskAfter(): Mask {
    return null
  }
}
