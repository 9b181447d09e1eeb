/** The models of the workloads, written as a user of fused-rnn writes them. */
import { nn, synchronize, type Tensor, tensor } from '../../index.js'
import type { Workload } from '../workloads.js'

/** Deterministic whole numbers below n, the same in every peer. */
export function indices(count: number, n: number): Int32Array {
  let state = 1
  return Int32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1103515245) + 12345) >>> 0
    return (state >>> 8) % n
  })
}

type State = unknown

/** Any of the three layers; their states differ, and here they are only passed on. */
interface Recurrent extends nn.Module {
  forward(x: Tensor, state?: State, masks?: nn.StepMasks): [output: Tensor, state: State]
  forward(
    x: nn.utils.rnn.PackedSequence,
    state?: State,
  ): [output: nn.utils.rnn.PackedSequence, state: State]
}

/** An LSTM as one writes a cell of one's own. */
const ComposedLSTM = nn.recurrent({
  name: 'ComposedLSTM',
  gates: 4,
  state: ['h', 'c'],
  step(x, [h, c], { weight_hh, bias_hh }) {
    const [i, f, g, o] = x.add(nn.functional.linear(h, weight_hh, bias_hh)).chunk(4, 1) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ]
    const next = f.sigmoid().mul(c).add(i.sigmoid().mul(g.tanh()))
    return [o.sigmoid().mul(next.tanh()), next]
  },
})

/** The class of a workload's layer. */
function layerOf({
  norms,
  variant,
  cell,
}: Workload): new (
  inputs: number,
  hidden: number,
  options: object,
) => unknown {
  if (norms) return nn.LayerNormLSTM
  const name = variant?.layer ?? { rnn: 'RNN', gru: 'GRU', lstm: 'LSTM' }[cell]
  return name === 'recurrent' ? ComposedLSTM : Reflect.get(nn, name)
}

function recurrent(w: Workload, inputs: number): Recurrent {
  const Layer = layerOf(w)
  return new Layer(inputs, w.hidden, {
    ...w.variant?.options,
    numLayers: w.layers,
    bidirectional: w.bidirectional,
    dropout: w.layers > 1 ? w.dropout : 0,
  }) as Recurrent
}

class LanguageModel extends nn.Module {
  readonly embedding: nn.Embedding | null
  readonly rnn: Recurrent
  readonly dropout: nn.Dropout
  readonly decoder: nn.Linear

  constructor(readonly w: Workload) {
    super()
    this.embedding = w.embedding > 0 ? new nn.Embedding(w.vocabulary, w.embedding) : null
    this.rnn = recurrent(w, w.embedding > 0 ? w.embedding : w.vocabulary)
    this.dropout = new nn.Dropout(w.dropout)
    this.decoder = new nn.Linear(w.hidden * (w.bidirectional ? 2 : 1), w.vocabulary)
    if (w.tied && this.embedding) this.decoder.weight = this.embedding.weight
  }

  /** Token numbers `[T, B]` → logits `[T · B, V]`. */
  forward(tokens: Tensor, state?: State): [logits: Tensor, state: State] {
    const { w } = this
    let x = this.embedding
      ? this.embedding.forward(tokens)
      : nn.functional.oneHot(tokens, w.vocabulary)
    if (w.dropout > 0) x = this.dropout.forward(x)
    let [y, next] = this.rnn.forward(x, state)
    if (w.dropout > 0) y = this.dropout.forward(y)
    return [this.decoder.forward(y.reshape([-1, y.shape[2] as number])), next]
  }
}

/** Sequences of unequal lengths: the padding is either calculated and ignored, or packed away. */
class Sentences extends nn.Module {
  readonly embedding: nn.Embedding
  readonly rnn: Recurrent
  readonly decoder: nn.Linear

  constructor(readonly w: Workload) {
    super()
    this.embedding = new nn.Embedding(w.vocabulary, w.embedding)
    this.rnn = recurrent(w, w.embedding)
    this.decoder = new nn.Linear(w.hidden * (w.bidirectional ? 2 : 1), w.vocabulary)
  }

  /** Token numbers `[T, B]` → logits, one row a token. */
  forward(tokens: Tensor, lengths: readonly number[]): Tensor {
    const x = this.embedding.forward(tokens)
    if (this.w.padded) {
      const [y] = this.rnn.forward(x)
      return this.decoder.forward(y.reshape([-1, y.shape[2] as number]))
    }
    const [y] = this.rnn.forward(nn.utils.rnn.packPaddedSequence(x, lengths))
    return this.decoder.forward(y.data)
  }
}

class Tagger extends nn.Module {
  readonly rnn: Recurrent
  readonly decoder: nn.Linear

  constructor(readonly w: Workload) {
    super()
    this.rnn = recurrent(w, w.vocabulary)
    this.decoder = new nn.Linear(w.hidden, 1)
  }

  /** `[T, B, inputs]` → logits `[T, B, 1]`. */
  forward(x: Tensor, state?: State): [logits: Tensor, state: State] {
    const [y, next] = this.rnn.forward(x, state)
    return [this.decoder.forward(y), next]
  }
}

class Seq2Seq extends nn.Module {
  readonly encoder: Recurrent
  readonly decoder: Recurrent
  readonly out: nn.Linear

  constructor(readonly w: Workload) {
    super()
    this.encoder = recurrent(w, w.vocabulary)
    this.decoder = recurrent(w, w.vocabulary)
    this.out = new nn.Linear(w.hidden, w.vocabulary)
  }

  /** Token numbers `[T, B]` → the state that the decoder starts with. */
  encode(source: Tensor): State {
    return this.encoder.forward(nn.functional.oneHot(source, this.w.vocabulary))[1]
  }

  decode(target: Tensor, state: State): [logits: Tensor, state: State] {
    const [y, next] = this.decoder.forward(nn.functional.oneHot(target, this.w.vocabulary), state)
    return [this.out.forward(y.reshape([-1, this.w.hidden])), next]
  }

  forward(source: Tensor, target: Tensor): Tensor {
    return this.decode(target, this.encode(source))[0]
  }
}

/** A workload's model with its data. */
export interface Task {
  model: nn.Module
  /** The outputs for the batch. */
  forward(): Tensor
  /** Forward, loss and backward; the loss, or the output of a layer alone. */
  backward(): Tensor
  /**
   * One token at batch 1, from the state that the last one left, until its result is here; null
   * where the future is needed.
   */
  step: (() => Promise<void>) | null
}

/** Model and data of a workload. */
export function build(w: Workload): Task {
  if (w.kind === 'layer') return layerTask(w)
  if (w.kind === 'tagger') return taggerTask(w)
  const tokens = int32(indices(w.steps * w.batch, w.vocabulary), [w.steps, w.batch])
  if (w.kind === 'packed') return packedTask(w, tokens)
  const targets = int32(indices(w.steps * w.batch, w.vocabulary), [w.steps * w.batch])
  const criterion = new nn.CrossEntropyLoss()
  const trained = (model: nn.Module, forward: () => Tensor, step: Task['step']): Task => ({
    model,
    forward,
    backward: () => backward(criterion.forward(forward(), targets)),
    step,
  })
  if (w.kind === 'seq2seq') {
    const model = new Seq2Seq(w)
    const step = greedy(model.decode.bind(model), () =>
      model.encode(tokens.slice(1, 0, 1).reshape([w.steps, 1])),
    )
    return trained(model, () => model.forward(tokens, tokens), step)
  }
  const model = new LanguageModel(w)
  const step = w.bidirectional ? null : greedy(model.forward.bind(model))
  return trained(model, () => model.forward(tokens)[0], step)
}

function layerTask(w: Workload): Task {
  const model = recurrent(w, w.embedding)
  const outputs = w.hidden * (w.bidirectional ? 2 : 1)
  const x = floats([w.steps, w.batch, w.embedding], { requiresGrad: true })
  const gradient = floats([w.steps, w.batch, outputs])
  const masks = masksOf(w)
  const forward = (): Tensor => (masks ? model.forward(x, null, masks) : model.forward(x))[0]
  let last = floats([1, 1, w.embedding])
  let state: State
  return {
    model,
    forward,
    backward() {
      x.grad = null
      const y = forward()
      y.backward(gradient)
      return y
    },
    step: w.bidirectional
      ? null
      : async () => {
          let y: Tensor
          ;[y, state] = model.forward(last, state)
          if (w.embedding === w.hidden) last = y
          await synchronize()
        },
  }
}

/** Of 3 % of the steps. */
function masksOf({ variant, steps, batch }: Workload): nn.StepMasks | null {
  const which = variant?.steps
  if (which === undefined) return null
  const chosen = indices(steps * batch, 100).map((v) => Number(v < 3 === (which === 'reset')))
  return { [which]: int32(chosen, [steps, batch]) }
}

function taggerTask(w: Workload): Task {
  const model = new Tagger(w)
  const count = w.steps * w.batch
  const bits = Float32Array.from(indices(count * w.vocabulary, 2))
  const x = tensor(bits, { shape: [w.steps, w.batch, w.vocabulary] })
  const y = tensor(Float32Array.from(indices(count, 2)), { shape: [w.steps, w.batch, 1] })
  const criterion = new nn.BCEWithLogitsLoss()
  const forward = (): Tensor => model.forward(x)[0]
  let state: State
  return {
    model,
    forward,
    backward: () => backward(criterion.forward(forward(), y)),
    async step() {
      const one = tensor(bits.slice(0, w.vocabulary), { shape: [1, 1, w.vocabulary] })
      let logit: Tensor
      ;[logit, state] = model.forward(one, state)
      await logit.item()
    },
  }
}

function packedTask(w: Workload, tokens: Tensor): Task {
  const model = new Sentences(w)
  const lengths = w.lengths as readonly number[]
  const all = indices(w.steps * w.batch, w.vocabulary)
  const isReal = (_: number, i: number): boolean =>
    Math.floor(i / w.batch) < (lengths[i % w.batch] as number)
  const real = w.padded ? all.map((v, i) => (isReal(v, i) ? v : -100)) : all.filter(isReal)
  const targets = int32(real, [real.length])
  const criterion = new nn.CrossEntropyLoss()
  const forward = (): Tensor => model.forward(tokens, lengths)
  return {
    model,
    forward,
    backward: () => backward(criterion.forward(forward(), targets)),
    step: null,
  }
}

function backward(loss: Tensor): Tensor {
  loss.backward()
  return loss
}

/** The likeliest token goes in again. */
function greedy(
  next: (token: Tensor, state: State) => [logits: Tensor, state: State],
  start: () => State = () => undefined,
): () => Promise<void> {
  let token = 0
  let state: State
  let started = false
  return async () => {
    if (!started) state = start()
    started = true
    let logits: Tensor
    ;[logits, state] = next(tensor([[token]], { dtype: 'int32' }), state)
    token = await logits.argmax().item()
  }
}

function int32(values: Int32Array, shape: number[]): Tensor {
  return tensor(values, { shape, dtype: 'int32' })
}

/** Numbers in [−1, 1). */
function floats(shape: number[], options: { requiresGrad?: boolean } = {}): Tensor {
  const count = shape.reduce((a, b) => a * b, 1)
  const values = Float32Array.from(indices(count, 256), (i) => i / 128 - 1)
  return tensor(values, { shape, ...options })
}
