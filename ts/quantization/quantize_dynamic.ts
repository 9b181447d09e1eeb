/** Copies of models whose layers have int8 weights. */
import { checkIterable, checkOptions, typeError } from '../errors.js'
import { GRUCell, LSTMCell, RNNCell } from '../nn/cells.js'
import { Linear } from '../nn/linear.js'
import { copyReplacing, Module } from '../nn/module.js'
import { GRU, LSTM, RNN } from '../nn/recurrent.js'
import {
  DynamicQuantizedGRUCell,
  DynamicQuantizedLSTMCell,
  DynamicQuantizedRNNCell,
  quantizedGRUCell,
  quantizedLSTMCell,
  quantizedRNNCell,
} from './cells.js'
import { checkColumns, checkCpu } from './int8.js'
import { DynamicQuantizedLinear, quantizedLinear } from './linear.js'
import {
  DynamicQuantizedGRU,
  DynamicQuantizedLSTM,
  DynamicQuantizedRNN,
  quantizedGRU,
  quantizedLSTM,
  quantizedRNN,
} from './recurrent.js'

/** A class of layers that can be quantised. */
export type QuantizableClass =
  | typeof LSTM
  | typeof GRU
  | typeof RNN
  | typeof LSTMCell
  | typeof GRUCell
  | typeof RNNCell
  | typeof Linear

/** What `quantization.quantizeDynamic` takes. */
export interface QuantizeDynamicOptions {
  /**
   * Which layers: classes, and names as in `namedModules()` (of a layer, or of what holds some).
   * Default: all nn.LSTM, nn.GRU, nn.RNN, their cells, and nn.Linear.
   */
  qconfigSpec?: Iterable<QuantizableClass | string> | null
}

const FN = 'quantizeDynamic'
type Quantize = (layer: Module) => Module
const KINDS = new Map<unknown, Quantize>([
  [LSTM, (layer) => quantizedLSTM(layer as LSTM)],
  [GRU, (layer) => quantizedGRU(layer as GRU)],
  [RNN, (layer) => quantizedRNN(layer as RNN)],
  [LSTMCell, (layer) => quantizedLSTMCell(layer as LSTMCell)],
  [GRUCell, (layer) => quantizedGRUCell(layer as GRUCell)],
  [RNNCell, (layer) => quantizedRNNCell(layer as RNNCell)],
  [Linear, (layer) => quantizedLinear(layer as Linear)],
])
const QUANTIZED = [
  DynamicQuantizedLSTM,
  DynamicQuantizedGRU,
  DynamicQuantizedRNN,
  DynamicQuantizedLSTMCell,
  DynamicQuantizedGRUCell,
  DynamicQuantizedRNNCell,
  DynamicQuantizedLinear,
]
const KNOWN = 'nn.LSTM, nn.GRU, nn.RNN, one of their cells or nn.Linear'

/**
 * A copy of a model for inference on the CPU, whose recurrent and linear layers have int8 weights; as
 * `torch.ao.quantization.quantize_dynamic`. The model itself is not changed. The copy is in evaluation
 * mode, and its other parameters require no gradient.
 *
 * A weight's row has a scale s = max |w| / 127 and whole numbers w/s in [−127, 127]. What a layer
 * multiplies them with (its input, and h before each step) is quantised in every call, row by row: a row
 * of the batch has a scale t = (max − min) / 255, the range extended to 0, and whole numbers x/t + z in
 * [0, 255], where z stands for 0. Rounded is to the nearest, even on a tie. Sums are exact, so a row's
 * result depends neither on the others nor on threads or the processor's instructions. Biases, gates,
 * states and outputs are float32. A row with NaN or an infinity gives NaN.
 *
 * Replaced are layers of exactly these classes; a subclass of one, nn.Embedding and all others
 * stay as they are. Save the copy's state dict, and load it into a copy that was made in the same way:
 * the bits are the same. The models of `models` are saved and loaded as ever.
 *
 * @param model a layer, or a model that holds some, on the CPU
 * @throws TypeError for a model without such layers or on a GPU, a name or a class that is not one of
 *   theirs, and what `nn.Module.clone` refuses; RangeError for a matrix with more than 65,536
 *   columns
 */
export function quantizeDynamic<M extends Module>(
  model: M,
  options: QuantizeDynamicOptions = {},
): M {
  if (!(model instanceof Module)) throw typeError(FN, 'model', 'a module', model)
  checkOptions(FN, options, ['qconfigSpec'])
  const chosen = chosenLayers(model, options.qconfigSpec ?? null)
  if (chosen.size === 0)
    throw new TypeError(
      `[${FN}] model: expected one that holds ${KNOWN}, got ${model.constructor.name} without`,
    )
  return replaced(model, chosen)
}

/**
 * The same of layers for which a state dict has int8 weights; the model itself if there are none.
 * Its layers may be empty.
 */
export function quantizedLike<M extends Module>(model: M, state: ReadonlyMap<string, unknown>): M {
  const chosen = new Map<Module, string>()
  for (const [name, module] of model.namedModules()) {
    if (!KINDS.has(module.constructor)) continue
    const prefix = name === '' ? '' : `${name}.`
    const scales = ['weight_scale', 'weight_ih_scale', 'weight_ih_l0_scale']
    if (scales.some((scale) => state.has(prefix + scale))) chosen.set(module, name)
  }
  return chosen.size === 0 ? model : replaced(model, chosen)
}

/** Whether a layer has int8 weights. */
export function isQuantized(layer: unknown): boolean {
  return QUANTIZED.some((kind) => layer instanceof kind)
}

function chosenLayers(
  model: Module,
  spec: Iterable<QuantizableClass | string> | null,
): Map<Module, string> {
  const all = model.namedModules()
  const classes = new Set<unknown>(spec === null ? KINDS.keys() : [])
  const names = new Set<string>()
  if (spec !== null) {
    checkIterable(FN, 'qconfigSpec', spec, 'classes and names')
    if (typeof spec === 'string')
      throw typeError(FN, 'qconfigSpec', 'an array or a Set of classes and names', spec)
    for (const item of spec as Iterable<unknown>) {
      if (typeof item === 'string') names.add(item)
      else if (KINDS.has(item)) classes.add(item)
      else throw typeError(FN, 'qconfigSpec', `${KNOWN}, or the name of a module`, item)
    }
  }
  const inside = (name: string, of: string): boolean =>
    of === '' || name === of || name.startsWith(`${of}.`)
  const chosen = new Map<Module, string>()
  for (const [name, module] of all) {
    if (!KINDS.has(module.constructor)) continue
    const named = [...names].some((of) => inside(name, of))
    if (named || classes.has(module.constructor)) chosen.set(module, name)
  }
  for (const of of names) {
    const found = all.find(([name]) => name === of)
    if (found === undefined) throw typeError(FN, 'qconfigSpec', 'a name of namedModules()', of)
    if (![...chosen.values()].some((name) => inside(name, of)))
      throw new TypeError(
        `[${FN}] qconfigSpec: '${of}' is ${found[1].constructor.name}, and holds no ${KNOWN}`,
      )
  }
  return chosen
}

function replaced<M extends Module>(model: M, chosen: ReadonlyMap<Module, string>): M {
  for (const [layer, name] of chosen) {
    const label = name === '' ? 'model' : `'${name}'`
    for (const [key, parameter] of layer.namedParameters()) {
      checkCpu(FN, label, parameter.device)
      if (parameter.shape.length === 2)
        checkColumns(FN, `${label}.${key}`, parameter.shape[1] as number)
    }
  }
  for (const [name, module] of model.namedModules()) {
    if (module === model || module.clone === Module.prototype.clone) continue
    const held = module.modules().find((inner) => chosen.has(inner))
    if (held !== undefined && held !== module)
      throw new TypeError(
        `[${FN}] '${name}' (${module.constructor.name}) has a clone() of its own, so its ${held.constructor.name} cannot be replaced: leave it out with qconfigSpec`,
      )
  }
  const replacements = new Map<Module, Module>()
  for (const layer of chosen.keys()) {
    const quantize = KINDS.get(layer.constructor) as Quantize
    replacements.set(layer, quantize(layer))
  }
  const copy = copyReplacing(model, replacements) as M
  return copy.requiresGrad(false).eval()
}
