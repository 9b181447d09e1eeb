/**
 * A workload in TensorFlow.js, for the benchmark's peer and for the event loop's delay beside it.
 *
 * With @tensorflow/tfjs-node if it is installed, which uses all processors whatever is asked for;
 * otherwise with @tensorflow/tfjs, which runs in JavaScript on one thread. One-hot input is given as
 * a row lookup, as wide as the layer.
 */
import { cpus } from 'node:os'
import { indices } from '#bench/peers/models.js'
import {
  microseconds,
  missing,
  optional,
  type Requests,
  seconds,
  Unable,
} from '#bench/peers/serve.js'
import type { Workload } from '#bench/workloads.js'

interface Tensor {
  data(): Promise<Float32Array>
  dataSync(): Float32Array
  reshape(shape: number[]): Tensor
  square(): Tensor
  sum(): Tensor
  sqrt(): Tensor
  mul(other: Tensor): Tensor
  dispose(): void
}
interface Layer {
  apply(x: Tensor, options?: { training: boolean }): Tensor
}
type MakeLayer = (options: object) => Layer
type Gradients = Record<string, Tensor>

/** What is used of TensorFlow.js. */
interface TensorFlow {
  version: Record<string, string>
  ready(): Promise<void>
  tidy<T>(f: () => T): T
  keep(x: Tensor): Tensor
  tensor(values: ArrayLike<number>, shape: number[], type?: 'int32'): Tensor
  variable(x: Tensor): Tensor
  oneHot(indices: Tensor, depth: number): Tensor
  addN(list: Tensor[]): Tensor
  minimum(a: number, b: Tensor): Tensor
  div(a: number, b: Tensor): Tensor
  variableGrads(f: () => Tensor): { value: Tensor; grads: Gradients }
  layers: Record<
    'simpleRNN' | 'gru' | 'lstm' | 'bidirectional' | 'embedding' | 'dense' | 'dropout',
    MakeLayer
  >
  losses: Record<
    'softmaxCrossEntropy' | 'sigmoidCrossEntropy',
    (labels: Tensor, logits: Tensor) => Tensor
  >
  train: { sgd(rate: number): { applyGradients(gradients: Gradients): void } }
}

const native = optional<TensorFlow>('@tensorflow/tfjs-node')
const tf = native ?? optional<TensorFlow>('@tensorflow/tfjs') ?? missing('@tensorflow/tfjs-node')
const { layers } = tf

/** The model, for whole sequences, or for one token at a time with a state that it keeps. */
function model(w: Workload, stateful: boolean): (x: Tensor, training: boolean) => Tensor {
  if (w.kind === 'seq2seq' || w.kind === 'packed') throw new Unable(`no ${w.kind} model here`)
  if (w.tied) throw new Unable('no tied weights here')
  const cell = { rnn: layers.simpleRNN, gru: layers.gru, lstm: layers.lstm }[w.cell]
  const width = w.embedding || w.hidden
  const embedding =
    w.kind === 'lm' ? layers.embedding({ inputDim: w.vocabulary, outputDim: width }) : null
  const stack: Layer[] = []
  for (let i = 0; i < w.layers; i++) {
    const inputs = i > 0 ? w.hidden : w.kind === 'tagger' ? w.vocabulary : width
    const rnn = cell({
      units: w.hidden,
      returnSequences: true,
      recurrentInitializer: 'glorotNormal',
      ...(stateful && { stateful, batchInputShape: [1, 1, inputs] }),
    })
    stack.push(w.bidirectional ? layers.bidirectional({ layer: rnn, mergeMode: 'concat' }) : rnn)
  }
  const outputs = { lm: w.vocabulary, tagger: 1, layer: 0 }[w.kind]
  const dense = outputs > 0 ? layers.dense({ units: outputs }) : null
  const dropout = w.dropout > 0 ? layers.dropout({ rate: w.dropout }) : null
  return (input, training) => {
    let x = embedding ? embedding.apply(input) : input
    for (const layer of stack) {
      if (dropout) x = dropout.apply(x, { training })
      x = layer.apply(x)
    }
    if (dropout) x = dropout.apply(x, { training })
    return dense ? dense.apply(x) : x
  }
}

/** Numbers for the input and the loss, batch first. */
function dataOf(w: Workload): { x: Tensor; loss: (y: Tensor) => Tensor } {
  const { batch, steps, vocabulary } = w
  const count = batch * steps
  if (w.kind === 'lm') {
    const tokens = tf.tensor(indices(count, vocabulary), [batch, steps], 'int32')
    const targets = tf.keep(tf.oneHot(tokens.reshape([count]), vocabulary))
    const flat = (y: Tensor): Tensor => y.reshape([count, vocabulary])
    return { x: tokens, loss: (y) => tf.losses.softmaxCrossEntropy(targets, flat(y)) }
  }
  if (w.kind === 'tagger') {
    const x = tf.tensor(indices(count * vocabulary, 2), [batch, steps, vocabulary])
    const targets = tf.tensor(indices(count, 2), [batch, steps, 1])
    return { x, loss: (y) => tf.losses.sigmoidCrossEntropy(targets, y) }
  }
  const values = (width: number): Tensor => {
    const numbers = Float32Array.from(indices(count * width, 256), (i) => i / 128 - 1)
    return tf.tensor(numbers, [batch, steps, width])
  }
  const gradient = values(w.hidden * (w.bidirectional ? 2 : 1))
  // A variable, so that it gets a gradient.
  const x = tf.variable(values(w.embedding))
  return { x, loss: (y) => y.mul(gradient).sum() }
}

/** Clipped by the global norm, to 1. */
function clipped(gradients: Gradients): Gradients {
  const norm = tf.addN(Object.values(gradients).map((g) => g.square().sum())).sqrt()
  const scale = tf.minimum(1, tf.div(1, norm))
  return Object.fromEntries(Object.entries(gradients).map(([name, g]) => [name, g.mul(scale)]))
}

/** Which of its packages, and its version. */
export const title = `TensorFlow.js ${tf.version['tfjs-core']}${native ? ' (tfjs-node)' : ' (JavaScript)'}`

export async function setUp(w: Workload): Promise<Requests> {
  await tf.ready()
  const run = model(w, false)
  const { x, loss } = dataOf(w)
  const optimizer = tf.train.sgd(0.1)
  // Makes the layers' variables, before anything is asked for their gradients.
  tf.tidy(() => run(x, false))
  const step = (): number =>
    tf.tidy(() => {
      const { value, grads } = tf.variableGrads(() => loss(run(x, true)))
      if (w.kind !== 'layer') optimizer.applyGradients(clipped(grads))
      return value.dataSync()[0] as number
    })
  let one: ReturnType<typeof model> | null = null
  let last = 0
  return {
    threads: native ? cpus().length : 1,
    train: (steps) =>
      seconds(async () => {
        let value = Number.NaN
        for (let i = 0; i < steps; i++) value = step()
        return value
      }),
    infer: (batches) =>
      seconds(async () => {
        for (let i = 0; i < batches; i++) tf.tidy(() => run(x, false).dataSync())
      }),
    ...(!w.bidirectional && {
      generate: (tokens: number) => {
        one ??= model(w, true)
        const next = one
        const width = w.kind === 'tagger' ? w.vocabulary : w.embedding
        return microseconds(tokens, async () => {
          const values = tf.tidy(() => {
            const input =
              w.kind === 'lm'
                ? tf.tensor([last], [1, 1], 'int32')
                : tf.tensor(new Float32Array(width).fill(0.5), [1, 1, width])
            return next(input, false).dataSync()
          })
          if (w.kind === 'lm') last = values.indexOf(Math.max(...values))
        })
      },
    }),
  }
}
