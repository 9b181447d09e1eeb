/** What the attributes of ONNX's LSTM, GRU and RNN say. */
import { describe } from '../errors.js'
import { Attributes } from './attributes.js'
import type { FileNode } from './read.js'
import { type Activation, activationsOf } from './recurrent_activations.js'

export type RecurrentOp = 'LSTM' | 'GRU' | 'RNN'
type Direction = 'forward' | 'reverse' | 'bidirectional'

export const isRecurrentOp = (op: string): op is RecurrentOp =>
  op === 'LSTM' || op === 'GRU' || op === 'RNN'

/** Where in ONNX's weights each of our gates is. */
export const PLACES_IN_ONNX: Record<RecurrentOp, readonly number[]> = {
  LSTM: [0, 2, 3, 1], // i, f, g, o of i, o, f, c
  GRU: [1, 0, 2], // r, z, n of z, r, h
  RNN: [0],
}
/** Our names of the parts of ONNX's P, in its order. */
export const PEEPHOLES = ['weight_ci', 'weight_co', 'weight_cf'] as const

const USUAL: Record<RecurrentOp, readonly string[]> = {
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

/** How a node is to be computed. */
export interface RecurrentPlan {
  op: RecurrentOp
  direction: Direction
  /** 2 for both, else 1. */
  directions: number
  batchFirst: boolean
  /** 0: not said. */
  hiddenSize: number
  /** Of each direction: for gates, then what else the operator has. */
  activations: Activation[][]
  /** Largest magnitude of what activations get; null: any. */
  clip: number | null
  /** Of an LSTM: f = 1 − i. */
  inputForget: boolean
  /** Of a GRU: whether the reset comes after the product. */
  resetAfter: boolean
  /** Of an RNN that a layer of nn computes. */
  nonlinearity: 'tanh' | 'relu'
  /** Whether a layer of nn computes the same. */
  plain: boolean
}

/** @throws Error that names the attribute that is not known */
export function planOf(node: FileNode, op: RecurrentOp): RecurrentPlan {
  const given: Attributes = new Attributes(node, [...COMMON, ...OWN[op]])
  const direction = given.text('direction', 'forward')
  if (direction !== 'forward' && direction !== 'reverse' && direction !== 'bidirectional')
    return given.refuse(
      `attribute 'direction': expected forward, reverse or bidirectional, got ${describe(direction)}`,
    )
  const directions = direction === 'bidirectional' ? 2 : 1
  const usual = USUAL[op]
  const found = given.texts('activations') ?? []
  const names = found.length === 0 ? Array(directions).fill(usual).flat() : found
  if (names.length !== directions * usual.length)
    given.refuse(
      `attribute 'activations': expected ${usual.length} in each direction, as ${usual.join(', ')}, got ${describe([...found])}`,
    )
  const all = activationsOf(
    names,
    given.floats('activation_alpha') ?? [],
    given.floats('activation_beta') ?? [],
    (what) => given.refuse(what),
  )
  const clip = given.has('clip') ? given.float('clip', 0) : 0
  if (!(clip >= 0)) given.refuse(`attribute 'clip': expected a number from 0, got ${clip}`)
  const inputForget = op === 'LSTM' && given.flag('input_forget', false)
  const resetAfter = op !== 'GRU' || given.flag('linear_before_reset', false)
  const lower = names.map((name) => name.toLowerCase())
  const relu = op === 'RNN' && lower.every((name) => name === 'relu')
  const ours = lower.every((name, i) => name === usual[i % usual.length]?.toLowerCase())
  return {
    ...{ op, direction, directions, inputForget, resetAfter },
    batchFirst: given.flag('layout', false),
    hiddenSize: given.int('hidden_size', 0),
    activations: Array.from({ length: directions }, (_, d) =>
      all.slice(d * usual.length, (d + 1) * usual.length),
    ),
    // As the reference has it, 0 is no threshold.
    clip: clip === 0 ? null : clip,
    nonlinearity: relu ? 'relu' : 'tanh',
    plain: (relu || ours) && clip === 0 && !inputForget,
  }
}
