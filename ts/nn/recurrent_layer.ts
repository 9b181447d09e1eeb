/** The base of all recurrent layers: sizes, parameters, and the checked call of the native side. */
import { checkSameDevice, deviceOption } from '../device.js'
import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkOptions,
  formatShape,
  rangeError,
  typeError,
} from '../errors.js'
import { indexSelect } from '../ops/gather.js'
import { sameShape } from '../shape.js'
import { type Shape, Tensor } from '../tensor.js'
import { runWithDropouts } from './call_dropout.js'
import { checkNoPrivates } from './clone.js'
import { checkHeads, shapeInHeads, withHeads } from './heads.js'
import { Module } from './module.js'
import { PackedSequence } from './packed.js'
import {
  disposeOther,
  hasC,
  hasNorms,
  lstmState,
  runRecurrent,
  type StackCall,
  weightShapes,
  widthOfC,
} from './recurrent_op.js'
import {
  callDropouts,
  checkForgetBias,
  checkRecurrentOptions,
  type LSTMOptions,
  optionTexts,
  type StepMasks,
  stepChances,
} from './recurrent_options.js'
import {
  checkWeight,
  drawParameters,
  parameterBlock,
  setForgetBias,
} from './recurrent_parameters.js'
import { maskRows, type StepOptions } from './step_options.js'

/** The input of one call in the layout of the native side, and how to get back. */
interface Rows {
  /** [rows, I] */
  x: Tensor
  /** Whether x was made for this call, to be freed after it. */
  own: boolean
  batch: number
  steps: number | Int32Array
  /** 2-D input, so the states have no batch dimension either. */
  unbatched: boolean
  /** Orders of the batch when a packed input was not sorted. */
  packed: PackedSequence | null
}

/** What a layer carries from step to step: h, for an LSTM the pair [h, c], for an SLSTM [h, c, n, m]. */
export type RecurrentState =
  | Tensor
  | readonly [h: Tensor, c: Tensor]
  | readonly [h: Tensor, c: Tensor, n: Tensor, m: Tensor]

/**
 * Base of {@link RNN}, {@link GRU}, {@link LSTM} and {@link LayerNormLSTM}; as `torch.nn.RNNBase`. A model that takes any
 * of them says `rnn: nn.RecurrentLayer`; one that is written for a pair says
 * `nn.RecurrentLayer<readonly [Tensor, Tensor]>`.
 */
export abstract class RecurrentLayer<
  State extends Tensor | readonly Tensor[] = RecurrentState,
> extends Module {
  readonly inputSize: number
  readonly hiddenSize: number
  readonly numLayers: number
  readonly bias: boolean
  readonly batchFirst: boolean
  /** May be changed between calls. */
  dropout: number
  readonly bidirectional: boolean
  readonly projSize: number
  /** May be changed between calls, as those that follow. */
  inputDropout: number
  outputDropout: number
  weightDropout: number
  recurrentDropout: number
  zoneout: number | readonly [pc: number, ph: number]
  /** null: drawn as the other biases. */
  readonly forgetBias: number | null
  /** Of an SLSTM; else 1. */
  readonly numHeads: number;

  /** The parameters, under PyTorch's names: `weight_ih_l0`, `bias_hh_l1_reverse`, … */
  [parameter: `${'weight' | 'bias' | 'gain'}_${'ih' | 'hh' | 'hr' | 'c'}_l${string}`]: Tensor
  [peephole: `weight_${'ci' | 'cf' | 'co'}_l${string}`]: Tensor
  /** Of cells with one bias. */
  [bias: `bias_l${string}`]: Tensor

  readonly #cell: number
  /** The parameters as they were checked last, with their names; see #weights. */
  #checked: { names: (`weight_ih_l${string}` | null)[]; weights: (Tensor | null)[] } | null = null

  /** @param known names of the options that the layer takes */
  protected constructor(
    name: string,
    cell: number,
    inputSize: number,
    hiddenSize: number,
    options: LSTMOptions & { numHeads?: number },
    known: readonly string[],
  ) {
    super()
    checkRecurrentOptions(name, options, known)
    this.#cell = cell
    this.inputSize = checkInteger(name, 'inputSize', inputSize, 1)
    this.hiddenSize = checkInteger(name, 'hiddenSize', hiddenSize, 1)
    this.numLayers = checkInteger(name, 'numLayers', options.numLayers ?? 1, 1, 128)
    this.bias = checkBoolean(name, 'bias', options.bias ?? true)
    this.batchFirst = checkBoolean(name, 'batchFirst', options.batchFirst ?? false)
    this.dropout = checkNumber(name, 'dropout', options.dropout ?? 0, 0, 1)
    this.bidirectional = checkBoolean(name, 'bidirectional', options.bidirectional ?? false)
    this.projSize = checkInteger(name, 'projSize', options.projSize ?? 0, 0, this.hiddenSize - 1)
    const { inputDropout, outputDropout, weightDropout } = callDropouts(name, options)
    this.inputDropout = inputDropout
    this.outputDropout = outputDropout
    this.weightDropout = weightDropout
    this.recurrentDropout = stepChances(name, options, hasC(cell)).recurrentDropout
    this.zoneout = options.zoneout ?? 0
    this.forgetBias = checkForgetBias(name, options.forgetBias, this.bias)
    this.numHeads = checkHeads(name, options.numHeads ?? 1, this.hiddenSize)
    if (this.dropout > 0 && this.numLayers === 1) {
      process.emitWarning(
        `[${name}] dropout works between layers, so dropout ${this.dropout} has no effect with numLayers 1`,
      )
    }
    const shapes = this.#shapes().filter((entry): entry is [string, Shape] => entry[1] !== null)
    this.createParameters(shapes, deviceOption(name, options.device))
  }

  /** See `nn.RNN` and `nn.LSTM`. */
  abstract override forward(
    input: Tensor,
    state?: State | null,
    masks?: StepMasks<State>,
  ): [output: Tensor, state: State]
  abstract override forward(
    input: PackedSequence,
    state?: State | null,
    masks?: StepMasks<State>,
  ): [output: PackedSequence, state: State]

  /** Sizes and the options that are not the default, as PyTorch prints them. */
  override extraRepr(): string {
    const parts = [`${this.inputSize}`, `${this.hiddenSize}`]
    if (this.projSize !== 0) parts.push(`projSize=${this.projSize}`)
    if (this.numLayers !== 1) parts.push(`numLayers=${this.numLayers}`)
    if (!this.bias) parts.push('bias=false')
    if (this.batchFirst) parts.push('batchFirst=true')
    if (this.dropout !== 0) parts.push(`dropout=${this.dropout}`)
    if (this.bidirectional) parts.push('bidirectional=true')
    return [...parts, ...optionTexts(this)].join(', ')
  }

  /**
   * Draws every parameter anew from U(−1/√H, 1/√H), as `RNNBase.reset_parameters`; with layer norms
   * the weights alone: gains begin as 1, biases as 0. Then sets the biases of forgetBias.
   */
  resetParameters(): void {
    const parameters = this.namedParameters()
    drawParameters(parameters, this.hiddenSize, hasNorms(this.#cell))
    if (this.forgetBias !== null) setForgetBias(parameters, this.hiddenSize, this.forgetBias)
  }

  /** The checked call; `h` and `c` as the user gave them. */
  protected run(
    input: Tensor | PackedSequence,
    h: Tensor | null,
    c: Tensor | null,
    masks?: StepMasks<unknown>,
  ): [output: Tensor | PackedSequence, hn: Tensor, cn: Tensor | null] {
    const fn = `${this.constructor.name}.forward`
    const rows = this.#rows(fn, input)
    const out = this.projSize || this.hiddenSize
    const call = this.stackCall(fn, rows.x.device)
    const h0 = this.#state(fn, hasC(this.#cell) ? 'hidden[0]' : 'hidden', h, out, rows)
    const c0 = this.#state(fn, 'hidden[1]', c, widthOfC(this.#cell) * this.hiddenSize, rows)
    const directions = this.bidirectional ? 2 : 1
    const dropout = this.training && this.numLayers > 1 ? this.dropout : 0
    checkNumber(fn, 'dropout', dropout, 0, 1)
    using options = this.#stepOptions(fn, masks, rows)
    const { y, hn, cn } = call(
      {
        cell: this.#cell,
        layers: this.numLayers,
        directions,
        input: this.inputSize,
        hidden: this.hiddenSize,
        proj: this.projSize,
        bias: this.bias,
        batch: rows.batch,
        steps: rows.steps,
        dropout,
        options,
      },
      rows.x,
      h0,
      c0,
    )
    if (rows.own) rows.x[Symbol.dispose]()
    disposeOther(h0, h)
    disposeOther(c0, c)
    const final = (state: Tensor): Tensor => {
      const order = rows.packed?.unsortedIndices
      if (!rows.unbatched && !order) return state
      const result = order
        ? indexSelect(state, 1, order)
        : state.reshape([state.shape[0] as number, state.shape[2] as number])
      state[Symbol.dispose]()
      return result
    }
    return [this.#output(y, rows), final(hn), cn && final(cn)]
  }

  /**
   * Checks the weights as they are now, for an input on `device`, and gives the call that uses them.
   * @internal
   */
  protected stackCall(fn: string, device: string): StackCall {
    const checked = this.#weights(fn)
    for (let i = 0; i < checked.length; i++) {
      checkSameDevice(fn, this.#checked?.names[i] as string, checked[i], device)
    }
    const weights = withHeads(checked)
    const chances = callDropouts(fn, this)
    if (!this.training || Object.values(chances).every((p) => p === 0))
      return (call, x, h0, c0) => runRecurrent({ ...call, weights }, x, h0, c0)
    return (call, x, h0, c0) => runWithDropouts({ ...call, weights }, chances, x, h0, c0)
  }

  /** What happens between the steps of a call; null: nothing. */
  #stepOptions(
    fn: string,
    masks: StepMasks<unknown> | null | undefined,
    rows: Rows,
  ): (StepOptions & Disposable) | null {
    const chances = stepChances(fn, this, hasC(this.#cell))
    const none = masks === undefined || masks === null
    if (!none) checkOptions(fn, masks, ['reset', 'mask', 'resetState'])
    const layout = { ...rows, batchFirst: this.batchFirst, device: rows.x.device }
    const reset = none ? null : maskRows(fn, 'reset', masks.reset, layout)
    const mask = none ? null : maskRows(fn, 'mask', masks.mask, layout)
    const given = none ? null : (masks.resetState ?? null)
    if (given !== null && reset === null)
      throw new TypeError(
        `[${fn}] resetState: expected reset beside it, which says where the states become these, got none`,
      )
    const [h, c] = this.#resetState(fn, given, rows)
    const { recurrentDropout, zoneout } = chances
    if (recurrentDropout === 0 && zoneout[0] === 0 && zoneout[1] === 0 && !reset && !mask)
      return null
    const dispose = (): void => {
      reset?.[Symbol.dispose]()
      mask?.[Symbol.dispose]()
      for (const [own, laidOut] of [h, c]) disposeOther(laidOut, own)
    }
    const { training } = this
    const states = { reset, mask, resetH: h[1], resetC: c[1] }
    return { ...chances, training, ...states, [Symbol.dispose]: dispose }
  }

  /** The states of resets, as given and as the native side takes them. */
  #resetState(
    fn: string,
    given: unknown,
    rows: Rows,
  ): [h: [Tensor | null, Tensor | null], c: [Tensor | null, Tensor | null]] {
    const [h, c] = this.partsOfState(fn, 'resetState', given)
    const width = widthOfC(this.#cell) * this.hiddenSize
    const name = hasC(this.#cell) ? 'resetState[0]' : 'resetState'
    return [
      [h, this.#state(fn, name, h, this.projSize || this.hiddenSize, rows)],
      [c, this.#state(fn, 'resetState[1]', c, width, rows)],
    ]
  }

  /**
   * h and c of a state as the layer takes it.
   * @internal
   */
  protected partsOfState(
    fn: string,
    name: string,
    state: unknown,
  ): [h: Tensor | null, c: Tensor | null] {
    if (hasC(this.#cell)) return lstmState(fn, name, state as readonly [Tensor, Tensor] | null)
    return [(state ?? null) as Tensor | null, null]
  }

  /** See Module.clone. */
  protected override newInstance(): this {
    checkNoPrivates(this.constructor, RecurrentLayer)
    const { inputSize, hiddenSize, numLayers, bias, batchFirst, bidirectional, projSize } = this
    const [{ device } = { device: 'cpu' }] = this.parameters()
    const { numHeads } = this
    const options = { numLayers, bias, batchFirst, bidirectional, projSize, device, numHeads }
    const args = ['clone', this.#cell, inputSize, hiddenSize, options, Object.keys(options)]
    return Reflect.construct(RecurrentLayer as never, args, this.constructor as never)
  }

  /**
   * Makes the parameters of these names and shapes.
   * @internal
   */
  protected createParameters(shapes: readonly [string, Shape][], device: string): void {
    const parameters = parameterBlock(this.constructor.name, shapes, device)
    for (const [name, parameter] of parameters) this[name as `weight_ih_l${string}`] = parameter
    this.resetParameters()
  }

  /** Every parameter in native order, layer by layer and direction by direction. */
  #shapes(): [name: string, shape: Shape | null][] {
    const out = this.projSize || this.hiddenSize
    const directions = this.bidirectional ? ['', '_reverse'] : ['']
    return Array.from({ length: this.numLayers }, (_, layer) => {
      const inputs = layer === 0 ? this.inputSize : directions.length * out
      const kinds = weightShapes(this.#cell, inputs, this.hiddenSize, this.projSize, this.bias)
      return directions.map((suffix) =>
        kinds.map(([kind, shape]): [string, Shape | null] => [
          `${kind}_l${layer}${suffix}`,
          shapeInHeads(this.#cell, kind, shape, this.numHeads),
        ]),
      )
    }).flat(2)
  }

  /** The parameters as they are now (they may have been replaced, to tie them), in native order. */
  #weights(fn: string): readonly (Tensor | null)[] {
    if (this.#checked !== null) {
      const { names, weights } = this.#checked
      if (names.every((name, i) => name === null || this[name] === weights[i])) return weights
    }
    const names: (`weight_ih_l${string}` | null)[] = []
    const weights = this.#shapes().map(([key, shape]) => {
      const name = key as `weight_ih_l${string}`
      names.push(shape && name)
      return shape && checkWeight(fn, name, this[name], shape)
    })
    this.#checked = { names, weights }
    return weights
  }

  /** Checks the input and lays it out by time. */
  #rows(fn: string, input: Tensor | PackedSequence): Rows {
    if (input instanceof PackedSequence) {
      const { data, batchSizes } = input
      if (data.shape.length !== 2) {
        throw rangeError(fn, 'input', 'packed data of 2 dimensions', formatShape(data.shape))
      }
      this.#checkWidth(fn, data, 1)
      const batch = batchSizes[0] as number
      return { x: data, own: false, batch, steps: batchSizes, unbatched: false, packed: input }
    }
    if (!(input instanceof Tensor)) {
      throw typeError(fn, 'input', 'a tensor or a PackedSequence', input)
    }
    const rank = input.shape.length
    if (rank !== 2 && rank !== 3) {
      throw rangeError(
        fn,
        'input',
        '2 or 3 dimensions',
        `${rank} (shape ${formatShape(input.shape)})`,
      )
    }
    this.#checkWidth(fn, input, rank - 1)
    const unbatched = rank === 2
    const timeMajor = !unbatched && this.batchFirst ? input.transpose(0, 1) : input
    const steps = timeMajor.shape[0] as number
    if (steps === 0) throw rangeError(fn, 'input', 'at least one time step', 'none')
    const batch = unbatched ? 1 : (timeMajor.shape[1] as number)
    const x = unbatched ? timeMajor : timeMajor.reshape([steps * batch, this.inputSize])
    if (timeMajor !== input) timeMajor[Symbol.dispose]()
    return { x, own: !unbatched, batch, steps, unbatched, packed: null }
  }

  #checkWidth(fn: string, input: Tensor, last: number): void {
    if (input.dtype !== 'float32') throw typeError(fn, 'input', 'a float32 tensor', input.dtype)
    if (input.shape[last] !== this.inputSize) {
      throw rangeError(
        fn,
        'input',
        `a last dimension of ${this.inputSize} (inputSize)`,
        `shape ${formatShape(input.shape)}`,
      )
    }
  }

  /** Checks an initial state and lays it out as [L*D, N, width]. */
  #state(fn: string, name: string, state: Tensor | null, width: number, rows: Rows): Tensor | null {
    if (state === null) return null
    if (!(state instanceof Tensor)) throw typeError(fn, name, 'a tensor', state)
    if (state.dtype !== 'float32') throw typeError(fn, name, 'a float32 tensor', state.dtype)
    checkSameDevice(fn, name, state, rows.x.device)
    const stacks = this.numLayers * (this.bidirectional ? 2 : 1)
    const expected = rows.unbatched ? [stacks, width] : [stacks, rows.batch, width]
    if (state.shape.length !== expected.length) {
      throw rangeError(
        fn,
        name,
        `${expected.length} dimensions for ${rows.unbatched ? 'unbatched' : 'batched'} input`,
        `${state.shape.length} (shape ${formatShape(state.shape)})`,
      )
    }
    if (!sameShape(state.shape, expected)) {
      throw rangeError(fn, name, `shape ${formatShape(expected)}`, formatShape(state.shape))
    }
    if (rows.unbatched) return state.reshape([stacks, 1, width])
    const order = rows.packed?.sortedIndices
    return order ? indexSelect(state, 1, order) : state
  }

  /** The output in the layout of the input. */
  #output(y: Tensor, rows: Rows): Tensor | PackedSequence {
    if (rows.packed) return rows.packed.withData(y)
    if (rows.unbatched) return y
    const steps = rows.steps as number
    const timeMajor = y.reshape([steps, rows.batch, y.shape[1] as number])
    y[Symbol.dispose]()
    if (!this.batchFirst) return timeMajor
    const batchMajor = timeMajor.transpose(0, 1)
    timeMajor[Symbol.dispose]()
    return batchMajor
  }
}
