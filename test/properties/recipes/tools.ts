/** What recipes are made of. */
import * as library from 'fused-rnn'
import { data, models, nn, optim, type Tensor } from 'fused-rnn'
import { testDevice } from '../../helpers.js'

/** A function and arguments for it, both new. */
export type Recipe = () => readonly [f: (...args: never[]) => unknown, args: unknown[]]

export type Made = abstract new (...args: never[]) => unknown

export const f = (...shape: number[]): Tensor => library.ones(shape)
export const i = (...shape: number[]): Tensor => library.zeros(shape, { dtype: 'int32' })
export const b = (...shape: number[]): Tensor => library.ones(shape, { dtype: 'bool' })
export const g = (...shape: number[]): Tensor => library.ones(shape, { requiresGrad: true })
/** int32 ones: labels beside the blank 0, lengths, a mask. */
export const labels = (...shape: number[]): Tensor => library.ones(shape, { dtype: 'int32' })
export const tokens = (n: number): Int32Array =>
  Int32Array.from({ length: n }, (_, k) => (k * 7) % 11)

export const make =
  (type: Made, ...args: unknown[]): Recipe =>
  () => [(...given) => Reflect.construct(type as never, given), copied(args)]

/** Arguments written down once are new in each call: what is mutated is only theirs. */
export function copied(args: unknown[]): unknown[] {
  return args.map((arg) => (isPlain(arg) ? structuredClone(arg) : arg))
}

/** An array, or an object of no class. */
export function isPlain(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false
  return Array.isArray(value) || Object.getPrototypeOf(value) === Object.prototype
}

export const call =
  (fn: (...args: never[]) => unknown, args: () => unknown[]): Recipe =>
  () => [fn, args()]

/** A method of something new. */
export const method =
  <T extends object>(
    of: () => T,
    name: keyof T & string,
    args: () => unknown[] = () => [],
  ): Recipe =>
  () => {
    const object = of()
    return [(...given) => (object[name] as (...args: never[]) => unknown)(...given), args()]
  }

/** An assignment to a property. */
export const assign =
  <T extends object>(of: () => T, name: keyof T & string, value: () => unknown): Recipe =>
  () => {
    const object = of()
    return [(given) => Reflect.set(object, name, given), [value()]]
  }

export const all = { device: testDevice, requiresGrad: true }
export const x = (): Tensor => g(2, 3)
export const layerOptions = {
  numLayers: 2,
  bias: true,
  batchFirst: false,
  dropout: 0.5,
  bidirectional: true,
  inputDropout: 0.1,
  outputDropout: 0.1,
  weightDropout: 0.1,
  recurrentDropout: 0.1,
  zoneout: 0.1,
}
export const lstm = () => new nn.LSTM(3, 4, { numLayers: 2, bidirectional: true, projSize: 2 })
export const gru = () => new nn.GRU(3, 4, { batchFirst: true })
export const rnn = () => new nn.RNN(3, 4, { nonlinearity: 'relu' })
export const packed = () =>
  nn.utils.rnn.packPaddedSequence(f(4, 3, 3), [2, 4, 1], { enforceSorted: false })
export const linear = () => new nn.Linear(3, 2)
export const trained = (): Tensor[] => {
  const layer = linear()
  layer.forward(f(2, 3)).sum().backward()
  return layer.parameters()
}
export const sgd = () => new optim.SGD(trained(), { momentum: 0.9 })
export const adam = () => new optim.Adam(trained())
export const vocabulary = () => data.Vocabulary.fromText('to be or not to be')
export const sizes = { embeddingSize: 3, hiddenSize: 4, numLayers: 1, dropout: 0 }
export const model = () => new models.LanguageModel({ ...sizes, vocabulary: vocabulary() })
export const batches = () =>
  new data.SequentialBatches(tokens(60), { batchSize: 2, sequenceLength: 5 })
export const sgdOptions = {
  lr: 0.1,
  momentum: 0.9,
  dampening: 0,
  weightDecay: 0.1,
  nesterov: true,
  maximize: false,
  maxGradNorm: 1,
  maxGradValue: 1,
}
export const adamOptions = {
  lr: 0.1,
  betas: [0.9, 0.99],
  eps: 1e-8,
  weightDecay: 0.1,
  amsgrad: true,
  maximize: false,
  maxGradNorm: 1,
  maxGradValue: 1,
}
export const scheduled = { lr: 0.1 }
export const state = () =>
  new Map([
    ['a', f(2, 3)],
    ['b', i(2)],
  ])

/** A model whose training ends soon, whatever its trainer has been told. */
export class Short extends nn.Module {
  layer = new nn.Linear(2, 1)
  #steps = 0
  override forward(input: Tensor): Tensor {
    return this.layer.forward(input)
  }
  trainingStep(batch: Tensor): Tensor {
    if (this.#steps++ > 20) throw new RangeError('[trainingStep] enough')
    return this.forward(batch).mean()
  }
  validationStep(batch: Tensor): Tensor {
    return this.trainingStep(batch)
  }
}
export const short = (): Short => new Short()
