/** Making tensors, operations on them, and what concerns all of them. */
import * as library from 'fused-rnn'
import { testDevice } from '../../helpers.js'
import { all, assign, call, f, i, make, method, type Recipe, tokens, x } from './tools.js'

export const factories: Record<string, Recipe> = {
  tensor: call(library.tensor, () => [
    [
      [1, 2],
      [3, 4],
    ],
    { ...all, shape: [2, 2], dtype: 'float32' },
  ]),
  'tensor of int32': call(library.tensor, () => [
    tokens(6),
    { shape: [2, 3], dtype: 'int32', device: testDevice },
  ]),
  zeros: call(library.zeros, () => [[2, 3], { ...all, dtype: 'float32' }]),
  ones: call(library.ones, () => [[2, 3], { device: testDevice, dtype: 'int32' }]),
  full: call(library.full, () => [[2, 3], 1, { device: testDevice, dtype: 'int32' }]),
  rand: call(library.rand, () => [[2, 3], { ...all, dtype: 'float32' }]),
  randn: call(library.randn, () => [[2, 3], { ...all, dtype: 'float32' }]),
  uniform: call(library.uniform, () => [[2, 3], -1, 1, { ...all, dtype: 'float32' }]),
  cat: call(library.cat, () => [[x(), x()], 1]),
  stack: call(library.stack, () => [[x(), x()], 1]),
}

export const context: Record<string, Recipe> = {
  Device: make(library.Device, testDevice, 0),
  'Device.toString': method(() => library.device(testDevice), 'toString'),
  device: call(library.device, () => [testDevice]),
  devices: call(library.devices, () => []),
  getDefaultDevice: call(library.getDefaultDevice, () => []),
  setDefaultDevice: call(library.setDefaultDevice, () => [testDevice]),
  getNumThreads: call(library.getNumThreads, () => []),
  setNumThreads: call(library.setNumThreads, () => [2]),
  memoryStats: call(library.memoryStats, () => [testDevice]),
  synchronize: call(library.synchronize, () => [testDevice]),
  isGradEnabled: call(library.isGradEnabled, () => []),
  noGrad: call(library.noGrad, () => [() => x().sum()]),
  enableGrad: call(library.enableGrad, () => [() => x().sum()]),
  manualSeed: call(library.manualSeed, () => [1]),
  randomState: call(library.randomState, () => []),
  setRandomState: call(library.setRandomState, () => [{ seed: 1, counter: 2 }]),
  'backends.cuda.matmul=': assign(
    () => library.backends.cuda.matmul,
    'fp32Precision',
    () => 'ieee',
  ),
  'backends=': assign(
    () => library.backends,
    'fp32Precision',
    () => 'ieee',
  ),
  'backends.cpu.matmul=': assign(
    () => library.backends.cpu.matmul,
    'fp32Precision',
    () => 'ieee',
  ),
  'backends.cpu.rnn=': assign(
    () => library.backends.cpu.rnn,
    'fp32Precision',
    () => 'ieee',
  ),
  'backends.cuda.rnn=': assign(
    () => library.backends.cuda.rnn,
    'fp32Precision',
    () => 'ieee',
  ),
}

export const tensors: Record<string, Recipe> = {
  'Tensor.requiresGrad=': assign(x, 'requiresGrad', () => true),
  'Tensor.grad=': assign(x, 'grad', () => f(2, 3)),
  'Tensor.data': method(x, 'data'),
  'Tensor.item': method(() => f(1), 'item'),
  'Tensor.backward': method(
    () => x().mul(2),
    'backward',
    () => [f(2, 3), { retainGraph: true }],
  ),
  'Tensor.to': method(x, 'to', () => [testDevice]),
  ...Object.fromEntries(
    (
      [
        'detach',
        'clone',
        'float',
        'int',
        'neg',
        'abs',
        'exp',
        'log',
        'sqrt',
        'tanh',
        'sigmoid',
        'relu',
        't',
        'toString',
      ] as const
    ).map((name) => [`Tensor.${name}`, method(x, name)]),
  ),
  ...Object.fromEntries(
    (['add', 'sub', 'mul', 'div'] as const).map((name) => [
      `Tensor.${name}`,
      method(x, name, () => [f(3)]),
    ]),
  ),
  'Tensor.pow': method(x, 'pow', () => [2]),
  'Tensor.clamp': method(x, 'clamp', () => [-1, 1]),
  'Tensor.sum': method(x, 'sum', () => [[0, 1], { keepdim: true }]),
  'Tensor.mean': method(x, 'mean', () => [0, { keepdim: true }]),
  'Tensor.max': method(x, 'max', () => [1, { keepdim: true }]),
  'Tensor.argmax': method(x, 'argmax', () => [1, { keepdim: true }]),
  'Tensor.softmax': method(x, 'softmax', () => [1]),
  'Tensor.logSoftmax': method(x, 'logSoftmax', () => [1]),
  'Tensor.matmul': method(x, 'matmul', () => [f(3, 4)]),
  'Tensor.reshape': method(x, 'reshape', () => [[3, -1]]),
  'Tensor.unsqueeze': method(x, 'unsqueeze', () => [1]),
  'Tensor.squeeze': method(
    () => f(2, 1),
    'squeeze',
    () => [1],
  ),
  'Tensor.expand': method(
    () => f(1, 3),
    'expand',
    () => [[2, 2, 3]],
  ),
  'Tensor.transpose': method(x, 'transpose', () => [0, 1]),
  'Tensor.permute': method(x, 'permute', () => [[1, 0]]),
  'Tensor.flip': method(x, 'flip', () => [[0, 1]]),
  'Tensor.slice': method(x, 'slice', () => [1, 0, 3, 2]),
  'Tensor.select': method(x, 'select', () => [1, 0]),
  'Tensor.indexSelect': method(x, 'indexSelect', () => [1, i(2)]),
}
