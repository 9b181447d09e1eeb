/** Making tensors, operations on them, and what concerns all of them. */
import * as library from 'fused-rnn'
import { testDevice } from '../../helpers.js'
import { all, assign, b, call, f, i, make, method, type Recipe, tokens, x } from './tools.js'

/** A gradient without rows, which is coalesced. */
function sparse(): library.Tensor {
  const layer = new library.nn.Embedding(3, 2, { sparse: true })
  layer.forward(i(1, 2)).sum().backward()
  layer.zeroGrad({ setToNone: false })
  return layer.weight.grad as library.Tensor
}

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
  normal: call(library.normal, () => [0, 1, [2, 3], { ...all, dtype: 'float32' }]),
  randint: call(library.randint, () => [0, 9, [2, 3], { device: testDevice, dtype: 'int32' }]),
  randperm: call(library.randperm, () => [9, { device: testDevice, dtype: 'int32' }]),
  arange: call(library.arange, () => [0, 9, 2, { device: testDevice, dtype: 'int32' }]),
  linspace: call(library.linspace, () => [0, 1, 5, { ...all, dtype: 'float32' }]),
  eye: call(library.eye, () => [2, 3, { ...all, dtype: 'float32' }]),
  zerosLike: call(library.zerosLike, () => [x(), { ...all, dtype: 'float32' }]),
  onesLike: call(library.onesLike, () => [x(), { ...all, dtype: 'float32' }]),
  fullLike: call(library.fullLike, () => [x(), 1, { ...all, dtype: 'float32' }]),
  randLike: call(library.randLike, () => [x(), { ...all, dtype: 'float32' }]),
  randnLike: call(library.randnLike, () => [x(), { ...all, dtype: 'float32' }]),
  einsum: call(library.einsum, () => ['ij,kj->ik', x(), x()]),
  'tensor of booleans': call(library.tensor, () => [[[true, false]], { dtype: 'bool' }]),
  where: call(library.where, () => [b(2, 3), x(), f(3)]),
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

/** Functions of one element without options. */
const ELEMENTWISE = [
  ...(['sign', 'round', 'floor', 'ceil', 'trunc', 'sin', 'cos', 'tan', 'asin', 'acos'] as const),
  ...(['atan', 'sinh', 'cosh', 'erf', 'log1p', 'expm1', 'log2', 'log10', 'exp2'] as const),
  ...(['rsqrt', 'reciprocal', 'square'] as const),
]

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
  'Tensor.toDense': method(sparse, 'toDense'),
  'Tensor.isCoalesced': method(sparse, 'isCoalesced'),
  // What comes of it is read, as only an ordinary tensor can be.
  'Tensor.coalesce': () => [async () => (await sparse().coalesce()).toDense(), []],
  'Tensor.indices': method(sparse, 'indices'),
  'Tensor.values': method(sparse, 'values'),
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
        'bool',
        ...ELEMENTWISE,
        ...(['logicalNot', 'isnan', 'isinf', 'isfinite'] as const),
      ] as const
    ).map((name) => [`Tensor.${name}`, method(x, name)]),
  ),
  ...Object.fromEntries(
    (
      [
        ...(['add', 'sub', 'mul', 'div', 'eq', 'ne', 'lt', 'le', 'gt', 'ge'] as const),
        ...(['logicalAnd', 'logicalOr', 'logicalXor', 'maximum', 'minimum'] as const),
        ...(['fmod', 'remainder', 'atan2'] as const),
      ] as const
    ).map((name) => [`Tensor.${name}`, method(x, name, () => [f(3)])]),
  ),
  'Tensor.pow': method(x, 'pow', () => [2]),
  'Tensor.clamp': method(x, 'clamp', () => [-1, 1]),
  'Tensor.clamp by tensors': method(x, 'clamp', () => [f(3), f(2, 1)]),
  'Tensor.pow of a tensor': method(x, 'pow', () => [f(3)]),
  'Tensor.nanToNum': method(x, 'nanToNum', () => [{ nan: 0, posinf: 1, neginf: -1 }]),
  'Tensor.lerp': method(x, 'lerp', () => [f(3), 0.5]),
  'Tensor.addcmul': method(x, 'addcmul', () => [f(3), f(2, 1), { value: 2 }]),
  'Tensor.addcdiv': method(x, 'addcdiv', () => [f(3), f(2, 1), { value: 2 }]),
  'Tensor.where': method(x, 'where', () => [b(2, 3), f(3)]),
  'Tensor.maskedFill': method(x, 'maskedFill', () => [b(3), 2]),
  'Tensor.any': method(x, 'any', () => [[0, 1], { keepdim: true }]),
  'Tensor.all': method(x, 'all', () => [0, { keepdim: true }]),
  'Tensor.sum': method(x, 'sum', () => [[0, 1], { keepdim: true }]),
  'Tensor.mean': method(x, 'mean', () => [0, { keepdim: true }]),
  'Tensor.max': method(x, 'max', () => [1, { keepdim: true }]),
  'Tensor.argmax': method(x, 'argmax', () => [1, { keepdim: true }]),
  'Tensor.median': method(x, 'median', () => [1, { keepdim: true }]),
  'Tensor.min': method(x, 'min', () => [1, { keepdim: true }]),
  'Tensor.amax': method(x, 'amax', () => [[0, 1], { keepdim: true }]),
  'Tensor.amin': method(x, 'amin', () => [[0, 1], { keepdim: true }]),
  'Tensor.argmin': method(x, 'argmin', () => [1, { keepdim: true }]),
  'Tensor.var': method(x, 'var', () => [[0, 1], { keepdim: true, correction: 0 }]),
  'Tensor.std': method(x, 'std', () => [0, { keepdim: true, correction: 0 }]),
  'Tensor.prod': method(x, 'prod', () => [1, { keepdim: true }]),
  'Tensor.logsumexp': method(x, 'logsumexp', () => [[0, 1], { keepdim: true }]),
  'Tensor.norm': method(x, 'norm', () => [{ p: 2, dim: [0], keepdim: true }]),
  'Tensor.cumsum': method(x, 'cumsum', () => [1]),
  'Tensor.cumprod': method(x, 'cumprod', () => [1]),
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
  'Tensor.at': method(x, 'at', () => [1, '0:2', null, '...']),
  'Tensor.gather': method(x, 'gather', () => [1, i(2, 2)]),
  'Tensor.scatter': method(x, 'scatter', () => [1, i(2, 2), f(2, 2)]),
  'Tensor.scatterAdd': method(x, 'scatterAdd', () => [1, i(2, 2), f(2, 2)]),
  'Tensor.indexAdd': method(x, 'indexAdd', () => [1, i(2), f(2, 2), { alpha: 2 }]),
  'Tensor.indexCopy': method(x, 'indexCopy', () => [1, i(2), f(2, 2)]),
  'Tensor.indexFill': method(x, 'indexFill', () => [1, i(2), 3]),
  'Tensor.sort': method(x, 'sort', () => [1, { descending: true, stable: true }]),
  'Tensor.argsort': method(x, 'argsort', () => [1, { descending: true, stable: true }]),
  'Tensor.topk': method(x, 'topk', () => [2, { dim: 1, largest: true, sorted: true }]),
  'Tensor.multinomial': method(x, 'multinomial', () => [2, { replacement: true }]),
  'Tensor.bernoulli': method(x, 'bernoulli'),
  'Tensor.narrow': method(x, 'narrow', () => [1, 0, 2]),
  'Tensor.split': method(x, 'split', () => [[1, 2], 1]),
  'Tensor.chunk': method(x, 'chunk', () => [2, 1]),
  'Tensor.unbind': method(x, 'unbind', () => [1]),
  'Tensor.diagonal': method(x, 'diagonal', () => [0, 0, 1]),
  'Tensor.diag': method(x, 'diag', () => [1]),
  'Tensor.tril': method(x, 'tril', () => [1]),
  'Tensor.triu': method(x, 'triu', () => [1]),
  'Tensor.view': method(x, 'view', () => [[3, -1]]),
  'Tensor.flatten': method(x, 'flatten', () => [0, 1]),
  'Tensor.unflatten': method(x, 'unflatten', () => [1, [3, -1]]),
  'Tensor.movedim': method(x, 'movedim', () => [[0], [1]]),
  'Tensor.roll': method(x, 'roll', () => [[1], [1]]),
  'Tensor.repeat': method(x, 'repeat', () => [[2, 2]]),
  'Tensor.repeatInterleave': method(x, 'repeatInterleave', () => [[2, 1], 0]),
  'Tensor.bmm': method(
    () => f(2, 2, 3),
    'bmm',
    () => [f(2, 3, 1)],
  ),
  'Tensor.baddbmm': method(x, 'baddbmm', () => [f(2, 2, 4), f(2, 4, 3), { beta: 2, alpha: 2 }]),
  'Tensor.outer': method(
    () => f(2),
    'outer',
    () => [f(3)],
  ),
  'Tensor.dot': method(
    () => f(2),
    'dot',
    () => [f(2)],
  ),
  'Tensor.mv': method(x, 'mv', () => [f(3)]),
}
