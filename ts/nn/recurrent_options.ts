/** The options of recurrent layers and cells: what there is, which of them have it, and the checks. */
import type { Device } from '../device.js'
import { checkNumber, checkOptions, rangeError, typeError } from '../errors.js'
import type { Tensor } from '../tensor.js'
import type { PackedSequence } from './packed_sequence.js'

/** What every recurrent layer takes besides its sizes; PyTorch's names and defaults where it has them. */
export interface RecurrentOptions {
  /** Layers stacked on one another. Default 1. */
  numLayers?: number
  /** Whether there are biases. Default true. */
  bias?: boolean
  /** Input and output are (N, T, …) instead of (T, N, …); states are not changed. Default false. */
  batchFirst?: boolean
  /** Probability of dropping an element between layers, in training mode. Default 0. */
  dropout?: number
  /** A second set of layers reads the sequence backwards. Default false. */
  bidirectional?: boolean
  /** Where the parameters are made. Default: the default device. */
  device?: string | Device
  /**
   * Probability in [0, 1) of dropping a number of a layer's input, for all steps of a sequence alike, in
   * training mode; both directions get the same. Gal & Ghahramani 2016. Default 0.
   */
  inputDropout?: number
  /** The same of every layer's output, not of its final states; also of the last one's. Default 0. */
  outputDropout?: number
  /**
   * Probability in [0, 1) of dropping a weight of `weight_hh`, in training mode: one mask a call for each
   * layer and direction, the weights left scaled by 1/(1 − p). DropConnect; AWD-LSTM (Merity et al. 2017).
   * Default 0.
   */
  weightDropout?: number
  /**
   * Probability in [0, 1) of dropping a number of h(t−1) where `weight_hh` multiplies it, and only there,
   * in training mode: one mask a call for each sequence, layer and direction, the same at all steps, the
   * rest scaled by 1/(1 − p). Gal & Ghahramani 2016; Keras's `recurrent_dropout`. Default 0.
   */
  recurrentDropout?: number
  /**
   * Probability in [0, 1) that a unit keeps its old value instead of taking the new one, drawn for each
   * unit at each step; in evaluation mode h(t) = p·h(t−1) + (1 − p)·h. Zoneout (Krueger et al. 2016).
   * A unit of {@link SLSTM} keeps c, n and m together; in evaluation c·exp(m) and n·exp(m) are mixed, and
   * m is the larger of both. Default 0.
   */
  zoneout?: number
}

/** The third argument of `forward` of the recurrent layers. State: as the layer's initial one. */
export interface StepMasks<State = never> {
  /**
   * int32 or bool, `(T, N)`, `(N, T)` with batchFirst, `(T)` unbatched: where it is not 0, the states of
   * all layers become zeros, or resetState, before that step, and no gradient goes through them to
   * earlier steps. An initial state is replaced, too. The reverse direction reads the sequence from its end,
   * so for it "before" is in its own direction: the state that comes from step t+1.
   *
   * For a PackedSequence either padded, the sequences in the order they had before packing and T the
   * length of the longest, or itself packed from the same lengths.
   */
  reset?: Tensor | PackedSequence | null
  /**
   * The same shapes and types: where it is 0, the step is skipped: h(t) = h(t−1), c(t) = c(t−1), and the
   * output is h(t−1). As Keras's masks; gaps may be anywhere. The output of {@link SRU}, which is not its
   * state, is that of the step before, zeros where there was none since the call began or the last reset.
   */
  mask?: Tensor | PackedSequence | null
  /**
   * What the states become at a reset, instead of zeros: as an initial state, for each sequence one of every
   * layer and direction. It gets the gradients of all steps that began with it.
   */
  resetState?: State | null
}

/** What {@link SRU}, {@link MinGRU} and {@link MinLSTM} take: they have no `weight_hh` to drop weights of. */
export type ElementwiseOptions = Omit<
  RecurrentOptions,
  'weightDropout' | 'recurrentDropout' | 'zoneout'
>

/** What {@link LSTM} and {@link LayerNormLSTM} take. */
export interface LSTMOptions extends Omit<RecurrentOptions, 'zoneout'> {
  /**
   * As of {@link RecurrentOptions}, of h and c alike, or a pair `[pc, ph]`. With a projection h is what it
   * gives. The new h is made of the cell's own c, before zoneout. Default 0.
   */
  zoneout?: number | readonly [pc: number, ph: number]
  /** Width that h is projected to (Sak et al. 2014); 0, the default: none. */
  projSize?: number
  /**
   * What the biases of the forget gate add up to at the beginning: `bias_ih` has this value there,
   * `bias_hh` 0. 1 lets gradients through from the first step on (Jozefowicz et al. 2015). Default:
   * both are drawn, as in PyTorch.
   */
  forgetBias?: number
  /**
   * Whether the gates see the cell state, each through a weight of every unit (Gers & Schmidhuber
   * 2000). {@link LSTM} alone has it. Default false.
   */
  peephole?: boolean
}

/** What {@link GRU} takes. */
export interface GRUOptions extends RecurrentOptions {
  /**
   * Whether the reset gate comes behind the recurrent product, as in PyTorch and cuDNN, or before it,
   * as in Cho et al. 2014. Default true.
   */
  resetAfter?: boolean
}

/** What every cell takes besides its sizes. */
export interface CellOptions {
  /** Whether there are biases. Default true. */
  bias?: boolean
  /** Where the parameters are made. Default: the default device. */
  device?: string | Device
  /** As of {@link RecurrentOptions}; every call is a step, and draws a mask of its own. Default 0. */
  recurrentDropout?: number
  /** As of {@link RecurrentOptions}. Default 0. */
  zoneout?: number
}

/** What {@link SRUCell}, {@link MinGRUCell} and {@link MinLSTMCell} take. */
export type ElementwiseCellOptions = Omit<CellOptions, 'recurrentDropout' | 'zoneout'>

/** What {@link GRUCell} takes. */
export interface GRUCellOptions extends CellOptions {
  /** As of {@link GRU}. */
  resetAfter?: boolean
}

/** What {@link LSTMCell} and {@link LayerNormLSTMCell} take. */
export interface LSTMCellOptions extends Omit<CellOptions, 'zoneout'> {
  /** As of {@link LSTM}. Default 0. */
  zoneout?: number | readonly [pc: number, ph: number]
  /** As of {@link LSTM}. */
  forgetBias?: number
  /** As of {@link LSTM}: {@link LSTMCell} alone has it. */
  peephole?: boolean
}

/** Names of the options of layers from cells that are composed of operations. */
export const COMPOSED_OPTIONS = [
  'numLayers',
  'bias',
  'batchFirst',
  'dropout',
  'bidirectional',
  'device',
  'inputDropout',
  'outputDropout',
  'weightDropout',
] as const

/** Of every other layer. */
export const OPTIONS = [...COMPOSED_OPTIONS, 'recurrentDropout', 'zoneout'] as const

/** Those of the layers without a recurrent matrix. */
export const ELEMENTWISE_OPTIONS = COMPOSED_OPTIONS.filter((name) => name !== 'weightDropout')

/** Those of the layers with a forget gate and a state c. */
export const LSTM_OPTIONS = [...OPTIONS, 'projSize', 'forgetBias'] as const

/** Names of the options of every cell. */
export const CELL_OPTIONS = ['bias', 'device', 'recurrentDropout', 'zoneout'] as const

/** Those of the cells without a recurrent matrix. */
export const ELEMENTWISE_CELL_OPTIONS = ['bias', 'device'] as const

export const LSTM_CELL_OPTIONS = [...CELL_OPTIONS, 'forgetBias'] as const

const LAYERS = 'nn.RNN, nn.GRU, nn.LSTM, nn.LayerNormLSTM, nn.SLSTM'
const WHOLE_SEQUENCE = 'have, but not their cells: its mask is for a whole sequence'

/** Who has an option that not all have. */
const OWNERS: Readonly<Record<string, string>> = {
  nonlinearity: 'nn.RNN, nn.IndRNN and their cells have',
  projSize: 'nn.LSTM and nn.LayerNormLSTM have',
  peephole: 'nn.LSTM and nn.LSTMCell have',
  resetAfter: 'nn.GRU and nn.GRUCell have',
  numHeads: 'nn.SLSTM and nn.SLSTMCell have',
  forgetBias: 'nn.LSTM, nn.LayerNormLSTM and their cells have',
  inputDropout: `all layers ${WHOLE_SEQUENCE}`,
  outputDropout: `all layers ${WHOLE_SEQUENCE}`,
  weightDropout: `all layers with a recurrent matrix ${WHOLE_SEQUENCE}`,
  recurrentDropout: `${LAYERS} and their cells have; of a cell of your own it is in its step`,
  zoneout: `${LAYERS} and their cells have; of a cell of your own it is in its step`,
}

/**
 * As checkOptions; the message says which layers have an option that this one has not.
 * @throws TypeError
 */
export function checkRecurrentOptions(
  fn: string,
  options: unknown,
  known: readonly string[],
): void {
  if (typeof options === 'object' && options !== null) {
    for (const key of Object.keys(options)) {
      if (known.includes(key) || !Object.hasOwn(OWNERS, key)) continue
      throw new TypeError(
        `[${fn}] options: expected one of ${known.join(', ')}, got '${key}', which ${OWNERS[key]}`,
      )
    }
  }
  checkOptions(fn, options, known)
}

/** Checks a probability that a scale of 1/(1 − p) is made of. */
export function checkProbability(fn: string, name: string, value: unknown): number {
  const p = checkNumber(fn, name, value, 0, 1)
  if (p === 1) throw rangeError(fn, name, 'a number of at least 0 and below 1', '1')
  return p
}

/** Chances of the dropouts whose masks hold for a whole call. */
export interface CallDropouts {
  inputDropout: number
  outputDropout: number
  weightDropout: number
}

/** Those of the options, 0 where there is none. */
export function callDropouts(fn: string, options: Partial<CallDropouts>): CallDropouts {
  return {
    inputDropout: checkProbability(fn, 'inputDropout', options.inputDropout ?? 0),
    outputDropout: checkProbability(fn, 'outputDropout', options.outputDropout ?? 0),
    weightDropout: checkProbability(fn, 'weightDropout', options.weightDropout ?? 0),
  }
}

/** Of a layer or a cell, what happens to its states between the steps. */
export interface StepChances {
  recurrentDropout: number
  zoneout: number | readonly [pc: number, ph: number]
}

/**
 * The chances as the steps take them: those of h before those of c.
 * @param c whether the layer has a state c
 */
export function stepChances(
  fn: string,
  options: Partial<StepChances>,
  c: boolean,
): { recurrentDropout: number; zoneout: readonly [h: number, c: number] } {
  const recurrentDropout = checkProbability(fn, 'recurrentDropout', options.recurrentDropout ?? 0)
  const { zoneout = 0 } = options
  if (!Array.isArray(zoneout)) {
    const p = checkProbability(fn, 'zoneout', zoneout)
    return { recurrentDropout, zoneout: [p, c ? p : 0] }
  }
  if (!c)
    throw new TypeError(
      `[${fn}] zoneout: expected a number, got a pair [pc, ph], which is for nn.LSTM, nn.LayerNormLSTM and their cells: they have a state c`,
    )
  if (zoneout.length !== 2)
    throw rangeError(fn, 'zoneout', 'a number or a pair [pc, ph]', `${zoneout.length} numbers`)
  const [pc, ph] = zoneout.map((p, i) => checkProbability(fn, `zoneout[${i}]`, p))
  return { recurrentDropout, zoneout: [ph as number, pc as number] }
}

/** null: not given. @throws TypeError, RangeError where it is no number, or there is no bias */
export function checkForgetBias(fn: string, value: unknown, bias: boolean): number | null {
  if (value === undefined || value === null) return null
  if (typeof value !== 'number') throw typeError(fn, 'forgetBias', 'a number', value)
  if (!Number.isFinite(value)) throw rangeError(fn, 'forgetBias', 'a finite number', String(value))
  if (!bias)
    throw rangeError(fn, 'forgetBias', 'a layer with biases, of which it is one', 'bias: false')
  return value
}

/** Those of the options that are not the default, as they are printed. */
export function optionTexts(
  options: Partial<CallDropouts & StepChances> & {
    forgetBias?: number | null
    peephole?: boolean
    resetAfter?: boolean
    numHeads?: number
  },
): string[] {
  const texts: string[] = []
  for (const name of [
    'inputDropout',
    'outputDropout',
    'weightDropout',
    'recurrentDropout',
  ] as const)
    if (options[name]) texts.push(`${name}=${options[name]}`)
  const { zoneout } = options
  if (typeof zoneout === 'object') texts.push(`zoneout=[${zoneout.join(', ')}]`)
  else if (zoneout) texts.push(`zoneout=${zoneout}`)
  if (options.peephole) texts.push('peephole=true')
  if (options.resetAfter === false) texts.push('resetAfter=false')
  if ((options.numHeads ?? 1) > 1) texts.push(`numHeads=${options.numHeads}`)
  if (typeof options.forgetBias === 'number') texts.push(`forgetBias=${options.forgetBias}`)
  return texts
}
