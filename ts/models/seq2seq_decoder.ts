/** A Seq2Seq as beam search asks it: one input, a token at a time. */
import { padInputs } from '../data/example_batches.js'
import { tensor } from '../factories.js'
import { noGrad } from '../grad_mode.js'
import type { Dropout } from '../nn/dropout.js'
import { evalMode, type Module } from '../nn/module.js'
import type { Tensor } from '../tensor.js'
import type { Decoder } from './beam_search.js'
import type { CellState } from './recurrent_cells.js'
import type { Attention } from './seq2seq_config.js'
import { decode, encode, type Memory, type Seq2SeqLayers } from './seq2seq_network.js'

/** @param model in evaluation mode for as long as a step is computed */
export function decoderOf(
  model: Module & { drop: Dropout; config: { attention: Attention } },
  layers: Seq2SeqLayers,
  input: Int32Array,
): Decoder {
  const { device } = layers.output.weight
  const time = input.length
  const rows = (x: Tensor, dim: number, index: Tensor): Tensor => x.indexSelect(dim, index)
  let memory: Memory | null = null
  let state: CellState | null = null

  /** Log probabilities and attention of the next tokens, still to be read. */
  function next(
    from: readonly number[] | null,
    tokens: readonly number[],
  ): [Tensor, Tensor | null] {
    const { drop, config } = model
    memory ??= encode(layers, drop, config.attention, padInputs([input], 0, 0).to(device), [time])
    let before = state ?? memory.start
    if (from !== null) {
      const index = tensor(Int32Array.from(from), { device })
      const own = (part: Tensor): Tensor => rows(part, 1, index)
      before = Array.isArray(before) ? (before.map(own) as CellState) : own(before)
    }
    const [logits, seen, after] = decode(
      layers,
      drop,
      tensor(Int32Array.from(tokens), { shape: [tokens.length, 1], device }),
      widened(memory, tokens.length),
      before,
    )
    state = after
    return [logits.logSoftmax(2), seen]
  }

  return {
    step: async (from, tokens) => {
      const restoreModes = evalMode(model)
      let reading: [Promise<ArrayLike<number>>, Promise<ArrayLike<number>> | null]
      try {
        reading = noGrad(() => {
          const [logProbs, seen] = next(from, tokens)
          return [logProbs.data(), seen === null ? null : seen.data()]
        })
      } finally {
        restoreModes()
      }
      const [logProbs, seen] = await Promise.all(reading)
      return {
        logProbs,
        beside: (row) =>
          seen === null ? [] : Array.prototype.slice.call(seen, row * time, (row + 1) * time),
      }
    },
  }
}

/** The memory of one input for several rows. */
function widened(memory: Memory, batch: number): Memory {
  const wide = (x: Tensor): Tensor => x.expand([batch, ...x.shape.slice(1)])
  return {
    ...memory,
    states: wide(memory.states),
    keys: memory.keys === null ? null : wide(memory.keys),
  }
}
