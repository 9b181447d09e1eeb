/** nn.SLSTM and nn.SLSTMCell. */
import { checkSameDevice } from '../device.js'
import { formatShape, rangeError, typeError } from '../errors.js'
import { cat } from '../ops/shape.js'
import { sameShape } from '../shape.js'
import { Tensor } from '../tensor.js'
import { RecurrentCell } from './cells.js'
import type { PackedSequence } from './packed.js'
import { RecurrentLayer } from './recurrent_layer.js'
import { cellKind } from './recurrent_op.js'
import {
  CELL_OPTIONS,
  type CellOptions,
  OPTIONS,
  type RecurrentOptions,
  type StepMasks,
} from './recurrent_options.js'

/** What {@link SLSTM} takes. */
export interface SLSTMOptions extends RecurrentOptions {
  /** The units are divided into so many heads, which do not see each other's h. Default 1. */
  numHeads?: number
}

/** What {@link SLSTMCell} takes. */
export interface SLSTMCellOptions extends CellOptions {
  /** As of {@link SLSTM}. */
  numHeads?: number
}

/** The state of {@link SLSTM}: h, and the memory c, what it is divided by, and the exponents' largest. */
export type SLSTMState = [h: Tensor, c: Tensor, n: Tensor, m: Tensor]

/** [h, c], with c, n and m beside each other; nulls for no state. */
function joined(fn: string, name: string, state: unknown): [Tensor | null, Tensor | null] {
  if (state === undefined || state === null) return [null, null]
  if (!Array.isArray(state) || state.length !== 4)
    throw typeError(fn, name, 'an array of four, [h, c, n, m]', state)
  const [h, ...memory] = state as [Tensor, Tensor, Tensor, Tensor]
  for (const [i, part] of [h, ...memory].entries()) {
    const what = `${name}[${i}]`
    if (!(part instanceof Tensor)) throw typeError(fn, what, 'a tensor', part)
    if (part.dtype !== 'float32') throw typeError(fn, what, 'a float32 tensor', part.dtype)
    checkSameDevice(fn, what, part, h.device)
    if (!sameShape(part.shape, h.shape))
      throw rangeError(fn, what, `shape ${formatShape(h.shape)}, as of h`, formatShape(part.shape))
  }
  if (h.shape.length === 0) throw rangeError(fn, `${name}[0]`, 'a tensor of states', 'a number')
  return [h, cat(memory, -1)]
}

/** c, n and m. */
function parted(memory: Tensor): [Tensor, Tensor, Tensor] {
  return memory.chunk(3, -1) as [Tensor, Tensor, Tensor]
}

/**
 * sLSTM with exponential gates (Beck et al. 2024, "xLSTM: Extended Long Short-Term Memory", section
 * 2.2, with the stabiliser state):
 *
 * m = max(log σ(f̃) + m(t−1), ĩ), i = exp(ĩ − m), f = exp(log σ(f̃) + m(t−1) − m), c = f ∘ c(t−1) +
 * i ∘ tanh(z̃), n = f ∘ n(t−1) + i, h = σ(õ) ∘ c / n
 *
 * Where n is next to nothing (below 1e-36), h and its gradient are 0.
 *
 * Parameters, each with `_l{layer}` and `_reverse` behind it as in {@link LSTM}: `weight_ih`
 * `(4·hiddenSize, inputs)` and `bias` `(4·hiddenSize)`, gates in the order i, f, z, o; `weight_hh` `(4,
 * numHeads, hiddenSize/numHeads, hiddenSize/numHeads)`, a row for each unit. Options and shapes are those
 * of {@link LSTM}, without a projection; the state is [h, c, n, m], `(D·numLayers, N, hiddenSize)` each,
 * zeros when left out. The paper's block around the layer (convolution, group norm, projections) is the
 * model's. PyTorch has no such layer.
 *
 * @throws TypeError, RangeError naming the expected and actual sizes
 */
export class SLSTM extends RecurrentLayer<Readonly<SLSTMState>> {
  constructor(inputSize: number, hiddenSize: number, options: SLSTMOptions = {}) {
    super('SLSTM', cellKind('slstm'), inputSize, hiddenSize, options, [...OPTIONS, 'numHeads'])
  }

  override forward(
    input: Tensor,
    state?: Readonly<SLSTMState> | null,
    masks?: StepMasks<Readonly<SLSTMState>>,
  ): [output: Tensor, state: SLSTMState]
  override forward(
    input: PackedSequence,
    state?: Readonly<SLSTMState> | null,
    masks?: StepMasks<Readonly<SLSTMState>>,
  ): [output: PackedSequence, state: SLSTMState]
  override forward(
    input: Tensor | PackedSequence,
    state?: Readonly<SLSTMState> | null,
    masks?: StepMasks<Readonly<SLSTMState>>,
  ): [Tensor | PackedSequence, SLSTMState] {
    const [h0, c0] = this.partsOfState('SLSTM.forward', 'hidden', state)
    const [output, hn, memory] = this.run(input, h0, c0, masks)
    return [output, [hn, ...parted(memory as Tensor)]]
  }

  /** @internal */
  protected override partsOfState(
    fn: string,
    name: string,
    state: unknown,
  ): [h: Tensor | null, c: Tensor | null] {
    return joined(fn, name, state)
  }
}

/**
 * One step of {@link SLSTM}, with the same parameters, without suffixes, but for the bias: `bias_ih` here,
 * as `bias` says whether there is one. `forward(input, state?)` takes
 * `(N, inputSize)` or `(inputSize)` and the state [h, c, n, m], `(N, hiddenSize)` or `(hiddenSize)` each;
 * returns the new state.
 */
export class SLSTMCell extends RecurrentCell {
  constructor(inputSize: number, hiddenSize: number, options: SLSTMCellOptions = {}) {
    const known = [...CELL_OPTIONS, 'numHeads']
    super('SLSTMCell', cellKind('slstm'), inputSize, hiddenSize, options, known)
  }

  forward(input: Tensor, state?: Readonly<SLSTMState> | null): SLSTMState {
    const [h, memory] = this.step(input, ...joined('SLSTMCell.forward', 'state', state))
    return [h, ...parted(memory as Tensor)]
  }
}
