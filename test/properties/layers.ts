/** Recurrent layers and optimisers as their formulas say, step by step in double precision. */
import { floats, sigmoid, type Values } from './reference.js'

export type Kind = 'RNN' | 'GRU' | 'LSTM'

export interface Sizes {
  input: number
  hidden: number
  numLayers: number
  bidirectional: boolean
  /** 0: no projection. */
  projSize: number
  nonlinearity: 'tanh' | 'relu'
}

type Vector = readonly number[]
/** Parameters under the layer's names. */
export type Weights = ReadonlyMap<string, Values>

function times(matrix: Values | undefined, x: Vector): number[] {
  if (matrix === undefined) return [...x]
  const [rows, columns] = matrix.shape as [number, number]
  return Array.from({ length: rows }, (_, i) =>
    x.reduce((total, value, j) => total + value * (matrix.data[i * columns + j] as number), 0),
  )
}

const plus = (a: Vector, b: Vector | undefined): number[] =>
  a.map((value, i) => value + (b?.[i] ?? 0))

/** One step of one cell. */
function step(
  kind: Kind,
  { hidden, nonlinearity }: Sizes,
  weight: (name: string) => Values | undefined,
  x: Vector,
  h: Vector,
  c: Vector,
): { h: number[]; c: number[] } {
  const fromX = plus(times(weight('weight_ih'), x), weight('bias_ih')?.data)
  const fromH = plus(times(weight('weight_hh'), h), weight('bias_hh')?.data)
  const gate = (g: number, i: number): number =>
    (fromX[g * hidden + i] as number) + (fromH[g * hidden + i] as number)
  const units = Array.from({ length: hidden }, (_, i) => i)
  if (kind === 'RNN') {
    const f = nonlinearity === 'relu' ? (v: number) => Math.max(v, 0) : Math.tanh
    return { h: units.map((i) => f(gate(0, i))), c: [] }
  }
  if (kind === 'GRU') {
    const next = units.map((i) => {
      const [r, z] = [sigmoid(gate(0, i)), sigmoid(gate(1, i))]
      const n = Math.tanh((fromX[2 * hidden + i] as number) + r * (fromH[2 * hidden + i] as number))
      return (1 - z) * n + z * (h[i] as number)
    })
    return { h: next, c: [] }
  }
  const cells = units.map(
    (i) => sigmoid(gate(1, i)) * (c[i] as number) + sigmoid(gate(0, i)) * Math.tanh(gate(2, i)),
  )
  const outputs = units.map((i) => sigmoid(gate(3, i)) * Math.tanh(cells[i] as number))
  return { h: times(weight('weight_hr'), outputs), c: cells }
}

export interface Run {
  /** By sequence, then by time. */
  output: number[][][]
  /** [D·L][N] */
  hn: number[][][]
  cn: number[][][]
}

/**
 * A whole layer over sequences of several lengths.
 * @param sequences by sequence, then by time
 * @param h0 `[D·L][N]`, or null for zeros
 */
export function recurrent(
  kind: Kind,
  sizes: Sizes,
  weights: Weights,
  sequences: readonly (readonly Vector[])[],
  h0: readonly Vector[][] | null,
  c0: readonly Vector[][] | null,
): Run {
  const width = sizes.projSize || sizes.hidden
  const zeros = (n: number): number[] => new Array<number>(n).fill(0)
  const directions = sizes.bidirectional ? ['', '_reverse'] : ['']
  const result: Run = { output: [], hn: [], cn: [] }
  let inputs = sequences.map((sequence) => sequence.map((x) => [...x]))
  for (let layer = 0; layer < sizes.numLayers; layer++) {
    const outputs = inputs.map((sequence) => sequence.map((): number[] => []))
    for (const suffix of directions) {
      const stack = result.hn.length
      const weight = (name: string): Values | undefined => weights.get(`${name}_l${layer}${suffix}`)
      const last = inputs.map((sequence, n) => {
        let h: Vector = h0?.[stack]?.[n] ?? zeros(width)
        let c: Vector = c0?.[stack]?.[n] ?? zeros(sizes.hidden)
        const order = suffix === '' ? [...sequence.keys()] : [...sequence.keys()].reverse()
        for (const t of order) {
          ;({ h, c } = step(kind, sizes, weight, sequence[t] as Vector, h, c))
          outputs[n]?.[t]?.push(...h)
        }
        return { h: [...h], c: [...c] }
      })
      result.hn.push(last.map(({ h }) => h))
      result.cn.push(last.map(({ c }) => c))
    }
    inputs = outputs
  }
  return { ...result, output: inputs }
}

// ---- Optimisers ------------------------------------------------------------------------------------

export interface SGDSettings {
  lr: number
  momentum: number
  dampening: number
  weightDecay: number
  nesterov: boolean
  maximize: boolean
}

/** A number and what the optimiser remembers of it. */
interface Slot {
  value: number
  steps: number
  first: number
  second: number
  largest: number
}

export type Rule = (slot: Slot, gradient: number) => void

export const sgd =
  ({ lr, momentum, dampening, weightDecay, nesterov, maximize }: SGDSettings): Rule =>
  (slot, raw) => {
    const gradient = (maximize ? -raw : raw) + weightDecay * slot.value
    slot.first = slot.steps++ === 0 ? gradient : momentum * slot.first + (1 - dampening) * gradient
    if (momentum === 0) slot.value -= lr * gradient
    else slot.value -= lr * (nesterov ? gradient + momentum * slot.first : slot.first)
  }

export interface AdamSettings {
  lr: number
  betas: [number, number]
  eps: number
  weightDecay: number
  amsgrad: boolean
  maximize: boolean
}

export const adam =
  (
    { lr, betas: [beta1, beta2], eps, weightDecay, amsgrad, maximize }: AdamSettings,
    decoupled: boolean,
  ): Rule =>
  (slot, raw) => {
    let gradient = maximize ? -raw : raw
    if (decoupled) slot.value *= 1 - lr * weightDecay
    else gradient += weightDecay * slot.value
    slot.steps++
    slot.first = beta1 * slot.first + (1 - beta1) * gradient
    slot.second = beta2 * slot.second + (1 - beta2) * gradient ** 2
    slot.largest = Math.max(slot.largest, slot.second)
    const mean = slot.first / (1 - beta1 ** slot.steps)
    const square = (amsgrad ? slot.largest : slot.second) / (1 - beta2 ** slot.steps)
    slot.value -= (lr * mean) / (Math.sqrt(square) + eps)
  }

/** Gradients clipped by the norm of them all, then by value; each null for none. */
export function clipped(
  gradients: readonly Vector[],
  maxNorm: number | null,
  maxValue: number | null,
): number[][] {
  const norm = Math.hypot(...gradients.flat())
  const factor = maxNorm === null ? 1 : Math.min(1, maxNorm / (norm + 1e-6))
  const most = maxValue ?? Infinity
  return gradients.map((list) => list.map((g) => Math.min(Math.max(g * factor, -most), most)))
}

/** The parameters after a number of steps. */
export function optimised(
  rule: Rule,
  parameters: readonly Values[],
  steps: readonly (readonly Vector[])[],
  maxNorm: number | null,
  maxValue: number | null,
): Values[] {
  const slots = parameters.map(({ data }) =>
    data.map((value): Slot => ({ value, steps: 0, first: 0, second: 0, largest: 0 })),
  )
  for (const gradients of steps) {
    for (const [p, list] of clipped(gradients, maxNorm, maxValue).entries())
      for (const [i, g] of list.entries()) rule(slots[p]?.[i] as Slot, g)
  }
  return parameters.map(({ shape }, p) =>
    floats(
      shape,
      (slots[p] as Slot[]).map((s) => s.value),
    ),
  )
}
