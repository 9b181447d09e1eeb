/** nn.RNNCell, nn.GRUCell and nn.LSTMCell: one time step, through the layers' kernels. */
import { checkSameDevice, deviceOption } from '../device.js'
import {
  checkBoolean,
  checkInteger,
  checkOneOf,
  formatShape,
  rangeError,
  typeError,
} from '../errors.js'
import { sameShape } from '../shape.js'
import { type Shape, Tensor } from '../tensor.js'
import { checkNoPrivates } from './clone.js'
import { checkHeads, shapeInHeads, withHeads } from './heads.js'
import { Module } from './module.js'
import {
  cellKind,
  disposeOther,
  hasC,
  hasNorms,
  hasOwnState,
  lstmState,
  runRecurrent,
  type StackCall,
  weightShapes,
  widthOfC,
} from './recurrent_op.js'
import {
  CELL_OPTIONS,
  type CellOptions,
  checkForgetBias,
  checkRecurrentOptions,
  type GRUCellOptions,
  LSTM_CELL_OPTIONS,
  type LSTMCellOptions,
  optionTexts,
  stepChances,
} from './recurrent_options.js'
import {
  checkWeight,
  drawParameters,
  parameterBlock,
  setForgetBias,
} from './recurrent_parameters.js'
import { NO_MASKS } from './step_options.js'

/** What {@link RNNCell} takes. */
export interface RNNCellOptions extends CellOptions {
  /** Default 'tanh'. */
  nonlinearity?: 'tanh' | 'relu'
}

/** Base of the cells; as `torch.nn.RNNCellBase`. */
export abstract class RecurrentCell extends Module {
  readonly inputSize: number
  readonly hiddenSize: number
  readonly bias: boolean
  /** May be changed between calls. */
  recurrentDropout: number
  /** May be changed between calls. */
  zoneout: number | readonly [pc: number, ph: number]
  /** null: drawn as the other biases. */
  readonly forgetBias: number | null
  /** Of an SLSTMCell; else 1. */
  readonly numHeads: number
  /** `[G·H, inputSize]` */
  declare weight_ih: Tensor
  /** `[G·H, H]` */
  declare weight_hh: Tensor
  /** `[G·H]`; not there without bias */
  declare bias_ih: Tensor
  /** `[G·H]`; not there without bias */
  declare bias_hh: Tensor

  readonly #cell: number

  protected constructor(
    name: string,
    cell: number,
    inputSize: number,
    hiddenSize: number,
    options: LSTMCellOptions & { numHeads?: number },
    known: readonly string[] = CELL_OPTIONS,
  ) {
    super()
    checkRecurrentOptions(name, options, known)
    this.#cell = cell
    this.inputSize = checkInteger(name, 'inputSize', inputSize, 1)
    this.hiddenSize = checkInteger(name, 'hiddenSize', hiddenSize, 1)
    this.bias = checkBoolean(name, 'bias', options.bias ?? true)
    this.recurrentDropout = stepChances(name, options, hasC(cell)).recurrentDropout
    this.zoneout = options.zoneout ?? 0
    this.forgetBias = checkForgetBias(name, options.forgetBias, this.bias)
    this.numHeads = checkHeads(name, options.numHeads ?? 1, this.hiddenSize)
    const device = deviceOption(name, options.device)
    const shapes = this.#shapes().filter((entry): entry is [string, Shape] => entry[1] !== null)
    this.createParameters(shapes, device)
  }

  /**
   * Makes the parameters of these names and shapes.
   * @internal
   */
  protected createParameters(shapes: readonly [string, Shape][], device: string): void {
    const parameters = parameterBlock(this.constructor.name, shapes, device)
    Object.assign(this, Object.fromEntries(parameters))
    this.resetParameters()
  }

  override extraRepr(): string {
    const sizes = [`${this.inputSize}`, `${this.hiddenSize}`, ...(this.bias ? [] : ['bias=false'])]
    return [...sizes, ...optionTexts(this)].join(', ')
  }

  /**
   * Draws every parameter anew from U(−1/√H, 1/√H); with layer norms the weights alone: gains begin
   * as 1, biases as 0. Then sets the biases of forgetBias.
   */
  resetParameters(): void {
    const parameters = this.namedParameters()
    drawParameters(parameters, this.hiddenSize, hasNorms(this.#cell))
    if (this.forgetBias !== null) setForgetBias(parameters, this.hiddenSize, this.forgetBias)
  }

  /** See Module.clone. */
  protected override newInstance(): this {
    checkNoPrivates(this.constructor, RecurrentCell)
    const { inputSize, hiddenSize, bias, numHeads } = this
    const [{ device } = { device: 'cpu' }] = this.parameters()
    const options = { bias, device, numHeads }
    const args = ['clone', this.#cell, inputSize, hiddenSize, options, Object.keys(options)]
    return Reflect.construct(RecurrentCell as never, args, this.constructor as never)
  }

  #shapes(): [name: string, shape: Shape | null][] {
    const shapes = weightShapes(this.#cell, this.inputSize, this.hiddenSize, 0, this.bias)
    return shapes.map(([kind, shape]) => [
      // `bias` is whether there is one.
      kind === 'bias' ? 'bias_ih' : kind,
      shapeInHeads(this.#cell, kind, shape, this.numHeads),
    ])
  }

  /** One step; `h` and `c` as the user gave them. Never broadcasts. */
  protected step(input: Tensor, h: Tensor | null, c: Tensor | null): [h: Tensor, c: Tensor | null] {
    const fn = `${this.constructor.name}.forward`
    if (!(input instanceof Tensor)) throw typeError(fn, 'input', 'a tensor', input)
    if (input.dtype !== 'float32') throw typeError(fn, 'input', 'a float32 tensor', input.dtype)
    const rank = input.shape.length
    if (rank !== 1 && rank !== 2) {
      throw rangeError(
        fn,
        'input',
        '1 or 2 dimensions',
        `${rank} (shape ${formatShape(input.shape)})`,
      )
    }
    if (input.shape[rank - 1] !== this.inputSize) {
      throw rangeError(
        fn,
        'input',
        `a last dimension of ${this.inputSize} (inputSize)`,
        `shape ${formatShape(input.shape)}`,
      )
    }
    const batch = rank === 2 ? (input.shape[0] as number) : 1
    const shape = rank === 2 ? [batch, this.hiddenSize] : [this.hiddenSize]
    const states = Math.max(widthOfC(this.#cell), 1)
    const memory = [...shape.slice(0, -1), states * this.hiddenSize]
    const stacked = (name: string, state: Tensor | null, shape: Shape): Tensor | null => {
      if (state === null) return null
      if (!(state instanceof Tensor)) throw typeError(fn, name, 'a tensor', state)
      if (state.dtype !== 'float32') throw typeError(fn, name, 'a float32 tensor', state.dtype)
      checkSameDevice(fn, name, state, input.device)
      if (!sameShape(state.shape, shape)) {
        throw rangeError(fn, name, `shape ${formatShape(shape)}`, formatShape(state.shape))
      }
      return state.reshape([1, batch, shape.at(-1) as number])
    }
    const h0 = stacked(hasC(this.#cell) ? 'state[0]' : 'state', h, shape)
    const c0 = stacked('state[1]', c, memory)
    const chances = stepChances(fn, this, hasC(this.#cell))
    const { recurrentDropout, zoneout } = chances
    const plain = recurrentDropout === 0 && zoneout[0] === 0 && zoneout[1] === 0
    const options = { ...chances, training: this.training, ...NO_MASKS }
    const x = rank === 2 ? input : input.reshape([1, this.inputSize])
    const { y, hn, cn } = this.stackCall(fn, input.device)(
      {
        cell: this.#cell,
        layers: 1,
        directions: 1,
        input: this.inputSize,
        hidden: this.hiddenSize,
        proj: 0,
        bias: this.bias,
        batch,
        steps: 1,
        dropout: 0,
        options: plain ? null : options,
      },
      x,
      h0,
      c0,
    )
    const other = hasOwnState(this.#cell) ? hn : cn
    const results: [Tensor, Tensor | null] = [y.reshape(shape), other?.reshape(memory) ?? null]
    disposeOther(x, input)
    for (const inner of [h0, c0, y, hn, cn]) inner?.[Symbol.dispose]()
    return results
  }

  /**
   * Checks the weights as they are now, for an input on `device`, and gives the call that uses them.
   * @internal
   */
  protected stackCall(fn: string, device: string): StackCall {
    const checked = this.#shapes().map(([name, shape]) => {
      if (shape === null) return null
      const weight = checkWeight(fn, name, this[name as 'weight_ih'], shape)
      checkSameDevice(fn, name, weight, device)
      return weight
    })
    const weights = withHeads(checked)
    return (call, x, h0, c0) => runRecurrent({ ...call, weights }, x, h0, c0)
  }
}

/**
 * One step of {@link RNN}; as `torch.nn.RNNCell`. `forward(input, h?)` takes `(N, inputSize)` or
 * `(inputSize)` and h `(N, hiddenSize)` or `(hiddenSize)` (zeros when left out); returns the new h.
 */
export class RNNCell extends RecurrentCell {
  readonly nonlinearity: 'tanh' | 'relu'

  constructor(inputSize: number, hiddenSize: number, options: RNNCellOptions = {}) {
    checkRecurrentOptions('RNNCell', options, [...CELL_OPTIONS, 'nonlinearity'])
    const { nonlinearity = 'tanh', ...rest } = options
    checkOneOf('RNNCell', 'nonlinearity', nonlinearity, ['tanh', 'relu'])
    const cell = cellKind(`rnn_${nonlinearity}`)
    super('RNNCell', cell, inputSize, hiddenSize, rest)
    this.nonlinearity = nonlinearity
  }

  forward(input: Tensor, h?: Tensor | null): Tensor {
    return this.step(input, h ?? null, null)[0]
  }

  override extraRepr(): string {
    return super.extraRepr() + (this.nonlinearity === 'relu' ? ", nonlinearity='relu'" : '')
  }
}

/**
 * One step of {@link GRU}; as `torch.nn.GRUCell`. Shapes as {@link RNNCell}. `resetAfter: false` as of
 * {@link GRU}.
 */
export class GRUCell extends RecurrentCell {
  readonly resetAfter: boolean

  constructor(inputSize: number, hiddenSize: number, options: GRUCellOptions = {}) {
    checkRecurrentOptions('GRUCell', options, [...CELL_OPTIONS, 'resetAfter'])
    const { resetAfter = true, ...rest } = options
    checkBoolean('GRUCell', 'resetAfter', resetAfter)
    const cell = cellKind(resetAfter ? 'gru' : 'gru_reset_before')
    super('GRUCell', cell, inputSize, hiddenSize, rest)
    this.resetAfter = resetAfter
  }

  forward(input: Tensor, h?: Tensor | null): Tensor {
    return this.step(input, h ?? null, null)[0]
  }
}

/**
 * One step of {@link LSTM}; as `torch.nn.LSTMCell`. The state and the result are pairs [h, c], each
 * shaped as {@link RNNCell}'s h. `peephole: true` as of {@link LSTM}.
 */
export class LSTMCell extends RecurrentCell {
  readonly peephole: boolean
  /** `[H]`; there with peephole, as the two that follow */
  declare weight_ci: Tensor
  /** `[H]` */
  declare weight_cf: Tensor
  /** `[H]` */
  declare weight_co: Tensor

  constructor(inputSize: number, hiddenSize: number, options: LSTMCellOptions = {}) {
    checkRecurrentOptions('LSTMCell', options, [...LSTM_CELL_OPTIONS, 'peephole'])
    const { peephole = false, ...rest } = options
    checkBoolean('LSTMCell', 'peephole', peephole)
    const cell = cellKind(peephole ? 'lstm_peephole' : 'lstm')
    super('LSTMCell', cell, inputSize, hiddenSize, rest, LSTM_CELL_OPTIONS)
    this.peephole = peephole
  }

  forward(input: Tensor, state?: readonly [h: Tensor, c: Tensor] | null): [h: Tensor, c: Tensor] {
    const [h, c] = this.step(input, ...lstmState('LSTMCell.forward', 'state', state))
    return [h, c as Tensor]
  }
}
