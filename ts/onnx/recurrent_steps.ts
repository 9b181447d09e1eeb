/**
 * ONNX's LSTM, GRU and RNN step by step, through operations of tensors: for what the layers of nn do
 * not have. Slower than they are, and differentiable in all that it is given.
 */
import { formatShape, rangeError } from '../errors.js'
import { zeros } from '../factories.js'
import * as F from '../nn/functional.js'
import { cat, stack } from '../ops/shape.js'
import { where } from '../ops/where.js'
import { sameShape } from '../shape.js'
import type { Tensor } from '../tensor.js'
import type { Activation } from './recurrent_activations.js'
import { PLACES_IN_ONNX, type RecurrentPlan } from './recurrent_plan.js'
import { Ints, tensorOf, type Val } from './values.js'

/** The weights of one direction, with the gates in the order of nn. */
export interface DirectionWeights {
  weightIh: Tensor
  weightHh: Tensor
  biasIh: Tensor | null
  biasHh: Tensor | null
  /** Of an LSTM with peepholes, (hiddenSize) each. */
  peepholes: readonly [i: Tensor, o: Tensor, f: Tensor] | null
}

/** W, R, B and P as directions. @throws RangeError for shapes that do not fit */
export function directionsOf(
  { op, directions, hiddenSize: said }: RecurrentPlan,
  [w, r, b, p]: readonly [Val, Val, Val | null, Val | null],
  inputSize: number,
  device: string,
): DirectionWeights[] {
  const gates = PLACES_IN_ONNX[op].length
  const of = (value: Val): Tensor => tensorOf(value, device)
  const [W, R] = [of(w), of(r)]
  const hiddenSize = said === 0 ? (R.shape[2] ?? 0) : said
  const expect = (name: string, x: Tensor, ...shape: number[]): void => {
    if (!sameShape(x.shape, shape))
      throw rangeError('onnx', name, `the shape ${formatShape(shape)}`, formatShape(x.shape))
    if (x.dtype !== 'float32') throw rangeError('onnx', name, 'float32', x.dtype)
  }
  expect('W', W, directions, gates * hiddenSize, inputSize)
  expect('R', R, directions, gates * hiddenSize, hiddenSize)
  const B = b === null ? null : of(b)
  if (B !== null) expect('B', B, directions, 2 * gates * hiddenSize)
  const P = p === null ? null : of(p)
  if (P !== null) expect('P', P, directions, 3 * hiddenSize)
  const rows = (x: Tensor): Tensor =>
    cat(
      PLACES_IN_ONNX[op].map((gate) => x.slice(0, gate * hiddenSize, (gate + 1) * hiddenSize)),
      0,
    )
  return Array.from({ length: directions }, (_, d) => {
    const [biasIh = null, biasHh = null] = B === null ? [] : B.select(0, d).chunk(2, 0)
    return {
      weightIh: rows(W.select(0, d)),
      weightHh: rows(R.select(0, d)),
      biasIh: biasIh && rows(biasIh),
      biasHh: biasHh && rows(biasHh),
      peepholes: P && (P.select(0, d).chunk(3, 0) as [Tensor, Tensor, Tensor]),
    }
  })
}

/** Outputs (T, D, N, H) and last states (D, N, H). */
export type Stepped = [y: Tensor, hn: Tensor, cn: Tensor]

/**
 * @param x (T, N, I) @param lengths of the sequences; null: all have T steps
 * @param h0 (D, N, H) @param c0 likewise; null: zeros
 */
export function runSteps(
  plan: RecurrentPlan,
  weights: readonly DirectionWeights[],
  x: Tensor,
  lengths: readonly number[] | null,
  h0: Tensor | null,
  c0: Tensor | null,
): Stepped {
  const found = weights.map((one, d) => {
    const backwards = plan.direction === 'reverse' || d === 1
    return oneDirection(plan, d, one, x, lengths, h0, c0, backwards)
  })
  const side = (i: 0 | 1 | 2, dim: number): Tensor =>
    stack(
      found.map((one) => one[i]),
      dim,
    )
  return [side(0, 1), side(1, 0), side(2, 0)]
}

function oneDirection(
  plan: RecurrentPlan,
  d: number,
  weights: DirectionWeights,
  x: Tensor,
  lengths: readonly number[] | null,
  h0: Tensor | null,
  c0: Tensor | null,
  backwards: boolean,
): Stepped {
  const [steps, n] = x.shape as unknown as [number, number]
  const { device } = x
  const hiddenSize = weights.weightHh.shape[1] as number
  const none = zeros([n, hiddenSize], { device })
  let h = h0?.select(0, d) ?? none
  let c = c0?.select(0, d) ?? none
  for (const [name, state] of [
    ['initial_h', h],
    ['initial_c', c],
  ] as const)
    if (!sameShape(state.shape, none.shape))
      throw rangeError('onnx', name, `(…, ${n}, ${hiddenSize})`, formatShape(state.shape))
  const products = F.linear(x, weights.weightIh, weights.biasIh)
  const outputs: Tensor[] = []
  for (let step = 0; step < steps; step++) {
    const t = backwards ? steps - 1 - step : step
    const [newH, newC] = cell(plan, d, weights, products.select(0, t), h, c)
    if (lengths === null || lengths.every((length) => t < length)) {
      ;[h, c] = [newH, newC]
      outputs.push(h)
      continue
    }
    const counts = tensorOf(
      new Ints(
        [n, 1],
        lengths.map((length) => Number(t < length)),
        'bool',
      ),
      device,
    )
    h = where(counts, newH, h)
    c = where(counts, newC, c)
    outputs.push(where(counts, newH, 0))
  }
  if (steps === 0) return [zeros([0, n, hiddenSize], { device }), h, c]
  return [stack(backwards ? outputs.reverse() : outputs, 0), h, c]
}

/** One step of the operator's equations. @param input W x + b */
function cell(
  plan: RecurrentPlan,
  d: number,
  weights: DirectionWeights,
  input: Tensor,
  h: Tensor,
  c: Tensor,
): [h: Tensor, c: Tensor] {
  const { op, clip, resetAfter, inputForget } = plan
  const { weightHh, biasHh, peepholes } = weights
  const clipped =
    (f: Activation): Activation =>
    (x) =>
      f(clip === null ? x : x.clamp(-clip, clip))
  const [f, g, last] = (plan.activations[d] as Activation[]).map(clipped) as [
    Activation,
    Activation,
    Activation,
  ]
  if (op === 'RNN') return [f(input.add(F.linear(h, weightHh, biasHh))), c]
  if (op === 'GRU') {
    const units = weightHh.shape[1] as number
    const [xr, xz, xn] = input.chunk(3, 1) as [Tensor, Tensor, Tensor]
    if (resetAfter) {
      const [hr, hz, hn] = F.linear(h, weightHh, biasHh).chunk(3, 1) as [Tensor, Tensor, Tensor]
      const [r, z] = [f(xr.add(hr)), f(xz.add(hz))]
      const n = g(xn.add(r.mul(hn)))
      return [n.add(z.mul(h.sub(n))), c]
    }
    const part = (x: Tensor | null, from: number, to: number): Tensor | null =>
      x?.slice(0, from * units, to * units) ?? null
    const both = F.linear(h, part(weightHh, 0, 2) as Tensor, part(biasHh, 0, 2))
    const [hr, hz] = both.chunk(2, 1) as [Tensor, Tensor]
    const [r, z] = [f(xr.add(hr)), f(xz.add(hz))]
    const hn = F.linear(r.mul(h), part(weightHh, 2, 3) as Tensor, part(biasHh, 2, 3))
    const n = g(xn.add(hn))
    return [n.add(z.mul(h.sub(n))), c]
  }
  const sums = input.add(F.linear(h, weightHh, biasHh)).chunk(4, 1) as Tensor[]
  const [si, sf, sg, so] = sums as [Tensor, Tensor, Tensor, Tensor]
  const [pi, po, pf] = peepholes ?? []
  const peep = (x: Tensor, p: Tensor | undefined, state: Tensor): Tensor =>
    p === undefined ? x : x.add(p.mul(state))
  const i = f(peep(si, pi, c))
  const forget = inputForget ? i.mul(-1).add(1) : f(peep(sf, pf, c))
  const newC = forget.mul(c).add(i.mul(g(sg)))
  const o = f(peep(so, po, newC))
  return [o.mul(last(newC)), newC]
}
