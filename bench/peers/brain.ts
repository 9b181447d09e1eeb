/**
 * brain.js's side of the benchmark (optional); protocol.md says what a peer is.
 *
 * brain.js trains one sequence at a time, in JavaScript on one thread, with RMSprop and clipping by
 * value, and its input is always a row lookup as wide as asked for. So it can do a next-token model
 * at batch 1, with another optimiser; `run` starts anew from the first token, so nothing here for
 * inference.
 */

import { indices } from '#bench/peers/models.js'
import { missing, optional, seconds, serve, Unable, version } from '#bench/peers/serve.js'
import type { Workload } from '#bench/workloads.js'

/** What is used of a network of brain.js. */
interface Network {
  initialize(): void
  /** Forward, backward and update for one sequence. */
  trainPattern(tokens: number[], logErrorRate: boolean): number
}
type NetworkClass = new (options: object) => Network

const brain =
  optional<{ recurrent: { RNN: NetworkClass; GRU: NetworkClass; LSTM: NetworkClass } }>(
    'brain.js',
  ) ?? missing('brain.js')

function network(w: Workload): Network {
  if (w.kind !== 'lm') throw new Unable(`brain.js has no ${w.kind} model of this form`)
  if (w.batch > 1) throw new Unable('brain.js has no batches')
  if (w.bidirectional || w.tied || w.dropout > 0) {
    throw new Unable('brain.js has no second direction, tied weights or dropout')
  }
  const Net = { rnn: brain.recurrent.RNN, gru: brain.recurrent.GRU, lstm: brain.recurrent.LSTM }[
    w.cell
  ]
  const net = new Net({
    inputSize: w.embedding || w.hidden,
    inputRange: w.vocabulary,
    outputSize: w.vocabulary,
    hiddenLayers: new Array(w.layers).fill(w.hidden),
    learningRate: 0.01,
  })
  net.initialize()
  return net
}

await serve(`brain.js ${version('brain.js')}`, (w) => {
  const net = network(w)
  const tokens = [...indices(w.steps, w.vocabulary)]
  return {
    threads: 1,
    train: (steps) =>
      seconds(async () => {
        for (let i = 0; i < steps; i++) net.trainPattern(tokens, false)
      }),
  }
})
