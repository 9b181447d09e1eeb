/** Series, their windows, examples, and the models of tasks. */
import * as library from 'fused-rnn'
import { data, manualSeed, models, nn, OnlineLearner, optim, type Tensor, utils } from 'fused-rnn'
import { testDevice } from '../../helpers.js'
import { call, f, i, isPlain, make, method, type Recipe } from './tools.js'

/** A method that trains, which ends soon whatever number of epochs it is told. */
const training =
  <T extends object>(of: () => T, name: keyof T & string, args: () => unknown[]): Recipe =>
  () => {
    const object = of()
    const run = object[name] as (...args: unknown[]) => unknown
    return [
      (data: unknown, options: unknown = {}, ...more: unknown[]) => {
        if (!isPlain(options) || Array.isArray(options))
          return run.call(object, data, options, ...more)
        const given = { signal: AbortSignal.timeout(200), progressBar: false, ...options }
        // It would write to the terminal.
        if (given.progressBar === true) given.progressBar = false
        return run.call(object, data, given, ...more)
      },
      args(),
    ]
  }
const fitOptions = () => ({
  valid: 0.4,
  batchSize: 2,
  lr: 0.01,
  maxEpochs: 1,
  patience: 1,
  seed: 1,
  progressBar: false,
})

const numbers = Array.from({ length: 30 }, (_, i) => Math.sin(i))
const series = () => new data.Series({ x: [1, 2, 4] }, { time: [0, 1000, 2000], id: 'a' })
const windowOptions = {
  inputSize: 3,
  horizon: 2,
  stride: 2,
  batchSize: 4,
  shuffle: true,
  seed: 1,
  scaler: 'window',
  missing: 'mask',
  calendar: false,
} as const
const windows = () => new data.SeriesWindows(numbers, windowOptions)
const examples = () => [
  { input: [1, 2, 3], target: 1 },
  { input: [4, 2], target: 0 },
]
const small = { horizon: 2, inputSize: 4, hiddenSize: 3 }
manualSeed(1)
const forecaster = new models.Forecaster(small)
await forecaster.fit(numbers, { maxEpochs: 1, progressBar: false })
const forecast = await forecaster.predict(numbers)
const batch = () => [...forecaster.windows(numbers, { batchSize: 4 }).batches(0)][0]

const classifier = new models.SequenceClassifier({ hiddenSize: 3, embeddingSize: 3 })
const mails = () => [
  { input: 'win a prize', label: 'spam' },
  { input: 'see you', label: 'ham' },
]
await classifier.fit(mails(), { maxEpochs: 1, progressBar: false, valid: 0 })
const mail = () => [...new data.ExampleBatches([{ input: [1, 2], target: 1 }])][0]
const detector = new models.AnomalyDetector({ windowSize: 3, hiddenSize: 3 })
await detector.fit(numbers, { maxEpochs: 1, progressBar: false })
const detectorBatch = () => [...new data.ExampleBatches([{ input: [[1], [2], [3]] }])][0]

const tagger = new models.SequenceTagger({ hiddenSize: 3, embeddingSize: 3 })
const tagged = () => [{ input: ['a', 'b'], tags: ['B-X', 'O'] }]
await tagger.fit(tagged(), { maxEpochs: 1, valid: 0, progressBar: false })
const tagBatch = () =>
  [
    ...new data.ExampleBatches([
      {
        input: [
          [1, 1, 1],
          [2, 2, 2],
        ],
        target: [0, 1],
      },
    ]),
  ][0]

const recognizer = new models.SequenceRecognizer({ hiddenSize: 3, bidirectional: false })
const transcribed = () => [{ input: [[1], [2], [3]], target: 'ab' }]
await recognizer.fit(transcribed(), { maxEpochs: 1, valid: 0, progressBar: false })
const recognitionState = await recognizer.stream().state()
const ctcBatch = () => [...new data.ExampleBatches([{ input: [[1], [2], [3]], target: [1, 2] }])][0]

const seq2seq = new models.Seq2Seq({ hiddenSize: 3, embeddingSize: 3 })
await seq2seq.fit(
  [
    { input: 'ab', target: 'xy' },
    { input: 'b', target: 'y' },
  ],
  { maxEpochs: 1, valid: 0, progressBar: false },
)
const pairBatch = () => [...new data.ExampleBatches([{ input: [1, 2], target: [1, 2] }])][0]

class NextRow extends nn.Module {
  rnn = new nn.GRU(2, 3)
  head = new nn.Linear(3, 2)
  override forward(input: Tensor, state?: never): [Tensor, unknown] {
    const [output, next] = this.rnn.forward(input, state)
    return [this.head.forward(output), next]
  }
}
const online = () => {
  const model = new NextRow()
  return new OnlineLearner(model, { optimizer: new optim.SGD(model.parameters(), { lr: 0.1 }) })
}
const known = online()
await known.predict('a', [1, 2])
const clientState = await known.stateOf('a')
const stateBytes = await utils.stateToBytes([f(2, 3)])

export const tasks: Record<string, Recipe> = {
  'data.Series': make(
    data.Series,
    { x: [1, null, 3], y: [1, 2, 3] },
    { time: ['2026-01-01', '2026-01-02', '2026-01-03'], id: 'a' },
  ),
  'data.Series.column': method(series, 'column', () => ['x']),
  'data.Series.slice': method(series, 'slice', () => [0, 2]),
  'data.Series.timeAt': method(series, 'timeAt', () => [1]),
  'data.Series.rowName': method(series, 'rowName', () => [1]),
  'data.loadCSV': call(data.loadCSV, () => [
    'nothing.csv',
    { time: 'date', id: 'shop', columns: ['x'], separator: ';' },
  ]),
  'data.SeriesWindows': () => [
    (...args) => [...Reflect.construct(data.SeriesWindows, args)].length,
    [[...numbers], { ...windowOptions, targets: ['value'], histExog: [], futrExog: [] }],
  ],
  'data.IndexedBatches.batches': method(windows, 'batches', () => [0, 1]),
  'data.ExampleBatches': () => [
    (...args) => [...Reflect.construct(data.ExampleBatches, args)].length,
    [
      examples(),
      { batchSize: 1, sortWithin: 2, paddingIdx: 0, ignoreIndex: -1, shuffle: true, seed: 1 },
    ],
  ],
  'models.Forecaster': make(models.Forecaster, {
    ...small,
    seasonLength: 3,
    targets: ['x'],
    histExog: ['y'],
    futrExog: ['z'],
    calendar: true,
    cell: 'gru',
    numLayers: 2,
    dropout: 0.1,
    quantiles: [0.1, 0.5, 0.9],
    scaler: 'robust',
    missing: 'interpolate',
    device: testDevice,
  }),
  'models.Forecaster.forward': method(
    () => forecaster,
    'forward',
    () => [batch()?.input],
  ),
  'models.Forecaster.trainingStep': method(
    () => forecaster,
    'trainingStep',
    () => [batch()],
  ),
  'models.TaskModel.validationStep': method(
    () => forecaster,
    'validationStep',
    () => [batch()],
  ),
  'models.TaskModel.configureOptimizers': method(() => forecaster, 'configureOptimizers'),
  'models.TaskModel.save': method(
    () => forecaster,
    'save',
    () => ['forecaster'],
  ),
  'models.Forecaster.load': call(models.Forecaster.load, () => ['nothing', { device: testDevice }]),
  'models.Forecaster.checkData': method(
    () => forecaster,
    'checkData',
    () => [forecaster.windows(numbers)],
  ),
  'models.Forecaster.windows': method(
    () => forecaster,
    'windows',
    () => [[...numbers], { batchSize: 3, stride: 2, seed: 1, shuffle: true }],
  ),
  'models.Forecaster.predict': method(
    () => forecaster,
    'predict',
    () => [[...numbers], { level: [80, 50], horizon: 2, recursive: false }],
  ),
  'models.Forecaster.stream': method(
    () => forecaster,
    'stream',
    () => [[1, 2, 3]],
  ),
  'models.Forecaster.extraRepr': method(() => forecaster, 'extraRepr'),
  'models.ForecastStream.push': method(
    () => forecaster.stream(numbers),
    'push',
    () => [[1]],
  ),
  'models.ForecastStream.state': method(() => forecaster.stream(numbers), 'state'),
  'models.Forecast.column': method(
    () => forecast,
    'column',
    () => ['value'],
  ),
  'models.Forecast.lower': method(
    () => forecast,
    'lower',
    () => [50],
  ),
  'models.Forecast.upper': method(
    () => forecast,
    'upper',
    () => [50],
  ),
  'models.Forecast.quantile': method(
    () => forecast,
    'quantile',
    () => [0.3],
  ),
  'models.Forecast.toCSV': method(() => forecast, 'toCSV'),
  'models.Forecast.toSVG': method(
    () => forecast,
    'toSVG',
    () => [{ title: 'x', width: 400, height: 300, actual: [1, 2] }],
  ),
  'models.Forecast.writeSVG': method(
    () => forecast,
    'writeSVG',
    () => ['forecast.svg', { title: 'x' }],
  ),
  'models.SequenceClassifier': make(models.SequenceClassifier, {
    classes: ['a', 'b'],
    inputSize: 2,
    embeddingSize: 3,
    cell: 'rnn',
    hiddenSize: 3,
    numLayers: 2,
    bidirectional: false,
    dropout: 0.1,
    pooling: 'max',
    maxLength: 9,
    classWeight: { a: 2 },
    device: testDevice,
  }),
  'models.SequenceClassifier.forward': method(
    () => classifier,
    'forward',
    () => [mail()?.input, [2]],
  ),
  'models.SequenceClassifier.trainingStep': method(
    () => classifier,
    'trainingStep',
    () => [mail()],
  ),
  'models.SequenceClassifier.predict': method(
    () => classifier,
    'predict',
    () => [['a prize', ['see', 'you']], { batchSize: 2 }],
  ),
  'models.SequenceClassifier.evaluate': method(
    () => classifier,
    'evaluate',
    () => [mails()],
  ),
  'models.SequenceClassifier.load': call(models.SequenceClassifier.load, () => [
    'nothing',
    { device: testDevice },
  ]),
  'models.SequenceClassifier.extraRepr': method(() => classifier, 'extraRepr'),
  'models.AnomalyDetector': make(models.AnomalyDetector, {
    columns: ['x'],
    method: 'forecast',
    windowSize: 4,
    hiddenSize: 3,
    cell: 'gru',
    threshold: { quantile: 0.9, factor: 2 },
    device: testDevice,
  }),
  'models.AnomalyDetector.forward': method(
    () => detector,
    'forward',
    () => [detectorBatch()?.input],
  ),
  'models.AnomalyDetector.trainingStep': method(
    () => detector,
    'trainingStep',
    () => [detectorBatch()],
  ),
  'models.AnomalyDetector.score': method(
    () => detector,
    'score',
    () => [[1, 2, 3, 4]],
  ),
  'models.AnomalyDetector.detect': method(
    () => detector,
    'detect',
    () => [[1, 2, 3, 4], { threshold: 1 }],
  ),
  'models.AnomalyDetector.calibrate': method(
    () => detector,
    'calibrate',
    () => [{ series: [1, 2, 3, 4], anomaly: [false, false, true, false] }],
  ),
  'models.AnomalyDetector.stream': method(
    () => detector,
    'stream',
    () => [detector.stream().state()],
  ),
  'models.AnomalyDetector.load': call(models.AnomalyDetector.load, () => [
    'nothing',
    { device: testDevice },
  ]),
  'models.AnomalyDetector.extraRepr': method(() => detector, 'extraRepr'),
  'models.AnomalyStream.push': method(
    () => detector.stream(),
    'push',
    () => [[1]],
  ),
  'models.AnomalyStream.state': method(() => detector.stream(), 'state'),
  OnlineLearner: () => [
    (model, options) => new OnlineLearner(model as never, options as never),
    [
      new NextRow(),
      {
        optimizer: new optim.SGD(new NextRow().parameters(), { lr: 0.1 }),
        window: 3,
        snapshotEvery: 2,
        replay: 1,
        maxClients: 3,
      },
    ],
  ],
  'OnlineLearner.predict': method(online, 'predict', () => ['a', [1, 2]]),
  'OnlineLearner.refresh': method(online, 'refresh'),
  'OnlineLearner.forget': method(online, 'forget', () => ['a']),
  'OnlineLearner.stateOf': method(
    () => known,
    'stateOf',
    () => ['a'],
  ),
  'OnlineLearner.restore': method(online, 'restore', () => ['a', clientState.slice()]),
  'utils.stateToBytes': call(utils.stateToBytes, () => [[f(2, 3), { a: 1 }]]),
  'utils.stateFromBytes': call(utils.stateFromBytes, () => [
    stateBytes.slice(),
    { device: testDevice },
  ]),
  'models.Seq2Seq': make(models.Seq2Seq, {
    embeddingSize: 3,
    cell: 'rnn',
    hiddenSize: 3,
    numLayers: 2,
    dropout: 0.1,
    attention: 'dot',
    teacherForcing: 0.5,
    labelSmoothing: 0.1,
    maxLength: 5,
    device: testDevice,
  }),
  'models.Seq2Seq.forward': method(
    () => seq2seq,
    'forward',
    () => [i(2, 3), [3, 2], i(2, 2)],
  ),
  'models.Seq2Seq.trainingStep': method(
    () => seq2seq,
    'trainingStep',
    () => [pairBatch()],
  ),
  'models.Seq2Seq.validationStep': method(
    () => seq2seq,
    'validationStep',
    () => [pairBatch()],
  ),
  'models.Seq2Seq.generate': method(
    () => seq2seq,
    'generate',
    () => [['a', 'b'], { beamSize: 2, lengthPenalty: 1, nBest: 1, maxLength: 3 }],
  ),
  'models.Seq2Seq.evaluate': method(
    () => seq2seq,
    'evaluate',
    () => [[{ input: 'ab', target: ['x'] }], { beamSize: 1, maxLength: 3 }],
  ),
  'models.Seq2Seq.load': call(models.Seq2Seq.load, () => ['nothing', { device: testDevice }]),
  'models.Seq2Seq.extraRepr': method(() => seq2seq, 'extraRepr'),
  'models.SequenceTagger': make(models.SequenceTagger, {
    tags: ['X', 'Y'],
    features: ['shape'],
    embeddingSize: 3,
    cell: 'rnn',
    hiddenSize: 3,
    numLayers: 2,
    dropout: 0.1,
    crf: true,
    device: testDevice,
  }),
  'models.SequenceTagger.forward': method(
    () => tagger,
    'forward',
    () => [library.zeros([1, 2, 3]), [2]],
  ),
  'models.SequenceTagger.trainingStep': method(
    () => tagger,
    'trainingStep',
    () => [tagBatch()],
  ),
  'models.SequenceTagger.predict': method(
    () => tagger,
    'predict',
    () => [[['a', 'b']], { batchSize: 2 }],
  ),
  'models.SequenceTagger.evaluate': method(
    () => tagger,
    'evaluate',
    () => [tagged()],
  ),
  'models.SequenceTagger.load': call(models.SequenceTagger.load, () => [
    'nothing',
    { device: testDevice },
  ]),
  'models.SequenceTagger.extraRepr': method(() => tagger, 'extraRepr'),
  'models.SequenceRecognizer': make(models.SequenceRecognizer, {
    labels: ['X', 'Y'],
    inputSize: 2,
    cell: 'rnn',
    hiddenSize: 3,
    numLayers: 2,
    bidirectional: false,
    dropout: 0.1,
    device: testDevice,
  }),
  'models.SequenceRecognizer.forward': method(
    () => recognizer,
    'forward',
    () => [f(1, 3, 1), [3]],
  ),
  'models.SequenceRecognizer.trainingStep': method(
    () => recognizer,
    'trainingStep',
    () => [ctcBatch()],
  ),
  'models.SequenceRecognizer.predict': method(
    () => recognizer,
    'predict',
    () => [[[[1], [2]]], { batchSize: 2, beamSize: 2 }],
  ),
  'models.SequenceRecognizer.evaluate': method(
    () => recognizer,
    'evaluate',
    () => [transcribed(), { batchSize: 2, beamSize: 2 }],
  ),
  'models.SequenceRecognizer.stream': method(
    () => recognizer,
    'stream',
    () => [recognitionState.slice()],
  ),
  'models.RecognitionStream.push': method(
    () => recognizer.stream(),
    'push',
    () => [[1]],
  ),
  'models.RecognitionStream.state': method(() => recognizer.stream(), 'state'),
  'models.SequenceRecognizer.load': call(models.SequenceRecognizer.load, () => [
    'nothing',
    { device: testDevice },
  ]),
  'models.SequenceRecognizer.extraRepr': method(() => recognizer, 'extraRepr'),
  'models.Forecaster.fit': training(
    () => new models.Forecaster(small),
    'fit',
    () => [[1, 2, 4, 8, 5, 3, 2, 4, 7, 6, 5, 9], { ...fitOptions(), calibrate: true, stride: 2 }],
  ),
  'models.Forecaster.backtest': method(
    () => forecaster,
    'backtest',
    () => [[1, 2, 4, 8, 5, 3, 2, 4, 7, 6, 5, 9], { windows: 2, stride: 2, refit: false }],
  ),
  'models.SequenceClassifier.fit': training(
    () => new models.SequenceClassifier({ hiddenSize: 3, embeddingSize: 3 }),
    'fit',
    () => [[...mails(), ...mails()], fitOptions()],
  ),
  'models.AnomalyDetector.fit': training(
    () => new models.AnomalyDetector({ windowSize: 3, hiddenSize: 3 }),
    'fit',
    () => [[1, 2, 4, 8, 5, 3, 2, 4, 7, 6, 5, 9], fitOptions()],
  ),
  'models.Seq2Seq.fit': training(
    () => new models.Seq2Seq({ hiddenSize: 3, embeddingSize: 3 }),
    'fit',
    () => [
      [
        { input: 'ab', target: ['x', 'y'] },
        { input: 'b', target: 'y' },
      ],
      fitOptions(),
    ],
  ),
  'models.SequenceTagger.fit': training(
    () => new models.SequenceTagger({ hiddenSize: 3, embeddingSize: 3 }),
    'fit',
    () => [[...tagged(), ...tagged()], fitOptions()],
  ),
  'models.SequenceRecognizer.fit': training(
    () => new models.SequenceRecognizer({ hiddenSize: 3 }),
    'fit',
    () => [[...transcribed(), ...transcribed()], fitOptions()],
  ),
  'nn.functional.ctcDecode': call(nn.functional.ctcDecode, () => [
    f(3, 2, 4),
    [3, 2],
    { blank: 0, beamSize: 2 },
  ]),
}
