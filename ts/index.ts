export * as autograd from './autograd/index.js'
export type { BackwardOptions } from './autograd.js'
export { backends } from './backends.js'
export * as data from './data/index.js'
export {
  Device,
  type DeviceInfo,
  device,
  devices,
  getDefaultDevice,
  getNumThreads,
  type MemoryStats,
  memoryStats,
  setDefaultDevice,
  setNumThreads,
  synchronize,
} from './device.js'
export * as distributed from './distributed/index.js'
export {
  full,
  normal,
  ones,
  type RandomOptions,
  rand,
  randn,
  tensor,
  uniform,
  zeros,
} from './factories.js'
export { enableGrad, isGradEnabled, noGrad } from './grad_mode.js'
export * as io from './io/index.js'
export * as metrics from './metrics/index.js'
export * as models from './models/index.js'
export * as nn from './nn/index.js'
export * as onnx from './onnx/index.js'
export type { IndexAddOptions } from './ops/along.js'
export type { AlphaOptions } from './ops/arithmetic.js'
export type { AtItem, Range } from './ops/at.js'
export type { ValueOptions } from './ops/composed.js'
export { einsum } from './ops/einsum.js'
export type { BaddbmmOptions } from './ops/products.js'
export type { MultinomialOptions } from './ops/random.js'
export type { Dims, ReduceOptions } from './ops/reduce.js'
export { cat, stack } from './ops/shape.js'
export type { SortOptions, TopkOptions } from './ops/sort.js'
export type { NormOptions, VarianceOptions } from './ops/statistics.js'
export type { NanToNumOptions } from './ops/unary.js'
export { where } from './ops/where.js'
export * as optim from './optim/index.js'
export * as quantization from './quantization/index.js'
export { manualSeed, type RandomState, randomState, setRandomState } from './random.js'
export {
  arange,
  eye,
  type FactoryOptions,
  fullLike,
  type IntegerOptions,
  linspace,
  onesLike,
  randint,
  randLike,
  randnLike,
  randperm,
  zerosLike,
} from './ranges.js'
export type { Shape } from './shape.js'
export { type DType, type NestedNumbers, Tensor, type TensorOptions } from './tensor.js'
export * from './train/index.js'
export * as utils from './utils/index.js'
