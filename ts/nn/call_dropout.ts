/**
 * Dropout whose masks hold for a whole call: of the inputs and outputs of layers, the same at all steps
 * (Gal & Ghahramani 2016), and of the recurrent weights (Merity et al. 2017).
 */
import { filled } from '../ops/again.js'
import { gatherRows } from '../ops/gather.js'
import { dropout, dropped } from '../ops/random.js'
import { cat } from '../ops/shape.js'
import { nextRandom } from '../random.js'
import type { Tensor } from '../tensor.js'
import { indexTensor } from './packed_sequence.js'
import {
  type RecurrentCall,
  type RecurrentResult,
  runRecurrent,
  weightShapes,
} from './recurrent_op.js'
import type { CallDropouts } from './recurrent_options.js'

/** As runRecurrent: in one call, or layer by layer where there are masks between the layers. */
export function runWithDropouts(
  call: RecurrentCall,
  chances: CallDropouts,
  x: Tensor,
  h0: Tensor | null,
  c0: Tensor | null,
): RecurrentResult {
  const weights = withWeightDropout(call, chances.weightDropout)
  const { inputDropout, outputDropout } = chances
  if (inputDropout === 0 && outputDropout === 0)
    return runRecurrent({ ...call, weights }, x, h0, c0)
  const { layers, directions, batch, steps } = call
  const perLayer = weights.length / layers
  const results: RecurrentResult[] = []
  let rows = x
  const follow = (next: Tensor): void => {
    if (rows !== x && rows !== next) rows[Symbol.dispose]()
    rows = next
  }
  for (let layer = 0; layer < layers; layer++) {
    const own = (state: Tensor | null): Tensor | null =>
      layers === 1 ? state : (state?.slice(0, layer * directions, (layer + 1) * directions) ?? null)
    follow(withLockedDropout(rows, inputDropout, batch, steps))
    const { options } = call
    const result = runRecurrent(
      {
        ...call,
        options: options && {
          ...options,
          ...{ resetH: own(options.resetH), resetC: own(options.resetC) },
        },
        layers: 1,
        input: rows.shape[1] as number,
        dropout: 0,
        weights: weights.slice(layer * perLayer, (layer + 1) * perLayer),
      },
      rows,
      own(h0),
      own(c0),
    )
    results.push(result)
    follow(result.y)
    follow(withLockedDropout(rows, outputDropout, batch, steps))
    if (call.dropout > 0 && layer < layers - 1) follow(dropout(rows, { p: call.dropout }))
  }
  const [{ hn, cn }] = results as [RecurrentResult]
  if (layers === 1) return { y: rows, hn, cn }
  return {
    y: rows,
    hn: cat(results.map((one) => one.hn)),
    cn: cn && cat(results.map((one) => one.cn as Tensor)),
  }
}

/** The weights of a call, with a mask of its own on every recurrent matrix. */
function withWeightDropout(call: RecurrentCall, p: number): readonly (Tensor | null)[] {
  if (p === 0) return call.weights
  const names = weightShapes(call.cell, call.input, call.hidden, call.proj, call.bias)
  const at = names.findIndex(([name, shape]) => name === 'weight_hh' && shape?.length === 2)
  if (at < 0)
    throw new TypeError(
      `[forward] weightDropout: expected 0, as this layer has no recurrent matrix weight_hh, got ${p}`,
    )
  return call.weights.map((weight, i) =>
    weight !== null && i % names.length === at ? dropout(weight, { p }) : weight,
  )
}

/** The rows of a sequence, times a mask for each number of a step. @param x `[rows, width]` */
function withLockedDropout(
  x: Tensor,
  p: number,
  batch: number,
  steps: number | Int32Array,
): Tensor {
  if (p === 0) return x
  const width = x.shape[1] as number
  const { seed, counter } = nextRandom()
  using ones = filled([batch, width], 1, x.device)
  using mask = dropped(ones, p, seed, counter)
  if (typeof steps === 'number') {
    // A row of a step is as long as the mask, which is quicker than many short rows.
    using bySteps = x.reshape([steps, batch * width])
    using flat = mask.reshape([batch * width])
    using product = bySteps.mul(flat)
    return product.reshape(x.shape)
  }
  const index = new Int32Array(x.shape[0] as number)
  let row = 0
  for (const size of steps) for (let n = 0; n < size; n++) index[row++] = n
  using places = indexTensor(index, x.device)
  using rows = gatherRows('dropout', mask, places)
  return x.mul(rows)
}
