export { enableGrad, isGradEnabled, noGrad } from './autograd.js'
export * as data from './data/index.js'
export {
  Device,
  type DeviceInfo,
  device,
  devices,
  getNumThreads,
  setNumThreads,
  synchronize,
} from './device.js'
export * as nn from './nn/index.js'
export * as optim from './optim/index.js'
export { manualSeed, type RandomState, randomState, setRandomState } from './random.js'
export {
  type DType,
  full,
  type NestedNumbers,
  ones,
  type Shape,
  Tensor,
  type TensorOptions,
  tensor,
  zeros,
} from './tensor.js'
