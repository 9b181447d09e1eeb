/**
 * Recurrent layers as loops of tensor operations. They compute what the fused layers compute, step by
 * step, and are used where gradients are to be differentiated in turn (`createGraph`), and where something
 * is asked for that the fused layers have not.
 */
import { logSigmoid } from '../ops/activation.js'
import { linear } from '../ops/linear.js'
import { dropped } from '../ops/random.js'
import { cat } from '../ops/shape.js'
import { overSteps } from '../ops/steps.js'
import { where } from '../ops/where.js'
import { nextRandom } from '../random.js'
import type { Tensor } from '../tensor.js'

/** What a layer and direction has, by names without suffix. */
export type Weights = Readonly<Record<string, Tensor | null>>

/**
 * The new h, before a projection, and c from the input's product (with its bias) and the old ones;
 * `hIn` is the h that W_hh multiplies.
 */
type Step = (
  x: Tensor,
  h: Tensor,
  hIn: Tensor,
  c: Tensor | null,
  weights: Weights,
) => [h: Tensor, c: Tensor | null]

/** The numbers of gate `k` of `count`. */
const gate = (s: Tensor, k: number, count: number): Tensor => {
  const size = (s.shape[1] as number) / count
  return s.slice(1, k * size, (k + 1) * size)
}

const recurrent = (h: Tensor, { weight_hh, bias_hh }: Weights): Tensor =>
  linear(h, weight_hh as Tensor, bias_hh ?? null)

/** LN(x) over the last dimension; as native/cells/norm.h. */
function normalised(x: Tensor, gain: Tensor, shift: Tensor | null): Tensor {
  const centred = x.sub(x.mean(1, { keepdim: true }))
  const variance = centred.mul(centred).mean(1, { keepdim: true })
  const scaled = centred.div(variance.add(1e-5).sqrt()).mul(gain)
  return shift === null ? scaled : scaled.add(shift)
}

function lstmState(a: Tensor, c: Tensor): Tensor {
  const [i, f, g] = [gate(a, 0, 4).sigmoid(), gate(a, 1, 4).sigmoid(), gate(a, 2, 4).tanh()]
  return f.mul(c).add(i.mul(g))
}

/** By the cells' names in native/cells/cells.def, whose equations these are. */
const STEPS: Readonly<Record<string, Step>> = {
  rnn_tanh: (x, _h, hIn, _c, weights) => [x.add(recurrent(hIn, weights)).tanh(), null],
  rnn_relu: (x, _h, hIn, _c, weights) => [x.add(recurrent(hIn, weights)).relu(), null],
  gru: (x, h, hIn, _c, weights) => {
    const q = recurrent(hIn, weights)
    const r = gate(x, 0, 3)
      .add(gate(q, 0, 3))
      .sigmoid()
    const z = gate(x, 1, 3)
      .add(gate(q, 1, 3))
      .sigmoid()
    const n = gate(x, 2, 3)
      .add(r.mul(gate(q, 2, 3)))
      .tanh()
    return [n.add(z.mul(h.sub(n))), null]
  },
  gru_reset_before: (x, h, hIn, _c, { weight_hh, bias_hh }) => {
    const units = h.shape[1] as number
    const product = (rows: Tensor, from: number, to: number): Tensor =>
      linear(
        rows,
        (weight_hh as Tensor).slice(0, from * units, to * units),
        bias_hh?.slice(0, from * units, to * units) ?? null,
      )
    const both = x
      .slice(1, 0, 2 * units)
      .add(product(hIn, 0, 2))
      .sigmoid()
    const [r, z] = [gate(both, 0, 2), gate(both, 1, 2)]
    const n = gate(x, 2, 3)
      .add(product(r.mul(hIn), 2, 3))
      .tanh()
    return [n.add(z.mul(h.sub(n))), null]
  },
  lstm: (x, _h, hIn, c, weights) => {
    const a = x.add(recurrent(hIn, weights))
    const next = lstmState(a, c as Tensor)
    return [gate(a, 3, 4).sigmoid().mul(next.tanh()), next]
  },
  lstm_peephole: (x, _h, hIn, c, weights) => {
    const a = x.add(recurrent(hIn, weights))
    const old = c as Tensor
    const seen = (k: number, state: Tensor, weight: 'ci' | 'cf' | 'co'): Tensor =>
      gate(a, k, 4)
        .add(state.mul(weights[`weight_${weight}`] as Tensor))
        .sigmoid()
    const next = seen(1, old, 'cf')
      .mul(old)
      .add(seen(0, old, 'ci').mul(gate(a, 2, 4).tanh()))
    return [seen(3, next, 'co').mul(next.tanh()), next]
  },
  slstm: (x, _h, hIn, memory, { weight_hh }) => {
    const a = x.add(linear(hIn, weight_hh as Tensor))
    const [c, n, m] = [0, 1, 2].map((k) => gate(memory as Tensor, k, 3)) as [Tensor, Tensor, Tensor]
    const [i, f, z, o] = [0, 1, 2, 3].map((k) => gate(a, k, 4)) as [Tensor, Tensor, Tensor, Tensor]
    const kept = logSigmoid(f).add(m)
    const largest = kept.maximum(i)
    const [into, on] = [i.sub(largest).exp(), kept.sub(largest).exp()]
    const nextC = on.mul(c).add(into.mul(z.tanh()))
    const nextN = on.mul(n).add(into)
    // As native/cells/slstm.h: where n is next to nothing, h and its gradient are 0.
    const some = nextN.abs().ge(1e-36)
    const y = where(some, nextC.div(where(some, nextN, 1)), 0)
    return [o.sigmoid().mul(y), cat([nextC, nextN, largest], 1)]
  },
  layer_norm_lstm: (x, _h, hIn, c, weights) => {
    const { weight_hh, gain_hh, bias_hh, gain_c, bias_c } = weights
    const q = linear(hIn, weight_hh as Tensor)
    const a = x.add(normalised(q, gain_hh as Tensor, bias_hh ?? null))
    const next = lstmState(a, c as Tensor)
    const norm = normalised(next, gain_c as Tensor, bias_c ?? null)
    return [gate(a, 3, 4).sigmoid().mul(norm.tanh()), next]
  },
}

/** Zoneout in evaluation, of the states c, n and m of an sLSTM: c exp(m) and n exp(m) are mixed. */
function mixed(now: Tensor, old: Tensor, part: number): Tensor {
  const [oldC, oldN, oldM] = [gate(old, 0, 3), gate(old, 1, 3), gate(old, 2, 3)]
  const [newC, newN, newM] = [gate(now, 0, 3), gate(now, 1, 3), gate(now, 2, 3)]
  const m = newM.maximum(oldM)
  const share = (of: Tensor, part: number): Tensor => of.sub(m).exp().mul(part)
  const [ofOld, ofNew] = [share(oldM, part), share(newM, 1 - part)]
  const mix = (a: Tensor, b: Tensor): Tensor => a.mul(ofOld).add(b.mul(ofNew))
  return cat([mix(oldC, newC), mix(oldN, newN), m], 1)
}

/** Whether a cell is here. */
export function canUnroll(cell: string): boolean {
  return Object.hasOwn(STEPS, cell)
}

/** What happens between the steps: RnnStepOptions in native/ops/ops.h. Null: nothing. */
export interface UnrolledOptions {
  parts: readonly [h: number, c: number]
  /** `[L*D, N, P]` */
  hFactor: Tensor | null
  /** bool `[L*D, rows, P]` */
  keepH: Tensor | null
  /** bool `[L*D, rows, H]` */
  keepC: Tensor | null
  /** bool `[rows, 1]` */
  reset: Tensor | null
  /** bool `[rows, 1]` */
  mask: Tensor | null
  /** `[L*D, N, P]` */
  resetH: Tensor | null
  /** `[L*D, N, H]`, as c0 */
  resetC: Tensor | null
}

export interface Unrolled {
  cell: string
  layers: number
  directions: number
  /** Sequences that are active at each step; they come first. */
  sizes: readonly number[]
  /** Between layers, with the kernels' random numbers, or new ones for each layer; null: none. */
  dropout: { p: number; random: { seed: number; counter: number } | null } | null
  options: UnrolledOptions | null
}

/**
 * The layers' results, as runRecurrent's.
 * @param x `[rows, I]`
 * @param h0 `[L*D, N, P]`
 * @param c0 `[L*D, N, H]`, or null
 * @param weights of every layer and direction
 */
export function unroll(
  call: Unrolled,
  x: Tensor,
  h0: Tensor,
  c0: Tensor | null,
  weights: readonly Weights[],
): Tensor[] {
  let rows = x
  const [hn, cn]: [Tensor[], Tensor[]] = [[], []]
  for (let layer = 0; layer < call.layers; layer++) {
    const outputs: Tensor[] = []
    for (let direction = 0; direction < call.directions; direction++) {
      const stack = layer * call.directions + direction
      const own = weights[stack] as Weights
      const state = [h0.select(0, stack), c0?.select(0, stack) ?? null] as const
      const options = call.options && ofStack(call.options, stack)
      const [y, h, c] = walk(call, rows, state, own, options, direction === 1)
      outputs.push(y)
      hn.push(h.unsqueeze(0))
      if (c !== null) cn.push(c.unsqueeze(0))
    }
    rows = outputs.length === 1 ? (outputs[0] as Tensor) : cat(outputs, 1)
    const { dropout } = call
    if (dropout !== null && layer < call.layers - 1) rows = withDropout(rows, dropout)
  }
  const result = [rows, cat(hn, 0)]
  if (cn.length > 0) result.push(cat(cn, 0))
  return result
}

function withDropout(rows: Tensor, dropout: NonNullable<Unrolled['dropout']>): Tensor {
  const { seed, counter } = dropout.random ?? nextRandom()
  return dropped(rows, dropout.p, seed, counter)
}

/**
 * The options of one layer and direction: hFactor [N, P], keepH [rows, P], keepC [rows, H], resetH [N, P],
 * resetC [N, H].
 */
function ofStack(options: UnrolledOptions, stack: number): UnrolledOptions {
  const { hFactor, keepH, keepC, resetH, resetC } = options
  const own = (all: Tensor | null): Tensor | null => all?.select(0, stack) ?? null
  return {
    ...options,
    ...{ hFactor: own(hFactor), keepH: own(keepH), keepC: own(keepC) },
    ...{ resetH: own(resetH), resetC: own(resetC) },
  }
}

/** One mask for all states of a unit. */
function ofAll(keep: Tensor | null, states: Tensor): Tensor | null {
  const count = keep === null ? 1 : (states.shape[1] as number) / (keep.shape[1] as number)
  return count === 1 ? keep : cat(new Array<Tensor>(count).fill(keep as Tensor), 1)
}

/** A step's new state with zoneout and the mask. @param blend of old and new states */
function zoned(
  now: Tensor,
  old: Tensor,
  keep: Tensor | null,
  part: number,
  mask: Tensor | null,
  blend = (now: Tensor, old: Tensor, part: number) => now.add(old.sub(now).mul(part)),
): Tensor {
  let state = part > 0 ? blend(now, old, part) : now
  if (keep !== null) state = where(keep, old, state)
  return mask === null ? state : where(mask, state, old)
}

/** One layer in one direction. */
function walk(
  call: Unrolled,
  x: Tensor,
  [h0, c0]: readonly [Tensor, Tensor | null],
  weights: Weights,
  options: UnrolledOptions | null,
  backwards: boolean,
): [y: Tensor, h: Tensor, c: Tensor | null] {
  const step = STEPS[call.cell] as Step
  const { weight_ih, bias, gain_ih, weight_hr: projection } = weights
  const bias_ih = weights.bias_ih ?? bias
  // With norms the bias is the shift of the norm.
  const inputs = gain_ih
    ? normalised(linear(x, weight_ih as Tensor), gain_ih, bias_ih ?? null)
    : linear(x, weight_ih as Tensor, bias_ih ?? null)
  const initial = c0 === null ? [h0] : [h0, c0]
  const [y, [h, c]] = overSteps(call.sizes, backwards, initial, (rowsOf, states) => {
    const reset = options?.reset ? rowsOf(options.reset) : null
    const first = (whole: Tensor): Tensor => whole.slice(0, 0, states[0]?.shape[0] as number)
    const [oldH, oldC = null] = states.map((state, k) => {
      if (reset === null) return state
      const given = k === 0 ? options?.resetH : options?.resetC
      return where(reset, given ? first(given) : 0, state)
    })
    const old = oldH as Tensor
    const factor = options?.hFactor ? first(options.hFactor) : null
    const seen = factor === null ? old : old.mul(factor)
    const [raw, newC] = step(rowsOf(inputs), old, seen, oldC, weights)
    let [nextH, nextC] = [projection ? linear(raw, projection) : raw, newC]
    if (options !== null) {
      const { keepH, keepC, parts, mask } = options
      const rows = (of: Tensor | null): Tensor | null => of && rowsOf(of)
      nextH = zoned(nextH, old, rows(keepH), parts[0], rows(mask))
      const keep = nextC && ofAll(rows(keepC), nextC)
      const blend = call.cell === 'slstm' ? mixed : undefined
      nextC = nextC && zoned(nextC, oldC as Tensor, keep, parts[1], rows(mask), blend)
    }
    return [nextH, nextC === null ? [nextH] : [nextH, nextC]]
  })
  return [y, h as Tensor, c ?? null]
}
