/** The network of a Seq2Seq: an encoder in both directions, attention, a decoder. */
import { ones, tensor, zeros } from '../factories.js'
import type { Dropout } from '../nn/dropout.js'
import { Embedding } from '../nn/embedding.js'
import { Linear } from '../nn/linear.js'
import { packPaddedSequence, padPackedSequence } from '../nn/packed.js'
import type { RecurrentLayer } from '../nn/recurrent_layer.js'
import { cat } from '../ops/shape.js'
import type { Tensor } from '../tensor.js'
import { type CellLayer, type CellState, stateNames } from './recurrent_cells.js'
import type { Attention, Seq2SeqConfig } from './seq2seq_config.js'
import { recurrentStack } from './task_model.js'

/** The layers, whose sizes depend on the vocabularies. */
export interface Seq2SeqLayers {
  encoderEmbedding: Embedding
  decoderEmbedding: Embedding
  encoder: CellLayer
  decoder: CellLayer
  /** From the last states of both directions to where the decoder begins. */
  bridge: Linear
  /** The same for the cell states of LSTMs. */
  bridgeCell: Linear | null
  /** 'general': W of h·W·m; 'additive': of the source's states. */
  attend: Linear | null
  /** 'additive': of the decoder's states, and what weighs the sum. */
  attendState: Linear | null
  attendSum: Linear | null
  combine: Linear
  output: Linear
}

/** What the decoder reads of the source. */
export interface Memory {
  /** (B, T, 2 H): both directions, side by side. */
  states: Tensor
  /** (B, T, H): what the decoder's states are compared with; null without attention. */
  keys: Tensor | null
  /** (B, 1, T): 0, or much less than 0 where a sequence has ended. */
  mask: Tensor
  /** Of the decoder at its beginning: tensors (layers, B, H). */
  start: CellState
}

export function makeLayers(
  config: Seq2SeqConfig,
  sourceSize: number,
  targetSize: number,
  device: string,
): Seq2SeqLayers {
  const { embeddingSize, hiddenSize, attention, cell, numLayers, dropout } = config
  const stack = { cell, hiddenSize, numLayers, dropout, device }
  const width = 2 * hiddenSize
  const plain = { bias: false, device }
  const additive = attention === 'additive'
  return {
    encoderEmbedding: new Embedding(sourceSize, embeddingSize, { device }),
    decoderEmbedding: new Embedding(targetSize, embeddingSize, { device }),
    encoder: recurrentStack(embeddingSize, { ...stack, bidirectional: true }),
    decoder: recurrentStack(embeddingSize, stack),
    bridge: new Linear(width, hiddenSize, { device }),
    bridgeCell: stateNames(cell).length > 1 ? new Linear(width, hiddenSize, { device }) : null,
    attend: attention === 'general' || additive ? new Linear(width, hiddenSize, plain) : null,
    attendState: additive ? new Linear(hiddenSize, hiddenSize, { device }) : null,
    attendSum: additive ? new Linear(hiddenSize, 1, plain) : null,
    combine: new Linear(attention === null ? hiddenSize : hiddenSize + width, hiddenSize, {
      device,
    }),
    output: new Linear(hiddenSize, targetSize, { device }),
  }
}

/**
 * Reads the source.
 * @param input tokens int32 (B, T)
 * @param lengths of each input
 */
export function encode(
  layers: Seq2SeqLayers,
  drop: Dropout,
  attention: Attention,
  input: Tensor,
  lengths: readonly number[],
): Memory {
  const embedded = drop.forward(layers.encoderEmbedding.forward(input))
  const packed = packPaddedSequence(embedded, lengths, { batchFirst: true, enforceSorted: false })
  const [out, last] = (layers.encoder as RecurrentLayer).forward(packed as never) as unknown as [
    never,
    CellState,
  ]
  const [states] = padPackedSequence(out, { batchFirst: true })
  const [batch, time] = states.shape as [number, number]
  const behind = new Float32Array(batch * time)
  lengths.forEach((length, b) => {
    behind.fill(-1e9, b * time + length, (b + 1) * time)
  })
  const mask = tensor(behind, { shape: [batch, 1, time], device: states.device })
  const keys = attention === null ? null : keysOf(layers, states)
  return { states, keys, mask, start: startOf(layers, last) }
}

/** Where the decoder begins, from where the encoder has come to. */
function startOf({ bridge, bridgeCell }: Seq2SeqLayers, last: CellState): CellState {
  if (!Array.isArray(last)) return bridge.forward(bothDirections(last)).tanh()
  const [h, c, n] = last
  const hidden = bridge.forward(bothDirections(h)).tanh()
  // An sLSTM's memory is c / n, where n is not 0; it begins as of one step: n = 1, m = 0.
  const memory = n === undefined ? c : c.div(n.clamp(1e-30))
  const cell = (bridgeCell as Linear).forward(bothDirections(memory))
  if (n === undefined) return [hidden, cell]
  const { shape, device } = cell
  return [hidden, cell, ones(shape, { device }), zeros(shape, { device })]
}

/** The last states (layers · 2, B, H) of both directions as (layers, B, 2 H). */
function bothDirections(state: Tensor): Tensor {
  const [rows, batch, size] = state.shape as [number, number, number]
  const both = state.reshape([rows / 2, 2, batch, size])
  return cat([both.select(1, 0), both.select(1, 1)], 2)
}

/** 'dot' compares with the sum of both directions, which is as wide as the decoder. */
function keysOf({ attend }: Seq2SeqLayers, states: Tensor): Tensor {
  if (attend !== null) return attend.forward(states)
  const [batch, time, width] = states.shape as [number, number, number]
  return states.reshape([batch, time, 2, width / 2]).sum(2)
}

/** Logits (B, S, V) of what follows the tokens (B, S), the attention (B, S, T), and the state. */
export function decode(
  layers: Seq2SeqLayers,
  drop: Dropout,
  tokens: Tensor,
  memory: Memory,
  state: CellState,
): [logits: Tensor, attention: Tensor | null, state: CellState] {
  const { decoder, decoderEmbedding, combine, output } = layers
  const embedded = drop.forward(decoderEmbedding.forward(tokens))
  const [h, next] = (decoder as RecurrentLayer).forward(embedded, state as never) as unknown as [
    Tensor,
    CellState,
  ]
  let seen: Tensor | null = null
  let read = h
  if (memory.keys !== null) {
    seen = scores(layers, h, memory.keys).add(memory.mask).softmax(2)
    read = cat([h, seen.matmul(memory.states)], 2)
  }
  const mixed = drop.forward(combine.forward(read).tanh())
  return [output.forward(mixed), seen, next]
}

/** How well each state of the decoder (B, S, H) fits each key of the source (B, T, H): (B, S, T). */
function scores({ attendState, attendSum }: Seq2SeqLayers, h: Tensor, keys: Tensor): Tensor {
  if (attendState === null || attendSum === null) return h.matmul(keys.transpose(1, 2))
  const sums = attendState.forward(h).unsqueeze(2).add(keys.unsqueeze(1))
  return attendSum.forward(sums.tanh()).squeeze(3)
}
