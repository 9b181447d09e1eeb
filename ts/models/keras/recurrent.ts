/**
 * The recurrent layers of Keras. The library's own layers hold the weights, and compute where they
 * can; activations of another kind, masks and recurrent dropout go step by step, through operations of
 * tensors.
 */
import { ones, zeros } from '../../factories.js'
import * as F from '../../nn/functional.js'
import { GRU, LSTM, RNN } from '../../nn/recurrent.js'
import { cat, stack } from '../../ops/shape.js'
import { where } from '../../ops/where.js'
import type { Tensor } from '../../tensor.js'
import { type Activation, activationOf, nameOf } from './activations.js'
import { flag, number, only, size } from './options.js'
import { type Mask, PlainStep } from './step.js'
import type { Config } from './topology.js'
import { fill, type Weights } from './weights.js'

export type RecurrentKind = 'LSTM' | 'GRU' | 'SimpleRNN'

const GATES: Record<RecurrentKind, number> = { LSTM: 4, GRU: 3, SimpleRNN: 1 }

export class RecurrentStep extends PlainStep {
  readonly kind: RecurrentKind
  readonly rnn: LSTM | GRU | RNN
  readonly units: number
  readonly sequences: boolean
  readonly backwards: boolean
  /** What stands at steps that do not count: zeros, or what was there before. */
  readonly zeroOutput: boolean
  readonly inputDropout: number
  readonly recurrentDropout: number
  readonly activation: Activation
  readonly gate: Activation
  /** Of a GRU: whether the reset comes after the product. */
  readonly resetAfter: boolean
  /** Whether the library's own layer computes the same. */
  readonly plain: boolean

  constructor(kind: RecurrentKind, config: Config, weights: Weights, old: boolean) {
    super()
    only(config, { stateful: [false], return_state: [false], time_major: [false] })
    this.kind = kind
    const units = size(config, 'units')
    this.units = units
    this.sequences = flag(config, 'return_sequences', false)
    this.backwards = flag(config, 'go_backwards', false)
    this.zeroOutput = flag(config, 'zero_output_for_mask', false)
    this.inputDropout = number(config, 'dropout', 0, 1)
    this.recurrentDropout = number(config, 'recurrent_dropout', 0, 1)
    this.resetAfter = kind !== 'GRU' || flag(config, 'reset_after', false)
    this.activation = activationOf(config.activation ?? 'linear', old)
    this.gate = activationOf(config.recurrent_activation ?? 'sigmoid', old)
    const activation = nameOf(config.activation ?? 'linear')
    const gate = kind === 'SimpleRNN' || nameOf(config.recurrent_activation) === 'sigmoid'
    const relu = kind === 'SimpleRNN' && activation === 'relu'
    this.plain = gate && (activation === 'tanh' || relu)
    const width = GATES[kind] * units
    const kernel = weights.next('kernel', [null, width])
    const recurrent = weights.next('recurrent_kernel', [units, width])
    const bias = flag(config, 'use_bias', true)
    const options = { bias, batchFirst: true, device: 'cpu' } as const
    const inputs = kernel.shape[0] as number
    if (kind === 'LSTM') this.rnn = new LSTM(inputs, units, options)
    else if (kind === 'GRU')
      this.rnn = new GRU(inputs, units, { ...options, resetAfter: this.resetAfter })
    else this.rnn = new RNN(inputs, units, { ...options, nonlinearity: relu ? 'relu' : 'tanh' })
    fill(this.rnn, {
      weight_ih_l0: this.reordered(kernel.transpose(0, 1)),
      weight_hh_l0: this.reordered(recurrent.transpose(0, 1)),
      ...(bias && this.biases(weights, width)),
    })
    // Keras has one bias where there are two here: the other one stays zero.
    const second = this.rnn.namedParameters().find(([name]) => name === 'bias_hh_l0')?.[1]
    if (second !== undefined && !(kind === 'GRU' && this.resetAfter)) second.requiresGrad = false
  }

  /** Keras has the gates of a GRU as z, r, h; here they are r, z, n. Those of an LSTM are alike. */
  private reordered(rows: Tensor): Tensor {
    if (this.kind !== 'GRU') return rows
    const [z, r, n] = rows.chunk(3, 0) as [Tensor, Tensor, Tensor]
    return cat([r, z, n], 0)
  }

  private biases(weights: Weights, width: number): Record<string, Tensor> {
    if (this.kind === 'GRU' && this.resetAfter) {
      const both = weights.next('bias', [2, width])
      return {
        bias_ih_l0: this.reordered(both.select(0, 0)),
        bias_hh_l0: this.reordered(both.select(0, 1)),
      }
    }
    return {
      bias_ih_l0: this.reordered(weights.next('bias', [width])),
      bias_hh_l0: zeros([width], { device: 'cpu' }),
    }
  }

  override forward(x: Tensor, mask: Mask = null): Tensor {
    const given = this.backwards ? x.flip(1) : x
    const dropped = this.training && this.inputDropout > 0 ? this.inputMask(given) : given
    if (this.plain && mask === null && !(this.training && this.recurrentDropout > 0)) {
      const [output] = (this.rnn as GRU).forward(dropped)
      return this.sequences ? output : output.select(1, -1)
    }
    return this.steps(dropped, mask !== null && this.backwards ? mask.flip(1) : mask)
  }

  override maskAfter(_x: Tensor, mask: Mask): Mask {
    if (!this.sequences || mask === null) return null
    return this.backwards ? mask.flip(1) : mask
  }

  /** The same values are dropped at all steps. */
  private inputMask(x: Tensor): Tensor {
    const [n, , width] = x.shape as unknown as [number, number, number]
    return x.mul(F.dropout(ones([n, 1, width], { device: x.device }), { p: this.inputDropout }))
  }

  private steps(x: Tensor, mask: Mask): Tensor {
    const { units } = this
    const own = new Map(this.rnn.namedParameters())
    const get = (name: string): Tensor | null => own.get(name) ?? null
    const products = F.linear(x, get('weight_ih_l0') as Tensor, get('bias_ih_l0'))
    const [n, length] = x.shape as unknown as [number, number]
    if (length === 0) throw new RangeError('[KerasModel] x: expected at least one step, got none')
    let h = zeros([n, units], { device: x.device })
    let c = h
    const p = this.training ? this.recurrentDropout : 0
    const kept = p > 0 ? F.dropout(ones([n, units], { device: x.device }), { p }) : null
    const outputs: Tensor[] = []
    for (let t = 0; t < length; t++) {
      const before = kept === null ? h : h.mul(kept)
      const input = products.select(1, t)
      const [newH, newC] = this.cell(input, h, before, c, get)
      if (mask === null) [h, c] = [newH, newC]
      else {
        const counts = mask.select(1, t).unsqueeze(1)
        h = where(counts, newH, h)
        c = where(counts, newC, c)
        if (this.zeroOutput && (this.sequences || t === length - 1)) {
          outputs.push(where(counts, newH, 0))
          continue
        }
      }
      if (this.sequences || t === length - 1) outputs.push(h)
    }
    return this.sequences ? stack(outputs, 1) : (outputs.at(-1) as Tensor)
  }

  /** One step. @param input W x + b @param h the last state @param before it after dropout */
  private cell(
    input: Tensor,
    h: Tensor,
    before: Tensor,
    c: Tensor,
    get: (name: string) => Tensor | null,
  ): [h: Tensor, c: Tensor] {
    const { activation, gate, units } = this
    const weight = get('weight_hh_l0') as Tensor
    if (this.kind === 'GRU' && !this.resetAfter) {
      const both = F.linear(before, weight.slice(0, 0, 2 * units))
      const sums = input
        .slice(1, 0, 2 * units)
        .add(both)
        .chunk(2, 1) as [Tensor, Tensor]
      const [r, z] = [gate(sums[0]), gate(sums[1])]
      const last = weight.slice(0, 2 * units, 3 * units)
      const n = activation(input.slice(1, 2 * units, 3 * units).add(F.linear(r.mul(before), last)))
      return [z.mul(h).add(n.sub(z.mul(n))), c]
    }
    const product = F.linear(before, weight, get('bias_hh_l0'))
    if (this.kind === 'SimpleRNN') return [activation(input.add(product)), c]
    if (this.kind === 'GRU') {
      const [xr, xz, xn] = input.chunk(3, 1) as [Tensor, Tensor, Tensor]
      const [hr, hz, hn] = product.chunk(3, 1) as [Tensor, Tensor, Tensor]
      const [r, z] = [gate(xr.add(hr)), gate(xz.add(hz))]
      const n = activation(xn.add(r.mul(hn)))
      return [z.mul(h).add(n.sub(z.mul(n))), c]
    }
    const [i, f, g, o] = input.add(product).chunk(4, 1) as [Tensor, Tensor, Tensor, Tensor]
    const newC = gate(f)
      .mul(c)
      .add(gate(i).mul(activation(g)))
    return [gate(o).mul(activation(newC)), newC]
  }
}
