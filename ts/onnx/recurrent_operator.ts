/**
 * ONNX's LSTM, GRU and RNN as layers of nn, whose parameters are those of the file in PyTorch's
 * order. See recurrent.ts for the shapes.
 */
import { describe, formatShape, rangeError } from '../errors.js'
import { tensor } from '../factories.js'
import { packPaddedSequence, padPackedSequence } from '../nn/packed.js'
import { GRU, LSTM, RNN } from '../nn/recurrent.js'
import { zerosLike } from '../ranges.js'
import type { Tensor } from '../tensor.js'
import { Attributes } from './attributes.js'
import type { FileNode, FileTensor } from './read.js'
import { intsOf, tensorOf, type Val } from './values.js'

export type RecurrentOp = 'LSTM' | 'GRU' | 'RNN'
export type Recurrent = LSTM | GRU | RNN
type Direction = 'forward' | 'reverse' | 'bidirectional'

export const isRecurrentOp = (op: string): op is RecurrentOp =>
  op === 'LSTM' || op === 'GRU' || op === 'RNN'

/** Where in ONNX's weights each of our gates is. */
const GATES: Record<RecurrentOp, readonly number[]> = {
  LSTM: [0, 2, 3, 1], // i, f, g, o of i, o, f, c
  GRU: [1, 0, 2], // r, z, n of z, r, h
  RNN: [0],
}
const ACTIVATIONS: Record<RecurrentOp, readonly string[]> = {
  LSTM: ['Sigmoid', 'Tanh', 'Tanh'],
  GRU: ['Sigmoid', 'Tanh'],
  RNN: ['Tanh'],
}
const COMMON = [
  'activation_alpha',
  'activation_beta',
  'activations',
  'clip',
  'direction',
  'hidden_size',
  'layout',
  'output_sequence',
]
const OWN: Record<RecurrentOp, readonly string[]> = {
  LSTM: ['input_forget'],
  GRU: ['linear_before_reset'],
  RNN: [],
}

/** How a node is to be computed with its layer. */
export interface RecurrentPlan {
  direction: Direction
  batchFirst: boolean
}

/** The attributes that say how a node is computed. @throws Error that names what we have not */
function planOf(node: FileNode, op: RecurrentOp): RecurrentPlan & { relu: boolean; size: number } {
  const given: Attributes = new Attributes(node, [...COMMON, ...OWN[op]])
  const direction = given.text('direction', 'forward')
  if (direction !== 'forward' && direction !== 'reverse' && direction !== 'bidirectional')
    given.refuse(
      `attribute 'direction': expected forward, reverse or bidirectional, got ${describe(direction)}`,
    )
  if (given.has('clip')) given.refuse("attribute 'clip' is not known to our layers")
  for (const name of ['activation_alpha', 'activation_beta'])
    if ((given.floats(name) ?? []).length > 0)
      given.refuse(`attribute '${name}' is not known to our layers`)
  if (op === 'LSTM' && given.flag('input_forget', false))
    given.refuse("attribute 'input_forget' is not known to our layers")
  if (op === 'GRU' && !given.flag('linear_before_reset', false))
    given.refuse(
      "attribute 'linear_before_reset': expected 1, as nn.GRU and cuDNN have it, got 0 (in Keras: reset_after=True)",
    )
  const expected = ACTIVATIONS[op]
  const directions = direction === 'bidirectional' ? 2 : 1
  const found = given.texts('activations') ?? []
  const names = found.map((name) => name.toLowerCase())
  const relu = op === 'RNN' && names.length > 0 && names.every((name) => name === 'relu')
  const usual = names.every((name, i) => name === expected[i % expected.length]?.toLowerCase())
  if (!(relu || usual) || ![0, directions * expected.length].includes(names.length))
    given.refuse(
      `attribute 'activations': expected ${expected.join(', ')}${op === 'RNN' ? ' or Relu' : ''} in each direction, got ${describe([...found])}`,
    )
  return {
    direction,
    batchFirst: given.flag('layout', false),
    relu,
    size: given.int('hidden_size', 0),
  }
}

/** The layer of a node, with the file's weights. @param weights W, R and B @throws Error */
export function recurrentLayer(
  node: FileNode,
  op: RecurrentOp,
  weights: readonly [FileTensor, FileTensor, FileTensor | null],
): { layer: Recurrent; plan: RecurrentPlan } {
  const { direction, batchFirst, relu, size } = planOf(node, op)
  const refuse = (what: string): never =>
    new Attributes(node, [...node.attributes.keys()]).refuse(what)
  const [w, r, b] = weights
  const gates = GATES[op].length
  const directions = direction === 'bidirectional' ? 2 : 1
  const hiddenSize = r.shape[2] ?? 0
  const inputSize = w.shape[2] ?? 0
  const fits = (one: FileTensor, ...shape: number[]): boolean =>
    one.shape.length === shape.length && one.shape.every((n, d) => n === shape[d])
  if (hiddenSize < 1 || inputSize < 1 || (size !== 0 && size !== hiddenSize))
    refuse(`R of shape ${formatShape(r.shape)} does not fit hidden_size ${size}`)
  if (!fits(w, directions, gates * hiddenSize, inputSize))
    refuse(`W of shape ${formatShape(w.shape)} does not fit R of ${formatShape(r.shape)}`)
  if (!fits(r, directions, gates * hiddenSize, hiddenSize))
    refuse(
      `R: expected the shape (${directions}, ${gates * hiddenSize}, ${hiddenSize}), got ${formatShape(r.shape)}`,
    )
  if (b !== null && !fits(b, directions, 2 * gates * hiddenSize))
    refuse(
      `B: expected the shape (${directions}, ${2 * gates * hiddenSize}), got ${formatShape(b.shape)}`,
    )
  const options = { bidirectional: directions === 2, bias: b !== null }
  const layer =
    op === 'LSTM'
      ? new LSTM(inputSize, hiddenSize, options)
      : op === 'GRU'
        ? new GRU(inputSize, hiddenSize, options)
        : new RNN(inputSize, hiddenSize, { ...options, nonlinearity: relu ? 'relu' : 'tanh' })
  const state = new Map<string, Tensor>()
  const take = (name: string, from: FileTensor, at: number, shape: readonly number[]): void => {
    const values = from.values() as Float32Array
    const part = ((shape[0] as number) / gates) * (shape[1] ?? 1)
    const out = new Float32Array(gates * part)
    GATES[op].forEach((gate, i) => {
      out.set(values.subarray(at + gate * part, at + (gate + 1) * part), i * part)
    })
    state.set(name, tensor(out, { shape, device: 'cpu' }))
  }
  const rows = gates * hiddenSize
  for (let d = 0; d < directions; d++) {
    const suffix = d === 0 ? '_l0' : '_l0_reverse'
    take(`weight_ih${suffix}`, w, d * rows * inputSize, [rows, inputSize])
    take(`weight_hh${suffix}`, r, d * rows * hiddenSize, [rows, hiddenSize])
    if (b === null) continue
    take(`bias_ih${suffix}`, b, 2 * d * rows, [rows])
    take(`bias_hh${suffix}`, b, (2 * d + 1) * rows, [rows])
  }
  layer.loadStateDict(state)
  for (const value of state.values()) value[Symbol.dispose]()
  return { layer, plan: { direction, batchFirst } }
}

/** Y, Y_h and, of an LSTM, Y_c. */
export function runRecurrent(
  layer: Recurrent,
  { direction, batchFirst }: RecurrentPlan,
  [given, , , , lengths, h, c, peepholes]: readonly (Val | null | undefined)[],
  device: string,
): Tensor[] {
  if (peepholes != null) throw rangeError('onnx', 'P', 'none: our LSTM has no peepholes', 'some')
  const turned = (x: Tensor): Tensor => (batchFirst ? x.transpose(0, 1) : x)
  const read = tensorOf(given as Val, device)
  if (read.shape.length !== 3)
    throw rangeError('onnx', 'X', 'three dimensions', formatShape(read.shape))
  const x = turned(read)
  const steps = x.shape[0] as number
  const state = (value: Val | null | undefined): Tensor | null =>
    value == null ? null : turned(tensorOf(value, device))
  const [h0, c0] = [state(h), state(c)]
  const reverse = direction === 'reverse'
  if (reverse && lengths != null)
    throw rangeError('onnx', 'sequence_lens', "none with direction 'reverse'", 'some')
  const all = reverse ? x.flip(0) : x
  const [out, hn, cn] =
    lengths == null ? run(layer, all, h0, c0) : packed(layer, all, lengths, h0, c0)
  const y = reverse ? out.flip(0) : out
  const directions = layer.bidirectional ? 2 : 1
  const parts = y.reshape([steps, y.shape[1] as number, directions, layer.hiddenSize])
  const output = parts.permute(batchFirst ? [1, 0, 2, 3] : [0, 2, 1, 3])
  return [output, turned(hn), ...(cn === null ? [] : [turned(cn)])]
}

type Outcome<T> = [output: T, hn: Tensor, cn: Tensor | null]

function run(layer: Recurrent, x: Tensor, h0: Tensor | null, c0: Tensor | null): Outcome<Tensor> {
  if (!(layer instanceof LSTM)) return [...layer.forward(x, h0), null]
  const [y, [hn, cn]] = layer.forward(x, pair(h0, c0))
  return [y, hn, cn]
}

/** A state of an LSTM, of which one part may be left out. */
function pair(h0: Tensor | null, c0: Tensor | null): [Tensor, Tensor] | null {
  const there = h0 ?? c0
  return there === null ? null : [h0 ?? zerosLike(there), c0 ?? zerosLike(there)]
}

/** Sequences of several lengths. */
function packed(
  layer: Recurrent,
  x: Tensor,
  lengths: Val,
  h0: Tensor | null,
  c0: Tensor | null,
): Outcome<Tensor> {
  const list = intsOf(lengths, 'sequence_lens')
  const rows = packPaddedSequence(x, [...list], { enforceSorted: false })
  const totalLength = x.shape[0] as number
  if (layer instanceof LSTM) {
    const [y, [hn, cn]] = layer.forward(rows, pair(h0, c0))
    return [padPackedSequence(y, { totalLength })[0], hn, cn]
  }
  const [y, hn] = layer.forward(rows, h0)
  return [padPackedSequence(y, { totalLength })[0], hn, null]
}
