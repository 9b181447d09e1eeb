/** Layers, functions, modules and packed sequences. */
import { nn, quantization, zeros } from 'fused-rnn'
import { testDevice } from '../../helpers.js'
import {
  call,
  f,
  gru,
  i,
  layerOptions,
  linear,
  lstm,
  make,
  method,
  packed,
  type Recipe,
  rnn,
  short,
  trained,
  x,
} from './tools.js'

const { functional, init } = nn
// int8 is for the CPU.
const options = { ...layerOptions, device: 'cpu' }
const onCpu = (...shape: number[]) => zeros(shape, { device: 'cpu' })
export const layers: Record<string, Recipe> = {
  'quantization.quantizeDynamic': call(quantization.quantizeDynamic, () => [
    new nn.Sequential(new nn.Linear(3, 4, { device: 'cpu' })),
    { qconfigSpec: [nn.Linear] },
  ]),
  'quantization.DynamicQuantizedLSTM': make(quantization.DynamicQuantizedLSTM, 3, 4, {
    ...options,
    projSize: 2,
  }),
  'quantization.DynamicQuantizedLSTM.forward': method(
    () => new quantization.DynamicQuantizedLSTM(3, 4, { device: 'cpu' }),
    'forward',
    () => [onCpu(2, 2, 3), [onCpu(1, 2, 4), onCpu(1, 2, 4)]],
  ),
  'quantization.DynamicQuantizedGRU': make(quantization.DynamicQuantizedGRU, 3, 4, options),
  'quantization.DynamicQuantizedGRU.forward': method(
    () => new quantization.DynamicQuantizedGRU(3, 4, { device: 'cpu' }),
    'forward',
    () => [onCpu(2, 2, 3), onCpu(1, 2, 4)],
  ),
  'quantization.DynamicQuantizedRNN': make(quantization.DynamicQuantizedRNN, 3, 4, {
    ...options,
    nonlinearity: 'relu',
  }),
  'quantization.DynamicQuantizedRNN.forward': method(
    () => new quantization.DynamicQuantizedRNN(3, 4, { device: 'cpu' }),
    'forward',
    () => [onCpu(2, 3), onCpu(1, 4)],
  ),
  'quantization.DynamicQuantizedLSTMCell': make(quantization.DynamicQuantizedLSTMCell, 3, 4, {
    bias: true,
    device: 'cpu',
  }),
  'quantization.DynamicQuantizedLSTMCell.forward': method(
    () => new quantization.DynamicQuantizedLSTMCell(3, 4, { device: 'cpu' }),
    'forward',
    () => [onCpu(2, 3), [onCpu(2, 4), onCpu(2, 4)]],
  ),
  'quantization.DynamicQuantizedGRUCell': make(quantization.DynamicQuantizedGRUCell, 3, 4, {
    bias: true,
    device: 'cpu',
  }),
  'quantization.DynamicQuantizedGRUCell.forward': method(
    () => new quantization.DynamicQuantizedGRUCell(3, 4, { device: 'cpu' }),
    'forward',
    () => [onCpu(2, 3), onCpu(2, 4)],
  ),
  'quantization.DynamicQuantizedRNNCell': make(quantization.DynamicQuantizedRNNCell, 3, 4, {
    bias: true,
    nonlinearity: 'relu',
    device: 'cpu',
  }),
  'quantization.DynamicQuantizedRNNCell.forward': method(
    () => new quantization.DynamicQuantizedRNNCell(3, 4, { device: 'cpu' }),
    'forward',
    () => [onCpu(2, 3), onCpu(2, 4)],
  ),
  'quantization.DynamicQuantizedLSTM.resetParameters': method(
    () => new quantization.DynamicQuantizedLSTM(3, 4, { device: 'cpu' }),
    'resetParameters',
  ),
  'quantization.DynamicQuantizedGRU.resetParameters': method(
    () => new quantization.DynamicQuantizedGRU(3, 4, { device: 'cpu' }),
    'resetParameters',
  ),
  'quantization.DynamicQuantizedRNN.resetParameters': method(
    () => new quantization.DynamicQuantizedRNN(3, 4, { device: 'cpu' }),
    'resetParameters',
  ),
  'quantization.DynamicQuantizedLSTMCell.resetParameters': method(
    () => new quantization.DynamicQuantizedLSTMCell(3, 4, { device: 'cpu' }),
    'resetParameters',
  ),
  'quantization.DynamicQuantizedGRUCell.resetParameters': method(
    () => new quantization.DynamicQuantizedGRUCell(3, 4, { device: 'cpu' }),
    'resetParameters',
  ),
  'quantization.DynamicQuantizedRNNCell.resetParameters': method(
    () => new quantization.DynamicQuantizedRNNCell(3, 4, { device: 'cpu' }),
    'resetParameters',
  ),
  'quantization.DynamicQuantizedLinear.resetParameters': method(
    () => new quantization.DynamicQuantizedLinear(3, 4, { device: 'cpu' }),
    'resetParameters',
  ),
  'quantization.DynamicQuantizedLinear': make(quantization.DynamicQuantizedLinear, 3, 2, {
    bias: true,
    device: 'cpu',
  }),
  'quantization.DynamicQuantizedLinear.forward': method(
    () => new quantization.DynamicQuantizedLinear(3, 2, { device: 'cpu' }),
    'forward',
    () => [onCpu(2, 3)],
  ),
  'nn.LSTM': make(nn.LSTM, 3, 4, {
    ...layerOptions,
    projSize: 2,
    forgetBias: 1,
    device: testDevice,
  }),
  'nn.GRU': make(nn.GRU, 3, 4, { ...layerOptions, device: testDevice }),
  'nn.RNN': make(nn.RNN, 3, 4, { ...layerOptions, nonlinearity: 'relu', device: testDevice }),
  'nn.LayerNormLSTM': make(nn.LayerNormLSTM, 3, 4, {
    ...layerOptions,
    projSize: 2,
    device: testDevice,
  }),
  'nn.recurrent': call(nn.recurrent, () => [
    {
      name: 'Own',
      gates: 2,
      state: ['h', 'c'],
      parameters: () => ({ gain: [1] }),
      step: (_: unknown, state: unknown) => state as never,
    },
  ]),
  'nn.recurrent.forward': method(
    () =>
      new (nn.recurrent({ state: ['h', 'c'], step: (x, [h, c]) => [h.add(x), c.sub(h)] }))(3, 4),
    'forward',
    () => [f(2, 2, 3), [f(1, 2, 4), f(1, 2, 4)]],
  ),
  'nn.LayerNormLSTM.forward': method(
    () => new nn.LayerNormLSTM(3, 4),
    'forward',
    () => [f(2, 2, 3), [f(1, 2, 4), f(1, 2, 4)]],
  ),
  'nn.LSTM.forward': method(lstm, 'forward', () => [f(2, 2, 3), [f(4, 2, 2), f(4, 2, 4)]]),
  'nn.LSTM.forward peephole': method(
    () => new nn.LSTM(3, 4, { peephole: true }),
    'forward',
    () => [f(2, 2, 3), [f(1, 2, 4), f(1, 2, 4)]],
  ),
  'nn.GRU.forward': method(gru, 'forward', () => [f(2, 2, 3), f(1, 2, 4)]),
  'nn.GRU.forward before': method(
    () => new nn.GRU(3, 4, { resetAfter: false }),
    'forward',
    () => [f(2, 2, 3), f(1, 2, 4)],
  ),
  'nn.SLSTM': make(nn.SLSTM, 3, 4, { ...layerOptions, numHeads: 2, device: testDevice }),
  'nn.SLSTM.forward': method(
    () => new nn.SLSTM(3, 4, { numHeads: 2 }),
    'forward',
    () => [f(2, 2, 3), [f(1, 2, 4), f(1, 2, 4), f(1, 2, 4), f(1, 2, 4)]],
  ),
  'nn.SLSTMCell': make(nn.SLSTMCell, 3, 4, { bias: true, numHeads: 2, device: testDevice }),
  'nn.SLSTMCell.forward': method(
    () => new nn.SLSTMCell(3, 4),
    'forward',
    () => [f(2, 3), [f(2, 4), f(2, 4), f(2, 4), f(2, 4)]],
  ),
  'nn.RNN.forward': method(rnn, 'forward', () => [f(2, 3), f(1, 4)]),
  'nn.LSTM.forward packed': method(lstm, 'forward', () => [packed(), [f(4, 3, 2), f(4, 3, 4)]]),
  'nn.RNN.extraRepr': method(rnn, 'extraRepr'),
  'nn.RecurrentLayer.extraRepr': method(lstm, 'extraRepr'),
  'nn.RecurrentLayer.resetParameters': method(lstm, 'resetParameters'),
  'nn.LSTM weight=': () => {
    const layer = rnn()
    const run = (weight: unknown): unknown => {
      Reflect.set(layer, 'weight_hh_l0', weight)
      return layer.forward(f(2, 2, 3))
    }
    return [run as never, [f(4, 4)]]
  },
  'nn.LSTMCell': make(nn.LSTMCell, 3, 4, {
    bias: true,
    forgetBias: 1,
    recurrentDropout: 0.1,
    zoneout: 0.1,
    device: testDevice,
  }),
  'nn.GRUCell': make(nn.GRUCell, 3, 4, { bias: true, device: testDevice }),
  'nn.RNNCell': make(nn.RNNCell, 3, 4, { bias: true, nonlinearity: 'relu', device: testDevice }),
  'nn.LayerNormLSTMCell': make(nn.LayerNormLSTMCell, 3, 4, { bias: true, device: testDevice }),
  'nn.LayerNormLSTMCell.forward': method(
    () => new nn.LayerNormLSTMCell(3, 4),
    'forward',
    () => [f(2, 3), [f(2, 4), f(2, 4)]],
  ),
  'nn.LSTMCell.forward': method(
    () => new nn.LSTMCell(3, 4),
    'forward',
    () => [f(2, 3), [f(2, 4), f(2, 4)]],
  ),
  'nn.GRUCell.forward': method(
    () => new nn.GRUCell(3, 4),
    'forward',
    () => [f(2, 3), f(2, 4)],
  ),
  'nn.RNNCell.forward': method(
    () => new nn.RNNCell(3, 4),
    'forward',
    () => [f(3), f(4)],
  ),
  'nn.RNNCell.extraRepr': method(() => new nn.RNNCell(3, 4), 'extraRepr'),
  'nn.RecurrentCell.extraRepr': method(() => new nn.GRUCell(3, 4), 'extraRepr'),
  'nn.RecurrentCell.resetParameters': method(() => new nn.GRUCell(3, 4), 'resetParameters'),
  'nn.Linear': make(nn.Linear, 3, 4, { bias: true, device: testDevice }),
  'nn.Linear.forward': method(linear, 'forward', () => [f(2, 3)]),
  'nn.Linear.resetParameters': method(linear, 'resetParameters'),
  'nn.Linear.extraRepr': method(linear, 'extraRepr'),
  'nn.Embedding': make(nn.Embedding, 5, 3, {
    paddingIdx: 0,
    maxNorm: 1,
    normType: 2,
    scaleGradByFreq: true,
    sparse: false,
    device: testDevice,
  }),
  'nn.Embedding.fromPretrained': call(nn.Embedding.fromPretrained, () => [
    f(5, 3),
    { paddingIdx: 0, freeze: false, sparse: true },
  ]),
  'nn.Embedding.forward': method(
    () => new nn.Embedding(5, 3),
    'forward',
    () => [i(2, 2)],
  ),
  'nn.Embedding.resetParameters': method(() => new nn.Embedding(5, 3), 'resetParameters'),
  'nn.Embedding.extraRepr': method(() => new nn.Embedding(5, 3), 'extraRepr'),
  'nn.Dropout': make(nn.Dropout, 0.5),
  'nn.Dropout.forward': method(
    () => new nn.Dropout(0.5),
    'forward',
    () => [x()],
  ),
  'nn.Dropout.extraRepr': method(() => new nn.Dropout(0.5), 'extraRepr'),
  'nn.CrossEntropyLoss': make(nn.CrossEntropyLoss, {
    ignoreIndex: 1,
    reduction: 'sum',
    labelSmoothing: 0.1,
  }),
  'nn.CrossEntropyLoss.forward': method(
    () => new nn.CrossEntropyLoss(),
    'forward',
    () => [x(), i(2)],
  ),
  'nn.NLLLoss': make(nn.NLLLoss, { ignoreIndex: 1, reduction: 'none' }),
  'nn.NLLLoss.forward': method(
    () => new nn.NLLLoss(),
    'forward',
    () => [x(), i(2)],
  ),
  'nn.MSELoss': make(nn.MSELoss, { reduction: 'sum' }),
  'nn.MSELoss.forward': method(
    () => new nn.MSELoss(),
    'forward',
    () => [x(), f(2, 3)],
  ),
  'nn.BCEWithLogitsLoss': () => [
    (options) => new nn.BCEWithLogitsLoss(options).forward(x(), f(2, 3)),
    [{ reduction: 'sum', weight: f(3), posWeight: f(3) }],
  ],
  'nn.BCEWithLogitsLoss.forward': method(
    () => new nn.BCEWithLogitsLoss(),
    'forward',
    () => [x(), f(2, 3)],
  ),
  'nn.functional.linear': call(functional.linear, () => [x(), f(2, 3), f(2)]),
  'nn.functional.embedding': call(functional.embedding, () => [
    i(2),
    f(5, 3),
    { paddingIdx: 0, maxNorm: 1, normType: 2, scaleGradByFreq: true },
  ]),
  'nn.functional.oneHot': call(functional.oneHot, () => [i(2), 3]),
  'nn.functional.dropout': call(functional.dropout, () => [x(), { p: 0.5, training: true }]),
  'nn.functional.sample': call(functional.sample, () => [f(2, 3), { temperature: 1, topK: 2 }]),
  'nn.functional.relu': call(functional.relu, () => [x()]),
  'nn.functional.sigmoid': call(functional.sigmoid, () => [x()]),
  'nn.functional.tanh': call(functional.tanh, () => [x()]),
  'nn.functional.gelu': call(functional.gelu, () => [x(), { approximate: 'tanh' }]),
  'nn.functional.silu': call(functional.silu, () => [x()]),
  'nn.functional.softplus': call(functional.softplus, () => [x(), { beta: 2, threshold: 20 }]),
  'nn.functional.leakyRelu': call(functional.leakyRelu, () => [x(), { negativeSlope: 0.1 }]),
  'nn.functional.elu': call(functional.elu, () => [x(), { alpha: 1 }]),
  'nn.functional.logSigmoid': call(functional.logSigmoid, () => [x()]),
  'nn.functional.hardtanh': call(functional.hardtanh, () => [x(), { minVal: -1, maxVal: 1 }]),
  'nn.functional.relu6': call(functional.relu6, () => [x()]),
  'nn.functional.mish': call(functional.mish, () => [x()]),
  'nn.functional.softmax': call(functional.softmax, () => [x(), 1]),
  'nn.functional.logSoftmax': call(functional.logSoftmax, () => [x(), 1]),
  'nn.functional.crossEntropy': call(functional.crossEntropy, () => [
    x(),
    i(2),
    { weight: f(3), ignoreIndex: 1, reduction: 'sum', labelSmoothing: 0.1 },
  ]),
  'nn.functional.nllLoss': call(functional.nllLoss, () => [
    x(),
    i(2),
    { weight: f(3), ignoreIndex: 1, reduction: 'none' },
  ]),
  'nn.functional.mseLoss': call(functional.mseLoss, () => [x(), f(2, 3), { reduction: 'none' }]),
  'nn.functional.binaryCrossEntropyWithLogits': call(
    functional.binaryCrossEntropyWithLogits,
    () => [x(), f(2, 3), { reduction: 'none', weight: f(3), posWeight: f(2, 1) }],
  ),
  'nn.init.zeros': call(init.zeros, () => [x()]),
  'nn.init.ones': call(init.ones, () => [x()]),
  'nn.init.constant': call(init.constant, () => [x(), 2]),
  'nn.init.uniform': call(init.uniform, () => [x(), 0, 1]),
  'nn.init.normal': call(init.normal, () => [x(), 0, 1]),
  'nn.init.xavierUniform': call(init.xavierUniform, () => [x(), 1]),
  'nn.init.xavierNormal': call(init.xavierNormal, () => [x(), 1]),
  'nn.init.kaimingUniform': call(init.kaimingUniform, () => [
    x(),
    { a: 1, mode: 'fanIn', nonlinearity: 'relu' },
  ]),
  'nn.init.kaimingNormal': call(init.kaimingNormal, () => [
    x(),
    { a: 1, mode: 'fanOut', nonlinearity: 'selu' },
  ]),
  'nn.init.eye': call(init.eye, () => [x()]),
  'nn.init.dirac': call(init.dirac, () => [f(2, 3, 3), 2]),
  'nn.init.sparse': call(init.sparse, () => [x(), 0.5, 0.1]),
  'nn.init.orthogonal': call(init.orthogonal, () => [x(), 1]),
  'nn.init.truncNormal': call(init.truncNormal, () => [x(), 0, 1, -2, 2]),
  'nn.init.calculateGain': call(init.calculateGain, () => ['leakyRelu', 0.1]),
  'nn.Parameter': call(nn.Parameter as never, () => [f(2, 3), true]),
}

export const modules: Record<string, Recipe> = {
  ...Object.fromEntries(
    (
      [
        'parameters',
        'namedParameters',
        'children',
        'namedChildren',
        'modules',
        'namedModules',
        'stateDict',
        'eval',
        'extraRepr',
        'toString',
      ] as const
    ).map((name) => [`nn.Module.${name}`, method(short, name)]),
  ),
  'nn.Module.buffers': method(short, 'buffers'),
  'nn.Module.namedBuffers': method(short, 'namedBuffers'),
  'nn.Module.registerBuffer': method(short, 'registerBuffer', () => [
    'mean',
    f(3),
    { persistent: false },
  ]),
  'nn.Module.loadStateDict': method(linear, 'loadStateDict', () => [
    new Map([
      ['weight', f(2, 3)],
      ['bias', f(2)],
    ]),
    { strict: false, prefix: '' },
  ]),
  'nn.Module.train': method(short, 'train', () => [true]),
  'nn.Module.to': method(short, 'to', () => [testDevice]),
  'nn.Module.requiresGrad': method(short, 'requiresGrad', () => [true]),
  'nn.Module.clone': method(linear, 'clone'),
  'nn.Module.zeroGrad': method(short, 'zeroGrad', () => [{ setToNone: false }]),
  'nn.Module.apply': method(short, 'apply', () => [() => {}]),
  'nn.ModuleList': () => [(list) => new nn.ModuleList(list), [[linear(), linear()]]],
  'nn.ModuleList.forward': method(() => new nn.ModuleList([]), 'forward'),
  'nn.ModuleList.append': method(
    () => new nn.ModuleList(),
    'append',
    () => [linear()],
  ),
  'nn.ModuleList.extend': method(
    () => new nn.ModuleList(),
    'extend',
    () => [[linear()]],
  ),
  'nn.ModuleDict': () => [(modules) => new nn.ModuleDict(modules), [{ a: linear() }]],
  'nn.ModuleDict.forward': method(() => new nn.ModuleDict(), 'forward'),
  'nn.ModuleDict.get': method(
    () => new nn.ModuleDict({ a: linear() }),
    'get',
    () => ['a'],
  ),
  'nn.ModuleDict.has': method(
    () => new nn.ModuleDict({ a: linear() }),
    'has',
    () => ['a'],
  ),
  'nn.ModuleDict.set': method(
    () => new nn.ModuleDict(),
    'set',
    () => ['a', linear()],
  ),
  'nn.ModuleDict.update': method(
    () => new nn.ModuleDict(),
    'update',
    () => [{ a: linear() }],
  ),
  'nn.ModuleDict.keys': method(() => new nn.ModuleDict({ a: linear() }), 'keys'),
  'nn.ModuleDict.values': method(() => new nn.ModuleDict({ a: linear() }), 'values'),
  'nn.ModuleDict.entries': method(() => new nn.ModuleDict({ a: linear() }), 'entries'),
  'nn.ParameterList': () => [(list) => new nn.ParameterList(list), [[f(2), f(3)]]],
  'nn.ParameterList.forward': method(() => new nn.ParameterList(), 'forward'),
  'nn.ParameterList.append': method(
    () => new nn.ParameterList(),
    'append',
    () => [f(2)],
  ),
  'nn.ParameterList.extend': method(
    () => new nn.ParameterList(),
    'extend',
    () => [[f(2)]],
  ),
  'nn.ParameterDict': () => [(parameters) => new nn.ParameterDict(parameters), [{ a: f(2) }]],
  'nn.ParameterDict.forward': method(() => new nn.ParameterDict(), 'forward'),
  'nn.ParameterDict.get': method(
    () => new nn.ParameterDict({ a: f(2) }),
    'get',
    () => ['a'],
  ),
  'nn.ParameterDict.has': method(
    () => new nn.ParameterDict({ a: f(2) }),
    'has',
    () => ['a'],
  ),
  'nn.ParameterDict.set': method(
    () => new nn.ParameterDict(),
    'set',
    () => ['a', f(2)],
  ),
  'nn.ParameterDict.update': method(
    () => new nn.ParameterDict(),
    'update',
    () => [{ a: f(2) }],
  ),
  'nn.ParameterDict.keys': method(() => new nn.ParameterDict({ a: f(2) }), 'keys'),
  'nn.ParameterDict.values': method(() => new nn.ParameterDict({ a: f(2) }), 'values'),
  'nn.ParameterDict.entries': method(() => new nn.ParameterDict({ a: f(2) }), 'entries'),
  'nn.Sequential': () => [(...list) => new nn.Sequential(...list), [linear(), linear()]],
  'nn.Sequential.forward': method(
    () => new nn.Sequential(linear()),
    'forward',
    () => [f(2, 3)],
  ),
  'nn.utils.clipGradNorm': call(nn.utils.clipGradNorm, () => [
    trained(),
    1,
    { normType: 2, errorIfNonfinite: false },
  ]),
  'nn.utils.clipGradValue': call(nn.utils.clipGradValue, () => [trained(), 1]),
}

export const sequences: Record<string, Recipe> = {
  'nn.utils.rnn.PackedSequence': () => [
    (...args) => {
      const made: nn.utils.rnn.PackedSequence = Reflect.construct(nn.utils.rnn.PackedSequence, args)
      return [made.lengths, made.places, made.sortedIndices, made.unsortedIndices, made]
    },
    [f(7, 3), [3, 2, 1, 1], [1, 2, 0]],
  ],
  'nn.utils.rnn.PackedSequence.withData': method(packed, 'withData', () => [f(7, 5)]),
  'nn.utils.rnn.PackedSequence.to': method(packed, 'to', () => [testDevice]),
  'nn.utils.rnn.packPaddedSequence': call(nn.utils.rnn.packPaddedSequence, () => [
    f(3, 4, 3),
    [2, 4, 1],
    { batchFirst: true, enforceSorted: false },
  ]),
  'nn.utils.rnn.padPackedSequence': call(nn.utils.rnn.padPackedSequence, () => [
    packed(),
    { batchFirst: true, paddingValue: 1, totalLength: 6 },
  ]),
  'nn.utils.rnn.padSequence': call(nn.utils.rnn.padSequence, () => [
    [f(2, 3), f(4, 3)],
    { batchFirst: true, paddingValue: 1, paddingSide: 'left' },
  ]),
  'nn.utils.rnn.unpadSequence': call(nn.utils.rnn.unpadSequence, () => [
    f(2, 4, 3),
    [4, 1],
    { batchFirst: true },
  ]),
  'nn.utils.rnn.packSequence': call(nn.utils.rnn.packSequence, () => [
    [f(4, 3), f(2, 3)],
    { enforceSorted: true },
  ]),
  'nn.utils.rnn.unpackSequence': call(nn.utils.rnn.unpackSequence, () => [packed()]),
}
