/**
 * ONNX's LSTM, GRU and RNN as layers of nn, whose parameters are those of the file in PyTorch's
 * order, or step by step (recurrent_steps.ts). See recurrent.ts for the shapes.
 */
import { formatShape, rangeError } from '../errors.js'
import { tensor } from '../factories.js'
import { packPaddedSequence, padPackedSequence } from '../nn/packed.js'
import { GRU, LSTM, RNN } from '../nn/recurrent.js'
import { zerosLike } from '../ranges.js'
import type { Tensor } from '../tensor.js'
import { Attributes } from './attributes.js'
import type { FileNode, FileTensor } from './read.js'
import { PEEPHOLES, PLACES_IN_ONNX, type RecurrentPlan } from './recurrent_plan.js'
import { type DirectionWeights, directionsOf, runSteps, type Stepped } from './recurrent_steps.js'
import { intsOf, tensorOf, type Val } from './values.js'

export type Recurrent = LSTM | GRU | RNN

/** The layer of a node, with the file's weights. @param weights W, R, B and P @throws Error */
export function recurrentLayer(
  node: FileNode,
  { op, directions, hiddenSize: size, nonlinearity, resetAfter }: RecurrentPlan,
  weights: readonly [FileTensor, FileTensor, FileTensor | null, FileTensor | null],
): Recurrent {
  const refuse = (what: string): never =>
    new Attributes(node, [...node.attributes.keys()]).refuse(what)
  const [w, r, b, p] = weights
  const gates = PLACES_IN_ONNX[op].length
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
  if (p !== null && !fits(p, directions, 3 * hiddenSize))
    refuse(`P: expected the shape (${directions}, ${3 * hiddenSize}), got ${formatShape(p.shape)}`)
  const options = { bidirectional: directions === 2, bias: b !== null }
  const layer =
    op === 'LSTM'
      ? new LSTM(inputSize, hiddenSize, { ...options, peephole: p !== null })
      : op === 'GRU'
        ? new GRU(inputSize, hiddenSize, { ...options, resetAfter })
        : new RNN(inputSize, hiddenSize, { ...options, nonlinearity })
  const state = new Map<string, Tensor>()
  const take = (name: string, from: FileTensor, at: number, shape: readonly number[]): void => {
    const values = from.values() as Float32Array
    const part = ((shape[0] as number) / gates) * (shape[1] ?? 1)
    const out = new Float32Array(gates * part)
    PLACES_IN_ONNX[op].forEach((gate, i) => {
      out.set(values.subarray(at + gate * part, at + (gate + 1) * part), i * part)
    })
    state.set(name, tensor(out, { shape, device: 'cpu' }))
  }
  const rows = gates * hiddenSize
  for (let d = 0; d < directions; d++) {
    const suffix = d === 0 ? '_l0' : '_l0_reverse'
    take(`weight_ih${suffix}`, w, d * rows * inputSize, [rows, inputSize])
    take(`weight_hh${suffix}`, r, d * rows * hiddenSize, [rows, hiddenSize])
    PEEPHOLES.forEach((name, i) => {
      const at = (3 * d + i) * hiddenSize
      const values = p?.values().slice(at, at + hiddenSize) as Float32Array | undefined
      if (values) state.set(`${name}${suffix}`, tensor(values, { device: 'cpu' }))
    })
    if (b === null) continue
    take(`bias_ih${suffix}`, b, 2 * d * rows, [rows])
    take(`bias_hh${suffix}`, b, (2 * d + 1) * rows, [rows])
  }
  layer.loadStateDict(state)
  for (const value of state.values()) value[Symbol.dispose]()
  return layer
}

type Given = readonly (Val | null | undefined)[]

/** The inputs of a node, by time. @throws RangeError */
function inputsOf(
  { batchFirst }: RecurrentPlan,
  [given, , , , lens, h, c]: Given,
  device: string,
): { x: Tensor; lengths: number[] | null; h0: Tensor | null; c0: Tensor | null } {
  const turned = (x: Tensor): Tensor => (batchFirst ? x.transpose(0, 1) : x)
  const read = tensorOf(given as Val, device)
  if (read.shape.length !== 3)
    throw rangeError('onnx', 'X', 'three dimensions', formatShape(read.shape))
  const x = turned(read)
  const [steps, n] = x.shape as unknown as [number, number]
  const lengths = lens == null ? null : [...intsOf(lens, 'sequence_lens')]
  if (lengths !== null && lengths.length !== n)
    throw rangeError(
      'onnx',
      'sequence_lens',
      `${n} lengths, one of each sequence`,
      `${lengths.length}`,
    )
  for (const length of lengths ?? [])
    if (!(length >= 0 && length <= steps))
      throw rangeError('onnx', 'sequence_lens', `lengths from 0 to ${steps}`, `${length}`)
  const state = (name: string, value: Val | null | undefined): Tensor | null => {
    if (value == null) return null
    const found = tensorOf(value, device)
    if (found.shape.length !== 3)
      throw rangeError('onnx', name, 'three dimensions', formatShape(found.shape))
    return turned(found)
  }
  return { x, lengths, h0: state('initial_h', h), c0: state('initial_c', c) }
}

/** Y, Y_h and, of an LSTM, Y_c in the layout of the node. @param y (T, D, N, H) */
function outputsOf({ op, batchFirst }: RecurrentPlan, [y, hn, cn]: Stepped): Tensor[] {
  if (!batchFirst) return op === 'LSTM' ? [y, hn, cn] : [y, hn]
  const states = op === 'LSTM' ? [hn, cn] : [hn]
  return [y.permute([2, 0, 1, 3]), ...states.map((state) => state.transpose(0, 1))]
}

/** A node that no layer computes: Y, Y_h and, of an LSTM, Y_c. */
export function runNode(plan: RecurrentPlan, given: Given, device: string): Tensor[] {
  const { x, lengths, h0, c0 } = inputsOf(plan, given, device)
  const [, w, r, b = null, , , , p = null] = given
  const weights = directionsOf(plan, [w as Val, r as Val, b, p], x.shape[2] as number, device)
  return outputsOf(plan, runSteps(plan, weights, x, lengths, h0, c0))
}

/** The weights of a layer, which is asked for what it has not: see runLayer. */
function weightsOf(layer: Recurrent): DirectionWeights[] {
  const own = new Map(layer.namedParameters())
  return ['', '_reverse'].slice(0, layer.bidirectional ? 2 : 1).map((suffix) => ({
    weightIh: own.get(`weight_ih_l0${suffix}`) as Tensor,
    weightHh: own.get(`weight_hh_l0${suffix}`) as Tensor,
    biasIh: own.get(`bias_ih_l0${suffix}`) ?? null,
    biasHh: own.get(`bias_hh_l0${suffix}`) ?? null,
    peepholes: own.has(`weight_ci_l0${suffix}`)
      ? (PEEPHOLES.map((name) => own.get(`${name}_l0${suffix}`)) as [Tensor, Tensor, Tensor])
      : null,
  }))
}

/** A node whose layer is this one: Y, Y_h and, of an LSTM, Y_c. */
export function runLayer(
  layer: Recurrent,
  plan: RecurrentPlan,
  given: Given,
  device: string,
): Tensor[] {
  const { x, lengths, h0, c0 } = inputsOf(plan, given, device)
  const reverse = plan.direction === 'reverse'
  // Packed sequences go forward, and have a step at least.
  if (lengths !== null && (reverse || lengths.includes(0)))
    return outputsOf(plan, runSteps(plan, weightsOf(layer), x, lengths, h0, c0))
  const all = reverse ? x.flip(0) : x
  const [out, hn, cn] =
    lengths === null ? run(layer, all, h0, c0) : packed(layer, all, lengths, h0, c0)
  const [steps, n] = x.shape as unknown as [number, number]
  const y = (reverse ? out.flip(0) : out).reshape([steps, n, plan.directions, layer.hiddenSize])
  return outputsOf(plan, [y.permute([0, 2, 1, 3]), hn, cn ?? hn])
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
  lengths: readonly number[],
  h0: Tensor | null,
  c0: Tensor | null,
): Outcome<Tensor> {
  const rows = packPaddedSequence(x, lengths, { enforceSorted: false })
  const totalLength = x.shape[0] as number
  if (layer instanceof LSTM) {
    const [y, [hn, cn]] = layer.forward(rows, pair(h0, c0))
    return [padPackedSequence(y, { totalLength })[0], hn, cn]
  }
  const [y, hn] = layer.forward(rows, h0)
  return [padPackedSequence(y, { totalLength })[0], hn, null]
}
