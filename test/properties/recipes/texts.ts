/** Texts, batches, whole models and files. */
import { data, io, models, nn, onnx, utils } from 'fused-rnn'
import { testDevice } from '../../helpers.js'
import {
  batches,
  call,
  f,
  i,
  make,
  method,
  model,
  type Recipe,
  sizes,
  state,
  tokens,
  vocabulary,
} from './tools.js'

const { toDlpack, fromDlpack } = utils.dlpack
const full = {}
/** To other programs. */
export const exchange: Record<string, Recipe> = {
  'onnx.serialize': call(onnx.serialize, () => [new nn.LSTM(2, 3)]),
  'onnx.export': call(onnx.export, () => [new nn.Linear(2, 3), 'x.onnx']),
  'onnx.load': call(onnx.load, () => ['x.onnx', { device: testDevice }]),
  'utils.toTransferable': call(utils.toTransferable, () => [{ a: [f(2, 3)], b: 1 }]),
  // A message comes by a promise.
  'utils.fromTransferable': () => [
    (given, options) =>
      given === full
        ? utils.toTransferable([f(2, 3)]).then((made) => utils.fromTransferable(made, options))
        : utils.fromTransferable(given, options),
    [full, { device: testDevice }],
  ],
  'utils.dlpack.toDlpack': call(toDlpack, () => [f(2, 3)]),
  // A capsule comes by a promise.
  'utils.dlpack.fromDlpack': () => [
    (given) => (given === full ? toDlpack(f(2, 3)).then(fromDlpack) : fromDlpack(given)),
    [full],
  ],
}

export const texts: Record<string, Recipe> = {
  'data.Vocabulary': make(data.Vocabulary, ['a', 'b', '<unk>'], {
    unknownToken: '<unk>',
    tokenizer: { level: 'char', lowerCase: true, lettersOnly: false },
  }),
  'data.Vocabulary.fromTokens': call(data.Vocabulary.fromTokens, () => [
    ['a', 'b', 'a'],
    {
      minFrequency: 1,
      maxSize: 5,
      unknownToken: '<unk>',
      specialTokens: ['<s>'],
      tokenizer: { level: 'word' },
    },
  ]),
  'data.Vocabulary.fromText': call(data.Vocabulary.fromText, () => [
    'to be',
    {
      minFrequency: 1,
      maxSize: 5,
      unknownToken: '<unk>',
      specialTokens: ['<s>'],
      tokenizer: { level: 'word' },
    },
  ]),
  'data.Vocabulary.fromJSON': call(data.Vocabulary.fromJSON, () => [vocabulary().toJSON()]),
  'data.Vocabulary.has': method(vocabulary, 'has', () => ['t']),
  'data.Vocabulary.indexOf': method(vocabulary, 'indexOf', () => ['t']),
  'data.Vocabulary.encode': method(vocabulary, 'encode', () => [['t', 'o']]),
  'data.Vocabulary.token': method(vocabulary, 'token', () => [1]),
  'data.Vocabulary.decode': method(vocabulary, 'decode', () => [[1, 2]]),
  'data.Vocabulary.toJSON': method(vocabulary, 'toJSON'),
  'data.Tokenizer': make(data.Tokenizer, { level: 'word', lowerCase: true, lettersOnly: true }),
  'data.Tokenizer.clean': method(
    () => new data.Tokenizer(),
    'clean',
    () => ['a B'],
  ),
  'data.Tokenizer.forEach': method(
    () => new data.Tokenizer(),
    'forEach',
    () => ['a B', () => {}],
  ),
  'data.Tokenizer.tokenize': method(
    () => new data.Tokenizer(),
    'tokenize',
    () => ['a B'],
  ),
  'data.Tokenizer.textAfter': method(
    () => new data.Tokenizer({ level: 'word' }),
    'textAfter',
    () => ['a', 'b'],
  ),
  'data.Tokenizer.join': method(
    () => new data.Tokenizer({ level: 'word' }),
    'join',
    () => [['a', 'b']],
  ),
  'data.Tokenizer.toJSON': method(() => new data.Tokenizer(), 'toJSON'),
  'data.loadText': call(data.loadText, () => ['text.txt', { encoding: 'latin1' }]),
  'data.split': call(data.split, () => [tokens(20), 0.2]),
  'data.SequentialBatches': () => [
    (...args) => [...Reflect.construct(data.SequentialBatches, args)].length,
    [tokens(60), { batchSize: 2, sequenceLength: 5, dropLast: true }],
  ],
  'data.RandomWindows': () => [
    (...args) => [...Reflect.construct(data.RandomWindows, args)].length,
    [tokens(60), { batchSize: 2, sequenceLength: 5, dropLast: true, stride: 3, seed: 1 }],
  ],
  'data.BucketBatches': () => [
    (...args) => [...Reflect.construct(data.BucketBatches, args)].length,
    [
      [tokens(3), tokens(5), tokens(3)],
      { batchSize: 2, buckets: [3, 6], paddingIdx: 0, ignoreIndex: -1, dropLast: false, seed: 1 },
    ],
  ],
  'data.DistributedSampler': () => [
    // The first number only: there may be billions.
    (...args) => Reflect.construct(data.DistributedSampler, args)[Symbol.iterator]().next().value,
    [20, { numReplicas: 3, rank: 1, shuffle: true, seed: 1, dropLast: true }],
  ],
  'data.DistributedSampler.setEpoch': method(
    () => new data.DistributedSampler(9, { numReplicas: 2, rank: 0 }),
    'setEpoch',
    () => [3],
  ),
  'data.DistributedBatches': () => [
    (_, options) => [...new data.DistributedBatches(batches(), options)].length,
    [null, { numReplicas: 2, rank: 1 }],
  ],
  'data.DistributedBatches.batches': method(divided, 'batches', () => [0, 2]),
  'data.DistributedBatches.state': method(divided, 'state'),
  'data.DistributedBatches.restore': method(divided, 'restore', () => [divided().state()]),
  'data.SequentialBatches.batches': method(batches, 'batches', () => [0, 2, { rank: 0, size: 2 }]),
  'data.RandomWindows.batches': method(
    () => new data.RandomWindows(tokens(60), { batchSize: 2, sequenceLength: 5 }),
    'batches',
    () => [0, 2],
  ),
  'data.BucketBatches.batches': method(
    () => new data.BucketBatches([tokens(3), tokens(3)], { batchSize: 1 }),
    'batches',
    () => [0, 1, { rank: 0, size: 1 }],
  ),
  'data.EpochBatches.state': method(batches, 'state'),
  'data.EpochBatches.restore': method(batches, 'restore', () => [batches().state()]),
}

function divided(): data.DistributedBatches {
  return new data.DistributedBatches(batches(), { numReplicas: 2, rank: 1 })
}

export const wholeModels: Record<string, Recipe> = {
  'models.LanguageModel': () => [
    (options) => new models.LanguageModel(options),
    [
      {
        ...sizes,
        vocabSize: 8,
        vocabulary: vocabulary(),
        cell: 'rnn',
        nonlinearity: 'relu',
        tieWeights: false,
        device: testDevice,
      },
    ],
  ],
  'models.LanguageModel.load': call(models.LanguageModel.load, () => [
    'nothing',
    { device: testDevice },
  ]),
  'models.LanguageModel.save': method(model, 'save', () => ['model']),
  'models.LanguageModel.initialState': method(model, 'initialState', () => [2]),
  'models.LanguageModel.detachState': method(model, 'detachState', () => [
    [f(1, 2, 4), f(1, 2, 4)],
  ]),
  'models.LanguageModel.forward': method(model, 'forward', () => [
    i(3, 2),
    [f(1, 2, 4), f(1, 2, 4)],
  ]),
  'models.LanguageModel.trainingStep': method(model, 'trainingStep', () => [
    { input: i(3, 2), target: i(3, 2), tokens: 6, reset: true },
    { epoch: 0, batchIdx: 0, globalStep: 0, carried: null },
  ]),
  'models.LanguageModel.validationStep': method(model, 'validationStep', () => [
    { input: i(3, 2), target: i(3, 2), tokens: 6, reset: true },
    { epoch: 0, batchIdx: 0, globalStep: 0, carried: null },
  ]),
  'models.LanguageModel.configureOptimizers': method(model, 'configureOptimizers'),
  'models.LanguageModel.deriveMetrics': method(model, 'deriveMetrics', () => [{ loss: 1 }]),
  'models.LanguageModel.checkData': method(model, 'checkData', () => [
    new data.BucketBatches([tokens(1), Int32Array.of(1, 2)], { batchSize: 1 }),
  ]),
  'models.LanguageModel.generate': method(model, 'generate', () => [
    [1, 2],
    { length: 2, temperature: 1, topK: 2, seed: 1 },
  ]),
  'models.LanguageModel.extraRepr': method(model, 'extraRepr'),
  'io.save': call(io.save, () => [{ a: [f(2, 3)], b: 1 }, 'file.safetensors']),
  'io.load': call(io.load, () => ['nothing', { device: testDevice }]),
  'models.fromKeras': call(models.fromKeras, () => ['nothing', { device: testDevice }]),
  'models.fromTfjs': call(models.fromTfjs, () => ['nothing', { device: testDevice }]),
  'io.torch.save': call(io.torch.save, () => ['file.pt', { a: [f(2, 3)], b: 1 }]),
  'io.torch.load': call(io.torch.load, () => ['nothing', { device: testDevice }]),
  'io.torch.stateDict': call(io.torch.stateDict, () => [
    new Map([['state_dict', state()]]),
    { key: 'state_dict' },
  ]),
  'io.safetensors.save': call(io.safetensors.save, () => [
    'file.safetensors',
    state(),
    { metadata: { a: 'b' } },
  ]),
  'io.safetensors.serialize': call(io.safetensors.serialize, () => [
    state(),
    { metadata: new Map([['a', 'b']]) },
  ]),
  'io.safetensors.parse': call(io.safetensors.parse, () => [
    Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 123, 125),
    { device: testDevice },
  ]),
  'io.safetensors.load': call(io.safetensors.load, () => [
    'nothing',
    { device: testDevice, keys: ['a'] },
  ]),
  'io.safetensors.safeOpen': call(io.safetensors.safeOpen, () => [
    'nothing',
    { device: testDevice },
  ]),
  'io.safetensors.loadWithMetadata': call(io.safetensors.loadWithMetadata, () => [
    'nothing',
    { device: testDevice },
  ]),
}
